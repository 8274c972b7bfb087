// SPDX-License-Identifier: GPL-2.0-only

#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

__rust_helper void rust_helper_mem_cgroup_enter_nowait(void)
{
	mem_cgroup_enter_nowait();
}

__rust_helper void rust_helper_mem_cgroup_exit_nowait(void)
{
	mem_cgroup_exit_nowait();
}

__rust_helper struct mem_cgroup *rust_helper_set_active_memcg_root(void)
{
	return set_active_memcg(root_mem_cgroup);
}

__rust_helper struct mem_cgroup *
rust_helper_set_active_memcg(struct mem_cgroup *memcg)
{
	return set_active_memcg(memcg);
}

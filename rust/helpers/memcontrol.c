// SPDX-License-Identifier: GPL-2.0-only

#include <linux/memcontrol.h>

__rust_helper void rust_helper_mem_cgroup_enter_nowait(void)
{
	mem_cgroup_enter_nowait();
}

__rust_helper void rust_helper_mem_cgroup_exit_nowait(void)
{
	mem_cgroup_exit_nowait();
}

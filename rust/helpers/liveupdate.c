// SPDX-License-Identifier: GPL-2.0-only

#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/vmstat.h>

__rust_helper int rust_helper_notifier_from_errno(int err)
{
	return notifier_from_errno(err);
}

__rust_helper unsigned int rust_helper_num_online_cpus(void)
{
	return num_online_cpus();
}

/* How many pages the kernel itself can get: those of CMA are for movable memory */
__rust_helper unsigned long rust_helper_available_kernel_pages(void)
{
	long available = si_mem_available() - (long)global_zone_page_state(NR_FREE_CMA_PAGES);

	return available > 0 ? available : 0;
}

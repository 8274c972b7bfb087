// SPDX-License-Identifier: GPL-2.0-only

#include <linux/sched/mm.h>

__rust_helper unsigned int rust_helper_memalloc_mayfail_save(void)
{
	return memalloc_mayfail_save();
}

__rust_helper void rust_helper_memalloc_mayfail_restore(unsigned int flags)
{
	memalloc_mayfail_restore(flags);
}

// SPDX-License-Identifier: GPL-2.0-only

#include <linux/cpumask.h>
#include <linux/notifier.h>

__rust_helper int rust_helper_notifier_from_errno(int err)
{
	return notifier_from_errno(err);
}

__rust_helper unsigned int rust_helper_num_online_cpus(void)
{
	return num_online_cpus();
}

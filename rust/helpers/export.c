// SPDX-License-Identifier: GPL-2.0-only

#include <linux/fs.h>
#include <linux/statfs.h>

__rust_helper void rust_helper_super_set_uuid(struct super_block *sb,
					      const u8 *uuid, unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

__rust_helper __kernel_fsid_t rust_helper_uuid_to_fsid(__u8 *uuid)
{
	return uuid_to_fsid(uuid);
}

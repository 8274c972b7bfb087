// SPDX-License-Identifier: GPL-2.0-only

#include <linux/fileattr.h>
#include <linux/fs.h>

__rust_helper bool rust_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

/* Clears O_APPEND as setfl() does, without its checks. */
__rust_helper void rust_helper_file_clear_append(struct file *file)
{
	spin_lock(&file->f_lock);
	file->f_flags &= ~O_APPEND;
	file->f_iocb_flags = iocb_flags(file);
	spin_unlock(&file->f_lock);
}

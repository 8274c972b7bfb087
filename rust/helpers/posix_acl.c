// SPDX-License-Identifier: GPL-2.0-only

#include <linux/err.h>
#include <linux/fs.h>
#include <linux/overflow.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/user_namespace.h>

/*
 * Most of posix_acl.c is built with CONFIG_FS_POSIX_ACL only. The helpers have
 * other names than its functions, as bindgen finds the declarations of those, too.
 */

__rust_helper void rust_helper_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

__rust_helper void rust_helper_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

/* The size of an ACL in bytes */
__rust_helper size_t rust_helper_posix_acl_size(const struct posix_acl *acl)
{
	return struct_size(acl, a_entries, acl->a_count);
}

__rust_helper int rust_helper_inode_acl_create(struct inode *dir,
					       struct inode *inode)
{
	return simple_acl_create(dir, inode);
}

#ifdef CONFIG_FS_POSIX_ACL

__rust_helper int rust_helper_inode_set_acl(struct mnt_idmap *idmap,
					    struct dentry *dentry,
					    struct posix_acl *acl, int type)
{
	return simple_set_acl(idmap, dentry, acl, type);
}

/* A reference to an ACL, or NULL */
__rust_helper struct posix_acl *rust_helper_inode_cached_acl(struct inode *inode,
							     int type)
{
	struct posix_acl *acl = get_cached_acl(inode, type);

	return is_uncached_acl(acl) ? NULL : acl;
}

__rust_helper void rust_helper_inode_cache_acl(struct inode *inode, int type,
					       struct posix_acl *acl)
{
	set_cached_acl(inode, type, acl);
}

/* The ACL after a chmod. Consumes the reference to @acl. */
__rust_helper struct posix_acl *
rust_helper_posix_acl_after_chmod(struct posix_acl *acl, umode_t mode)
{
	int err = __posix_acl_chmod(&acl, GFP_KERNEL, mode);

	return err ? ERR_PTR(err) : acl;
}

/* Whether the access ACL agrees with the mode, and has more than its three entries */
__rust_helper bool rust_helper_posix_acl_extends(const struct posix_acl *acl,
						 umode_t mode)
{
	umode_t equiv = mode;

	return posix_acl_equiv_mode(acl, &equiv) > 0 && equiv == mode;
}

__rust_helper struct posix_acl *
rust_helper_posix_acl_from_init_xattr(const void *value, size_t size)
{
	struct posix_acl *acl = posix_acl_from_xattr(&init_user_ns, value, size);
	int err;

	if (IS_ERR_OR_NULL(acl))
		return acl;
	err = posix_acl_valid(&init_user_ns, acl);
	if (!err)
		return acl;
	posix_acl_release(acl);
	return ERR_PTR(err);
}

/* The caller frees the returned buffer by kfree() */
__rust_helper void *
rust_helper_posix_acl_to_init_xattr(const struct posix_acl *acl, size_t *size)
{
	return posix_acl_to_xattr(&init_user_ns, acl, size, GFP_KERNEL);
}

#else

__rust_helper int rust_helper_inode_set_acl(struct mnt_idmap *idmap,
					    struct dentry *dentry,
					    struct posix_acl *acl, int type)
{
	return -EOPNOTSUPP;
}

__rust_helper struct posix_acl *rust_helper_inode_cached_acl(struct inode *inode,
							     int type)
{
	return NULL;
}

__rust_helper void rust_helper_inode_cache_acl(struct inode *inode, int type,
					       struct posix_acl *acl)
{
}

__rust_helper struct posix_acl *
rust_helper_posix_acl_after_chmod(struct posix_acl *acl, umode_t mode)
{
	posix_acl_release(acl);
	return ERR_PTR(-EOPNOTSUPP);
}

__rust_helper bool rust_helper_posix_acl_extends(const struct posix_acl *acl,
						 umode_t mode)
{
	return false;
}

__rust_helper struct posix_acl *
rust_helper_posix_acl_from_init_xattr(const void *value, size_t size)
{
	return ERR_PTR(-EOPNOTSUPP);
}

__rust_helper void *
rust_helper_posix_acl_to_init_xattr(const struct posix_acl *acl, size_t *size)
{
	return NULL;
}

#endif

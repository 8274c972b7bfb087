// SPDX-License-Identifier: GPL-2.0-only

//! What the operations get that tell and change attributes: `->getattr()` and `->setattr()`.

use super::InodeOperations;
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fs::{
        acl::{
            Acl,
            AclType, //
        },
        Dentry,
        FileSystem,
        Inode,
        LockedInode,
        Mode,
        Timespec, //
    },
    prelude::*, //
};
use core::ops::Deref;

/// The attributes that are asked for, in [`InodeOperations::getattr`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, GetAttr};
///
/// fn getattr<T: FileSystem>(mut attr: GetAttr<'_, T>) -> Result {
///     let blocks = attr.inode().size().try_into().map(|size: u64| size.div_ceil(512))?;
///
///     attr.set_blocks(blocks);
///     Ok(())
/// }
/// ```
pub struct GetAttr<'a, T: FileSystem> {
    pub(in crate::fs) inode: &'a Inode<T>,
    pub(in crate::fs) stat: &'a mut bindings::kstat,
    pub(in crate::fs) request_mask: u32,
}

impl<'a, T: FileSystem> GetAttr<'a, T> {
    /// The inode whose attributes are asked for.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Sets the size in bytes.
    #[inline]
    pub fn set_size(&mut self, size: bindings::loff_t) {
        self.stat.size = size;
    }

    /// Sets how many blocks of 512 bytes there are.
    #[inline]
    pub fn set_blocks(&mut self, blocks: u64) {
        self.stat.blocks = blocks;
    }

    /// Sets the number of links.
    #[inline]
    pub fn set_nlink(&mut self, nlink: u32) {
        self.stat.nlink = nlink;
    }

    /// Sets the time of the making, if it is asked for.
    pub fn set_btime(&mut self, btime: Timespec) {
        if self.request_mask & bindings::STATX_BTIME != 0 {
            self.stat.result_mask |= bindings::STATX_BTIME;
            self.stat.btime = btime.into_raw();
        }
    }
}

/// A change of attributes, in [`InodeOperations::setattr`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, SetAttr};
///
/// /// Changes attributes, but no size.
/// fn setattr<T: FileSystem>(attr: SetAttr<'_, T>) -> Result {
///     if attr.size().is_some() {
///         return Err(EPERM);
///     }
///     attr.prepare()?.ready()?.copy();
///     Ok(())
/// }
/// ```
///
/// # Invariants
///
/// `idmap` and `attr` are valid for `'a`, and nobody else uses `attr`. `inode` is that of `dentry`,
/// and locked.
pub struct SetAttr<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dentry: &'a Dentry<T>,
    inode: &'a Inode<T>,
    attr: *mut bindings::iattr,
}

impl<'a, T: FileSystem> SetAttr<'a, T> {
    /// The inode, with its lock, for what else changes along.
    #[inline]
    pub fn locked(&self) -> LockedInode<'_, T> {
        // SAFETY: By the type invariants the inode is locked.
        unsafe { LockedInode::new(self.inode) }
    }

    /// The inode whose attributes are changed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Which attributes are changed: `ATTR_*`.
    #[inline]
    fn ia_valid(&self) -> c_uint {
        // SAFETY: By the type invariants the change is valid.
        unsafe { (*self.attr).ia_valid }
    }

    /// The size that a regular file gets, if that is changed.
    pub fn size(&self) -> Option<bindings::loff_t> {
        // SAFETY: By the type invariants the change is valid; nobody else uses it.
        let size = unsafe { (*self.attr).ia_size };

        (self.ia_valid() & bindings::ATTR_SIZE != 0).then_some(size)
    }

    /// The mode that the inode gets, if that is changed.
    fn mode(&self) -> Option<Mode> {
        // SAFETY: By the type invariants the change is valid; nobody else uses it.
        let mode = unsafe { (*self.attr).ia_mode };

        (self.ia_valid() & bindings::ATTR_MODE != 0).then(|| Mode::from_raw(mode))
    }

    /// Whether the time of the last change of the contents is changed.
    pub fn mtime_set(&self) -> bool {
        self.ia_valid() & bindings::ATTR_MTIME != 0
    }

    /// The dentry of the inode.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Takes the size out of what is changed.
    pub fn ignore_size(&mut self) {
        // SAFETY: By the type invariants the change is valid; nobody else uses it.
        unsafe { (*self.attr).ia_valid &= !bindings::ATTR_SIZE };
    }

    /// Checks whether the caller may make the change (`setattr_prepare()`).
    ///
    /// # Errors
    ///
    /// `EPERM`, and the other errors of setattr_prepare().
    pub fn prepare(self) -> Result<PreparedAttr<'a, T>> {
        // SAFETY: By the type invariants the map, the dentry and the change are valid, and the
        // inode is locked.
        to_result(unsafe {
            bindings::setattr_prepare(self.idmap, self.dentry.as_ptr(), self.attr)
        })?;
        // INVARIANT: It has just been checked.
        Ok(PreparedAttr(self))
    }
}

/// A change of attributes that the caller may make, as [`SetAttr::prepare`] has found.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, PreparedAttr, SetAttr};
///
/// fn check<T: FileSystem>(attr: SetAttr<'_, T>) -> Result<PreparedAttr<'_, T>> {
///     attr.prepare()
/// }
/// ```
///
/// # Invariants
///
/// `setattr_prepare()` has returned 0 for it.
pub struct PreparedAttr<'a, T: FileSystem>(SetAttr<'a, T>);

impl<'a, T: FileSystem> PreparedAttr<'a, T> {
    /// Makes the access ACL that the mode needs, after which nothing can fail any more: for what
    /// else changes along, and is not undone. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn ready(self) -> Result<ReadyAttr<'a, T>> {
        let acl = match self.mode() {
            Some(mode) => self
                .inode
                .cached_acl(AclType::Access)
                .map(|acl| acl.after_chmod(mode)),
            None => None,
        }
        .transpose()?;

        Ok(ReadyAttr { attr: self, acl })
    }
}

impl<'a, T: FileSystem> Deref for PreparedAttr<'a, T> {
    type Target = SetAttr<'a, T>;

    #[inline]
    fn deref(&self) -> &SetAttr<'a, T> {
        &self.0
    }
}

/// A change of attributes that can't fail any more, from [`PreparedAttr::ready`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, ReadyAttr};
///
/// /// Changes attributes, among them the size, which nothing can stop any more.
/// fn change<T: FileSystem>(attr: &ReadyAttr<'_, T>) {
///     if let Some(size) = attr.size() {
///         attr.locked().i_size_write(size);
///     }
///     attr.copy();
/// }
/// ```
pub struct ReadyAttr<'a, T: FileSystem> {
    attr: PreparedAttr<'a, T>,
    acl: Option<Acl>,
}

impl<T: FileSystem> ReadyAttr<'_, T> {
    /// Changes them (`setattr_copy()`), and lets an access ACL follow the mode.
    ///
    /// The latter is `posix_acl_chmod()` without [`InodeOperations::set_acl`], which might refuse
    /// when the mode has changed already.
    pub fn copy(&self) {
        // SAFETY: By the type invariants the map and the change are valid, and the inode is locked;
        // setattr_prepare() has allowed the change.
        unsafe { bindings::setattr_copy(self.idmap, self.inode.as_ptr(), self.attr.attr) };
        if let Some(acl) = &self.acl {
            // Its inode had one, and so is of a type that has them.
            let _ = self.locked().set_cached_acl(AclType::Access, acl);
        }
    }
}

impl<'a, T: FileSystem> Deref for ReadyAttr<'a, T> {
    type Target = SetAttr<'a, T>;

    #[inline]
    fn deref(&self) -> &SetAttr<'a, T> {
        &self.attr
    }
}

/// `->getattr()`.
///
/// # Safety
///
/// `path` must be of this file system and positive; `idmap` and `stat` be valid.
pub(super) unsafe extern "C" fn getattr<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    request_mask: u32,
    _query_flags: c_uint,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS passes a valid path.
        let dentry = unsafe { (*path).dentry };
        // SAFETY: The path holds its dentry.
        let inode = unsafe { bindings::d_inode(dentry) };

        // SAFETY: The VFS passes a valid map and buffer, and the path is positive.
        unsafe { bindings::generic_fillattr(idmap, request_mask, inode, stat) };
        let attr = GetAttr {
            // SAFETY: The dentry is positive, and holds its inode.
            inode: unsafe { Inode::from_raw(inode) },
            // SAFETY: The VFS passes a valid buffer, which is ours for this call.
            stat: unsafe { &mut *stat },
            request_mask,
        };

        O::getattr(attr)?;
        Ok(0)
    })
}

/// `->setattr()`.
///
/// # Safety
///
/// `dentry` must be positive and of this file system, and its inode locked; `idmap` and `attr` must
/// be valid.
pub(super) unsafe extern "C" fn setattr<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(dentry) };
        // INVARIANT: These are the arguments of `->setattr()`.
        let attr = SetAttr {
            idmap,
            // SAFETY: The VFS holds a reference to the dentry.
            dentry: unsafe { Dentry::from_raw(dentry) },
            // SAFETY: The dentry is positive, and holds its inode.
            inode: unsafe { Inode::from_raw(inode) },
            attr,
        };

        O::setattr(attr)?;
        Ok(0)
    })
}

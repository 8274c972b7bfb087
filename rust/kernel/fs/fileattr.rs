// SPDX-License-Identifier: GPL-2.0-only

//! Flags of files: what `chattr` changes, and what the VFS enforces of it.
//!
//! C headers: [`include/linux/fileattr.h`](srctree/include/linux/fileattr.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    FileSystem,
    GetAttr,
    Inode,
    InodeOperations,
    LockedInode,
    NewInode,
    Path, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// Flags that user space knows, the `FS_*_FL` constants of `include/uapi/linux/fs.h`.
pub mod fl {
    /// Nothing of it can be changed (`FS_IMMUTABLE_FL`).
    pub const IMMUTABLE: u32 = crate::bindings::FS_IMMUTABLE_FL;
    /// It can only grow (`FS_APPEND_FL`).
    pub const APPEND: u32 = crate::bindings::FS_APPEND_FL;
    /// `dump` leaves it out (`FS_NODUMP_FL`).
    pub const NODUMP: u32 = crate::bindings::FS_NODUMP_FL;
    /// Reading doesn't change the access time (`FS_NOATIME_FL`).
    pub const NOATIME: u32 = crate::bindings::FS_NOATIME_FL;
}

/// Flags of an inode that the VFS enforces: `inode->i_flags`, of which there are here those that
/// a user changes.
///
/// # Examples
///
/// ```
/// use kernel::fs::fileattr::{fl, InodeFlags};
///
/// let flags = InodeFlags::from_fl(fl::APPEND | fl::NODUMP);
///
/// assert_eq!(flags, InodeFlags::from_fl(fl::APPEND));
/// assert_ne!(flags, InodeFlags::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InodeFlags(u32);

impl InodeFlags {
    /// All that there are here.
    const ALL: u32 = bindings::S_NOATIME | bindings::S_APPEND | bindings::S_IMMUTABLE;

    /// What a file with the [flags](fl) `flags` has; others mean nothing to the VFS.
    pub fn from_fl(flags: u32) -> Self {
        let mut i_flags = 0;

        if flags & fl::NOATIME != 0 {
            i_flags |= bindings::S_NOATIME;
        }
        if flags & fl::APPEND != 0 {
            i_flags |= bindings::S_APPEND;
        }
        if flags & fl::IMMUTABLE != 0 {
            i_flags |= bindings::S_IMMUTABLE;
        }
        Self(i_flags)
    }
}

impl<T: FileSystem> Inode<T> {
    /// The flags, which may be outdated without the [lock](Self::lock).
    pub fn flags(&self) -> InodeFlags {
        // SAFETY: The inode is valid.
        let flags = unsafe { &raw const (*self.as_ptr()).i_flags };
        // SAFETY: The inode is valid; C reads the flags without a lock as well.
        let flags = unsafe { flags.read_volatile() };

        InodeFlags(flags & InodeFlags::ALL)
    }
}

impl<T: FileSystem> LockedInode<'_, T> {
    /// Changes the flags (`inode_set_flags()`), and no time.
    pub fn set_flags(&self, flags: InodeFlags) {
        // SAFETY: The inode is valid, and locked by the type invariant of `LockedInode`.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags.0, InodeFlags::ALL) };
    }
}

impl<T: FileSystem> NewInode<'_, T> {
    /// Sets the flags (`inode_set_flags()`).
    pub fn set_flags(&mut self, flags: InodeFlags) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::inode_set_flags(self.as_ptr(), flags.0, InodeFlags::ALL) };
    }
}

impl Path {
    /// Changes the flags (`inode_set_flags()`). Takes no lock: they are changed atomically.
    ///
    /// For a file that nobody but the caller gives flags.
    pub fn set_flags(&self, flags: InodeFlags) {
        // SAFETY: The inode is held by the path; the bits are changed atomically, and are no others
        // than the VFS lets users change.
        unsafe { bindings::inode_set_flags(self.inode(), flags.0, InodeFlags::ALL) };
    }
}

/// What the attributes of a file are, or are to be: a `struct file_kattr`.
///
/// # Examples
///
/// ```
/// use kernel::fs::fileattr::{fl, FileKattr};
///
/// /// Whether nothing but `chattr +d` and `-d` is asked for.
/// fn is_nodump(fa: &FileKattr<'_>) -> bool {
///     !fa.has_fsx() && fa.flags() & !fl::NODUMP == 0
/// }
/// ```
pub struct FileKattr<'a>(&'a mut bindings::file_kattr);

impl FileKattr<'_> {
    /// The [flags](fl) that a file is to have.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.0.flags
    }

    /// Whether there is anything that the flags don't tell, such as a project ID
    /// (`fileattr_has_fsx()`).
    #[inline]
    pub fn has_fsx(&self) -> bool {
        // SAFETY: The structure is valid.
        unsafe { bindings::fileattr_has_fsx(&raw const *self.0) }
    }

    /// Tells the [flags](fl) that a file has (`fileattr_fill_flags()`).
    #[inline]
    pub fn fill_flags(&mut self, flags: u32) {
        // SAFETY: The structure is valid, and ours.
        unsafe { bindings::fileattr_fill_flags(&raw mut *self.0, flags) };
    }
}

impl<T: FileSystem> GetAttr<'_, T> {
    /// Tells which of the [flags](fl) a file has, where `statx()` has a bit for them
    /// (`STATX_ATTR_*`).
    pub fn set_attributes(&mut self, flags: u32) {
        for (flag, attribute) in [
            (fl::APPEND, bindings::STATX_ATTR_APPEND),
            (fl::IMMUTABLE, bindings::STATX_ATTR_IMMUTABLE),
            (fl::NODUMP, bindings::STATX_ATTR_NODUMP),
        ] {
            self.stat.attributes_mask |= u64::from(attribute);
            if flags & flag != 0 {
                self.stat.attributes |= u64::from(attribute);
            }
        }
    }
}

/// `->fileattr_get()`.
///
/// # Safety
///
/// `dentry` must be positive and of this file system; `fa` be valid.
pub(super) unsafe extern "C" fn fileattr_get<O: InodeOperations>(
    dentry: *mut bindings::dentry,
    fa: *mut bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(dentry) };
        // SAFETY: The dentry is positive, and holds its inode.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: The VFS passes a valid structure, which is ours for this call.
        let fa = unsafe { &mut *fa };

        O::fileattr_get(inode, &mut FileKattr(fa))?;
        Ok(0)
    })
}

/// `->fileattr_set()`.
///
/// # Safety
///
/// `dentry` must be positive and of this file system, and its inode locked; `fa` be valid.
pub(super) unsafe extern "C" fn fileattr_set<O: InodeOperations>(
    _idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    fa: *mut bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(dentry) };
        // SAFETY: The dentry is positive, and holds its inode.
        let inode = unsafe { Inode::from_raw(inode) };
        // SAFETY: The VFS has locked the inode for this call.
        let locked = unsafe { LockedInode::new(inode) };
        // SAFETY: The VFS passes a valid structure, which is ours for this call.
        let fa = unsafe { &mut *fa };

        O::fileattr_set(locked, &FileKattr(fa))?;
        Ok(0)
    })
}

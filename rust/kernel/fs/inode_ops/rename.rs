// SPDX-License-Identifier: GPL-2.0-only

//! What `->rename()` gets.

use super::InodeOperations;
use crate::{
    bindings,
    error::to_result,
    fs::{
        done::Done,
        inode_info::offset_ctx,
        registration::flags,
        Dentry,
        FileSystem,
        Inode, //
    },
    prelude::*, //
};

/// A rename, in [`InodeOperations::rename`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Rename};
///
/// /// Renames, but replaces nothing.
/// fn rename<T: FileSystem>(rename: Rename<'_, T>) -> Result {
///     if rename.target().is_some() && !rename.exchange() {
///         return Err(EEXIST);
///     }
///     rename.simple_offset_rename2()
/// }
/// ```
///
/// # Invariants
///
/// The pointers and flags are the arguments of `->rename()`, valid for `'a`: `old_dentry` is a
/// positive entry of the directory `old_dir`, `new_dentry` a name of `new_dir` that is positive if
/// `flags` has `RENAME_EXCHANGE`. Both directories are locked. If `flags` has `RENAME_WHITEOUT`,
/// `old_dir` has an `->mknod()`.
pub struct Rename<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    old_dir: &'a Inode<T>,
    old_dentry: &'a Dentry<T>,
    inode: &'a Inode<T>,
    new_dir: &'a Inode<T>,
    new_dentry: &'a Dentry<T>,
    flags: c_uint,
    done: &'a Done,
}

impl<'a, T: FileSystem> Rename<'a, T> {
    /// Whether the VFS leaves it to `->rename()` to move the dentries.
    const DOES_D_MOVE: bool = T::FLAGS & flags::RENAME_DOES_D_MOVE != 0;

    /// The directory of the old name.
    #[inline]
    pub fn old_dir(&self) -> &'a Inode<T> {
        self.old_dir
    }

    /// The inode that is renamed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// The inode that has the new name, and loses it unless names are
    /// [exchanged](Self::exchange).
    #[inline]
    pub fn target(&self) -> Option<&'a Inode<T>> {
        self.new_dentry.inode()
    }

    /// Whether the two names are exchanged (`RENAME_EXCHANGE`).
    #[inline]
    pub fn exchange(&self) -> bool {
        self.flags & bindings::RENAME_EXCHANGE != 0
    }

    /// Renames, as tmpfs does (`simple_offset_rename2()`).
    ///
    /// The entries keep their positions for readers of the directories. A whiteout
    /// (`RENAME_WHITEOUT`) is made by [`InodeOperations::mknod`] of the old directory. In a file
    /// system with [`RENAME_DOES_D_MOVE`](flags::RENAME_DOES_D_MOVE) the dentries have been moved
    /// when this returns.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if a directory is replaced that has something in it; `EXDEV` if a directory has
    /// no offset map; `ENOMEM`, `ENOSPC` if one is full; what `mknod` returns. Nothing has changed
    /// then.
    pub fn simple_offset_rename2(self) -> Result {
        let (old_dir, new_dir) = (self.old_dir.as_ptr(), self.new_dir.as_ptr());
        let (old, new) = (self.old_dentry.as_ptr(), self.new_dentry.as_ptr());

        // SAFETY: The inode is one of a `FileSystem`.
        if unsafe { offset_ctx(old_dir) }.is_null() {
            return Err(EXDEV);
        }
        // SAFETY: The inode is one of a `FileSystem`.
        if unsafe { offset_ctx(new_dir) }.is_null() {
            return Err(EXDEV);
        }
        // SAFETY: By the type invariants these are the arguments of `->rename()`, and a whiteout
        // can be made. Both directories have a map and the operation to get it, as has just been
        // checked, so that their entries have offsets.
        to_result(unsafe {
            bindings::simple_offset_rename2(self.idmap, old_dir, old, new_dir, new, self.flags)
        })?;
        self.done.set();
        if !Self::DOES_D_MOVE {
            return Ok(());
        }
        if self.exchange() {
            // SAFETY: By the type invariants both are positive entries of directories that are
            // locked; the VFS has checked that neither is within the other.
            unsafe { bindings::d_exchange(old, new) };
        } else {
            // SAFETY: By the type invariants both are names in directories that are locked, and the
            // old one is positive; the VFS has checked that neither is within the other.
            unsafe { bindings::d_move(old, new) };
        }
        Ok(())
    }
}

/// `->rename()`.
///
/// # Safety
///
/// The arguments must be those of `->rename()` for directories of this file system.
pub(super) unsafe extern "C" fn rename<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    old_dir: *mut bindings::inode,
    old_dentry: *mut bindings::dentry,
    new_dir: *mut bindings::inode,
    new_dentry: *mut bindings::dentry,
    flags: c_uint,
) -> c_int {
    Done::told(|done| {
        if flags & bindings::RENAME_WHITEOUT != 0 && !O::HAS_MKNOD {
            return Err(EINVAL);
        }
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(old_dentry) };
        // INVARIANT: These are the arguments of `->rename()`. That of the old directory is called,
        // whose operations are `O`.
        let rename = Rename {
            idmap,
            // SAFETY: The VFS holds a reference to the directory.
            old_dir: unsafe { Inode::from_raw(old_dir) },
            // SAFETY: The VFS holds a reference to the dentry.
            old_dentry: unsafe { Dentry::from_raw(old_dentry) },
            // SAFETY: The dentry is positive, and holds its inode.
            inode: unsafe { Inode::from_raw(inode) },
            // SAFETY: The VFS holds a reference to the directory.
            new_dir: unsafe { Inode::from_raw(new_dir) },
            // SAFETY: The VFS holds a reference to the dentry.
            new_dentry: unsafe { Dentry::from_raw(new_dentry) },
            flags,
            done,
        };

        O::rename(rename)
    })
}

// SPDX-License-Identifier: GPL-2.0-only

//! Trees that have no name yet.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)

use super::{
    Dentry,
    FileSystem,
    NewInode, //
};
use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};

/// A directory that has no name yet, with all that is beneath it: what
/// [`InodeOperations::lookup`](super::InodeOperations::lookup) finds may be a tree that it builds.
///
/// No path leads to it before [`Lookup::d_splice_alias`](super::Lookup::d_splice_alias), which
/// makes the whole tree appear at once, nor does a [handle](NewInode::set_handle).
///
/// If it is dropped all that is in it goes. Names of which there is a reference by then are
/// reclaimed after that, or go with the superblock, as does a tree that is forgotten.
///
/// # Examples
///
/// ```
/// use kernel::fs::{Detached, FileSystem, NewInode};
///
/// /// A directory with one entry.
/// fn build<'a, T: FileSystem>(
///     dir: NewInode<'a, T>,
///     file: NewInode<'a, T>,
/// ) -> Result<Detached<'a, T>> {
///     let tree = Detached::new(dir)?;
///
///     tree.start_creating(c"file")?.quietly().instantiate(file)?;
///     Ok(tree)
/// }
/// ```
///
/// # Invariants
///
/// It has been returned by `d_obtain_detached()`, and has neither got a name since nor been freed.
pub struct Detached<'a, T: FileSystem>(&'a Dentry<T>);

impl<'a, T: FileSystem> Detached<'a, T> {
    /// Makes a directory without a name (`d_obtain_detached()`).
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if the inode isn't a directory, `ENOMEM`.
    pub fn new(inode: NewInode<'a, T>) -> Result<Self> {
        if !inode.mode().is_dir() {
            return Err(ENOTDIR);
        }
        // SAFETY: The reference to the inode, which is a directory without a dentry, is handed
        // over.
        let root = from_err_ptr(unsafe { bindings::d_obtain_detached(inode.into_raw()) })?;

        // SAFETY: It is a dentry of the superblock of the inode, which stays for the lifetime. The
        // dentry stays since it is persistent, until it is freed or the superblock ends.
        // INVARIANT: It has just been returned.
        Ok(Self(unsafe { Dentry::from_raw(root) }))
    }

    /// Leaves the dentry to the caller, who gives it a name or frees it.
    #[inline]
    pub(super) fn into_dentry(self) -> &'a Dentry<T> {
        ManuallyDrop::new(self).0
    }
}

impl<T: FileSystem> Deref for Detached<'_, T> {
    type Target = Dentry<T>;

    #[inline]
    fn deref(&self) -> &Dentry<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for Detached<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is what `d_obtain_detached()` has returned, and nobody
        // has given it a name. It is not used again.
        unsafe { bindings::d_free_detached(self.0.as_ptr()) };
    }
}

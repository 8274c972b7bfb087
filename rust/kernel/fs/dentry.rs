// SPDX-License-Identifier: GPL-2.0-only

//! Directory entries.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! For file systems whose tree lies in the dcache alone, as ramfs does: entries are made
//! persistent, and lookup finds what is there.

use super::{
    FileSystem,
    Inode,
    NewInode,
    SuperBlock, //
};
use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    str::CStrExt as _,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    marker::PhantomData,
    ops::Deref, //
};

/// A `struct dentry` of the file system `T`.
///
/// References to it end with a callback of the VFS: see [`Inode`] for why.
#[repr(transparent)]
pub struct Dentry<T: FileSystem> {
    inner: Opaque<bindings::dentry>,
    _p: PhantomData<fn() -> T>,
}

// SAFETY: The methods of a shared reference call functions that lock what they change, or read what
// doesn't change while the dentry is referenced.
unsafe impl<T: FileSystem> Sync for Dentry<T> {}

impl<T: FileSystem> Dentry<T> {
    /// # Safety
    ///
    /// `raw` must be a dentry of the file system `T` that is valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::dentry) -> &'a Self {
        // SAFETY: By the safety requirements, and as the type is transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.inner.get()
    }

    /// The inode, or none for a negative dentry (`d_inode()`).
    ///
    /// A dentry that is referenced and positive stays so.
    #[inline]
    pub fn inode(&self) -> Option<&Inode<T>> {
        // SAFETY: The dentry is valid.
        let inode = unsafe { bindings::d_inode(self.as_ptr()) };

        // SAFETY: The dentry holds a reference to its inode; both are of `T`.
        (!inode.is_null()).then(|| unsafe { Inode::from_raw(inode) })
    }

    /// The superblock that the dentry belongs to.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: A superblock outlives the callbacks with its dentries; `d_sb` never changes.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).d_sb) }
    }

    /// # Errors
    ///
    /// `ENOTDIR` if names can't be looked up in it (`d_can_lookup()`).
    fn check_can_lookup(&self) -> Result {
        // SAFETY: The dentry is valid.
        if unsafe { bindings::d_can_lookup(self.as_ptr()) } {
            Ok(())
        } else {
            Err(ENOTDIR)
        }
    }

    /// Locks this directory and looks `name` up in it, for something new
    /// (`simple_start_creating()`).
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none, `EEXIST` if there is something of that name, `ENOENT` if the
    /// directory has been removed, `EACCES` for a name with a slash and the like, `ENOMEM`.
    pub fn start_creating(&self, name: &CStr) -> Result<Creating<'_, T>> {
        self.check_can_lookup()?;
        // SAFETY: The dentry is valid and a directory that has a lookup; the name is valid for the
        // call.
        let dentry = unsafe { bindings::simple_start_creating(self.as_ptr(), name.as_char_ptr()) };
        let dentry = from_err_ptr(dentry)?;

        // INVARIANT: This directory has been locked.
        Ok(Creating {
            // SAFETY: It is a valid pointer to a dentry of which we hold a reference.
            dentry: unsafe { Dentry::from_raw(dentry) },
            parent: self,
            _not_send: NotThreadSafe,
        })
    }

    /// Looks `name` up in this directory without a check of permission
    /// (`lookup_noperm_positive_unlocked()`). May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none, `ENOENT` if there is nothing of that name, `ENOMEM`.
    pub fn lookup_noperm_positive_unlocked(&self, name: &CStr) -> Result<DentryRef<'_, T>> {
        self.check_can_lookup()?;
        // SAFETY: The dentry is valid and a directory that has a lookup, the name is valid for the
        // call.
        let dentry = unsafe {
            bindings::lookup_noperm_positive_unlocked_name(name.as_char_ptr(), self.as_ptr())
        };
        let dentry = from_err_ptr(dentry)?;

        // SAFETY: The function returns a reference, which is ours.
        // INVARIANT: As above.
        Ok(DentryRef(unsafe { Dentry::from_raw(dentry) }))
    }

    /// Removes the entry `name` of this directory, if there is one (`simple_remove_by_name()`).
    ///
    /// May sleep; takes the locks of the directory and of what is removed.
    pub fn remove_by_name(&self, name: &CStr) {
        if self.check_can_lookup().is_err() {
            return;
        }
        // SAFETY: The dentry is valid and a directory that has a lookup, the name is valid for the
        // call.
        unsafe {
            bindings::simple_remove_by_name(self.as_ptr(), name.as_char_ptr(), None);
        }
    }

    /// Tells those who watch the file or its directory that it was modified
    /// (`fsnotify_dentry()` with `FS_MODIFY`). May sleep.
    pub fn fsnotify_modify(&self) {
        if self.inode().is_none() {
            return;
        }
        // SAFETY: The dentry is valid and positive.
        unsafe { bindings::fsnotify_dentry(self.as_ptr(), bindings::FS_MODIFY) };
    }
}

/// A dentry that has been looked up, within its directory.
///
/// # Invariants
///
/// A reference to the dentry is owned.
pub struct DentryRef<'a, T: FileSystem>(&'a Dentry<T>);

impl<T: FileSystem> Deref for DentryRef<'_, T> {
    type Target = Dentry<T>;

    #[inline]
    fn deref(&self) -> &Dentry<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for DentryRef<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours; it is not used again.
        unsafe { bindings::dput(self.0.as_ptr()) };
    }
}

/// A name that is being created, in a directory that is locked for it.
///
/// Dropping it unlocks the directory (`simple_done_creating()`).
///
/// # Invariants
///
/// `dentry` has been returned by `simple_start_creating()` for `parent`, and is referenced.
pub struct Creating<'a, T: FileSystem> {
    dentry: &'a Dentry<T>,
    parent: &'a Dentry<T>,
    /// The lock of the directory belongs to the thread.
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> Creating<'a, T> {
    /// Gives the name its inode, and keeps it in the dcache until it is removed
    /// (`d_make_persistent()`, `fsnotify_create()`).
    ///
    /// # Errors
    ///
    /// `EXDEV` if the inode is of another superblock.
    pub fn make_persistent(self, inode: NewInode<'_, T>) -> Result<DentryRef<'a, T>> {
        let dentry = self.dentry.as_ptr();

        if !inode.is_of(self.dentry.sb()) {
            return Err(EXDEV);
        }

        // SAFETY: By the type invariants the dentry is negative and its directory locked. The
        // reference to the inode is handed over.
        unsafe { bindings::d_make_persistent(dentry, inode.into_raw()) };
        // SAFETY: The directory is positive and locked, which makes the name stable.
        unsafe { bindings::fsnotify_create(bindings::d_inode(self.parent.as_ptr()), dentry) };
        // SAFETY: The dentry is valid.
        unsafe { bindings::dget(dentry) };
        // INVARIANT: The reference has just been taken.
        Ok(DentryRef(self.dentry))
    }
}

impl<T: FileSystem> Drop for Creating<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; the reference is not used again.
        unsafe { bindings::simple_done_creating(self.dentry.as_ptr()) };
    }
}

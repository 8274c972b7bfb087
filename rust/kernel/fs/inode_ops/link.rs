// SPDX-License-Identifier: GPL-2.0-only

//! What the operations get that add and remove a name: `->link()`, `->unlink()` and `->rmdir()`.

use super::InodeOperations;
use crate::{
    bindings,
    error::to_result,
    fs::{
        done::Done,
        offset_ctx::{
            add_entry,
            remove_entry, //
        },
        Dentry,
        FileSystem,
        Inode, //
    },
    prelude::*, //
};

/// A further name of an inode, in [`InodeOperations::link`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Link};
///
/// fn link<T: FileSystem>(link: Link<'_, T>) -> Result {
///     if link.old().nlink() >= 1000 {
///         return Err(EMLINK);
///     }
///     link.simple_link()
/// }
/// ```
///
/// # Invariants
///
/// `dentry` is negative and a name of the directory `dir`, which is locked; `old` is positive, its
/// inode is `inode` and locked, and both dentries are of one superblock.
pub struct Link<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    old: &'a Dentry<T>,
    inode: &'a Inode<T>,
    done: &'a Done,
}

impl<'a, T: FileSystem> Link<'a, T> {
    /// The directory of the new name.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The new name.
    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants the directory is locked, which makes the name stable.
        unsafe { self.dentry.stable_name() }
    }

    /// The inode that gets the name. Without a name so far (`O_TMPFILE`) it has no links.
    #[inline]
    pub fn old(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Makes the link (`simple_link()`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` if the directory is full.
    pub fn simple_link(self) -> Result {
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants the directory is locked, and the dentry a negative name of
        // it.
        unsafe { add_entry(dir, dentry, false) }?;
        // SAFETY: By the type invariants the directory and the inode of the old dentry are locked,
        // and of one superblock; the new dentry is negative.
        to_result(unsafe { bindings::simple_link(self.old.as_ptr(), dir, dentry) })?;
        self.done.set();
        Ok(())
    }
}

/// The removal of a name, in [`InodeOperations::unlink`] and [`InodeOperations::rmdir`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Unlink};
///
/// fn rmdir<T: FileSystem>(rmdir: Unlink<'_, T>) -> Result {
///     rmdir.simple_rmdir()
/// }
/// ```
///
/// # Invariants
///
/// `dentry` is a positive entry of the directory `dir`, and both inodes are locked.
pub struct Unlink<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    has_lookup: bool,
    done: &'a Done,
}

impl<'a, T: FileSystem> Unlink<'a, T> {
    /// # Safety
    ///
    /// `dentry` must be a positive entry of the directory `dir`, both of the file system `T` and
    /// locked for `'a`.
    unsafe fn from_raw(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        has_lookup: bool,
        done: &'a Done,
    ) -> Self {
        // INVARIANT: The caller guarantees it.
        Self {
            // SAFETY: The caller holds a reference to the directory, which is of `T`.
            dir: unsafe { Inode::from_raw(dir) },
            // SAFETY: The caller holds a reference to the dentry, which is of `T`.
            dentry: unsafe { Dentry::from_raw(dentry) },
            has_lookup,
            done,
        }
    }

    /// The directory that has the name.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The entry that is removed.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Removes it (`simple_unlink()`). If the directory has a
    /// [`lookup`](InodeOperations::lookup), what gets the name next is found by it as soon as this
    /// returns.
    pub fn simple_unlink(self) -> Result {
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants the directory is locked and has the entry.
        unsafe { remove_entry(dir, dentry) };
        self.done.set();
        if self.dentry.is_persistent() {
            // SAFETY: By the type invariants the directory has the entry, and both inodes are
            // locked.
            to_result(unsafe { bindings::simple_unlink(dir, dentry) })?;
        } else if self.dentry.inode().is_some_and(|inode| inode.nlink() != 0) {
            // One that was looked up has no reference that would be put. Its inode may have lost
            // its link already, if it has several names by its handle.
            // SAFETY: By the type invariants the dentry is positive, and both inodes are locked.
            unsafe { bindings::__simple_unlink(dir, dentry) };
        }
        if self.has_lookup {
            // A negative dentry would hide what gets the name next.
            // SAFETY: The VFS holds a reference to the dentry for this call.
            unsafe { bindings::d_drop(dentry) };
        }
        Ok(())
    }

    /// Notifies watchers that the name has been made (`fsnotify_create()`): before they are told
    /// that it is gone.
    pub fn fsnotify_create(&self) {
        // SAFETY: By the type invariants the directory is locked, which makes the name stable, and
        // the dentry positive.
        unsafe { bindings::fsnotify_create(self.dir.as_ptr(), self.dentry.as_ptr()) };
    }

    /// Removes a directory, and the link that its `..` is (`simple_rmdir()`).
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if there is something in it, `ENOTDIR` if it is none.
    pub fn simple_rmdir(self) -> Result {
        if !self
            .dentry
            .inode()
            .is_some_and(|inode| inode.mode().is_dir())
        {
            return Err(ENOTDIR);
        }
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants the dentry is valid.
        if unsafe { bindings::simple_empty(dentry) } == 0 {
            return Err(ENOTEMPTY);
        }
        // SAFETY: By the type invariants the directory is locked and has the entry.
        unsafe { remove_entry(dir, dentry) };
        self.done.set();
        // As what is removed is locked, it is still empty, and this doesn't fail.
        // SAFETY: By the type invariants the directory has the entry, and both inodes are locked.
        to_result(unsafe { bindings::simple_rmdir(dir, dentry) })
    }
}

/// `->link()`.
///
/// # Safety
///
/// `dentry` must be a negative name of the directory `dir`, `old` be positive, both of one
/// superblock of this file system and locked.
pub(super) unsafe extern "C" fn link<O: InodeOperations>(
    old: *mut bindings::dentry,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    Done::told(|done| {
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(old) };
        // INVARIANT: These are the arguments of `->link()`.
        let link = Link {
            // SAFETY: The VFS holds a reference to the directory.
            dir: unsafe { Inode::from_raw(dir) },
            // SAFETY: The VFS holds a reference to the dentry.
            dentry: unsafe { Dentry::from_raw(dentry) },
            // SAFETY: The VFS holds a reference to the dentry.
            old: unsafe { Dentry::from_raw(old) },
            // SAFETY: The dentry is positive, and holds its inode.
            inode: unsafe { Inode::from_raw(inode) },
            done,
        };

        O::link(link)
    })
}

/// `->unlink()`.
///
/// # Safety
///
/// The arguments must be as [`Unlink::from_raw`] wants them.
pub(super) unsafe extern "C" fn unlink<O: InodeOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    Done::told(|done| {
        // SAFETY: The VFS has locked the directory and the inode of its entry.
        O::unlink(unsafe { Unlink::from_raw(dir, dentry, O::HAS_LOOKUP, done) })
    })
}

/// `->rmdir()`.
///
/// # Safety
///
/// The arguments must be as [`Unlink::from_raw`] wants them.
pub(super) unsafe extern "C" fn rmdir<O: InodeOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    Done::told(|done| {
        // SAFETY: The VFS has locked the directory and the inode of its entry.
        O::rmdir(unsafe { Unlink::from_raw(dir, dentry, O::HAS_LOOKUP, done) })
    })
}

// SPDX-License-Identifier: GPL-2.0-only

//! What `->lookup()` gets: a name that isn't in the dcache.

use super::{
    names,
    InodeOperations, //
};
use crate::{
    bindings,
    error::from_err_ptr,
    fs::{
        Dentry,
        DentryRef,
        Detached,
        FileSystem,
        Inode,
        NewInode,
        NAME_MAX, //
    },
    prelude::*, //
};
use core::ptr::null_mut;

/// A name that is looked up, in [`InodeOperations::lookup`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Found, Lookup, Mode, NewInode};
///
/// /// A directory in which there is one file.
/// fn lookup<T: FileSystem<InodeData = ()>>(lookup: Lookup<'_, T>) -> Result<Found<'_, T>> {
///     if lookup.name() != b"one" {
///         return Ok(lookup.nothing());
///     }
///     let inode = NewInode::new(lookup.dir().sb(), Mode::reg(0o400), ())?;
///
///     lookup.cache(inode)
/// }
/// ```
///
/// # Invariants
///
/// `dentry` is a negative name of the directory `dir`, which is locked, if only shared, and isn't
/// in the dcache. `names` is what the names of the directory had for their generation before the
/// file system was asked for this one.
pub struct Lookup<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    names: c_ulong,
}

/// What came of a [`Lookup`].
///
/// An error that is returned after it has been made fails the look-up, but what was found stays.
pub struct Found<'a, T: FileSystem> {
    /// Another dentry than the one that was looked up.
    other: Option<DentryRef<'a, T>>,
}

impl<'a, T: FileSystem> Lookup<'a, T> {
    /// The directory.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The name, of at most [`NAME_MAX`] bytes.
    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants the dentry isn't in the dcache, so that nobody renames it.
        unsafe { self.dentry.stable_name() }
    }

    /// There is nothing of this name. It never gets into the dcache: it would hide what is made
    /// later.
    #[inline]
    pub fn nothing(self) -> Found<'a, T> {
        Found { other: None }
    }

    /// Gives the name its inode, and caches both as a file system on a disk does, so that they may
    /// be reclaimed at any time (`d_splice_alias_ops()`).
    ///
    /// The name is looked up anew then, or when the directory makes it stale
    /// ([`Inode::invalidate_names`]). An inode that is watched stays meanwhile: if it has a
    /// [handle](NewInode::set_handle), a new one with the same handle is dropped for it.
    ///
    /// # Errors
    ///
    /// `EISDIR` if the inode is a directory, which would be a link of this one, `EXDEV` if it is of
    /// another superblock.
    pub fn cache(self, inode: NewInode<'_, T>) -> Result<Found<'a, T>> {
        if !inode.is_of(self.dir.sb()) {
            return Err(EXDEV);
        }
        if inode.mode().is_dir() {
            return Err(EISDIR);
        }
        // SAFETY: By the type invariants the dentry is a negative one that isn't in the dcache, but
        // perhaps among those that are looked up, and the number is from before. The reference to
        // the inode, which is no directory and of the same superblock, is handed over.
        unsafe { names::cache(self.dentry.as_ptr(), names::inode_of(inode), self.names) };
        Ok(self.nothing())
    }

    /// Gives the name to a tree, which appears there whole, and stays (`d_splice_alias()`).
    ///
    /// Tasks that look the same name up meanwhile have waited, and find it. That the directory has
    /// a link more is for the caller to count, once.
    ///
    /// # Errors
    ///
    /// `EXDEV` if the tree is of another superblock, `ELOOP` if the directory is in it. It is
    /// dropped then.
    pub fn d_splice_alias(self, tree: Detached<'_, T>) -> Result<Found<'a, T>> {
        if !core::ptr::eq(tree.sb(), self.dir.sb()) {
            return Err(EXDEV);
        }
        let inode = tree.inode().ok_or(ENOENT)?.as_ptr();

        // SAFETY: The inode is valid, as its dentry is.
        unsafe { bindings::ihold(inode) };
        // SAFETY: By the type invariants the dentry is a negative one that isn't in the dcache, in
        // a directory that is locked. The reference to the inode, a directory of the same
        // superblock with a dentry of its own, is handed over.
        let other = unsafe { bindings::d_splice_alias(inode, self.dentry.as_ptr()) };
        // After an error the tree has no name: it is dropped.
        let other = from_err_ptr(other)?;

        // It has got its name.
        let _ = tree.into_dentry();
        // SAFETY: The function returns the root of the tree, which is a dentry of this superblock,
        // and a reference to it, which is ours.
        let other = unsafe { DentryRef::from_raw(other) };

        Ok(Found { other: Some(other) })
    }
}

/// `->lookup()`.
///
/// # Safety
///
/// `dentry` must be a negative name of the directory `dir` that isn't in the dcache, both be of
/// this file system, and the directory be locked, if only shared.
pub(super) unsafe extern "C" fn lookup<O: InodeOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> *mut bindings::dentry {
    // INVARIANT: These are the arguments of `->lookup()`, and nobody has looked for the name yet.
    let lookup = Lookup {
        // SAFETY: The VFS holds a reference to the directory.
        dir: unsafe { Inode::<O::FileSystem>::from_raw(dir) },
        // SAFETY: The VFS holds a reference to the dentry.
        dentry: unsafe { Dentry::from_raw(dentry) },
        // SAFETY: The VFS holds a reference to the directory, which is of this file system.
        names: unsafe { names::present(dir) },
    };

    if lookup.name().len() > NAME_MAX {
        return ENAMETOOLONG.to_ptr();
    }
    match O::lookup(lookup) {
        Ok(found) => found.other.map_or(null_mut(), DentryRef::into_raw),
        Err(e) => e.to_ptr(),
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! What `->lookup()` gets: a name that isn't in the dcache.

use super::{
    names,
    InodeOperations, //
};
use crate::{
    bindings,
    fs::{
        Dentry,
        FileSystem,
        Inode,
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
/// use kernel::fs::{FileSystem, Lookup, Mode, NewInode};
///
/// /// A directory in which there is one file.
/// fn lookup<T: FileSystem<InodeData = ()>>(
///     lookup: Lookup<'_, T>,
/// ) -> Result<Option<NewInode<'_, T>>> {
///     if lookup.name() != b"one" {
///         return Ok(None);
///     }
///     Ok(Some(NewInode::new(lookup.dir().sb(), Mode::reg(0o400), ())?))
/// }
/// ```
///
/// # Invariants
///
/// `dentry` is a negative name of the directory `dir`, which is locked, if only shared, and isn't
/// in the dcache.
pub struct Lookup<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
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
}

/// `->lookup()`.
///
/// What is found is cached; the name of what isn't never gets into the dcache: it would hide what is
/// made later.
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
    let look_up = || -> Result {
        // Before the file system is asked: what it answers may be stale by the end.
        // SAFETY: The VFS holds a reference to the directory, which is of this file system.
        let generation = unsafe { names::present(dir) };
        // INVARIANT: These are the arguments of `->lookup()`.
        let lookup = Lookup {
            // SAFETY: The VFS holds a reference to the directory.
            dir: unsafe { Inode::<O::FileSystem>::from_raw(dir) },
            // SAFETY: The VFS holds a reference to the dentry.
            dentry: unsafe { Dentry::from_raw(dentry) },
        };

        if lookup.name().len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let sb = lookup.dir().sb();
        let Some(inode) = O::lookup(lookup)? else {
            return Ok(());
        };

        if !inode.is_of(sb) {
            return Err(EXDEV);
        }
        if inode.mode().is_dir() {
            return Err(EISDIR);
        }
        // SAFETY: The dentry is a negative one that isn't in the dcache, but perhaps among those
        // that are looked up; the reference to the inode, which is no directory and of the same
        // superblock, is handed over. The generation is from before.
        unsafe { names::cache(dentry, names::inode_of(inode), generation) };
        Ok(())
    };

    match look_up() {
        Ok(()) => null_mut(),
        Err(e) => e.to_ptr(),
    }
}

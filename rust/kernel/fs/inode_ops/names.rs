// SPDX-License-Identifier: GPL-2.0-only

//! Names that are cached once they have been looked up, as those of a file system on a disk.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)
//!
//! The kernel reclaims their dentries and inodes when it likes. A directory makes all of them stale
//! at once with a number, its generation of names: each dentry has that from before it was looked
//! up. The number lies beside `struct inode`, so that a walk by RCU may compare it.

use crate::{
    bindings,
    fs::{
        inode_info,
        FileSystem,
        Inode,
        NewInode,
        SuperBlock, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Full, //
    }, //
};
use core::ptr::NonNull;

/// The operations of names that were looked up.
static OPERATIONS: bindings::dentry_operations = bindings::dentry_operations {
    d_revalidate: Some(d_revalidate),
    ..pin_init::zeroed()
};

/// The present generation of the names in a directory, as `d_time` has it.
///
/// # Safety
///
/// As for [`inode_info::names`].
pub(super) unsafe fn present(dir: *mut bindings::inode) -> c_ulong {
    // What the file system reads after that is not older.
    // CAST: It is compared only.
    // SAFETY: The caller guarantees what the function wants.
    unsafe { inode_info::names(dir) }.load(Acquire) as c_ulong
}

/// `->d_revalidate()`: whether a name is as young as its directory wants. Never sleeps.
///
/// # Safety
///
/// `dir` must be the inode of a directory of a [`FileSystem`], and `dentry` a name that was looked
/// up in it; the memory of both must not be freed during the call, that of inodes is not before a
/// grace period ends.
unsafe extern "C" fn d_revalidate(
    dir: *mut bindings::inode,
    _name: *const bindings::qstr,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> c_int {
    // SAFETY: The VFS passes a dentry, perhaps under RCU alone. The field doesn't change once it is
    // in the dcache.
    let looked_up = unsafe { (*dentry).d_time };

    // SAFETY: The VFS passes the inode of the directory, perhaps under RCU alone.
    c_int::from(looked_up == unsafe { present(dir) })
}

/// Puts a name into the dcache that has been looked up, as one that can be reclaimed
/// (`d_splice_alias_ops()`).
///
/// # Safety
///
/// `dentry` must be a negative name that isn't in the dcache, of a directory that is locked, if
/// only shared; `inode` be no directory and of the same superblock, and a reference to it be handed
/// over. `names` must be what [`present`] has returned before the name was looked up.
pub(super) unsafe fn cache(
    dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    names: c_ulong,
) {
    // SAFETY: The dentry isn't in the dcache, so that nobody looks at the field.
    unsafe { (*dentry).d_time = names };
    // What it returns is null, as the inode is no directory.
    // SAFETY: The caller guarantees that the dentry isn't hashed, and hands the reference over. The
    // table is static, and its operation gets what it wants: the directory is of a `FileSystem`.
    unsafe { bindings::d_splice_alias_ops(inode, dentry, &raw const OPERATIONS) };
}

/// The inode that a name gets which was looked up: `new`, unless its twin is watched.
///
/// A watch keeps an inode, but no dentry: if that is reclaimed, the next one has to lead to the
/// same inode, or else the watchers miss what happens to the file.
pub(super) fn inode_of<T: FileSystem>(new: NewInode<'_, T>) -> *mut bindings::inode {
    let sb = new.sb();

    if sb.fsnotify_sb_has_watchers() {
        if let Some(inode) = find_watched(sb, (new.ino(), new.generation())) {
            return inode.as_ptr();
        }
    }
    new.into_raw()
}

/// Whether an inode is watched itself: so it has been published, as a watch is set by a path.
///
/// # Safety
///
/// `inode` must be an inode that isn't freed for the call.
unsafe fn is_watched(inode: *mut bindings::inode) -> bool {
    #[cfg(CONFIG_FSNOTIFY)]
    {
        // SAFETY: The caller guarantees that the inode isn't freed.
        let marks = unsafe { &raw const (*inode).i_fsnotify_marks };

        // SAFETY: The inode isn't freed; C looks whether there are any without a lock as well.
        !unsafe { marks.read_volatile() }.is_null()
    }
    #[cfg(not(CONFIG_FSNOTIFY))]
    {
        let _ = inode;
        false
    }
}

/// Finds an inode by its [handle](NewInode::set_handle), with a reference to it that is the
/// caller's, if it is watched, has a name, and is no directory. Waits for one that is being
/// evicted.
fn find_watched<T: FileSystem>(
    sb: &SuperBlock<T>,
    handle: (u64, u32),
) -> Option<NonNull<bindings::inode>> {
    /// # Safety
    ///
    /// `inode` must be an inode of `T` that isn't freed for the call, `handle` be from below.
    unsafe extern "C" fn agrees<T: FileSystem>(
        inode: *mut bindings::inode,
        handle: *mut c_void,
    ) -> c_int {
        // SAFETY: The caller passes the reference from below.
        let (ino, generation) = unsafe { *handle.cast::<(u64, u32)>() };

        // First of all: one that is still being made, whose fields change, isn't watched.
        // SAFETY: The inode isn't freed.
        if !unsafe { is_watched(inode) } {
            return 0;
        }
        // SAFETY: The inode isn't freed. Once it has been published, neither field changes.
        let same = unsafe { (*inode).i_ino == ino && (*inode).i_generation == generation };
        // SAFETY: The inode isn't freed, and being watched it is one of a `FileSystem`.
        let inode = unsafe { Inode::<T>::from_raw(inode) };

        c_int::from(same && !inode.mode().is_dir() && inode.nlink() != 0)
    }
    let (ino, generation) = handle;
    let mut handle = handle;

    // The hash is that of simple_hash_inode().
    // SAFETY: The superblock is valid, and `agrees` gets what it wants: inodes of the superblock.
    let inode = unsafe {
        bindings::ilookup5(
            sb.as_ptr(),
            ino.wrapping_add(generation.into()),
            Some(agrees::<T>),
            (&raw mut handle).cast::<c_void>(),
        )
    };

    NonNull::new(inode)
}

impl<T: FileSystem> Inode<T> {
    /// Makes all names stale that were looked up in this directory
    /// ([`lookup`](super::InodeOperations::lookup)): each is looked up anew when it is used next,
    /// and those that nobody uses are reclaimed some day. Open files stay.
    ///
    /// A lookup that is under way counts for before, so that what it has found is stale, too. Takes
    /// no lock.
    pub fn invalidate_names(&self) {
        // SAFETY: The inode is valid, and of a `FileSystem`.
        unsafe { inode_info::names(self.as_ptr()) }.fetch_add(1, Full);
    }
}

impl<T: FileSystem> SuperBlock<T> {
    /// Calls `f` with the inode of the number and generation `handle`, if it has a
    /// [handle](NewInode::set_handle) and is watched, whether or not it has a dentry. Not with a
    /// directory, nor with a file that was removed.
    ///
    /// May sleep, and wait for the end of such an inode: must not be called where that takes a lock
    /// which is held.
    pub fn with_watched<R>(&self, handle: (u64, u32), f: impl FnOnce(&Inode<T>) -> R) -> Option<R> {
        let inode = find_watched(self, handle)?.as_ptr();
        // SAFETY: It is one of this superblock, all of which are made by `NewInode`. It has been
        // published, and we have a reference until the end of this function.
        let result = f(unsafe { Inode::from_raw(inode) });

        // SAFETY: The reference is ours; it is not used again.
        unsafe { bindings::iput(inode) };
        Some(result)
    }
}

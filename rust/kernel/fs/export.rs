// SPDX-License-Identifier: GPL-2.0-only

//! File handles, and what they are made of.
//!
//! C headers: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)
//!
//! A handle names an inode of a superblock, for `name_to_handle_at()`, fanotify and NFS. The
//! superblock is known by its UUID, the inode by its number and its generation, which differs for
//! two inodes that had the same number one after the other.

use super::{
    FileSystem,
    Inode,
    KStatFs,
    NewInode,
    NewSuperBlock,
    SuperBlock, //
};
use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    uuid::Uuid, //
};
use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

impl<T: FileSystem> Inode<T> {
    /// The generation of the number: `inode->i_generation`.
    #[inline]
    pub fn generation(&self) -> u32 {
        // SAFETY: The inode is valid; the field doesn't change once others know the inode.
        unsafe { (*self.as_ptr()).i_generation }
    }
}

impl<T: FileSystem> NewInode<'_, T> {
    /// Sets the number, `inode->i_ino`, which is one of `get_next_ino()` else.
    ///
    /// Programs tell two inodes of a superblock apart by it. For an inode that has no
    /// [handle](Self::set_handle) yet: it would not be found by that any more.
    pub fn set_ino(&mut self, ino: u64) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { (*self.as_ptr()).i_ino = ino };
    }

    /// Sets the number and its generation, which is random else, to those of a handle that is known
    /// already, and which leads to the inode from then on (`simple_hash_inode()`).
    pub fn set_handle(&mut self, ino: u64, generation: u32) {
        let inode = self.as_ptr();

        self.set_ino(ino);
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { (*inode).i_generation = generation };
        // SAFETY: By the type invariant nobody else knows the inode, unless this is the second
        // call, which leaves the hash alone. A task that finds it now looks for its dentry only,
        // and may be the one that puts the last reference if this inode is dropped meanwhile.
        unsafe { bindings::simple_hash_inode(inode) };
    }
}

impl<T: FileSystem> NewSuperBlock<'_, T> {
    /// Lets its inodes have handles, of number and generation, as `simple_export_operations` does.
    ///
    /// [`FileSystem::before_fh_to_dentry`] is called before one is looked for. A handle leads to no
    /// inode of a tree that has no name yet (see [`Detached`](super::Detached)).
    pub fn set_simple_export_ops(&self) {
        // SAFETY: Nobody else uses the superblock until it is filled. The table is static; what it
        // wants is that the tree is in the dcache, as that of each `FileSystem` is, and that inodes
        // are hashed by itself alone, as those of `NewInode` are.
        unsafe { (*self.as_ptr()).s_export_op = &ExportOperations::<T>::VTABLE };
    }

    /// Sets the UUID, which `FS_IOC_GETFSUUID` tells (`super_set_uuid()`).
    pub fn set_uuid(&self, uuid: &Uuid) {
        let bytes = uuid.as_bytes();

        // SAFETY: Nobody else uses the superblock until it is filled. The bytes are valid for the
        // call, and as many as fit there.
        unsafe { bindings::super_set_uuid(self.as_ptr(), bytes.as_ptr(), bytes.len() as c_uint) };
    }
}

/// The `struct export_operations` of the file system `T`.
struct ExportOperations<T>(PhantomData<T>);

impl<T: FileSystem> ExportOperations<T> {
    const VTABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(bindings::simple_encode_fh),
        fh_to_dentry: Some(Self::fh_to_dentry),
        get_parent: Some(bindings::simple_get_parent),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `sb` must be a superblock of this file system, `fid` a handle of `fh_len` words.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        fid: *mut bindings::fid,
        fh_len: c_int,
        fh_type: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: The VFS passes a superblock that is in use.
        let of = unsafe { SuperBlock::<T>::from_raw(sb) };

        // SAFETY: The VFS passes a handle of so many words.
        if let Err(e) = unsafe { Self::before(of, fid, fh_len) } {
            return e.to_ptr();
        }
        // SAFETY: The arguments are those of this function, which are what that one wants.
        let found = unsafe { bindings::simple_fh_to_dentry(sb, fid, fh_len, fh_type) };
        let Ok(dentry) = from_err_ptr(found) else {
            return found;
        };

        // SAFETY: The root of a superblock that is in use stays.
        if dentry.is_null() || unsafe { bindings::is_subdir(dentry, (*sb).s_root) } {
            return dentry;
        }
        // It is in a tree that may be freed: that must not be in use then.
        // SAFETY: The reference is ours, and the dentry is not used again.
        unsafe { bindings::dput(dentry) };
        null_mut()
    }

    /// Tells the file system of a handle.
    ///
    /// # Safety
    ///
    /// `fid` must have `fh_len` words.
    unsafe fn before(sb: &SuperBlock<T>, fid: *const bindings::fid, fh_len: c_int) -> Result {
        // A shorter one is none of simple_encode_fh().
        if !T::HAS_BEFORE_FH_TO_DENTRY || fh_len < 3 {
            return Ok(());
        }
        // SAFETY: The caller guarantees that there are these words: the generation, and the two
        // halves of the number.
        let [_, low, high] = unsafe { fid.cast::<[u32; 3]>().read() };

        T::before_fh_to_dentry(sb, u64::from(high) << 32 | u64::from(low))
    }
}

impl KStatFs<'_> {
    /// Sets the ID that fanotify and others know the superblock by, to one that follows from its
    /// UUID (`uuid_to_fsid()`).
    pub fn set_fsid(&mut self, uuid: &Uuid) {
        let mut bytes = *uuid.as_bytes();

        // SAFETY: The function reads the 16 bytes of a UUID.
        self.0.f_fsid = unsafe { bindings::uuid_to_fsid(bytes.as_mut_ptr()) };
    }
}

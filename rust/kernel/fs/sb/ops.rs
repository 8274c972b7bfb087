// SPDX-License-Identifier: GPL-2.0-only

//! The operations of superblocks, as C calls them.

use super::{
    KStatFs,
    KillSuper,
    NewSuperBlock,
    SuperBlock, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fs::{
        inode,
        inode_info,
        xattr,
        Dentry,
        FileSystem,
        FsContext,
        Mode, //
    },
    prelude::*,
    seq_file::SeqFile, //
};
use core::{
    cell::Cell,
    marker::PhantomData, //
};

/// # Safety
///
/// `sb` must be a new superblock of the file system `T`, and `fc` the context that it is made for.
pub(in crate::fs) unsafe extern "C" fn fill_super<T: FileSystem>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: The superblock is new: nobody else uses the field.
    unsafe { (*sb).s_op = &Operations::<T>::VTABLE };
    // SAFETY: The superblock is new: nobody else uses the field.
    unsafe { (*sb).s_blocksize = bindings::PAGE_SIZE };
    // SAFETY: The superblock is new: nobody else uses the field.
    unsafe { (*sb).s_blocksize_bits = bindings::PAGE_SHIFT as u8 };
    // SAFETY: The superblock is new: nobody else uses the field.
    unsafe { (*sb).s_maxbytes = bindings::MAX_LFS_FILESIZE };
    // SAFETY: The superblock is new: nobody else uses the field.
    unsafe { (*sb).s_time_gran = 1 };
    if T::HAS_XATTRS {
        // SAFETY: The superblock is new: nobody else uses the field.
        unsafe { (*sb).s_xattr = xattr::handlers::<T>() };
    }
    from_result(|| {
        // SAFETY: The superblock is valid, and sget_fc() has moved the key into `s_fs_info`.
        let sb = NewSuperBlock(unsafe { SuperBlock::<T>::from_raw(sb) });

        // SAFETY: The caller, a method of `NewTree`, has exclusive use of the context and doesn't
        // touch it meanwhile.
        T::fill_super(&sb, &mut unsafe { FsContext::from_raw(fc) })?;
        sb.root().ok_or(EINVAL)?;
        Ok(0)
    })
}

/// # Safety
///
/// `sb` must be a superblock of the file system `T` without users.
pub(in crate::fs) unsafe extern "C" fn kill_sb<T: FileSystem>(sb: *mut bindings::super_block) {
    let killed = Cell::new(false);
    // SAFETY: The caller passes a superblock that is valid for this call, which was made by
    // a method of `NewTree`.
    let sb = unsafe { SuperBlock::from_raw(sb) };
    // INVARIANT: It is just being passed.
    let kill = || KillSuper {
        sb,
        killed: &killed,
    };

    T::kill_sb(kill());
    if !killed.get() {
        drop(kill());
    }
}

/// The `struct super_operations` of the file system `T`.
struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const VTABLE: bindings::super_operations = bindings::super_operations {
        statfs: if T::HAS_STATFS {
            Some(Self::statfs)
        } else {
            Some(bindings::simple_statfs)
        },
        alloc_inode: Some(inode_info::alloc_inode),
        evict_inode: Some(Self::evict_inode),
        free_inode: Some(Self::free_inode),
        drop_inode: Some(bindings::inode_just_drop),
        show_options: if T::HAS_SHOW_OPTIONS {
            Some(Self::show_options)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must be an inode of this file system that is being evicted.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: The VFS passes a valid inode.
        let mapping = unsafe { &raw mut (*inode).i_data };

        // SAFETY: The mapping is that of an inode that is being evicted, which nobody else uses.
        unsafe { bindings::truncate_inode_pages_final(mapping) };
        // SAFETY: The inode is being evicted: nobody else uses it.
        unsafe { bindings::clear_inode(inode) };
        // SAFETY: The inode is being evicted: nobody else uses it.
        unsafe { inode::drop_private::<T>(inode) };
    }

    /// # Safety
    ///
    /// `inode` must be an inode of this file system that nobody refers to, after a grace period.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: The VFS passes a valid inode, which nobody refers to.
        let mode = Mode::from_raw(unsafe { (*inode).i_mode });

        if mode.is_lnk() {
            // SAFETY: The VFS passes a valid inode, and for a symbolic link this is the member of
            // the union that is used.
            let link = unsafe { bindings::inode_link(inode) };

            // SAFETY: It is null or from kstrdup(). Walks by RCU, which read it without a
            // reference, are over.
            unsafe { bindings::kfree(link.cast::<c_void>()) };
        }
        // SAFETY: Nobody refers to the inode, which is from `->alloc_inode()`.
        unsafe { inode_info::free_inode(inode) };
    }

    /// # Safety
    ///
    /// `dentry` must be one of a superblock of this file system, `buf` be valid.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buf: *mut bindings::kstatfs,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes a valid dentry and a valid buffer.
            to_result(unsafe { bindings::simple_statfs(dentry, buf) })?;
            // SAFETY: The VFS holds the dentry.
            let dentry = unsafe { Dentry::<T>::from_raw(dentry) };
            // SAFETY: The VFS passes a valid buffer, which is ours for this call.
            let buf = unsafe { &mut *buf };

            T::statfs(dentry.sb(), &mut KStatFs(buf))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `root` must be the root of a superblock of this file system, `seq` a valid `seq_file`.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        let show = || -> Result<(), Error> {
            // SAFETY: The VFS holds the mount, and with it the root.
            let root = unsafe { Dentry::<T>::from_raw(root) };
            // SAFETY: The VFS passes a `seq_file` that is ours for this call.
            let seq = unsafe { SeqFile::from_raw(seq) };

            T::show_options(root.sb(), seq)
        };

        from_result(|| show().map(|()| 0))
    }
}

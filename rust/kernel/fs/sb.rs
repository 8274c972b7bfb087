// SPDX-License-Identifier: GPL-2.0-only

//! Superblocks.
//!
//! C headers: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    Dentry,
    FileSystem,
    FsContext,
    NewInode, //
};
use crate::{
    bindings,
    error::{
        from_result,
        Error, //
    },
    prelude::*,
    seq_file::SeqFile,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref, //
};

/// Flags of a superblock that are not those of a mount, the `SB_I_*` constants of
/// `include/linux/fs/super_types.h`.
pub mod iflags {
    /// Nothing on it can be executed (`SB_I_NOEXEC`).
    pub const NOEXEC: c_ulong = crate::bindings::SB_I_NOEXEC as c_ulong;
    /// Device nodes on it don't work (`SB_I_NODEV`).
    pub const NODEV: c_ulong = crate::bindings::SB_I_NODEV as c_ulong;

    use crate::ffi::c_ulong;
}

/// A `struct super_block` of the file system `T`.
///
/// # Invariants
///
/// `s_fs_info` comes from `T::Info::into_foreign()`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem> {
    inner: Opaque<bindings::super_block>,
    _p: PhantomData<fn() -> T>,
}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `raw` must be a superblock of the file system `T` that is valid for `'a`, made by
    /// [`FsContext::get_tree_keyed`].
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the safety requirements, and as the type is transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.inner.get()
    }

    /// What belongs to the superblock: `sb->s_fs_info`.
    pub fn info(&self) -> <T::Info as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariant it came from `into_foreign()`. It is taken back after the
        // superblock is dead, by [`KillSuper`].
        unsafe { T::Info::borrow((*self.as_ptr()).s_fs_info) }
    }

    /// Whether nothing on it can be changed (`SB_RDONLY`).
    pub fn is_rdonly(&self) -> bool {
        // SAFETY: The superblock is valid; C reads the flags without a lock as well.
        unsafe { (&raw const (*self.as_ptr()).s_flags).read_volatile() & bindings::SB_RDONLY != 0 }
    }

    /// The root directory: `sb->s_root`, which a superblock has from `fill_super` to `kill_sb`.
    pub fn root(&self) -> Option<&Dentry<T>> {
        // SAFETY: The superblock is valid.
        let root = unsafe { (*self.as_ptr()).s_root };

        // SAFETY: The superblock holds a reference to its root.
        (!root.is_null()).then(|| unsafe { Dentry::from_raw(root) })
    }
}

/// A superblock that is being filled, which nobody else sees yet.
pub struct NewSuperBlock<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> NewSuperBlock<'_, T> {
    /// Sets `s_magic`, by which `statfs()` tells file systems apart.
    pub fn set_magic(&self, magic: u32) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_magic = magic as c_ulong };
    }

    /// Adds to `s_iflags` a combination of the constants in [`iflags`].
    pub fn set_iflags(&self, flags: c_ulong) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_iflags |= flags };
    }

    /// Makes `inode` the root directory (`d_make_root()`).
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a root already, `EXDEV` if the inode is of another superblock,
    /// `ENOMEM`.
    pub fn make_root(&self, inode: NewInode<'_, T>) -> Result<&Dentry<T>> {
        if self.0.root().is_some() {
            return Err(EEXIST);
        }
        if !inode.is_of(self.0) {
            return Err(EXDEV);
        }
        // SAFETY: The inode is ours, and d_make_root() consumes it also when it fails. Nobody else
        // uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_root = bindings::d_make_root(inode.into_raw()) };
        self.0.root().ok_or(ENOMEM)
    }
}

impl<T: FileSystem> Deref for NewSuperBlock<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        self.0
    }
}

/// A superblock without users, in [`FileSystem::kill_sb`].
pub struct KillSuper<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> KillSuper<'_, T> {
    /// Tears the superblock down (`kill_anon_super()`) and returns what belonged to it.
    ///
    /// No dentry and no inode of it is left afterwards. A mounter of the same key waits until the
    /// superblock is marked dead, which happens before this returns: what another superblock with
    /// the key must not see has to be undone before.
    pub fn kill_anon_super(self) -> T::Info {
        ManuallyDrop::new(self).kill()
    }

    fn kill(&self) -> T::Info {
        let sb = self.0.as_ptr();

        // SAFETY: The VFS has called ->kill_sb() with this superblock. `s_fs_info` is taken back
        // only once, since `self` is consumed or being dropped, and after the last inode is gone.
        unsafe {
            bindings::kill_anon_super(sb);
            T::Info::from_foreign((&raw mut (*sb).s_fs_info).read())
        }
    }
}

impl<T: FileSystem> Deref for KillSuper<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for KillSuper<'_, T> {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// # Safety
///
/// `sb` must be a new superblock of the file system `T`, and `fc` the context that it is made for.
pub(super) unsafe extern "C" fn fill_super<T: FileSystem>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: The superblock is new: nobody else uses it.
    unsafe {
        (*sb).s_op = &Operations::<T>::VTABLE;
        (*sb).s_blocksize = bindings::PAGE_SIZE;
        (*sb).s_blocksize_bits = bindings::PAGE_SHIFT as u8;
        (*sb).s_maxbytes = bindings::MAX_LFS_FILESIZE;
        (*sb).s_time_gran = 1;
    }
    from_result(|| {
        // SAFETY: The superblock is valid, and sget_fc() has moved the key into `s_fs_info`.
        let sb = NewSuperBlock(unsafe { SuperBlock::<T>::from_raw(sb) });

        // SAFETY: The caller, `FsContext::get_tree_keyed()`, has exclusive use of the context and
        // doesn't touch it meanwhile.
        T::fill_super(&sb, &mut unsafe { FsContext::from_raw(fc) })?;
        sb.root().ok_or(EINVAL)?;
        Ok(0)
    })
}

/// # Safety
///
/// `sb` must be a superblock of the file system `T` without users.
pub(super) unsafe extern "C" fn kill_sb<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: The caller passes a superblock that is valid for this call, which was made by
    // get_tree_keyed().
    T::kill_sb(KillSuper(unsafe { SuperBlock::from_raw(sb) }));
}

/// The `struct super_operations` of the file system `T`.
struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const VTABLE: bindings::super_operations = bindings::super_operations {
        statfs: Some(bindings::simple_statfs),
        evict_inode: Some(Self::evict_inode),
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
        // SAFETY: Nobody else uses the inode; its data came from `into_foreign()` or is null, and
        // is not used after this.
        unsafe {
            bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
            bindings::clear_inode(inode);
            drop(T::InodeData::try_from_foreign((*inode).i_private));
        }
    }

    /// # Safety
    ///
    /// `root` must be the root of a superblock of this file system, `seq` a valid `seq_file`.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        let show = || -> Result<(), Error> {
            // SAFETY: The caller holds the mount and with it the superblock.
            let sb = unsafe { SuperBlock::<T>::from_raw((*root).d_sb) };

            // SAFETY: The caller passes a `seq_file` that is ours for this call.
            T::show_options(sb, unsafe { SeqFile::from_raw(seq) })
        };

        from_result(|| show().map(|()| 0))
    }
}

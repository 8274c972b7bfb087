// SPDX-License-Identifier: GPL-2.0-only

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    FileOps,
    FileSystem,
    InodeOps,
    Mode,
    SuperBlock, //
};
use crate::{
    bindings,
    prelude::*,
    task::{
        Kgid,
        Kuid, //
    },
    types::{
        ForeignOwnable,
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

/// A `struct inode` of the file system `T`.
///
/// There are only references that end with a callback of the VFS: an inode that is held longer has
/// to be put before its superblock goes, which no type can tell.
///
/// # Invariants
///
/// `i_private` comes from `T::InodeData::into_foreign()`.
#[repr(transparent)]
pub struct Inode<T: FileSystem> {
    inner: Opaque<bindings::inode>,
    _p: PhantomData<fn() -> T>,
}

// SAFETY: The methods of a shared reference read fields that don't change or are read once, or lock
// the inode first; `T::InodeData` is `Sync`.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

impl<T: FileSystem> Inode<T> {
    /// # Safety
    ///
    /// `raw` must be an inode made by [`NewInode`] for the file system `T`, valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the safety requirements, and as the type is transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.inner.get()
    }

    /// What belongs to the inode: `inode->i_private`.
    #[inline]
    pub fn data(&self) -> <T::InodeData as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariant it came from `into_foreign()`. It is taken back when the
        // inode is evicted, which nobody can refer to then.
        unsafe { T::InodeData::borrow((*self.as_ptr()).i_private) }
    }

    /// The superblock that the inode belongs to.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: A superblock outlives its inodes; `i_sb` never changes.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// The type and the access mode.
    ///
    /// Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn mode(&self) -> Mode {
        // SAFETY: The inode is valid; C reads the mode without a lock as well, by READ_ONCE().
        Mode::from_raw(unsafe { (&raw const (*self.as_ptr()).i_mode).read_volatile() })
    }

    /// The owner. Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn uid(&self) -> Kuid {
        // SAFETY: The inode is valid; C reads the owner without a lock as well.
        Kuid::from_raw(unsafe { (&raw const (*self.as_ptr()).i_uid).read_volatile() })
    }

    /// The group. Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn gid(&self) -> Kgid {
        // SAFETY: The inode is valid; C reads the group without a lock as well.
        Kgid::from_raw(unsafe { (&raw const (*self.as_ptr()).i_gid).read_volatile() })
    }

    /// Locks the inode for a change if nobody else has locked it (`inode_trylock()`).
    ///
    /// To wait for it may take long: who reads a directory keeps the lock over copies to user
    /// space.
    #[inline]
    pub fn try_lock(&self) -> Option<InodeGuard<'_, T>> {
        // SAFETY: The inode is valid.
        let locked = unsafe { bindings::inode_trylock(self.as_ptr()) } != 0;

        // INVARIANT: It has just been locked.
        locked.then_some(InodeGuard(self, NotThreadSafe))
    }
}

/// An inode that is locked (`inode->i_rwsem` held for writing).
///
/// # Invariants
///
/// The lock is held, by this guard.
pub struct InodeGuard<'a, T: FileSystem>(&'a Inode<T>, NotThreadSafe);

impl<T: FileSystem> InodeGuard<'_, T> {
    /// Changes owner and group, and the time of the last change.
    pub fn set_owner(&mut self, uid: Kuid, gid: Kgid) {
        let inode = self.0.as_ptr();

        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe {
            (*inode).i_uid = uid.into_raw();
            (*inode).i_gid = gid.into_raw();
            bindings::inode_set_ctime_current(inode);
        }
    }

    /// Changes the access mode, and the time of the last change; the type stays.
    pub fn set_mode(&mut self, mode: Mode) {
        let inode = self.0.as_ptr();

        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe {
            (*inode).i_mode = Mode::from_raw((*inode).i_mode)
                .with_permissions(mode)
                .into_raw();
            bindings::inode_set_ctime_current(inode);
        }
    }
}

impl<T: FileSystem> Drop for InodeGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::inode_unlock(self.0.as_ptr()) };
    }
}

/// An inode that isn't in the dcache yet, so that nobody else sees it.
///
/// # Invariants
///
/// The inode has been made by [`NewInode::new`], and this is its only reference.
pub struct NewInode<'a, T: FileSystem>(&'a Inode<T>);

impl<'a, T: FileSystem> NewInode<'a, T> {
    /// Makes an inode with a number of its own and the present time (`new_inode()`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(sb: &'a SuperBlock<T>, mode: Mode, data: T::InodeData) -> Result<Self> {
        // SAFETY: The superblock is valid.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };

        if inode.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The inode is new: nobody else uses it.
        unsafe {
            (*inode).i_ino = u64::from(bindings::get_next_ino());
            (*inode).i_mode = mode.into_raw();
            (*inode).i_private = data.into_foreign();
            bindings::simple_inode_init_ts(inode);
        }
        // SAFETY: new_inode() returns one reference, which is ours; the private data has been set.
        // INVARIANT: As above.
        Ok(Self(unsafe { Inode::from_raw(inode) }))
    }

    /// Sets owner and group.
    pub fn set_owner(&mut self, uid: Kuid, gid: Kgid) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe {
            (*self.0.as_ptr()).i_uid = uid.into_raw();
            (*self.0.as_ptr()).i_gid = gid.into_raw();
        }
    }

    /// Sets the number of links (`set_nlink()`), which is one else.
    pub fn set_nlink(&mut self, nlink: u32) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::set_nlink(self.0.as_ptr(), nlink) };
    }

    /// Sets the size in bytes (`i_size_write()`), which is zero else.
    pub fn set_size(&mut self, size: bindings::loff_t) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::i_size_write(self.0.as_ptr(), size) };
    }

    /// Sets what can be done with an open file of this inode: `inode->i_fop`.
    pub fn set_file_ops(&mut self, ops: FileOps<T>) {
        // SAFETY: By the type invariant nobody else uses the inode; the table is static and for
        // inodes of `T`.
        unsafe { bindings::inode_set_fop(self.0.as_ptr(), ops.as_ptr()) };
    }

    /// Sets what can be done with the inode: `inode->i_op`.
    pub fn set_inode_ops(&mut self, ops: InodeOps<T>) {
        // SAFETY: By the type invariant nobody else uses the inode; the table is static and for
        // inodes of `T`.
        unsafe { (*self.0.as_ptr()).i_op = ops.as_ptr() };
    }

    /// Whether the inode belongs to the given superblock.
    #[inline]
    pub(super) fn is_of(&self, sb: &SuperBlock<T>) -> bool {
        core::ptr::eq(self.0.sb(), sb)
    }

    /// Hands over the reference.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl<T: FileSystem> Drop for NewInode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours; it is not used again.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    file::LocalFile,
    inode_info,
    DevT,
    FileSystem,
    Mode,
    SuperBlock,
    Times, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    str::CStrExt as _,
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
    ops::Deref,
    ptr::null_mut, //
};

/// Drops what belongs to an inode.
///
/// # Safety
///
/// `inode` must be one of the file system `T` that is being evicted.
pub(super) unsafe fn drop_private<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: The caller guarantees that the inode is one of `T`, and that nobody else uses it.
    unsafe { inode_info::set_offset_ctx(inode, null_mut()) };
    // SAFETY: The caller guarantees that nobody else uses the inode.
    let private = unsafe { &mut (*inode).i_private };
    let data = core::mem::replace(private, null_mut());

    // SAFETY: It came from `into_foreign()` or is null, and is not used after this.
    drop(unsafe { T::InodeData::try_from_foreign(data) });
}

/// A `struct inode` of the file system `T`.
///
/// There are only references that end with a callback of the VFS: an inode that is held longer has
/// to be put before its superblock goes, which no type can tell.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Inode};
///
/// /// How many bytes a regular file has.
/// fn bytes<T: FileSystem>(inode: &Inode<T>) -> Option<i64> {
///     inode.mode().is_reg().then(|| inode.size())
/// }
/// ```
///
/// # Invariants
///
/// `i_private` comes from `T::InodeData::into_foreign()`. It is a superblock's of `T`, and so lies
/// in an [`InodeInfo`](inode_info::InodeInfo).
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
        // SAFETY: The caller guarantees that the inode is valid for the lifetime; the type is
        // transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.inner.get()
    }

    /// What belongs to the inode: `inode->i_private`.
    #[inline]
    pub fn data(&self) -> <T::InodeData as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: The inode is valid; the field doesn't change once others know the inode.
        let private = unsafe { (*self.as_ptr()).i_private };

        // SAFETY: By the type invariant it came from `into_foreign()`. It is taken back when the
        // inode is evicted, which nobody can refer to then.
        unsafe { T::InodeData::borrow(private) }
    }

    /// The superblock that the inode belongs to.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: The inode is valid; the field never changes.
        let sb = unsafe { (*self.as_ptr()).i_sb };

        // SAFETY: A superblock outlives its inodes, and is of the same file system.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// The type and the access mode.
    ///
    /// Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn mode(&self) -> Mode {
        // SAFETY: The inode is valid.
        let mode = unsafe { &raw const (*self.as_ptr()).i_mode };

        // SAFETY: The inode is valid; C reads the mode without a lock as well, by READ_ONCE().
        Mode::from_raw(unsafe { mode.read_volatile() })
    }

    /// The owner. Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn uid(&self) -> Kuid {
        // SAFETY: The inode is valid.
        let uid = unsafe { &raw const (*self.as_ptr()).i_uid };

        // SAFETY: The inode is valid; C reads the owner without a lock as well.
        Kuid::from_raw(unsafe { uid.read_volatile() })
    }

    /// The group. Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn gid(&self) -> Kgid {
        // SAFETY: The inode is valid.
        let gid = unsafe { &raw const (*self.as_ptr()).i_gid };

        // SAFETY: The inode is valid; C reads the group without a lock as well.
        Kgid::from_raw(unsafe { gid.read_volatile() })
    }

    /// The number of the inode.
    #[inline]
    pub fn ino(&self) -> u64 {
        // SAFETY: The inode is valid; the number never changes.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// The size in bytes (`i_size_read()`). Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn size(&self) -> bindings::loff_t {
        // SAFETY: The inode is valid.
        unsafe { bindings::i_size_read(self.as_ptr()) }
    }

    /// The number of links. Without the [lock](Self::lock) it may be outdated.
    #[inline]
    pub fn nlink(&self) -> u32 {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_nlink(self.as_ptr()) }
    }

    /// The device that a special file stands for.
    #[inline]
    pub fn rdev(&self) -> DevT {
        // SAFETY: The inode is valid; the field never changes.
        DevT::from_raw(unsafe { (*self.as_ptr()).i_rdev })
    }

    /// What a symbolic link points at that was made by [`NewInode::set_symlink`].
    pub fn link(&self) -> Option<&CStr> {
        if !self.mode().is_lnk() {
            return None;
        }
        // SAFETY: The inode is valid, and for a symbolic link this is the member that is used.
        let link = unsafe { bindings::inode_link(self.as_ptr()) };

        // SAFETY: It is a string that belongs to the inode and never changes.
        (!link.is_null()).then(|| unsafe { CStr::from_char_ptr(link) })
    }

    /// The times. Without the [lock](Self::lock) they may be outdated.
    #[inline]
    pub fn times(&self) -> Times {
        // SAFETY: The inode is valid.
        unsafe { Times::of(self.as_ptr()) }
    }

    /// Locks the inode for a change (`inode_lock()`).
    ///
    /// May sleep, and long: a task that reads a directory keeps the lock over copies to user space.
    #[inline]
    pub fn lock(&self) -> InodeGuard<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_lock(self.as_ptr()) };
        // INVARIANT: It has just been locked.
        InodeGuard(LockedInode(self, NotThreadSafe))
    }

    /// Locks the inode for a change if nobody else has locked it (`inode_trylock()`).
    #[inline]
    pub fn try_lock(&self) -> Option<InodeGuard<'_, T>> {
        // SAFETY: The inode is valid.
        let locked = unsafe { bindings::inode_trylock(self.as_ptr()) } != 0;

        // Not `then_some()`: it would make and drop a guard, and so unlock, what is not locked.
        // INVARIANT: It has just been locked.
        locked.then(|| InodeGuard(LockedInode(self, NotThreadSafe)))
    }
}

/// An inode that is locked (`inode->i_rwsem` held for writing).
///
/// The methods that change the inode take a shared reference: the lock belongs to the thread, which
/// no value of this can leave. An exclusive one is given to nobody, as with it two inodes could be
/// exchanged below the guards that unlock them.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, LockedInode, Mode};
///
/// fn make_private<T: FileSystem>(inode: &LockedInode<'_, T>) {
///     inode.set_mode(Mode::reg(0o600));
/// }
/// ```
///
/// # Invariants
///
/// The lock is held for as long as this lives.
pub struct LockedInode<'a, T: FileSystem>(&'a Inode<T>, NotThreadSafe);

impl<'a, T: FileSystem> LockedInode<'a, T> {
    /// # Safety
    ///
    /// The inode must be locked for `'a`.
    #[inline]
    pub(super) unsafe fn new(inode: &'a Inode<T>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(inode, NotThreadSafe)
    }

    /// # Errors
    ///
    /// `EINVAL` if this isn't the inode of `file`.
    ///
    /// # Safety
    ///
    /// `file` must be valid.
    pub(super) unsafe fn check_inode_of(&self, file: *mut bindings::file) -> Result {
        // SAFETY: The caller guarantees that the file is valid.
        if unsafe { bindings::file_inode(file) } == self.0.as_ptr() {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Takes set-id bits and capabilities away from a file whose contents are about to change,
    /// unless the caller may keep them (`file_remove_privs()`).
    ///
    /// That is a change of attributes ([`setattr`]) and of an extended attribute
    /// ([`FileSystem::set_xattr`]).
    ///
    /// [`setattr`]: super::InodeOperations::setattr
    ///
    /// # Errors
    ///
    /// `EINVAL` if `file` is none of this inode, and what these operations return.
    pub fn file_remove_privs(&self, file: &LocalFile) -> Result {
        // SAFETY: The file is valid.
        unsafe { self.check_inode_of(file.as_ptr()) }?;
        // SAFETY: The file is valid, and its inode locked by the type invariant.
        to_result(unsafe { bindings::file_remove_privs(file.as_ptr()) })
    }

    /// Changes owner and group, and the time of the last change.
    pub fn set_owner(&self, uid: Kuid, gid: Kgid) {
        let inode = self.0.as_ptr();

        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { (*inode).i_uid = uid.into_raw() };
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { (*inode).i_gid = gid.into_raw() };
        self.set_ctime_current();
    }

    /// Changes the access mode, and the time of the last change; the type stays.
    pub fn set_mode(&self, mode: Mode) {
        let mode = self.mode().with_permissions(mode).into_raw();

        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { (*self.0.as_ptr()).i_mode = mode };
        self.set_ctime_current();
    }

    /// Changes the size in bytes (`i_size_write()`), and no time.
    pub fn i_size_write(&self, size: bindings::loff_t) {
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { bindings::i_size_write(self.0.as_ptr(), size) };
    }

    /// Changes how many bytes the inode takes up (`inode_set_bytes()`): what [`GetAttr`] has for
    /// `st_blocks`, and the ioctl `FIOQSIZE`.
    ///
    /// [`GetAttr`]: super::GetAttr
    pub fn inode_set_bytes(&self, bytes: bindings::loff_t) {
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { bindings::inode_set_bytes(self.0.as_ptr(), bytes) };
    }

    /// Changes the times.
    pub fn set_times(&self, times: Times) {
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { times.set(self.0.as_ptr()) };
    }

    /// Makes the present the time of the last change of the attributes
    /// (`inode_set_ctime_current()`).
    pub fn set_ctime_current(&self) {
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { bindings::inode_set_ctime_current(self.0.as_ptr()) };
    }
}

impl<T: FileSystem> Deref for LockedInode<'_, T> {
    type Target = Inode<T>;

    #[inline]
    fn deref(&self) -> &Inode<T> {
        self.0
    }
}

/// An inode that is locked, until this is dropped.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Inode};
///
/// fn empty<T: FileSystem>(inode: &Inode<T>) -> Result {
///     let guard = inode.try_lock().ok_or(EBUSY)?;
///
///     guard.i_size_write(0);
///     Ok(())
/// }
/// ```
///
/// # Invariants
///
/// The lock is held, by this guard.
pub struct InodeGuard<'a, T: FileSystem>(LockedInode<'a, T>);

impl<'a, T: FileSystem> Deref for InodeGuard<'a, T> {
    type Target = LockedInode<'a, T>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: FileSystem> Drop for InodeGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::inode_unlock(self.0.as_ptr()) };
    }
}

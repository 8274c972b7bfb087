// SPDX-License-Identifier: GPL-2.0-only

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    file::LocalFile,
    inode_ops,
    FileOps,
    FileSystem,
    FileType,
    InodeOperations,
    InodeOps,
    Mode,
    SuperBlock, //
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
    mem::ManuallyDrop,
    ops::Deref,
    ptr::null_mut, //
};

/// The size that an entry adds to its directory, as in tmpfs (`BOGO_DIRENT_SIZE`).
pub(super) const DIRENT_SIZE: bindings::loff_t = 20;

/// A time of an inode: a `struct timespec64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timespec {
    /// Seconds since 1970, or before it.
    pub sec: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nsec: u32,
}

impl Timespec {
    /// The time as C has it; too large a part below a second becomes the largest.
    #[inline]
    pub(super) fn into_raw(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            // CAST: It is below 1,000,000,000.
            tv_nsec: self.nsec.min(999_999_999) as c_long,
        }
    }
}

/// The times of an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Of the last read.
    pub atime: Timespec,
    /// Of the last change of the contents.
    pub mtime: Timespec,
    /// Of the last change of the contents or the attributes.
    pub ctime: Timespec,
}

impl Times {
    /// The times of an inode, which may be outdated without its lock.
    ///
    /// # Safety
    ///
    /// `inode` must be valid.
    pub(super) unsafe fn of(inode: *mut bindings::inode) -> Self {
        // SAFETY: By the safety requirements.
        let ctime = unsafe { bindings::inode_get_ctime(inode) };

        // SAFETY: By the safety requirements; C reads the fields without a lock as well.
        unsafe {
            Self {
                atime: Timespec {
                    sec: (&raw const (*inode).i_atime_sec).read_volatile(),
                    nsec: (&raw const (*inode).i_atime_nsec).read_volatile(),
                },
                mtime: Timespec {
                    sec: (&raw const (*inode).i_mtime_sec).read_volatile(),
                    nsec: (&raw const (*inode).i_mtime_nsec).read_volatile(),
                },
                ctime: Timespec {
                    sec: ctime.tv_sec,
                    // CAST: It is below 1,000,000,000.
                    nsec: ctime.tv_nsec as u32,
                },
            }
        }
    }

    /// # Safety
    ///
    /// `inode` must be valid, and locked or not known to anybody else.
    pub(super) unsafe fn set(&self, inode: *mut bindings::inode) {
        let (atime, mtime) = (self.atime.into_raw(), self.mtime.into_raw());

        // SAFETY: By the safety requirements; a `read()` may set the access time meanwhile, in C as
        // well. The nanoseconds are below 1,000,000,000.
        unsafe {
            (*inode).i_atime_sec = atime.tv_sec;
            (*inode).i_atime_nsec = atime.tv_nsec as u32;
            (*inode).i_mtime_sec = mtime.tv_sec;
            (*inode).i_mtime_nsec = mtime.tv_nsec as u32;
            bindings::inode_set_ctime_to_ts(inode, self.ctime.into_raw());
        }
    }
}

/// The number of a device: a `dev_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevT(bindings::dev_t);

impl DevT {
    /// The device that a number stands for which [`DevT::encode`] has returned, on any kernel
    /// (`new_decode_dev()`).
    #[inline]
    pub fn decode(encoded: u32) -> Self {
        // SAFETY: It is a calculation.
        Self(unsafe { bindings::new_decode_dev(encoded) })
    }

    /// The number as user space and other kernels know it (`new_encode_dev()`).
    #[inline]
    pub fn encode(self) -> u32 {
        // SAFETY: It is a calculation.
        unsafe { bindings::new_encode_dev(self.0) }
    }

    #[inline]
    pub(super) fn from_raw(raw: bindings::dev_t) -> Self {
        Self(raw)
    }
}

/// What `i_private` of a directory with an offset map points to.
pub(super) struct OffsetDir {
    map: Opaque<bindings::offset_ctx>,
    /// What `i_private` is of other inodes.
    data: *mut c_void,
}

/// Marks a pointer to an [`OffsetDir`].
const OFFSET_DIR: usize = 1;

/// The directory data that `private` points to, if it is marked so.
#[inline]
fn offset_dir(private: *mut c_void) -> Option<*mut OffsetDir> {
    (private.addr() & OFFSET_DIR != 0).then(|| {
        private
            .map_addr(|addr| addr & !OFFSET_DIR)
            .cast::<OffsetDir>()
    })
}

/// The offset map of a directory, null if it has none.
///
/// # Safety
///
/// `inode` must be one made by [`NewInode`].
#[inline]
pub(super) unsafe fn offset_ctx(inode: *mut bindings::inode) -> *mut bindings::offset_ctx {
    // SAFETY: By the safety requirements; a marked pointer is one to an `OffsetDir`, which lives as
    // long as the inode.
    unsafe { offset_dir((*inode).i_private).map_or(null_mut(), |dir| (*dir).map.get()) }
}

/// Drops what belongs to an inode.
///
/// # Safety
///
/// `inode` must be one of the file system `T` that is being evicted.
pub(super) unsafe fn drop_private<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: By the safety requirements nobody else uses the inode.
    let mut private = unsafe { (&raw mut (*inode).i_private).replace(null_mut()) };

    if let Some(dir) = offset_dir(private) {
        // SAFETY: By the type invariant of `Inode` it is a box, which nobody else can refer to: who
        // walks the map holds the inode.
        let dir = unsafe { KBox::from_raw(dir) };

        // SAFETY: The map has been initialised when the directory was made.
        unsafe { bindings::simple_offset_destroy(dir.map.get()) };
        private = dir.data;
    }
    // SAFETY: It came from `into_foreign()` or is null, and is not used after this.
    drop(unsafe { T::InodeData::try_from_foreign(private) });
}

/// A `struct inode` of the file system `T`.
///
/// There are only references that end with a callback of the VFS: an inode that is held longer has
/// to be put before its superblock goes, which no type can tell.
///
/// # Invariants
///
/// `i_private` comes from `T::InodeData::into_foreign()`. That of a directory with an offset map
/// comes from `KBox<OffsetDir>::into_raw()`, has the lowest bit set, and `OffsetDir::data` is what
/// comes from there.
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
        // SAFETY: The inode is valid; the field doesn't change once others know the inode.
        let mut private = unsafe { (*self.as_ptr()).i_private };

        if let Some(dir) = offset_dir(private) {
            // SAFETY: By the type invariant; it lives as long as the inode.
            private = unsafe { (*dir).data };
        }
        // SAFETY: By the type invariant it came from `into_foreign()`. It is taken back when the
        // inode is evicted, which nobody can refer to then.
        unsafe { T::InodeData::borrow(private) }
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
        let link = unsafe { (*self.as_ptr()).__bindgen_anon_5.i_link };

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
    /// May sleep, and long: who reads a directory keeps the lock over copies to user space.
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

        // INVARIANT: It has just been locked.
        locked.then_some(InodeGuard(LockedInode(self, NotThreadSafe)))
    }
}

/// An inode that is locked (`inode->i_rwsem` held for writing).
///
/// What changes the inode takes a shared reference: the lock belongs to the thread, which no value
/// of this can leave. An exclusive one is given to nobody, as with it two inodes could be exchanged
/// below the guards that unlock them.
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
        // SAFETY: By the safety requirements.
        if unsafe { bindings::file_inode(file) } == self.0.as_ptr() {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Takes set-id bits and capabilities away from a file whose contents are about to change, if
    /// the caller isn't one who may keep them (`file_remove_privs()`).
    ///
    /// That is a change of attributes ([`InodeOperations::setattr`]) and of an extended attribute
    /// ([`FileSystem::set_xattr`]).
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

    /// Makes the present the time of the last change of the contents and the attributes.
    pub fn set_mtime_ctime_current(&self) {
        // SAFETY: The inode is valid and locked, by the type invariant.
        unsafe { touch(self.0.as_ptr()) };
    }
}

/// Makes the present the time of the last change of contents and attributes.
///
/// # Safety
///
/// `inode` must be valid and locked.
pub(super) unsafe fn touch(inode: *mut bindings::inode) {
    // SAFETY: By the safety requirements; what inode_set_ctime_current() returns is normalised.
    unsafe {
        let now = bindings::inode_set_ctime_current(inode);

        (*inode).i_mtime_sec = now.tv_sec;
        (*inode).i_mtime_nsec = now.tv_nsec as u32;
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

/// An inode that isn't in the dcache yet, so that nobody else uses it.
///
/// Once it has a [handle](Self::set_handle), others may find it by that, and hold it while they
/// look for a dentry, in vain: they neither read nor change what is set here.
///
/// # Invariants
///
/// The inode has been made by [`NewInode::new`], has no dentry, and this is a reference to it, the
/// only one but for those who look for its dentry.
pub struct NewInode<'a, T: FileSystem>(&'a Inode<T>);

impl<'a, T: FileSystem> NewInode<'a, T> {
    /// Makes an inode with a number of its own, a random generation and the present time
    /// (`new_inode()`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(sb: &'a SuperBlock<T>, mode: Mode, data: T::InodeData) -> Result<Self> {
        // A bit of the pointer tells of an offset map.
        const_assert!(T::InodeData::FOREIGN_ALIGN > OFFSET_DIR);
        // SAFETY: The superblock is valid.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };

        if inode.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The inode is new: nobody else uses it.
        unsafe {
            (*inode).i_ino = u64::from(bindings::get_next_ino());
            (*inode).i_generation = bindings::get_random_u32();
            (*inode).i_mode = mode.into_raw();
            (*inode).i_private = data.into_foreign();
            bindings::simple_inode_init_ts(inode);
            bindings::cache_no_acl(inode);
        }
        // SAFETY: new_inode() returns one reference, which is ours; the private data has been set.
        // INVARIANT: As above.
        let new = Self(unsafe { Inode::from_raw(inode) });

        if T::HAS_XATTRS && T::xattrs(&new).is_none() {
            // SAFETY: As above. What a security module keeps in memory can be set then.
            unsafe { (*inode).i_opflags &= !(bindings::IOP_XATTR as c_ushort) };
        }
        Ok(new)
    }

    /// Makes it a directory whose entries have lasting positions, as those of tmpfs: entries are
    /// added and removed by the operations `O` and by [`Creating`](super::Creating), and `readdir`
    /// doesn't miss or repeat any (`simple_offset_dir_operations`).
    ///
    /// It has no entries, a size and two links.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it isn't one by its mode, `EEXIST` for a second call, `ENOMEM`.
    pub fn set_offset_dir<O: InodeOperations<FileSystem = T>>(&mut self) -> Result {
        let inode = self.0.as_ptr();

        if !self.mode().is_dir() {
            return Err(ENOTDIR);
        }
        // SAFETY: By the type invariant nobody else uses the inode.
        let data = unsafe { (*inode).i_private };
        if offset_dir(data).is_some() {
            return Err(EEXIST);
        }
        let dir = KBox::new(
            OffsetDir {
                map: Opaque::uninit(),
                data,
            },
            GFP_KERNEL_ACCOUNT,
        )?;

        // SAFETY: The map lies where it stays, and is initialised only here.
        unsafe { bindings::simple_offset_init(dir.map.get()) };
        // SAFETY: By the type invariant nobody else uses the inode. The tables are static, and get
        // the map that they want.
        // INVARIANT: The pointer is one of a box, and marked so: a box of it is aligned to more.
        unsafe {
            (*inode).i_private = KBox::into_raw(dir)
                .cast::<c_void>()
                .map_addr(|addr| addr | OFFSET_DIR);
            (*inode).i_op = inode_ops::offset_dir::<O>();
            bindings::inode_set_fop(inode, &raw const bindings::simple_offset_dir_operations);
            bindings::set_nlink(inode, 2);
            bindings::i_size_write(inode, 2 * DIRENT_SIZE);
        }
        Ok(())
    }

    /// Makes it a symbolic link to `target`, which gives it its size, of the kind `O`
    /// (`simple_get_link()`).
    ///
    /// Both come together, as C follows each inode that can be asked for its target.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't a symbolic link by its mode, `EEXIST` for a second call, `ENOMEM`.
    pub fn set_symlink<O: InodeOperations<FileSystem = T>>(&mut self, target: &CStr) -> Result {
        let inode = self.0.as_ptr();
        let len = c_int::try_from(target.to_bytes().len())?;

        if !self.mode().is_lnk() {
            return Err(EINVAL);
        }
        // SAFETY: The inode is valid, and being a link it has one or null there.
        if !unsafe { bindings::inode_link(inode) }.is_null() {
            return Err(EEXIST);
        }
        // SAFETY: The string is valid for the call.
        let link = unsafe { bindings::kstrdup(target.as_char_ptr(), bindings::GFP_KERNEL_ACCOUNT) };
        if link.is_null() {
            return Err(ENOMEM);
        }
        self.set_size(len.into());
        // SAFETY: By the type invariant nobody else uses the inode. The string is freed with it.
        unsafe { bindings::inode_set_cached_link(inode, link, len) };
        // SAFETY: By the type invariant nobody else uses the inode. The table is static, and the
        // target that it returns is there.
        unsafe { (*inode).i_op = inode_ops::symlink::<O>() };
        Ok(())
    }

    /// Sets how many bytes it occupies (`inode_set_bytes()`), which are none else.
    pub fn set_bytes(&mut self, bytes: bindings::loff_t) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::inode_set_bytes(self.0.as_ptr(), bytes) };
    }

    /// Makes it a special file: a device, a named pipe or a socket (`init_special_inode()`).
    ///
    /// What can be done with the inode has to be set, too; what with an open file can't be.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is neither by its mode.
    pub fn init_special(&mut self, rdev: DevT) -> Result {
        let mode = self.mode();

        match mode.file_type() {
            Some(FileType::Chr | FileType::Blk | FileType::Fifo | FileType::Sock) => {}
            _ => return Err(EINVAL),
        }
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::init_special_inode(self.0.as_ptr(), mode.into_raw(), rdev.0) };
        Ok(())
    }

    /// Sets the times, which are the present else.
    pub fn set_times(&mut self, times: Times) {
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { times.set(self.0.as_ptr()) };
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
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is neither a regular file nor a directory by its mode: what others do is
    /// [`init_special`](Self::init_special)'s. C takes the inode of an open file that is a block
    /// device by its mode for that of the device itself (`I_BDEV()`).
    pub fn set_file_ops(&mut self, ops: FileOps<T>) -> Result {
        let mode = self.mode();

        if !mode.is_reg() && !mode.is_dir() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant nobody else uses the inode; the table is static and for
        // inodes of `T`.
        unsafe { bindings::inode_set_fop(self.0.as_ptr(), ops.as_ptr()) };
        Ok(())
    }

    /// Sets what can be done with the inode: `inode->i_op`. A directory made by
    /// [`set_offset_dir`](Self::set_offset_dir) keeps what it has.
    pub fn set_inode_ops(&mut self, ops: InodeOps<T>) {
        // SAFETY: The inode is valid, and made by `new`.
        if !unsafe { offset_ctx(self.0.as_ptr()) }.is_null() {
            return;
        }
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

impl<T: FileSystem> Deref for NewInode<'_, T> {
    type Target = Inode<T>;

    #[inline]
    fn deref(&self) -> &Inode<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for NewInode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours; it is not used again.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

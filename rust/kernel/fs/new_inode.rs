// SPDX-License-Identifier: GPL-2.0-only

//! Inodes that are being made.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    inode_info,
    inode_ops,
    DevT,
    FileOps,
    FileSystem,
    FileType,
    Inode,
    InodeOperations,
    InodeOps,
    Mode,
    SuperBlock,
    Times, //
};
use crate::{
    bindings,
    prelude::*,
    str::CStrExt as _,
    sync::LockClassKey,
    task::{
        Kgid,
        Kuid, //
    },
    types::ForeignOwnable, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};

/// An inode that isn't in the dcache yet, so that nobody else uses it.
///
/// Once it has a [handle](Self::set_handle), another task may find it by that, and hold it while it
/// looks for a dentry, in vain: it neither reads nor changes the fields that are set here.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileOps, FileSystem, Mode, NewInode, SuperBlock};
///
/// /// Makes a directory that lies in the dcache alone.
/// fn new_dir<T: FileSystem<InodeData = ()>>(sb: &SuperBlock<T>) -> Result<NewInode<'_, T>> {
///     let mut dir = NewInode::new(sb, Mode::dir(0o755), ())?;
///
///     dir.set_nlink(2);
///     dir.set_file_ops(FileOps::simple_dir())?;
///     Ok(dir)
/// }
/// ```
///
/// # Invariants
///
/// The inode has been made by [`NewInode::new`], has no dentry, and this is a reference to it, the
/// only one but for tasks that look for its dentry.
pub struct NewInode<'a, T: FileSystem>(&'a Inode<T>);

impl<'a, T: FileSystem> NewInode<'a, T> {
    /// Makes an inode with a number of its own, a random generation and the present time
    /// (`new_inode()`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(sb: &'a SuperBlock<T>, mode: Mode, data: T::InodeData) -> Result<Self> {
        let mut new = Self::alloc(sb, mode, data)?;
        // SAFETY: The function has no requirements.
        let ino = unsafe { bindings::get_next_ino() };
        // SAFETY: The function has no requirements.
        let generation = unsafe { bindings::get_random_u32() };

        new.set_ino(ino.into());
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { (*new.as_ptr()).i_generation = generation };
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::simple_inode_init_ts(new.as_ptr()) };
        Ok(new)
    }

    /// Makes an inode with a number and a generation of the caller's, and the present time. Both
    /// together tell its [handle](Self::set_handle) from that of each other inode.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn with_ino(
        sb: &'a SuperBlock<T>,
        mode: Mode,
        data: T::InodeData,
        (ino, generation): (u64, u32),
    ) -> Result<Self> {
        let mut new = Self::alloc(sb, mode, data)?;

        new.set_ino(ino);
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { (*new.as_ptr()).i_generation = generation };
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { bindings::simple_inode_init_ts(new.as_ptr()) };
        Ok(new)
    }

    /// Makes an inode that there was before, with its number, its generation and its times, as
    /// [`set_handle`](Self::set_handle) and [`set_times`](Self::set_times) do.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn restore(
        sb: &'a SuperBlock<T>,
        mode: Mode,
        data: T::InodeData,
        (ino, generation): (u64, u32),
        times: Times,
    ) -> Result<Self> {
        let mut new = Self::alloc(sb, mode, data)?;

        new.set_times(times);
        new.set_handle(ino, generation);
        Ok(new)
    }

    /// Makes an inode that has neither number, generation nor times yet.
    fn alloc(sb: &'a SuperBlock<T>, mode: Mode, data: T::InodeData) -> Result<Self> {
        // SAFETY: The superblock is valid.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };

        if inode.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The inode is new: nobody else uses it.
        unsafe { (*inode).i_private = data.into_foreign() };
        // SAFETY: new_inode() returns one reference, which is ours; the private data has been set.
        // INVARIANT: The inode is new, so that nobody else has a reference, and has no dentry.
        let new = Self(unsafe { Inode::from_raw(inode) });

        // SAFETY: The inode is new: nobody else uses it.
        unsafe { (*inode).i_mode = mode.into_raw() };
        // SAFETY: The inode is new: nobody else uses it.
        unsafe { bindings::cache_no_acl(inode) };
        if T::HAS_XATTRS && T::xattrs(&new).is_none() {
            // The label that a security module keeps in memory can be set then.
            // SAFETY: The inode is new: nobody else uses it.
            unsafe { (*inode).i_opflags &= !(bindings::IOP_XATTR as c_ushort) };
        }
        Ok(new)
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

    /// Gives its lock a lock class of its own, for a directory whose lock is held while those of
    /// others are taken that are not beneath it yet, see [`Detached`](super::Detached).
    pub fn set_lock_class(&mut self, name: &'static CStr, key: Pin<&'static LockClassKey>) {
        // SAFETY: By the type invariant nobody else uses the inode, so that its lock isn't held.
        // Name and key are static.
        unsafe {
            bindings::inode_set_lock_class(self.0.as_ptr(), name.as_char_ptr(), key.as_ptr())
        };
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
        unsafe { bindings::init_special_inode(self.0.as_ptr(), mode.into_raw(), rdev.into_raw()) };
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
        unsafe { (*self.0.as_ptr()).i_uid = uid.into_raw() };
        // SAFETY: By the type invariant nobody else uses the inode.
        unsafe { (*self.0.as_ptr()).i_gid = gid.into_raw() };
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
    /// device by its mode for that of the device itself (`I_BDEV()`). Also for
    /// [`FileOps::simple_offset_dir`] if the directory has no offset map (yet). `ENOTDIR` for
    /// operations that read directories if it is none.
    pub fn set_file_ops(&mut self, ops: FileOps<T>) -> Result {
        let inode = self.0.as_ptr();
        let mode = self.mode();

        if !mode.is_reg() && !mode.is_dir() {
            return Err(EINVAL);
        }
        if ops.reads_dirs() && !mode.is_dir() {
            return Err(ENOTDIR);
        }
        // SAFETY: By the type invariant the inode is one of `T`.
        if ops.wants_offset_ctx() && unsafe { inode_info::offset_ctx(inode) }.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant nobody else uses the inode; the table is static and for
        // inodes of `T`, and finds the offset map that it wants.
        unsafe { bindings::inode_set_fop(inode, ops.as_ptr()) };
        Ok(())
    }

    /// Sets what can be done with the inode: `inode->i_op`.
    ///
    /// If the operations have [`get_offset_ctx`](InodeOperations::get_offset_ctx), this asks for
    /// the offset map, which is that of the inode from then on.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the inode has an offset map, as that is found by the operations. With
    /// `get_offset_ctx`: `ENOTDIR` if the inode is no directory by its mode, `EBUSY` if the map is
    /// that of another inode or was, and what `get_offset_ctx` returns.
    pub fn set_inode_ops(&mut self, ops: InodeOps<T>) -> Result {
        let inode = self.0.as_ptr();

        // SAFETY: By the type invariant the inode is one of `T`.
        if !unsafe { inode_info::offset_ctx(inode) }.is_null() {
            return Err(EEXIST);
        }
        if let Some(get_offset_ctx) = ops.get_offset_ctx() {
            if !self.mode().is_dir() {
                return Err(ENOTDIR);
            }
            let ctx = get_offset_ctx(self.0)?.bind()?;

            // SAFETY: By the type invariant nobody else uses the inode. `get_offset_ctx` borrows
            // the map for as long as the inode is borrowed, which may be until it is evicted.
            unsafe { inode_info::set_offset_ctx(inode, ctx) };
        }
        // SAFETY: By the type invariant nobody else uses the inode; the table is static and for
        // inodes of `T`, which have a map if it has the operation to get it.
        unsafe { (*inode).i_op = ops.as_ptr() };
        Ok(())
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

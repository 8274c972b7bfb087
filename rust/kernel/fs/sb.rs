// SPDX-License-Identifier: GPL-2.0-only

//! Superblocks.
//!
//! C headers: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    Dentry,
    DentryRef,
    FileSystem,
    NewInode, //
};
use crate::{
    bindings,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

mod ops;
pub(super) use self::ops::{
    fill_super,
    kill_sb, //
};

/// Flags of a superblock that are not those of a mount, the `SB_I_*` constants of
/// `include/linux/fs/super_types.h`.
pub mod iflags {
    /// A combination of these flags, by `|`. Others the VFS keeps for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::fs::sb::iflags;
    ///
    /// let flags = iflags::NOEXEC | iflags::NODEV;
    ///
    /// assert!(flags != iflags::NOEXEC);
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct IFlags(pub(super) c_ulong);

    impl core::ops::BitOr for IFlags {
        type Output = Self;

        #[inline]
        fn bitor(self, other: Self) -> Self {
            Self(self.0 | other.0)
        }
    }

    /// Nothing on it can be executed (`SB_I_NOEXEC`).
    pub const NOEXEC: IFlags = IFlags(crate::bindings::SB_I_NOEXEC as c_ulong);
    /// Device nodes on it don't work (`SB_I_NODEV`).
    pub const NODEV: IFlags = IFlags(crate::bindings::SB_I_NODEV as c_ulong);
    /// EVM keeps no HMAC of its inodes (`SB_I_EVM_HMAC_UNSUPPORTED`).
    pub const EVM_HMAC_UNSUPPORTED: IFlags =
        IFlags(crate::bindings::SB_I_EVM_HMAC_UNSUPPORTED as c_ulong);

    use crate::ffi::c_ulong;
}

/// A `struct super_block` of the file system `T`.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, SuperBlock};
///
/// /// Whether somebody may change the root.
/// fn is_changeable<T: FileSystem>(sb: &SuperBlock<T>) -> bool {
///     !sb.is_rdonly() && sb.root().is_some()
/// }
/// ```
///
/// # Invariants
///
/// `s_fs_info` comes from `T::Info::into_foreign()`.
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem> {
    inner: Opaque<bindings::super_block>,
    _p: PhantomData<fn() -> T>,
}

// SAFETY: The methods of a shared reference read fields that don't change or are read once, or
// count atomically; `T::Info` is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `raw` must be a superblock of the file system `T` that is valid for `'a`, made by a method
    /// of [`NewTree`](super::NewTree).
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::super_block) -> &'a Self {
        // SAFETY: The caller guarantees that the superblock is valid for the lifetime; the type is
        // transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.inner.get()
    }

    /// What belongs to the superblock: `sb->s_fs_info`.
    pub fn info(&self) -> <T::Info as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: The superblock is valid; the field doesn't change once it is set.
        let info = unsafe { (*self.as_ptr()).s_fs_info };

        // SAFETY: By the type invariant it came from `into_foreign()`. It is taken back after the
        // superblock is dead, by [`KillSuper`].
        unsafe { T::Info::borrow(info) }
    }

    /// Whether nothing on it can be changed (`SB_RDONLY`).
    pub fn is_rdonly(&self) -> bool {
        // SAFETY: The superblock is valid.
        let flags = unsafe { &raw const (*self.as_ptr()).s_flags };
        // SAFETY: The superblock is valid; C reads the flags without a lock as well.
        let flags = unsafe { flags.read_volatile() };

        flags & bindings::SB_RDONLY != 0
    }

    /// Whether anything in it is watched (`fsnotify_sb_has_watchers()`).
    pub fn fsnotify_sb_has_watchers(&self) -> bool {
        // SAFETY: The superblock is valid.
        unsafe { bindings::fsnotify_sb_has_watchers(self.as_ptr()) }
    }

    /// The root directory: `sb->s_root`, which a superblock has from `fill_super` to `kill_sb`.
    pub fn root(&self) -> Option<&Dentry<T>> {
        // SAFETY: The superblock is valid. Before it has its root, only the task that fills it sees
        // it.
        let root = unsafe { (*self.as_ptr()).s_root };

        // SAFETY: The superblock holds a reference to its root.
        (!root.is_null()).then(|| unsafe { Dentry::from_raw(root) })
    }

    /// A reference to a dentry of this superblock that doesn't depend on where it was found
    /// (`dget()`).
    ///
    /// # Errors
    ///
    /// `EXDEV` if it is of another superblock.
    pub fn dget<'a>(&'a self, dentry: &Dentry<T>) -> Result<DentryRef<'a, T>> {
        if !core::ptr::eq(self, dentry.sb()) {
            return Err(EXDEV);
        }
        // SAFETY: The dentry is valid.
        unsafe { bindings::dget(dentry.as_ptr()) };
        // SAFETY: The reference has just been taken and is ours; it is put before `self` ends.
        Ok(unsafe { DentryRef::from_raw(dentry.as_ptr()) })
    }

    /// How many active references there are: mounts, and each [`ActiveSuper`] (`sb->s_active`).
    pub fn s_active(&self) -> i32 {
        // SAFETY: The superblock is valid.
        let count = unsafe { &raw const (*self.as_ptr()).s_active };

        // SAFETY: The counter is that of the superblock, which is valid.
        unsafe { bindings::atomic_read(count) }
    }

    /// Keeps the superblock alive though it isn't mounted (`atomic_inc_not_zero(&sb->s_active)`).
    ///
    /// None if it is being killed already, or isn't born yet (`SB_BORN`): if its mount failed,
    /// sync() and each mount of the same key would wait for it for as long as it is kept. For the
    /// task that fills it there is [`FilledSuperBlock::get_active`].
    pub fn get_active(&self) -> Option<ActiveSuper<T>> {
        // SAFETY: The superblock is valid.
        let got = unsafe { bindings::super_get_active(self.as_ptr()) };

        // INVARIANT: The reference has just been taken.
        got.then(|| ActiveSuper(NonNull::from(self)))
    }
}

/// An active reference to a superblock: it has its tree for as long as there is one, also without a
/// mount.
///
/// Dropping the last one kills the superblock (`deactivate_super()`), with all that belongs to it
/// and [`FileSystem::kill_sb`]. That sleeps and takes `s_umount`: it must not be dropped where
/// `s_umount` of the superblock is held, nor under a lock that `kill_sb` or the end of an inode
/// takes. In `filled` and `reconfigure` it is not the last: the context has one.
///
/// # Examples
///
/// ```
/// use kernel::fs::{ActiveSuper, FileSystem, SuperBlock};
///
/// /// Keeps a superblock alive beyond its last unmount.
/// fn keep<T: FileSystem>(sb: &SuperBlock<T>) -> Result<ActiveSuper<T>> {
///     sb.get_active().ok_or(ESTALE)
/// }
/// ```
///
/// # Invariants
///
/// An active reference to the superblock is owned.
pub struct ActiveSuper<T: FileSystem>(NonNull<SuperBlock<T>>);

// SAFETY: A reference may be put by any thread; the superblock and what belongs to it is `Sync`,
// and `T::Info` and `T::InodeData` are `Send`.
unsafe impl<T: FileSystem> Send for ActiveSuper<T> {}

// SAFETY: It gives out shared references only, and the superblock is `Sync`.
unsafe impl<T: FileSystem> Sync for ActiveSuper<T> {}

impl<T: FileSystem> Deref for ActiveSuper<T> {
    type Target = SuperBlock<T>;

    #[inline]
    fn deref(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariant the superblock is valid.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Drop for ActiveSuper<T> {
    fn drop(&mut self) {
        let sb = self.as_ptr();

        // SAFETY: By the type invariant the reference is ours; it is not used again.
        unsafe { bindings::deactivate_super(sb) };
    }
}

/// What `statfs()` tells of a superblock: a `struct kstatfs`.
///
/// # Examples
///
/// ```
/// use kernel::fs::KStatFs;
///
/// /// A file system that is full.
/// fn statfs(buf: &mut KStatFs<'_>) {
///     buf.set_blocks(1024, 0);
///     buf.set_files(16, 0);
/// }
/// ```
pub struct KStatFs<'a>(pub(super) &'a mut bindings::kstatfs);

impl KStatFs<'_> {
    /// How many blocks of a page there are, and how many of them are free.
    pub fn set_blocks(&mut self, total: u64, free: u64) {
        self.0.f_blocks = total;
        self.0.f_bfree = free;
        self.0.f_bavail = free;
    }

    /// How many inodes there can be, and how many more.
    pub fn set_files(&mut self, total: u64, free: u64) {
        self.0.f_files = total;
        self.0.f_ffree = free;
    }
}

/// A superblock that is being filled, which nobody else sees yet.
///
/// # Examples
///
/// ```
/// use kernel::fs::{sb::iflags, FileSystem, NewSuperBlock};
///
/// fn fill<T: FileSystem>(sb: &NewSuperBlock<'_, T>) {
///     sb.set_magic(0x6b78_6673);
///     sb.set_iflags(iflags::NOEXEC | iflags::NODEV);
/// }
/// ```
pub struct NewSuperBlock<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<T: FileSystem> NewSuperBlock<'_, T> {
    /// Sets `s_magic`, by which `statfs()` tells file systems apart.
    pub fn set_magic(&self, magic: u32) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_magic = magic as c_ulong };
    }

    /// Adds to `s_iflags` a combination of the constants in [`iflags`].
    pub fn set_iflags(&self, flags: iflags::IFlags) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_iflags |= flags.0 };
    }

    /// Lets writes forget that a file has neither set-id bits nor attributes of a security module
    /// (`SB_NOSEC`), until the VFS sees that it gets any.
    ///
    /// So no other may give a file any than what the VFS calls: no other machine, for one.
    pub fn set_nosec(&self) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_flags |= bindings::SB_NOSEC };
    }

    /// Lets inodes have POSIX ACLs (`SB_POSIXACL`), whose operations have
    /// [`InodeOperations::set_acl`](super::InodeOperations::set_acl).
    ///
    /// Without `CONFIG_FS_POSIX_ACL` it changes nothing.
    pub fn set_posixacl(&self) {
        // SAFETY: Nobody else uses the superblock until it is filled.
        unsafe { (*self.0.as_ptr()).s_flags |= bindings::SB_POSIXACL };
    }

    /// Says over how many file systems this one is stacked (`s_stack_depth`), for a file system
    /// with [`BackingFile`](super::BackingFile)s: one more than those have, below which it is.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are more than `FILESYSTEM_MAX_STACK_DEPTH`; `EBUSY` if there is a root.
    pub fn set_stack_depth(&self, depth: u32) -> Result {
        if depth > bindings::FILESYSTEM_MAX_STACK_DEPTH {
            return Err(EINVAL);
        }
        if self.0.root().is_some() {
            return Err(EBUSY);
        }
        // SAFETY: Nobody else uses the superblock until it is filled.
        // CAST: It is a small number.
        unsafe { (*self.0.as_ptr()).s_stack_depth = depth as c_int };
        Ok(())
    }

    /// Makes `inode` the root directory (`d_make_root()`).
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a root already, `EXDEV` if the inode is of another superblock,
    /// `ENOTDIR` if it isn't a directory, `ENOMEM`.
    pub fn make_root(&self, inode: NewInode<'_, T>) -> Result<&Dentry<T>> {
        if self.0.root().is_some() {
            return Err(EEXIST);
        }
        if !inode.is_of(self.0) {
            return Err(EXDEV);
        }
        if !inode.mode().is_dir() {
            return Err(ENOTDIR);
        }
        // SAFETY: The inode is ours, and d_make_root() consumes it also when it fails.
        let root = unsafe { bindings::d_make_root(inode.into_raw()) };

        // SAFETY: Nobody else uses the superblock until it is filled. It has no root yet.
        unsafe { (*self.0.as_ptr()).s_root = root };
        self.0.root().ok_or(ENOMEM)
    }
}

impl<T: FileSystem> Deref for NewSuperBlock<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        self.0
    }
}

/// A new superblock that is filled, in [`FileSystem::filled`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{sb::FilledSuperBlock, ActiveSuper, FileSystem};
///
/// /// Keeps a new superblock alive beyond its last unmount.
/// fn keep<T: FileSystem>(sb: &FilledSuperBlock<'_, T>) -> ActiveSuper<T> {
///     sb.get_active()
/// }
/// ```
///
/// # Invariants
///
/// An active reference to the superblock is held by somebody else, and it is about to be born.
pub struct FilledSuperBlock<'a, T: FileSystem>(&'a SuperBlock<T>);

impl<'a, T: FileSystem> FilledSuperBlock<'a, T> {
    /// # Safety
    ///
    /// The caller must have an active reference to `sb`, and return from `->get_tree()` without an
    /// error next.
    #[inline]
    pub(super) unsafe fn new(sb: &'a SuperBlock<T>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(sb)
    }

    /// Keeps the superblock alive though it isn't mounted any more.
    pub fn get_active(&self) -> ActiveSuper<T> {
        // SAFETY: The superblock is valid.
        let count = unsafe { &raw mut (*self.0.as_ptr()).s_active };

        // SAFETY: The counter is that of the superblock, which is valid; by the type invariant it
        // isn't zero.
        unsafe { bindings::atomic_inc(count) };
        // INVARIANT: The reference has just been taken.
        ActiveSuper(NonNull::from(self.0))
    }
}

impl<T: FileSystem> Deref for FilledSuperBlock<'_, T> {
    type Target = SuperBlock<T>;

    #[inline]
    fn deref(&self) -> &SuperBlock<T> {
        self.0
    }
}

/// A superblock without users, in [`FileSystem::kill_sb`].
///
/// If it is neither used nor dropped there, but forgotten, it is torn down after that.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, KillSuper};
///
/// /// Returns what belonged to the superblock.
/// fn kill_sb<T: FileSystem>(sb: KillSuper<'_, T>) -> T::Info {
///     sb.kill_anon_super()
/// }
/// ```
///
/// # Invariants
///
/// `killed` says whether the superblock has been torn down.
pub struct KillSuper<'a, T: FileSystem> {
    sb: &'a SuperBlock<T>,
    killed: &'a Cell<bool>,
}

impl<T: FileSystem> KillSuper<'_, T> {
    /// Tears the superblock down (`kill_anon_super()`) and returns what belonged to it.
    ///
    /// No dentry and no inode of it is left afterwards. A mounter that looks for the same key
    /// ([`NewTree::get_tree_keyed`](super::NewTree::get_tree_keyed)) waits until the superblock is
    /// marked dead, which happens before this returns: what another superblock with
    /// the key must not see has to be undone before.
    pub fn kill_anon_super(self) -> T::Info {
        ManuallyDrop::new(self).kill()
    }

    fn kill(&self) -> T::Info {
        let sb = self.sb.as_ptr();

        // INVARIANT: It is torn down before the flag is read.
        self.killed.set(true);
        // SAFETY: The VFS has called ->kill_sb() with this superblock, for the first and last time.
        unsafe { bindings::kill_anon_super(sb) };
        // SAFETY: The VFS frees the superblock after ->kill_sb().
        let info = unsafe { (*sb).s_fs_info };

        // SAFETY: It came from `into_foreign()`. It is taken back only once, since `self` is
        // consumed or being dropped, and after the last inode is gone.
        unsafe { T::Info::from_foreign(info) }
    }
}

impl<T: FileSystem> Deref for KillSuper<'_, T> {
    type Target = SuperBlock<T>;

    fn deref(&self) -> &SuperBlock<T> {
        self.sb
    }
}

impl<T: FileSystem> Drop for KillSuper<'_, T> {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

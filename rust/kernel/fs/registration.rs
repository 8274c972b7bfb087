// SPDX-License-Identifier: GPL-2.0-only

//! Registration of file systems.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Only file systems without a device are supported: their superblocks are anonymous and found by
//! a key. Page cache, block devices, exports and quotas have no wrappers here.

use super::{
    context,
    inode_info,
    param,
    sb::{
        self,
        FilledSuperBlock, //
    },
    xattr::{
        SetXattr,
        SimpleXattrs, //
    },
    FsContext,
    Inode,
    KStatFs,
    KillSuper,
    NewSuperBlock,
    NewTree,
    SuperBlock, //
};
use crate::{
    bindings,
    error::{
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};
use core::marker::PhantomData;

/// Flags of a file system type, the `FS_*` constants of `include/linux/fs.h`.
pub mod flags {
    /// The file system handles idmapped mounts (`FS_ALLOW_IDMAP`).
    pub const ALLOW_IDMAP: i32 = crate::bindings::FS_ALLOW_IDMAP as i32;
    /// Times of changes are as fine as somebody looks at them (`FS_MGTIME`).
    pub const MGTIME: i32 = crate::bindings::FS_MGTIME as i32;
    /// The rename of the file system moves the dentries itself, where the VFS else does it after
    /// `->rename()` (`FS_RENAME_DOES_D_MOVE`). That of
    /// [`Rename::simple_offset_rename2`](super::super::Rename::simple_offset_rename2) does so then.
    pub const RENAME_DOES_D_MOVE: i32 = crate::bindings::FS_RENAME_DOES_D_MOVE as i32;

    /// All of them. Of others, some tell the VFS that the file system does itself what it doesn't.
    pub(super) const ALL: i32 = ALLOW_IDMAP | MGTIME | RENAME_DOES_D_MOVE;
}

/// A type of file system.
///
/// What C spreads over `struct file_system_type`, `struct fs_context_operations` and `struct
/// super_operations`, with the names that the callbacks have there. Operations on inodes and open
/// files belong to the inode, see [`InodeOperations`](super::InodeOperations) and
/// [`FileOperations`](super::FileOperations).
///
/// # Examples
///
/// ```
/// use kernel::fs::{
///     param, FileSystem, FileSystemType, FsContext, InodeOperations, InodeOps, Mode, NewInode,
///     NewSuperBlock, NewTree,
/// };
///
/// /// A file system that is an empty directory.
/// struct Empty;
///
/// static EMPTY: FileSystemType<Empty> = FileSystemType::new();
/// static PARAMETERS: param::Table<0> = param::Table::new([]);
///
/// #[vtable]
/// impl FileSystem for Empty {
///     type Context = ();
///     type Info = ();
///     type InodeData = ();
///
///     const NAME: &'static CStr = c"empty";
///     const FLAGS: i32 = 0;
///     const PARAMETERS: param::Parameters = PARAMETERS.parameters();
///
///     fn init_fs_context(_fc: &FsContext<'_, Self>) -> Result<KBox<()>> {
///         Ok(KBox::new((), GFP_KERNEL)?)
///     }
///
///     fn get_tree(fc: &mut NewTree<'_, Self>) -> Result {
///         fc.get_tree_keyed(()).map(|_is_new| ())
///     }
///
///     fn fill_super(sb: &NewSuperBlock<'_, Self>, _fc: &mut FsContext<'_, Self>) -> Result {
///         let mut root = NewInode::new(sb, Mode::dir(0o555), ())?;
///
///         root.set_inode_ops(InodeOps::dir::<Root>())?;
///         sb.make_root(root)?;
///         Ok(())
///     }
/// }
///
/// struct Root;
///
/// #[vtable]
/// impl InodeOperations for Root {
///     type FileSystem = Empty;
/// }
/// ```
#[vtable]
pub trait FileSystem: Sized + 'static {
    /// What a mount gathers before there is a superblock: `fc->fs_private`.
    type Context: Send + 'static;

    /// What belongs to a superblock: `sb->s_fs_info`.
    ///
    /// The pointer that [`ForeignOwnable::into_foreign`] makes of it is the key by which
    /// [`NewTree::get_tree_keyed`] finds a superblock that is there already.
    type Info: ForeignOwnable + Send + Sync + 'static;

    /// What belongs to an inode: `inode->i_private`, dropped when the inode is evicted.
    type InodeData: ForeignOwnable + Send + Sync + 'static;

    /// The name that `mount -t` takes.
    const NAME: &'static CStr;

    /// A combination of the constants in [`flags`]; any other doesn't compile.
    const FLAGS: i32;

    /// The mount options.
    const PARAMETERS: param::Parameters;

    /// Starts a mount or a remount.
    ///
    /// Runs in the context of the mounter, without a lock of the VFS. Whether the mounter may mount
    /// at all is checked later, by `mount_capable()`.
    fn init_fs_context(fc: &FsContext<'_, Self>) -> Result<KBox<Self::Context>>;

    /// Takes the mount option with the number `opt`.
    ///
    /// Called with `fc->uapi_mutex` held. Without this method each is `EINVAL`.
    fn parse_param(_fc: &mut FsContext<'_, Self>, _opt: u8, _value: param::Value<'_>) -> Result {
        Err(EINVAL)
    }

    /// Finds or makes the superblock, by [`NewTree::get_tree_keyed`], or makes it, by
    /// [`NewTree::get_tree_nodev`].
    ///
    /// If this fails after it got a superblock, that one is put again.
    fn get_tree(fc: &mut NewTree<'_, Self>) -> Result;

    /// Fills a new superblock; must make its root with [`NewSuperBlock::make_root`].
    ///
    /// Called from either of these, with `sb->s_umount` held for writing. If it fails,
    /// [`kill_sb`](FileSystem::kill_sb) follows.
    fn fill_super(sb: &NewSuperBlock<'_, Self>, fc: &mut FsContext<'_, Self>) -> Result;

    /// Called for a new superblock after [`get_tree`](FileSystem::get_tree), when nothing can fail
    /// any more: it can be kept alive from here on.
    ///
    /// Runs with `sb->s_umount` held for writing.
    fn filled(_sb: &FilledSuperBlock<'_, Self>) {}

    /// Changes the options of a live superblock, with `sb->s_umount` held for writing. Without this
    /// method nothing changes.
    fn reconfigure(_sb: &SuperBlock<Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        Ok(())
    }

    /// Writes the options as `/proc/mounts` shows them, each with a leading comma.
    fn show_options(_sb: &SuperBlock<Self>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells how much space there is; `buf` has what `simple_statfs()` knows.
    ///
    /// Called without a lock, for a superblock that is in use.
    fn statfs(_sb: &SuperBlock<Self>, _buf: &mut KStatFs<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Called before the inode of a file handle is looked for, by its number, without a lock: for a
    /// tree that is only made when it is looked for.
    ///
    /// For a superblock with [`NewSuperBlock::set_simple_export_ops`].
    ///
    /// # Errors
    ///
    /// Whatever fits: the handle leads nowhere then.
    fn before_fh_to_dentry(_sb: &SuperBlock<Self>, _ino: u64) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The extended attributes of an inode, none if it can't have any.
    ///
    /// A file system that implements this has the handlers that tmpfs has: for `user.`, `trusted.`
    /// and `security.`; POSIX ACLs are in [`acl`](super::acl). Must always return the same for an
    /// inode: whether there are any is asked when the inode is made.
    fn xattrs(_inode: &Inode<Self>) -> Option<&SimpleXattrs> {
        None
    }

    /// Changes an extended attribute.
    ///
    /// Called with the lock of the inode held.
    fn set_xattr(change: SetXattr<'_, Self>) -> Result {
        change.simple_xattr_set().map(|_freed| ())
    }

    /// Destroys a superblock that nobody uses any more.
    ///
    /// What another superblock with the same key must not see has to be undone before
    /// [`KillSuper::kill_anon_super`].
    fn kill_sb(sb: KillSuper<'_, Self>) {
        drop(sb.kill_anon_super());
    }
}

/// A `struct file_system_type`, meant for a `static`.
///
/// It holds the lock classes of its superblocks and inodes, which lockdep wants in static memory.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, FileSystemType};
///
/// /// How many superblocks can't be changed.
/// fn count<T: FileSystem>(fs_type: &FileSystemType<T>) -> usize {
///     let mut count = 0;
///
///     fs_type.iterate_supers_type(&mut |sb| count += usize::from(sb.is_rdonly()));
///     count
/// }
/// ```
#[repr(transparent)]
pub struct FileSystemType<T: FileSystem> {
    inner: Opaque<bindings::file_system_type>,
    _p: PhantomData<fn() -> T>,
}

// SAFETY: After its construction only C changes it, with locks of its own: that of the list of file
// systems, which it is linked into, and that of the list of its superblocks.
unsafe impl<T: FileSystem> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    /// Creates the type. It can be mounted once it is [registered](Self::register).
    pub const fn new() -> Self {
        // register_filesystem() has a BUG_ON() for it.
        const_assert!(!has_dot(T::NAME.to_bytes()));
        const_assert!(T::FLAGS & !flags::ALL == 0);
        let mut fs_type: bindings::file_system_type = pin_init::zeroed();

        fs_type.name = crate::str::as_char_ptr_in_const_context(T::NAME);
        fs_type.fs_flags = T::FLAGS;
        fs_type.init_fs_context = Some(context::init_fs_context::<T>);
        fs_type.parameters = T::PARAMETERS.as_ptr();
        fs_type.kill_sb = Some(sb::kill_sb::<T>);
        fs_type.owner = this_module::<T::OwnerModule>().as_ptr();
        Self {
            inner: Opaque::new(fs_type),
            _p: PhantomData,
        }
    }

    /// Makes the type known to `mount`, until the [`Registration`] is dropped.
    ///
    /// A mount can follow at once: what the file system needs has to be there before.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a file system of that name already, `ENOMEM`.
    pub fn register(&'static self) -> Result<Registration<T>> {
        inode_info::init_cache()?;
        // SAFETY: `self` is static, so it is valid for as long as it is registered, and a
        // superblock that outlives the registration still finds its type.
        to_result(unsafe { bindings::register_filesystem(self.inner.get()) })?;
        // INVARIANT: It has just been registered.
        Ok(Registration(self))
    }

    /// Calls `f` for every live superblock of the type (`iterate_supers_type()`).
    ///
    /// `f` runs with `s_umount` held for reading. May sleep; waits for mounts and unmounts that are
    /// under way.
    pub fn iterate_supers_type(&self, f: &mut dyn FnMut(&SuperBlock<T>)) {
        /// # Safety
        ///
        /// `sb` must be a live superblock of `T`, `f` be from below.
        unsafe extern "C" fn each<T: FileSystem>(sb: *mut bindings::super_block, f: *mut c_void) {
            // SAFETY: The caller passes the reference from below; iterate_supers_type() calls one
            // after the other.
            let f = unsafe { &mut *f.cast::<&mut dyn FnMut(&SuperBlock<T>)>() };

            // SAFETY: The caller passes a live superblock of `T`.
            f(unsafe { SuperBlock::from_raw(sb) });
        }
        let mut f = f;

        // SAFETY: The type is initialised; `each` gets what it wants.
        unsafe {
            bindings::iterate_supers_type(
                self.inner.get(),
                Some(each::<T>),
                (&raw mut f).cast::<c_void>(),
            );
        }
    }
}

impl<T: FileSystem> Default for FileSystemType<T> {
    fn default() -> Self {
        Self::new()
    }
}

const fn has_dot(name: &[u8]) -> bool {
    let mut i = 0;

    while i < name.len() {
        if name[i] == b'.' {
            return true;
        }
        i += 1;
    }
    false
}

/// A file system that can be mounted.
///
/// Superblocks may outlive it: their type is static, and in a module each of them holds a reference
/// to the module, which is why it is dropped there only after the last of them is gone. Dropping it
/// sleeps, until the inodes of those are freed (`rcu_barrier()`).
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, FileSystemType, Registration};
///
/// fn register<T: FileSystem>(fs_type: &'static FileSystemType<T>) -> Result<Registration<T>> {
///     fs_type.register()
/// }
/// ```
///
/// # Invariants
///
/// The type is registered, by this registration.
pub struct Registration<T: FileSystem>(&'static FileSystemType<T>);

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered.
        unsafe { bindings::unregister_filesystem(self.0.inner.get()) };
        // In a module, the callbacks that free inodes of superblocks that are gone are code of it.
        // SAFETY: Registrations are dropped where one may sleep.
        unsafe { bindings::rcu_barrier() };
    }
}

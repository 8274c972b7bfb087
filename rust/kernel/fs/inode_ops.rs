// SPDX-License-Identifier: GPL-2.0-only

//! Operations on inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    acl::{
        Acl,
        AclType,
        SetAcl, //
    },
    dentry::add_entry,
    fileattr::FileKattr,
    inode::{
        offset_ctx,
        DIRENT_SIZE, //
    },
    registration::flags,
    xattr,
    Dentry,
    DevT,
    FileSystem,
    Inode,
    LockedInode,
    Mode,
    NewInode,
    Timespec, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ops::Deref,
    ptr::null_mut, //
};

/// What can be done with one kind of inodes of a file system: a `struct inode_operations`.
///
/// The type that implements it stands for the kind and is never made.
///
/// Those that make, remove or rename get a value that does it when it is consumed. An error that is
/// returned after that is ignored, and success without it is `EIO`.
#[vtable]
pub trait InodeOperations: Sized + 'static {
    /// The file system that the inodes belong to.
    type FileSystem: FileSystem;

    /// Makes a regular file.
    ///
    /// Called with the lock of the directory held, as are all that change one.
    fn create(_new: NewEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory.
    fn mkdir(_new: NewEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a special file.
    fn mknod(_new: NewEntry<'_, Self::FileSystem>, _rdev: DevT) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link.
    fn symlink(_new: NewEntry<'_, Self::FileSystem>, _target: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a further name of an inode, which is locked, too.
    fn link(_link: Link<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file without a name and opens it (`O_TMPFILE`).
    ///
    /// Called without the lock of the directory.
    fn tmpfile(_new: TmpFile<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory, with the locks of both directories held.
    fn rmdir(_unlink: Unlink<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames, with the locks of both directories held, and of what is moved and replaced as far
    /// as `vfs_rename()` takes them.
    fn rename(_rename: Rename<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the attributes, of which those that the inode has are there already.
    ///
    /// Called without a lock.
    fn getattr(_attr: GetAttr<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the flags that `chattr` changes.
    ///
    /// May be called with the lock of the inode held.
    fn fileattr_get(_inode: &Inode<Self::FileSystem>, _fa: &mut FileKattr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the flags that `chattr` changes; the VFS has checked whether the caller may.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a flag that the inode can't have.
    fn fileattr_set(_inode: LockedInode<'_, Self::FileSystem>, _fa: &FileKattr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name from a directory.
    ///
    /// Called with the locks of the directory and of what is removed held.
    fn unlink(_unlink: Unlink<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes: owner, mode, times, size.
    ///
    /// Called with the lock of the inode held.
    fn setattr(_attr: SetAttr<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes a POSIX ACL, which the VFS has checked; symbolic links have none.
    ///
    /// Called with the lock of the inode held, for a superblock with
    /// [`NewSuperBlock::set_posixacl`](super::NewSuperBlock::set_posixacl).
    fn set_acl(_change: SetAcl<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Whether what a callback is called for has taken place.
///
/// After success the VFS goes on with it, it moves a name or forgets it, and after an error it
/// doesn't. If it were told anything but what has happened, a directory would keep an entry of a
/// name that isn't there any more. So what a file system returns counts only as far as it is true.
struct Done(Cell<bool>);

impl Done {
    /// Calls `callback`, which sets it, and returns what the VFS is to be told.
    fn told(callback: impl FnOnce(&Self) -> Result) -> c_int {
        let done = Self(Cell::new(false));
        let result = callback(&done);

        match result {
            _ if done.0.get() => 0,
            Ok(()) => EIO.to_errno(),
            Err(e) => e.to_errno(),
        }
    }

    fn set(&self) {
        self.0.set(true);
    }
}

/// A table of operations that is safe for inodes of the file system `T`.
pub struct InodeOps<T: FileSystem>(&'static bindings::inode_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> InodeOps<T> {
    /// The table for directories of the kind `O`; names are looked up in the dcache alone
    /// (`simple_lookup()`).
    pub const fn dir<O: InodeOperations<FileSystem = T>>() -> Self {
        Self(&VTable::<O>::DIR, PhantomData)
    }

    /// The table for files of the kind `O`.
    pub const fn file<O: InodeOperations<FileSystem = T>>() -> Self {
        Self(&VTable::<O>::FILE, PhantomData)
    }

    #[inline]
    pub(super) const fn as_ptr(&self) -> *const bindings::inode_operations {
        self.0
    }
}

/// The table for directories of the kind `O` that have an offset map.
pub(super) const fn offset_dir<O: InodeOperations>() -> *const bindings::inode_operations {
    &VTable::<O>::OFFSET_DIR
}

/// The table for symbolic links of the kind `O`, for an inode that has a target.
pub(super) const fn symlink<O: InodeOperations>() -> *const bindings::inode_operations {
    &VTable::<O>::SYMLINK
}

/// Makes an inode in a directory, as tmpfs does.
///
/// # Safety
///
/// `idmap` must be valid, `name` null or valid.
unsafe fn new_inode<'a, T: FileSystem>(
    idmap: *mut bindings::mnt_idmap,
    dir: &'a Inode<T>,
    name: *const bindings::qstr,
    mode: Mode,
    data: T::InodeData,
) -> Result<NewInode<'a, T>> {
    let inode = NewInode::new(dir.sb(), mode, data)?;

    // SAFETY: By the safety requirements; nobody else knows the inode.
    unsafe {
        bindings::inode_init_owner(idmap, inode.as_ptr(), dir.as_ptr(), mode.into_raw());
        // Applies the umask as well, where the VFS leaves that to ACLs.
        to_result(bindings::inode_acl_create(dir.as_ptr(), inode.as_ptr()))?;
        xattr::init_security::<T>(inode.as_ptr(), dir.as_ptr(), name)?;
    }
    Ok(inode)
}

/// Something new in a directory, in [`InodeOperations`].
///
/// # Invariants
///
/// `idmap` is valid for `'a`. `dentry` is negative and a name of the directory `dir`, which is
/// locked.
pub struct NewEntry<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    mode: Mode,
    done: &'a Done,
}

impl<'a, T: FileSystem> NewEntry<'a, T> {
    /// The directory.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The name.
    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants the directory is locked, which makes the name stable.
        unsafe { name_of(self.dentry) }
    }

    /// The type and the access mode of what is made.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Makes an inode of the wanted mode, which belongs to the caller, or as the directory says to
    /// its group (`inode_init_owner()`), and lets a security module label it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the security module returns.
    pub fn new_inode(&self, data: T::InodeData) -> Result<NewInode<'a, T>> {
        // SAFETY: By the type invariants; the name is that of the dentry.
        unsafe {
            new_inode(
                self.idmap,
                self.dir,
                bindings::d_name(self.dentry.as_ptr()),
                self.mode,
                data,
            )
        }
    }

    /// Gives the name its inode (`d_make_persistent()`).
    ///
    /// A directory with an offset map gets an entry there, grows, and if the inode is a directory
    /// has a link more.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the inode isn't of the wanted type, `EXDEV` if it is of another superblock,
    /// `ENOMEM`, `ENOSPC` if the directory is full.
    pub fn make_persistent(self, inode: NewInode<'_, T>) -> Result {
        if inode.mode().file_type() != self.mode.file_type() {
            return Err(EINVAL);
        }
        if !inode.is_of(self.dir.sb()) {
            return Err(EXDEV);
        }
        let dentry = self.dentry.as_ptr();

        // SAFETY: By the type invariants.
        unsafe { add_entry(self.dir.as_ptr(), dentry, inode.mode().is_dir()) }?;
        // SAFETY: By the type invariants. The reference to the inode is handed over.
        unsafe { bindings::d_make_persistent(dentry, inode.into_raw()) };
        self.done.set();
        Ok(())
    }
}

/// The name of a dentry.
///
/// # Safety
///
/// It must not be renamed for as long as the reference lives.
unsafe fn name_of<T: FileSystem>(dentry: &Dentry<T>) -> &[u8] {
    // SAFETY: The dentry is valid; its name has that length, and stays by the safety requirements.
    unsafe {
        let name = bindings::d_name(dentry.as_ptr());

        core::slice::from_raw_parts((*name).name, bindings::qstr_len(name) as usize)
    }
}

/// A further name of an inode, in [`InodeOperations::link`].
///
/// # Invariants
///
/// `dentry` is negative and a name of the directory `dir`, which is locked; `old` is positive, and
/// its inode locked, and both are of one superblock.
pub struct Link<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    old: &'a Dentry<T>,
    inode: &'a Inode<T>,
    done: &'a Done,
}

impl<'a, T: FileSystem> Link<'a, T> {
    /// The directory of the new name.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The new name.
    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants the directory is locked, which makes the name stable.
        unsafe { name_of(self.dentry) }
    }

    /// What gets the name. Without a name so far (`O_TMPFILE`) it has no links.
    #[inline]
    pub fn old(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Does it (`simple_link()`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` if the directory is full.
    pub fn simple_link(self) -> Result {
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants.
        unsafe { add_entry(dir, dentry, false) }?;
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::simple_link(self.old.as_ptr(), dir, dentry) })?;
        self.done.set();
        Ok(())
    }
}

/// A new file without a name, in [`InodeOperations::tmpfile`].
///
/// # Invariants
///
/// The pointers are the arguments of `->tmpfile()`, valid for `'a`.
pub struct TmpFile<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dir: &'a Inode<T>,
    file: *mut bindings::file,
    mode: Mode,
    done: &'a Done,
}

impl<'a, T: FileSystem> TmpFile<'a, T> {
    /// The directory that it is made in.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The type and the access mode.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Makes an inode, as [`NewEntry::new_inode`] does.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the security module returns.
    pub fn new_inode(&self, data: T::InodeData) -> Result<NewInode<'a, T>> {
        // SAFETY: By the type invariants.
        unsafe { new_inode(self.idmap, self.dir, core::ptr::null(), self.mode, data) }
    }

    /// Opens it (`d_tmpfile()`, `finish_open_simple()`).
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't a regular file, `EXDEV` if it is of another superblock, and what
    /// [`FileOperations::open`](super::FileOperations::open) returns.
    pub fn finish(self, mut inode: NewInode<'_, T>) -> Result {
        if !inode.mode().is_reg() {
            return Err(EINVAL);
        }
        if !inode.is_of(self.dir.sb()) {
            return Err(EXDEV);
        }
        inode.set_nlink(1);
        // SAFETY: By the type invariants the file is being opened, for which `self` stands; it has
        // a dentry of the superblock without a name. The reference to the inode is handed over.
        unsafe { bindings::d_tmpfile(self.file, inode.into_raw()) };
        // SAFETY: By the type invariants the file is being opened; it has an inode now.
        to_result(unsafe { bindings::finish_open_simple(self.file, 0) })?;
        self.done.set();
        Ok(())
    }
}

/// The removal of a name, in [`InodeOperations::unlink`] and [`InodeOperations::rmdir`].
///
/// # Invariants
///
/// `dentry` is a positive entry of the directory `dir`, and both inodes are locked.
pub struct Unlink<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    done: &'a Done,
}

impl<'a, T: FileSystem> Unlink<'a, T> {
    /// The directory that has the name.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// What is removed.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Removes it (`simple_unlink()`).
    pub fn simple_unlink(self) -> Result {
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants.
        unsafe { forget_entry(dir, dentry) };
        self.done.set();
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::simple_unlink(dir, dentry) })
    }

    /// Removes a directory, and the link that its `..` is (`simple_rmdir()`).
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if there is something in it, `ENOTDIR` if it is none.
    pub fn simple_rmdir(self) -> Result {
        if !self
            .dentry
            .inode()
            .is_some_and(|inode| inode.mode().is_dir())
        {
            return Err(ENOTDIR);
        }
        let (dir, dentry) = (self.dir.as_ptr(), self.dentry.as_ptr());

        // SAFETY: By the type invariants.
        if unsafe { bindings::simple_empty(dentry) } == 0 {
            return Err(ENOTEMPTY);
        }
        // SAFETY: By the type invariants.
        unsafe { forget_entry(dir, dentry) };
        self.done.set();
        // SAFETY: By the type invariants. As the directory is locked, it is still empty, and this
        // doesn't fail.
        to_result(unsafe { bindings::simple_rmdir(dir, dentry) })
    }
}

/// Removes an entry from the offset map of a directory that has one, which shrinks by it.
///
/// # Safety
///
/// `dir` must be an inode made by `NewInode` that is locked, and `dentry` be one of its entries.
pub(super) unsafe fn forget_entry(dir: *mut bindings::inode, dentry: *mut bindings::dentry) {
    // SAFETY: By the safety requirements.
    let map = unsafe { offset_ctx(dir) };

    if !map.is_null() {
        // SAFETY: By the safety requirements; the map is that of the directory.
        unsafe { bindings::simple_offset_remove(map, dentry) };
        // SAFETY: By the safety requirements.
        let size = unsafe { (*dir).i_size };

        // SAFETY: By the safety requirements.
        unsafe { bindings::i_size_write(dir, size - DIRENT_SIZE) };
    }
}

/// A rename, in [`InodeOperations::rename`].
///
/// # Invariants
///
/// The pointers and flags are the arguments of `->rename()`, valid for `'a`: `old_dentry` is a
/// positive entry of the directory `old_dir`, `new_dentry` a name of `new_dir` that is positive if
/// `flags` has `RENAME_EXCHANGE`. Both directories are locked and have offset maps.
pub struct Rename<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    old_dir: &'a Inode<T>,
    old_dentry: &'a Dentry<T>,
    inode: &'a Inode<T>,
    new_dir: &'a Inode<T>,
    new_dentry: &'a Dentry<T>,
    flags: c_uint,
    done: &'a Done,
}

impl<'a, T: FileSystem> Rename<'a, T> {
    /// Whether the VFS leaves it to `->rename()` to move the dentries.
    const DOES_D_MOVE: bool = T::FLAGS & flags::RENAME_DOES_D_MOVE != 0;

    /// The directory of the old name.
    #[inline]
    pub fn old_dir(&self) -> &'a Inode<T> {
        self.old_dir
    }

    /// The directory of the new name.
    #[inline]
    pub fn new_dir(&self) -> &'a Inode<T> {
        self.new_dir
    }

    /// What is renamed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// What has the new name, and loses it but if names are [exchanged](Self::exchange).
    #[inline]
    pub fn target(&self) -> Option<&'a Inode<T>> {
        self.new_dentry.inode()
    }

    /// Whether the two names are exchanged (`RENAME_EXCHANGE`).
    #[inline]
    pub fn exchange(&self) -> bool {
        self.flags & bindings::RENAME_EXCHANGE != 0
    }

    /// Whether a whiteout gets the old name (`RENAME_WHITEOUT`).
    #[inline]
    pub fn whiteout(&self) -> bool {
        self.flags & bindings::RENAME_WHITEOUT != 0
    }

    /// Makes a whiteout: a character device with the number 0.
    ///
    /// What can be done with the inode has to be set.
    ///
    /// # Errors
    ///
    /// As for [`NewEntry::new_inode`].
    pub fn new_whiteout(&self, data: T::InodeData) -> Result<NewInode<'a, T>> {
        let mode = Mode::from_raw((bindings::S_IFCHR | bindings::WHITEOUT_MODE) as u16);

        // SAFETY: By the type invariants; the name is that of the dentry.
        let mut inode = unsafe {
            new_inode(
                self.idmap,
                self.old_dir,
                bindings::d_name(self.old_dentry.as_ptr()),
                mode,
                data,
            )
        }?;

        inode.init_special(DevT::from_raw(bindings::WHITEOUT_DEV))?;
        Ok(inode)
    }

    /// Does it, as tmpfs does: `simple_offset_rename()`, `simple_offset_rename_exchange()`.
    ///
    /// The entries keep their positions for readers of the directories. In a file system with
    /// [`RENAME_DOES_D_MOVE`](flags::RENAME_DOES_D_MOVE) the dentries have been
    /// moved when this returns.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY` if a directory is replaced that has something in it; `EINVAL` if a whiteout is
    /// wanted and not given, or the other way round; `EXDEV` if that is of another superblock;
    /// `ENOMEM`, `ENOSPC` if a directory is full. Nothing has changed then.
    pub fn simple_offset_rename(self, whiteout: Option<NewInode<'_, T>>) -> Result {
        let (old_dir, new_dir) = (self.old_dir.as_ptr(), self.new_dir.as_ptr());
        let (old, new) = (self.old_dentry.as_ptr(), self.new_dentry.as_ptr());
        let is_dir = self.inode.mode().is_dir();

        if self.whiteout() != whiteout.is_some() {
            return Err(EINVAL);
        }
        if whiteout
            .as_ref()
            .is_some_and(|inode| !inode.is_of(self.old_dir.sb()))
        {
            return Err(EXDEV);
        }
        if self.exchange() {
            // SAFETY: By the type invariants; both are entries of directories with offset maps, and
            // so have an offset.
            to_result(unsafe {
                bindings::simple_offset_rename_exchange(old_dir, old, new_dir, new)
            })?;
            if Self::DOES_D_MOVE {
                // SAFETY: By the type invariants both are positive entries of directories that are
                // locked; the VFS has checked that neither is within the other.
                unsafe { bindings::d_exchange(old, new) };
            }
            self.done.set();
            return Ok(());
        }
        // SAFETY: The dentry is valid.
        if unsafe { bindings::simple_empty(new) } == 0 {
            return Err(ENOTEMPTY);
        }
        // SAFETY: By the type invariants, the map is that of the directory.
        let had_offset =
            match to_result(unsafe { bindings::simple_offset_add(offset_ctx(new_dir), new) }) {
                Ok(()) => false,
                Err(e) if e == EBUSY => true,
                Err(e) => return Err(e),
            };

        if let Some(whiteout) = whiteout {
            self.add_whiteout(whiteout).inspect_err(|_| {
                if !had_offset {
                    // SAFETY: It has just been added.
                    unsafe { bindings::simple_offset_remove(offset_ctx(new_dir), new) };
                }
            })?;
        }
        // SAFETY: By the type invariants; the new name has a place in the map. What is replaced is
        // a directory only if a directory is renamed, as the VFS has checked, and then empty.
        unsafe {
            bindings::simple_offset_rename(old_dir, old, new_dir, new);
            if let Some(target) = self.target() {
                forget_entry(new_dir, new);
                bindings::simple_unlink(new_dir, new);
                if is_dir {
                    bindings::drop_nlink(target.as_ptr());
                    bindings::drop_nlink(old_dir);
                }
            } else if is_dir {
                bindings::drop_nlink(old_dir);
                bindings::inc_nlink(new_dir);
            }
            bindings::i_size_write(old_dir, (*old_dir).i_size - DIRENT_SIZE);
            bindings::i_size_write(new_dir, (*new_dir).i_size + DIRENT_SIZE);
            bindings::simple_rename_timestamp(old_dir, old, new_dir, new);
        }
        if Self::DOES_D_MOVE {
            // SAFETY: By the type invariants both are names in directories that are locked, and the
            // old one is positive; the VFS has checked that neither is within the other.
            unsafe { bindings::d_move(old, new) };
        }
        self.done.set();
        Ok(())
    }

    /// Gives the old name to a whiteout; the VFS moves what had it away next.
    fn add_whiteout(&self, inode: NewInode<'_, T>) -> Result {
        let dir = self.old_dir.as_ptr();
        let old = self.old_dentry.as_ptr();

        // SAFETY: By the type invariants the name is stable, and the directory the parent.
        let dentry = unsafe { bindings::d_alloc((*old).d_parent, bindings::d_name(old)) };
        if dentry.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The dentry is a new one in the directory, which is locked.
        let added = unsafe { add_entry(dir, dentry, false) };
        if added.is_ok() {
            // SAFETY: As above. The reference to the inode is handed over.
            unsafe { bindings::d_make_persistent(dentry, inode.into_raw()) };
        }
        // SAFETY: The reference is ours; it is not used again.
        unsafe { bindings::dput(dentry) };
        added
    }
}

/// The attributes that are asked for, in [`InodeOperations::getattr`].
///
/// # Invariants
///
/// `stat` is valid for `'a`.
pub struct GetAttr<'a, T: FileSystem> {
    pub(super) inode: &'a Inode<T>,
    pub(super) stat: &'a mut bindings::kstat,
    pub(super) request_mask: u32,
}

impl<'a, T: FileSystem> GetAttr<'a, T> {
    /// Whose attributes are asked for.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Sets the size in bytes.
    #[inline]
    pub fn set_size(&mut self, size: bindings::loff_t) {
        self.stat.size = size;
    }

    /// Sets how many blocks of 512 bytes there are.
    #[inline]
    pub fn set_blocks(&mut self, blocks: u64) {
        self.stat.blocks = blocks;
    }

    /// Sets the time of the making, if it is asked for.
    pub fn set_btime(&mut self, btime: Timespec) {
        if self.request_mask & bindings::STATX_BTIME != 0 {
            self.stat.result_mask |= bindings::STATX_BTIME;
            self.stat.btime = btime.into_raw();
        }
    }
}

/// A change of attributes, in [`InodeOperations::setattr`].
///
/// # Invariants
///
/// The pointers are the arguments of `->setattr()`, valid for `'a`, and `inode` is that of `dentry`
/// and locked.
pub struct SetAttr<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dentry: &'a Dentry<T>,
    inode: &'a Inode<T>,
    attr: *mut bindings::iattr,
}

impl<'a, T: FileSystem> SetAttr<'a, T> {
    /// The inode, with its lock, for what else changes along.
    #[inline]
    pub fn locked(&self) -> LockedInode<'_, T> {
        // SAFETY: By the type invariants.
        unsafe { LockedInode::new(self.inode) }
    }

    /// The inode whose attributes are changed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Which attributes are changed: `ATTR_*`.
    #[inline]
    fn ia_valid(&self) -> c_uint {
        // SAFETY: By the type invariants.
        unsafe { (*self.attr).ia_valid }
    }

    /// The size that a regular file gets, if that is changed.
    pub fn size(&self) -> Option<bindings::loff_t> {
        // SAFETY: By the type invariants; nobody else changes it.
        let size = unsafe { (*self.attr).ia_size };

        (self.ia_valid() & bindings::ATTR_SIZE != 0).then_some(size)
    }

    /// The mode that the inode gets, if that is changed.
    fn mode(&self) -> Option<Mode> {
        // SAFETY: By the type invariants; nobody else changes it.
        let mode = unsafe { (*self.attr).ia_mode };

        (self.ia_valid() & bindings::ATTR_MODE != 0).then(|| Mode::from_raw(mode))
    }

    /// Whether the time of the last change of the contents is changed.
    pub fn mtime_set(&self) -> bool {
        self.ia_valid() & bindings::ATTR_MTIME != 0
    }

    /// Whose attributes are changed.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Takes the size out of what is changed.
    pub fn ignore_size(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { (*self.attr).ia_valid &= !bindings::ATTR_SIZE };
    }

    /// Checks whether the caller may (`setattr_prepare()`), without which nothing is changed.
    ///
    /// # Errors
    ///
    /// `EPERM` and what else setattr_prepare() returns.
    pub fn prepare(self) -> Result<PreparedAttr<'a, T>> {
        // SAFETY: By the type invariants.
        to_result(unsafe {
            bindings::setattr_prepare(self.idmap, self.dentry.as_ptr(), self.attr)
        })?;
        // INVARIANT: It has just been checked.
        Ok(PreparedAttr(self))
    }
}

/// A change of attributes that the caller may make, as [`SetAttr::prepare`] has found.
///
/// # Invariants
///
/// `setattr_prepare()` has returned 0 for it.
pub struct PreparedAttr<'a, T: FileSystem>(SetAttr<'a, T>);

impl<'a, T: FileSystem> PreparedAttr<'a, T> {
    /// Makes the access ACL that the mode needs, after which nothing can fail any more: for what
    /// else changes along, and is not undone. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn ready(self) -> Result<ReadyAttr<'a, T>> {
        let acl = match self.mode() {
            Some(mode) => self
                .inode
                .cached_acl(AclType::Access)
                .map(|acl| acl.after_chmod(mode)),
            None => None,
        }
        .transpose()?;

        Ok(ReadyAttr { attr: self, acl })
    }
}

impl<'a, T: FileSystem> Deref for PreparedAttr<'a, T> {
    type Target = SetAttr<'a, T>;

    #[inline]
    fn deref(&self) -> &SetAttr<'a, T> {
        &self.0
    }
}

/// A change of attributes that can't fail any more, from [`PreparedAttr::ready`].
pub struct ReadyAttr<'a, T: FileSystem> {
    attr: PreparedAttr<'a, T>,
    acl: Option<Acl>,
}

impl<T: FileSystem> ReadyAttr<'_, T> {
    /// Does it (`setattr_copy()`), and lets an access ACL follow the mode.
    ///
    /// The latter is `posix_acl_chmod()` without [`InodeOperations::set_acl`], which might refuse
    /// when the mode has changed already.
    pub fn copy(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::setattr_copy(self.idmap, self.inode.as_ptr(), self.attr.attr) };
        if let Some(acl) = &self.acl {
            // Its inode had one, and so is of a type that has them.
            let _ = self.locked().set_cached_acl(AclType::Access, acl);
        }
    }
}

impl<'a, T: FileSystem> Deref for ReadyAttr<'a, T> {
    type Target = SetAttr<'a, T>;

    #[inline]
    fn deref(&self) -> &SetAttr<'a, T> {
        &self.attr
    }
}

struct VTable<O: InodeOperations>(PhantomData<O>);

impl<O: InodeOperations> VTable<O> {
    const FILE: bindings::inode_operations = bindings::inode_operations {
        setattr: if O::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        getattr: if O::HAS_GETATTR {
            Some(Self::getattr)
        } else {
            None
        },
        set_acl: if O::HAS_SET_ACL {
            Some(Self::set_acl)
        } else {
            None
        },
        listxattr: if <O::FileSystem as FileSystem>::HAS_XATTRS {
            Some(xattr::listxattr::<O::FileSystem>)
        } else {
            None
        },
        fileattr_get: if O::HAS_FILEATTR_GET {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fileattr_set: if O::HAS_FILEATTR_SET {
            Some(Self::fileattr_set)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const SYMLINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        set_acl: None,
        ..Self::FILE
    };

    const DIR: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(bindings::simple_lookup),
        unlink: if O::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        ..Self::FILE
    };

    const OFFSET_DIR: bindings::inode_operations = bindings::inode_operations {
        create: if O::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        link: if O::HAS_LINK { Some(Self::link) } else { None },
        symlink: if O::HAS_SYMLINK {
            Some(Self::symlink)
        } else {
            None
        },
        mkdir: if O::HAS_MKDIR {
            Some(Self::mkdir)
        } else {
            None
        },
        rmdir: if O::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        mknod: if O::HAS_MKNOD {
            Some(Self::mknod)
        } else {
            None
        },
        rename: if O::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        tmpfile: if O::HAS_TMPFILE {
            Some(Self::tmpfile)
        } else {
            None
        },
        get_offset_ctx: Some(Self::get_offset_ctx),
        ..Self::DIR
    };

    /// # Safety
    ///
    /// `inode` must be a directory with an offset map.
    unsafe extern "C" fn get_offset_ctx(inode: *mut bindings::inode) -> *mut bindings::offset_ctx {
        // SAFETY: By the safety requirements.
        unsafe { offset_ctx(inode) }
    }

    /// Something new in a directory.
    ///
    /// # Safety
    ///
    /// `dentry` must be a negative name of the directory `dir`, which is of this file system and
    /// locked for `'a`; `idmap` be valid.
    unsafe fn new_entry<'a>(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        done: &'a Done,
    ) -> NewEntry<'a, O::FileSystem> {
        // SAFETY: The caller holds references to both.
        // INVARIANT: By the safety requirements.
        unsafe {
            NewEntry {
                idmap,
                dir: Inode::from_raw(dir),
                dentry: Dentry::from_raw(dentry),
                // CAST: A mode has 16 bits.
                mode: Mode::from_raw(mode as bindings::umode_t),
                done,
            }
        }
    }

    /// # Safety
    ///
    /// As for `new_entry`.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        let mode = u32::from(mode) | bindings::S_IFREG;

        Done::told(|done| {
            // SAFETY: By the safety requirements.
            O::create(unsafe { Self::new_entry(idmap, dir, dentry, mode, done) })
        })
    }

    /// # Safety
    ///
    /// As for `new_entry`.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        let mode = u32::from(mode) | bindings::S_IFDIR;
        let told = Done::told(|done| {
            // SAFETY: By the safety requirements.
            O::mkdir(unsafe { Self::new_entry(idmap, dir, dentry, mode, done) })
        });

        to_result(told).map_or_else(|e| e.to_ptr(), |()| null_mut())
    }

    /// # Safety
    ///
    /// As for `new_entry`.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        rdev: bindings::dev_t,
    ) -> c_int {
        Done::told(|done| {
            // SAFETY: By the safety requirements.
            let new = unsafe { Self::new_entry(idmap, dir, dentry, mode.into(), done) };

            O::mknod(new, DevT::from_raw(rdev))
        })
    }

    /// # Safety
    ///
    /// As for `new_entry`; `target` must be a string.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        let mode = Mode::lnk().into_raw();

        Done::told(|done| {
            // SAFETY: By the safety requirements.
            let new = unsafe { Self::new_entry(idmap, dir, dentry, mode.into(), done) };
            // SAFETY: By the safety requirements.
            let target = unsafe { CStr::from_char_ptr(target) };

            O::symlink(new, target)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be a negative name of the directory `dir`, `old` be positive, both of one
    /// superblock of this file system and locked.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        Done::told(|done| {
            // SAFETY: The caller holds references to all.
            // INVARIANT: By the safety requirements.
            let link = unsafe {
                Link {
                    dir: Inode::from_raw(dir),
                    dentry: Dentry::from_raw(dentry),
                    old: Dentry::from_raw(old),
                    inode: Inode::from_raw(bindings::d_inode(old)),
                    done,
                }
            };

            O::link(link)
        })
    }

    /// # Safety
    ///
    /// `file` must be one without a name that is being opened in the directory `dir` of this file
    /// system; `idmap` be valid.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        Done::told(|done| {
            // INVARIANT: By the safety requirements.
            let new = TmpFile {
                idmap,
                // SAFETY: The caller holds a reference.
                dir: unsafe { Inode::from_raw(dir) },
                file,
                mode: Mode::from_raw(mode | bindings::S_IFREG as u16),
                done,
            };

            O::tmpfile(new)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be an empty or other directory in the directory `dir`, both of this file
    /// system and locked.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        Done::told(|done| {
            // SAFETY: The caller holds references to both.
            // INVARIANT: By the safety requirements.
            let unlink = unsafe {
                Unlink {
                    dir: Inode::from_raw(dir),
                    dentry: Dentry::from_raw(dentry),
                    done,
                }
            };

            O::rmdir(unlink)
        })
    }

    /// # Safety
    ///
    /// The arguments must be those of `->rename()` for directories of this file system, of which
    /// the old one has an offset map.
    unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old_dentry: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new_dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        let known =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

        Done::told(|done| {
            if flags & !known != 0 {
                return Err(EINVAL);
            }
            // SAFETY: By the safety requirements.
            if unsafe { offset_ctx(new_dir) }.is_null() {
                return Err(EXDEV);
            }
            // SAFETY: The caller holds references to all.
            // INVARIANT: By the safety requirements, and as has just been checked.
            let rename = unsafe {
                Rename {
                    idmap,
                    old_dir: Inode::from_raw(old_dir),
                    old_dentry: Dentry::from_raw(old_dentry),
                    inode: Inode::from_raw(bindings::d_inode(old_dentry)),
                    new_dir: Inode::from_raw(new_dir),
                    new_dentry: Dentry::from_raw(new_dentry),
                    flags,
                    done,
                }
            };

            O::rename(rename)
        })
    }

    /// # Safety
    ///
    /// `path` must be of this file system and positive; `idmap` and `stat` be valid.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _query_flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let inode = unsafe { bindings::d_inode((*path).dentry) };

            // SAFETY: By the safety requirements.
            unsafe { bindings::generic_fillattr(idmap, request_mask, inode, stat) };
            // SAFETY: The caller holds a reference; `stat` is ours for this call.
            // INVARIANT: By the safety requirements.
            let attr = unsafe {
                GetAttr {
                    inode: Inode::from_raw(inode),
                    stat: &mut *stat,
                    request_mask,
                }
            };

            O::getattr(attr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be positive and of this file system; `fa` be valid.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        fa: *mut bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let inode = unsafe { bindings::d_inode(dentry) };
            // SAFETY: The caller holds a reference.
            let inode = unsafe { Inode::from_raw(inode) };

            // SAFETY: `fa` is ours for this call.
            O::fileattr_get(inode, &mut FileKattr::new(unsafe { &mut *fa }))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be positive and of this file system, and its inode locked; `fa` be valid.
    unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        fa: *mut bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let inode = unsafe { bindings::d_inode(dentry) };
            // SAFETY: The caller holds a reference.
            let inode = unsafe { Inode::from_raw(inode) };
            // SAFETY: By the safety requirements.
            let locked = unsafe { LockedInode::new(inode) };

            // SAFETY: `fa` is ours for this call.
            O::fileattr_set(locked, &FileKattr::new(unsafe { &mut *fa }))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be a positive entry of the directory `dir`, both of this file system and
    /// locked.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        Done::told(|done| {
            // SAFETY: The caller holds references to both.
            // INVARIANT: By the safety requirements.
            let unlink = unsafe {
                Unlink {
                    dir: Inode::from_raw(dir),
                    dentry: Dentry::from_raw(dentry),
                    done,
                }
            };

            O::unlink(unlink)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be positive and of this file system, and its inode locked; `idmap` and `attr`
    /// must be valid.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller holds a reference.
            // INVARIANT: By the safety requirements.
            let attr = unsafe {
                SetAttr {
                    idmap,
                    dentry: Dentry::from_raw(dentry),
                    inode: Inode::from_raw(bindings::d_inode(dentry)),
                    attr,
                }
            };

            O::setattr(attr)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be positive and of this file system, and its inode locked; `idmap` be valid,
    /// and `acl` null or valid.
    unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut bindings::posix_acl,
        which: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let inode = unsafe { bindings::d_inode(dentry) };
            // INVARIANT: By the safety requirements.
            let change = SetAcl {
                idmap,
                dentry,
                // SAFETY: The caller holds a reference.
                inode: unsafe { Inode::from_raw(inode) },
                acl,
                which,
            };

            O::set_acl(change)?;
            Ok(0)
        })
    }
}

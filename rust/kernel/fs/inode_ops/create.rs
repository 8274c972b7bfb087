// SPDX-License-Identifier: GPL-2.0-only

//! What the operations get that make an inode: `->create()`, `->mkdir()`, `->mknod()`,
//! `->symlink()` and `->tmpfile()`.

use super::InodeOperations;
use crate::{
    bindings,
    error::to_result,
    fs::{
        done::Done,
        offset_ctx::add_entry,
        xattr,
        Dentry,
        DevT,
        FileSystem,
        Inode,
        Mode,
        NewInode, //
    },
    prelude::*, //
};
use core::ptr::null_mut;

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
    let new = NewInode::new(dir.sb(), mode, data)?;
    let (inode, dir) = (new.as_ptr(), dir.as_ptr());

    // SAFETY: The caller guarantees that the map is valid; nobody else knows the inode.
    unsafe { bindings::inode_init_owner(idmap, inode, dir, mode.into_raw()) };
    // Applies the umask as well, where the VFS leaves that to ACLs.
    // SAFETY: Both inodes are valid; nobody else knows the new one.
    to_result(unsafe { bindings::inode_acl_create(dir, inode) })?;
    // SAFETY: Both inodes are of `T`, and nobody else knows the new one. The caller guarantees that
    // the name is null or valid.
    unsafe { xattr::init_security::<T>(inode, dir, name) }?;
    Ok(new)
}

/// Something new in a directory, in [`InodeOperations`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, NewEntry};
///
/// fn create<T: FileSystem<InodeData = ()>>(new: NewEntry<'_, T>) -> Result {
///     let inode = new.new_inode(())?;
///
///     new.make_persistent(inode)
/// }
/// ```
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
    /// # Safety
    ///
    /// `dentry` must be a negative name of the directory `dir`, which is of the file system `T` and
    /// locked for `'a`; `idmap` be valid.
    unsafe fn from_raw(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u32,
        done: &'a Done,
    ) -> Self {
        // INVARIANT: The caller guarantees it.
        Self {
            idmap,
            // SAFETY: The caller holds a reference to the directory, which is of `T`.
            dir: unsafe { Inode::from_raw(dir) },
            // SAFETY: The caller holds a reference to the dentry, which is of `T`.
            dentry: unsafe { Dentry::from_raw(dentry) },
            // CAST: A mode has 16 bits.
            mode: Mode::from_raw(mode as bindings::umode_t),
            done,
        }
    }

    /// The directory.
    #[inline]
    pub fn dir(&self) -> &'a Inode<T> {
        self.dir
    }

    /// The name.
    #[inline]
    pub fn name(&self) -> &[u8] {
        // SAFETY: By the type invariants the directory is locked, which makes the name stable.
        unsafe { self.dentry.stable_name() }
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
        // SAFETY: By the type invariants the dentry is valid.
        let name = unsafe { bindings::d_name(self.dentry.as_ptr()) };

        // SAFETY: By the type invariants the map is valid; the name is that of the dentry, which is
        // stable as the directory is locked.
        unsafe { new_inode(self.idmap, self.dir, name, self.mode, data) }
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

        // SAFETY: By the type invariants the directory is locked, and the dentry a negative name of
        // it.
        unsafe { add_entry(self.dir.as_ptr(), dentry, inode.mode().is_dir()) }?;
        // SAFETY: By the type invariants the dentry is negative and its directory locked. The
        // reference to the inode is handed over.
        unsafe { bindings::d_make_persistent(dentry, inode.into_raw()) };
        self.done.set();
        Ok(())
    }
}

/// A new file without a name, in [`InodeOperations::tmpfile`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, TmpFile};
///
/// fn tmpfile<T: FileSystem<InodeData = ()>>(new: TmpFile<'_, T>) -> Result {
///     let inode = new.new_inode(())?;
///
///     new.finish(inode)
/// }
/// ```
///
/// # Invariants
///
/// `idmap` is valid for `'a`. `file` is one without a name that is being opened in the directory
/// `dir`, and has a dentry of its superblock.
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

    /// Makes an inode, as [`NewEntry::new_inode`] does.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the security module returns.
    pub fn new_inode(&self, data: T::InodeData) -> Result<NewInode<'a, T>> {
        // SAFETY: By the type invariants the map is valid.
        unsafe { new_inode(self.idmap, self.dir, core::ptr::null(), self.mode, data) }
    }

    /// Opens it (`d_tmpfile()`, `finish_open_simple()`).
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't a regular file, `EXDEV` if it is of another superblock, and what
    /// [`FileOperations::open`](crate::fs::FileOperations::open) returns.
    pub fn finish(self, mut inode: NewInode<'_, T>) -> Result {
        if !inode.mode().is_reg() {
            return Err(EINVAL);
        }
        if !inode.is_of(self.dir.sb()) {
            return Err(EXDEV);
        }
        inode.set_nlink(1);
        // SAFETY: By the type invariants the file is being opened, and has a dentry of the
        // superblock without a name. The reference to the inode is handed over.
        unsafe { bindings::d_tmpfile(self.file, inode.into_raw()) };
        // SAFETY: By the type invariants the file is being opened; it has an inode now.
        to_result(unsafe { bindings::finish_open_simple(self.file, 0) })?;
        self.done.set();
        Ok(())
    }
}

/// `->create()`.
///
/// # Safety
///
/// The arguments must be as [`NewEntry::from_raw`] wants them.
pub(super) unsafe extern "C" fn create<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> c_int {
    let mode = u32::from(mode) | bindings::S_IFREG;

    Done::told(|done| {
        // SAFETY: The VFS has locked the directory, and found nothing of that name.
        O::create(unsafe { NewEntry::from_raw(idmap, dir, dentry, mode, done) })
    })
}

/// `->mkdir()`.
///
/// # Safety
///
/// The arguments must be as [`NewEntry::from_raw`] wants them.
pub(super) unsafe extern "C" fn mkdir<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> *mut bindings::dentry {
    let mode = u32::from(mode) | bindings::S_IFDIR;
    let told = Done::told(|done| {
        // SAFETY: The VFS has locked the directory, and found nothing of that name.
        O::mkdir(unsafe { NewEntry::from_raw(idmap, dir, dentry, mode, done) })
    });

    to_result(told).map_or_else(|e| e.to_ptr(), |()| null_mut())
}

/// `->mknod()`.
///
/// # Safety
///
/// The arguments must be as [`NewEntry::from_raw`] wants them.
pub(super) unsafe extern "C" fn mknod<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    rdev: bindings::dev_t,
) -> c_int {
    Done::told(|done| {
        // SAFETY: The VFS has locked the directory, and found nothing of that name.
        let new = unsafe { NewEntry::from_raw(idmap, dir, dentry, mode.into(), done) };

        O::mknod(new, DevT::from_raw(rdev))
    })
}

/// `->symlink()`.
///
/// # Safety
///
/// The arguments must be as [`NewEntry::from_raw`] wants them, `target` be a string.
pub(super) unsafe extern "C" fn symlink<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    target: *const c_char,
) -> c_int {
    let mode = Mode::lnk().into_raw();

    Done::told(|done| {
        // SAFETY: The VFS has locked the directory, and found nothing of that name.
        let new = unsafe { NewEntry::from_raw(idmap, dir, dentry, mode.into(), done) };
        // SAFETY: The VFS passes a string that stays for the time of the call.
        let target = unsafe { CStr::from_char_ptr(target) };

        O::symlink(new, target)
    })
}

/// `->tmpfile()`.
///
/// # Safety
///
/// `file` must be one without a name that is being opened in the directory `dir` of this file
/// system; `idmap` be valid.
pub(super) unsafe extern "C" fn tmpfile<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    file: *mut bindings::file,
    mode: bindings::umode_t,
) -> c_int {
    Done::told(|done| {
        // INVARIANT: These are the arguments of `->tmpfile()`.
        let new = TmpFile {
            idmap,
            // SAFETY: The VFS holds a reference to the directory.
            dir: unsafe { Inode::from_raw(dir) },
            file,
            mode: Mode::from_raw(mode | bindings::S_IFREG as u16),
            done,
        };

        O::tmpfile(new)
    })
}

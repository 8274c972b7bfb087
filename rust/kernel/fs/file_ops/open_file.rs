// SPDX-License-Identifier: GPL-2.0-only

//! What `->read()` and `->write()` get.

use crate::{
    bindings,
    fs::{
        File,
        FileSystem,
        Inode,
        LocalFile,
        SuperBlock, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use core::{
    marker::PhantomData,
    ops::Deref, //
};

/// The file that is read or written, in [`FileOperations`](super::FileOperations).
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{File, FileSystem, OpenFile},
///     sync::aref::ARef,
/// };
///
/// /// The file whose descriptor has been written to `file`.
/// fn file_of<T: FileSystem>(file: &OpenFile<'_, T>, fd: u32) -> Result<ARef<File>> {
///     file.fget(fd)
/// }
/// ```
///
/// # Invariants
///
/// The file is one of the file system `T`. The current thread is in a read or write of it and of no
/// other.
pub struct OpenFile<'a, T: FileSystem>(&'a LocalFile, PhantomData<fn() -> T>);

impl<T: FileSystem> OpenFile<'_, T> {
    /// # Safety
    ///
    /// `file` must be one of the file system `T` and open for the lifetime, and the caller be in a
    /// read or write of it and of no other.
    #[inline]
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // SAFETY: The caller guarantees that the file is open. What calls of fdget_pos() there are
        // for it are on this thread or have locked it.
        // INVARIANT: The caller guarantees it.
        Self(unsafe { LocalFile::from_raw_file(file) }, PhantomData)
    }

    /// The superblock that the file lies on, which stays as long as the file is open.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: The file is valid.
        let inode = unsafe { bindings::file_inode(self.0.as_ptr()) };
        // SAFETY: An open file holds its inode, and by the type invariant that is one of `T`.
        let inode: &Inode<T> = unsafe { Inode::from_raw(inode) };

        inode.sb()
    }

    /// The open file with the descriptor `fd` in the table of the current process (`fget()`).
    ///
    /// # Errors
    ///
    /// `EBADF` if there is none, or none but a path (`O_PATH`); `ELOOP` for the file that is being
    /// read or written, which can't be had here.
    pub fn fget(&self, fd: u32) -> Result<ARef<File>> {
        let file = LocalFile::fget(fd)?;

        if core::ptr::eq(file.as_ptr(), self.0.as_ptr()) {
            return Err(ELOOP);
        }
        // SAFETY: By the type invariant the only call of fdget_pos() that can be active on this
        // thread is for the file that is being read or written, and that is another one.
        Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
    }
}

impl<T: FileSystem> Deref for OpenFile<'_, T> {
    type Target = LocalFile;

    #[inline]
    fn deref(&self) -> &LocalFile {
        self.0
    }
}

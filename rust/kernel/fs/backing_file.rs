// SPDX-License-Identifier: GPL-2.0-only

//! Backing files: an open file whose bytes are those of another one.
//!
//! C headers: [`include/linux/backing-file.h`](srctree/include/linux/backing-file.h)
//!
//! For file systems that leave reading, writing and mapping to a file of another one, as overlayfs
//! and FUSE do. What the user sees in `/proc` is the user's file.

use super::{
    file::{
        File,
        LocalFile,
        Offset, //
    },
    FileOperations,
    Kiocb,
    Path, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

/// An open file that a user's open file reads and writes.
///
/// # Invariants
///
/// The file has been opened by `backing_file_open()`.
pub struct BackingFile(ARef<File>);

impl BackingFile {
    /// Opens `real` as the backing file of `user` (`backing_file_open()`), by whose credentials and
    /// in whose mode, but for appending and direct I/O: these are told by each call.
    ///
    /// It makes no events of its own, nor does it change access times.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the file system of `real` returns.
    pub fn open(user: &LocalFile, real: &Path) -> Result<Self> {
        const NOT_PASSED_ON: u32 = bindings::O_APPEND | bindings::O_DIRECT | bindings::O_TRUNC;

        let flags = (user.flags() & !NOT_PASSED_ON) | bindings::O_NOATIME | bindings::O_LARGEFILE;

        // SAFETY: The user's file and the path are valid during the call, and so are the
        // credentials, which belong to the file.
        let file = from_err_ptr(unsafe {
            bindings::backing_file_open(
                user.as_ptr(),
                flags as c_int,
                real.as_ptr(),
                (*user.as_ptr()).f_cred,
            )
        })?;
        let file = NonNull::new(file).ok_or(ENOENT)?;

        // SAFETY: The call returned a reference, which is ours. `File` has the layout of `struct
        // file`, and no table of descriptors has this one.
        // INVARIANT: As above.
        Ok(Self(unsafe { ARef::from_raw(file.cast()) }))
    }

    /// What it can do: `FMODE_*`.
    #[inline]
    pub(super) fn f_mode(&self) -> bindings::fmode_t {
        // SAFETY: The file is open, and its mode doesn't change any more.
        unsafe { (*self.0.as_ptr()).f_mode }
    }

    /// Reads for `kiocb` (`backing_file_read_iter()`).
    #[inline]
    pub fn read_iter<T: crate::types::ForeignOwnable>(
        &self,
        iter: &mut IovIterDest<'_>,
        kiocb: &mut Kiocb<'_, T>,
    ) -> Result<usize> {
        // SAFETY: By the type invariant; the iterator and the kiocb are valid, and the credentials
        // belong to the file that is read.
        let read = unsafe {
            let iocb = kiocb.as_raw();
            let mut ctx = context((*iocb).ki_filp);

            bindings::backing_file_read_iter(
                self.0.as_ptr(),
                iter.as_raw(),
                iocb,
                (*iocb).ki_flags,
                &raw mut ctx,
            )
        };

        count(read)
    }

    /// Writes for `kiocb` (`backing_file_write_iter()`).
    ///
    /// The lock of the user's inode is to be held.
    #[inline]
    pub fn write_iter<T: crate::types::ForeignOwnable>(
        &self,
        iter: &mut IovIterSource<'_>,
        kiocb: &mut Kiocb<'_, T>,
    ) -> Result<usize> {
        // SAFETY: As in `read_iter`.
        let written = unsafe {
            let iocb = kiocb.as_raw();
            let mut ctx = context((*iocb).ki_filp);

            bindings::backing_file_write_iter(
                self.0.as_ptr(),
                iter.as_raw(),
                iocb,
                (*iocb).ki_flags,
                &raw mut ctx,
            )
        };

        count(written)
    }

    /// Where the next data or hole is (`vfs_llseek()` with `SEEK_DATA` and `SEEK_HOLE`).
    pub fn seek_data_or_hole(&self, offset: Offset, whence: c_int) -> Result<Offset> {
        if whence != bindings::SEEK_DATA as c_int && whence != bindings::SEEK_HOLE as c_int {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant the file is valid.
        let found = unsafe { bindings::vfs_llseek(self.0.as_ptr(), offset, whence) };

        if found < 0 {
            return Err(Error::from_errno(found as c_int));
        }
        Ok(found)
    }

    /// Allocates or deallocates space (`vfs_fallocate()`).
    pub fn vfs_fallocate(&self, mode: c_int, offset: Offset, len: Offset) -> Result {
        // SAFETY: By the type invariant the file is valid.
        to_result(unsafe { bindings::vfs_fallocate(self.0.as_ptr(), mode, offset, len) })
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }
}

/// The context of an access to the backing file of `user`.
///
/// # Safety
///
/// `user` must be valid.
#[inline]
pub(super) unsafe fn context(user: *mut bindings::file) -> bindings::backing_file_ctx {
    bindings::backing_file_ctx {
        // SAFETY: By the safety requirements; the credentials of a file don't change.
        cred: unsafe { (*user).f_cred },
        accessed: Some(bindings::file_accessed),
        end_write: None,
    }
}

#[inline]
pub(super) fn count(result: isize) -> Result<usize> {
    // CAST: A negative result is an errno.
    usize::try_from(result).map_err(|_| Error::from_errno(result as c_int))
}

/// Operations that go straight to the backing file, of open files that have one: see
/// [`FileOperations::backing`].
pub(super) struct Straight<O>(core::marker::PhantomData<O>);

impl<O: FileOperations> Straight<O> {
    /// # Safety
    ///
    /// `file` must be an open file of this kind, the others be arguments of `->splice_read()`.
    pub(super) unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        ppos: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: c_uint,
    ) -> isize {
        let mut iocb: bindings::kiocb = pin_init::zeroed();

        // SAFETY: By the safety requirements; the kiocb is one for a synchronous call, as
        // init_sync_kiocb() makes it.
        unsafe {
            let backing = match O::backing(super::file_ops::data::<O>(file)) {
                Ok(backing) => backing,
                Err(e) => return e.to_errno() as isize,
            };
            let mut ctx = context(file);

            iocb.ki_filp = file;
            iocb.ki_flags = (*file).f_iocb_flags as c_int;
            iocb.ki_pos = *ppos;
            let read = bindings::backing_file_splice_read(
                backing.as_ptr(),
                &raw mut iocb,
                pipe,
                len,
                flags,
                &raw mut ctx,
            );

            *ppos = iocb.ki_pos;
            read
        }
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, `vma` be a new mapping of it.
    pub(super) unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        unsafe {
            let backing = match O::backing(super::file_ops::data::<O>(file)) {
                Ok(backing) => backing,
                Err(e) => return e.to_errno(),
            };
            let mut ctx = context(file);

            bindings::backing_file_mmap(backing.as_ptr(), vma, &raw mut ctx)
        }
    }
}

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
    file_ops::{
        position,
        FreeArea,
        NewMapping,
        Seek,
        SpliceRead,
        SpliceWrite,
        UnmappedArea, //
    },
    FileSystem,
    Kiocb,
    LockedInode,
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
/// Its superblock is a lower one than that of the user's file, by `s_stack_depth`: so a chain of
/// backing files ends, and with it the stack that a call takes. Each call checks it, as it may be
/// for another file than the one that this has been opened for.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{file::LocalFile, BackingFile, Kiocb, Path},
///     iov::IovIterDest,
///     types::ForeignOwnable,
/// };
///
/// fn open(user: &LocalFile, real: &Path) -> Result<BackingFile> {
///     BackingFile::open(user, real)
/// }
///
/// fn read_iter<D: ForeignOwnable>(
///     backing: &BackingFile,
///     kiocb: &mut Kiocb<'_, D>,
///     to: &mut IovIterDest<'_>,
/// ) -> Result<usize> {
///     backing.read_iter(to, kiocb)
/// }
/// ```
///
/// # Invariants
///
/// The file has been opened by `backing_file_open()`, and isn't one of hugetlbfs.
pub struct BackingFile(ARef<File>);

impl BackingFile {
    /// Opens `real` as the backing file of `user` (`backing_file_open()`), by whose credentials and
    /// in whose mode, but for appending and direct I/O: these are told by each call.
    ///
    /// It makes no events of its own, nor does it change access times.
    ///
    /// # Errors
    ///
    /// `ELOOP` if the file system of `real` isn't below that of `user`, `ENOMEM`, and what the file
    /// system of `real` returns; `EINVAL` for a file of hugetlbfs, whose mappings have needs that
    /// those of `user` aren't made for.
    pub fn open(user: &LocalFile, real: &Path) -> Result<Self> {
        const NOT_PASSED_ON: u32 = bindings::O_DIRECT | bindings::O_TRUNC;

        let flags = (user.flags() & !NOT_PASSED_ON) | bindings::O_NOATIME | bindings::O_LARGEFILE;

        // SAFETY: The user's file is valid during the call; its credentials belong to it.
        let cred = unsafe { (*user.as_ptr()).f_cred };
        // SAFETY: The user's file, the path and the credentials are valid during the call.
        let file = from_err_ptr(unsafe {
            bindings::backing_file_open(user.as_ptr(), flags as c_int, real.as_ptr(), cred)
        })?;
        let file = NonNull::new(file).ok_or(ENOENT)?;

        // Only the opening has to know of it: an append-only file can't be opened without.
        // SAFETY: The call returned a file that nobody else knows.
        unsafe { bindings::file_clear_append(file.as_ptr()) };
        // SAFETY: The call returned a reference, which is ours. `File` has the layout of `struct
        // file`, and no table of descriptors has this one.
        let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };

        // SAFETY: The file is open.
        if unsafe { bindings::is_file_hugepages(file.as_ptr()) } {
            return Err(EINVAL);
        }
        // INVARIANT: `backing_file_open()` has opened it, and it isn't one of hugetlbfs.
        let backing = Self(file);

        // SAFETY: The user's file is valid.
        unsafe { backing.check_below(user.as_ptr()) }?;
        Ok(backing)
    }

    /// What it can do: `FMODE_*`.
    #[inline]
    fn f_mode(&self) -> bindings::fmode_t {
        // SAFETY: The file is open, and its mode doesn't change any more.
        unsafe { (*self.0.as_ptr()).f_mode }
    }

    /// Whether this may be the backing file of `user`.
    ///
    /// # Errors
    ///
    /// `ELOOP` if this is no file of a lower superblock than `user`; `EBADF` if it can't be read or
    /// written where `user` can, which is all that a mapping of `user` has been checked for.
    ///
    /// # Safety
    ///
    /// `user` must be valid.
    unsafe fn check_below(&self, user: *mut bindings::file) -> Result {
        // SAFETY: The caller guarantees that the file is valid; the two bits don't change any more.
        let wants = unsafe { (*user).f_mode } & (bindings::FMODE_READ | bindings::FMODE_WRITE);

        if wants & !self.f_mode() != 0 {
            return Err(EBADF);
        }
        // SAFETY: The caller guarantees that the file is valid.
        let user = unsafe { s_stack_depth(user) };
        // SAFETY: By the type invariant the file is valid.
        let own = unsafe { s_stack_depth(self.0.as_ptr()) };

        if own < user {
            Ok(())
        } else {
            Err(ELOOP)
        }
    }

    /// Reads for `kiocb` (`backing_file_read_iter()`), and waits for the end of it.
    ///
    /// # Errors
    ///
    /// `ELOOP` for the kiocb of a file that this one isn't below, `EBADF` for one that may do more
    /// than this one, and what the file returns.
    #[inline]
    pub fn read_iter<T: crate::types::ForeignOwnable>(
        &self,
        iter: &mut IovIterDest<'_>,
        kiocb: &mut Kiocb<'_, T>,
    ) -> Result<usize> {
        let iocb = kiocb.as_raw();
        // SAFETY: The kiocb is valid.
        let user = unsafe { (*iocb).ki_filp };
        // SAFETY: The kiocb is valid.
        let flags = unsafe { (*iocb).ki_flags };
        // SAFETY: The file of a kiocb is valid.
        let mut ctx = unsafe { context(user) };

        // SAFETY: The file of a kiocb is valid.
        unsafe { self.check_below(user) }?;
        // SAFETY: The kiocb is valid.
        let mut own = unsafe { synchronous(iocb) };
        // SAFETY: By the type invariant; the iterator, the kiocb and the context are valid, and the
        // credentials belong to the file that is read.
        let read = unsafe {
            bindings::backing_file_read_iter(
                self.0.as_ptr(),
                iter.as_raw(),
                &raw mut own,
                flags,
                &raw mut ctx,
            )
        };

        // SAFETY: The kiocb is valid, and `kiocb` borrowed exclusively.
        unsafe { (*iocb).ki_pos = own.ki_pos };
        count(read)
    }

    /// Writes for `kiocb` (`backing_file_write_iter()`), and waits for the end of it. Takes the
    /// set-id bits and capabilities of the user's file away first (`file_remove_privs()`).
    ///
    /// # Errors
    ///
    /// `EINVAL` if `locked` isn't the inode of the user's file, `ELOOP` and `EBADF` as for
    /// [`read_iter`](Self::read_iter), and what the file returns.
    #[inline]
    pub fn write_iter<T: crate::types::ForeignOwnable, F: FileSystem>(
        &self,
        iter: &mut IovIterSource<'_>,
        kiocb: &mut Kiocb<'_, T>,
        locked: &LockedInode<'_, F>,
    ) -> Result<usize> {
        let iocb = kiocb.as_raw();
        // SAFETY: The kiocb is valid.
        let user = unsafe { (*iocb).ki_filp };
        // SAFETY: The kiocb is valid.
        let flags = unsafe { (*iocb).ki_flags };
        // SAFETY: The file of a kiocb is valid.
        let mut ctx = unsafe { context(user) };

        // SAFETY: The file of a kiocb is valid.
        unsafe { locked.check_inode_of(user) }?;
        // SAFETY: The file of a kiocb is valid.
        unsafe { self.check_below(user) }?;
        // SAFETY: The kiocb is valid.
        let mut own = unsafe { synchronous(iocb) };
        // SAFETY: By the type invariant; the iterator, the kiocb and the context are valid, and the
        // credentials belong to the file that is written. The inode of that file is locked.
        let written = unsafe {
            bindings::backing_file_write_iter(
                self.0.as_ptr(),
                iter.as_raw(),
                &raw mut own,
                flags,
                &raw mut ctx,
            )
        };

        // SAFETY: The kiocb is valid, and `kiocb` borrowed exclusively.
        unsafe { (*iocb).ki_pos = own.ki_pos };
        count(written)
    }

    /// Splices from a pipe what there is in it, but doesn't wait for more
    /// (`backing_file_splice_write()` with `SPLICE_F_NONBLOCK`). Takes the set-id bits and
    /// capabilities of the user's file away first.
    ///
    /// As iter_file_splice_write() has the lock of the pipe while it calls `->write_iter()`, it is
    /// called for the backing file, below the locks of this one: the other way round, a pipe that
    /// feeds both files would close a circle of locks.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the pipe is empty, the others as for [`write_iter`](Self::write_iter).
    pub fn splice_write<F: FileSystem>(
        &self,
        splice: &mut SpliceWrite<'_, F>,
        locked: &LockedInode<'_, F>,
    ) -> Result<usize> {
        let user = splice.file;
        let flags = splice.flags | bindings::SPLICE_F_NONBLOCK;
        let mut iocb: bindings::kiocb = pin_init::zeroed();
        // SAFETY: By the type invariants of `SpliceWrite` the file is valid.
        let mut ctx = unsafe { context(user) };

        // SAFETY: By the type invariants of `SpliceWrite` the file is valid.
        unsafe { locked.check_inode_of(user) }?;
        // SAFETY: By the type invariants of `SpliceWrite` the file is valid.
        unsafe { self.check_below(user) }?;
        iocb.ki_filp = user;
        iocb.ki_pos = splice.pos;
        // SAFETY: By the type invariant and those of `SpliceWrite`. The kiocb is one of a
        // synchronous call, of which the position and the file are used. The inode is locked.
        let written = unsafe {
            bindings::backing_file_splice_write(
                splice.pipe,
                self.0.as_ptr(),
                &raw mut iocb,
                splice.len,
                flags,
                &raw mut ctx,
            )
        };

        splice.pos = iocb.ki_pos;
        count(written)
    }

    /// Changes the position of the user's file: to data or a hole as this one has them
    /// (`vfs_llseek()`), else by the size of the user's file (`generic_file_llseek()`).
    ///
    /// # Errors
    ///
    /// `ELOOP` and `EBADF` as for [`read_iter`](Self::read_iter), `ENXIO` beyond the end, `EINVAL`.
    pub fn llseek<T: FileSystem>(&self, seek: Seek<'_, T>) -> Result<Offset> {
        if !seek.is_data_or_hole() {
            return seek.generic_file_llseek();
        }
        // SAFETY: By the type invariants of `Seek` the file is valid.
        unsafe { self.check_below(seek.file) }?;
        // SAFETY: By the type invariant the file is valid.
        let found = unsafe { bindings::vfs_llseek(self.0.as_ptr(), seek.offset, seek.whence) };

        seek.vfs_setpos(position(found)?)
    }

    /// Splices into a pipe (`backing_file_splice_read()`), and returns how much.
    ///
    /// # Errors
    ///
    /// `ELOOP` and `EBADF` as for [`read_iter`](Self::read_iter), and what the file returns.
    pub fn splice_read<T: FileSystem>(&self, splice: &mut SpliceRead<'_, T>) -> Result<usize> {
        let mut iocb: bindings::kiocb = pin_init::zeroed();
        // SAFETY: By the type invariants of `SpliceRead` the file is valid.
        let mut ctx = unsafe { context(splice.file) };

        // SAFETY: By the type invariants of `SpliceRead` the file is valid.
        unsafe { self.check_below(splice.file) }?;
        iocb.ki_filp = splice.file;
        iocb.ki_pos = splice.pos;
        // SAFETY: By the type invariants both files and the pipe are valid. The kiocb is one of a
        // synchronous call, of which the position and the file are used.
        let read = unsafe {
            bindings::backing_file_splice_read(
                self.0.as_ptr(),
                &raw mut iocb,
                splice.pipe,
                // OVERFLOW: By the type invariants no more has been moved.
                splice.len - splice.moved,
                splice.flags,
                &raw mut ctx,
            )
        };

        splice.pos = iocb.ki_pos;
        // INVARIANT: So many bytes have been put into the pipe, which are no more than asked for.
        count(read).inspect(|read| splice.moved += read)
    }

    /// Maps this file in place of the user's (`backing_file_mmap()`).
    ///
    /// do_mmap() has asked for the seals of the user's file, this asks for those of this one.
    ///
    /// # Errors
    ///
    /// `ELOOP` and `EBADF` as for [`read_iter`](Self::read_iter), `EPERM` if a seal is against it,
    /// and what the file returns.
    pub fn mmap<T: FileSystem>(&self, mapping: NewMapping<'_, T>) -> Result {
        // SAFETY: By the type invariants of `NewMapping` the file is valid.
        let mut ctx = unsafe { context(mapping.file) };

        // SAFETY: By the type invariants of `NewMapping` the file is valid.
        unsafe { self.check_below(mapping.file) }?;
        // SAFETY: By the type invariants the file is open, and the mapping is a new one.
        to_result(unsafe { bindings::memfd_check_seals_vma(self.0.as_ptr(), mapping.vma) })?;
        // SAFETY: By the type invariants the file has been opened by `backing_file_open()`, and the
        // mapping is a new one of the user's file.
        to_result(unsafe {
            bindings::backing_file_mmap(self.0.as_ptr(), mapping.vma, &raw mut ctx)
        })?;
        mapping.done.set();
        Ok(())
    }

    /// Finds the place for a mapping that [`mmap`](Self::mmap) will make: one that this file
    /// wants, as it is the one that is mapped, and huge pages need an alignment.
    ///
    /// # Errors
    ///
    /// `ELOOP` and `EBADF` as for [`read_iter`](Self::read_iter), `ENOMEM` if there is no place,
    /// `EINVAL`.
    pub fn get_unmapped_area<'a, T: FileSystem>(
        &self,
        area: UnmappedArea<'a, T>,
    ) -> Result<FreeArea<'a>> {
        // SAFETY: By the type invariants of `UnmappedArea` the file is valid.
        unsafe { self.check_below(area.file) }?;
        // SAFETY: By the type invariant the file is open.
        unsafe { area.find(self.0.as_ptr()) }
    }

    /// Whether it allows `O_DIRECT`, for
    /// [`FileOperations::can_odirect`](super::FileOperations::can_odirect).
    #[inline]
    pub fn can_odirect(&self) -> bool {
        self.f_mode() & bindings::FMODE_CAN_ODIRECT != 0
    }

    /// Allocates or deallocates space for `user` (`vfs_fallocate()`).
    ///
    /// # Errors
    ///
    /// `ELOOP` if this isn't below `user`, `EBADF` if it may do less, and what the file returns.
    pub fn vfs_fallocate(
        &self,
        user: &LocalFile,
        mode: c_int,
        offset: Offset,
        len: Offset,
    ) -> Result {
        // SAFETY: The user's file is valid.
        unsafe { self.check_below(user.as_ptr()) }?;
        // SAFETY: By the type invariant the file is valid.
        to_result(unsafe { bindings::vfs_fallocate(self.0.as_ptr(), mode, offset, len) })
    }
}

/// The level of the superblock of a file: 0 for one that isn't stacked on another.
///
/// # Safety
///
/// `file` must be valid.
unsafe fn s_stack_depth(file: *mut bindings::file) -> c_int {
    // SAFETY: The caller guarantees that the file is valid.
    let inode = unsafe { bindings::file_inode(file) };
    // SAFETY: An open file holds its inode, whose superblock never changes.
    let sb = unsafe { (*inode).i_sb };

    // SAFETY: A superblock outlives its inodes. The level is set before there is a root, and so
    // before any file is open.
    unsafe { (*sb).s_stack_depth }
}

/// The context of an access to the backing file of `user`.
///
/// # Safety
///
/// `user` must be valid.
#[inline]
unsafe fn context(user: *mut bindings::file) -> bindings::backing_file_ctx {
    bindings::backing_file_ctx {
        // SAFETY: The caller guarantees that the file is valid, whose credentials don't change.
        cred: unsafe { (*user).f_cred },
        accessed: Some(bindings::file_accessed),
        end_write: None,
    }
}

/// A kiocb for the same place as that of the user, of a synchronous call (`is_sync_kiocb()`).
///
/// With the user's own, a backing file may queue the call (`EIOCBQUEUED`) and end it later, which
/// C must be told of by just that result: no error that safe code can pass on, or not.
///
/// # Safety
///
/// `user` must be valid.
#[inline]
unsafe fn synchronous(user: *const bindings::kiocb) -> bindings::kiocb {
    let mut own: bindings::kiocb = pin_init::zeroed();

    // SAFETY: The caller guarantees that the kiocb is valid.
    own.ki_filp = unsafe { (*user).ki_filp };
    // SAFETY: The caller guarantees that the kiocb is valid.
    own.ki_pos = unsafe { (*user).ki_pos };
    // SAFETY: The caller guarantees that the kiocb is valid.
    own.ki_flags = unsafe { (*user).ki_flags };
    // SAFETY: The caller guarantees that the kiocb is valid.
    own.ki_ioprio = unsafe { (*user).ki_ioprio };
    own
}

#[inline]
fn count(result: isize) -> Result<usize> {
    // CAST: A negative result is an errno.
    usize::try_from(result).map_err(|_| Error::from_errno(result as c_int))
}

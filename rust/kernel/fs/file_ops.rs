// SPDX-License-Identifier: GPL-2.0-only

//! Operations on open files.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    backing_file::{
        BackingFile,
        SpliceWrite,
        Straight, //
    },
    file::{
        LocalFile,
        Offset, //
    },
    File,
    FileSystem,
    Inode,
    Kiocb,
    SuperBlock, //
};
use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    module::this_module,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollTable, //
    },
    types::ForeignOwnable,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    },
};
use core::{
    marker::PhantomData,
    ops::Deref, //
};

/// Events that [`FileOperations::poll`] returns.
pub mod poll {
    /// There is something to read (`EPOLLIN | EPOLLRDNORM`).
    pub const IN: u32 = crate::bindings::EPOLLIN | crate::bindings::EPOLLRDNORM;
    /// There is something exceptional (`EPOLLPRI`).
    pub const PRI: u32 = crate::bindings::EPOLLPRI;
    /// A write doesn't wait (`EPOLLOUT | EPOLLWRNORM`).
    pub const OUT: u32 = crate::bindings::EPOLLOUT | crate::bindings::EPOLLWRNORM;
}

/// Bits of the mode of [`FileOperations::fallocate`].
pub mod falloc {
    /// The size of the file stays as it is (`FALLOC_FL_KEEP_SIZE`).
    pub const KEEP_SIZE: i32 = crate::bindings::FALLOC_FL_KEEP_SIZE as i32;
    /// The space is given back (`FALLOC_FL_PUNCH_HOLE`).
    pub const PUNCH_HOLE: i32 = crate::bindings::FALLOC_FL_PUNCH_HOLE as i32;
}

/// What can be done with open files of one kind of inodes: a `struct file_operations`.
///
/// The type that implements it stands for the kind and is never made. The operations run in the
/// context of the process that calls, without locks but for that of the file position in `read` and
/// `write`.
///
/// `fsync()` is `noop_fsync()`: such file systems have no device to write anything back to.
#[vtable]
pub trait FileOperations: Sized + 'static {
    /// The file system that the inodes belong to.
    type FileSystem: FileSystem;

    /// What belongs to an open file: `file->private_data`, dropped when the file is released.
    type Data: ForeignOwnable + Send + Sync + 'static;

    /// Opens a file.
    fn open(inode: &Inode<Self::FileSystem>, file: &LocalFile) -> Result<Self::Data>;

    /// Reads at `pos`, which is moved on by as much as is returned.
    fn read(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &OpenFile<'_, Self::FileSystem>,
        _to: &mut UserSliceWriter,
        _pos: &mut Offset,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes, and returns how much of it.
    fn write(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &OpenFile<'_, Self::FileSystem>,
        _from: &mut UserSliceReader,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The backing file that the bytes of this open file are in.
    ///
    /// With this method, splicing out of the file and mapping it go straight there
    /// (`backing_file_splice_read()`, `backing_file_mmap()`). `O_DIRECT` is allowed if it is for
    /// the backing file. An error is that of the call, as is `ELOOP` for a file that isn't below
    /// this one, and `EBADF` for one that can't be read or written where this one can.
    fn backing<'a>(_data: <Self::Data as ForeignOwnable>::Borrowed<'a>) -> Result<&'a BackingFile> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads at the position of `kiocb`, which is moved on by as much as is returned. It is over
    /// when this returns: `EIOCBQUEUED` becomes `EIO`.
    fn read_iter(
        _inode: &Inode<Self::FileSystem>,
        _kiocb: &mut Kiocb<'_, Self::Data>,
        _to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes at the position of `kiocb`, which is moved on by as much as is returned. It is over
    /// when this returns: `EIOCBQUEUED` becomes `EIO`.
    fn write_iter(
        _inode: &Inode<Self::FileSystem>,
        _kiocb: &mut Kiocb<'_, Self::Data>,
        _from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes what comes out of a pipe.
    ///
    /// For a file with a [`backing`](Self::backing) file, see [`BackingFile::splice_write`].
    fn splice_write(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _inode: &Inode<Self::FileSystem>,
        _splice: &mut SpliceWrite<'_, Self::FileSystem>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Allocates or deallocates space, by the `FALLOC_FL_*` bits of `mode`.
    ///
    /// Has to take set-id bits and capabilities away ([`LockedInode::file_remove_privs`]).
    ///
    /// [`LockedInode::file_remove_privs`]: super::LockedInode::file_remove_privs
    fn fallocate(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _inode: &Inode<Self::FileSystem>,
        _file: &LocalFile,
        _mode: c_int,
        _offset: Offset,
        _len: Offset,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells which events of [`poll`] there are, and registers with `table` for more.
    fn poll(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: PollTable<'_>,
    ) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The file that is read or written, in [`FileOperations`].
///
/// # Invariants
///
/// The file is one of the file system `T`. The current thread is in a read or write of it and of no
/// other.
pub struct OpenFile<'a, T: FileSystem>(&'a LocalFile, PhantomData<fn() -> T>);

impl<T: FileSystem> OpenFile<'_, T> {
    /// The superblock that the file lies on, which stays as long as the file is open.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: An open file holds its inode, and by the type invariant that is one of `T`.
        unsafe { Inode::from_raw(bindings::file_inode(self.0.as_ptr())) }.sb()
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

/// A table of operations that is safe for open files of the file system `T`.
pub struct FileOps<T: FileSystem>(&'static bindings::file_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> FileOps<T> {
    /// The table for files of the kind `O`.
    pub const fn new<O: FileOperations<FileSystem = T>>() -> Self {
        Self(&VTable::<O>::VTABLE, PhantomData)
    }

    /// The table for directories that lie in the dcache alone (`simple_dir_operations`).
    pub const fn simple_dir() -> Self {
        // SAFETY: The table is static and immutable.
        let ops = unsafe { &bindings::simple_dir_operations };

        Self(ops, PhantomData)
    }

    #[inline]
    pub(super) const fn as_ptr(&self) -> *const bindings::file_operations {
        self.0
    }
}

/// What belongs to an open file.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, and stay so for `'a`.
#[inline]
pub(super) unsafe fn data<'a, O: FileOperations>(
    file: *mut bindings::file,
) -> <O::Data as ForeignOwnable>::Borrowed<'a> {
    // SAFETY: `open` has set the private data, and it stays until `release`.
    unsafe { O::Data::borrow((*file).private_data) }
}

/// What C is told of a call that moved at most `most` bytes: for one that says it moved more, C
/// would hand on memory that nobody wrote. No call is queued: for one that says so, C would wait,
/// or for a synchronous one BUG().
fn moved(result: Result<usize>, most: usize) -> isize {
    from_result(|| {
        let bytes = match result {
            Err(e) if e == EIOCBQUEUED => return Err(EIO),
            result => result?,
        };

        if bytes > most {
            return Err(EIO);
        }
        Ok(isize::try_from(bytes)?)
    })
}

struct VTable<O: FileOperations>(PhantomData<O>);

impl<O: FileOperations> VTable<O> {
    const VTABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<O::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        llseek: if O::HAS_BACKING {
            Some(Self::llseek)
        } else {
            Some(bindings::generic_file_llseek)
        },
        read_iter: if O::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if O::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_read: if O::HAS_BACKING {
            Some(Straight::<O>::splice_read)
        } else {
            None
        },
        splice_write: if O::HAS_SPLICE_WRITE {
            Some(Self::splice_write)
        } else {
            None
        },
        mmap: if O::HAS_BACKING {
            Some(Straight::<O>::mmap)
        } else {
            None
        },
        get_unmapped_area: if O::HAS_BACKING {
            Some(Straight::<O>::get_unmapped_area)
        } else {
            None
        },
        fallocate: if O::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        fsync: Some(bindings::noop_fsync),
        setlease: if O::HAS_BACKING {
            Some(bindings::generic_setlease)
        } else {
            None
        },
        read: if O::HAS_READ { Some(Self::read) } else { None },
        write: if O::HAS_WRITE {
            Some(Self::write)
        } else {
            None
        },
        poll: if O::HAS_POLL { Some(Self::poll) } else { None },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` and `file` must be those of a file of this kind that is being opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        from_result(|| {
            // SAFETY: The caller holds references to both; nobody else uses the file yet.
            let opened =
                unsafe { O::open(Inode::from_raw(inode), LocalFile::from_raw_file(file)) }?;

            // SAFETY: A file that is being opened belongs to us.
            unsafe { (*file).private_data = opened.into_foreign() };
            if O::HAS_BACKING {
                // SAFETY: As above, and the private data is set.
                if let Ok(backing) = unsafe { Straight::<O>::backing(file) } {
                    let can = backing.f_mode() & bindings::FMODE_CAN_ODIRECT;

                    // SAFETY: As above.
                    unsafe { (*file).f_mode |= can };
                }
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` must be a file of this kind that is being released.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` has set the private data, and it isn't used after this.
        drop(unsafe { O::Data::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, `pos` be valid, and the caller in a read of it.
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        buf: *mut c_char,
        len: usize,
        pos: *mut bindings::loff_t,
    ) -> isize {
        let mut to = UserSlice::new(UserPtr::from_ptr(buf.cast()), len).writer();
        // SAFETY: By the safety requirements.
        let data = unsafe { data::<O>(file) };
        // SAFETY: The file is open for this call, and what calls of fdget_pos() there are for it
        // are on this thread or have locked it.
        // INVARIANT: The file is of this kind; the VFS calls ->read() from the read of this file
        // and of no other.
        let file = OpenFile(unsafe { LocalFile::from_raw_file(file) }, PhantomData);
        // SAFETY: By the safety requirements the position is ours.
        let pos = unsafe { &mut *pos };

        moved(O::read(data, &file, &mut to, pos), len)
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, and the caller in a write of it.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buf: *const c_char,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        let mut from = UserSlice::new(UserPtr::from_ptr(buf.cast_mut().cast()), len).reader();
        // SAFETY: By the safety requirements.
        let data = unsafe { data::<O>(file) };
        // SAFETY: As in `read`.
        // INVARIANT: The file is of this kind; the VFS calls ->write() from the write of this file
        // and of no other.
        let file = OpenFile(unsafe { LocalFile::from_raw_file(file) }, PhantomData);

        moved(O::write(data, &file, &mut from), len)
    }

    /// # Safety
    ///
    /// `kiocb` must be a read of a file of this kind, and `iter` where it goes.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the safety requirements the kiocb is valid.
        let file = unsafe { (*kiocb).ki_filp };
        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::inode(file) };
        // SAFETY: The caller passes it for the time of this call; `open` has set the private data
        // of the file, which is one of this kind.
        let mut kiocb = unsafe { Kiocb::from_raw(kiocb) };
        // SAFETY: The caller passes it for the time of this call, as one to read into.
        let to = unsafe { IovIterDest::from_raw(iter) };
        let before = to.len();
        let result = O::read_iter(inode, &mut kiocb, to);

        moved(result, before.saturating_sub(to.len()))
    }

    /// # Safety
    ///
    /// `kiocb` must be a write of a file of this kind, and `iter` where it comes from.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: By the safety requirements the kiocb is valid.
        let file = unsafe { (*kiocb).ki_filp };
        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::inode(file) };
        // SAFETY: As in `read_iter`.
        let mut kiocb = unsafe { Kiocb::from_raw(kiocb) };
        // SAFETY: The caller passes it for the time of this call, as one to write from.
        let from = unsafe { IovIterSource::from_raw(iter) };
        let before = from.len();
        let result = O::write_iter(inode, &mut kiocb, from);

        moved(result, before.saturating_sub(from.len()))
    }

    /// The inode of an open file.
    ///
    /// # Safety
    ///
    /// `file` must be an open file of this kind, and stay so for `'a`.
    #[inline]
    unsafe fn inode<'a>(file: *mut bindings::file) -> &'a Inode<O::FileSystem> {
        // SAFETY: By the safety requirements.
        let inode = unsafe { bindings::file_inode(file) };

        // SAFETY: The inode is held by the file, and of this file system.
        unsafe { Inode::from_raw(inode) }
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, the others be arguments of `->splice_write()`.
    unsafe extern "C" fn splice_write(
        pipe: *mut bindings::pipe_inode_info,
        file: *mut bindings::file,
        ppos: *mut bindings::loff_t,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: By the safety requirements the position is ours.
        let pos = unsafe { *ppos };
        // SAFETY: By the safety requirements.
        let mut splice = unsafe { SpliceWrite::new(pipe, file, pos, len, flags) };
        // SAFETY: By the safety requirements.
        let data = unsafe { data::<O>(file) };
        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::inode(file) };
        let result = O::splice_write(data, inode, &mut splice);

        // SAFETY: By the safety requirements the position is ours.
        unsafe { *ppos = splice.pos() };
        moved(result, len)
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        // SAFETY: By the safety requirements.
        let data = unsafe { data::<O>(file) };
        // SAFETY: By the safety requirements.
        let inode = unsafe { Self::inode(file) };
        // SAFETY: The file is open for this call, which fdget_pos() has no part in.
        let file = unsafe { LocalFile::from_raw_file(file) };

        from_result(|| {
            O::fallocate(data, inode, file, mode, offset, len)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        if whence != bindings::SEEK_DATA as c_int && whence != bindings::SEEK_HOLE as c_int {
            // SAFETY: By the safety requirements.
            return unsafe { bindings::generic_file_llseek(file, offset, whence) };
        }
        from_result(|| {
            // SAFETY: By the safety requirements.
            let backing = unsafe { Straight::<O>::backing(file) }?;
            let found = backing.seek_data_or_hole(offset, whence)?;

            // SAFETY: By the safety requirements; the inode is held by the file.
            Ok(unsafe {
                bindings::vfs_setpos(
                    file,
                    found,
                    (*(*bindings::file_inode(file)).i_sb).s_maxbytes,
                )
            })
        })
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, and `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: `open` has set the private data, and it stays until `release`. The file is open
        // for this call, which fdget_pos() has no part in. The table is valid for it.
        unsafe {
            O::poll(
                O::Data::borrow((*file).private_data),
                File::from_raw_file(file),
                PollTable::from_raw(table),
            )
        }
    }
}

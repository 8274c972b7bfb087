// SPDX-License-Identifier: GPL-2.0-only

//! Operations on open files.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    file::{
        LocalFile,
        Offset, //
    },
    File,
    FileSystem,
    Inode,
    Kiocb, //
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
    sync::poll::PollTable,
    types::ForeignOwnable,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    },
};
use core::marker::PhantomData;

mod mmap;
pub use self::mmap::{
    FreeArea,
    NewMapping,
    UnmappedArea, //
};

mod open_file;
pub use self::open_file::OpenFile;

mod readdir;
pub use self::readdir::DirContext;

mod seek;
pub(super) use self::seek::position;
pub use self::seek::{
    Lease,
    Seek, //
};

mod splice;
pub use self::splice::{
    SpliceRead,
    SpliceWrite, //
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
/// context of the process that calls, without locks but for that of the file position in `read`,
/// `write` and `llseek`. For a file with a [`BackingFile`], that offers most of them ready-made.
///
/// `fsync()` is `noop_fsync()`: such file systems have no device to write anything back to.
///
/// [`BackingFile`]: super::BackingFile
///
/// # Examples
///
/// ```
/// use core::marker::PhantomData;
/// use kernel::{
///     fs::{
///         file::{LocalFile, Offset},
///         FileOperations, FileSystem, Inode, OpenFile,
///     },
///     uaccess::UserSliceWriter,
/// };
///
/// /// A file that always has the same text.
/// struct Text<T>(PhantomData<T>);
///
/// #[vtable]
/// impl<T: FileSystem> FileOperations for Text<T> {
///     type FileSystem = T;
///     type Data = ();
///
///     fn open(_inode: &Inode<T>, _file: &LocalFile) -> Result {
///         Ok(())
///     }
///
///     fn read(
///         _data: (),
///         _file: &OpenFile<'_, T>,
///         to: &mut UserSliceWriter,
///         pos: &mut Offset,
///     ) -> Result<usize> {
///         to.write_slice_file(b"text", pos)
///     }
/// }
/// ```
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

    /// Changes the position and returns it. Without this method it is
    /// [`Seek::generic_file_llseek`].
    fn llseek(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _seek: Seek<'_, Self::FileSystem>,
    ) -> Result<Offset> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Lists the entries of a directory, from the position of `ctx` on until there is no more room
    /// or no more entry.
    ///
    /// Called with the lock of the directory held, if only shared, unless it is immutable.
    fn iterate_shared(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _ctx: &mut DirContext<'_>,
    ) -> Result {
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

    /// Moves what is in the file into a pipe, and returns how much. The caller is told what has
    /// been moved, if it isn't nothing.
    fn splice_read(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _splice: &mut SpliceRead<'_, Self::FileSystem>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes what comes out of a pipe, and returns how much.
    fn splice_write(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _inode: &Inode<Self::FileSystem>,
        _splice: &mut SpliceWrite<'_, Self::FileSystem>,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Maps the file, with the caller's `mmap_lock` held. An error that is returned once it is
    /// mapped is ignored, and success without it is `EIO`.
    fn mmap(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _mapping: NewMapping<'_, Self::FileSystem>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Finds the place for a mapping, with the caller's `mmap_lock` held. Without this method it is
    /// one as for any file.
    fn get_unmapped_area<'a>(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _area: UnmappedArea<'a, Self::FileSystem>,
    ) -> Result<FreeArea<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives, changes or takes a lease. Without this method a file has none.
    fn setlease(_data: <Self::Data as ForeignOwnable>::Borrowed<'_>, _lease: Lease<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether `O_DIRECT` is allowed (`FMODE_CAN_ODIRECT`); asked when the file is opened.
    fn can_odirect(_data: <Self::Data as ForeignOwnable>::Borrowed<'_>) -> bool {
        false
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

/// A table of operations that is safe for open files of the file system `T`.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileOperations, FileOps, NewInode};
///
/// fn set_file<O: FileOperations>(inode: &mut NewInode<'_, O::FileSystem>) -> Result {
///     inode.set_file_ops(FileOps::new::<O>())
/// }
/// ```
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

    /// The table for directories with an offset map (`simple_offset_dir_operations`), see
    /// [`OffsetCtx`](super::OffsetCtx).
    pub const fn simple_offset_dir() -> Self {
        // SAFETY: The table is static and immutable.
        let ops = unsafe { &bindings::simple_offset_dir_operations };

        Self(ops, PhantomData)
    }

    /// Whether it is for directories only, as it reads them.
    #[inline]
    pub(super) fn reads_dirs(&self) -> bool {
        self.0.iterate_shared.is_some()
    }

    /// Whether it is for directories with an offset map only.
    #[inline]
    pub(super) fn wants_offset_ctx(&self) -> bool {
        core::ptr::eq(self.0, &raw const bindings::simple_offset_dir_operations)
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
unsafe fn data<'a, O: FileOperations>(
    file: *mut bindings::file,
) -> <O::Data as ForeignOwnable>::Borrowed<'a> {
    // SAFETY: The caller guarantees that the file is open.
    let private = unsafe { (*file).private_data };

    // SAFETY: `open` has set the private data, and it stays until `release`.
    unsafe { O::Data::borrow(private) }
}

/// The inode of an open file.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, and stay so for `'a`.
#[inline]
unsafe fn inode<'a, O: FileOperations>(file: *mut bindings::file) -> &'a Inode<O::FileSystem> {
    // SAFETY: The caller guarantees that the file is open.
    let inode = unsafe { bindings::file_inode(file) };

    // SAFETY: The inode is held by the file, and of this file system.
    unsafe { Inode::from_raw(inode) }
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
        llseek: if O::HAS_LLSEEK {
            Some(seek::llseek::<O>)
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
        splice_read: if O::HAS_SPLICE_READ {
            Some(splice::splice_read::<O>)
        } else {
            None
        },
        splice_write: if O::HAS_SPLICE_WRITE {
            Some(splice::splice_write::<O>)
        } else {
            None
        },
        mmap: if O::HAS_MMAP {
            Some(mmap::mmap::<O>)
        } else {
            None
        },
        get_unmapped_area: if O::HAS_GET_UNMAPPED_AREA {
            Some(mmap::get_unmapped_area::<O>)
        } else {
            None
        },
        fallocate: if O::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        fsync: Some(bindings::noop_fsync),
        setlease: if O::HAS_SETLEASE {
            Some(seek::setlease::<O>)
        } else {
            None
        },
        iterate_shared: if O::HAS_ITERATE_SHARED {
            Some(readdir::iterate_shared::<O>)
        } else {
            None
        },
        read: if O::HAS_READ {
            Some(Self::read)
        } else if O::HAS_ITERATE_SHARED {
            Some(bindings::generic_read_dir)
        } else {
            None
        },
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
            // SAFETY: The VFS holds a reference to the inode.
            let inode = unsafe { Inode::from_raw(inode) };
            // SAFETY: The file is being opened: nobody else uses it yet.
            let opened = O::open(inode, unsafe { LocalFile::from_raw_file(file) })?;

            // SAFETY: The file is being opened: nobody else uses it yet.
            unsafe { (*file).private_data = opened.into_foreign() };
            // SAFETY: The file is one of this kind, and the private data has been set.
            if O::can_odirect(unsafe { data::<O>(file) }) {
                // SAFETY: The file is being opened: nobody else uses it yet.
                unsafe { (*file).f_mode |= bindings::FMODE_CAN_ODIRECT };
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` must be a file of this kind that is being released.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The VFS passes a valid file.
        let private = unsafe { (*file).private_data };

        // SAFETY: `open` has set the private data, and it isn't used after this.
        drop(unsafe { O::Data::from_foreign(private) });
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
        // SAFETY: The VFS passes an open file of this kind.
        let data = unsafe { data::<O>(file) };
        // SAFETY: The file is open for this call, and of this kind; the VFS calls ->read() from the
        // read of this file and of no other.
        let file = unsafe { OpenFile::from_raw(file) };
        // SAFETY: The VFS passes a valid position, which is ours for this call.
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
        // SAFETY: The VFS passes an open file of this kind.
        let data = unsafe { data::<O>(file) };
        // SAFETY: The file is open for this call, and of this kind; the VFS calls ->write() from
        // the write of this file and of no other.
        let file = unsafe { OpenFile::from_raw(file) };

        moved(O::write(data, &file, &mut from), len)
    }

    /// # Safety
    ///
    /// `kiocb` must be a read of a file of this kind, and `iter` where it goes.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The VFS passes a valid kiocb.
        let file = unsafe { (*kiocb).ki_filp };
        // SAFETY: The VFS passes an open file of this kind.
        let inode = unsafe { inode::<O>(file) };
        // SAFETY: The VFS passes it for the time of this call; `open` has set the private data
        // of the file, which is one of this kind.
        let mut kiocb = unsafe { Kiocb::from_raw(kiocb) };
        // SAFETY: The VFS passes it for the time of this call, as one to read into.
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
        // SAFETY: The VFS passes a valid kiocb.
        let file = unsafe { (*kiocb).ki_filp };
        // SAFETY: The VFS passes an open file of this kind.
        let inode = unsafe { inode::<O>(file) };
        // SAFETY: The VFS passes it for the time of this call; `open` has set the private data of
        // the file, which is one of this kind.
        let mut kiocb = unsafe { Kiocb::from_raw(kiocb) };
        // SAFETY: The VFS passes it for the time of this call, as one to write from.
        let from = unsafe { IovIterSource::from_raw(iter) };
        let before = from.len();
        let result = O::write_iter(inode, &mut kiocb, from);

        moved(result, before.saturating_sub(from.len()))
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
        // SAFETY: The VFS passes an open file of this kind.
        let data = unsafe { data::<O>(file) };
        // SAFETY: The VFS passes an open file of this kind.
        let inode = unsafe { inode::<O>(file) };
        // SAFETY: The file is open for this call, which fdget_pos() has no part in.
        let file = unsafe { LocalFile::from_raw_file(file) };

        from_result(|| {
            O::fallocate(data, inode, file, mode, offset, len)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `file` must be an open file of this kind, and `table` null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The VFS passes an open file of this kind.
        let data = unsafe { data::<O>(file) };
        // SAFETY: The file is open for this call, which fdget_pos() has no part in.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The VFS passes a table that is null or valid for this call.
        let table = unsafe { PollTable::from_raw(table) };

        O::poll(data, file, table)
    }
}

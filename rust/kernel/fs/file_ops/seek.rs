// SPDX-License-Identifier: GPL-2.0-only

//! What `->llseek()` and `->setlease()` get.

use super::{
    data,
    FileOperations, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fs::{
        file::Offset,
        FileSystem, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

/// A change of the position of a file, in [`FileOperations::llseek`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{file::Offset, FileSystem, Seek};
///
/// /// A file that has data everywhere.
/// fn llseek<T: FileSystem>(seek: Seek<'_, T>) -> Result<Offset> {
///     seek.generic_file_llseek()
/// }
/// ```
///
/// # Invariants
///
/// `file` is an open file of the file system `T`, valid for `'a`, whose position the caller may
/// change.
pub struct Seek<'a, T: FileSystem> {
    pub(in crate::fs) file: *mut bindings::file,
    pub(in crate::fs) offset: Offset,
    pub(in crate::fs) whence: c_int,
    _p: PhantomData<&'a T>,
}

impl<T: FileSystem> Seek<'_, T> {
    /// Whether it depends on what the file has where (`SEEK_DATA`, `SEEK_HOLE`).
    #[inline]
    pub fn is_data_or_hole(&self) -> bool {
        self.whence == bindings::SEEK_DATA as c_int || self.whence == bindings::SEEK_HOLE as c_int
    }

    /// Changes the position by the size of the file alone (`generic_file_llseek()`), and returns
    /// it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a position that can't be, `ENXIO` for data or a hole beyond the end.
    pub fn generic_file_llseek(self) -> Result<Offset> {
        // SAFETY: By the type invariants the file is open, and its position may be changed.
        position(unsafe { bindings::generic_file_llseek(self.file, self.offset, self.whence) })
    }

    /// Sets the position (`vfs_setpos()`), and returns it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is negative, or greater than a file of the file system can be.
    pub(in crate::fs) fn vfs_setpos(self, pos: Offset) -> Result<Offset> {
        // SAFETY: By the type invariants the file is open.
        let inode = unsafe { bindings::file_inode(self.file) };
        // SAFETY: An open file holds its inode, whose superblock never changes.
        let sb = unsafe { (*inode).i_sb };
        // SAFETY: A superblock outlives its inodes, and the limit doesn't change.
        let max = unsafe { (*sb).s_maxbytes };

        // SAFETY: By the type invariants the file is open, and its position may be changed.
        position(unsafe { bindings::vfs_setpos(self.file, pos, max) })
    }
}

/// A position, or the errno that C returns in its place.
pub(in crate::fs) fn position(pos: Offset) -> Result<Offset> {
    if pos < 0 {
        // CAST: It is an errno.
        return Err(Error::from_errno(pos as c_int));
    }
    Ok(pos)
}

/// `->llseek()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`.
pub(super) unsafe extern "C" fn llseek<O: FileOperations>(
    file: *mut bindings::file,
    offset: bindings::loff_t,
    whence: c_int,
) -> bindings::loff_t {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // INVARIANT: These are the arguments of `->llseek()`.
    let seek = Seek {
        file,
        offset,
        whence,
        _p: PhantomData,
    };

    from_result(|| O::llseek(data, seek))
}

/// A lease that is asked for, in [`FileOperations::setlease`].
///
/// # Examples
///
/// ```
/// use kernel::fs::Lease;
///
/// fn setlease(lease: Lease<'_>) -> Result {
///     lease.generic_setlease()
/// }
/// ```
///
/// # Invariants
///
/// The pointers are the arguments of `->setlease()`, valid for `'a`.
pub struct Lease<'a> {
    file: *mut bindings::file,
    arg: c_int,
    lease: *mut *mut bindings::file_lease,
    private: *mut *mut c_void,
    _p: PhantomData<&'a mut bindings::file_lease>,
}

impl Lease<'_> {
    /// Gives, changes or takes the lease, as for a file that only this machine uses
    /// (`generic_setlease()`).
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the file is open otherwise, `EINVAL`, `ENOMEM`.
    pub fn generic_setlease(self) -> Result {
        // SAFETY: By the type invariants these are the arguments of `->setlease()`.
        to_result(unsafe {
            bindings::generic_setlease(self.file, self.arg, self.lease, self.private)
        })
    }
}

/// `->setlease()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, the others be arguments of `->setlease()`.
pub(super) unsafe extern "C" fn setlease<O: FileOperations>(
    file: *mut bindings::file,
    arg: c_int,
    lease: *mut *mut bindings::file_lease,
    private: *mut *mut c_void,
) -> c_int {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // INVARIANT: These are the arguments of `->setlease()`.
    let lease = Lease {
        file,
        arg,
        lease,
        private,
        _p: PhantomData,
    };

    from_result(|| O::setlease(data, lease).map(|()| 0))
}

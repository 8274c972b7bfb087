// SPDX-License-Identifier: GPL-2.0-only

//! What `->splice_read()` and `->splice_write()` get.

use super::{
    data,
    inode,
    moved,
    FileOperations, //
};
use crate::{
    bindings,
    fs::{
        file::Offset,
        FileSystem, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

/// A splice from a file into a pipe, in [`FileOperations::splice_read`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{BackingFile, FileSystem, SpliceRead};
///
/// fn splice_read<T: FileSystem>(
///     backing: &BackingFile,
///     splice: &mut SpliceRead<'_, T>,
/// ) -> Result<usize> {
///     backing.splice_read(splice)
/// }
/// ```
///
/// # Invariants
///
/// `pipe` and `file` are arguments of `->splice_read()`, valid for `'a`, and the file is one of the
/// file system `T`. `moved` bytes have been put into the pipe, and are at most `len`.
pub struct SpliceRead<'a, T: FileSystem> {
    pub(in crate::fs) pipe: *mut bindings::pipe_inode_info,
    pub(in crate::fs) file: *mut bindings::file,
    pub(in crate::fs) pos: Offset,
    pub(in crate::fs) len: usize,
    pub(in crate::fs) moved: usize,
    pub(in crate::fs) flags: c_uint,
    _p: PhantomData<&'a T>,
}

/// `->splice_read()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, the others be arguments of `->splice_read()`.
pub(super) unsafe extern "C" fn splice_read<O: FileOperations>(
    file: *mut bindings::file,
    ppos: *mut bindings::loff_t,
    pipe: *mut bindings::pipe_inode_info,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // SAFETY: The VFS passes a valid position, which is ours for this call.
    let ppos = unsafe { &mut *ppos };
    // INVARIANT: These are the arguments of `->splice_read()`; nothing has been moved.
    let mut splice = SpliceRead {
        pipe,
        file,
        pos: *ppos,
        len,
        moved: 0,
        flags,
        _p: PhantomData,
    };
    let result = O::splice_read(data, &mut splice);

    *ppos = splice.pos;
    // The pipe has as much as has been moved, whatever the file system says: sendfile() would wait
    // for what is not there, or lose what is.
    if splice.moved == 0 {
        moved(result.map(|_| 0), 0)
    } else {
        moved(Ok(splice.moved), len)
    }
}

/// A splice from a pipe into a file, in [`FileOperations::splice_write`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{BackingFile, FileSystem, Inode, SpliceWrite};
///
/// fn splice_write<T: FileSystem>(
///     backing: &BackingFile,
///     inode: &Inode<T>,
///     splice: &mut SpliceWrite<'_, T>,
/// ) -> Result<usize> {
///     let len = splice.wait()?;
///
///     splice.truncate(len);
///     backing.splice_write(splice, &inode.lock())
/// }
/// ```
///
/// # Invariants
///
/// `pipe` and `file` are arguments of `->splice_write()`, valid for `'a`, and the file is one of
/// the file system `T`.
pub struct SpliceWrite<'a, T: FileSystem> {
    pub(in crate::fs) pipe: *mut bindings::pipe_inode_info,
    pub(in crate::fs) file: *mut bindings::file,
    pub(in crate::fs) pos: Offset,
    pub(in crate::fs) len: usize,
    pub(in crate::fs) flags: c_uint,
    _p: PhantomData<&'a T>,
}

impl<T: FileSystem> SpliceWrite<'_, T> {
    /// The position in the file at which it begins.
    #[inline]
    pub fn pos(&self) -> Offset {
        self.pos
    }

    /// Waits until there is something in the pipe, unless the caller doesn't want to, and returns
    /// how much of it is to be written: 0 if nothing will follow, as the pipe has no writers.
    ///
    /// As it may take as long as a writer likes, this belongs where no lock is held.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is nothing and the caller doesn't wait, `ERESTARTSYS` for a signal.
    pub fn wait(&self) -> Result<usize> {
        let nowait = self.flags & bindings::SPLICE_F_NONBLOCK != 0;

        // SAFETY: By the type invariants the pipe is valid.
        let there = unsafe { bindings::pipe_wait_bytes(self.pipe, nowait) };

        usize::try_from(there)
            .map(|there| there.min(self.len))
            // CAST: It is an errno.
            .map_err(|_| Error::from_errno(there as c_int))
    }

    /// Ends it after `len` bytes, if it is longer.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// `->splice_write()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, the others be arguments of `->splice_write()`.
pub(super) unsafe extern "C" fn splice_write<O: FileOperations>(
    pipe: *mut bindings::pipe_inode_info,
    file: *mut bindings::file,
    ppos: *mut bindings::loff_t,
    len: usize,
    flags: c_uint,
) -> isize {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // SAFETY: The VFS passes an open file of this kind.
    let inode = unsafe { inode::<O>(file) };
    // SAFETY: The VFS passes a valid position, which is ours for this call.
    let ppos = unsafe { &mut *ppos };
    // INVARIANT: These are the arguments of `->splice_write()`.
    let mut splice = SpliceWrite {
        pipe,
        file,
        pos: *ppos,
        len,
        flags,
        _p: PhantomData,
    };
    let result = O::splice_write(data, inode, &mut splice);

    *ppos = splice.pos;
    moved(result, len)
}

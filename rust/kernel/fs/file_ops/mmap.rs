// SPDX-License-Identifier: GPL-2.0-only

//! What `->mmap()` and `->get_unmapped_area()` get.

use super::{
    data,
    FileOperations, //
};
use crate::{
    bindings,
    fs::{
        done::Done,
        FileSystem, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

/// A mapping of a file that is being made, in [`FileOperations::mmap`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{BackingFile, FileSystem, NewMapping};
///
/// fn mmap<T: FileSystem>(backing: &BackingFile, mapping: NewMapping<'_, T>) -> Result {
///     backing.mmap(mapping)
/// }
/// ```
///
/// # Invariants
///
/// `vma` is a new mapping of `file`, which is an open file of the file system `T`, both valid for
/// `'a`.
pub struct NewMapping<'a, T: FileSystem> {
    pub(in crate::fs) file: *mut bindings::file,
    pub(in crate::fs) vma: *mut bindings::vm_area_struct,
    pub(in crate::fs) done: &'a Done,
    _p: PhantomData<fn() -> T>,
}

/// `->mmap()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`, `vma` be a new mapping of it.
pub(super) unsafe extern "C" fn mmap<O: FileOperations>(
    file: *mut bindings::file,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };

    Done::told(|done| {
        // INVARIANT: These are the arguments of `->mmap()`.
        let mapping = NewMapping {
            file,
            vma,
            done,
            _p: PhantomData,
        };

        O::mmap(data, mapping)
    })
}

/// A place that is looked for, for a mapping of a file, in [`FileOperations::get_unmapped_area`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{BackingFile, FileSystem, FreeArea, UnmappedArea};
///
/// fn get_unmapped_area<'a, T: FileSystem>(
///     backing: &BackingFile,
///     area: UnmappedArea<'a, T>,
/// ) -> Result<FreeArea<'a>> {
///     backing.get_unmapped_area(area)
/// }
/// ```
///
/// # Invariants
///
/// `file` is an open file of the file system `T`, valid for `'a`.
pub struct UnmappedArea<'a, T: FileSystem> {
    pub(in crate::fs) file: *mut bindings::file,
    pub(in crate::fs) addr: c_ulong,
    pub(in crate::fs) len: c_ulong,
    pub(in crate::fs) pgoff: c_ulong,
    pub(in crate::fs) flags: c_ulong,
    _p: PhantomData<&'a T>,
}

impl<'a, T: FileSystem> UnmappedArea<'a, T> {
    /// Finds a place as for `file`, which has operations (`->get_unmapped_area()`, or
    /// `mm_get_unmapped_area()` if it has none).
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no place, `EINVAL`.
    ///
    /// # Safety
    ///
    /// `file` must be open.
    pub(in crate::fs) unsafe fn find(self, file: *mut bindings::file) -> Result<FreeArea<'a>> {
        let (addr, len, pgoff, flags) = (self.addr, self.len, self.pgoff, self.flags);
        // SAFETY: The caller guarantees that the file is open.
        let ops = unsafe { (*file).f_op };
        // SAFETY: An open file has operations.
        let find = unsafe { (*ops).get_unmapped_area };
        let found = match find {
            // SAFETY: The operation is that of the file; it accepts all numbers.
            Some(find) => unsafe { find(file, addr, len, pgoff, flags) },
            // SAFETY: The file is open; the function accepts all numbers.
            None => unsafe { bindings::mm_get_unmapped_area(file, addr, len, pgoff, flags) },
        };
        // CAST: An errno is sign-extended, as by ERR_PTR().
        let errno = found as c_long;

        if (-(bindings::MAX_ERRNO as c_long)..0).contains(&errno) {
            return Err(Error::from_errno(errno as c_int));
        }
        // INVARIANT: It has just been found.
        Ok(FreeArea(found, PhantomData))
    }
}

/// A place for the mapping that an [`UnmappedArea`] stands for.
///
/// # Examples
///
/// ```
/// use kernel::fs::{BackingFile, FileSystem, FreeArea, UnmappedArea};
///
/// /// Finds a place by the first of two files that has one.
/// fn find<'a, T: FileSystem>(
///     backing: Option<&BackingFile>,
///     area: UnmappedArea<'a, T>,
/// ) -> Result<FreeArea<'a>> {
///     backing.ok_or(ENODEV)?.get_unmapped_area(area)
/// }
/// ```
///
/// # Invariants
///
/// A function of C has found the address for it.
pub struct FreeArea<'a>(c_ulong, PhantomData<fn(&'a ()) -> &'a ()>);

/// `->get_unmapped_area()`.
///
/// # Safety
///
/// `file` must be an open file of the kind `O`.
pub(super) unsafe extern "C" fn get_unmapped_area<O: FileOperations>(
    file: *mut bindings::file,
    addr: c_ulong,
    len: c_ulong,
    pgoff: c_ulong,
    flags: c_ulong,
) -> c_ulong {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // INVARIANT: The file is an argument of `->get_unmapped_area()`.
    let area = UnmappedArea {
        file,
        addr,
        len,
        pgoff,
        flags,
        _p: PhantomData,
    };

    match O::get_unmapped_area(data, area) {
        Ok(found) => found.0,
        // CAST: It is sign-extended, as ERR_PTR() does.
        Err(e) => e.to_errno() as c_ulong,
    }
}

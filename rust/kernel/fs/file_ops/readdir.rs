// SPDX-License-Identifier: GPL-2.0-only

//! Reading directories: `->iterate_shared()`.

use super::{
    data,
    FileOperations,
    FileOps,
    VTable, //
};
use crate::{
    bindings,
    error::from_result,
    fs::{
        file::Offset,
        FileSystem,
        Mode, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

impl<T: FileSystem> FileOps<T> {
    /// The table for directories of the kind `O` in which names never come or go, so that they are
    /// read without their lock (`FOP_IMMUTABLE`): a reader keeps it as long as it likes else.
    pub const fn immutable_dir<O: FileOperations<FileSystem = T>>() -> Self {
        Self(&Immutable::<O>::VTABLE, PhantomData)
    }
}

struct Immutable<O: FileOperations>(PhantomData<O>);

impl<O: FileOperations> Immutable<O> {
    const VTABLE: bindings::file_operations = bindings::file_operations {
        fop_flags: VTable::<O>::VTABLE.fop_flags | bindings::FOP_IMMUTABLE,
        ..VTable::<O>::VTABLE
    };
}

/// Where the entries of a directory go (`struct dir_context`).
///
/// # Examples
///
/// ```
/// use kernel::fs::{DirContext, Mode};
///
/// /// A directory in which there is one file.
/// fn iterate_shared(ctx: &mut DirContext<'_>) {
///     if ctx.emit_dots() && ctx.pos() == 2 {
///         ctx.emit(b"one", 7, Mode::reg(0o400));
///     }
/// }
/// ```
///
/// # Invariants
///
/// `file` is an open directory that is just being read into `ctx`, which nobody else uses for `'a`.
pub struct DirContext<'a> {
    file: *mut bindings::file,
    // No reference, as the functions that emit go from it to what it lies in (`container_of()`).
    ctx: *mut bindings::dir_context,
    _p: PhantomData<&'a mut bindings::dir_context>,
}

impl DirContext<'_> {
    /// The position of the next entry. Those of `.` and `..` are 0 and 1.
    #[inline]
    pub fn pos(&self) -> Offset {
        // SAFETY: By the type invariant the context is valid and ours.
        unsafe { (*self.ctx).pos }
    }

    /// Emits `.` and `..`, unless the position is beyond them (`dir_emit_dots()`).
    ///
    /// Returns whether there may be room for more.
    pub fn emit_dots(&mut self) -> bool {
        // SAFETY: By the type invariant the file is open, and just being read into the context.
        unsafe { bindings::dir_emit_dots(self.file, self.ctx) }
    }

    /// Emits an entry at the present position (`dir_emit()`), and goes on if there was room.
    ///
    /// Accesses memory of the user. Returns whether there was room.
    pub fn emit(&mut self, name: &[u8], ino: u64, mode: Mode) -> bool {
        let Ok(len) = c_int::try_from(name.len()) else {
            return false;
        };
        // SAFETY: The function has no requirements.
        let kind = unsafe { bindings::fs_umode_to_dtype(mode.into_raw()) };
        // SAFETY: The name has that length, and the context is valid.
        let emitted = unsafe {
            bindings::dir_emit(self.ctx, name.as_ptr().cast(), len, ino, c_uint::from(kind))
        };

        if emitted {
            let next = self.pos().saturating_add(1);

            // SAFETY: By the type invariant the context is valid and ours.
            unsafe { (*self.ctx).pos = next };
        }
        emitted
    }
}

/// `->iterate_shared()`.
///
/// # Safety
///
/// `file` must be an open directory of the kind `O` that is just being read into `ctx`.
pub(super) unsafe extern "C" fn iterate_shared<O: FileOperations>(
    file: *mut bindings::file,
    ctx: *mut bindings::dir_context,
) -> c_int {
    // SAFETY: The VFS passes an open file of this kind.
    let data = unsafe { data::<O>(file) };
    // INVARIANT: By the safety requirements. The VFS passes a context that is ours for this call.
    let mut ctx = DirContext {
        file,
        ctx,
        _p: PhantomData,
    };

    from_result(|| {
        O::iterate_shared(data, &mut ctx)?;
        Ok(0)
    })
}

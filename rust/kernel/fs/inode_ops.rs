// SPDX-License-Identifier: GPL-2.0-only

//! Operations on inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    Dentry,
    FileSystem,
    Inode, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
};
use core::marker::PhantomData;

/// What can be done with one kind of inodes of a file system: a `struct inode_operations`.
///
/// The type that implements it stands for the kind and is never made.
#[vtable]
pub trait InodeOperations: Sized + 'static {
    /// The file system that the inodes belong to.
    type FileSystem: FileSystem;

    /// Removes a name from a directory.
    ///
    /// Called with the locks of the directory and of what is removed held.
    fn unlink(_unlink: Unlink<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes: owner, mode, times, size.
    ///
    /// Called with the lock of the inode held.
    fn setattr(_attr: SetAttr<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A table of operations that is safe for inodes of the file system `T`.
pub struct InodeOps<T: FileSystem>(&'static bindings::inode_operations, PhantomData<fn() -> T>);

impl<T: FileSystem> InodeOps<T> {
    /// The table for directories of the kind `O`; names are looked up in the dcache alone
    /// (`simple_lookup()`).
    pub const fn dir<O: InodeOperations<FileSystem = T>>() -> Self {
        Self(&VTable::<O>::DIR, PhantomData)
    }

    /// The table for files of the kind `O`.
    pub const fn file<O: InodeOperations<FileSystem = T>>() -> Self {
        Self(&VTable::<O>::FILE, PhantomData)
    }

    #[inline]
    pub(super) const fn as_ptr(&self) -> *const bindings::inode_operations {
        self.0
    }
}

/// The removal of a name, in [`InodeOperations::unlink`].
///
/// # Invariants
///
/// `dentry` is a positive entry of the directory `dir`, and both inodes are locked.
pub struct Unlink<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
}

impl<T: FileSystem> Unlink<'_, T> {
    /// What is removed.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Removes it (`simple_unlink()`).
    pub fn simple_unlink(self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::simple_unlink(self.dir.as_ptr(), self.dentry.as_ptr()) })
    }
}

/// A change of attributes, in [`InodeOperations::setattr`].
///
/// # Invariants
///
/// The pointers are the arguments of `->setattr()`, valid for `'a`, and the inode is locked.
pub struct SetAttr<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dentry: &'a Dentry<T>,
    attr: *mut bindings::iattr,
}

impl<T: FileSystem> SetAttr<'_, T> {
    /// Whose attributes are changed.
    #[inline]
    pub fn dentry(&self) -> &Dentry<T> {
        self.dentry
    }

    /// Takes the size out of what is changed.
    pub fn ignore_size(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { (*self.attr).ia_valid &= !bindings::ATTR_SIZE };
    }

    /// Checks whether the caller may (`setattr_prepare()`).
    ///
    /// # Errors
    ///
    /// `EPERM` and what else setattr_prepare() returns.
    pub fn prepare(&mut self) -> Result {
        // SAFETY: By the type invariants.
        to_result(unsafe { bindings::setattr_prepare(self.idmap, self.dentry.as_ptr(), self.attr) })
    }

    /// Does it (`setattr_copy()`).
    pub fn copy(&self) {
        // SAFETY: By the type invariants; a dentry whose attributes are changed is positive.
        unsafe {
            bindings::setattr_copy(
                self.idmap,
                bindings::d_inode(self.dentry.as_ptr()),
                self.attr,
            );
        }
    }
}

struct VTable<O: InodeOperations>(PhantomData<O>);

impl<O: InodeOperations> VTable<O> {
    const FILE: bindings::inode_operations = bindings::inode_operations {
        setattr: if O::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const DIR: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(bindings::simple_lookup),
        unlink: if O::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        ..Self::FILE
    };

    /// # Safety
    ///
    /// `dentry` must be a positive entry of the directory `dir`, both of this file system and
    /// locked.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: The caller holds references to both.
            // INVARIANT: By the safety requirements.
            let unlink = unsafe {
                Unlink {
                    dir: Inode::from_raw(dir),
                    dentry: Dentry::from_raw(dentry),
                }
            };

            O::unlink(unlink)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dentry` must be positive and of this file system, and its inode locked; `idmap` and `attr`
    /// must be valid.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // INVARIANT: By the safety requirements.
            let attr = SetAttr {
                idmap,
                // SAFETY: The caller holds a reference.
                dentry: unsafe { Dentry::from_raw(dentry) },
                attr,
            };

            O::setattr(attr)?;
            Ok(0)
        })
    }
}

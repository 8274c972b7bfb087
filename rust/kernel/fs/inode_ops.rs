// SPDX-License-Identifier: GPL-2.0-only

//! Operations on inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    acl::{
        self,
        SetAcl, //
    },
    fileattr::{
        self,
        FileKattr, //
    },
    offset_ctx::{
        get_offset_ctx,
        OffsetCtx, //
    },
    xattr,
    DevT,
    FileSystem,
    Inode,
    LockedInode, //
};
use crate::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};
use core::marker::PhantomData;

mod attr;
pub use self::attr::{
    GetAttr,
    PreparedAttr,
    ReadyAttr,
    SetAttr, //
};

mod create;
pub use self::create::{
    NewEntry,
    TmpFile, //
};

mod link;
pub use self::link::{
    Link,
    Unlink, //
};

mod lookup;
pub use self::lookup::{
    Found,
    Lookup, //
};

mod names;

mod rename;
pub use self::rename::Rename;

/// What can be done with one kind of inodes of a file system: a `struct inode_operations`.
///
/// The type that implements it stands for the kind and is never made.
///
/// Those that make, remove or rename get a value that does it when it is consumed. An error that is
/// returned after that is ignored, and success without it is `EIO`.
///
/// # Examples
///
/// ```
/// use core::marker::PhantomData;
/// use kernel::fs::{FileSystem, InodeOperations, SetAttr, Unlink};
///
/// /// A directory whose entries can be removed.
/// struct Dir<T>(PhantomData<T>);
///
/// #[vtable]
/// impl<T: FileSystem> InodeOperations for Dir<T> {
///     type FileSystem = T;
///
///     fn unlink(unlink: Unlink<'_, T>) -> Result {
///         unlink.simple_unlink()
///     }
///
///     fn setattr(attr: SetAttr<'_, T>) -> Result {
///         attr.prepare()?.ready()?.copy();
///         Ok(())
///     }
/// }
/// ```
#[vtable]
pub trait InodeOperations: Sized + 'static {
    /// The file system that the inodes belong to.
    type FileSystem: FileSystem;

    /// Looks up a name that isn't in the dcache, and makes the inode that it is the name of, which
    /// is cached ([`Lookup::cache`]), or the tree, which stays ([`Lookup::d_splice_alias`]), if
    /// there is one. Without this method there is what is in the dcache alone.
    ///
    /// Called with the lock of the directory held, if only shared: two names may be looked up at a
    /// time, but not one name twice. For names of at most
    /// [`NAME_MAX`](super::NAME_MAX) bytes: others are `ENAMETOOLONG`.
    fn lookup<'a>(_lookup: Lookup<'a, Self::FileSystem>) -> Result<Found<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file.
    ///
    /// Called with the lock of the directory held, as are all that change one.
    fn create(_new: NewEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory.
    fn mkdir(_new: NewEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a special file.
    fn mknod(_new: NewEntry<'_, Self::FileSystem>, _rdev: DevT) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link.
    fn symlink(_new: NewEntry<'_, Self::FileSystem>, _target: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a further name of an inode, which is locked, too.
    fn link(_link: Link<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file without a name and opens it (`O_TMPFILE`).
    ///
    /// Called without the lock of the directory.
    fn tmpfile(_new: TmpFile<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory, with the locks of both directories held.
    fn rmdir(_unlink: Unlink<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames, with the locks of both directories held, and of what is moved and replaced as far
    /// as `vfs_rename()` takes them.
    fn rename(_rename: Rename<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the attributes, of which those that the inode has are there already.
    ///
    /// Called without a lock.
    fn getattr(_attr: GetAttr<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells the flags that `chattr` changes.
    ///
    /// May be called with the lock of the inode held.
    fn fileattr_get(_inode: &Inode<Self::FileSystem>, _fa: &mut FileKattr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the flags that `chattr` changes; the VFS has checked whether the caller may.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a flag that the inode can't have.
    fn fileattr_set(_inode: LockedInode<'_, Self::FileSystem>, _fa: &FileKattr<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The offset map of a directory, which lies in what belongs to the inode
    /// ([`FileSystem::InodeData`]).
    ///
    /// Asked for once, by [`NewInode::set_inode_ops`](super::NewInode::set_inode_ops): that map is
    /// the directory's ever after.
    ///
    /// # Errors
    ///
    /// Whatever fits if the inode has none.
    fn get_offset_ctx(_dir: &Inode<Self::FileSystem>) -> Result<&OffsetCtx> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

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

    /// Changes a POSIX ACL, which the VFS has checked; symbolic links have none.
    ///
    /// Called with the lock of the inode held, for a superblock with
    /// [`NewSuperBlock::set_posixacl`](super::NewSuperBlock::set_posixacl).
    fn set_acl(_change: SetAcl<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Finds the offset map of a directory: [`InodeOperations::get_offset_ctx`].
type GetOffsetCtx<T> = for<'a> fn(&'a Inode<T>) -> Result<&'a OffsetCtx>;

/// A table of operations that is safe for inodes of the file system `T`.
///
/// # Examples
///
/// ```
/// use kernel::fs::{InodeOperations, InodeOps, NewInode};
///
/// fn set_file<O: InodeOperations>(inode: &mut NewInode<'_, O::FileSystem>) -> Result {
///     inode.set_inode_ops(InodeOps::file::<O>())
/// }
/// ```
///
/// # Invariants
///
/// The table has a `->get_offset_ctx()` if and only if `get_offset_ctx` is one.
pub struct InodeOps<T: FileSystem> {
    table: &'static bindings::inode_operations,
    get_offset_ctx: Option<GetOffsetCtx<T>>,
}

impl<T: FileSystem> InodeOps<T> {
    /// The table for directories of the kind `O`; names are looked up in the dcache alone
    /// (`simple_lookup()`), unless it has [`lookup`].
    ///
    /// Only a directory with an offset map has operations that add and move names, or remove
    /// directories: an `O` with these but without [`get_offset_ctx`] doesn't compile. Nor does one
    /// with [`lookup`] and an offset map, which would lack the names that were looked up.
    ///
    /// [`get_offset_ctx`]: InodeOperations::get_offset_ctx
    /// [`lookup`]: InodeOperations::lookup
    pub const fn dir<O: InodeOperations<FileSystem = T>>() -> Self {
        const_assert!(O::HAS_GET_OFFSET_CTX || !VTable::<O>::NEEDS_OFFSET_CTX);
        const_assert!(!O::HAS_GET_OFFSET_CTX || !O::HAS_LOOKUP);
        // INVARIANT: Both depend on whether `O` has it.
        Self {
            table: &VTable::<O>::DIR,
            get_offset_ctx: VTable::<O>::GET_OFFSET_CTX,
        }
    }

    /// The table for files of the kind `O`.
    pub const fn file<O: InodeOperations<FileSystem = T>>() -> Self {
        // INVARIANT: The table has none.
        Self {
            table: &VTable::<O>::FILE,
            get_offset_ctx: None,
        }
    }

    #[inline]
    pub(super) const fn as_ptr(&self) -> *const bindings::inode_operations {
        self.table
    }

    #[inline]
    pub(super) const fn get_offset_ctx(&self) -> Option<GetOffsetCtx<T>> {
        self.get_offset_ctx
    }
}

/// The table for symbolic links of the kind `O`, for an inode that has a target.
pub(super) const fn symlink<O: InodeOperations>() -> *const bindings::inode_operations {
    &VTable::<O>::SYMLINK
}

struct VTable<O: InodeOperations>(PhantomData<O>);

impl<O: InodeOperations> VTable<O> {
    const NEEDS_OFFSET_CTX: bool = O::HAS_CREATE
        || O::HAS_LINK
        || O::HAS_SYMLINK
        || O::HAS_MKDIR
        || O::HAS_RMDIR
        || O::HAS_MKNOD
        || O::HAS_RENAME
        || O::HAS_TMPFILE;

    const GET_OFFSET_CTX: Option<GetOffsetCtx<O::FileSystem>> = if O::HAS_GET_OFFSET_CTX {
        Some(O::get_offset_ctx)
    } else {
        None
    };

    const FILE: bindings::inode_operations = bindings::inode_operations {
        setattr: if O::HAS_SETATTR {
            Some(attr::setattr::<O>)
        } else {
            None
        },
        getattr: if O::HAS_GETATTR {
            Some(attr::getattr::<O>)
        } else {
            None
        },
        set_acl: if O::HAS_SET_ACL {
            Some(acl::set_acl::<O>)
        } else {
            None
        },
        listxattr: if <O::FileSystem as FileSystem>::HAS_XATTRS {
            Some(xattr::listxattr::<O::FileSystem>)
        } else {
            None
        },
        fileattr_get: if O::HAS_FILEATTR_GET {
            Some(fileattr::fileattr_get::<O>)
        } else {
            None
        },
        fileattr_set: if O::HAS_FILEATTR_SET {
            Some(fileattr::fileattr_set::<O>)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    const SYMLINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        set_acl: None,
        ..Self::FILE
    };

    const DIR: bindings::inode_operations = bindings::inode_operations {
        lookup: if O::HAS_LOOKUP {
            Some(lookup::lookup::<O>)
        } else {
            Some(bindings::simple_lookup)
        },
        unlink: if O::HAS_UNLINK {
            Some(link::unlink::<O>)
        } else {
            None
        },
        create: if O::HAS_CREATE {
            Some(create::create::<O>)
        } else {
            None
        },
        link: if O::HAS_LINK {
            Some(link::link::<O>)
        } else {
            None
        },
        symlink: if O::HAS_SYMLINK {
            Some(create::symlink::<O>)
        } else {
            None
        },
        mkdir: if O::HAS_MKDIR {
            Some(create::mkdir::<O>)
        } else {
            None
        },
        rmdir: if O::HAS_RMDIR {
            Some(link::rmdir::<O>)
        } else {
            None
        },
        mknod: if O::HAS_MKNOD {
            Some(create::mknod::<O>)
        } else {
            None
        },
        rename: if O::HAS_RENAME {
            Some(rename::rename::<O>)
        } else {
            None
        },
        tmpfile: if O::HAS_TMPFILE {
            Some(create::tmpfile::<O>)
        } else {
            None
        },
        get_offset_ctx: if O::HAS_GET_OFFSET_CTX {
            Some(get_offset_ctx)
        } else {
            None
        },
        ..Self::FILE
    };
}

// SPDX-License-Identifier: GPL-2.0-only

//! POSIX ACLs in memory.
//!
//! C headers: [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h)
//!
//! As on tmpfs they lie in the inode alone, in the cache that it has for them. The VFS makes the
//! extended attributes `system.posix_acl_access` and `system.posix_acl_default` of them and maps
//! the ids of mounts and user namespaces.

use super::{
    FileSystem,
    Inode,
    InodeOperations,
    LockedInode,
    Mode, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    prelude::*, //
};
use core::ptr::NonNull;

/// Which of the ACLs of an inode.
///
/// # Examples
///
/// ```
/// use kernel::fs::acl::AclType;
///
/// let name = AclType::Access.name();
///
/// assert!(AclType::from_name(name.to_bytes()) == Some(AclType::Access));
/// assert!(AclType::from_name(b"user.name").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AclType {
    /// That which says what the inode may be used for (`ACL_TYPE_ACCESS`).
    Access,
    /// That which new inodes in a directory get (`ACL_TYPE_DEFAULT`).
    Default,
}

impl AclType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Access, Self::Default];

    /// The name of the extended attribute.
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Access => c"system.posix_acl_access",
            Self::Default => c"system.posix_acl_default",
        }
    }

    /// The one whose extended attribute has the full name `name` (`posix_acl_type()`).
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|which| which.name().to_bytes() == name)
    }

    fn into_raw(self) -> c_int {
        // CAST: Both are small.
        match self {
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
        }
    }
}

/// A reference to an ACL: a `struct posix_acl`.
///
/// # Examples
///
/// ```
/// use kernel::fs::{
///     acl::{Acl, AclType},
///     FileSystem, Inode,
/// };
///
/// /// Gives an inode the access ACL of another one.
/// fn copy<T: FileSystem>(from: &Inode<T>, to: &Inode<T>) -> Result {
///     let acl: Acl = from.cached_acl(AclType::Access).ok_or(ENODATA)?;
///
///     to.lock().set_cached_acl(AclType::Access, &acl)
/// }
/// ```
///
/// # Invariants
///
/// The pointer is valid, the reference ours; nobody changes the ACL any more.
pub struct Acl(NonNull<bindings::posix_acl>);

// SAFETY: It belongs to no thread; references are counted by atomics.
unsafe impl Send for Acl {}

// SAFETY: By the type invariants nobody changes it.
unsafe impl Sync for Acl {}

impl Acl {
    /// Reads an ACL as extended attributes have it, with ids of the initial user namespace
    /// (`posix_acl_from_xattr()`), and checks it (`posix_acl_valid()`).
    ///
    /// Without entries it is `None`. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is illegal, `EOPNOTSUPP` if it is of another version, or without
    /// `CONFIG_FS_POSIX_ACL`, `ENOMEM`.
    pub fn from_xattr(value: &[u8]) -> Result<Option<Self>> {
        // C reads numbers of 32 bits: what is allocated is aligned for any.
        let mut aligned = KVVec::with_capacity(value.len(), GFP_KERNEL)?;

        aligned.extend_from_slice(value, GFP_KERNEL)?;
        // A length of 0 would be no allocation, and is no ACL.
        if aligned.is_empty() {
            return Ok(None);
        }
        // SAFETY: The value has that many bytes.
        let acl = from_err_ptr(unsafe {
            bindings::posix_acl_from_init_xattr(aligned.as_ptr().cast(), aligned.len())
        })?;

        // INVARIANT: The reference is ours, and nobody else knows the ACL.
        Ok(NonNull::new(acl).map(Self))
    }

    /// Writes the ACL as extended attributes have it, with ids of the initial user namespace
    /// (`posix_acl_to_xattr()`). May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn to_xattr(&self) -> Result<KVec<u8>> {
        let mut size = 0;
        // SAFETY: By the type invariants the ACL is valid; `size` is ours.
        let value = unsafe { bindings::posix_acl_to_init_xattr(self.0.as_ptr(), &raw mut size) };

        if value.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The value has been allocated by kmalloc() with `size` bytes, all of which are
        // written, and is ours.
        Ok(unsafe { KVec::from_raw_parts(value.cast(), size, size) })
    }

    /// How much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        // SAFETY: By the type invariants the ACL is valid.
        unsafe { bindings::posix_acl_size(self.0.as_ptr()) }
    }

    /// Whether it says more than `mode` does, and nothing else (`posix_acl_equiv_mode()`), as the
    /// access ACL of each inode that has one.
    pub fn extends(&self, mode: Mode) -> bool {
        // SAFETY: By the type invariants the ACL is valid.
        unsafe { bindings::posix_acl_extends(self.0.as_ptr(), mode.into_raw()) }
    }

    /// The ACL with the access mode of `mode` (`__posix_acl_chmod()`). May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EIO` if it is no access ACL.
    pub(super) fn after_chmod(self, mode: Mode) -> Result<Self> {
        let acl = core::mem::ManuallyDrop::new(self).0.as_ptr();
        // SAFETY: By the type invariants the ACL is valid, and the reference ours, which is handed
        // over.
        let acl = unsafe { bindings::posix_acl_after_chmod(acl, mode.into_raw()) };

        // INVARIANT: It is a copy, the reference to which is ours.
        NonNull::new(from_err_ptr(acl)?).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is ours.
        unsafe { bindings::posix_acl_release(self.0.as_ptr()) };
    }
}

impl<T: FileSystem> Inode<T> {
    /// The ACL of the inode, if it has one (`get_cached_acl()`).
    pub fn cached_acl(&self, which: AclType) -> Option<Acl> {
        // SAFETY: The inode is valid.
        let acl = unsafe { bindings::inode_cached_acl(self.as_ptr(), which.into_raw()) };

        // INVARIANT: The reference is ours; what inodes have isn't changed.
        NonNull::new(acl).map(Acl)
    }
}

impl<T: FileSystem> LockedInode<'_, T> {
    /// Gives the inode an ACL (`set_cached_acl()`), and changes neither mode nor times.
    ///
    /// # Errors
    ///
    /// `EINVAL` if an inode of its type has none: a symbolic link, or a default ACL if it is no
    /// directory.
    pub fn set_cached_acl(&self, which: AclType, acl: &Acl) -> Result {
        let mode = self.mode();

        if mode.is_lnk() || which == AclType::Default && !mode.is_dir() {
            return Err(EINVAL);
        }
        // SAFETY: The inode and the ACL are valid.
        unsafe { bindings::inode_cache_acl(self.as_ptr(), which.into_raw(), acl.0.as_ptr()) };
        Ok(())
    }
}

/// A change of an ACL, in [`InodeOperations::set_acl`](super::InodeOperations::set_acl).
///
/// # Examples
///
/// ```
/// use kernel::fs::{acl::SetAcl, FileSystem};
///
/// fn set_acl<T: FileSystem>(change: SetAcl<'_, T>) -> Result {
///     if change.size() > 4096 {
///         return Err(ENOSPC);
///     }
///     change.simple_set_acl()
/// }
/// ```
///
/// # Invariants
///
/// `dentry` has the inode `inode`, which is locked; `idmap` is valid, `acl` null or valid; `which`
/// is an `ACL_TYPE_*`.
pub struct SetAcl<'a, T: FileSystem> {
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    inode: &'a Inode<T>,
    acl: *mut bindings::posix_acl,
    which: c_int,
}

impl<'a, T: FileSystem> SetAcl<'a, T> {
    /// The inode whose ACL is changed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// How much memory the ACL takes, in bytes: none if it is removed.
    pub fn size(&self) -> usize {
        if self.acl.is_null() {
            return 0;
        }
        // SAFETY: By the type invariants the ACL, which isn't null, is valid.
        unsafe { bindings::posix_acl_size(self.acl) }
    }

    /// Does it (`simple_set_acl()`): an access ACL changes the mode along, and isn't kept if it
    /// says no more than that.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the ACL is illegal.
    pub fn simple_set_acl(self) -> Result {
        // SAFETY: By the type invariants the map and the dentry are valid, the ACL is null or
        // valid, and the inode is locked.
        to_result(unsafe { bindings::inode_set_acl(self.idmap, self.dentry, self.acl, self.which) })
    }
}

/// `->set_acl()`.
///
/// # Safety
///
/// `dentry` must be positive and of this file system, and its inode locked; `idmap` be valid, and
/// `acl` null or valid.
pub(super) unsafe extern "C" fn set_acl<O: InodeOperations>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    acl: *mut bindings::posix_acl,
    which: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS holds a reference to the dentry.
        let inode = unsafe { bindings::d_inode(dentry) };
        // INVARIANT: These are the arguments of `->set_acl()`.
        let change = SetAcl {
            idmap,
            dentry,
            // SAFETY: The dentry is positive, and holds its inode.
            inode: unsafe { Inode::from_raw(inode) },
            acl,
            which,
        };

        O::set_acl(change)?;
        Ok(0)
    })
}

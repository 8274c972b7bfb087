// SPDX-License-Identifier: GPL-2.0-only

//! Extended attributes in memory.
//!
//! C headers: [`include/linux/xattr.h`](srctree/include/linux/xattr.h)
//!
//! Those that tmpfs has: of the namespaces `user.`, `trusted.` and `security.`. POSIX ACLs, which
//! lie in `system.`, are in [`acl`](super::acl).

use super::{
    FileSystem,
    Inode, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    prelude::*,
    str::{
        CStrExt as _,
        CString, //
    },
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    },
    types::Opaque,
};
use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

/// The table that finds the attributes of many inodes: a `struct simple_xattr_cache`.
#[repr(transparent)]
pub struct SimpleXattrCache(Opaque<bindings::simple_xattr_cache>);

// SAFETY: It belongs to no thread.
unsafe impl Send for SimpleXattrCache {}

// SAFETY: C uses it for several inodes at once, under its own locks.
unsafe impl Sync for SimpleXattrCache {}

impl SimpleXattrCache {
    /// Makes one without attributes, which takes next to no memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        let cache = Opaque::new(pin_init::zeroed());

        Ok(Arc::new(Self(cache), GFP_KERNEL_ACCOUNT)?)
    }
}

impl Drop for SimpleXattrCache {
    fn drop(&mut self) {
        // SAFETY: Nobody uses it; each `SimpleXattrs` holds its own reference, so no attribute is
        // left.
        unsafe { bindings::simple_xattr_cache_cleanup(self.0.get()) };
    }
}

/// The extended attributes of one inode.
///
/// Only one change or walk can be under way: that the inode is locked takes care of that.
///
/// # Invariants
///
/// `list` is a list head, of attributes that are in `cache`. Who has set `busy` may change the list
/// or rely on it.
#[pin_data(PinnedDrop)]
pub struct SimpleXattrs {
    cache: Arc<SimpleXattrCache>,
    busy: Atomic<u32>,
    #[pin]
    list: Opaque<bindings::list_head>,
}

// SAFETY: It belongs to no thread.
unsafe impl Send for SimpleXattrs {}

// SAFETY: `busy` serialises changes and walks; to find and list attributes, C uses RCU.
unsafe impl Sync for SimpleXattrs {}

/// A change or a walk that is under way.
struct Busy<'a>(&'a Atomic<u32>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

impl SimpleXattrs {
    /// No attributes, which will be found through `cache`.
    pub fn new(cache: Arc<SimpleXattrCache>) -> impl PinInit<Self> {
        pin_init!(Self {
            cache,
            busy: Atomic::new(0),
            // INVARIANT: The list is empty.
            list <- Opaque::ffi_init(|head: *mut bindings::list_head| {
                // SAFETY: The head lies where it stays.
                unsafe {
                    (*head).next = head;
                    (*head).prev = head;
                }
            }),
        })
    }

    fn busy(&self) -> Result<Busy<'_>> {
        if self.busy.xchg(1, Acquire) == 0 {
            Ok(Busy(&self.busy))
        } else {
            Err(EBUSY)
        }
    }

    /// Adds the attribute with the full name `name`, in a tree that nobody sees yet.
    ///
    /// Doesn't ask the file system, nor a security module.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EBUSY` if a change is under way.
    pub fn add(&self, name: &CStr, value: &[u8]) -> Result {
        // SAFETY: The value is valid for the call.
        unsafe { self.change(name, value.as_ptr().cast(), value.len(), 0) }.map(|_freed| ())
    }

    /// Sets an attribute, or removes it if `value` is null, and returns the space that it had.
    ///
    /// # Safety
    ///
    /// `value` must be null or point to `size` readable bytes.
    unsafe fn change(
        &self,
        name: &CStr,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> Result<usize> {
        let _busy = self.busy()?;
        // SAFETY: The list is changed by nobody else, by the type invariant; the name is valid for
        // the call, the value by the safety requirements.
        let old = unsafe {
            bindings::simple_xattr_set(
                self.cache.0.get(),
                self.list.get(),
                name.as_char_ptr(),
                value,
                size,
                flags,
            )
        };
        let old = from_err_ptr(old)?;

        if old.is_null() {
            return Ok(0);
        }
        // SAFETY: What has been replaced or removed is ours, and not used after this but by RCU.
        unsafe {
            let space = bindings::simple_xattr_space((*old).name, (*old).size);

            bindings::simple_xattr_free_rcu(old);
            Ok(space)
        }
    }

    /// Calls `f` with the full name and the value of each attribute, in the order of their making.
    /// `f` may sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a change is under way, which has `EBUSY` meanwhile as well; what `f` returns.
    pub fn for_each(&self, mut f: impl FnMut(&CStr, &[u8]) -> Result) -> Result {
        let _busy = self.busy()?;
        let head = self.list.get();
        // SAFETY: By the type invariant the list is valid, and doesn't change.
        let mut node = unsafe { (*head).next };

        while node != head {
            // SAFETY: By the type invariant each node but the head lies in an attribute, which has
            // a name, and a value of that size behind it.
            let (name, value) = unsafe {
                let xattr = crate::container_of!(node, bindings::simple_xattr, node);

                node = (*node).next;
                (
                    CStr::from_char_ptr((*xattr).name),
                    core::slice::from_raw_parts(
                        (&raw const (*xattr).value).cast::<u8>(),
                        (*xattr).size,
                    ),
                )
            };

            f(name, value)?;
        }
        Ok(())
    }

    /// About how much memory the attributes take (`simple_xattr_space()` of each).
    ///
    /// # Errors
    ///
    /// `EBUSY` if a change is under way.
    pub fn space(&self) -> Result<usize> {
        let mut space: usize = 0;

        self.for_each(|name, value| {
            space = space.saturating_add(simple_xattr_space(name, value.len()));
            Ok(())
        })?;
        Ok(space)
    }
}

#[pinned_drop]
impl PinnedDrop for SimpleXattrs {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Nobody else uses the list, whose attributes are in the cache.
        unsafe {
            bindings::simple_xattrs_free(self.cache.0.get(), self.list.get(), null_mut());
        }
    }
}

/// About how much memory an attribute takes, the same on each kernel.
pub fn simple_xattr_space(name: &CStr, size: usize) -> usize {
    // SAFETY: The name is valid for the call.
    unsafe { bindings::simple_xattr_space(name.as_char_ptr(), size) }
}

/// A change of an attribute, in [`FileSystem::set_xattr`].
///
/// # Invariants
///
/// `value` is null or points to `size` bytes; the inode is locked.
pub struct SetXattr<'a, T: FileSystem> {
    inode: &'a Inode<T>,
    name: &'a CStr,
    value: *const c_void,
    size: usize,
    flags: c_int,
}

impl<'a, T: FileSystem> SetXattr<'a, T> {
    /// Whose attribute is changed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// The full name of the attribute.
    #[inline]
    pub fn name(&self) -> &CStr {
        self.name
    }

    /// About how much memory the attribute will take: none if it is removed.
    pub fn space(&self) -> usize {
        if self.value.is_null() {
            0
        } else {
            simple_xattr_space(self.name, self.size)
        }
    }

    /// Does it (`simple_xattr_set()`), and returns about how much memory the attribute took before.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENODATA` if the caller wanted to make a new one or to replace one, `ENOMEM`.
    pub fn simple_xattr_set(self) -> Result<usize> {
        let xattrs = T::xattrs(self.inode).ok_or(EOPNOTSUPP)?;
        // SAFETY: By the type invariants.
        let freed = unsafe { xattrs.change(self.name, self.value, self.size, self.flags) }?;

        // SAFETY: The inode is valid and locked, by the type invariants.
        unsafe { bindings::inode_set_ctime_current(self.inode.as_ptr()) };
        Ok(freed)
    }
}

/// The handlers for the attributes of the file system `T`: what `sb->s_xattr` points to.
pub(super) fn handlers<T: FileSystem>() -> *const *const bindings::xattr_handler {
    (&raw const *Handlers::<T>::ALL).cast()
}

struct Handlers<T>(PhantomData<T>);

impl<T: FileSystem> Handlers<T> {
    const ALL: &'static [*const bindings::xattr_handler; 4] = &[
        &Self::SECURITY,
        &Self::TRUSTED,
        &Self::USER,
        core::ptr::null(),
    ];
    const SECURITY: bindings::xattr_handler = Self::handler(bindings::XATTR_SECURITY_PREFIX);
    const TRUSTED: bindings::xattr_handler = Self::handler(bindings::XATTR_TRUSTED_PREFIX);
    const USER: bindings::xattr_handler = Self::handler(bindings::XATTR_USER_PREFIX);

    /// The handler for names that begin with `prefix`, which ends with a NUL.
    const fn handler(prefix: &'static [u8]) -> bindings::xattr_handler {
        bindings::xattr_handler {
            prefix: prefix.as_ptr().cast(),
            get: Some(Self::get),
            set: Some(Self::set),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// `inode` must be one of this file system, `name` the end of a name that begins as the
    /// handler's, and `buffer` null or valid for `size` bytes.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        // SAFETY: The caller holds a reference.
        let Some(xattrs) = T::xattrs(unsafe { Inode::from_raw(inode) }) else {
            return EOPNOTSUPP.to_errno();
        };

        // SAFETY: By the safety requirements, and the type invariants of the attributes.
        unsafe {
            bindings::simple_xattr_get(
                xattrs.cache.0.get(),
                xattrs.list.get(),
                bindings::xattr_full_name(handler, name),
                buffer,
                size,
            )
        }
    }

    /// # Safety
    ///
    /// `inode` must be one of this file system that is locked, `name` the end of a name that begins
    /// as the handler's, and `value` null or valid for `size` bytes.
    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller holds a reference; the name is valid for the call.
            // INVARIANT: By the safety requirements.
            let change = unsafe {
                SetXattr {
                    inode: Inode::from_raw(inode),
                    name: CStr::from_char_ptr(bindings::xattr_full_name(handler, name)),
                    value,
                    size,
                    flags,
                }
            };

            T::set_xattr(change)?;
            Ok(0)
        })
    }
}

/// `->listxattr()` of inodes of the file system `T`.
///
/// # Safety
///
/// `dentry` must be positive and of this file system, `buffer` be null or valid for `size` bytes.
pub(super) unsafe extern "C" fn listxattr<T: FileSystem>(
    dentry: *mut bindings::dentry,
    buffer: *mut c_char,
    size: usize,
) -> isize {
    // SAFETY: The caller holds a reference to the dentry, which holds one to its inode.
    let inode = unsafe { bindings::d_inode(dentry) };
    // SAFETY: As above.
    let xattrs = T::xattrs(unsafe { Inode::from_raw(inode) });

    // SAFETY: By the safety requirements; the list is valid or null.
    unsafe {
        bindings::simple_xattr_list(
            inode,
            xattrs.map_or(null_mut(), |xattrs| xattrs.list.get()),
            buffer,
            size,
        )
    }
}

/// Lets a security module label a new inode (`security_inode_init_security()`).
///
/// # Safety
///
/// `inode` and `dir` must be of the file system `T`, and nobody else know the inode; `name` be null
/// or valid.
pub(super) unsafe fn init_security<T: FileSystem>(
    inode: *mut bindings::inode,
    dir: *mut bindings::inode,
    name: *const bindings::qstr,
) -> Result {
    // SAFETY: By the safety requirements.
    let ret = unsafe {
        bindings::security_inode_init_security(
            inode,
            dir,
            name,
            if T::HAS_XATTRS {
                Some(initxattrs::<T>)
            } else {
                None
            },
            null_mut(),
        )
    };

    match to_result(ret) {
        Err(e) if e == EOPNOTSUPP => Ok(()),
        result => result,
    }
}

/// # Safety
///
/// `inode` must be of the file system `T`, and nobody else know it; `xattrs` be an array of
/// attributes whose end has no name.
unsafe extern "C" fn initxattrs<T: FileSystem>(
    inode: *mut bindings::inode,
    xattrs: *const bindings::xattr,
    _fs_info: *mut c_void,
) -> c_int {
    let mut next = xattrs;

    from_result(|| {
        // SAFETY: By the safety requirements.
        let to = T::xattrs(unsafe { Inode::from_raw(inode) }).ok_or(EOPNOTSUPP)?;

        loop {
            // SAFETY: By the safety requirements; the end hasn't been reached.
            let xattr = unsafe { &*next };

            if xattr.name.is_null() {
                return Ok(0);
            }
            // SAFETY: By the safety requirements the name is a string.
            let name = unsafe { CStr::from_char_ptr(xattr.name) };
            let name = CString::try_from_fmt(fmt!("security.{name}"))?;

            // SAFETY: By the safety requirements the value has that size.
            unsafe { to.change(&name, xattr.value, xattr.value_len, 0) }?;
            // SAFETY: There is a next one, be it the end.
            next = unsafe { next.add(1) };
        }
    })
}

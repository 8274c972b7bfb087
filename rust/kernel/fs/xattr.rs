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
        Arc,
        SetOnce, //
    },
    types::Opaque,
};
use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

/// The table that finds the attributes of many inodes: a `struct simple_xattr_cache`.
///
/// # Examples
///
/// ```
/// use kernel::fs::xattr::{SimpleXattrCache, SimpleXattrs};
///
/// let cache = SimpleXattrCache::new()?;
/// let xattrs = SimpleXattrs::new(cache);
///
/// xattrs.add(c"user.name", b"value")?;
/// # Ok::<(), Error>(())
/// ```
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
/// Only one change or walk can be under way: that the inode is locked takes care of that. An inode
/// without attributes takes no memory for them.
///
/// # Examples
///
/// ```
/// use kernel::fs::xattr::{SimpleXattrCache, SimpleXattrs};
///
/// let xattrs = SimpleXattrs::new(SimpleXattrCache::new()?);
/// let mut bytes = 0;
///
/// xattrs.add(c"user.one", b"1")?;
/// xattrs.add(c"user.two", b"22")?;
/// xattrs.for_each(|_name, value| {
///     bytes += value.len();
///     Ok(())
/// })?;
/// assert_eq!(bytes, 3);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// If there is a list, its attributes are in `cache`. A task that has set `busy` may change the
/// list or rely on it.
pub struct SimpleXattrs {
    cache: Arc<SimpleXattrCache>,
    busy: Atomic<u32>,
    /// Made with the first attribute.
    list: SetOnce<Pin<KBox<List>>>,
}

/// The head of a list of attributes.
///
/// # Invariants
///
/// It is a list head, of attributes.
#[pin_data]
struct List {
    #[pin]
    head: Opaque<bindings::list_head>,
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
    pub fn new(cache: Arc<SimpleXattrCache>) -> Self {
        // INVARIANT: There is no list.
        Self {
            cache,
            busy: Atomic::new(0),
            list: SetOnce::new(),
        }
    }

    fn busy(&self) -> Result<Busy<'_>> {
        if self.busy.xchg(1, Acquire) == 0 {
            Ok(Busy(&self.busy))
        } else {
            Err(EBUSY)
        }
    }

    /// The list, or null.
    fn list(&self) -> *mut bindings::list_head {
        self.list
            .as_ref()
            .map_or(null_mut(), |list| list.head.get())
    }

    /// The list, which is made if there is none. The caller has set `busy`.
    fn make_list(&self) -> Result<*mut bindings::list_head> {
        if self.list.as_ref().is_none() {
            // INVARIANT: The list is empty.
            let list = pin_init!(List {
                head <- Opaque::ffi_init(|head: *mut bindings::list_head| {
                    // SAFETY: The head lies where it stays, and nobody else uses it.
                    unsafe { bindings::INIT_LIST_HEAD(head) }
                }),
            });

            self.list
                .populate(KBox::pin_init(list, GFP_KERNEL_ACCOUNT)?);
        }
        Ok(self.list())
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
        let list = match self.list() {
            list if !list.is_null() => list,
            // There is nothing to replace or to remove.
            _ if flags & bindings::XATTR_REPLACE as c_int != 0 => return Err(ENODATA),
            _ if value.is_null() => return Ok(0),
            _ => self.make_list()?,
        };
        // SAFETY: The list is changed by nobody else, by the type invariant; the name is valid for
        // the call, the value by the safety requirements.
        let old = unsafe {
            bindings::simple_xattr_set(
                self.cache.0.get(),
                list,
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
        // SAFETY: An attribute that has been replaced or removed is ours, and valid.
        let name = unsafe { (*old).name };
        // SAFETY: An attribute that has been replaced or removed is ours, and valid.
        let size = unsafe { (*old).size };
        // SAFETY: The name of an attribute is a string.
        let space = unsafe { bindings::simple_xattr_space(name, size) };

        // SAFETY: The attribute is ours, and only readers by RCU use it after this.
        unsafe { bindings::simple_xattr_free_rcu(old) };
        Ok(space)
    }

    /// Calls `f` with the full name and the value of each attribute, in the order of their making.
    /// `f` may sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a change is under way, which has `EBUSY` meanwhile as well; what `f` returns.
    pub fn for_each(&self, mut f: impl FnMut(&CStr, &[u8]) -> Result) -> Result {
        let _busy = self.busy()?;
        let head = self.list();
        if head.is_null() {
            return Ok(());
        }
        // SAFETY: By the type invariant the list is valid, and doesn't change.
        let mut node = unsafe { (*head).next };

        while node != head {
            // SAFETY: By the type invariant each node but the head lies in an attribute.
            let xattr = unsafe { crate::container_of!(node, bindings::simple_xattr, node) };
            // SAFETY: By the type invariant the attribute is valid, and its name never changes.
            let name = unsafe { (*xattr).name };
            // SAFETY: By the type invariant the attribute is valid, and its size never changes.
            let size = unsafe { (*xattr).size };
            // SAFETY: By the type invariant the attribute is valid.
            let value = unsafe { &raw const (*xattr).value };
            // SAFETY: The name of an attribute is a string, which lives as long as that.
            let name = unsafe { CStr::from_char_ptr(name) };
            // SAFETY: An attribute has a value of its size, which lives as long as that.
            let value = unsafe { core::slice::from_raw_parts(value.cast::<u8>(), size) };

            // SAFETY: By the type invariant the node is valid, and the list doesn't change.
            node = unsafe { (*node).next };
            f(name, value)?;
        }
        Ok(())
    }
}

impl Drop for SimpleXattrs {
    fn drop(&mut self) {
        let list = self.list();

        if !list.is_null() {
            // SAFETY: Nobody else uses the list, whose attributes are in the cache.
            unsafe { bindings::simple_xattrs_free(self.cache.0.get(), list, null_mut()) };
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
/// # Examples
///
/// ```
/// use kernel::fs::{xattr::SetXattr, FileSystem};
///
/// fn set_xattr<T: FileSystem>(change: SetXattr<'_, T>) -> Result {
///     if change.space() > 4096 {
///         return Err(ENOSPC);
///     }
///     change.simple_xattr_set().map(|_freed| ())
/// }
/// ```
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
    /// The inode whose attribute is changed.
    #[inline]
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
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
        // SAFETY: By the type invariants the value is null or has the size.
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
        // SAFETY: The VFS holds a reference to the inode.
        let inode = unsafe { Inode::from_raw(inode) };
        let Some(xattrs) = T::xattrs(inode) else {
            return EOPNOTSUPP.to_errno();
        };
        let (cache, list) = (xattrs.cache.0.get(), xattrs.list());

        if list.is_null() {
            return ENODATA.to_errno();
        }
        // SAFETY: The VFS passes the name without the prefix of the handler.
        let name = unsafe { bindings::xattr_full_name(handler, name) };

        // SAFETY: By the type invariants of `SimpleXattrs` the list is one of attributes in the
        // cache; the VFS passes a string, and a buffer that is null or has the size.
        unsafe { bindings::simple_xattr_get(cache, list, name, buffer, size) }
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
            // SAFETY: The VFS passes the name without the prefix of the handler.
            let name = unsafe { bindings::xattr_full_name(handler, name) };
            // INVARIANT: The VFS has locked the inode, and passes a value that is null or has the
            // size.
            let change = SetXattr {
                // SAFETY: The VFS holds a reference to the inode.
                inode: unsafe { Inode::from_raw(inode) },
                // SAFETY: The name is a string, which is valid for the call.
                name: unsafe { CStr::from_char_ptr(name) },
                value,
                size,
                flags,
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
    // SAFETY: The VFS holds a reference to the dentry.
    let inode = unsafe { bindings::d_inode(dentry) };
    // SAFETY: The dentry is positive, and holds its inode.
    let xattrs = T::xattrs(unsafe { Inode::from_raw(inode) });
    let list = xattrs.map_or(null_mut(), SimpleXattrs::list);

    // SAFETY: The inode is valid, and the list valid or null; the VFS passes a buffer that is null
    // or has the size.
    unsafe { bindings::simple_xattr_list(inode, list, buffer, size) }
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
    let callback: bindings::initxattrs = if T::HAS_XATTRS {
        Some(initxattrs::<T>)
    } else {
        None
    };
    // SAFETY: The caller guarantees that both inodes are valid and that nobody else knows the new
    // one, and that the name is null or valid. The callback is one for inodes of `T`.
    let ret =
        unsafe { bindings::security_inode_init_security(inode, dir, name, callback, null_mut()) };

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
        // SAFETY: The caller guarantees that the inode is one of `T`, and valid.
        let to = T::xattrs(unsafe { Inode::from_raw(inode) }).ok_or(EOPNOTSUPP)?;

        loop {
            // SAFETY: The caller guarantees that there are attributes up to the end, which hasn't
            // been reached.
            let xattr = unsafe { &*next };

            if xattr.name.is_null() {
                return Ok(0);
            }
            // SAFETY: The caller guarantees that the name is a string.
            let name = unsafe { CStr::from_char_ptr(xattr.name) };
            let name = CString::try_from_fmt(fmt!("security.{name}"))?;

            // SAFETY: The caller guarantees that the value has that size.
            unsafe { to.change(&name, xattr.value, xattr.value_len, 0) }?;
            // SAFETY: There is a next one, be it the end.
            next = unsafe { next.add(1) };
        }
    })
}

// SPDX-License-Identifier: GPL-2.0-only

//! The context of a mount or remount.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/mount_api.html>

use super::{
    sb::{
        self,
        FilledSuperBlock, //
    },
    FileSystem,
    SuperBlock, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fmt,
    prelude::*,
    str::CStrExt as _,
    types::ForeignOwnable,
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

/// A `struct fs_context` of the file system `T`, for the time of a callback.
///
/// # Examples
///
/// ```
/// use kernel::{
///     errorfc,
///     fs::{FileSystem, FsContext},
/// };
///
/// fn check_source<T: FileSystem>(fc: &FsContext<'_, T>) -> Result {
///     if fc.source().is_none() {
///         errorfc!(fc, "a source is needed");
///         return Err(EINVAL);
///     }
///     Ok(())
/// }
/// ```
///
/// # Invariants
///
/// - `raw` is valid and used by nobody else for `'a`.
/// - `fs_private` is null or from `KBox::<T::Context>::into_foreign()`, `s_fs_info` null or from
///   `T::Info::into_foreign()`; both are owned.
pub struct FsContext<'a, T: FileSystem> {
    raw: NonNull<bindings::fs_context>,
    _context: PhantomData<&'a mut bindings::fs_context>,
    _p: PhantomData<fn() -> T>,
}

impl<'a, T: FileSystem> FsContext<'a, T> {
    /// # Safety
    ///
    /// `raw` must satisfy the type invariants for `'a`.
    pub(super) unsafe fn from_raw(raw: *mut bindings::fs_context) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: A valid pointer is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            _context: PhantomData,
            _p: PhantomData,
        }
    }

    #[inline]
    fn as_ptr(&self) -> *mut bindings::fs_context {
        self.raw.as_ptr()
    }

    /// What has been gathered so far: `fc->fs_private`.
    ///
    /// # Errors
    ///
    /// `EINVAL` from within [`FileSystem::init_fs_context`], which is to make it.
    pub fn context(&mut self) -> Result<&mut T::Context> {
        // SAFETY: `raw` is valid by the type invariants.
        let private = unsafe { (*self.as_ptr()).fs_private };

        if private.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants it came from `into_foreign()`; `&mut self` is borrowed for
        // as long as the result, and nobody else uses the context.
        Ok(unsafe { <KBox<T::Context> as ForeignOwnable>::borrow_mut(private) })
    }

    /// The source of the mount, which is the first word that `mount` takes.
    pub fn source(&self) -> Option<&CStr> {
        // SAFETY: `raw` is valid by the type invariants.
        let source = unsafe { (*self.as_ptr()).source };

        // SAFETY: The source is a string that belongs to the context.
        (!source.is_null()).then(|| unsafe { CStr::from_char_ptr(source) })
    }

    /// The superblock that has been found, made, or is to be reconfigured: `fc->root->d_sb`.
    pub fn sb(&self) -> Option<&SuperBlock<T>> {
        // SAFETY: `raw` is valid by the type invariants.
        let root = unsafe { (*self.as_ptr()).root };

        // SAFETY: A root that is set is held by the context, and is one of this file system.
        (!root.is_null()).then(|| unsafe { superblock(root) })
    }

    /// Whether the mount asks for a superblock on which nothing can be changed (`SB_RDONLY`).
    pub fn is_rdonly(&self) -> bool {
        // SAFETY: `raw` is valid by the type invariants.
        unsafe { (*self.as_ptr()).sb_flags as c_ulong & bindings::SB_RDONLY != 0 }
    }

    /// Whether messages go to a log that the mounter can read (`fsopen()`), and not to that of the
    /// kernel: `fc->log.log`.
    pub fn has_log(&self) -> bool {
        // SAFETY: `raw` is valid by the type invariants.
        let log = unsafe { (*self.as_ptr()).log.log };

        !log.is_null()
    }

    /// Drops the key that is still owned after a superblock was shared, or none was made.
    fn put_s_fs_info(&mut self) {
        // SAFETY: `raw` is valid by the type invariants.
        let field = unsafe { &mut (*self.as_ptr()).s_fs_info };
        // INVARIANT: The field may be null.
        let info = core::mem::replace(field, core::ptr::null_mut());

        // SAFETY: By the type invariants it is null or ours, and not in the field any more.
        drop(unsafe { T::Info::try_from_foreign(info) });
    }

    /// Used by [`errorfc!`](crate::errorfc).
    #[doc(hidden)]
    pub fn call_errorfc(&self, args: fmt::Arguments<'_>) {
        let format = c"%pA".as_char_ptr();
        // SAFETY: `raw` is valid by the type invariants.
        let log = unsafe { &(*self.as_ptr()).log };
        let args = core::ptr::from_ref(&args).cast::<c_void>();

        // SAFETY: The log is that of a context, and a pointer to `Arguments` is valid for `%pA`.
        unsafe { bindings::logfc(log.log, log.prefix, b'e', format, args) };
    }
}

/// The superblock of a dentry.
///
/// # Safety
///
/// `dentry` must be of the file system `T`, and its superblock stay for `'a`.
unsafe fn superblock<'a, T: FileSystem>(dentry: *mut bindings::dentry) -> &'a SuperBlock<T> {
    // SAFETY: The caller guarantees that the dentry is valid.
    let sb = unsafe { (*dentry).d_sb };

    // SAFETY: The caller guarantees that it is one of `T`, and that it stays.
    unsafe { SuperBlock::from_raw(sb) }
}

/// The context of a mount that has no superblock yet, in [`FileSystem::get_tree`].
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, NewTree};
///
/// /// Makes a superblock for each mount, as no two boxes have one address.
/// fn get_tree<T: FileSystem<Info = KBox<u32>>>(fc: &mut NewTree<'_, T>) -> Result {
///     fc.get_tree_keyed(KBox::new(0, GFP_KERNEL)?)?;
///     Ok(())
/// }
/// ```
pub struct NewTree<'a, T: FileSystem>(FsContext<'a, T>);

impl<T: FileSystem> NewTree<'_, T> {
    /// What has been gathered so far, see [`FsContext::context`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is nothing.
    pub fn context(&mut self) -> Result<&mut T::Context> {
        self.0.context()
    }

    /// Finds the superblock with the key `info`, or makes one (`get_tree_keyed()`).
    ///
    /// For a new one [`FileSystem::fill_super`] is called, and it owns `info` from now on. Returns
    /// whether it is new. May sleep; looks at each superblock of the type, and waits for one of the
    /// same key that is being killed.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one and the mounter insists on a new one, or if this is the second call;
    /// what `fill_super` returns; `ENOMEM`.
    pub fn get_tree_keyed(&mut self, info: T::Info) -> Result<bool> {
        self.get_tree(info, |fc, info| {
            // SAFETY: The caller passes a valid context without a superblock, and hands the key
            // over, which `get_tree_keyed()` never dereferences.
            unsafe { bindings::get_tree_keyed(fc, Some(sb::fill_super::<T>), info) }
        })
    }

    /// Makes a superblock, whether or not there is one with the same `info` (`get_tree_nodev()`).
    ///
    /// [`FileSystem::fill_super`] is called, and the superblock owns `info` from now on. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this is the second call; what `fill_super` returns; `ENOMEM`.
    pub fn get_tree_nodev(&mut self, info: T::Info) -> Result {
        self.get_tree(info, |fc, info| {
            // SAFETY: The caller passes a valid context without a superblock.
            unsafe { (*fc).s_fs_info = info };
            // SAFETY: As above; the function hands the field on to the superblock.
            unsafe { bindings::get_tree_nodev(fc, Some(sb::fill_super::<T>)) }
        })?;
        Ok(())
    }

    /// Lets `get` find or make a superblock, for `info`. Returns whether it is new.
    fn get_tree(
        &mut self,
        info: T::Info,
        get: impl FnOnce(*mut bindings::fs_context, *mut c_void) -> c_int,
    ) -> Result<bool> {
        let fc = self.0.as_ptr();

        if self.0.sb().is_some() {
            return Err(EBUSY);
        }
        self.0.put_s_fs_info();
        // The context is valid by its invariants. From here on the info belongs to it, and once a
        // superblock has been made, to that.
        // INVARIANT: It is from `T::Info::into_foreign()`.
        to_result(get(fc, info.into_foreign()))?;
        // SAFETY: The context is valid by its invariants. sget_fc() clears the field when it hands
        // it on to a new superblock.
        Ok(unsafe { (*fc).s_fs_info.is_null() })
    }
}

impl<'a, T: FileSystem> Deref for NewTree<'a, T> {
    type Target = FsContext<'a, T>;

    fn deref(&self) -> &FsContext<'a, T> {
        &self.0
    }
}

/// Writes an error message into the log of an [`FsContext`], where the mounter reads it.
///
/// Like `errorfc()` in C, with the ordinary Rust formatting syntax and no newline.
#[macro_export]
macro_rules! errorfc {
    ($fc:expr, $($arg:tt)+) => (
        $fc.call_errorfc($crate::prelude::fmt!($($arg)+))
    );
}
pub use errorfc;

/// # Safety
///
/// `fc` must be a new context for the file system `T`.
pub(super) unsafe extern "C" fn init_fs_context<T: FileSystem>(
    fc: *mut bindings::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: The VFS passes a valid context that nobody else knows yet; its private fields are
        // null.
        let context = T::init_fs_context(&unsafe { FsContext::from_raw(fc) })?;

        // SAFETY: The VFS passes a valid context that nobody else knows yet.
        // INVARIANT: The private field comes from `KBox::<T::Context>::into_foreign()`.
        unsafe { (*fc).fs_private = context.into_foreign() };
        // SAFETY: The VFS passes a valid context that nobody else knows yet.
        unsafe { (*fc).ops = &Operations::<T>::VTABLE };
        Ok(0)
    })
}

/// The `struct fs_context_operations` of the file system `T`.
struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const VTABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `fc` must be a context of this file system that is being freed.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: The caller passes a valid context that nobody else uses.
        let mut context = unsafe { FsContext::<T>::from_raw(fc) };

        context.put_s_fs_info();
        // SAFETY: The VFS passes a valid context.
        let private = unsafe { (*fc).fs_private };
        // SAFETY: It is null or came from `into_foreign()`; put_fs_context() frees `fc` next.
        drop(unsafe { <KBox<T::Context>>::try_from_foreign(private) });
    }

    /// # Safety
    ///
    /// `fc` must be a context of this file system, and `param` a parameter for it.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        // SAFETY: The caller passes both for the time of this call.
        let (opt, value) = match unsafe { T::PARAMETERS.parse(fc, param) } {
            Ok(parsed) => parsed,
            // Among others -ENOPARAM, which is for the VFS to see.
            Err(errno) => return errno,
        };

        from_result(|| {
            // SAFETY: The caller holds `fc->uapi_mutex`, or nobody else knows the context yet.
            T::parse_param(&mut unsafe { FsContext::from_raw(fc) }, opt, value)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must be a context of this file system without a root.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: The caller holds `fc->uapi_mutex`, or nobody else knows the context yet.
        let result = T::get_tree(&mut NewTree(unsafe { FsContext::from_raw(fc) }));

        // SAFETY: The VFS passes a valid context.
        let root = unsafe { (*fc).root };
        let got = !root.is_null();

        match result {
            Ok(()) if got => {
                // SAFETY: The VFS passes a valid context. sget_fc() clears the field for a new
                // superblock.
                if unsafe { (*fc).s_fs_info.is_null() } {
                    // SAFETY: The root is one of this file system, and held by `fc`.
                    let sb = unsafe { superblock(root) };

                    // SAFETY: `fc` has an active reference, and no error is returned.
                    T::filled(&unsafe { FilledSuperBlock::new(sb) });
                }
                0
            }
            Ok(()) => EINVAL.to_errno(),
            Err(e) => {
                if got {
                    // SAFETY: The root is set, so vfs_get_super() has returned with `s_umount` and
                    // an active reference held.
                    unsafe { bindings::fc_drop_locked(fc) };
                }
                e.to_errno()
            }
        }
    }

    /// # Safety
    ///
    /// `fc` must be a context of this file system with a root, whose `s_umount` is held for
    /// writing.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes a valid context.
            let root = unsafe { (*fc).root };
            // SAFETY: The root is set and held by `fc`; it is one of this file system.
            let sb = unsafe { superblock(root) };

            // SAFETY: The caller holds `fc->uapi_mutex`, or nobody else knows the context yet.
            T::reconfigure(sb, &mut unsafe { FsContext::from_raw(fc) })?;
            Ok(0)
        })
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! What an inode has beside its `struct inode`, in which C file systems embed that.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::Atomic,
        SetOnce, //
    }, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};

/// An inode of a file system in Rust.
///
/// # Invariants
///
/// `offset_ctx` is null, or the map of a directory that lives as long as the inode.
#[repr(C)]
pub(super) struct InodeInfo {
    offset_ctx: *mut bindings::offset_ctx,
    /// The generation of the names in a directory, see [`names`].
    names: Atomic<i64>,
    vfs_inode: bindings::inode,
}

/// The slab cache that inodes are allocated from.
///
/// # Invariants
///
/// The cache is one for [`InodeInfo`]s that [`init_once`] has constructed.
struct InodeCache(NonNull<bindings::kmem_cache>);

// SAFETY: A slab cache belongs to no thread.
unsafe impl Send for InodeCache {}

// SAFETY: The allocator has locks of its own for those that use a cache at once.
unsafe impl Sync for InodeCache {}

/// Made with the first file system, and kept: inodes of any may be in it.
static CACHE: SetOnce<InodeCache> = SetOnce::new();

impl InodeCache {
    fn new() -> Result<Self> {
        let name = c"rust_inode_cache".as_char_ptr();
        // CAST: It is less than a page.
        let size = size_of::<InodeInfo>() as c_uint;
        // SAFETY: The name is static, and `init_once` is for an object of that size.
        let cache = unsafe { bindings::inode_cache_create(name, size, Some(init_once)) };

        // INVARIANT: It has just been made.
        NonNull::new(cache).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for InodeCache {
    fn drop(&mut self) {
        // SAFETY: One that is dropped was never used: another is in its place.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

/// Makes the cache, unless it is there already. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn init_cache() -> Result {
    while CACHE.as_ref().is_none() {
        // This fails if another thread is just doing the same; then its cache is there in a moment.
        CACHE.populate(InodeCache::new()?);
    }
    Ok(())
}

/// Constructs an object of the cache.
///
/// # Safety
///
/// `object` must be a new [`InodeInfo`].
unsafe extern "C" fn init_once(object: *mut c_void) {
    let info = object.cast::<InodeInfo>();
    // SAFETY: The allocator passes an object of the cache.
    let inode = unsafe { &raw mut (*info).vfs_inode };

    // SAFETY: The inode lies in an object that nobody else uses.
    unsafe { bindings::inode_init_once(inode) };
    // SAFETY: The object is new. The next inode in it goes on from there.
    unsafe { (&raw mut (*info).names).write(Atomic::new(0)) };
}

/// `->alloc_inode()`.
///
/// # Safety
///
/// `sb` must be a superblock.
pub(super) unsafe extern "C" fn alloc_inode(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    let Some(cache) = CACHE.as_ref() else {
        return null_mut();
    };
    // SAFETY: The VFS passes a superblock, and by the type invariant the cache is valid.
    let object = unsafe { bindings::alloc_inode_sb(sb, cache.0.as_ptr(), bindings::GFP_KERNEL) };
    let info = object.cast::<InodeInfo>();

    if info.is_null() {
        return null_mut();
    }
    // SAFETY: The object has just been allocated from a cache of them.
    unsafe { (*info).offset_ctx = null_mut() };
    // SAFETY: The object has just been allocated from a cache of them.
    unsafe { &raw mut (*info).vfs_inode }
}

/// Frees an inode.
///
/// # Safety
///
/// `inode` must be from [`alloc_inode`], and not be used after this.
pub(super) unsafe fn free_inode(inode: *mut bindings::inode) {
    // SAFETY: The caller guarantees that the inode is from `alloc_inode`.
    let info = unsafe { of(inode) };

    if let Some(cache) = CACHE.as_ref() {
        // SAFETY: The object has been allocated from the cache, and nobody uses it.
        unsafe { bindings::kmem_cache_free(cache.0.as_ptr(), info.cast::<c_void>()) };
    }
}

/// The object that an inode lies in.
///
/// # Safety
///
/// `inode` must be from [`alloc_inode`].
#[inline]
unsafe fn of(inode: *mut bindings::inode) -> *mut InodeInfo {
    // SAFETY: The caller guarantees that the inode lies in such an object.
    unsafe { container_of!(inode, InodeInfo, vfs_inode) }
}

/// The offset map of an inode, null if it has none.
///
/// # Safety
///
/// `inode` must be one of a [`FileSystem`](super::FileSystem), whose inodes are all from
/// [`alloc_inode`].
#[inline]
pub(super) unsafe fn offset_ctx(inode: *mut bindings::inode) -> *mut bindings::offset_ctx {
    // SAFETY: The caller guarantees that the inode is from `alloc_inode`.
    let info = unsafe { of(inode) };

    // SAFETY: The object is valid; the field doesn't change once others know the inode.
    unsafe { (*info).offset_ctx }
}

/// The generation of the names in a directory.
///
/// # Safety
///
/// `inode` must be one of a [`FileSystem`](super::FileSystem), whose inodes are all from
/// [`alloc_inode`], and its memory not be freed for `'a`, which is not before a grace period ends.
#[inline]
pub(super) unsafe fn names<'a>(inode: *mut bindings::inode) -> &'a Atomic<i64> {
    // SAFETY: The caller guarantees that the inode is from `alloc_inode`.
    let info = unsafe { of(inode) };

    // SAFETY: The caller guarantees that the object isn't freed; `init_once` has made the field.
    unsafe { &(*info).names }
}

/// Sets the offset map of an inode.
///
/// # Safety
///
/// `inode` must be one of a [`FileSystem`](super::FileSystem) that nobody else uses; `ctx` be null,
/// or initialised and live until the inode is evicted.
pub(super) unsafe fn set_offset_ctx(inode: *mut bindings::inode, ctx: *mut bindings::offset_ctx) {
    // SAFETY: The caller guarantees that the inode is from `alloc_inode`.
    let info = unsafe { of(inode) };

    // SAFETY: The object is valid, and the caller guarantees that nobody else uses it.
    // INVARIANT: The caller guarantees that the map lives long enough.
    unsafe { (*info).offset_ctx = ctx };
}

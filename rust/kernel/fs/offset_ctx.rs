// SPDX-License-Identifier: GPL-2.0-only

//! Offset maps of directories.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h)

use super::{
    file::Offset,
    inode_info,
    times, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// The offset map of a directory: a `struct offset_ctx`.
///
/// The entries of a directory with a map have positions that last, as those of tmpfs: `readdir()`
/// neither misses nor repeats one. For it the directory has the operations of
/// [`InodeOps::dir`](super::InodeOps::dir), among them
/// [`get_offset_ctx`](super::InodeOperations::get_offset_ctx), and
/// [`FileOps::simple_offset_dir`](super::FileOps::simple_offset_dir).
///
/// It lies in what belongs to the inode, [`FileSystem::InodeData`], and is destroyed with that when
/// the inode is evicted: a task that reads the directory holds the inode. It is for one directory
/// only, ever.
///
/// [`FileSystem::InodeData`]: super::FileSystem::InodeData
///
/// # Examples
///
/// ```
/// use kernel::fs::{
///     FileOps, FileSystem, Inode, InodeOperations, InodeOps, Mode, NewEntry, NewInode, OffsetCtx,
/// };
///
/// /// Makes a new inode a directory of the kind `O`.
/// fn set_dir<O: InodeOperations>(inode: &mut NewInode<'_, O::FileSystem>) -> Result {
///     inode.set_nlink(2);
///     inode.set_size(2 * OffsetCtx::BOGO_DIRENT_SIZE);
///     inode.set_inode_ops(InodeOps::dir::<O>())?;
///     inode.set_file_ops(FileOps::simple_offset_dir())
/// }
/// ```
///
/// # Invariants
///
/// `ctx` is initialised. `used` is set once it is the map of a directory.
#[pin_data(PinnedDrop)]
pub struct OffsetCtx {
    #[pin]
    ctx: Opaque<bindings::offset_ctx>,
    used: Atomic<bool>,
}

// SAFETY: A map belongs to no thread.
unsafe impl Send for OffsetCtx {}

// SAFETY: The methods of a shared reference change `used` alone. C uses the map under the lock of
// its directory.
unsafe impl Sync for OffsetCtx {}

impl OffsetCtx {
    /// The size that an entry adds to its directory, as in tmpfs (`BOGO_DIRENT_SIZE`).
    pub const BOGO_DIRENT_SIZE: Offset = bindings::BOGO_DIRENT_SIZE as Offset;

    /// Makes a map without entries (`simple_offset_init()`).
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            ctx <- Opaque::ffi_init(|slot: *mut bindings::offset_ctx| {
                // SAFETY: The slot is valid for a write, and lies where it stays.
                unsafe { bindings::simple_offset_init(slot) }
            }),
            used: Atomic::new(false),
        })
    }

    /// Makes it the map of a directory, for the first and only time.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is that of a directory already, or was.
    pub(super) fn bind(&self) -> Result<*mut bindings::offset_ctx> {
        // INVARIANT: It becomes the map of the directory that the caller makes.
        if self.used.xchg(true, Relaxed) {
            return Err(EBUSY);
        }
        Ok(self.ctx.get())
    }
}

#[pinned_drop]
impl PinnedDrop for OffsetCtx {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the map is initialised. Nobody uses it: a directory has it
        // for no longer than this lives.
        unsafe { bindings::simple_offset_destroy(self.ctx.get()) };
    }
}

/// `->get_offset_ctx()`.
///
/// # Safety
///
/// `inode` must be a directory with an offset map.
pub(super) unsafe extern "C" fn get_offset_ctx(
    inode: *mut bindings::inode,
) -> *mut bindings::offset_ctx {
    // SAFETY: The VFS passes an inode of a file system whose table this is in.
    unsafe { inode_info::offset_ctx(inode) }
}

/// Adds an entry to the offset map of a directory that has one, which grows by it. The times of the
/// directory change, with a map or without.
///
/// # Safety
///
/// `dir` must be an inode made by `NewInode` that is locked, and `dentry` be one of its names that
/// is negative and has no entry yet.
pub(super) unsafe fn add_entry(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    is_dir: bool,
) -> Result {
    // SAFETY: The caller guarantees that the inode is one made by `NewInode`.
    let ctx = unsafe { inode_info::offset_ctx(dir) };

    if !ctx.is_null() {
        // SAFETY: The map is that of the directory, which the caller has locked; the name has no
        // entry.
        to_result(unsafe { bindings::simple_offset_add(ctx, dentry) })?;
        // SAFETY: The caller guarantees that the directory is valid and locked.
        unsafe { resize(dir, OffsetCtx::BOGO_DIRENT_SIZE) };
        if is_dir {
            // SAFETY: The caller guarantees that the directory is valid and locked.
            unsafe { bindings::inc_nlink(dir) };
        }
    }
    // SAFETY: The caller guarantees that the directory is valid and locked.
    unsafe { times::touch(dir) };
    Ok(())
}

/// Removes an entry from the offset map of a directory that has one, which shrinks by it.
///
/// # Safety
///
/// `dir` must be an inode made by `NewInode` that is locked, and `dentry` be one of its entries.
pub(super) unsafe fn remove_entry(dir: *mut bindings::inode, dentry: *mut bindings::dentry) {
    // SAFETY: The caller guarantees that the inode is one made by `NewInode`.
    let ctx = unsafe { inode_info::offset_ctx(dir) };

    if ctx.is_null() {
        return;
    }
    // SAFETY: The map is that of the directory, which the caller has locked.
    unsafe { bindings::simple_offset_remove(ctx, dentry) };
    // SAFETY: The caller guarantees that the directory is valid and locked.
    unsafe { resize(dir, -OffsetCtx::BOGO_DIRENT_SIZE) };
}

/// Changes the size of a directory by `by`.
///
/// # Safety
///
/// `dir` must be valid and locked.
unsafe fn resize(dir: *mut bindings::inode, by: Offset) {
    // SAFETY: The caller guarantees that the inode is valid; its lock keeps the size as it is.
    let size = unsafe { (*dir).i_size };

    // SAFETY: The caller guarantees that the inode is valid and locked.
    unsafe { bindings::i_size_write(dir, size.wrapping_add(by)) };
}

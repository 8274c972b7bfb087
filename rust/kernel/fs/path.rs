// SPDX-License-Identifier: GPL-2.0-only

//! Paths: a file that is known, without being open.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/shmem_fs.h`](srctree/include/linux/shmem_fs.h)

use super::{
    file::{
        fmode,
        Offset, //
    },
    File,
    Mode,
    Times, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

/// A `struct path` to a positive dentry.
///
/// # Examples
///
/// ```
/// use kernel::fs::Path;
///
/// let path = Path::shmem_kernel_file(c"example", None, b"contents")?;
/// let file = path.kernel_file_open()?;
/// let mut buf = [0; 8];
///
/// assert_eq!(path.i_size_read(), 8);
/// assert_eq!(file.kernel_read(&mut buf, 0)?, 8);
/// assert_eq!(&buf, b"contents");
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// References to the mount and to the dentry are owned, and the dentry is positive.
pub struct Path(bindings::path);

// SAFETY: References to mounts and dentries belong to no thread.
unsafe impl Send for Path {}

// SAFETY: The methods of a shared reference call functions that lock what they change.
unsafe impl Sync for Path {}

impl Path {
    /// The path that a file was opened by (`path_get()` of `file->f_path`).
    pub fn of_file(file: &File) -> Self {
        // SAFETY: An open file is valid; this member of the union is the one that is used.
        let path = unsafe { &raw const (*file.as_ptr()).__bindgen_anon_1.f_path };

        // SAFETY: An open file holds its path, which doesn't change and is positive.
        unsafe { Self::get(path) }
    }

    /// Makes an unlinked file of shmem for the kernel's own use, which holds `contents`
    /// (`shmem_kernel_file_setup()` with `VMA_NORESERVE_BIT`), and gets huge pages as `huge` says,
    /// see [`Path::shmem_set_huge`]. May sleep.
    ///
    /// Security modules aren't asked about it. Its memory is charged to the current task, whose
    /// `RLIMIT_FSIZE` and signals don't concern it: the contents are copied to the page cache,
    /// where `kernel_write()` would stop at the limit.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENFILE`.
    pub fn shmem_kernel_file(name: &CStr, huge: Option<Huge>, contents: &[u8]) -> Result<Self> {
        let size = Offset::try_from(contents.len())?;
        // SAFETY: The name is valid during the call.
        let file = from_err_ptr(unsafe {
            bindings::shmem_kernel_file_setup_noreserve(name.as_char_ptr(), size)
        })?;
        let file = NonNull::new(file).ok_or(ENOMEM)?;
        // SAFETY: The call returned a reference, which is ours, to a file that is in no table of
        // descriptors. `File` has the layout of `struct file`.
        let file: ARef<File> = unsafe { ARef::from_raw(file.cast()) };
        // SAFETY: The mapping of an open file doesn't change.
        let mapping = unsafe { (*file.as_ptr()).f_mapping };
        let path = Self::of_file(&file);

        if let Some(huge) = huge {
            path.shmem_set_huge(huge);
        }
        for (index, bytes) in contents.chunks(PAGE_SIZE).enumerate() {
            // SAFETY: The mapping is one of shmem, and `file` holds it.
            let page = from_err_ptr(unsafe { bindings::shmem_read_mapping_page(mapping, index) })?;

            // SAFETY: The page is ours, and nobody else has the file yet. A chunk fits into it.
            unsafe { bindings::memcpy_to_page(page, 0, bytes.as_ptr().cast(), bytes.len()) };
            // SAFETY: The page is in the mapping, from which nobody removes it.
            unsafe { bindings::set_page_dirty(page) };
            // SAFETY: The reference was returned above, and the page isn't used again.
            unsafe { bindings::put_page(page) };
        }
        Ok(path)
    }

    /// Sets when a file of shmem gets huge pages (`shmem_set_huge()`). Those that it has stay as
    /// they are. Until it is called that is a matter of the file's mount. A file that isn't one of
    /// shmem has none.
    pub fn shmem_set_huge(&self, huge: Huge) {
        if let Some(inode) = self.shmem_inode() {
            // SAFETY: The inode is one of shmem, and held by the dentry.
            unsafe { bindings::shmem_set_huge(inode, huge.as_raw()) };
        }
    }

    /// The inode, if it is that of a regular file of shmem.
    fn shmem_inode(&self) -> Option<*mut bindings::inode> {
        let inode = self.inode();
        // SAFETY: The inode is held by the dentry. Its own mapping is looked at: `i_mapping` may be
        // that of an inode of another file system, as coda does it.
        let mapping = unsafe { &raw mut (*inode).i_data };

        // SAFETY: The mapping is part of an inode that is held.
        unsafe { bindings::shmem_mapping(mapping) }.then_some(inode)
    }

    /// Reads the first `buf.len()` bytes of a file of shmem into `buf` without opening it
    /// (`shmem_get_folio()` with `SGP_READ`). What lies in a hole is zero. May sleep: takes the
    /// locks of the folios.
    ///
    /// Neither security modules nor watchers are told, as it is the kernel that reads.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is no file of shmem, or a page of `buf` lies beyond its end; `EIO` if its
    /// memory is bad; `ENOMEM` if it can't be swapped in.
    pub fn shmem_read(&self, buf: &mut [u8]) -> Result {
        let inode = self.shmem_inode().ok_or(EINVAL)?;

        for (index, bytes) in buf.chunks_mut(PAGE_SIZE).enumerate() {
            let mut folio = core::ptr::null_mut();

            // SAFETY: The inode is one of shmem, and held by the dentry; `folio` is valid for
            // writes.
            to_result(unsafe {
                bindings::shmem_get_folio(
                    inode,
                    index,
                    0,
                    &raw mut folio,
                    bindings::sgp_type_SGP_READ,
                )
            })?;
            match NonNull::new(folio) {
                Some(folio) => Folio(folio).read(index * PAGE_SIZE, bytes)?,
                None => bytes.fill(0),
            }
        }
        Ok(())
    }

    /// # Safety
    ///
    /// `path` must be held by somebody, and positive.
    unsafe fn get(path: *const bindings::path) -> Self {
        // SAFETY: The caller guarantees that the path is held.
        unsafe { bindings::path_get(path) };
        // SAFETY: The caller guarantees that the path is held, and so is valid.
        // INVARIANT: The references have just been taken, and the path is positive.
        Self(unsafe { path.read() })
    }

    pub(super) fn as_ptr(&self) -> *const bindings::path {
        &raw const self.0
    }

    pub(super) fn inode(&self) -> *mut bindings::inode {
        // SAFETY: By the type invariant the dentry is valid, and positive as long as it is held.
        unsafe { bindings::d_inode(self.0.dentry) }
    }

    /// The size in bytes (`i_size_read()`).
    #[inline]
    pub fn i_size_read(&self) -> Offset {
        // SAFETY: The inode is held by the dentry.
        unsafe { bindings::i_size_read(self.inode()) }
    }

    /// How many blocks of 512 bytes it has (`i_blocks`), which may be outdated.
    #[inline]
    pub fn i_blocks(&self) -> u64 {
        // SAFETY: The inode is held by the dentry.
        let blocks = unsafe { &raw const (*self.inode()).i_blocks };

        // SAFETY: The inode is held by the dentry; C reads the number without a lock as well.
        unsafe { blocks.read_volatile() }
    }

    /// The times, which may be outdated.
    pub fn times(&self) -> Times {
        // SAFETY: The inode is held by the dentry.
        unsafe { Times::of(self.inode()) }
    }

    /// Sets the times, which count as queried: they may have been told of the file that they come
    /// from. May sleep: takes the lock of the inode.
    pub fn set_times(&self, times: Times) {
        let inode = self.inode();

        // SAFETY: The inode is held by the dentry.
        unsafe { bindings::inode_lock(inode) };
        // SAFETY: The inode is held by the dentry, and has just been locked.
        unsafe { times.set(inode) };
        // SAFETY: The inode is held by the dentry, and locked by this function.
        unsafe { bindings::inode_unlock(inode) };
        self.set_queried();
    }

    /// Makes it a file that only the kernel knows, which security modules don't ask about
    /// (`S_PRIVATE`). May sleep: takes the lock of the inode.
    pub fn set_private(&self) {
        let inode = self.inode();

        // SAFETY: The inode is held by the dentry.
        unsafe { bindings::inode_lock(inode) };
        // SAFETY: The inode is held by the dentry, and has just been locked.
        unsafe { bindings::inode_set_flags(inode, bindings::S_PRIVATE, bindings::S_PRIVATE) };
        // SAFETY: The inode is held by the dentry, and locked by this function.
        unsafe { bindings::inode_unlock(inode) };
    }

    /// Whether somebody has it open for writing, or a shared mapping of a file that was
    /// (`inode_is_open_for_write()`).
    #[inline]
    pub fn inode_is_open_for_write(&self) -> bool {
        // SAFETY: The inode is held by the dentry.
        unsafe { bindings::inode_is_open_for_write(self.inode()) }
    }

    /// Changes the size (`do_truncate()`). May sleep: takes the lock of the inode.
    ///
    /// # Errors
    ///
    /// `EPERM` if the size is fixed by a seal or by LUO, `EINVAL` if it is negative or this isn't a
    /// regular file, and what else the file system returns.
    pub fn do_truncate(&self, length: Offset) -> Result {
        let idmap = &raw mut bindings::nop_mnt_idmap;
        // SAFETY: The inode is held by the dentry.
        let mode = unsafe { &raw const (*self.inode()).i_mode };
        // SAFETY: The inode is held by the dentry; the type of a file doesn't change.
        let mode = unsafe { mode.read_volatile() };

        if length < 0 || !Mode::from_raw(mode).is_reg() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant the dentry is positive; the map changes no number.
        to_result(unsafe {
            bindings::do_truncate(idmap, self.0.dentry, length, 0, core::ptr::null_mut())
        })
    }

    /// Opens it for the kernel's own use, for reading (`kernel_file_open()`).
    ///
    /// The file isn't counted as one of the user's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the file system returns.
    pub fn kernel_file_open(&self) -> Result<ARef<File>> {
        const FLAGS: u32 = bindings::O_RDONLY | bindings::O_LARGEFILE | bindings::O_NOATIME;

        // SAFETY: The credentials of the current task are valid while it runs.
        let cred = unsafe { bindings::current_cred() };
        // SAFETY: By the type invariant the path is positive; the credentials are valid during the
        // call.
        let file = from_err_ptr(unsafe {
            bindings::kernel_file_open(self.as_ptr(), FLAGS as c_int, cred)
        })?;
        let file = NonNull::new(file).ok_or(ENOENT)?;

        // SAFETY: The call returned a reference, which is ours. `File` has the layout of `struct
        // file`, and nobody else has this one, in whose table of descriptors it isn't.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }
}

/// When a file of shmem gets huge pages, as the mount option `huge=` of tmpfs says it
/// (`SHMEM_HUGE_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Huge {
    /// Never.
    Never,
    /// Wherever a page is allocated.
    Always,
    /// Where all of it lies within the size of the file, or as for `Advise`.
    WithinSize,
    /// Where `madvise()` asks for it.
    Advise,
}

impl Huge {
    fn as_raw(self) -> c_uint {
        match self {
            Self::Never => bindings::SHMEM_HUGE_NEVER,
            Self::Always => bindings::SHMEM_HUGE_ALWAYS,
            Self::WithinSize => bindings::SHMEM_HUGE_WITHIN_SIZE,
            Self::Advise => bindings::SHMEM_HUGE_ADVISE,
        }
    }
}

/// The size of a huge page in bytes (`HPAGE_PMD_SIZE`, or that of the largest folio of a file if
/// that is less), if the kernel and the machine have transparent ones
/// (`has_transparent_hugepage()`).
pub fn hpage_pmd_size() -> Option<usize> {
    // SAFETY: The function has no requirements.
    match unsafe { bindings::hpage_pmd_size() } {
        0 => None,
        size => Some(size),
    }
}

/// A folio of a file.
///
/// # Invariants
///
/// A reference to the folio and its lock are owned.
struct Folio(NonNull<bindings::folio>);

impl Folio {
    /// Reads what lies at `pos` in the file, which is in a page of this folio.
    fn read(&self, pos: usize, buf: &mut [u8]) -> Result {
        let folio = self.0.as_ptr();

        // SAFETY: By the type invariant the folio is valid.
        if unsafe { bindings::folio_contain_hwpoisoned_page(folio) } {
            return Err(EIO);
        }
        // SAFETY: By the type invariant the folio is valid.
        let offset = unsafe { bindings::offset_in_folio(folio, pos.try_into()?) };

        // SAFETY: By the type invariant the folio is valid, and stays where it is in its file as it
        // is locked. It has the page at `pos`, of which `buf` is at most as long as the rest.
        unsafe { bindings::memcpy_from_folio(buf.as_mut_ptr().cast(), folio, offset, buf.len()) };
        Ok(())
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours.
        unsafe { bindings::folio_unlock(self.0.as_ptr()) };
        // SAFETY: By the type invariant the reference is ours; it isn't used again.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}

impl Clone for Path {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant it is held, and positive.
        unsafe { Self::get(&self.0) }
    }
}

impl Drop for Path {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the references are ours; they are not used again.
        unsafe { bindings::path_put(&self.0) };
    }
}

impl File {
    /// Reads into `buf` at `pos`, and returns how much (`kernel_read()`). May sleep.
    ///
    /// # Errors
    ///
    /// `EBADF` if it isn't open for reading, and what the file returns.
    pub fn kernel_read(&self, buf: &mut [u8], mut pos: Offset) -> Result<usize> {
        if self.f_mode() & fmode::READ == 0 {
            return Err(EBADF);
        }
        // SAFETY: The file is valid, and so is the buffer for its length.
        let read = unsafe {
            bindings::kernel_read(
                self.as_ptr(),
                buf.as_mut_ptr().cast(),
                buf.len(),
                &raw mut pos,
            )
        };

        usize::try_from(read).map_err(|_| Error::from_errno(read as c_int))
    }
}

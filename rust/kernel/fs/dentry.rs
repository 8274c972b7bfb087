// SPDX-License-Identifier: GPL-2.0-only

//! Directory entries.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! For file systems whose tree lies in the dcache alone, as ramfs does: entries are made
//! persistent, and lookup finds what is there. A directory may have entries instead that are made
//! when they are looked up, and reclaimed again, see
//! [`InodeOperations::lookup`](super::InodeOperations::lookup).

use super::{
    offset_ctx::{
        add_entry,
        remove_entry, //
    },
    FileSystem,
    Inode,
    NewInode,
    SuperBlock, //
};
use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    str::CStrExt as _,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::null_mut, //
};

/// The greatest length of a name.
pub const NAME_MAX: usize = bindings::NAME_MAX as usize;

/// A `struct dentry` of the file system `T`.
///
/// References to it end with a callback of the VFS: see [`Inode`] for why.
///
/// # Examples
///
/// ```
/// use kernel::fs::{Dentry, FileSystem};
///
/// fn remove_all<T: FileSystem>(dir: &Dentry<T>) {
///     for name in [c"one", c"two"] {
///         dir.remove_by_name(name, |_inode| true, |_inode| false);
///     }
/// }
/// ```
#[repr(transparent)]
pub struct Dentry<T: FileSystem> {
    inner: Opaque<bindings::dentry>,
    _p: PhantomData<fn() -> T>,
}

// SAFETY: The methods of a shared reference call functions that lock what they change, or read what
// doesn't change while the dentry is referenced.
unsafe impl<T: FileSystem> Sync for Dentry<T> {}

impl<T: FileSystem> Dentry<T> {
    /// # Safety
    ///
    /// `raw` must be a dentry of the file system `T` that is valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::dentry) -> &'a Self {
        // SAFETY: The caller guarantees that the dentry is valid for the lifetime; the type is
        // transparent.
        unsafe { &*raw.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.inner.get()
    }

    /// The inode, or none for a negative dentry (`d_inode()`).
    ///
    /// A dentry that is referenced and positive stays so.
    #[inline]
    pub fn inode(&self) -> Option<&Inode<T>> {
        // SAFETY: The dentry is valid.
        let inode = unsafe { bindings::d_inode(self.as_ptr()) };

        // SAFETY: The dentry holds a reference to its inode; both are of `T`.
        (!inode.is_null()).then(|| unsafe { Inode::from_raw(inode) })
    }

    /// The superblock that the dentry belongs to.
    #[inline]
    pub fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: The dentry is valid; the field never changes.
        let sb = unsafe { (*self.as_ptr()).d_sb };

        // SAFETY: A superblock outlives the callbacks with its dentries.
        unsafe { SuperBlock::from_raw(sb) }
    }

    /// The name, as it is now.
    pub fn name<'b>(&self, buf: &'b mut [u8; NAME_MAX]) -> &'b [u8] {
        let snapshot = Opaque::<bindings::name_snapshot>::uninit();

        // SAFETY: The dentry is valid, and the snapshot lies where it stays.
        unsafe { bindings::take_dentry_name_snapshot(snapshot.get(), self.as_ptr()) };
        // SAFETY: The snapshot has been taken.
        let name = unsafe { &raw const (*snapshot.get()).name };
        // SAFETY: The name is that of the snapshot, which nobody changes.
        let bytes = unsafe { name_bytes(name) };
        // A name has no more than `NAME_MAX` bytes.
        let len = bytes.len().min(buf.len());

        for (to, from) in buf.iter_mut().zip(bytes) {
            *to = *from;
        }
        // SAFETY: The snapshot has been taken, and is not used again.
        unsafe { bindings::release_dentry_name_snapshot(snapshot.get()) };
        buf.get(..len).unwrap_or_default()
    }

    /// The name, without a copy.
    ///
    /// # Safety
    ///
    /// It must not be renamed for as long as the reference lives.
    pub(super) unsafe fn stable_name(&self) -> &[u8] {
        // SAFETY: The dentry is valid.
        let name = unsafe { bindings::d_name(self.as_ptr()) };

        // SAFETY: The name of a valid dentry is valid, and the caller guarantees that it stays.
        unsafe { name_bytes(name) }
    }

    /// Whether it is a name that no operation has removed (`DCACHE_PERSISTENT`).
    pub(super) fn is_persistent(&self) -> bool {
        // SAFETY: The dentry is valid.
        let flags = unsafe { &raw const (*self.as_ptr()).d_flags };
        // SAFETY: The dentry is valid; C reads the flags without a lock as well.
        let flags = unsafe { flags.read_volatile() };

        flags & bindings::dentry_flags_DCACHE_PERSISTENT != 0
    }

    /// The persistent child after `prev`, or the first: one that was made by `make_persistent()` or
    /// `link()`, and that no operation has removed since.
    ///
    /// A name that is made, removed or renamed meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// `ESTALE` if `prev` is not, or no longer, a child of this directory.
    pub fn next_child<'a>(
        &'a self,
        prev: Option<DentryRef<'a, T>>,
    ) -> Result<Option<DentryRef<'a, T>>> {
        let mut prev = prev;

        while let Some(child) = self.next_cached_child(prev)? {
            if child.is_persistent() {
                return Ok(Some(child));
            }
            prev = Some(child);
        }
        Ok(None)
    }

    /// The child after `prev`, or the first, that is in the dcache and has an inode
    /// (`find_next_child()`): a persistent one, or one that was looked up, which may be stale.
    ///
    /// # Errors
    ///
    /// As [`next_child`](Self::next_child).
    pub fn next_cached_child<'a>(
        &'a self,
        prev: Option<DentryRef<'a, T>>,
    ) -> Result<Option<DentryRef<'a, T>>> {
        let after = prev.map_or(null_mut(), DentryRef::into_raw);
        // SAFETY: The dentry is valid; the reference to the other is handed over.
        let child = unsafe { bindings::find_next_child(self.as_ptr(), after) };
        let child = from_err_ptr(child)?;

        // SAFETY: The function returns a reference, which is ours, to a dentry of the superblock of
        // this one.
        Ok((!child.is_null()).then(|| unsafe { DentryRef::from_raw(child) }))
    }

    /// # Errors
    ///
    /// `ENOTDIR` if names can't be looked up in it (`d_can_lookup()`).
    fn check_can_lookup(&self) -> Result {
        // SAFETY: The dentry is valid.
        if unsafe { bindings::d_can_lookup(self.as_ptr()) } {
            Ok(())
        } else {
            Err(ENOTDIR)
        }
    }

    /// Locks this directory and looks `name` up in it, for something new
    /// (`simple_start_creating()`).
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none, `EEXIST` if there is something of that name, `ENOENT` if the
    /// directory has been removed, `EACCES` for a name with a slash and the like, `ENOMEM`.
    pub fn start_creating(&self, name: &CStr) -> Result<Creating<'_, T>> {
        self.check_can_lookup()?;
        // SAFETY: The dentry is valid and a directory that has a lookup; the name is valid for the
        // call.
        let dentry = unsafe { bindings::simple_start_creating(self.as_ptr(), name.as_char_ptr()) };
        let dentry = from_err_ptr(dentry)?;

        // INVARIANT: This directory has been locked.
        Ok(Creating {
            // SAFETY: It is a valid pointer to a dentry of which we hold a reference.
            dentry: unsafe { Dentry::from_raw(dentry) },
            parent: self,
            is_quiet: false,
            _not_send: NotThreadSafe,
        })
    }

    /// Looks `name` up in this directory without a check of permission
    /// (`lookup_noperm_positive_unlocked()`). May sleep.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none, `ENOENT` if there is nothing of that name, `ENOMEM`.
    pub fn lookup_noperm_positive_unlocked(&self, name: &CStr) -> Result<DentryRef<'_, T>> {
        self.check_can_lookup()?;
        // SAFETY: The dentry is valid and a directory that has a lookup, the name is valid for the
        // call.
        let dentry = unsafe {
            bindings::lookup_noperm_positive_unlocked_name(name.as_char_ptr(), self.as_ptr())
        };
        let dentry = from_err_ptr(dentry)?;

        // SAFETY: The function returns a reference, which is ours.
        Ok(unsafe { DentryRef::from_raw(dentry) })
    }

    /// Looks `name` up in the dcache alone, without the lock of this directory
    /// (`try_lookup_noperm()`): none if it isn't there, or only negative. It may be stale, see
    /// [`Inode::invalidate_names`].
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if this is no directory, `EACCES` for a name with a slash and the like.
    pub fn try_lookup_noperm(&self, name: &CStr) -> Result<Option<DentryRef<'_, T>>> {
        self.check_can_lookup()?;
        // SAFETY: The dentry is valid and a directory, the name is valid for the call.
        let dentry = unsafe { bindings::try_lookup_noperm_name(name.as_char_ptr(), self.as_ptr()) };
        let dentry = from_err_ptr(dentry)?;

        if dentry.is_null() {
            return Ok(None);
        }
        // SAFETY: The function returns a reference, which is ours.
        let dentry = unsafe { DentryRef::from_raw(dentry) };

        Ok(dentry.inode().is_some().then_some(dentry))
    }

    /// Removes the entry `name` of this directory, if it is in the dcache and `agrees` is true of
    /// its inode (`locked_recursive_removal()`). Not one whose inode has further names. If `is_new`
    /// is true of it as well, watchers are notified that it is there first.
    ///
    /// May sleep; holds the lock of the directory, and takes those of what is removed. `agrees` and
    /// `is_new` must not take them.
    pub fn remove_by_name(
        &self,
        name: &CStr,
        agrees: impl FnOnce(&Inode<T>) -> bool,
        is_new: impl FnOnce(&Inode<T>) -> bool,
    ) {
        /// Removes what is removed from the offset map of its directory, too.
        ///
        /// # Safety
        ///
        /// `victim` must be a positive entry of a directory that is locked, both of a file system
        /// with inodes by `NewInode`.
        unsafe extern "C" fn forget(victim: *mut bindings::dentry) {
            // SAFETY: The caller passes a valid dentry, whose parent doesn't change while that is
            // locked.
            let parent = unsafe { (*victim).d_parent };
            // SAFETY: A dentry holds its parent, which is positive.
            let dir = unsafe { bindings::d_inode(parent) };

            // SAFETY: The caller has locked the directory, which has the entry.
            unsafe { remove_entry(dir, victim) };
        }

        let Some(dir) = self.inode() else {
            return;
        };
        let guard = dir.lock();
        // SAFETY: The dentry is valid and positive, the name is valid for the call.
        let child = unsafe { bindings::d_hash_and_lookup_name(self.as_ptr(), name.as_char_ptr()) };
        let child = match from_err_ptr(child) {
            // SAFETY: The function returns a reference, which is ours.
            Ok(child) if !child.is_null() => unsafe { DentryRef::<T>::from_raw(child) },
            _ => return,
        };
        let is_last_name = |inode: &&Inode<T>| inode.mode().is_dir() || inode.nlink() == 1;
        let inode = child.inode().filter(is_last_name);

        if let Some(inode) = inode.filter(|&inode| agrees(inode)) {
            if is_new(inode) {
                // SAFETY: The directory is positive and locked, which makes the name stable.
                unsafe { bindings::fsnotify_create(dir.as_ptr(), child.as_ptr()) };
            }
            // SAFETY: The dentry is referenced, positive, and in this directory, which is locked:
            // so it is no root, and stays there. `forget` gets what it wants.
            unsafe { bindings::locked_recursive_removal(child.as_ptr(), Some(forget)) };
        }
        // Before the dentry, with which an inode may end.
        drop(guard);
    }

    /// Notifies watchers that there is the name `name` in this directory now (`fsnotify_create()`),
    /// if it is there and `agrees` is true of its inode.
    ///
    /// For a name that nobody has looked up yet, see
    /// [`InodeOperations::lookup`](super::InodeOperations::lookup): that is done here, if anything
    /// in the superblock is watched. May sleep; holds the lock of the directory, so that the
    /// event of a removal, which needs it as well, comes later. `agrees` must not take it.
    pub fn fsnotify_create(&self, name: &CStr, agrees: impl FnOnce(&Inode<T>) -> bool) {
        if !self.sb().fsnotify_sb_has_watchers() || self.check_can_lookup().is_err() {
            return;
        }
        // SAFETY: The dentry is valid and a directory that has a lookup, the name is valid for the
        // call.
        let child =
            unsafe { bindings::start_removing_noperm_name(self.as_ptr(), name.as_char_ptr()) };
        let Ok(child) = from_err_ptr(child) else {
            return;
        };
        // SAFETY: The dentry is valid, and positive as it has a child.
        let dir = unsafe { bindings::d_inode(self.as_ptr()) };

        // SAFETY: It is a dentry of this file system, and we hold a reference until the end of this
        // function.
        let entry = unsafe { Dentry::<T>::from_raw(child) };

        if entry.inode().is_some_and(agrees) {
            // SAFETY: The directory is positive and locked, which makes the name stable.
            unsafe { bindings::fsnotify_create(dir, child) };
        }
        // SAFETY: The dentry is the one that start_removing_noperm() returned.
        unsafe { bindings::end_dirop(child) };
    }

    /// Notifies watchers of the file or its directory that it was modified
    /// (`fsnotify_dentry()` with `FS_MODIFY`). May sleep.
    pub fn fsnotify_modify(&self) {
        if self.inode().is_none() {
            return;
        }
        // SAFETY: The dentry is valid and positive.
        unsafe { bindings::fsnotify_dentry(self.as_ptr(), bindings::FS_MODIFY) };
    }
}

/// The bytes of a name.
///
/// # Safety
///
/// `name` must be valid, and neither it nor its bytes change for `'a`.
unsafe fn name_bytes<'a>(name: *const bindings::qstr) -> &'a [u8] {
    // SAFETY: The caller guarantees that the name is valid.
    let len = unsafe { bindings::qstr_len(name) };
    // SAFETY: The caller guarantees that the name is valid.
    let bytes = unsafe { (*name).name };

    // SAFETY: The name has that length, and the caller guarantees that it stays.
    unsafe { core::slice::from_raw_parts(bytes, len as usize) }
}

/// A dentry that has been looked up, within its directory.
///
/// # Examples
///
/// ```
/// use kernel::fs::{Dentry, FileSystem};
///
/// /// How many names a directory has.
/// fn count<T: FileSystem>(dir: &Dentry<T>) -> Result<usize> {
///     let mut count = 0;
///     let mut prev = None;
///
///     while let Some(child) = dir.next_child(prev.take())? {
///         count += 1;
///         prev = Some(child);
///     }
///     Ok(count)
/// }
/// ```
///
/// # Invariants
///
/// A reference to the dentry is owned.
pub struct DentryRef<'a, T: FileSystem>(&'a Dentry<T>);

impl<T: FileSystem> DentryRef<'_, T> {
    /// # Safety
    ///
    /// `raw` must be a dentry of the file system `T` whose superblock stays for the lifetime, and a
    /// reference to it be handed over.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::dentry) -> Self {
        // SAFETY: The caller guarantees that the dentry is one of `T` and stays.
        // INVARIANT: The caller hands the reference over.
        Self(unsafe { Dentry::from_raw(raw) })
    }

    /// Hands the reference over.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::dentry {
        ManuallyDrop::new(self).as_ptr()
    }
}

impl<T: FileSystem> Deref for DentryRef<'_, T> {
    type Target = Dentry<T>;

    #[inline]
    fn deref(&self) -> &Dentry<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for DentryRef<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours; it is not used again.
        unsafe { bindings::dput(self.0.as_ptr()) };
    }
}

/// A name that is being created, in a directory that is locked for it.
///
/// Dropping it unlocks the directory (`simple_done_creating()`).
///
/// # Examples
///
/// ```
/// use kernel::fs::{Dentry, FileSystem, NewInode};
///
/// /// Gives an inode two names.
/// fn name<T: FileSystem>(dir: &Dentry<T>, inode: NewInode<'_, T>) -> Result {
///     let first = dir.start_creating(c"first")?.make_persistent(inode)?;
///
///     dir.start_creating(c"second")?.link(&first)?;
///     Ok(())
/// }
/// ```
///
/// # Invariants
///
/// `dentry` has been returned by `simple_start_creating()` for `parent`, and is referenced.
pub struct Creating<'a, T: FileSystem> {
    dentry: &'a Dentry<T>,
    parent: &'a Dentry<T>,
    is_quiet: bool,
    /// The lock of the directory belongs to the thread.
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> Creating<'a, T> {
    /// Tells no watcher of the name: it isn't new but in this dcache.
    #[inline]
    pub fn quietly(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Gives the name its inode, and keeps it in the dcache until it is removed
    /// (`d_make_persistent()`, `fsnotify_create()`).
    ///
    /// A directory with an offset map gets an entry there, grows, and if the inode is a directory
    /// has a link more.
    ///
    /// # Errors
    ///
    /// `EXDEV` if the inode is of another superblock, `ENOMEM`, `ENOSPC` if the directory is full.
    pub fn make_persistent(self, inode: NewInode<'_, T>) -> Result<DentryRef<'a, T>> {
        self.add(inode)?;
        Ok(self.dget())
    }

    /// Does the same for a caller that has no use for the dentry.
    ///
    /// # Errors
    ///
    /// As [`make_persistent`](Self::make_persistent).
    pub fn instantiate(self, inode: NewInode<'_, T>) -> Result {
        self.add(inode)
    }

    /// Called once, as it is by functions that take the name.
    fn add(&self, inode: NewInode<'_, T>) -> Result {
        if !inode.is_of(self.dentry.sb()) {
            return Err(EXDEV);
        }
        self.grow(&inode)?;
        // SAFETY: The reference is handed over, to an inode of this superblock. It is called once.
        unsafe { self.finish(inode.into_raw()) };
        Ok(())
    }

    /// Gives the name the inode of another one, which has a link more then. No time changes but
    /// those of the directory.
    ///
    /// # Errors
    ///
    /// `EXDEV` if that is of another superblock, `EPERM` for a directory, `ENOENT` if it is
    /// negative or its inode has no link left, `ENOMEM`, `ENOSPC` if the directory is full.
    pub fn link(self, old: &Dentry<T>) -> Result<DentryRef<'a, T>> {
        // By a dentry, as an inode could be one that is still being made: see `NewInode`.
        let inode = old.inode().ok_or(ENOENT)?;

        if !core::ptr::eq(old.sb(), self.dentry.sb()) {
            return Err(EXDEV);
        }
        if inode.mode().is_dir() {
            return Err(EPERM);
        }
        let guard = inode.lock();

        if inode.nlink() == 0 {
            return Err(ENOENT);
        }
        self.grow(inode)?;
        // SAFETY: The inode is valid and locked.
        unsafe { bindings::inc_nlink(inode.as_ptr()) };
        // SAFETY: The inode is valid, and held by the other dentry.
        unsafe { bindings::ihold(inode.as_ptr()) };
        drop(guard);
        // SAFETY: The reference has just been taken, to an inode of this superblock. It is called
        // once, as this function takes the name.
        unsafe { self.finish(inode.as_ptr()) };
        Ok(self.dget())
    }

    /// Adds the name to the offset map of its directory, if that has one.
    fn grow(&self, child: &Inode<T>) -> Result {
        let dir = self.parent.inode().ok_or(ENOTDIR)?;

        // SAFETY: By the type invariants the dentry is a new one of this directory, which is
        // locked.
        unsafe { add_entry(dir.as_ptr(), self.dentry.as_ptr(), child.mode().is_dir()) }
    }

    /// # Safety
    ///
    /// A reference to `inode` must be handed over, it be of the same superblock, and this not have
    /// been called for the name.
    unsafe fn finish(&self, inode: *mut bindings::inode) {
        let dentry = self.dentry.as_ptr();

        // SAFETY: By the type invariants the dentry is negative, as nothing was added to it, and
        // its directory locked; the caller hands the reference to the inode over.
        unsafe { bindings::d_make_persistent(dentry, inode) };
        if self.is_quiet {
            return;
        }
        // SAFETY: By the type invariants the parent is valid.
        let dir = unsafe { bindings::d_inode(self.parent.as_ptr()) };
        // SAFETY: The directory is positive and locked, which makes the name stable.
        unsafe { bindings::fsnotify_create(dir, dentry) };
    }

    /// Takes a further reference to the dentry.
    fn dget(&self) -> DentryRef<'a, T> {
        // SAFETY: The dentry is valid.
        unsafe { bindings::dget(self.dentry.as_ptr()) };
        // INVARIANT: The reference has just been taken.
        DentryRef(self.dentry)
    }
}

impl<T: FileSystem> Drop for Creating<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the dentry is what simple_start_creating() has returned,
        // and the reference ours; it is not used again.
        unsafe { bindings::simple_done_creating(self.dentry.as_ptr()) };
    }
}

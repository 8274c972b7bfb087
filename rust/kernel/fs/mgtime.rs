// SPDX-License-Identifier: GPL-2.0-only

//! Multigrain timestamps.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! A file system with [`MGTIME`](super::registration::flags::MGTIME) gives a change a time that
//! differs from the one before it if that one has been queried. What is here does the same for a
//! file whose contents lie in another one, as those of a file that has a
//! [`BackingFile`](super::BackingFile) do.

use super::{
    times,
    FileSystem,
    GetAttr,
    LockedInode,
    Path,
    Timespec, //
};
use crate::bindings;
use core::cmp::Ordering;

/// The times that a [`GetAttr`] asks for.
const CMTIME: u32 = bindings::STATX_CTIME | bindings::STATX_MTIME;

impl<T: FileSystem> GetAttr<'_, T> {
    /// Tells that contents and attributes were changed at `time`, unless the inode says that the
    /// attributes were later, which no user can set.
    ///
    /// For a change that is noted elsewhere than in the inode, at a time of
    /// [`Timespec::now_as_nanos`].
    pub fn set_later_cmtime(&mut self, time: Timespec) {
        let time = time.into_raw();

        if self.request_mask & CMTIME != 0 && cmp(&self.stat.ctime, &time) == Ordering::Less {
            self.stat.mtime = time;
            self.stat.ctime = time;
        }
    }

    /// Tells the times of a change of a file whose contents lie in `contents`
    /// (`fill_mg_cmtime()` of both).
    ///
    /// The contents were changed when those of `contents` were, and the attributes when the later
    /// of the two was. Both inodes are marked as queried, and the earlier one catches up
    /// (`inode_set_ctime_deleg()`), so that the next change of either one has another time.
    pub fn fill_mg_cmtime(&mut self, contents: &Path) {
        if self.request_mask & CMTIME == 0 {
            return;
        }
        let (outer, inner) = (self.inode.as_ptr(), contents.inode());
        let mut stat: bindings::kstat = pin_init::zeroed();

        // A change that goes on meanwhile is later than what is told here, and is seen by the next
        // query: it does not have to be waited for.
        for _ in 0..2 {
            // SAFETY: The inode is held by the path.
            unsafe { bindings::fill_mg_cmtime(&raw mut stat, CMTIME, inner) };
            // SAFETY: The inode is valid, and `stat` is ours.
            unsafe { bindings::fill_mg_cmtime(&raw mut *self.stat, CMTIME, outer) };
            match cmp(&stat.ctime, &self.stat.ctime) {
                Ordering::Equal => break,
                // SAFETY: The inode is held by the path; its time is changed atomically.
                Ordering::Less => unsafe {
                    bindings::inode_set_ctime_deleg(inner, self.stat.ctime);
                },
                // SAFETY: The inode is valid; its time is changed atomically.
                Ordering::Greater => unsafe {
                    bindings::inode_set_ctime_deleg(outer, stat.ctime);
                },
            }
        }
        self.stat.mtime = stat.mtime;
        if cmp(&stat.ctime, &self.stat.ctime) == Ordering::Greater {
            self.stat.ctime = stat.ctime;
        }
    }
}

fn cmp(a: &bindings::timespec64, b: &bindings::timespec64) -> Ordering {
    (a.tv_sec, a.tv_nsec).cmp(&(b.tv_sec, b.tv_nsec))
}

impl<T: FileSystem> LockedInode<'_, T> {
    /// Changes the time of the last change of the contents (`inode_set_mtime_to_ts()`).
    pub fn set_mtime(&self, mtime: Timespec) {
        // SAFETY: The inode is valid and locked, by the type invariant of `LockedInode`.
        unsafe { times::set_mtime(self.as_ptr(), mtime.into_raw()) };
    }

    /// Moves the time of the last change of the attributes on to `ctime`, but neither back nor
    /// beyond the present (`inode_set_ctime_deleg()`).
    pub fn set_ctime_deleg(&self, ctime: Timespec) {
        // SAFETY: The inode is valid; its time is changed atomically.
        unsafe { bindings::inode_set_ctime_deleg(self.as_ptr(), ctime.into_raw()) };
    }
}

impl Path {
    /// Marks the times as queried (`fill_mg_cmtime()`): the next change has others.
    pub(super) fn set_queried(&self) {
        let mut stat: bindings::kstat = pin_init::zeroed();

        // SAFETY: The inode is held by the path.
        unsafe { bindings::fill_mg_cmtime(&raw mut stat, CMTIME, self.inode()) };
    }
}

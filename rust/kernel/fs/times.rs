// SPDX-License-Identifier: GPL-2.0-only

//! Times of inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/time64.h`](srctree/include/linux/time64.h)

use crate::{
    bindings,
    prelude::*, //
};

const NSEC_PER_SEC: i64 = 1_000_000_000;

/// A time of an inode: a `struct timespec64`.
///
/// # Examples
///
/// ```
/// use kernel::fs::Timespec;
///
/// let epoch = Timespec::default();
/// let later = Timespec { sec: 0, nsec: 1 };
///
/// assert_ne!(epoch, later);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds since 1970, or before it.
    pub sec: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nsec: u32,
}

impl Timespec {
    /// The present, in nanoseconds since 1970, to which no inode gets an earlier time after that
    /// (`ktime_get_real_ts64_mg()`).
    pub fn now_as_nanos() -> i64 {
        let mut now = bindings::timespec64::default();

        // SAFETY: The function fills in what it gets.
        unsafe { bindings::ktime_get_real_ts64_mg(&raw mut now) };
        Self {
            sec: now.tv_sec,
            // CAST: It is below 1,000,000,000.
            nsec: now.tv_nsec as u32,
        }
        .into_nanos()
    }

    /// The time so many nanoseconds after 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        Self {
            sec: nanos.div_euclid(NSEC_PER_SEC),
            // CAST: It is below 1,000,000,000, and not negative.
            nsec: nanos.rem_euclid(NSEC_PER_SEC) as u32,
        }
    }

    /// How many nanoseconds after 1970 it is.
    pub fn into_nanos(self) -> i64 {
        self.sec
            .saturating_mul(NSEC_PER_SEC)
            .saturating_add(self.nsec.into())
    }

    /// The time as C has it; too large a part below a second becomes the largest.
    #[inline]
    pub(super) fn into_raw(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            // CAST: It is below 1,000,000,000.
            tv_nsec: self.nsec.min(999_999_999) as c_long,
        }
    }
}

/// The times of an inode.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileSystem, Inode, Times};
///
/// /// Makes the contents as old as the attributes.
/// fn set_back<T: FileSystem>(inode: &Inode<T>) {
///     let inode = inode.lock();
///     let times = inode.times();
///
///     inode.set_times(Times {
///         mtime: times.ctime,
///         ..times
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Of the last read.
    pub atime: Timespec,
    /// Of the last change of the contents.
    pub mtime: Timespec,
    /// Of the last change of the contents or the attributes.
    pub ctime: Timespec,
}

impl Times {
    /// The times of an inode, which may be outdated without its lock.
    ///
    /// # Safety
    ///
    /// `inode` must be valid.
    pub(super) unsafe fn of(inode: *mut bindings::inode) -> Self {
        // SAFETY: The caller guarantees that the inode is valid.
        let ctime = unsafe { bindings::inode_get_ctime(inode) };

        // SAFETY: The caller guarantees that the inode is valid.
        let atime_sec = unsafe { &raw const (*inode).i_atime_sec };
        // SAFETY: The caller guarantees that the inode is valid.
        let atime_nsec = unsafe { &raw const (*inode).i_atime_nsec };
        // SAFETY: The caller guarantees that the inode is valid.
        let mtime_sec = unsafe { &raw const (*inode).i_mtime_sec };
        // SAFETY: The caller guarantees that the inode is valid.
        let mtime_nsec = unsafe { &raw const (*inode).i_mtime_nsec };

        Self {
            atime: Timespec {
                // SAFETY: The inode is valid; C reads the field without a lock as well.
                sec: unsafe { atime_sec.read_volatile() },
                // SAFETY: The inode is valid; C reads the field without a lock as well.
                nsec: unsafe { atime_nsec.read_volatile() },
            },
            mtime: Timespec {
                // SAFETY: The inode is valid; C reads the field without a lock as well.
                sec: unsafe { mtime_sec.read_volatile() },
                // SAFETY: The inode is valid; C reads the field without a lock as well.
                nsec: unsafe { mtime_nsec.read_volatile() },
            },
            ctime: Timespec {
                sec: ctime.tv_sec,
                // CAST: It is below 1,000,000,000.
                nsec: ctime.tv_nsec as u32,
            },
        }
    }

    /// # Safety
    ///
    /// `inode` must be valid, and locked or not known to anybody else.
    pub(super) unsafe fn set(&self, inode: *mut bindings::inode) {
        let atime = self.atime.into_raw();

        // SAFETY: The inode is valid, and nobody else changes the field but a `read()`, which does
        // so in C without the lock as well.
        unsafe { (*inode).i_atime_sec = atime.tv_sec };
        // SAFETY: The inode is valid, and nobody else changes the field but a `read()`, which does
        // so in C without the lock as well.
        // CAST: It is below 1,000,000,000.
        unsafe { (*inode).i_atime_nsec = atime.tv_nsec as u32 };
        // SAFETY: The caller guarantees that the inode is valid, and locked or new.
        unsafe { set_mtime(inode, self.mtime.into_raw()) };
        // SAFETY: The caller guarantees that the inode is valid, and locked or new. The nanoseconds
        // are below 1,000,000,000.
        unsafe { bindings::inode_set_ctime_to_ts(inode, self.ctime.into_raw()) };
    }
}

/// Changes the time of the last change of the contents (`inode_set_mtime_to_ts()`).
///
/// # Safety
///
/// `inode` must be valid, and locked or not known to anybody else; `mtime` be normalised.
pub(super) unsafe fn set_mtime(inode: *mut bindings::inode, mtime: bindings::timespec64) {
    // SAFETY: The caller guarantees that the inode is valid, and locked or new.
    unsafe { (*inode).i_mtime_sec = mtime.tv_sec };
    // SAFETY: The caller guarantees that the inode is valid, and locked or new.
    // CAST: A normalised time has less than 1,000,000,000 nanoseconds.
    unsafe { (*inode).i_mtime_nsec = mtime.tv_nsec as u32 };
}

/// Makes the present the time of the last change of contents and attributes.
///
/// # Safety
///
/// `inode` must be valid and locked.
pub(super) unsafe fn touch(inode: *mut bindings::inode) {
    // SAFETY: The caller guarantees that the inode is valid and locked.
    let now = unsafe { bindings::inode_set_ctime_current(inode) };

    // SAFETY: The caller guarantees that the inode is valid and locked; what
    // inode_set_ctime_current() returns is normalised.
    unsafe { set_mtime(inode, now) };
}

// SPDX-License-Identifier: GPL-2.0-only

//! Folders of sysfs to mount a file system on.
//!
//! C headers: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    str::CStrExt as _, //
};

/// An empty folder in `/sys/fs`, which is removed when this is dropped.
///
/// # Examples
///
/// ```
/// use kernel::fs::SysfsMountPoint;
///
/// let folder = SysfsMountPoint::new(c"example")?;
///
/// // It is in `/sys/fs` until it is dropped.
/// drop(folder);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The folder is there.
pub struct SysfsMountPoint(&'static CStr);

impl SysfsMountPoint {
    /// Makes the folder (`sysfs_create_mount_point()` of `fs_kobj`).
    ///
    /// # Errors
    ///
    /// `EEXIST` if the name is taken, `ENOMEM`.
    pub fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: It is set before any initcall of a file system runs, and never changes.
        let fs = unsafe { bindings::fs_kobj };

        // SAFETY: The folder is valid for good; the name is a string.
        to_result(unsafe { bindings::sysfs_create_mount_point(fs, name.as_char_ptr()) })?;
        // INVARIANT: It has just been made.
        Ok(Self(name))
    }
}

impl Drop for SysfsMountPoint {
    fn drop(&mut self) {
        // SAFETY: It is set before any initcall of a file system runs, and never changes.
        let fs = unsafe { bindings::fs_kobj };

        // SAFETY: By the type invariant the folder is there.
        unsafe { bindings::sysfs_remove_mount_point(fs, self.0.as_char_ptr()) };
    }
}

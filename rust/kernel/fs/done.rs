// SPDX-License-Identifier: GPL-2.0-only

//! What the VFS is told of a callback.

use crate::prelude::*;
use core::cell::Cell;

/// Whether what a callback is called for has taken place.
///
/// After success the VFS goes on with it, it moves a name or forgets it, and after an error it
/// doesn't. If it were told anything but what has happened, a directory would keep an entry of a
/// name that isn't there any more. So what a file system returns counts only as far as it is true.
pub(super) struct Done(Cell<bool>);

impl Done {
    /// Calls `callback`, which sets it, and returns what the VFS is to be told.
    pub(super) fn told(callback: impl FnOnce(&Self) -> Result) -> c_int {
        let done = Self(Cell::new(false));
        let result = callback(&done);

        match result {
            _ if done.0.get() => 0,
            Ok(()) => EIO.to_errno(),
            Err(e) => e.to_errno(),
        }
    }

    pub(super) fn set(&self) {
        self.0.set(true);
    }
}

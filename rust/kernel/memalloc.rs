// SPDX-License-Identifier: GPL-2.0-only

//! Scopes in which the current task allocates memory in another way.
//!
//! Only what an operation that takes much memory needs: not to wake the OOM killer.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};

/// While it lives, no allocation of the current task wakes the OOM killer
/// (`memalloc_mayfail_save()`).
///
/// All that does not say otherwise is allocated as with `__GFP_RETRY_MAYFAIL`: after reclaim was of
/// no use it fails.
///
/// It nests. If two are not dropped in the reverse order, the effect ends with the first that was
/// made.
///
/// # Examples
///
/// ```
/// use kernel::memalloc::MayFail;
///
/// let mayfail = MayFail::new();
/// let buf = KVVec::<u8>::with_capacity(1 << 16, GFP_KERNEL)?;
///
/// drop(mayfail);
/// assert!(buf.is_empty());
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `flags` is what `memalloc_mayfail_save()` has returned to the thread that made this.
#[must_use = "if unused, the OOM killer is woken as before"]
pub struct MayFail {
    flags: c_uint,
    _not_send: NotThreadSafe,
}

impl MayFail {
    /// Begins a scope that lasts until the value is dropped. In process context.
    #[inline]
    pub fn new() -> Self {
        // INVARIANT: This is the thread that makes it.
        Self {
            // SAFETY: It sets a flag of `current`, which nobody else changes.
            flags: unsafe { bindings::memalloc_mayfail_save() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Default for MayFail {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MayFail {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant it undoes a call of this thread, which no value can leave.
        unsafe { bindings::memalloc_mayfail_restore(self.flags) };
    }
}

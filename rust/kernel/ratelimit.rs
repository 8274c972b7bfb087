// SPDX-License-Identifier: GPL-2.0-only

//! Limits to how often something happens.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use crate::{
    bindings,
    prelude::*,
    types::Opaque, //
};

/// A `struct ratelimit_state`: a few events are let through in each interval.
///
/// # Examples
///
/// ```
/// use kernel::ratelimit::Ratelimit;
///
/// let limit = KBox::pin_init(Ratelimit::new(), GFP_KERNEL)?;
///
/// assert!(limit.ratelimit(c"example"));
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The state is initialised.
#[pin_data]
#[repr(transparent)]
pub struct Ratelimit {
    #[pin]
    inner: Opaque<bindings::ratelimit_state>,
}

// SAFETY: The state needs nothing of the thread that made it.
unsafe impl Send for Ratelimit {}

// SAFETY: `___ratelimit()` has a lock and atomics for concurrent callers.
unsafe impl Sync for Ratelimit {}

impl Ratelimit {
    /// The limit that messages of the kernel have by default: 10 in 5 seconds
    /// (`ratelimit_default_init()`).
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: The function initialises all of the state.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::ratelimit_state| {
                // SAFETY: The initializer can write to the provided `slot`.
                unsafe { bindings::ratelimit_default_init(slot) }
            }),
        })
    }

    /// Whether one more may pass now (`__ratelimit()`).
    ///
    /// The log says how many didn't, under the name of `who`. Can be called from any context.
    #[inline]
    pub fn ratelimit(&self, who: &CStr) -> bool {
        // SAFETY: By the type invariant the state is initialised; it is pinned.
        unsafe { bindings::___ratelimit(self.inner.get(), who.as_char_ptr()) != 0 }
    }
}

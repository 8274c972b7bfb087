// SPDX-License-Identifier: GPL-2.0-only

//! Waits that are none for a lock, for lockdep.
//!
//! C header: [`include/linux/lockdep.h`](srctree/include/linux/lockdep.h)

use super::LockClassKey;
use crate::{
    bindings,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// Stands for something that a task does and whose end others wait for, by a completion or a
/// condition variable: a `struct lockdep_map`.
///
/// The task holds the map meanwhile, see [`acquire`](Self::acquire); a task that waits says so by
/// [`sync`](Self::sync). Lockdep then reports, as it does for locks, a wait for a task that may
/// itself wait for the waiter, whether or not the two ever meet. Without `CONFIG_LOCKDEP` it is
/// nothing.
///
/// # Examples
///
/// ```
/// use kernel::sync::{
///     static_lock_class,
///     Completion,
///     LockdepMap, //
/// };
///
/// #[pin_data]
/// struct Job {
///     #[pin]
///     done: Completion,
///     #[pin]
///     running: LockdepMap,
/// }
///
/// impl Job {
///     fn run(&self, f: impl FnOnce()) {
///         let _running = self.running.acquire();
///
///         f();
///         self.done.complete_all();
///     }
///
///     fn wait(&self) {
///         self.running.sync();
///         self.done.wait_for_completion();
///     }
/// }
///
/// let job = KBox::pin_init(
///     pin_init!(Job {
///         done <- Completion::new(),
///         running <- LockdepMap::new(c"Job::running", static_lock_class!()),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// job.run(|| ());
/// job.wait();
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
#[pin_data]
pub struct LockdepMap {
    #[pin]
    inner: Opaque<bindings::lockdep_map>,
}

// SAFETY: A map belongs to no thread: what lockdep caches in it may be read by any.
unsafe impl Send for LockdepMap {}

// SAFETY: Any number of threads may acquire a map: lockdep reads and writes its cache atomically.
unsafe impl Sync for LockdepMap {}

impl LockdepMap {
    /// Makes a map of the class `key` (`lockdep_init_map()`).
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is valid for a write, and the name and the key are for ever.
                unsafe { bindings::lockdep_init_map(slot, name.as_char_ptr(), key.as_ptr()) }
            }),
        })
    }

    /// Holds the map until the value is dropped (`lock_map_acquire()`). Doesn't wait: nothing keeps
    /// two threads from holding it.
    #[inline]
    pub fn acquire(&self) -> LockdepGuard<'_> {
        // SAFETY: The map has been initialised, and is pinned.
        unsafe { bindings::lock_map_acquire(self.inner.get()) };
        // INVARIANT: It has just been acquired.
        LockdepGuard(self, NotThreadSafe)
    }

    /// Tells lockdep that the caller may wait for a thread that holds the map (`lock_map_sync()`).
    /// Doesn't wait.
    #[inline]
    pub fn sync(&self) {
        // SAFETY: The map has been initialised, and is pinned.
        unsafe { bindings::lock_map_sync(self.inner.get()) };
    }
}

/// A [`LockdepMap`] that is held, until this is dropped.
///
/// # Examples
///
/// ```
/// use kernel::sync::{
///     static_lock_class,
///     LockdepMap, //
/// };
///
/// let map = KBox::pin_init(LockdepMap::new(c"example", static_lock_class!()), GFP_KERNEL)?;
/// let running = map.acquire();
///
/// drop(running);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The thread that made it has acquired the map.
#[must_use = "if unused, the map is released at once"]
pub struct LockdepGuard<'a>(&'a LockdepMap, NotThreadSafe);

impl Drop for LockdepGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds the map, as no value leaves its thread.
        unsafe { bindings::lock_map_release(self.0.inner.get()) };
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! Limits of memory by cgroup.
//!
//! Only what a holder of locks needs, not to wait for them, and what the machine needs that works
//! for all: not to be bound by those of a task.
//!
//! C header: [`include/linux/memcontrol.h`](srctree/include/linux/memcontrol.h)

use crate::{
    bindings,
    types::NotThreadSafe, //
};

/// While it lives, the current task doesn't wait for the limits of its cgroup
/// (`mem_cgroup_enter_nowait()`).
///
/// For what is above `memory.high` it sleeps afterwards. At `memory.max` an allocation fails after
/// one round of reclaim, and nobody is killed. Memory is charged as ever.
///
/// For a task that holds what tasks outside of the cgroup wait for. It nests, in any order.
///
/// # Examples
///
/// ```
/// use kernel::memcontrol::NoWait;
///
/// let nowait = NoWait::new();
/// let number = KBox::new(1, GFP_KERNEL_ACCOUNT)?;
///
/// drop(nowait);
/// assert_eq!(*number, 1);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The thread that made it has called `mem_cgroup_enter_nowait()` once for it.
#[must_use = "if unused, the task waits as before"]
pub struct NoWait(NotThreadSafe);

impl NoWait {
    /// Stops to wait until the value is dropped. In process context.
    #[inline]
    pub fn new() -> Self {
        // SAFETY: It counts in `current`, which nobody else changes.
        unsafe { bindings::mem_cgroup_enter_nowait() };

        // INVARIANT: It has just been called.
        Self(NotThreadSafe)
    }
}

impl Default for NoWait {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoWait {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant it undoes a call of this thread, which no value can leave.
        unsafe { bindings::mem_cgroup_exit_nowait() };
    }
}

/// Calls `f`, which allocates for the machine: nothing of it is charged to a cgroup
/// (`set_active_memcg()` of `root_mem_cgroup`).
///
/// For what the current task has nothing to do with, but that it has asked for it. In process
/// context.
pub fn charge_root<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: The root is there for good.
    let active = unsafe { bindings::set_active_memcg_root() };
    let result = f();

    // SAFETY: That was active, and is valid until after this for the caller that made it so.
    unsafe { bindings::set_active_memcg(active) };
    result
}

// SPDX-License-Identifier: GPL-2.0-only

//! A gate that operations pass, and that can be shut.
//!
//! It is an SRCU read section behind a flag: no task waits for it to open, and a task that shuts it
//! waits until no other is inside any more. So no task inside waits for the limits of its cgroup,
//! nor for user space: for the decision of a listener, of the owner of a page or of another
//! process; and a long operation, as a retrieve, ends when a reboot waits. Each kind of gate has a
//! lock class of its own, by which lockdep sees all waits for locks inside of one, and
//! [`LockdepMap`](kernel::sync::LockdepMap) the others.

use crate::words::failure::Failure;
use kernel::{
    memcontrol::NoWait,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        srcu,
        Arc,
        LockClassKey,
        SetOnce,
        Srcu, //
    },
};

static MACHINE: SetOnce<Arc<Gate>> = SetOnce::new();

/// Makes the machine's gate, which is shut while a reboot is under way.
pub(crate) fn start() -> Result {
    let gate = Arc::pin_init(
        Gate::new(c"gate::MACHINE", static_lock_class!()),
        GFP_KERNEL,
    )?;

    MACHINE.populate(gate);
    Ok(())
}

/// The machine's gate.
///
/// # Errors
///
/// `ENODEV` if the machine hands nothing over.
pub(crate) fn machine() -> Result<&'static Gate> {
    MACHINE.as_ref().map(|gate| &**gate).ok_or(ENODEV)
}

/// Enters the machine's gate, which keeps a reboot waiting.
///
/// # Errors
///
/// `EBUSY` if a reboot is under way.
pub(crate) fn enter() -> Result<Inside<'static>> {
    machine()?.enter()
}

/// Looks at the machine's gate, for a task that does not enter it.
///
/// # Errors
///
/// `EBUSY` if a reboot is under way.
pub(crate) fn check_open() -> Result {
    if machine()?.is_shut() {
        return Err(EBUSY);
    }
    Ok(())
}

/// Calls `f` inside the machine's gate.
pub(crate) fn inside<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let _inside = enter().map_err(|e| Failure::new(e, "a reboot is under way"))?;

    f()
}

/// A task that is inside a gate.
pub(crate) struct Inside<'a> {
    _section: srcu::Guard<'a>,
    _nowait: NoWait,
}

/// A gate, open at first.
#[pin_data]
pub(crate) struct Gate {
    shut: Atomic<bool>,
    #[pin]
    inside: Srcu,
}

impl Gate {
    pub(crate) fn new(
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shut: Atomic::new(false),
            inside <- Srcu::new(name, key),
        }? Error)
    }

    /// Enters the gate, which keeps a task that shuts it waiting.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is shut.
    pub(crate) fn enter(&self) -> Result<Inside<'_>> {
        let inside = self.enter_anyway();

        if self.is_shut() {
            return Err(EBUSY);
        }
        Ok(inside)
    }

    /// Enters the gate also if it is shut, when the task that has shut it doesn't wait any more.
    /// The caller says why nothing that it does concerns that task.
    pub(crate) fn enter_anyway(&self) -> Inside<'_> {
        Inside {
            _section: self.inside.read_lock(),
            _nowait: NoWait::new(),
        }
    }

    /// Whether it is shut. If not, the caller sees all that was done before it was opened.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Acquire)
    }

    /// Shuts the gate, and waits for the tasks that are inside.
    ///
    /// No signal ends that: see "The gate" in `architecture.rst` for how long it can take.
    pub(crate) fn shut(&self) {
        self.shut.xchg(true, Full);
        self.inside.synchronize();
    }

    pub(crate) fn open(&self) {
        self.shut.xchg(false, Full);
    }
}

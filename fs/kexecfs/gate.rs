// SPDX-License-Identifier: GPL-2.0-only

//! A gate that operations pass, and that can be shut.
//!
//! It is an SRCU read section behind a flag: nobody waits for it to open, and who shuts it waits
//! until nobody is inside any more. So nobody inside waits for the limits of his cgroup, nor for
//! user space: what a listener, the owner of a page or another process decides; and what takes
//! long, as a retrieve, ends when a reboot waits. Each kind of gate has a lock class of its own, by
//! which lockdep sees all waits for locks inside of one, and
//! [`LockdepMap`](kernel::sync::LockdepMap) the others.

use kernel::{
    memcontrol::NoWait,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        srcu,
        LockClassKey,
        Srcu, //
    },
};

/// Who is inside a gate.
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

    /// Enters the gate, which keeps who shuts it waiting.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is shut.
    pub(crate) fn enter(&self) -> Result<Inside<'_>> {
        let section = self.inside.read_lock();

        if self.is_shut() {
            return Err(EBUSY);
        }
        Ok(Inside {
            _section: section,
            _nowait: NoWait::new(),
        })
    }

    /// Whether it is shut. If not, what was done before it was opened is seen.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Acquire)
    }

    /// Shuts the gate, and waits for who is inside.
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

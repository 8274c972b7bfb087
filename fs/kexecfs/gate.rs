// SPDX-License-Identifier: GPL-2.0-only

//! A gate that operations pass, and that can be shut.
//!
//! It is an SRCU read section behind a flag: nobody waits for it to open, and who shuts it waits
//! until nobody is inside any more. So nobody inside waits for the limits of his cgroup, unless
//! what he does ends when a reboot waits.

use kernel::{
    memcontrol::NoWait,
    new_srcu,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        srcu,
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
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shut: Atomic::new(false),
            inside <- new_srcu!("Gate::inside"),
        }? Error)
    }

    /// Enters the gate, which keeps who shuts it waiting.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is shut.
    pub(crate) fn enter(&self) -> Result<Inside<'_>> {
        Ok(Inside {
            _section: self.enter_throttled()?,
            _nowait: NoWait::new(),
        })
    }

    /// The same for what may take long, but ends when a reboot waits.
    pub(crate) fn enter_throttled(&self) -> Result<srcu::Guard<'_>> {
        let guard = self.inside.read_lock();

        if self.is_shut() {
            return Err(EBUSY);
        }
        Ok(guard)
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }

    /// Shuts the gate, and waits for who is inside.
    pub(crate) fn shut(&self) {
        self.shut.xchg(true, Full);
        self.inside.synchronize();
    }

    pub(crate) fn open(&self) {
        self.shut.xchg(false, Full);
    }
}

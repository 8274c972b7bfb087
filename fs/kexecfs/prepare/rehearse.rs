// SPDX-License-Identifier: GPL-2.0-only

//! A domain is prepared as a reboot would do it, and that is undone.
//!
//! What others see of it is what they see of a prepare that is under way: `state` does not change,
//! and what a prepare forbids is `EBUSY`.

use crate::{
    domain::{
        Domain,
        Timeout, //
    },
    gate::inside,
    types::KexecFs,
    words::{
        failure::Failure,
        state::State, //
    }, //
};
use kernel::{
    fs::SuperBlock,
    prelude::*, //
};

/// A domain that is prepared for a rehearsal, or had been prepared before. What the rehearsal has
/// done is undone when this is dropped.
pub(crate) struct Rehearsed<'a> {
    domain: &'a Domain,
    /// Whether the rehearsal has prepared it.
    undo: bool,
}

impl Domain {
    /// Prepares the domain as a reboot does, unless it is prepared.
    ///
    /// The map [`Domain::preparing`] is not held until the end: one task rehearses all domains at
    /// once, which is a recursion to lockdep. No task waits for the end of a rehearsal but those
    /// that wait for the end of a prepare.
    pub(crate) fn rehearse(
        &self,
        sb: Option<&SuperBlock<KexecFs>>,
        mut timeout: Timeout<'_>,
    ) -> Result<Rehearsed<'_>, Failure> {
        if self.begin_rehearsal(&mut timeout)? == State::Prepared {
            return Ok(Rehearsed {
                domain: self,
                undo: false,
            });
        }
        match self.prepare_with(sb, &mut timeout) {
            Ok(()) => Ok(Rehearsed {
                domain: self,
                undo: true,
            }),
            Err(failure) => {
                self.end_preparing(false);
                Err(failure)
            }
        }
    }

    /// Waits for others as a reboot does, and reserves the domain unless it is prepared. Returns
    /// its state.
    fn begin_rehearsal(&self, timeout: &mut Timeout<'_>) -> Result<State, Failure> {
        loop {
            self.wait_pending(timeout)?;
            let state = self.state();

            if state == State::Prepared {
                return Ok(state);
            }
            match inside(|| self.begin_preparing()) {
                Ok(()) => return Ok(state),
                // Another task came in between, which a reboot would have kept out. The wait that
                // follows may not take any time.
                Err(e) if e.error == EBUSY && timeout.left() != 0 => {
                    timeout
                        .check(self)
                        .map_err(|e| timeout.failure(self, e.into()))?;
                    timeout.set_left(timeout.left() - 1);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl Rehearsed<'_> {
    /// Has LUO freeze what is preserved, and unfreeze it.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.domain.lock_op().rehearse_freeze()
    }
}

impl Drop for Rehearsed<'_> {
    fn drop(&mut self) {
        if !self.undo {
            return;
        }
        // A reboot that has come meanwhile waits for that.
        let undone = self.domain.lock_op().unpreserve_all();

        // Without the lock: they may be the last references.
        drop(undone);
        self.domain.changes.open();
        self.domain.end_preparing(false);
    }
}

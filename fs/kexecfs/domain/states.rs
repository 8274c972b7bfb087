// SPDX-License-Identifier: GPL-2.0-only

//! How a domain gets from state to state, by events and by reboots.

use super::{
    files::Slot,
    Domain,
    Op, //
};
use crate::{
    handover::{
        domain_len,
        Records,
        END_LEN, //
    },
    prepare::Large,
    timeout::Timeout,
    words::{
        failure::Failure,
        options::Errors,
        state::{
            Event,
            State, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Domain {
    // Events.

    /// The state that `event` leads to, if nothing forbids it.
    pub(crate) fn after(&self, event: Event) -> Result<State, Failure> {
        let table = self.table.lock();

        self.alive()?;
        if table.preparing {
            return Err(Failure::new(EBUSY, "it is being prepared"));
        }
        let next = table
            .state
            .after(event)
            .map_err(|e| Failure::new(e, "the state forbids it"))?;

        Ok(match event {
            Event::Cancel => table.before_prepare,
            Event::Prepare | Event::Finish => next,
        })
    }

    /// Sets the state.
    pub(crate) fn set_state(&self, next: State) {
        self.table.lock().state = next;
        self.state_has_changed();
    }

    /// Reserves the domain for who prepares it.
    pub(crate) fn begin_preparing(&self) -> Result<(), Failure> {
        let _op = self.lock_op()?;

        self.after(Event::Prepare)?;
        let mut table = self.table.lock();

        if let Some(failure) = table.pending_failure() {
            return Err(failure);
        }
        table.preparing = true;
        table.before_prepare = table.state;
        Ok(())
    }

    /// Ends what [`Domain::begin_preparing`] began, in the state `next` if there is one.
    pub(crate) fn end_preparing(&self, next: Option<State>) {
        let mut table = self.table.lock();

        table.preparing = false;
        if let Some(next) = next {
            table.state = next;
        }
        drop(table);
        self.settled.notify_all();
        if next.is_some() {
            self.state_has_changed();
        }
    }

    // Reboots, behind the shut gate.

    /// Marks the domain, which is prepared, as frozen by a reboot.
    ///
    /// `before` is the state to which it goes back if the kexec fails.
    pub(crate) fn set_frozen(&self, before: State) {
        let mut table = self.table.lock();

        table.before_reboot = before;
        table.state = State::Frozen;
        drop(table);
        self.state_has_changed();
    }

    /// Goes back to what the domain was before [`Domain::set_frozen`], and returns that, if a
    /// reboot has frozen it.
    pub(crate) fn set_thawed(&self) -> Option<State> {
        let mut table = self.table.lock();

        if table.state != State::Frozen {
            return None;
        }
        table.state = table.before_reboot;
        Some(table.state)
    }

    /// Calls `f` with what is written down for the next kernel.
    pub(crate) fn with_records<T>(&self, f: impl FnOnce(&Records) -> Result<T>) -> Result<T> {
        f(self.op.lock().records.as_ref().ok_or(EINVAL)?)
    }

    /// Waits for the files that are being preserved and for a prepare.
    pub(crate) fn settle(&self, timeout: &mut Timeout<'_>) -> Result<(), Failure> {
        self.preparing.sync();
        let mut table = self.table.lock();

        while (table.pending != 0 || table.preparing) && timeout.left() != 0 {
            use kernel::sync::CondVarTimeoutResult as Woken;

            match self
                .settled
                .wait_interruptible_timeout(&mut table, timeout.left())
            {
                Woken::Woken { jiffies } => timeout.set_left(jiffies),
                Woken::Signal { .. } => return Err(Failure::new(EINTR, "a signal came")),
                Woken::Timeout => timeout.set_left(0),
            }
        }
        if table.preparing {
            return Err(Failure::new(EBUSY, "it is still being prepared"));
        }
        table.pending_failure().map_or(Ok(()), Err)
    }

    /// Leaves the domain behind in a reboot that can't prepare it, if its mounter has allowed that.
    ///
    /// Returns whether it is left behind.
    pub(crate) fn leave_behind(&self) -> bool {
        if self.options().errors != Errors::Drop {
            return false;
        }
        // First: who prepares it just now has the lock, and ends when it sees this.
        self.left_behind.store(true, Relaxed);
        if let Some(session) = &self.op.lock().outgoing {
            session.exclude(true);
        }
        true
    }

    /// Whether a reboot goes on without the domain.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.left_behind.load(Relaxed)
    }

    /// # Errors
    ///
    /// `EBUSY` if a reboot goes on without the domain.
    pub(crate) fn check_not_left_behind(&self) -> Result {
        if self.is_left_behind() {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Leaves what has been done of a prepare that failed, and the files that it holds, to
    /// [`Domain::include`]: a reboot that goes on without the domain does not wait for that.
    pub(crate) fn leave_unfinished(&self, op: &mut Op, held: KVVec<Large>) {
        self.left_behind.store(true, Relaxed);
        op.unfinished = Some(held);
    }

    /// What the next kernel is told of a domain that is left behind.
    pub(crate) fn left_behind_records(&self) -> Result<Records> {
        let options = self.options();

        Records::new(domain_len(&self.name, &self.session)? + END_LEN, |writer| {
            writer.domain(&self.name, &self.session, &self.identity, &options, 0)?;
            writer.end()
        })
    }

    /// Notes that LUO goes on without the session of the domain.
    pub(crate) fn was_excluded(&self) {
        self.left_behind.store(true, Relaxed);
    }

    /// Undoes [`Domain::leave_behind`], and what LUO left behind.
    pub(crate) fn include(&self) {
        if !self.is_left_behind() {
            return;
        }
        let mut op = self.op.lock();

        self.left_behind.store(false, Relaxed);
        if let Some(session) = &op.outgoing {
            session.exclude(false);
        }
        let Some(held) = op.unfinished.take() else {
            return;
        };
        let undone = self.take_back(&mut op);

        drop(op);
        // Without the lock: they may be the last references.
        drop((undone, held));
        self.reopen();
    }

    /// What LUO could not freeze: the preserved file with the given token.
    pub(crate) fn freeze_failure(&self, token: u64, error: Error) -> Failure {
        let failure = Failure::new(error, "LUO could not freeze it");
        let table = self.table.lock();
        let name = table.preserved.iter().find_map(|(name, slot)| match slot {
            Slot::Done(preserved) if preserved.token == token => Some(name),
            _ => None,
        });

        match name {
            Some(name) => failure.of_file(name),
            None => failure,
        }
    }
}

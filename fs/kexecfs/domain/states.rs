// SPDX-License-Identifier: GPL-2.0-only

//! How events and reboots change the status of a domain.
//!
//! Which step leads where is said by one table, in `words/state.rs`.

use super::{
    timeout::Timeout,
    Domain, //
};
use crate::{
    gate,
    handover::{
        domain_len,
        Records,
        END_LEN, //
    },
    words::{
        failure::Failure,
        state::{
            State,
            Step, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Domain {
    // Events.

    /// # Errors
    ///
    /// `ESTALE` if the domain has been discarded, `EBUSY` if its status forbids the step.
    pub(crate) fn check_step(&self, step: Step) -> Result<(), Failure> {
        let table = self.table.lock();

        self.check_alive()?;
        table.check_step(step)
    }

    /// Takes the step [`Step::Cancel`]. The caller has checked it under `op`, and still has that.
    pub(crate) fn set_cancelled(&self) -> Result {
        self.table.lock().advance(Step::Cancel)?;
        self.state_has_changed();
        Ok(())
    }

    /// Reserves the domain for the task that prepares it.
    pub(crate) fn begin_preparing(&self) -> Result<(), Failure> {
        self.try_begin_preparing()?
    }

    /// Does the same. That the status forbids it, which may not last, is no error but the inner
    /// result.
    pub(crate) fn try_begin_preparing(&self) -> Result<Result<(), Failure>, Failure> {
        let _op = self.op.lock_killable()?;
        let mut table = self.table.lock();

        self.check_alive()?;
        if let Err(failure) = table.check_step(Step::Prepare) {
            return Ok(Err(failure));
        }
        if let Some(failure) = table.pending_failure() {
            return Err(failure);
        }
        table.advance(Step::Prepare)?;
        Ok(Ok(()))
    }

    /// Ends what [`Domain::begin_preparing`] began.
    pub(crate) fn end_preparing(&self, prepared: bool) {
        let step = if prepared {
            Step::Prepared
        } else {
            Step::NotPrepared
        };
        // If this is no step the domain has been discarded.
        let ended = self.table.lock().advance(step);

        self.notify_settled();
        if prepared && ended.is_ok() {
            self.state_has_changed();
        }
    }

    /// Lets those look again that wait in [`Domain::wait_pending`].
    pub(super) fn notify_settled(&self) {
        if self.settled.has_waiters() {
            self.settled.notify_all();
        }
    }

    /// Whether nothing is serialized, or just being so.
    pub(crate) fn is_open(&self) -> bool {
        self.table.lock().status().is_open()
    }

    // Reboots, behind the shut gate.

    /// Waits for the files that are being preserved and for a prepare. Also for a rehearsal,
    /// without the gate.
    pub(crate) fn wait_pending(&self, timeout: &mut Timeout<'_>) -> Result<(), Failure> {
        self.preparing.sync();
        let mut table = self.table.lock();

        while (table.pending != 0 || table.status().is_preparing()) && timeout.left() != 0 {
            use kernel::sync::CondVarTimeoutResult as Woken;

            let (left, nap) = (timeout.left(), timeout.nap());
            let rest = match self.settled.wait_interruptible_timeout(&mut table, nap) {
                Woken::Woken { jiffies } => jiffies,
                Woken::Signal { .. } => return Err(Failure::new(EINTR, "a signal came")),
                Woken::Timeout => 0,
            };

            timeout.set_left(left.saturating_sub(nap.saturating_sub(rest)));
            if timeout.is_rehearsal() {
                gate::check_open()?;
            }
        }
        if table.status().is_preparing() {
            return Err(Failure::new(EBUSY, "it is still being prepared"));
        }
        table.pending_failure().map_or(Ok(()), Err)
    }

    /// A reboot has frozen the domain, which is serialized. Nobody prepares it, see
    /// [`Domain::wait_pending`].
    pub(crate) fn set_frozen(&self) -> Result<(), Failure> {
        self.table.lock().advance(Step::Freeze)?;
        self.state_has_changed();
        Ok(())
    }

    /// The kexec has failed. If it has frozen the domain, returns the state that the domain had
    /// before, and has again.
    ///
    /// Tasks that poll are not woken yet.
    pub(crate) fn set_thawed(&self) -> Option<State> {
        let mut table = self.table.lock();

        table.advance(Step::Thaw).ok()?;
        Some(table.state())
    }

    /// What LUO could not freeze: the preserved file with the given token.
    pub(crate) fn freeze_failure(&self, token: u64, error: Error) -> Failure {
        let failure = Failure::new(error, "LUO could not freeze it");
        let table = self.table.lock();
        let entry = table.preserved().find(|entry| entry.token() == token);

        match entry {
            Some(entry) => failure.of_file(&entry.name),
            None => failure,
        }
    }

    // Reboots that go on without the domain.

    /// Excludes the domain, and its session, from the reboot.
    pub(crate) fn exclude(&self) {
        // First: a task that prepares it just now has the lock, and ends when it sees this.
        self.set_excluded();
        if let Some(session) = &self.op.lock().outgoing {
            session.exclude(true);
        }
    }

    /// Excludes the domain alone: LUO goes on without its session already.
    ///
    /// Takes a leaf only.
    pub(crate) fn set_excluded(&self) {
        self.advance_excluded(Step::Exclude);
    }

    /// Takes [`Step::Exclude`] or [`Step::Include`], which no status forbids.
    fn advance_excluded(&self, step: Step) {
        let mut table = self.table.lock();

        if let Ok(status) = table.advance(step) {
            self.excluded.store(status.is_excluded(), Relaxed);
        }
    }

    /// Undoes [`Domain::exclude`], and then what an excluded prepare has left.
    pub(crate) fn include(&self) {
        if !self.is_excluded() {
            return;
        }
        let mut op = self.op.lock();

        self.advance_excluded(Step::Include);
        if let Some(session) = &op.outgoing {
            session.exclude(false);
        }
        let Some(held) = op.unfinished.take() else {
            return;
        };
        let undone = self.unpreserve_all(&mut op);

        drop(op);
        // Without the lock: they may be the last references.
        drop((undone, held));
        self.changes.open();
    }

    /// Whether a reboot goes on without the domain.
    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded.load(Relaxed)
    }

    /// # Errors
    ///
    /// `EBUSY` if a reboot goes on without the domain.
    pub(crate) fn check_included(&self) -> Result {
        if self.is_excluded() {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// What the next kernel is told of a domain that is excluded.
    pub(crate) fn excluded_records(&self) -> Result<Records> {
        let options = self.options();

        Records::new(domain_len(&self.name, &self.session)? + END_LEN, |writer| {
            writer.domain(&self.name, &self.session, &self.identity, &options, 0)?;
            writer.end()
        })
    }

    // What others are told.

    /// Wakes the tasks that poll `state`.
    pub(crate) fn state_has_changed(&self) {
        self.state_changes.add(1, Relaxed);
        self.changed.notify_all();
    }
}

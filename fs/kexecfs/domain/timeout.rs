// SPDX-License-Identifier: GPL-2.0-only

//! How long it may take to prepare a domain, and what ends it early.
//!
//! The event `prepare` takes as long as it takes. A reboot waits some time for other users of the
//! files, and for a domain with `errors=drop` no longer than that in all, whatever it holds. A
//! rehearsal of a reboot does the same, until a reboot comes.

use super::Domain;
use crate::{
    gate,
    words::failure::Failure, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic, //
    },
};

/// How long a task that is not the writer of `prepare` waits until it tries again: to hold a file,
/// or to begin to prepare a domain that another task prepares.
pub(crate) const RETRY_MSECS: u32 = 10;

/// How long it may take to prepare a domain.
pub(crate) enum Limit<'a> {
    /// As long as it takes.
    None,
    /// As long as it takes, but other users of its files are waited for as long as this lasts.
    ForUsers(&'a mut Jiffies),
    /// Until this time, at which a reboot goes on without the domain.
    At(Instant<Monotonic>),
}

/// What a domain is prepared for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// The event `prepare`, by its writer.
    Event,
    /// The event for all domains, by a worker, until this is true.
    EventForAll(&'a Atomic<bool>),
    /// A reboot, behind the machine's shut gate.
    Reboot,
    /// The rehearsal of a reboot, which is undone.
    Rehearsal,
}

/// How long it may take to prepare a domain, and what for.
pub(crate) struct Timeout<'a> {
    limit: Limit<'a>,
    purpose: Purpose<'a>,
}

impl<'a> Timeout<'a> {
    /// That of the event `prepare`: the writer can be killed.
    pub(crate) fn event() -> Self {
        Self {
            limit: Limit::None,
            purpose: Purpose::Event,
        }
    }

    /// That of the event for all domains, for a worker: until `cancelled` is true.
    pub(crate) fn event_for_all(cancelled: &'a Atomic<bool>) -> Self {
        Self {
            limit: Limit::None,
            purpose: Purpose::EventForAll(cancelled),
        }
    }

    /// That of a reboot.
    pub(crate) fn reboot(limit: Limit<'a>) -> Self {
        Self {
            limit,
            purpose: Purpose::Reboot,
        }
    }

    /// That of the rehearsal of a reboot with this limit.
    pub(crate) fn rehearsal(limit: Limit<'a>) -> Self {
        Self {
            limit,
            purpose: Purpose::Rehearsal,
        }
    }

    pub(crate) fn limit(&self) -> &Limit<'a> {
        &self.limit
    }

    /// Whether the task waits for other users of a file in the queue of those, which only ends it
    /// when it is killed. Others try again and again.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.purpose, Purpose::Event)
    }

    /// Whether the machine's gate is shut, so that no operation is under way but this.
    pub(crate) fn is_reboot(&self) -> bool {
        matches!(self.purpose, Purpose::Reboot)
    }

    /// Whether what is done is undone again.
    pub(crate) fn is_rehearsal(&self) -> bool {
        matches!(self.purpose, Purpose::Rehearsal)
    }

    /// How long other users of a file are waited for, 0 if no longer.
    pub(crate) fn left(&self) -> Jiffies {
        match &self.limit {
            Limit::None => Jiffies::MAX,
            Limit::ForUsers(left) => **left,
            Limit::At(end) => {
                let msecs = remaining(*end).as_millis_ceil().max(0);

                msecs_to_jiffies(msecs.try_into().unwrap_or(u32::MAX))
            }
        }
    }

    /// How much of that a task may sleep at once: nothing wakes a rehearsal when a reboot comes.
    pub(crate) fn nap(&self) -> Jiffies {
        if self.is_rehearsal() {
            self.left().min(msecs_to_jiffies(RETRY_MSECS).max(1))
        } else {
            self.left()
        }
    }

    /// Counts the time that was spent to wait for them.
    pub(crate) fn set_left(&mut self, jiffies: Jiffies) {
        if let Limit::ForUsers(left) = &mut self.limit {
            **left = jiffies;
        }
    }

    /// Whether the time is over.
    fn is_over(&self) -> bool {
        matches!(self.limit, Limit::At(end) if remaining(end) <= Delta::ZERO)
    }

    /// To be called wherever the time that is spent is a matter of what the domain holds.
    ///
    /// # Errors
    ///
    /// `ETIME` if the time is over, `EBUSY` if a reboot goes on without the domain, or comes while
    /// one is rehearsed, `EINTR` if the event for all domains has been cancelled, `ESTALE` if the
    /// domain was discarded: the task that does that waits for `Domain::op`.
    pub(crate) fn check(&self, domain: &Domain) -> Result {
        match self.purpose {
            Purpose::Reboot => {}
            Purpose::EventForAll(cancelled) if cancelled.load(Relaxed) => return Err(EINTR),
            Purpose::Rehearsal => {
                gate::check_open()?;
                domain.check_alive()?;
            }
            _ => {
                domain.check_alive()?;
                domain.check_included()?;
            }
        }
        if self.is_over() {
            return Err(ETIME);
        }
        Ok(())
    }

    /// To be called before `bytes` of memory are allocated and filled, which nothing ends.
    ///
    /// # Errors
    ///
    /// `ETIME` if the time that is left does not allow for that.
    pub(crate) fn check_for(&self, bytes: usize) -> Result {
        match self.limit {
            Limit::At(end) if remaining(end) < Delta::from_millis(msecs_for(bytes)) => Err(ETIME),
            _ => Ok(()),
        }
    }

    /// The error of an operation that LUO ends when the time is over.
    pub(crate) fn error(&self, e: Error) -> Error {
        if e == EBUSY && self.is_over() {
            ETIME
        } else {
            e
        }
    }

    /// Whether a reboot goes on without the domain after a failure. It does not wait for what was
    /// done until then to be undone: [`Domain::include`] does that if the kexec fails.
    pub(crate) fn is_excluded(&self, domain: &Domain) -> bool {
        match self.purpose {
            Purpose::Reboot => matches!(self.limit, Limit::At(_)),
            _ => domain.is_excluded(),
        }
    }

    /// The failure that the user is told of.
    pub(crate) fn failure(&self, domain: &Domain, failure: Failure) -> Failure {
        let e = failure.error;
        let (error, reason) = if e == ETIME && matches!(self.limit, Limit::At(_)) {
            (EBUSY, "a reboot does not wait that long: prepare it before")
        } else if e == EBUSY && !self.is_reboot() && domain.is_excluded() {
            (EBUSY, "a reboot goes on without it")
        } else if e == EINTR && matches!(self.purpose, Purpose::EventForAll(_)) {
            (EINTR, "the writer was killed")
        } else {
            return failure;
        };

        Failure {
            error,
            reason,
            ..failure
        }
    }
}

/// How long it takes to fill memory, about: a GiB a second.
fn msecs_for(bytes: usize) -> i64 {
    (bytes >> 20) as i64
}

/// Negative once `end` is over.
fn remaining(end: Instant<Monotonic>) -> Delta {
    end - Instant::now()
}

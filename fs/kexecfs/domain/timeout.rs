// SPDX-License-Identifier: GPL-2.0-only

//! How long it may take to prepare a domain.
//!
//! The event `prepare` takes as long as it takes. A reboot waits some time for other users of the
//! files, and for a domain with `errors=drop` no longer than that in all, whatever it holds.

use super::Domain;
use crate::words::failure::Failure;
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic, //
    },
};

/// How long it may take to prepare a domain.
pub(crate) enum Timeout<'a> {
    /// As long as it takes, unless a reboot goes on without the domain.
    Never,
    /// As long as it takes, but other users of its files are waited for as long as this lasts.
    ForUsers(&'a mut Jiffies),
    /// Until this time, at which the reboot goes on without the domain.
    At(Instant<Monotonic>),
}

impl Timeout<'_> {
    /// How long other users of a file are waited for, 0 if no longer.
    pub(crate) fn left(&self) -> Jiffies {
        match self {
            Timeout::Never => Jiffies::MAX,
            Timeout::ForUsers(left) => **left,
            Timeout::At(end) => {
                let msecs = remaining(*end).as_millis_ceil().max(0);

                msecs_to_jiffies(msecs.try_into().unwrap_or(u32::MAX))
            }
        }
    }

    /// Counts the time that was spent to wait for them.
    pub(crate) fn set_left(&mut self, jiffies: Jiffies) {
        if let Timeout::ForUsers(left) = self {
            **left = jiffies;
        }
    }

    /// Whether the time is over.
    fn is_over(&self) -> bool {
        matches!(self, Timeout::At(end) if remaining(*end) <= Delta::ZERO)
    }

    /// To be called wherever the time that is spent is a matter of what the domain holds.
    ///
    /// # Errors
    ///
    /// `ETIME` if the time is over, `EBUSY` if a reboot goes on without the domain, `ESTALE` if
    /// it was discarded: the task that does that waits for `Domain::op`.
    pub(crate) fn check(&self, domain: &Domain) -> Result {
        match self {
            Timeout::Never => domain.check_alive().and_then(|()| domain.check_included()),
            Timeout::ForUsers(_) => Ok(()),
            Timeout::At(_) if self.is_over() => Err(ETIME),
            Timeout::At(_) => Ok(()),
        }
    }

    /// To be called before `bytes` of memory are allocated and filled, which nothing ends.
    ///
    /// # Errors
    ///
    /// `ETIME` if the time that is left does not allow for that.
    pub(crate) fn check_for(&self, bytes: usize) -> Result {
        match self {
            Timeout::At(end) if remaining(*end) < Delta::from_millis(msecs_for(bytes)) => {
                Err(ETIME)
            }
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
        match self {
            Timeout::Never => domain.is_excluded(),
            Timeout::ForUsers(_) => false,
            Timeout::At(_) => true,
        }
    }

    /// The failure that the user is told of.
    pub(crate) fn failure(&self, domain: &Domain, failure: Failure) -> Failure {
        let reason = match self {
            Timeout::At(_) if failure.error == ETIME => {
                "a reboot does not wait that long: prepare it before"
            }
            Timeout::Never if failure.error == EBUSY && domain.is_excluded() => {
                "a reboot goes on without it"
            }
            _ => return failure,
        };

        Failure {
            error: EBUSY,
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

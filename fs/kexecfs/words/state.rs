// SPDX-License-Identifier: GPL-2.0-only

//! The states of a domain: the words for them, and the one table of what leads from one to another.

use kernel::prelude::*;

/// The state of a domain, by the words of LUO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Files are preserved and unpreserved.
    Normal,
    /// All is ready for the kexec and nothing changes any more.
    Prepared,
    /// reboot(KEXEC) has begun.
    Frozen,
    /// The domain came from the previous kernel, and has descriptors that wait to be finished.
    Updated,
}

impl State {
    /// The word that `state` shows.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Normal => "normal",
            State::Prepared => "prepared",
            State::Frozen => "frozen",
            State::Updated => "updated",
        }
    }

    /// Why it does not allow for something, and what ends it.
    pub(crate) fn forbids(self) -> &'static str {
        match self {
            State::Normal => "the state normal forbids it",
            State::Prepared => "the state prepared forbids it, until cancel",
            State::Frozen => "the state frozen forbids it: a reboot is under way",
            State::Updated => "the state updated forbids it, until finish",
        }
    }
}

/// What is written to `state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Prepare,
    Cancel,
    Finish,
}

impl Event {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Event::Prepare => "prepare",
            Event::Cancel => "cancel",
            Event::Finish => "finish",
        }
    }

    /// The event with the given word.
    ///
    /// # Errors
    ///
    /// `EINVAL` for any other word.
    pub(crate) fn from_bytes(word: &[u8]) -> Result<Event> {
        [Event::Prepare, Event::Cancel, Event::Finish]
            .into_iter()
            .find(|event| event.as_str().as_bytes() == word)
            .ok_or(EINVAL)
    }
}

/// What a domain is between kexecs: nothing is serialized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    Normal,
    /// It was handed over and not finished.
    Updated,
}

/// Where a domain is. What is undone leads back to the base, or to where the domain was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not prepared.
    Open(Base),
    /// A task is preparing it.
    Preparing(Base),
    /// Prepared by the event.
    Prepared(Base),
    /// A reboot has prepared and frozen it.
    Frozen(Base),
    /// A reboot has frozen it, and it had been prepared before.
    FrozenPrepared(Base),
}

/// What leads from one [`Status`] to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The event `prepare` begins.
    Prepare,
    /// It succeeds.
    Prepared,
    /// It fails.
    NotPrepared,
    /// The event `cancel`.
    Cancel,
    /// The event `finish`.
    Finish,
    /// reboot(KEXEC) has prepared the domain, or found it so.
    Freeze,
    /// The kexec has failed.
    Thaw,
    /// The domain is dropped, whatever it holds.
    Discard,
    /// A reboot goes on without the domain.
    Exclude,
    /// That reboot has failed.
    Include,
}

/// The status of a domain: where it is, and whether a reboot goes on without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    phase: Phase,
    excluded: bool,
}

impl Phase {
    /// The table of all transitions.
    fn after(self, step: Step) -> Result<Phase> {
        use Phase::*;

        match (self, step) {
            (Open(base), Step::Prepare) => Ok(Preparing(base)),
            (Preparing(base), Step::Prepared) => Ok(Prepared(base)),
            (Preparing(base), Step::NotPrepared) => Ok(Open(base)),
            (Prepared(base), Step::Cancel) => Ok(Open(base)),
            (Open(Base::Updated), Step::Finish) => Ok(Open(Base::Normal)),
            (Open(base), Step::Freeze) => Ok(Frozen(base)),
            (Prepared(base), Step::Freeze) => Ok(FrozenPrepared(base)),
            (Frozen(base), Step::Thaw) => Ok(Open(base)),
            (FrozenPrepared(base), Step::Thaw) => Ok(Prepared(base)),
            (_, Step::Discard) => Ok(Open(Base::Normal)),
            // Where the domain is does not matter for these, nor do they change it.
            (phase, Step::Exclude | Step::Include) => Ok(phase),
            _ => Err(EBUSY),
        }
    }
}

impl Status {
    /// That of a domain with this base, to which nothing has happened yet.
    pub(crate) fn new(base: Base) -> Self {
        Self {
            phase: Phase::Open(base),
            excluded: false,
        }
    }

    /// The status that `step` leads to.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this one forbids it.
    pub(crate) fn after(self, step: Step) -> Result<Self> {
        Ok(Self {
            phase: self.phase.after(step)?,
            excluded: match step {
                Step::Exclude => true,
                Step::Include => false,
                _ => self.excluded,
            },
        })
    }

    /// The state that a user sees. `waiting` says whether there are descriptors that were handed
    /// over: without one there is nothing for a user to finish.
    pub(crate) fn state(self, waiting: bool) -> State {
        match self.phase {
            Phase::Open(Base::Updated) | Phase::Preparing(Base::Updated) if waiting => {
                State::Updated
            }
            Phase::Open(_) | Phase::Preparing(_) => State::Normal,
            Phase::Prepared(_) => State::Prepared,
            Phase::Frozen(_) | Phase::FrozenPrepared(_) => State::Frozen,
        }
    }

    /// Whether the domain stays when it is not mounted: it has been prepared, or was handed over
    /// and not finished, with descriptors or without.
    pub(crate) fn is_kept(self) -> bool {
        !matches!(
            self.phase,
            Phase::Open(Base::Normal) | Phase::Preparing(Base::Normal)
        )
    }

    /// Whether a task is preparing the domain: nothing is added or removed meanwhile.
    pub(crate) fn is_preparing(self) -> bool {
        matches!(self.phase, Phase::Preparing(_))
    }

    /// Whether nothing is serialized, or just being so.
    pub(crate) fn is_open(self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether a reboot goes on without the domain.
    pub(crate) fn is_excluded(self) -> bool {
        self.excluded
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "state_tests.rs"]
mod tests;

// SPDX-License-Identifier: GPL-2.0-only

//! The state machine of a domain.

use kernel::prelude::*;

/// The state of a domain, by the words of LUO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Files are preserved and taken back.
    Normal,
    /// All is ready for the kexec and nothing changes any more.
    Prepared,
    /// reboot(KEXEC) has begun.
    Frozen,
    /// The domain came from the previous kernel and waits to be finished.
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

    /// The state that `event` leads to. Cancelling leads to `updated` if it was that before.
    ///
    /// # Errors
    ///
    /// `EBUSY` if this state forbids the event.
    pub(crate) fn after(self, event: Event) -> Result<State> {
        match (self, event) {
            (State::Normal | State::Updated, Event::Prepare) => Ok(State::Prepared),
            (State::Prepared, Event::Cancel) => Ok(State::Normal),
            (State::Updated, Event::Finish) => Ok(State::Normal),
            _ => Err(EBUSY),
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

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_state)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [
        State::Normal,
        State::Prepared,
        State::Frozen,
        State::Updated,
    ];
    const EVENTS: [Event; 3] = [Event::Prepare, Event::Cancel, Event::Finish];

    #[test]
    fn an_event_is_read_back() {
        for event in EVENTS {
            assert!(Event::from_bytes(event.as_str().as_bytes()) == Ok(event));
        }
    }

    #[test]
    fn another_word_is_einval() {
        for word in [
            &b""[..],
            b"Prepare",
            b"prepare ",
            b"prepared",
            b"frozen",
            b"prepare\0",
            b"prepare\n",
        ] {
            assert!(Event::from_bytes(word) == Err(EINVAL));
        }
    }

    #[test]
    fn four_events_are_legal_and_all_others_are_ebusy() {
        let mut legal = 0;

        for state in STATES {
            for event in EVENTS {
                match state.after(event) {
                    Ok(next) => {
                        assert!(next != state);
                        legal += 1;
                    }
                    Err(e) => assert!(e == EBUSY),
                }
            }
        }
        assert_eq!(legal, 4);
    }

    #[test]
    fn nothing_leaves_frozen() {
        for event in EVENTS {
            assert!(State::Frozen.after(event) == Err(EBUSY));
        }
    }
}

// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of the states.

use kernel::prelude::*;

#[kunit_tests(kexecfs_state)]
mod cases {
    use super::super::*;

    const BASES: [Base; 2] = [Base::Normal, Base::Updated];
    const PHASES: [fn(Base) -> Phase; 5] = [
        Phase::Open,
        Phase::Preparing,
        Phase::Prepared,
        Phase::Frozen,
        Phase::FrozenPrepared,
    ];
    const STEPS: [Step; 10] = [
        Step::Prepare,
        Step::Prepared,
        Step::NotPrepared,
        Step::Cancel,
        Step::Finish,
        Step::Freeze,
        Step::Thaw,
        Step::Discard,
        Step::Exclude,
        Step::Include,
    ];
    const EVENTS: [Event; 3] = [Event::Prepare, Event::Cancel, Event::Finish];

    fn status(phase: Phase, excluded: bool) -> Status {
        Status { phase, excluded }
    }

    fn for_each_status(mut each: impl FnMut(Status)) {
        for base in BASES {
            for phase in PHASES {
                each(status(phase(base), false));
                each(status(phase(base), true));
            }
        }
    }

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

    /// Where each step leads from each phase, by what a user sees: `.` is `EBUSY`, `=` the same
    /// status, `p` is preparing, and the others are the initials of the states.
    #[test]
    fn each_step_from_each_phase() {
        // In the order of STEPS: prepare, prepared, not prepared, cancel, finish, freeze, thaw,
        // discard, exclude, include.
        let table: [(Base, [&[u8; 10]; 5]); 2] = [
            (
                Base::Normal,
                [
                    b"p....F.N==",
                    b".PN....N==",
                    b"...N.F.N==",
                    b"......NN==",
                    b"......PN==",
                ],
            ),
            (
                Base::Updated,
                [
                    b"p...NF.N==",
                    b".PU....N==",
                    b"...U.F.N==",
                    b"......UN==",
                    b"......PN==",
                ],
            ),
        ];

        for (base, rows) in table {
            for (phase, row) in PHASES.into_iter().zip(rows) {
                for (step, expected) in STEPS.into_iter().zip(row) {
                    let from = status(phase(base), false);
                    let seen = match from.after(step) {
                        Err(e) if e == EBUSY => b'.',
                        Err(_) => b'?',
                        Ok(_) if matches!(step, Step::Exclude | Step::Include) => b'=',
                        Ok(next) if next.is_preparing() => b'p',
                        Ok(next) => match next.state(true) {
                            State::Normal => b'N',
                            State::Prepared => b'P',
                            State::Frozen => b'F',
                            State::Updated => b'U',
                        },
                    };

                    assert_eq!(seen, *expected);
                }
            }
        }
    }

    #[test]
    fn without_a_descriptor_updated_is_normal_and_kept() {
        for phase in [Phase::Open, Phase::Preparing] {
            for (base, waiting, state) in [
                (Base::Normal, false, State::Normal),
                (Base::Normal, true, State::Normal),
                (Base::Updated, false, State::Normal),
                (Base::Updated, true, State::Updated),
            ] {
                assert!(status(phase(base), false).state(waiting) == state);
            }
        }
        for_each_status(|status| {
            let dropped = status.state(false) == State::Normal
                && !matches!(
                    status.phase,
                    Phase::Open(Base::Updated) | Phase::Preparing(Base::Updated)
                );

            assert!(status.is_kept() != dropped);
        });
    }

    #[test]
    fn what_is_undone_leads_back() {
        let ways = [
            (&[Step::Prepare][..], Step::NotPrepared),
            (&[Step::Prepare, Step::Prepared][..], Step::Cancel),
            (&[Step::Freeze][..], Step::Thaw),
        ];

        for_each_status(|status| {
            for (there, back) in ways {
                let next = there
                    .iter()
                    .try_fold(status, |status, step| status.after(*step));

                if let Ok(next) = next {
                    assert!(next.after(back) == Ok(status));
                }
            }
        });
    }

    #[test]
    fn no_event_leaves_frozen() {
        for base in BASES {
            for phase in [Phase::Frozen(base), Phase::FrozenPrepared(base)] {
                for step in [Step::Prepare, Step::Cancel, Step::Finish] {
                    assert!(status(phase, false).after(step) == Err(EBUSY));
                }
            }
        }
    }

    #[test]
    fn a_prepare_that_ends_after_a_discard_changes_nothing() -> Result {
        for base in BASES {
            let discarded = status(Phase::Preparing(base), false).after(Step::Discard)?;

            assert!(discarded == Status::new(Base::Normal));
            assert!(discarded.after(Step::Prepared) == Err(EBUSY));
            assert!(discarded.after(Step::NotPrepared) == Err(EBUSY));
        }
        Ok(())
    }

    #[test]
    fn excluded_and_included_are_no_matter_of_the_phase() {
        for_each_status(|from| {
            assert!(from.after(Step::Exclude) == Ok(status(from.phase, true)));
            assert!(from.after(Step::Include) == Ok(status(from.phase, false)));
            for step in STEPS {
                if let Ok(next) = from.after(step) {
                    let same = next.is_excluded() == from.is_excluded();

                    assert!(same || matches!(step, Step::Exclude | Step::Include));
                }
            }
        });
    }
}

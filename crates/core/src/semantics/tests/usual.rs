//! The short way and the long way come to the same.

use super::*;
use crate::catalogue::OPTIONS;
use crate::{Mode, Phase};

const PHASES: [Phase; 9] = [
    Phase::Unbound,
    Phase::Binding,
    Phase::Bound,
    Phase::Listening,
    Phase::Connecting,
    Phase::Connected,
    Phase::Disconnected,
    Phase::KeepAliveFailed,
    Phase::Closing,
];
const MODES: [Mode; 4] = [Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict];

/// How many of the cases Miri, which is slow, goes through: one in so many.
const THIN: u32 = if cfg!(miri) { 499 } else { 1 };
/// Fewer usual ones than that would mean that the tests see nothing.
const ENOUGH: u32 = 100_000 / THIN / 2;

/// Every kind of endpoint, in every phase, with every state that matters to a usual request.
fn each(mut see: impl FnMut(&EndpointFacts, &SharedOptions, Phase)) {
    let mut number = 0_u32;
    let states = [
        after(&[]),
        after(&[(Opt::ReuseAddr, &[1, 0, 0, 0]), (Opt::RcvBuf, &[1, 0, 0, 0])]),
        after(&[(Opt::ExclusiveAddrUse, &[1, 0, 0, 0]), (Opt::Linger, &[1, 0, 5, 0])]),
        after(&[(Opt::ReuseUnicastPort, &[1, 0, 0, 0]), (Opt::KeepAlive, &[1, 0, 0, 0])]),
    ]
    .map(SharedOptions::new);
    let mut lacking = OptionSet::NONE;
    for row in OPTIONS.iter().filter(|row| row.code & 8 != 0) {
        lacking = lacking.with(row.id);
    }
    for category in [
        Category::Basic,
        Category::Listen,
        Category::Connection,
        Category::Datagram,
        Category::Stream,
    ] {
        for socket_type in [SocketType::Stream, SocketType::Dgram, SocketType::Raw] {
            for family in [Family::INET, Family::INET6, Family::ATM, Family(1)] {
                for lacks in [OptionSet::NONE, lacking] {
                    let facts = EndpointFacts {
                        category,
                        socket_type,
                        family,
                        lacks,
                        ..TCP
                    };
                    for phase in PHASES {
                        for state in &states {
                            number += 1;
                            if number.is_multiple_of(THIN) {
                                see(&facts, state, phase);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn of_sets() {
    let mut usual = 0_u32;
    each(|facts, options, phase| {
        let state = &options.load();
        for row in &OPTIONS {
            for value in [0, 1, 2, 0x0001_0000, 0x0007_0001] {
                let bytes = u32::to_le_bytes(value);
                let request = set(row.id, &bytes);
                for mode in MODES {
                    let sets = UsualSet::of(row, mode);
                    let Some(asked) = sets.value(&request) else {
                        continue;
                    };
                    assert_eq!(asked, value);
                    if let Some(commit) = sets.change(facts, options, phase, value) {
                        usual += 1;
                        let forward = Forward {
                            commit,
                            input: None,
                            violation: None,
                            observe: true,
                        };
                        let long = plan(facts, state, phase, mode, &request);
                        assert_eq!(
                            long,
                            Plan::Forward(forward),
                            "{} {facts:?} {phase:?} {mode:?}",
                            row.name
                        );
                    }
                }
            }
        }
    });
    assert!(usual > ENOUGH, "{usual}");
}

#[test]
fn of_gets() {
    let mut usual = 0_u32;
    each(|facts, options, phase| {
        let state = &options.load();
        for row in &OPTIONS {
            for room in [4, 8, 0x7FFF_FFFF] {
                let request = get(row.id, room);
                for mode in MODES {
                    if let Some(observe) = UsualGet::of(row, mode).observed(facts, options, phase, &request) {
                        usual += 1;
                        let forward = Forward {
                            commit: Change::NONE,
                            input: None,
                            violation: None,
                            observe,
                        };
                        let long = plan(facts, state, phase, mode, &request);
                        assert_eq!(
                            long,
                            Plan::Forward(forward),
                            "{} {facts:?} {phase:?} {mode:?}",
                            row.name
                        );
                    }
                }
            }
        }
    });
    assert!(usual > ENOUGH, "{usual}");
}

/// What clients do all the time is usual.
#[test]
fn common_requests_are_usual() {
    let options = SharedOptions::default();
    for (facts, option, phase) in [
        (&TCP, Opt::RcvBuf, Phase::Unbound),
        (&TCP, Opt::SndBuf, Phase::Connected),
        (&TCP, Opt::KeepAlive, Phase::Connected),
        (&TCP, Opt::ReuseAddr, Phase::Unbound),
        (&TCP, Opt::ExclusiveAddrUse, Phase::Unbound),
        (&TCP, Opt::Linger, Phase::Connected),
        (&TCP, Opt::DontLinger, Phase::Connected),
        (&UDP, Opt::Broadcast, Phase::Bound),
        (&UDP, Opt::RcvTimeo, Phase::Bound),
    ] {
        let (row, one) = (option.row(), 1_u32.to_le_bytes());
        for mode in MODES {
            let sets = UsualSet::of(row, mode);
            assert_eq!(sets.value(&set(option, &one)), Some(1), "{}", row.name);
            assert!(sets.change(facts, &options, phase, 1).is_some(), "{}", row.name);
            let widened = mode == Mode::Strict && option == Opt::KeepAlive;
            let get = UsualGet::of(row, mode).observed(facts, &options, phase, &get(option, 4));
            assert_eq!(get.is_some(), !widened, "{}", row.name);
        }
    }
}

/// Anything odd about the request itself is for the long way.
#[test]
fn odd_requests_are_not() {
    let one = 1_u32.to_le_bytes();
    let row = Opt::RcvBuf.row();
    let sets = UsualSet::of(row, Mode::Compat);
    for request in [
        Request {
            input_len: 8,
            ..set(Opt::RcvBuf, &one)
        },
        Request {
            input_len: MINUS_ONE,
            ..set(Opt::RcvBuf, &one)
        },
        Request {
            input_pointer: Pointer::Bad,
            ..set(Opt::RcvBuf, &one)
        },
        Request {
            input_pointer: Pointer::Null,
            input: &[],
            ..set(Opt::RcvBuf, &one)
        },
        set(Opt::RcvBuf, &one[..3]),
        Request {
            has_irp: false,
            ..set(Opt::RcvBuf, &one)
        },
    ] {
        assert_eq!(sets.value(&request), None, "{request:?}");
    }
    assert_eq!(
        UsualSet::of(Opt::KeepAlive.row(), Mode::Compat).value(&set(Opt::KeepAlive, &[2, 0, 0, 0])),
        None
    );
    for request in [
        Request {
            output_len: 3,
            ..get(Opt::RcvBuf, 4)
        },
        Request {
            output_len: MINUS_ONE,
            ..get(Opt::RcvBuf, 4)
        },
        Request {
            output_pointer: Pointer::Null,
            ..get(Opt::RcvBuf, 4)
        },
        Request {
            has_irp: false,
            ..get(Opt::RcvBuf, 4)
        },
    ] {
        let gets = UsualGet::of(row, Mode::Compat);
        let answer = gets.observed(&TCP, &SharedOptions::default(), Phase::Unbound, &request);
        assert_eq!(answer, None, "{request:?}");
    }
}

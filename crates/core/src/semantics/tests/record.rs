//! What the record knows by itself, and how much of an input it has to see.

use super::*;
use crate::status::nt;
use crate::{Mode, Phase};

fn lacking(facts: &EndpointFacts, option: Opt) -> Option<Answer> {
    let state = OptionState::default();
    after_failure(
        facts,
        &state,
        Phase::Bound,
        Mode::Compat,
        &get(option, 4),
        nt::NOT_SUPPORTED,
    )
}

#[test]
fn an_option_that_was_never_set_is_the_providers_to_answer() {
    for option in [Opt::KeepAlive, Opt::ReuseAddr, Opt::RcvBuf] {
        assert_eq!(lacking(&TCP, option), None, "{option:?}");
    }
    assert!(lacking(&TCP, Opt::Type).is_some());
}

#[test]
fn the_largest_datagram_depends_on_the_family() {
    let inet6 = EndpointFacts {
        family: Family::INET6,
        ..UDP
    };
    let largest = |facts| lacking(facts, Opt::MaxMsgSize).map(|answer| answer.value);
    assert_eq!(largest(&UDP), Some(Value::Number(65507)));
    assert_eq!(largest(&inet6), Some(Value::Number(65527)));
}

#[test]
fn one_option_is_read_without_the_others() {
    let shared = SharedOptions::default();
    let on = |flag| Change::fact(Op::Flag(flag, true));
    shared.commit(on(Flag::KeepAlive)).unwrap();
    assert!(shared.flag(Flag::KeepAlive) && !shared.flag(Flag::Broadcast));
    shared.commit(on(Flag::Broadcast)).unwrap();
    assert!(shared.flag(Flag::KeepAlive) && shared.flag(Flag::Broadcast));
}

#[test]
fn as_much_is_captured_as_the_decision_looks_at() {
    let set = |option: Opt, claimed| capture_len(RequestKind::Set, SOL_SOCKET, option.row().code, claimed);
    // Four bytes of a number, however many are claimed; never more than are.
    assert_eq!(
        [0, 3, 4, 5, MINUS_ONE].map(|claimed| set(Opt::RcvBuf, claimed)),
        [0, 3, 4, 4, 4]
    );
    assert_eq!([7, 8, MINUS_ONE].map(|claimed| set(Opt::PvdConfig, claimed)), [7, 8, 8]);
    // What the engine does not look at is taken whole where it fits, or not at all.
    let ioctl = |claimed| capture_len(RequestKind::Ioctl, SOL_SOCKET, 0x9800_0004, claimed);
    assert_eq!([0, 64, 65, MINUS_ONE].map(ioctl), [0, 64, 0, 0]);
    let foreign = |claimed| capture_len(RequestKind::Set, 6, 1, claimed);
    assert_eq!([4, 64, 65].map(foreign), [4, 64, 0]);
    assert_eq!(capture_len(RequestKind::Get, SOL_SOCKET, Opt::RcvBuf.row().code, 4), 0);
}

#[test]
fn options_that_a_provider_lacks_are_a_set() {
    let two = OptionSet::NONE.with(Opt::Linger).with(Opt::Debug);
    assert!(two.contains(Opt::Linger) && two.contains(Opt::Debug) && !two.contains(Opt::KeepAlive));
    assert_eq!(two.with(Opt::Debug), two);
}

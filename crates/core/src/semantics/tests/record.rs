//! What the record knows by itself, and how much of an input it has to see.

use super::*;
use crate::status::{Reason, Refusal, nt};
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

#[test]
fn a_change_that_has_happened_breaks_no_rule() {
    let op = Op::Flag(Flag::KeepAlive, true);
    assert_eq!(Change::new(op, true).as_fact(), Change::fact(op));
}

#[test]
fn what_is_of_a_connection_is_not_inherited() {
    let mut state = OptionState::default();
    for number in [Number::Error, Number::ConnectedAt] {
        state.apply(Change::fact(Op::Number(number, 7))).unwrap();
    }
    assert_eq!(inherit(&state), OptionState::default());
    state.apply(Change::fact(Op::Number(Number::RcvBuf, 7))).unwrap();
    assert_eq!(inherit(&state).number(Number::RcvBuf), Some(7));
}

/// Sets that the provider lacks.
#[test]
fn the_record_stands_in_for_sets() {
    let seconds = [1, 0, 5, 0];
    let stands_in = |facts: &EndpointFacts, option: Opt| {
        let (state, request) = (OptionState::default(), set(option, &seconds));
        after_failure(facts, &state, Phase::Unbound, Mode::Compat, &request, nt::NOT_SUPPORTED).is_some()
    };
    for option in [Opt::RcvTimeo, Opt::SndTimeo, Opt::Linger] {
        assert!(stands_in(&TCP, option), "{option:?}");
    }
    assert!(!stands_in(&TCP, Opt::Broadcast), "only a provider can do it");
    // A socket that is neither of a connection nor yet to be one has none to close.
    let basic = EndpointFacts {
        category: Category::Basic,
        ..TCP
    };
    assert!(!stands_in(&basic, Opt::Linger));
}

#[test]
fn a_set_that_changes_nothing_is_not_observed() {
    let request = set(Opt::OpenType, &[0x10, 0, 0, 0]);
    let plan = plan(&TCP, &OptionState::default(), Phase::Unbound, Mode::Compat, &request);
    let Plan::Forward(forward) = plan else {
        panic!("{plan:?}")
    };
    assert!(!forward.observe);
}

#[test]
fn a_family_that_refuses_the_option() {
    let atm = EndpointFacts {
        family: Family::ATM,
        ..TCP
    };
    let keep_alive = |facts| {
        plan(
            facts,
            &OptionState::default(),
            Phase::Unbound,
            Mode::Strict,
            &set(Opt::KeepAlive, &[1, 0, 0, 0]),
        )
    };
    assert_eq!(keep_alive(&atm), Plan::Refuse(Refusal::new(Reason::Family)));
    assert!(matches!(keep_alive(&TCP), Plan::Forward(_)));
}

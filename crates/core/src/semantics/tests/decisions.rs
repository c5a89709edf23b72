//! Decisions of the WSK path, one by one.

use super::*;
use crate::status::{Reason, Refusal, nt, wsa};
use crate::{Mode, Phase};

const TRUE: &[u8] = &[1, 0, 0, 0];
const FALSE: &[u8] = &[0; 4];

fn decide(mode: Mode, state: &OptionState, request: &Request<'_>) -> Plan {
    plan(&TCP, state, Phase::Unbound, mode, request)
}

fn forwarded(plan: Plan) -> Forward {
    match plan {
        Plan::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn refused(plan: Plan) -> Refusal {
    match plan {
        Plan::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn documented_requests_go_down_untouched_in_every_mode() {
    for mode in [Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict] {
        for option in [Opt::ReuseAddr, Opt::ExclusiveAddrUse, Opt::KeepAlive, Opt::RcvBuf] {
            let forward = forwarded(decide(mode, &OptionState::default(), &set(option, TRUE)));
            assert_eq!((forward.input, forward.violation), (None, None));
            let forward = forwarded(decide(mode, &OptionState::default(), &get(option, 4)));
            assert_eq!((forward.input, forward.violation), (None, None));
        }
    }
}

#[test]
fn lengths_by_mode() {
    let state = OptionState::default();
    // One byte: compat knows what Windows makes of it and gives the provider a ULONG; strict wants four bytes.
    let one = set(Opt::KeepAlive, &[1]);
    let forward = forwarded(decide(Mode::Compat, &state, &one));
    assert_eq!(forward.input.unwrap().as_slice(), TRUE);
    assert_eq!(forward.violation.map(|v| v.reason), Some(Reason::Length));
    assert_eq!(refused(decide(Mode::Strict, &state, &one)).wsa, wsa::EFAULT);
    // The lowest byte counts for Windows, the number for its pages.
    let high = set(Opt::KeepAlive, &[0, 1, 0, 0]);
    assert_eq!(
        forwarded(decide(Mode::Compat, &state, &high)).input.unwrap().as_slice(),
        FALSE
    );
    assert_eq!(
        forwarded(decide(Mode::Strict, &state, &high)).input.unwrap().as_slice(),
        TRUE
    );
    // Two bytes of a four-byte option are refused by Windows.
    let short = set(Opt::RcvBuf, &[1, 0]);
    assert_eq!(
        refused(decide(Mode::Compat, &state, &short)).status,
        nt::BUFFER_TOO_SMALL
    );
    forwarded(decide(Mode::Audit, &state, &short));
    // A length of -1 is an allocation that fails.
    let endless = Request {
        input_len: MINUS_ONE,
        ..set(Opt::KeepAlive, TRUE)
    };
    assert_eq!(refused(decide(Mode::Compat, &state, &endless)).wsa, wsa::ENOBUFS);
}

/// Where nothing is enforced, a value that is not all there goes down and is not remembered.
#[test]
fn half_a_value_is_not_remembered() {
    for option in [Opt::RcvBuf, Opt::Linger] {
        let half = forwarded(decide(Mode::Audit, &OptionState::default(), &set(option, &[1, 0])));
        assert_eq!(half.violation.map(|v| v.reason), Some(Reason::Length));
        assert_eq!(half.commit, Change::NONE, "{option:?}");
        let whole = forwarded(decide(Mode::Audit, &OptionState::default(), &set(option, TRUE)));
        assert_ne!(whole.commit, Change::NONE, "{option:?}");
    }
}

#[test]
fn the_exclusion_is_enforced_before_forwarding() {
    let state = after(&[(Opt::ReuseAddr, TRUE)]);
    let exclusive = set(Opt::ExclusiveAddrUse, TRUE);
    for mode in [Mode::Compat, Mode::Strict] {
        assert_eq!(
            refused(decide(mode, &state, &exclusive)).reason,
            Reason::ReuseXorExclusive
        );
        let fresh = forwarded(decide(mode, &OptionState::default(), &exclusive));
        assert!(fresh.commit.commits_before());
        // Decided on an old state, refused when it is made true.
        let shared = SharedOptions::new(state);
        assert_eq!(
            shared.commit(fresh.commit).unwrap_err().reason,
            Reason::ReuseXorExclusive
        );
    }
    let audit = forwarded(decide(Mode::Audit, &state, &exclusive));
    assert_eq!(audit.violation.map(|v| v.reason), Some(Reason::ReuseXorExclusive));
    // The provider took it: for the provider the other one is off.
    let shared = SharedOptions::new(state);
    shared.commit(audit.commit).unwrap();
    assert!(shared.load().flag(Flag::ExclusiveAddrUse) && !shared.load().flag(Flag::ReuseAddr));
}

#[test]
fn forms_are_refused_by_strict_alone() {
    let missing = Request {
        has_irp: false,
        ..set(Opt::ReuseAddr, TRUE)
    };
    let state = OptionState::default();
    assert_eq!(
        refused(decide(Mode::Strict, &state, &missing)).reason,
        Reason::IrpMissing
    );
    for mode in [Mode::Off, Mode::Audit, Mode::Compat] {
        forwarded(decide(mode, &state, &missing));
    }
    let late = plan(&TCP, &state, Phase::Bound, Mode::Strict, &set(Opt::ReuseAddr, TRUE));
    assert_eq!(refused(late).status, nt::INVALID_DEVICE_STATE);
    let category = plan(&TCP, &state, Phase::Unbound, Mode::Strict, &set(Opt::Broadcast, TRUE));
    assert_eq!(
        (refused(category).status, refused(category).wsa),
        (nt::NOT_SUPPORTED, wsa::ENOPROTOOPT)
    );
}

#[test]
fn what_the_provider_lacks_is_answered_where_the_contract_allows() {
    let state = OptionState::default();
    let lacking = |mode, facts: &EndpointFacts, request: &Request<'_>, status| {
        after_failure(facts, &state, Phase::Connected, mode, request, status)
    };
    let linger = set(Opt::Linger, &[1, 0, 5, 0]);
    let answer = lacking(Mode::Compat, &TCP, &linger, nt::NOT_SUPPORTED).unwrap();
    assert_eq!(answer.commit.op(), Op::Linger { onoff: 1, seconds: 5 });
    assert_eq!(lacking(Mode::Compat, &UDP, &linger, nt::NOT_SUPPORTED), None);
    assert_eq!(lacking(Mode::Audit, &TCP, &linger, nt::NOT_SUPPORTED), None);
    // Not a matter of the option.
    assert_eq!(lacking(Mode::Compat, &TCP, &linger, nt::INSUFFICIENT_RESOURCES), None);
    assert_eq!(
        lacking(Mode::Compat, &TCP, &set(Opt::RcvBuf, TRUE), nt::INVALID_PARAMETER),
        None
    );
    // IPv4 ignores it; IPv6 refuses it, so the provider's refusal stands.
    let route = set(Opt::DontRoute, TRUE);
    assert!(lacking(Mode::Strict, &TCP, &route, nt::NOT_IMPLEMENTED).is_some());
    let inet6 = EndpointFacts {
        family: Family::INET6,
        ..TCP
    };
    assert_eq!(lacking(Mode::Compat, &inet6, &route, nt::NOT_IMPLEMENTED), None);
    // Another amount may be granted: none.
    let buffer = lacking(Mode::Compat, &TCP, &set(Opt::SndBuf, &[0, 16, 0, 0]), nt::NOT_SUPPORTED).unwrap();
    assert_eq!(buffer.commit.op(), Op::Number(Number::SndBuf, 0));
    // Read-only ones from the record.
    let ty = lacking(Mode::Compat, &UDP, &get(Opt::Type, 4), nt::INVALID_PARAMETER).unwrap();
    assert_eq!((ty.value, ty.written), (Value::Number(2), 4));
    let mut out = [0; 4];
    assert_eq!(ty.write(&UDP, &Addresses::default(), &mut out, 0), 4);
    assert_eq!(out, [2, 0, 0, 0]);
    assert_eq!(lacking(Mode::Compat, &UDP, &get(Opt::Type, 2), nt::NOT_SUPPORTED), None);
    // What stays refused is WSAENOPROTOOPT in the audit record, under the provider's status.
    let stays = unsupported(&set(Opt::OobInline, TRUE), nt::NOT_IMPLEMENTED).unwrap();
    assert_eq!((stays.status, stays.wsa), (nt::NOT_IMPLEMENTED, wsa::ENOPROTOOPT));
    assert_eq!(unsupported(&set(Opt::RcvBuf, TRUE), nt::INVALID_PARAMETER), None);
    // Only a provider can put out-of-band data into the stream.
    assert_eq!(
        lacking(Mode::Compat, &TCP, &set(Opt::OobInline, TRUE), nt::NOT_SUPPORTED),
        None
    );
    assert!(lacking(Mode::Compat, &TCP, &set(Opt::OobInline, FALSE), nt::NOT_SUPPORTED).is_some());
}

#[test]
fn the_configuration_object() {
    let state = OptionState::default();
    let strict = EndpointConfig {
        mode: Some(Mode::Strict),
        verbose: true,
    }
    .bytes();
    let Plan::Answer(answer) = decide(Mode::Compat, &state, &set(Opt::PvdConfig, &strict)) else {
        panic!()
    };
    let shared = SharedOptions::new(state);
    shared.commit(answer.commit).unwrap();
    assert!(shared.load().verbose());
    assert_eq!(effective_mode(Mode::Audit, &shared.load()), Mode::Strict);
    // It tightens, it never loosens.
    let off = EndpointConfig {
        mode: Some(Mode::Off),
        verbose: false,
    }
    .bytes();
    shared
        .commit(Change::fact(Op::Config(EndpointConfig::parse(off).unwrap())))
        .unwrap();
    assert_eq!(effective_mode(Mode::Compat, &shared.load()), Mode::Compat);
    let Plan::Answer(answer) = decide(Mode::Compat, &shared.load(), &get(Opt::PvdConfig, 8)) else {
        panic!()
    };
    let mut out = [0; 8];
    answer.write(&TCP, &Addresses::default(), &mut out, 0);
    assert_eq!(out, off);
    // Another version, unknown bits, too short.
    for (bytes, reason) in [
        (&[2, 0, 0, 0, 0, 0, 0, 0][..], Reason::Value),
        (&[1, 0, 0, 0, 9, 0, 0, 0], Reason::Value),
        (&[1, 0, 0, 0, 0, 2, 0, 0], Reason::Value),
        (&[1, 0, 0, 0, 0, 0, 1, 0], Reason::Value),
        (&[1, 0, 0, 0], Reason::Length),
    ] {
        assert_eq!(
            refused(decide(Mode::Strict, &state, &set(Opt::PvdConfig, bytes))).reason,
            reason
        );
    }
    assert_eq!(
        refused(decide(Mode::Compat, &state, &get(Opt::PvdConfig, 4))).reason,
        Reason::Length
    );
    // Watched only, it is the provider's.
    forwarded(decide(Mode::Audit, &state, &set(Opt::PvdConfig, &strict)));
}

#[test]
fn keep_alive_failure() {
    let on = after(&[(Opt::KeepAlive, TRUE)]);
    let fail =
        |state: &OptionState, status| after_connection_failure(state, Phase::Connected, status, KEEP_ALIVE_STATUSES);
    assert_eq!(fail(&on, nt::IO_TIMEOUT), Some(Phase::KeepAliveFailed));
    assert_eq!(fail(&on, nt::CONNECTION_RESET), Some(Phase::Disconnected));
    assert_eq!(fail(&OptionState::default(), nt::IO_TIMEOUT), None);
    assert_eq!(fail(&on, nt::BUFFER_OVERFLOW), None);
    assert_eq!(
        after_connection_failure(&on, Phase::Bound, nt::IO_TIMEOUT, KEEP_ALIVE_STATUSES),
        None
    );
    // Enforced in strict alone, for every request.
    let request = Request {
        level: 6,
        code: 1,
        ..get(Opt::Type, 4)
    };
    let dead = |mode| plan(&TCP, &on, Phase::KeepAliveFailed, mode, &request);
    assert_eq!(
        (refused(dead(Mode::Strict)).status, refused(dead(Mode::Strict)).wsa),
        (nt::INVALID_CONNECTION, wsa::ENOTCONN)
    );
    forwarded(dead(Mode::Compat));
    assert_eq!(
        forwarded(dead(Mode::Audit)).violation.map(|v| v.reason),
        Some(Reason::KeepAliveFailed)
    );
}

#[test]
fn linger_decides_the_close() {
    assert_eq!(linger_at_close(&OptionState::default()), CloseAction::Plain);
    let linger = |bytes: &[u8]| linger_at_close(&after(&[(Opt::Linger, bytes)]));
    assert_eq!(linger(&[1, 0, 0, 0]), CloseAction::Abort);
    assert_eq!(linger(&[1, 0, 5, 0]), CloseAction::Graceful { seconds: 5 });
    assert_eq!(linger(&[0, 0, 5, 0]), CloseAction::Plain);
    // The time-out given with "off" was never established; one established before is reinstated.
    let state = after(&[
        (Opt::Linger, &[1, 0, 5, 0]),
        (Opt::Linger, &[0, 0, 9, 0]),
        (Opt::DontLinger, FALSE),
    ]);
    assert_eq!(linger_at_close(&state), CloseAction::Graceful { seconds: 5 });
    assert_eq!(linger_at_close(&after(&[(Opt::DontLinger, TRUE)])), CloseAction::Plain);
}

#[test]
fn strict_reads() {
    // Reading clears the error by documentation, and does not as tested.
    let mut state = after(&[(Opt::KeepAlive, TRUE)]);
    state.apply(Change::fact(Op::Number(Number::Error, 10061))).unwrap();
    let read = |mode| {
        after_failure(
            &TCP,
            &state,
            Phase::Connected,
            mode,
            &get(Opt::Error, 4),
            nt::NOT_SUPPORTED,
        )
        .unwrap()
    };
    assert_eq!(read(Mode::Strict).commit.op(), Op::Number(Number::Error, 0));
    assert_eq!(read(Mode::Compat).commit.op(), Op::None);
    // A documented get of SO_KEEPALIVE is four bytes.
    let Plan::Answer(answer) = decide(Mode::Strict, &state, &get(Opt::KeepAlive, 4)) else {
        panic!()
    };
    assert_eq!((answer.value, answer.written), (Value::Number(1), 4));
    forwarded(decide(Mode::Compat, &state, &get(Opt::KeepAlive, 4)));
}

#[test]
fn undo_does_not_bring_back_what_was_excluded_since() {
    let shared = SharedOptions::default();
    let change = |flag, on| Change::new(Op::Flag(flag, on), true);
    shared.commit(change(Flag::ReuseAddr, true)).unwrap();
    let undo = shared.commit(change(Flag::ReuseAddr, false)).unwrap();
    shared.commit(change(Flag::ExclusiveAddrUse, true)).unwrap();
    shared.undo(undo);
    assert!(shared.load().flag(Flag::ExclusiveAddrUse) && !shared.load().flag(Flag::ReuseAddr));
}

#[test]
fn the_time_of_a_connection() {
    let mut state = OptionState::default();
    let read = |facts: &EndpointFacts, state: &OptionState, phase, now| {
        let request = Request {
            now,
            ..get(Opt::ConnectTime, 4)
        };
        after_failure(facts, state, phase, Mode::Compat, &request, nt::NOT_SUPPORTED)
            .unwrap()
            .value
    };
    assert_eq!(read(&TCP, &state, Phase::Connected, 5), Value::Number(u32::MAX));
    state.apply(Change::fact(Op::Number(Number::ConnectedAt, 100))).unwrap();
    assert_eq!(read(&TCP, &state, Phase::Connected, 107), Value::Number(7));
    assert_eq!(read(&TCP, &state, Phase::Connected, 90), Value::Number(0));
    assert_eq!(read(&TCP, &state, Phase::Bound, 107), Value::Number(u32::MAX));
    assert_eq!(read(&UDP, &state, Phase::Connected, 107), Value::Number(u32::MAX));
}

#[test]
fn level_and_time_matter_only_where_they_are_asked_for() {
    let mut state = OptionState::default();
    state.apply(Change::fact(Op::Number(Number::ConnectedAt, 100))).unwrap();
    let kinds = [RequestKind::Set, RequestKind::Get, RequestKind::Ioctl];
    let codes = catalogue::OPTIONS.iter().map(|row| row.code).chain(AddressList::CODES);
    let (mut levels, mut times) = (0, 0);
    for (code, kind) in codes.flat_map(|code| kinds.map(|kind| (code, kind))) {
        for mode in [Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict] {
            let decisions = |at_dispatch, now| {
                let request = Request {
                    kind,
                    code,
                    at_dispatch,
                    now,
                    ..set(Opt::KeepAlive, TRUE)
                };
                let request = Request {
                    output_pointer: Pointer::Valid,
                    output_len: 1024,
                    ..request
                };
                let after = after_failure(&TCP, &state, Phase::Connected, mode, &request, nt::NOT_SUPPORTED);
                (
                    plan(&TCP, &state, Phase::Connected, mode, &request),
                    after.map(|answer| answer.value),
                )
            };
            let base = decisions(false, 0);
            if base != decisions(true, 0) {
                assert!(asks_irql(kind, code), "{kind:?} {code:#x} {mode:?}");
                levels += 1;
            }
            if base != decisions(false, 1000) {
                assert!(asks_time(kind, SOL_SOCKET, code), "{kind:?} {code:#x} {mode:?}");
                times += 1;
            }
        }
    }
    assert!(levels > 0 && times > 0);
}

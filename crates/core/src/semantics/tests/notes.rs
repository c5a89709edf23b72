//! What the documentation says without an exact code: rules of the vectors' layer `note`, as this engine carries them out.

use super::*;
use crate::catalogue::Kind;
use crate::status::{Reason, Refusal, wsa};
use crate::{Mode, Phase};

const TRUE: &[u8] = &[1, 0, 0, 0];

fn strict(facts: &EndpointFacts, request: &Request<'_>) -> Plan {
    plan(facts, &OptionState::default(), Phase::Unbound, Mode::Strict, request)
}

/// DR-03: `SO_DONTROUTE` of an ATM socket is an error; compat leaves the provider to say so.
#[test]
fn dontroute_on_atm() {
    const ATM: Family = Family(22);
    let atm = EndpointFacts { family: ATM, ..TCP };
    assert!(matches!(strict(&atm, &set(Opt::DontRoute, TRUE)), Plan::Refuse(_)));
    assert!(matches!(strict(&TCP, &set(Opt::DontRoute, TRUE)), Plan::Forward(_)));
}

/// RP-01: after `SO_REUSE_UNICASTPORT`, `SO_RANDOMIZE_PORT` fails.
#[test]
fn randomize_port_after_reuse_unicastport() {
    let state = after(&[(Opt::ReuseUnicastPort, TRUE)]);
    let request = set(Opt::RandomizePort, TRUE);
    let late = plan(&TCP, &state, Phase::Unbound, Mode::Strict, &request);
    assert!(matches!(late, Plan::Refuse(_)), "{late:?}");
    assert!(matches!(strict(&TCP, &request), Plan::Forward(_)));
}

/// SPISET-03: a level that no protocol has is WSAEINVAL. Below WSK only the provider knows its levels: it is left to say so.
#[test]
fn an_invalid_level() {
    let request = Request {
        level: 0x1234,
        ..set(Opt::KeepAlive, TRUE)
    };
    let socket = winsock::Socket {
        facts: &TCP,
        state: &OptionState::default(),
        phase: Phase::Unbound,
    };
    let refusal = winsock::set(Some(&socket), &request).unwrap_err();
    assert_eq!((refusal.reason, refusal.wsa), (Reason::Level, wsa::EINVAL));
    assert!(matches!(strict(&TCP, &request), Plan::Forward(_)));
}

/// WSK's own options at SOL_SOCKET: a Winsock socket does not know them.
#[test]
fn options_of_wsk_sockets_alone() {
    let socket = winsock::Socket {
        facts: &TCP,
        state: &OptionState::default(),
        phase: Phase::Unbound,
    };
    for option in [Opt::WskSecurity, Opt::WskEventCallback] {
        let refusal = winsock::set(Some(&socket), &set(option, &[0; 16])).unwrap_err();
        assert_eq!((refusal.reason, refusal.wsa), (Reason::UnknownOption, wsa::ENOPROTOOPT));
    }
}

/// SPISET-04: a set that is too short for its number or structure is WSAEFAULT, for every option that has one.
#[test]
fn a_length_that_is_too_small() {
    let mut tried = 0;
    let numbers = [Kind::Bool, Kind::Int, Kind::Linger, Kind::Struct];
    for row in catalogue::OPTIONS
        .iter()
        .filter(|row| row.settable && numbers.contains(&row.kind))
    {
        let facts = if row.types.applies(SocketType::Stream) {
            &TCP
        } else {
            &UDP
        };
        let input = vec![0; row.set_len.minimum().unwrap_or(0).saturating_sub(1)];
        let request = set(row.id, &input);
        if input.is_empty() || catalogue::option(SOL_SOCKET, row.code).is_none() {
            continue;
        }
        match strict(facts, &request) {
            // Not of this socket at all, which is looked at before.
            Plan::Refuse(refusal) if refusal.reason != Reason::Length => {}
            Plan::Refuse(refusal) => {
                assert_eq!(refusal.wsa, wsa::EFAULT, "{}", row.name);
                tried += 1;
            }
            other => panic!("{}: {} bytes: {other:?}", row.name, input.len()),
        }
    }
    assert!(tried > 10, "{tried}");
}

/// SPISET-11: `SO_SNDBUF` reads what the provider granted: it is the provider that answers.
#[test]
fn sndbuf_reads_what_was_granted() {
    for mode in [Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict] {
        let state = after(&[(Opt::SndBuf, &[0, 0, 16, 0])]);
        let read = plan(&TCP, &state, Phase::Unbound, mode, &get(Opt::SndBuf, 4));
        assert!(matches!(read, Plan::Forward(_)), "{read:?}");
    }
}

/// WK-IO-12: an ioctl's level is not looked at.
#[test]
fn the_level_of_an_ioctl() {
    const SIO_KEEPALIVE_VALS: u32 = 0x9800_0004;
    let ioctl = |level| Request {
        kind: RequestKind::Ioctl,
        level,
        code: SIO_KEEPALIVE_VALS,
        ..set(Opt::KeepAlive, TRUE)
    };
    for mode in [Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict] {
        let decide = |level| plan(&TCP, &OptionState::default(), Phase::Connected, mode, &ioctl(level));
        assert_eq!(decide(SOL_SOCKET), decide(0), "{mode:?}");
    }
}

fn by_winsock(facts: &EndpointFacts, request: &Request<'_>) -> Result<Change, Refusal> {
    let socket = winsock::Socket {
        facts,
        state: &OptionState::default(),
        phase: Phase::Connected,
    };
    winsock::set(Some(&socket), request)
}

/// [T] of `SO_TYPE` and `SO_ACCEPTCONN`, which no page says can be set; `SO_ERROR` can, although its page says that it cannot.
#[test]
fn sets_of_what_is_read_only() {
    let refusal = by_winsock(&UDP, &set(Opt::Type, TRUE)).unwrap_err();
    assert_eq!((refusal.reason, refusal.wsa), (Reason::ReadOnly, wsa::EINVAL));
    let refusal = by_winsock(&TCP, &set(Opt::Type, TRUE)).unwrap_err();
    assert_eq!((refusal.reason, refusal.wsa), (Reason::ReadOnly, wsa::ENOPROTOOPT));
    for option in [Opt::Type, Opt::AcceptConn] {
        let compat = plan(
            &TCP,
            &OptionState::default(),
            Phase::Unbound,
            Mode::Compat,
            &set(option, TRUE),
        );
        assert!(matches!(compat, Plan::Refuse(_)), "{compat:?}");
    }
    assert!(matches!(strict(&TCP, &set(Opt::Error, TRUE)), Plan::Refuse(_)));
    by_winsock(&TCP, &set(Opt::Error, TRUE)).unwrap();
}

/// Options that no socket here has.
#[test]
fn sets_of_what_is_absent() {
    let refusal = by_winsock(&TCP, &set(Opt::PvdConfig, &[0; 8])).unwrap_err();
    assert_eq!(refusal.reason, Reason::Unsupported);
    for option in [
        Opt::GroupPriority,
        Opt::GroupId,
        Opt::Timestamp,
        Opt::TimestampId,
        Opt::OriginalDst,
    ] {
        let Plan::Refuse(refusal) = strict(&TCP, &get(option, 128)) else {
            panic!("{option:?}");
        };
        assert_eq!(refusal.reason, Reason::Unsupported, "{option:?}");
    }
}

#[test]
fn contexts_of_accepted_and_connected_sockets() {
    let handle = 0x0123_4567_89AB_CDEF_u64.to_le_bytes();
    let change = by_winsock(&TCP, &set(Opt::UpdateAcceptContext, &handle)).unwrap();
    if size_of::<usize>() == 8 {
        assert_eq!(change.op(), Op::AcceptContext(0x0123_4567_89AB_CDEF));
    }
    // Nothing may be given, and then the pointer may be NULL; something needs one that is not.
    let without = |input_len| Request {
        input_pointer: Pointer::Null,
        input_len,
        input: &[],
        ..set(Opt::UpdateConnectContext, &[])
    };
    by_winsock(&TCP, &without(0)).unwrap();
    let refusal = by_winsock(&TCP, &without(4)).unwrap_err();
    assert_eq!(refusal.reason, Reason::Pointer);
}

/// The transport's options are its own to judge, up to the last that a header defines.
#[test]
fn levels_of_transports() {
    let at = |level, code| Request {
        level,
        code,
        ..set(Opt::KeepAlive, TRUE)
    };
    assert_eq!(by_winsock(&TCP, &at(6, 1)).unwrap().op(), Op::Transport);
    assert_eq!(
        by_winsock(&TCP, &at(6, 0x100)).unwrap_err().reason,
        Reason::UnknownOption
    );
    assert_eq!(by_winsock(&TCP, &at(7, 1)).unwrap_err().reason, Reason::Level);
}

/// `SIO_KEEPALIVE_VALS` takes a `tcp_keepalive`, and no byte less.
#[test]
fn keep_alive_values_are_twelve_bytes() {
    let socket = winsock::Socket {
        facts: &TCP,
        state: &OptionState::default(),
        phase: Phase::Connected,
    };
    let of = |input_len| {
        let request = Request {
            kind: RequestKind::Ioctl,
            code: 0x9800_0004,
            input_len,
            ..set(Opt::KeepAlive, TRUE)
        };
        winsock::ioctl(Some(&socket), &request).map_err(|refusal| refusal.reason)
    };
    assert_eq!(of(11), Err(Reason::Length));
    assert_eq!(of(12), Ok(Change::NONE));
}

/// A longer number is cut to the four bytes that count.
#[test]
fn long_numbers_are_normalised() {
    let request = set(Opt::RcvBuf, &[0, 0, 1, 0, 9, 9, 9, 9]);
    match plan(&TCP, &OptionState::default(), Phase::Unbound, Mode::Compat, &request) {
        Plan::Forward(forward) => assert_eq!(forward.input.unwrap().as_slice(), [0, 0, 1, 0]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_decision_looks_at() {
    const QUERY: u32 = 0x4800_0016;
    const CONNECT_TIME: u32 = 0x700C;
    assert!(asks_irql(RequestKind::Ioctl, QUERY));
    assert!(
        !asks_irql(RequestKind::Ioctl, 1) && !asks_irql(RequestKind::Set, QUERY) && !asks_irql(RequestKind::Get, 1)
    );
    assert!(asks_time(RequestKind::Get, SOL_SOCKET, CONNECT_TIME));
    assert!(!asks_time(RequestKind::Set, SOL_SOCKET, CONNECT_TIME));
    assert!(!asks_time(RequestKind::Get, 6, CONNECT_TIME));
    assert!(!asks_time(RequestKind::Get, SOL_SOCKET, 1));
    assert!(!asks_time(RequestKind::Set, 6, 1));
    // An IOCTL's input is captured whole, whatever its level says.
    let ioctl = Opt::RegisterExtension.row().code;
    for level in [0, SOL_SOCKET] {
        assert_eq!(capture_len(RequestKind::Ioctl, level, ioctl, 64), 64);
    }
}

#[test]
fn largest_messages() {
    let v6 = EndpointFacts {
        family: Family::INET6,
        ..UDP
    };
    assert_eq!([&TCP, &UDP, &v6].map(answer::max_message), [0, 65507, 65527]);
}

/// `SO_WSK_EVENT_CALLBACK`: which events may be disabled, and where.
#[test]
fn events_are_disabled_one_at_a_time() {
    const DISABLE: u32 = 0x8000_0000;
    const RECEIVE: u32 = 0x40;
    const ACCEPT: u32 = 0x1;
    let word = |category, static_events, mask: u32| {
        let mut input = vec![0; size_of::<usize>()];
        input.extend(mask.to_le_bytes());
        input.resize(2 * size_of::<usize>(), 0);
        let facts = EndpointFacts {
            category,
            static_events,
            ..TCP
        };
        let broken = wsk_form(&facts, Phase::Connected, &set(Opt::WskEventCallback, &input));
        broken.and_then(|refusal| violation_word(refusal.reason))
    };
    let connection = |static_events, mask| word(Category::Connection, static_events, mask);
    assert_eq!(connection(0, RECEIVE | 0x80), None);
    assert_eq!(connection(RECEIVE, RECEIVE), None);
    assert_eq!(connection(0, DISABLE | RECEIVE), None);
    assert_eq!(connection(0, DISABLE), None);
    assert_eq!(connection(0, DISABLE | RECEIVE | 0x80), Some("event_disable_several"));
    assert_eq!(connection(RECEIVE, DISABLE | RECEIVE), Some("event_disable_static"));
    assert_eq!(connection(0x80, DISABLE | RECEIVE), None);
    assert_eq!(
        word(Category::Listen, 0, DISABLE | RECEIVE),
        Some("event_disable_on_listener")
    );
    assert_eq!(word(Category::Listen, 0, DISABLE | ACCEPT), None);
    let set_only = Request {
        level: SOL_SOCKET,
        ..get(Opt::WskEventCallback, 16)
    };
    let broken = wsk_form(&TCP, Phase::Connected, &set_only).unwrap();
    assert_eq!(violation_word(broken.reason), Some("no_get_form"));
}

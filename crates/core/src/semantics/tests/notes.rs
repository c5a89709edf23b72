//! What the documentation says without an exact code: rules of the vectors' layer `note`, as this engine carries them out.

use super::*;
use crate::catalogue::Kind;
use crate::status::{Reason, wsa};
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

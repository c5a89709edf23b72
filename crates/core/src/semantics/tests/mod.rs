//! The engine: properties over random requests, and the decisions that no conformance vector reaches.

mod decisions;
mod notes;
mod properties;
mod record;
mod usual;

use super::*;
use crate::catalogue::{self, Opt, OptionSet};
use crate::{Category, Family, RequestKind, SOL_SOCKET, SocketType};

/// A connection socket over TCP and IPv4.
const TCP: EndpointFacts = EndpointFacts {
    category: Category::Connection,
    socket_type: SocketType::Stream,
    family: Family::INET,
    protocol: 6,
    static_events: 0,
    lacks: OptionSet::NONE,
};

/// A datagram socket over UDP and IPv4.
const UDP: EndpointFacts = EndpointFacts {
    category: Category::Datagram,
    socket_type: SocketType::Dgram,
    protocol: 17,
    ..TCP
};

/// A set as a WSK client makes it, with an IRP.
fn set(option: Opt, input: &[u8]) -> Request<'_> {
    let code = option.row().code;
    let captured = capture_len(RequestKind::Set, SOL_SOCKET, code, input.len());
    Request {
        kind: RequestKind::Set,
        level: SOL_SOCKET,
        code,
        input_pointer: Pointer::Valid,
        input_len: input.len(),
        input: &input[..captured],
        output_pointer: Pointer::Null,
        output_len: 0,
        has_irp: true,
        wants_size: false,
        at_dispatch: false,
        now: 0,
    }
}

/// A get as a WSK client makes it, with an IRP.
fn get(option: Opt, capacity: usize) -> Request<'static> {
    Request {
        kind: RequestKind::Get,
        input_pointer: Pointer::Null,
        input_len: 0,
        input: &[],
        output_pointer: Pointer::Valid,
        output_len: capacity,
        ..set(option, &[])
    }
}

/// A state after these sets, as a Winsock caller makes them on a fresh TCP socket.
fn after(sets: &[(Opt, &[u8])]) -> OptionState {
    let mut state = OptionState::default();
    for (option, input) in sets {
        let socket = winsock::Socket {
            facts: &TCP,
            state: &state,
            phase: crate::Phase::Unbound,
        };
        let change = winsock::set(Some(&socket), &set(*option, input)).unwrap();
        state.apply(change).unwrap();
    }
    state
}

#[test]
fn every_row_has_a_place_in_the_record_or_is_derived() {
    // A flag or a number is never claimed by two options.
    let mut flags = Vec::new();
    for row in &catalogue::OPTIONS {
        if let Some(flag) = Flag::of(row.id) {
            assert!(!flags.contains(&flag));
            flags.push(flag);
        }
        assert!(Flag::of(row.id).is_none() || Number::of(row.id).is_none());
    }
    assert_eq!(flags.len(), 13);
}

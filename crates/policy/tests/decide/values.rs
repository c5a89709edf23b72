//! The numbers that rules compare: what is on record, and what is asked for.

use wskguard_core::decide::Done;
use wskguard_core::semantics::Flag;

use super::*;

fn asked(code: u32, input: &[u8]) -> Option<u64> {
    fresh(&policy(""), &set(code, input)).asked
}

fn old(code: u32, ops: &[Op]) -> Option<u64> {
    on(&policy(""), &state(ops), &get(code)).old
}

#[test]
fn a_boolean_is_true_whatever_turned_it_on() {
    // The socket layer reads up to four bytes.
    for (input, value) in [
        (&[0][..], 0),
        (&[2], 1),
        (&[0, 0, 0, 0], 0),
        (&[0, 0, 0, 1], 1),
        (&[0, 0, 0, 0, 1], 0),
        // Succeeds, and what it sets is not known: a rule against TRUE has to count on it.
        (&[], 1),
    ] {
        assert_eq!(asked(SO_REUSEADDR, input), Some(value), "{input:?}");
    }
    // The transport reads one byte, and its documented contract the number.
    for (input, tested, documented) in [
        (&[0][..], Some(0), Some(0)),
        (&[255], Some(1), Some(1)),
        (&[0, 1, 1, 1], Some(0), Some(1)),
        (&[1, 0, 0, 0], Some(1), Some(1)),
        (&[], None, None),
    ] {
        assert_eq!(asked(SO_KEEPALIVE, input), tested, "{input:?}");
        let strict = fresh(&policy("semantics = 'strict'"), &set(SO_KEEPALIVE, input)).asked;
        assert_eq!(strict, documented, "{input:?}");
    }
    // Others are what there is of them.
    for (input, value) in [
        (&[1][..], Some(1)),
        (&[0, 0, 0, 4], Some(1)),
        (&[0; 4], Some(0)),
        (&[], None),
    ] {
        assert_eq!(asked(SO_DEBUG, input), value, "{input:?}");
    }
}

#[test]
fn a_number_is_its_four_bytes() {
    assert_eq!(asked(SO_RCVBUF, &0x8000_0001_u32.to_le_bytes()), Some(0x8000_0001));
    assert_eq!(asked(SO_RCVBUF, &[1, 2, 3]), None);
    assert_eq!(asked(SO_RCVBUF, &[1, 0, 0, 0, 9, 9, 9, 9]), Some(1));
    // l_onoff is the low half of SO_LINGER, l_linger the high one.
    assert_eq!(asked(SO_LINGER, &[1, 0, 5, 0]), Some(0x0005_0001));
    // A structure is no number.
    assert_eq!(asked(PVD_CONFIG, &[1, 0, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn an_option_outside_the_catalogue_is_a_number_at_four_bytes_exactly() {
    let asked = |input| fresh(&policy(""), &request(RequestKind::Set, IPPROTO_TCP, 1, input)).asked;
    assert_eq!(asked(&[1, 0, 0, 0]), Some(1));
    assert_eq!(asked(&[1, 0, 0]), None);
    assert_eq!(asked(&[1, 0, 0, 0, 0]), None);
    // Eight bytes claimed, four captured: still eight.
    let claimed = Request {
        input_len: 8,
        ..request(RequestKind::Set, IPPROTO_TCP, 1, &[1, 0, 0, 0])
    };
    assert_eq!(fresh(&policy(""), &claimed).asked, None);
}

#[test]
fn the_value_on_record() {
    assert_eq!(old(SO_KEEPALIVE, &[]), Some(0));
    assert_eq!(old(SO_KEEPALIVE, &[Op::Flag(Flag::KeepAlive, true)]), Some(1));
    assert_eq!(old(SO_RCVBUF, &[]), None, "the provider's default is not known");
    assert_eq!(old(SO_RCVBUF, &[rcvbuf(77)]), Some(77));
    let linger = Op::Linger { onoff: 1, seconds: 5 };
    assert_eq!(old(SO_LINGER, &[linger]), Some(0x0005_0001));
    assert_eq!(old(SO_DONTLINGER, &[linger]), Some(0));
    assert_eq!(old(SO_DONTLINGER, &[]), Some(1));
    assert_eq!(old(0x1008, &[]), None, "SO_TYPE is not kept");
    assert_eq!(old(0x7777, &[]), None);
}

#[test]
fn a_rule_can_ask_for_the_value_on_record() {
    let bytes = policy(
        "[[rule]]\nname = 'once-on-stays-on'\nrequest = 'set'\noption = 'SO_KEEPALIVE'\nold = 1\nnew = 0\naction = 'deny'",
    );
    let on_record = state(&[Op::Flag(Flag::KeepAlive, true)]);
    assert_eq!(on(&bytes, &on_record, &set(SO_KEEPALIVE, &[0; 4])).done, Done::Denied);
    assert_eq!(on(&bytes, &on_record, &set(SO_KEEPALIVE, TRUE)).done, Done::Forwarded);
    assert_eq!(fresh(&bytes, &set(SO_KEEPALIVE, &[0; 4])).done, Done::Forwarded);
}

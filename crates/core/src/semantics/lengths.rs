//! Lengths and values: what Windows was tested to do (classes A to D, \[T\] `test_optsize`) and what is documented. Any IRQL.

use super::request::{MINUS_ONE, Request};
use crate::catalogue::{Class, Row};
use crate::status::{Reason, Refusal, wsa};

/// Whose length and value rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contract {
    /// What Windows does.
    Tested,
    /// What its pages say: a buffer of the option's full size, and any nonzero value is TRUE.
    Documented,
}

/// A Winsock length is an int: what does not fit is negative.
const fn negative(len: usize) -> bool {
    len > 0x7FFF_FFFF
}

/// Whether the claimed input length will do.
pub(super) fn check_input(contract: Contract, row: &Row, len: usize) -> Result<(), Refusal> {
    let short = Err(Refusal::new(Reason::Length));
    let minimum = row.set_len.minimum().unwrap_or(0);
    match (contract, row.class) {
        (Contract::Tested, Class::A) | (_, Class::Opaque) => Ok(()),
        (Contract::Tested, Class::B) if len == 0 => short,
        // A transport boolean of length -1 is an allocation of 4 GiB, which fails.
        (Contract::Tested, Class::B) if negative(len) => Err(Refusal::with(Reason::Resources, wsa::ENOBUFS)),
        (Contract::Tested, Class::B) => Ok(()),
        (Contract::Tested, Class::C | Class::D | Class::Thread) if len < 4 => short,
        (Contract::Tested, Class::C | Class::D | Class::Thread) => Ok(()),
        _ if len < minimum || negative(len) => short,
        _ => Ok(()),
    }
}

/// The boolean in the captured input. `None` where there is no byte to read: a class A set of length 0 succeeds, and what it sets
/// is not known.
pub(super) fn boolean(contract: Contract, class: Class, request: &Request<'_>) -> Option<bool> {
    match (contract, class) {
        (_, _) if request.input.is_empty() => None,
        (Contract::Tested, Class::B) => request.input.first().map(|&byte| byte != 0),
        _ => Some(request.u32_at(0) != 0),
    }
}

/// What a get gives back: bytes written, and the length reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) written: usize,
    pub(super) size: usize,
}

/// A get that fails for its length: zeroed bytes, and the length if it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) zeroed: usize,
    pub(super) size: Option<usize>,
}

/// What a get of a value of `needed` bytes does with a buffer of `capacity` bytes.
pub(super) fn output(contract: Contract, class: Class, capacity: usize, needed: usize) -> Result<Extent, Short> {
    const UNTOUCHED: Short = Short { zeroed: 0, size: None };
    let whole = Extent {
        written: needed,
        size: needed,
    };
    if class == Class::Thread && capacity == MINUS_ONE {
        return Ok(whole);
    }
    let usable = if negative(capacity) { 0 } else { capacity };
    match (contract, class) {
        (Contract::Tested, Class::A) => match usable {
            0 => Err(UNTOUCHED),
            1..=3 => Ok(Extent {
                written: usable,
                size: 1,
            }),
            _ => Ok(whole),
        },
        (Contract::Tested, Class::B) if usable >= 1 => Ok(Extent { written: 1, size: 1 }),
        (Contract::Tested, Class::B) => Err(UNTOUCHED),
        (_, Class::C) if usable < needed => Err(Short {
            zeroed: usable,
            size: None,
        }),
        // The structures whose page says that the length comes back as what is needed; too long a buffer keeps its length.
        (_, Class::Sized) if usable < needed => Err(Short {
            zeroed: 0,
            size: Some(needed),
        }),
        (_, Class::Sized) => Ok(Extent {
            written: needed,
            size: usable,
        }),
        _ if usable < needed => Err(UNTOUCHED),
        _ => Ok(whole),
    }
}

//! The usual request: of the option's size, in a valid buffer, with an IRP, by an endpoint for which and at a time at which no rule is
//! broken, whatever the mode. A compile-time table says which those are, so that one comparison decides it; every other request goes
//! through [`super::judge`]. That both come to the same is a property that is tested. Any IRQL.

use super::change::{Change, Op};
use super::form;
use super::judge;
use super::request::{EndpointFacts, Pointer, Request};
use super::state::{Flag, Number, OptionState};
use crate::catalogue::{Class, Families, Kind, OPTIONS, Opt, Row, Size, Support};
use crate::{Category, Family, Mode, Phase, SocketType};

/// Where the value of an option is on record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored {
    Nowhere,
    Flag(Flag),
    Number(Number),
    Linger,
    DontLinger,
}

impl Stored {
    const fn of(option: Opt) -> Self {
        match (option, Flag::of(option), Number::of(option)) {
            (Opt::Linger, ..) => Self::Linger,
            (Opt::DontLinger, ..) => Self::DontLinger,
            (_, Some(flag), _) => Self::Flag(flag),
            (_, None, Some(number)) => Self::Number(number),
            (_, None, None) => Self::Nowhere,
        }
    }

    /// The number on record.
    #[inline]
    pub(crate) fn value(self, state: &OptionState) -> Option<u64> {
        let (onoff, seconds) = state.linger();
        match self {
            Self::Flag(flag) => Some(u64::from(state.flag(flag))),
            Self::Number(number) => state.number(number).map(u64::from),
            Self::Linger => Some(u64::from(onoff) | u64::from(seconds) << 16),
            Self::DontLinger => Some(u64::from(onoff == 0)),
            Self::Nowhere => None,
        }
    }
}

/// A set of endpoints: bits for category, type, family and phase.
#[derive(Clone, Copy)]
struct Endpoints(u32);

impl Endpoints {
    const NONE: Self = Self(0);
    const TYPES: u32 = 5;
    const FAMILIES: u32 = 8;
    const PHASES: u32 = 11;

    const fn category(category: Category) -> u32 {
        1_u32.wrapping_shl(category as u32)
    }

    const fn socket_type(socket_type: SocketType) -> u32 {
        1_u32.wrapping_shl(Self::TYPES.wrapping_add(socket_type as u32).wrapping_sub(1))
    }

    /// Families other than these two share a bit, which no set has.
    const fn family(family: Family) -> u32 {
        1_u32.wrapping_shl(match family {
            Family::INET => Self::FAMILIES,
            Family::INET6 => Self::FAMILIES.wrapping_add(1),
            _ => Self::FAMILIES.wrapping_add(2),
        })
    }

    const fn phase(phase: Phase) -> u32 {
        1_u32.wrapping_shl(Self::PHASES.wrapping_add(phase as u32))
    }

    #[inline]
    const fn contains(self, facts: &EndpointFacts, phase: Phase) -> bool {
        let one = Self::category(facts.category)
            | Self::socket_type(facts.socket_type)
            | Self::family(facts.family)
            | Self::phase(phase);
        one & !self.0 == 0
    }

    /// Those whose gets, or sets, of this option break no rule.
    const fn of(row: &Row, set: bool) -> Self {
        const TYPES: [SocketType; 3] = [SocketType::Stream, SocketType::Dgram, SocketType::Raw];
        let mut bits = Self::families(row);
        let mut types: &[SocketType] = &TYPES;
        while let [first, rest @ ..] = types {
            if row.types.applies(*first) {
                bits |= Self::socket_type(*first);
            }
            types = rest;
        }
        let mut categories: &[Category] = &CATEGORIES;
        while let [first, rest @ ..] = categories {
            if Self::is_for(row, *first, set) {
                bits |= Self::category(*first);
            }
            categories = rest;
        }
        let mut phases: &[Phase] = &PHASES;
        while let [first, rest @ ..] = phases {
            if Self::is_time(row, *first, set) {
                bits |= Self::phase(*first);
            }
            phases = rest;
        }
        Self(bits)
    }

    const fn families(row: &Row) -> u32 {
        match row.families {
            Families::All | Families::NotAtm | Families::AtmIgnores => {
                Self::family(Family::INET) | Self::family(Family::INET6)
            }
            Families::InetOnly => Self::family(Family::INET),
            Families::NotTcpIp => 0,
        }
    }

    const fn is_for(row: &Row, category: Category, set: bool) -> bool {
        let linger = matches!(row.id, Opt::Linger | Opt::DontLinger);
        let connects = matches!(category, Category::Connection | Category::Listen | Category::Stream);
        let documented = !matches!(row.wsk.support, Support::Undocumented | Support::NotApplicable);
        (!documented || row.wsk.categories.applies(category)) && (set || connects || !linger)
    }

    /// Whether the phase is right, for endpoints of any category.
    const fn is_time(row: &Row, phase: Phase, set: bool) -> bool {
        let dead = matches!(phase, Phase::KeepAliveFailed);
        let documented = !matches!(row.wsk.support, Support::Undocumented | Support::NotApplicable);
        let mut right = !dead && (!set || judge::untimely(row.id, phase, true).is_none());
        let mut categories: &[Category] = &CATEGORIES;
        while let [first, rest @ ..] = categories {
            right = right && (!set || !documented || form::timely(row, *first, phase));
            categories = rest;
        }
        right
    }
}

const CATEGORIES: [Category; 5] = [
    Category::Basic,
    Category::Listen,
    Category::Connection,
    Category::Datagram,
    Category::Stream,
];

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

/// What the usual requests for one option do.
#[derive(Clone, Copy)]
pub(crate) struct Usual {
    pub(crate) stored: Stored,
    /// The usual value is 0 or 1.
    boolean: bool,
    /// The record can answer a get, whether there was a set or not.
    known: bool,
    /// In the strict mode a get may be answered with more bytes than the provider gives.
    widened: bool,
    /// Values on record beside which TRUE is not usual.
    excludes: u64,
    sets: Endpoints,
    gets: Endpoints,
}

/// In the order of [`Opt`].
static TABLE: [Usual; OPTIONS.len()] = {
    let mut table = [Usual::NONE; OPTIONS.len()];
    let mut all: &[Row] = &OPTIONS;
    let mut slots: &mut [Usual] = &mut table;
    while let ([row, rows @ ..], [slot, rest @ ..]) = (all, slots) {
        *slot = Usual::new(row);
        all = rows;
        slots = rest;
    }
    table
};

impl Usual {
    const NONE: Self = Self {
        stored: Stored::Nowhere,
        boolean: false,
        known: false,
        widened: false,
        excludes: 0,
        sets: Endpoints::NONE,
        gets: Endpoints::NONE,
    };

    const fn new(row: &Row) -> Self {
        let stored = Stored::of(row.id);
        let boolean = matches!(stored, Stored::Flag(_) | Stored::DontLinger);
        let number = matches!(
            (stored, row.kind),
            (Stored::Number(_), Kind::Int) | (Stored::Linger, Kind::Linger)
        );
        let four = matches!(row.set_len, Size::Bytes(4)) && matches!(row.get_len, Size::Bytes(1 | 4));
        let sized = matches!(row.class, Class::A | Class::B | Class::C | Class::D | Class::Dword);
        if !(boolean || number) || !four || !sized || !row.settable || !row.gettable {
            return Self { stored, ..Self::NONE };
        }
        // What a page says is read only.
        let sets = if matches!(row.id, Opt::Error) {
            Endpoints::NONE
        } else {
            Endpoints::of(row, true)
        };
        Self {
            stored,
            boolean,
            known: super::plan::is_known(row.id),
            widened: matches!(row.class, Class::B),
            excludes: match stored {
                Stored::Flag(flag) => flag.unusual_beside(),
                _ => 0,
            },
            sets,
            gets: Endpoints::of(row, false),
        }
    }

    /// Of what is not in the catalogue.
    pub(crate) const FOREIGN: &'static Self = &Self::NONE;

    /// Of this option.
    #[inline]
    pub(crate) fn of(row: &Row) -> &'static Self {
        // One for each row.
        TABLE.get(row.id as usize).unwrap_or(Self::FOREIGN)
    }

    /// The value of a set in the usual form, as rules and the record see it.
    #[inline]
    pub(crate) fn plain(&self, request: &Request<'_>) -> Option<u32> {
        let value = u32::from_le_bytes(*<&[u8; 4]>::try_from(request.input).ok()?);
        let usual = request.input_len == 4
            && request.input_pointer == Pointer::Valid
            && self.sets.0 != 0
            && (value <= 1 || !self.boolean);
        usual.then_some(value)
    }

    /// What a set of this value changes; `None` where it is not a usual one. The value is in the usual form, and there is an IRP.
    #[inline]
    pub(crate) fn set(
        &self,
        row: &Row,
        facts: &EndpointFacts,
        state: &OptionState,
        phase: Phase,
        mode: Mode,
        value: u32,
    ) -> Option<Change> {
        let on = value != 0;
        if !self.sets.contains(facts, phase)
            || facts.lacks.contains(row.id)
            || self.boolean && value > 1
            || on && state.coupled.0 & self.excludes != 0
        {
            return None;
        }
        let op = match self.stored {
            Stored::Flag(flag) => Op::Flag(flag, on),
            Stored::Number(number) => Op::Number(number, value),
            Stored::Linger => {
                let [on0, on1, s0, s1] = value.to_le_bytes();
                Op::Linger {
                    onoff: u16::from_le_bytes([on0, on1]),
                    seconds: u16::from_le_bytes([s0, s1]),
                }
            }
            Stored::DontLinger => Op::DontLinger(on),
            Stored::Nowhere => return None,
        };
        Some(Change {
            op,
            enforce: mode >= Mode::Compat,
        })
    }

    /// Whether the completion of a get matters; `None` where it is not a usual one.
    #[inline]
    pub(crate) fn get(
        &self,
        row: &Row,
        facts: &EndpointFacts,
        state: &OptionState,
        phase: Phase,
        mode: Mode,
        request: &Request<'_>,
    ) -> Option<bool> {
        const ROOM: core::ops::RangeInclusive<usize> = 4..=0x7FFF_FFFF;
        if !request.has_irp
            || request.output_pointer != Pointer::Valid
            || !ROOM.contains(&request.output_len)
            || !self.gets.contains(facts, phase)
            || facts.lacks.contains(row.id)
            || self.widened && mode == Mode::Strict
        {
            return None;
        }
        let given = match self.stored {
            Stored::Flag(flag) => state.given(flag),
            Stored::Number(number) => state.number(number).is_some(),
            Stored::Linger | Stored::DontLinger if state.given(Flag::Linger) => return None,
            _ => false,
        };
        Some(mode >= Mode::Compat && (self.known || given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is made while compiling, by a walk over two slices at once: each option must have met its own row.
    #[test]
    fn each_option_has_its_own_row() {
        let seen = |usual: &Usual| {
            let Usual {
                stored,
                boolean,
                known,
                widened,
                excludes,
                sets,
                gets,
            } = *usual;
            (format!("{stored:?}"), boolean, known, widened, excludes, sets.0, gets.0)
        };
        for row in &OPTIONS {
            assert_eq!(seen(Usual::of(row)), seen(&Usual::new(row)), "{}", row.name);
        }
        assert!(OPTIONS.iter().any(|row| Usual::of(row).sets.0 != 0));
    }
}

//! The usual request: of the option's size, in a valid buffer, with an IRP, by an endpoint for which and at a time at which no rule is
//! broken. Which those are follows from the option's row and the mode alone, so it is worked out in advance, and a few comparisons
//! decide it; every other request goes through [`super::judge`]. That both come to the same is a property that is tested. Any IRQL.

use super::change::{Change, Op};
use super::form;
use super::judge;
use super::request::{EndpointFacts, Pointer, Request};
use super::shared::SharedOptions;
use super::state::{Coupled, Flag, Number, OptionState};
use crate::catalogue::{Class, Families, Kind, Opt, Row, Size, Support};
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
    pub(crate) const fn of(option: Opt) -> Self {
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
    pub(crate) fn value(self, options: &SharedOptions) -> Option<u64> {
        self.read(options.coupled(), |number| options.number(number))
    }

    /// The number on record at one moment.
    pub(crate) fn value_in(self, state: &OptionState) -> Option<u64> {
        self.read(state.coupled, |number| state.number(number))
    }

    #[inline]
    fn read(self, coupled: Coupled, number_of: impl FnOnce(Number) -> Option<u32>) -> Option<u64> {
        let (onoff, seconds) = coupled.linger();
        match self {
            Self::Flag(flag) => Some(u64::from(coupled.get(flag))),
            Self::Number(number) => number_of(number).map(u64::from),
            Self::Linger => Some(u64::from(onoff) | u64::from(seconds) << 16),
            Self::DontLinger => Some(u64::from(onoff == 0)),
            Self::Nowhere => None,
        }
    }

    /// The change that a set to this value makes.
    #[inline]
    fn change(self, value: u32) -> Op {
        match self {
            Self::Flag(flag) => Op::Flag(flag, value != 0),
            Self::Number(number) => Op::Number(number, value),
            Self::Linger => {
                let [on0, on1, s0, s1] = value.to_le_bytes();
                Op::Linger {
                    onoff: u16::from_le_bytes([on0, on1]),
                    seconds: u16::from_le_bytes([s0, s1]),
                }
            }
            Self::DontLinger => Op::DontLinger(value != 0),
            Self::Nowhere => Op::None,
        }
    }
}

/// A set of endpoints: bits for category, type, family and phase.
#[derive(Clone, Copy, Debug)]
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

/// What is usual of an option, whatever the mode; `None` where nothing is.
struct Form {
    stored: Stored,
    boolean: bool,
}

impl Form {
    const fn of(row: &Row) -> Option<Self> {
        let stored = Stored::of(row.id);
        let boolean = matches!(stored, Stored::Flag(_) | Stored::DontLinger);
        let number = matches!(
            (stored, row.kind),
            (Stored::Number(_), Kind::Int) | (Stored::Linger, Kind::Linger)
        );
        let four = matches!(row.set_len, Size::Bytes(4)) && matches!(row.get_len, Size::Bytes(1 | 4));
        let sized = matches!(row.class, Class::A | Class::B | Class::C | Class::D | Class::Dword);
        if (boolean || number) && four && sized && row.settable && row.gettable {
            Some(Self { stored, boolean })
        } else {
            None
        }
    }
}

/// The usual sets of one option in one mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsualSet {
    pub(crate) option: Opt,
    pub(crate) stored: Stored,
    /// The greatest usual value: 1 of a boolean.
    most: u32,
    endpoints: Endpoints,
    /// Values on record beside which TRUE is not usual.
    excludes: u64,
    enforce: bool,
}

impl UsualSet {
    /// No set is usual.
    pub(crate) const NONE: Self = Self {
        option: Opt::Error,
        stored: Stored::Nowhere,
        most: 0,
        endpoints: Endpoints::NONE,
        excludes: 0,
        enforce: false,
    };

    /// Those of the option in `row`.
    pub(crate) const fn of(row: &Row, mode: Mode) -> Self {
        // What a page says is read only.
        let (false, Some(Form { stored, boolean })) = (matches!(row.id, Opt::Error), Form::of(row)) else {
            return Self::NONE;
        };
        Self {
            option: row.id,
            stored,
            most: if boolean { 1 } else { u32::MAX },
            endpoints: Endpoints::of(row, true),
            excludes: match stored {
                Stored::Flag(flag) => flag.unusual_beside(),
                _ => 0,
            },
            enforce: matches!(mode, Mode::Compat | Mode::Strict),
        }
    }

    /// The value that a request asks for, if it has the usual form.
    #[inline]
    pub(crate) fn value(&self, request: &Request<'_>) -> Option<u32> {
        let value = u32::from_le_bytes(*<&[u8; 4]>::try_from(request.input).ok()?);
        let usual =
            request.input_len == 4 && request.input_pointer == Pointer::Valid && request.has_irp && value <= self.most;
        usual.then_some(value)
    }

    /// What a set to this value, asked for or a rule's instead, changes; `None` where it is not a usual one.
    #[inline]
    pub(crate) fn change(
        &self,
        facts: &EndpointFacts,
        options: &SharedOptions,
        phase: Phase,
        value: u32,
    ) -> Option<Change> {
        if !self.endpoints.contains(facts, phase)
            || facts.lacks.contains(self.option)
            || value > self.most
            || value != 0 && options.coupled().0 & self.excludes != 0
        {
            return None;
        }
        Some(Change::new(self.stored.change(value), self.enforce))
    }
}

/// The usual gets of one option in one mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsualGet {
    pub(crate) option: Opt,
    pub(crate) stored: Stored,
    endpoints: Endpoints,
    /// Whether the completion matters: where there was no set, and where there was. `None`: then it is not usual.
    observe: [Option<bool>; 2],
}

impl UsualGet {
    /// No get is usual.
    pub(crate) const NONE: Self = Self {
        option: Opt::Error,
        stored: Stored::Nowhere,
        endpoints: Endpoints::NONE,
        observe: [None; 2],
    };

    /// Those of the option in `row`.
    pub(crate) const fn of(row: &Row, mode: Mode) -> Self {
        // In the strict mode some gets may be answered with more bytes than the provider gives.
        let widened = matches!(row.class, Class::B) && matches!(mode, Mode::Strict);
        let (false, Some(Form { stored, .. })) = (widened, Form::of(row)) else {
            return Self::NONE;
        };
        // The record can answer in the provider's place: what it was told, and some options whether it was told or not.
        let answers = matches!(mode, Mode::Compat | Mode::Strict);
        Self {
            option: row.id,
            stored,
            endpoints: Endpoints::of(row, false),
            observe: [
                Some(answers && super::plan::is_known(row.id)),
                match stored {
                    Stored::Linger | Stored::DontLinger => None,
                    _ => Some(answers),
                },
            ],
        }
    }

    /// Whether the completion of a get matters; `None` where it is not a usual one.
    #[inline]
    pub(crate) fn observed(
        &self,
        facts: &EndpointFacts,
        options: &SharedOptions,
        phase: Phase,
        request: &Request<'_>,
    ) -> Option<bool> {
        const ROOM: core::ops::RangeInclusive<usize> = 4..=0x7FFF_FFFF;
        if !request.has_irp
            || request.output_pointer != Pointer::Valid
            || !ROOM.contains(&request.output_len)
            || !self.endpoints.contains(facts, phase)
            || facts.lacks.contains(self.option)
        {
            return None;
        }
        let given = match self.stored {
            Stored::Flag(flag) => options.coupled().given(flag),
            Stored::Number(number) => options.number(number).is_some(),
            Stored::Linger | Stored::DontLinger => options.coupled().given(Flag::Linger),
            Stored::Nowhere => false,
        };
        let [before, after] = self.observe;
        if given { after } else { before }
    }
}

//! What a decision does to the record, and how it is taken back. Plain data, any IRQL.

use super::config::EndpointConfig;
use super::state::{Flag, Number};

/// What a decision does to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing.
    None,
    /// A boolean.
    Flag(Flag, bool),
    /// `SO_LINGER`.
    Linger {
        /// `l_onoff`, stored raw.
        onoff: u16,
        /// `l_linger`, seconds.
        seconds: u16,
    },
    /// `SO_DONTLINGER`.
    DontLinger(bool),
    /// A number.
    Number(Number, u32),
    /// `PVD_CONFIG`.
    Config(EndpointConfig),
    /// `SO_OPENTYPE` of the calling thread; not part of the endpoint.
    OpenType(u32),
    /// `SO_UPDATE_ACCEPT_CONTEXT`: take over from this listening `SOCKET`. Winsock only.
    AcceptContext(u64),
    /// The transport's own; the record knows nothing of it.
    Transport,
}

/// A change of the record: an operation, and how it is meant. The operation is kept in parts, none of which shares its place with
/// another's: a change is handed on many times, and copies of [`Op`] would wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    kind: Kind,
    /// Refuse to break a coupling. Otherwise the change reports what the provider did: the record follows it.
    pub enforce: bool,
    flag: Flag,
    number: Number,
    value: u64,
}

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    None,
    Flag,
    Linger,
    DontLinger,
    Number,
    Config,
    OpenType,
    AcceptContext,
    Transport,
}

impl Change {
    /// No change.
    pub const NONE: Self = Self::new(Op::None, false);

    /// What `op` says, and whether it is to refuse to break a coupling.
    #[must_use]
    #[inline]
    pub const fn new(op: Op, enforce: bool) -> Self {
        let none = Self {
            kind: Kind::None,
            enforce,
            flag: Flag::Broadcast,
            number: Number::RcvBuf,
            value: 0,
        };
        match op {
            Op::None => none,
            Op::Flag(flag, on) => Self {
                kind: Kind::Flag,
                flag,
                value: on as u64,
                ..none
            },
            Op::Linger { onoff, seconds } => Self {
                kind: Kind::Linger,
                value: onoff as u64 | (seconds as u64) << 16,
                ..none
            },
            Op::DontLinger(dont) => Self {
                kind: Kind::DontLinger,
                value: dont as u64,
                ..none
            },
            Op::Number(number, value) => Self {
                kind: Kind::Number,
                number,
                value: value as u64,
                ..none
            },
            Op::Config(config) => {
                let (mode, flags) = config.parts();
                Self {
                    kind: Kind::Config,
                    value: mode as u64 | (flags as u64) << 8,
                    ..none
                }
            }
            Op::OpenType(value) => Self {
                kind: Kind::OpenType,
                value: value as u64,
                ..none
            },
            Op::AcceptContext(socket) => Self {
                kind: Kind::AcceptContext,
                value: socket,
                ..none
            },
            Op::Transport => Self {
                kind: Kind::Transport,
                ..none
            },
        }
    }

    /// A change that has happened already.
    #[must_use]
    #[inline]
    pub const fn fact(op: Op) -> Self {
        Self::new(op, false)
    }

    /// The same, as one that has happened already.
    #[must_use]
    #[inline]
    pub const fn as_fact(self) -> Self {
        Self { enforce: false, ..self }
    }

    /// What.
    #[must_use]
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the parts of the value are what is wanted"
    )]
    pub const fn op(self) -> Op {
        let value = self.value;
        match self.kind {
            Kind::None => Op::None,
            Kind::Flag => Op::Flag(self.flag, value != 0),
            Kind::Linger => Op::Linger {
                onoff: value as u16,
                seconds: (value >> 16) as u16,
            },
            Kind::DontLinger => Op::DontLinger(value != 0),
            Kind::Number => Op::Number(self.number, value as u32),
            // Made of parts that have a meaning.
            Kind::Config => Op::Config(match EndpointConfig::from_parts(value as u8, (value >> 8) as u8) {
                Some(config) => config,
                None => EndpointConfig::DEFAULT,
            }),
            Kind::OpenType => Op::OpenType(value as u32),
            Kind::AcceptContext => Op::AcceptContext(value),
            Kind::Transport => Op::Transport,
        }
    }

    /// Whether it must be committed before the request is forwarded, since another request may exclude it.
    #[must_use]
    #[inline]
    pub const fn commits_before(self) -> bool {
        self.enforce && matches!(self.kind, Kind::Flag) && self.flag.excludes().is_some()
    }
}

/// How to take a change back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Nothing to take back.
    None,
    /// Bits of the coupled word.
    Coupled {
        /// The bits.
        mask: u64,
        /// Before.
        old: u64,
        /// After.
        new: u64,
    },
    /// A number.
    Number {
        /// Which.
        number: Number,
        /// Before.
        old: u32,
        /// After.
        new: u32,
        /// It had been set before.
        given: bool,
    },
    /// `PVD_CONFIG`.
    Config {
        /// Before.
        old: EndpointConfig,
        /// After.
        new: EndpointConfig,
    },
}

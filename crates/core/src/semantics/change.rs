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

/// A change of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub op: Op,
    /// Refuse to break a coupling. Otherwise the change reports what the provider did: the record follows it.
    pub enforce: bool,
}

impl Change {
    /// No change.
    pub const NONE: Self = Self {
        op: Op::None,
        enforce: false,
    };

    /// A change that has happened already.
    #[must_use]
    pub const fn fact(op: Op) -> Self {
        Self { op, enforce: false }
    }

    /// Whether it must be committed before the request is forwarded, since another request may exclude it.
    #[must_use]
    pub const fn commits_before(self) -> bool {
        self.enforce && matches!(self.op, Op::Flag(flag, _) if flag.excludes().is_some())
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

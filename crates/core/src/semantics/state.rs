//! The options of one endpoint, and how they change. Plain data, any IRQL.
//!
//! # Invariants
//! `SO_REUSEADDR` and `SO_EXCLUSIVEADDRUSE` are never both TRUE; `SO_DONTLINGER` is not stored: it is `l_onoff == 0`.

use super::change::{Change, Op, Undo};
use super::config::EndpointConfig;
use crate::catalogue::{Inherits, Opt};
use crate::status::{Reason, Refusal};

/// A boolean option that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named like its option")]
pub enum Flag {
    Broadcast,
    Debug,
    DontRoute,
    KeepAlive,
    OobInline,
    ReuseAddr,
    ExclusiveAddrUse,
    ConditionalAccept,
    PauseAccept,
    RandomizePort,
    PortScalability,
    ReuseUnicastPort,
    ReuseMulticastPort,
    /// Not a value: whether the client ever set `SO_LINGER` or `SO_DONTLINGER`.
    Linger,
}

impl Flag {
    /// The flag that stores `option`.
    #[must_use]
    pub const fn of(option: Opt) -> Option<Self> {
        Some(match option {
            Opt::Broadcast => Self::Broadcast,
            Opt::Debug => Self::Debug,
            Opt::DontRoute => Self::DontRoute,
            Opt::KeepAlive => Self::KeepAlive,
            Opt::OobInline => Self::OobInline,
            Opt::ReuseAddr => Self::ReuseAddr,
            Opt::ExclusiveAddrUse => Self::ExclusiveAddrUse,
            Opt::ConditionalAccept => Self::ConditionalAccept,
            Opt::PauseAccept => Self::PauseAccept,
            Opt::RandomizePort => Self::RandomizePort,
            Opt::PortScalability => Self::PortScalability,
            Opt::ReuseUnicastPort => Self::ReuseUnicastPort,
            Opt::ReuseMulticastPort => Self::ReuseMulticastPort,
            _ => return None,
        })
    }

    /// The flag that must be FALSE for this one to be TRUE. \[T\]: TRUE against TRUE is WSAEINVAL, either order.
    #[must_use]
    pub const fn excludes(self) -> Option<Self> {
        match self {
            Self::ReuseAddr => Some(Self::ExclusiveAddrUse),
            Self::ExclusiveAddrUse => Some(Self::ReuseAddr),
            _ => None,
        }
    }

    /// Values beside which it is not turned on without a look at the rules.
    pub(super) const fn unusual_beside(self) -> u64 {
        match (self, self.excludes()) {
            (_, Some(other)) => other.value_bit(),
            // [SOL] fails after SO_REUSE_UNICASTPORT.
            (Self::RandomizePort, None) => Self::ReuseUnicastPort.value_bit(),
            _ => 0,
        }
    }

    const fn value_bit(self) -> u64 {
        1 << self as u8
    }

    const fn given_bit(self) -> u64 {
        1 << 16 << self as u8
    }
}

/// A number that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Number {
    /// `SO_RCVBUF`, bytes.
    RcvBuf,
    /// `SO_SNDBUF`, bytes.
    SndBuf,
    /// `SO_RCVTIMEO`, milliseconds.
    RcvTimeo,
    /// `SO_SNDTIMEO`, milliseconds.
    SndTimeo,
    /// `SO_ERROR`, a Winsock error.
    Error,
    /// Second in which the connection came about, of the clock of [`super::Request::now`].
    ConnectedAt,
    /// `SO_COMPARTMENT_ID`.
    Compartment,
}

impl Number {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// The number that stores `option`.
    #[must_use]
    pub const fn of(option: Opt) -> Option<Self> {
        Some(match option {
            Opt::RcvBuf => Self::RcvBuf,
            Opt::SndBuf => Self::SndBuf,
            Opt::RcvTimeo => Self::RcvTimeo,
            Opt::SndTimeo => Self::SndTimeo,
            Opt::Error => Self::Error,
            Opt::CompartmentId => Self::Compartment,
            _ => return None,
        })
    }

    pub(super) const fn given_bit(self) -> u32 {
        1 << self as u8
    }
}

/// Booleans and the linger structure, in one word, since they are coupled: values (16 bits), set by the client (16),
/// `l_onoff` (16), `l_linger` (16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Coupled(pub(super) u64);

impl Coupled {
    const LINGER: u64 = 0xFFFF_FFFF_0000_0000;

    pub(super) const fn get(self, flag: Flag) -> bool {
        self.0 & flag.value_bit() != 0
    }

    pub(super) const fn given(self, flag: Flag) -> bool {
        self.0 & flag.given_bit() != 0
    }

    /// Whether the invariant does not hold.
    pub(super) const fn broken(self) -> bool {
        self.get(Flag::ReuseAddr) && self.get(Flag::ExclusiveAddrUse)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the halves of the word are what is wanted"
    )]
    pub(super) const fn linger(self) -> (u16, u16) {
        ((self.0 >> 32) as u16, (self.0 >> 48) as u16)
    }

    const fn with_linger(self, onoff: u16, seconds: u16) -> Self {
        let bits = (onoff as u64) << 32 | (seconds as u64) << 48;
        Self(self.0 & !Self::LINGER | bits | Flag::Linger.given_bit())
    }

    /// The word after `change`, with the bits that belong to it; `None` where the change is not this word's.
    #[inline]
    pub(super) fn after(self, change: Change) -> Option<Result<(Self, u64), Refusal>> {
        Some(match change.op() {
            Op::Flag(flag, on) => self.with_flag(flag, on, change.enforce),
            Op::Linger { onoff, seconds } => {
                Ok((self.lingering(onoff, seconds), Self::LINGER | Flag::Linger.given_bit()))
            }
            Op::DontLinger(dont) => Ok((self.dont_linger(dont), Self::LINGER | Flag::Linger.given_bit())),
            _ => return None,
        })
    }

    fn with_flag(self, flag: Flag, on: bool, enforce: bool) -> Result<(Self, u64), Refusal> {
        let own = flag.value_bit() | flag.given_bit();
        let (mut word, mut mask) = (self.0 & !flag.value_bit() | flag.given_bit(), own);
        if on {
            word |= flag.value_bit();
            if let Some(other) = flag.excludes().filter(|&other| self.get(other)) {
                if enforce {
                    return Err(Refusal::new(Reason::ReuseXorExclusive));
                }
                // The provider took it, so for the provider the other one is off.
                word &= !other.value_bit();
                mask |= other.value_bit();
            }
        }
        Ok((Self(word), mask))
    }

    /// SO_LINGER. A time-out given together with "off" is not an established one \[SPI: "by enabling SO_LINGER"\].
    const fn lingering(self, onoff: u16, seconds: u16) -> Self {
        let (_, established) = self.linger();
        self.with_linger(onoff, if onoff == 0 { established } else { seconds })
    }

    /// SO_DONTLINGER FALSE reinstates the time-out established before \[SPI\]; on a fresh socket that is 0 (a choice).
    const fn dont_linger(self, dont: bool) -> Self {
        match self.linger() {
            (_, established) if dont => self.with_linger(0, established),
            (0, established) => self.with_linger(1, established),
            (onoff, established) => self.with_linger(onoff, established),
        }
    }
}

/// The options of one endpoint at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionState {
    pub(super) coupled: Coupled,
    pub(super) numbers: [u32; Number::COUNT],
    pub(super) given: u8,
    pub(super) config: (u8, u8),
}

/// Hot part of every endpoint's record.
const _: () = assert!(size_of::<OptionState>() <= 48);

impl Default for OptionState {
    fn default() -> Self {
        Self {
            coupled: Coupled(0),
            numbers: [0; Number::COUNT],
            given: 0,
            config: EndpointConfig::DEFAULT.parts(),
        }
    }
}

impl OptionState {
    /// Value of a boolean.
    #[must_use]
    pub const fn flag(&self, flag: Flag) -> bool {
        self.coupled.get(flag)
    }

    /// Whether a boolean was ever set, by the client or for it.
    #[must_use]
    pub const fn given(&self, flag: Flag) -> bool {
        self.coupled.given(flag)
    }

    /// `l_onoff` and `l_linger` (seconds), as stored.
    #[must_use]
    pub const fn linger(&self) -> (u16, u16) {
        self.coupled.linger()
    }

    /// Value of a number; `None` if it was never set.
    #[must_use]
    #[inline]
    pub fn number(&self, number: Number) -> Option<u32> {
        let set = u32::from(self.given) & number.given_bit() != 0;
        self.numbers.get(number as usize).copied().filter(|_| set)
    }

    /// The `PVD_CONFIG` object.
    #[must_use]
    #[inline]
    pub fn config(&self) -> EndpointConfig {
        if self.config == const { EndpointConfig::DEFAULT.parts() } {
            return EndpointConfig::DEFAULT;
        }
        EndpointConfig::from_parts(self.config.0, self.config.1).unwrap_or(EndpointConfig::DEFAULT)
    }

    /// Whether every request of this endpoint is audited: `SO_DEBUG`, or the `PVD_CONFIG` object.
    #[must_use]
    #[inline]
    pub fn verbose(&self) -> bool {
        self.flag(Flag::Debug) || self.config().verbose
    }

    /// Applies `change`, or refuses it and changes nothing.
    ///
    /// # Errors
    /// [`Reason::ReuseXorExclusive`] where the change enforces the coupling.
    pub fn apply(&mut self, change: Change) -> Result<Undo, Refusal> {
        if let Some(after) = self.coupled.after(change) {
            let (new, mask) = after?;
            let old = core::mem::replace(&mut self.coupled, new);
            return Ok(Undo::Coupled {
                mask,
                old: old.0,
                new: new.0,
            });
        }
        match change.op() {
            Op::Number(number, new) => {
                let given = self.number(number).is_some();
                let mut old = 0;
                if let Some(slot) = self.numbers.get_mut(number as usize) {
                    old = core::mem::replace(slot, new);
                }
                self.given |= 1 << number as u8;
                Ok(Undo::Number {
                    number,
                    old,
                    new,
                    given,
                })
            }
            Op::Config(new) => {
                let old = self.config();
                self.config = new.parts();
                Ok(Undo::Config { old, new })
            }
            _ => Ok(Undo::None),
        }
    }
}

/// What an accepted socket starts with. Tested: `SO_REUSEADDR`, `SO_KEEPALIVE`, `SO_OOBINLINE`, `SO_LINGER`, buffers and time-outs;
/// what was not tested follows the general rule \[SPI accept page: "the same properties"\]. States and `SO_CONDITIONAL_ACCEPT` do not.
#[must_use]
pub fn inherit(listener: &OptionState) -> OptionState {
    OptionState {
        coupled: Coupled(listener.coupled.0 & (INHERITED_FLAGS | Coupled::LINGER)),
        numbers: core::array::from_fn(|i| {
            let kept = INHERITED_NUMBERS & 1 << i != 0;
            listener.numbers.get(i).copied().filter(|_| kept).unwrap_or(0)
        }),
        given: listener.given & INHERITED_NUMBERS,
        config: listener.config,
    }
}

/// Value and given bits of the booleans that the catalogue does not exempt.
const INHERITED_FLAGS: u64 = {
    let mut bits = Flag::Linger.given_bit();
    let mut rest: &[crate::catalogue::Row] = &crate::catalogue::OPTIONS;
    while let [row, tail @ ..] = rest {
        if let Some(flag) = Flag::of(row.id)
            && !matches!(row.inherits, Inherits::No)
        {
            bits |= flag.value_bit() | flag.given_bit();
        }
        rest = tail;
    }
    bits
};

/// The numbers that the catalogue does not exempt.
const INHERITED_NUMBERS: u8 = {
    let mut bits = 0;
    let mut rest: &[crate::catalogue::Row] = &crate::catalogue::OPTIONS;
    while let [row, tail @ ..] = rest {
        if let Some(number) = Number::of(row.id)
            && !matches!(row.inherits, Inherits::No)
        {
            bits |= 1 << number as u8;
        }
        rest = tail;
    }
    bits
};

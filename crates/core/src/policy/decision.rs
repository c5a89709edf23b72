//! What a policy can say about a request, and how a value changes by it. Plain data, any IRQL.

use super::input::Verbosity;
use super::layout::MapEntry;
use crate::NtStatus;

/// Which rule decided: its index, or the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RuleRef(pub u32);

impl RuleRef {
    /// No rule matched.
    pub const DEFAULT: Self = Self(u32::MAX);

    /// Place of its hit counter among `rules` + 1, the default's being the last.
    #[must_use]
    pub const fn counter(self, rules: usize) -> usize {
        if self.0 == u32::MAX { rules } else { self.0 as usize }
    }
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Forward.
    Allow,
    /// Complete with this status (an error), do not forward.
    Deny(NtStatus),
    /// Complete with `STATUS_SUCCESS`, do not forward.
    Succeed,
    /// Move the value into a range.
    Clamp {
        /// Lowest.
        min: u32,
        /// Highest.
        max: u32,
    },
    /// Replace the value, even one that is not a number.
    Force(u32),
    /// Replace the values listed.
    Rewrite(Rewrite<'a>),
    /// Set `SO_EXCLUSIVEADDRUSE`, then bind.
    Exclusive,
}

/// Values and what replaces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<'a>(pub(super) &'a [MapEntry]);

impl<'a> Rewrite<'a> {
    /// What replaces `value`, if anything.
    #[must_use]
    pub fn get(self, value: u64) -> Option<u32> {
        let place = self.0.partition_point(|entry| entry.from.high.get() < value);
        self.0
            .get(place)
            .filter(|entry| entry.from.low.get() <= value)
            .map(|entry| entry.to.get())
    }

    /// The map, ascending.
    #[must_use]
    pub fn entries(self) -> &'a [MapEntry] {
        self.0
    }
}

impl Action<'_> {
    /// The value to go on with instead of `value` (`None`: not a number). What is given to the provider on a set, to the client on a get.
    #[must_use]
    pub fn apply(self, value: Option<u64>) -> Option<u64> {
        match (self, value) {
            (Self::Force(forced), _) => Some(u64::from(forced)),
            (Self::Clamp { min, max }, Some(value)) => Some(value.max(u64::from(min)).min(u64::from(max))),
            (Self::Rewrite(map), Some(value)) => Some(map.get(value).map_or(value, u64::from)),
            _ => value,
        }
    }

    /// Whether the request is completed without the provider.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Deny(_) | Self::Succeed)
    }

    /// Whether the value may be changed.
    #[must_use]
    pub const fn is_substitution(self) -> bool {
        matches!(self, Self::Clamp { .. } | Self::Force(_) | Self::Rewrite(_))
    }
}

/// What [`Image::evaluate`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The rule that decided.
    pub rule: RuleRef,
    /// What it says.
    pub action: Action<'a>,
    /// Whether that is carried out; if not, forward and record.
    pub enforce: bool,
    /// Record the values and the outcome too.
    pub verbose: bool,
    pub(super) verbosity: Verbosity,
}

impl Decision<'_> {
    /// Whether to record it, given whether the action changes (or, not enforced, would change) anything.
    #[must_use]
    pub const fn records(&self, changes: bool) -> bool {
        self.verbose
            || match self.verbosity {
                Verbosity::Marked => false,
                Verbosity::Changes => changes,
                Verbosity::All => true,
            }
    }
}

/// What a policy needs to see of the requests for one option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Some rule, or the default, may do more than allow: evaluate.
    pub decide: bool,
    /// The completion must be seen.
    pub complete: bool,
}

/// An option to set before the client gets its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialOption {
    /// Which `[[initial]]`.
    pub index: usize,
    /// Level.
    pub level: u32,
    /// Option.
    pub code: u32,
    /// Value, for a 4-byte input.
    pub value: u32,
}

/// What of a request a rule can be at odds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Kind of request.
    Request,
    /// Level or option.
    Option,
    /// Category.
    Category,
    /// Address class of a bind.
    Address,
    /// Sharing options at a bind.
    Sharing,
    /// A condition, `FIELD_*`.
    Condition(u8),
}

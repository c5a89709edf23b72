//! A policy as data: between the text and the image, and the same from either side.

use wskguard_core::policy::{Settings, layout};

use crate::ranges::Ranges;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Name.
    pub name: String,
    /// Description; may be empty.
    pub description: String,
    /// What it says as a whole.
    pub settings: Settings,
    /// Statuses that count as a keep-alive failure.
    pub keepalive: Vec<u32>,
    /// Initial options: rules for no request, which force the value of one option.
    pub initial: Vec<Rule>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
}

impl Default for Policy {
    /// What a text says that states nothing.
    fn default() -> Self {
        /// `STATUS_IO_TIMEOUT`.
        const IO_TIMEOUT: u32 = 0xC000_00B5;
        Self {
            name: String::new(),
            description: String::new(),
            settings: Settings {
                linger_max: 5,
                ..Settings::default()
            },
            keepalive: vec![IO_TIMEOUT],
            initial: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// A rule. Sets of words are masks, as in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// Description; may be empty.
    pub description: String,
    /// Request kinds.
    pub requests: u8,
    /// Which options.
    pub scope: Scope,
    /// Categories.
    pub categories: u8,
    /// Address classes of a bind.
    pub addresses: u8,
    /// Sharing options of a bind.
    pub sharing: u8,
    /// What else must hold: (`FIELD_*`, members), ascending by field.
    pub conditions: Vec<(u8, Members)>,
    /// What it does.
    pub action: Action,
    /// Whether it is recorded verbosely.
    pub audit: bool,
}

impl Default for Rule {
    /// Allows everything.
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            requests: layout::ALL_REQUESTS,
            scope: Scope::Any,
            categories: layout::ALL_CATEGORIES,
            addresses: layout::ALL_ADDRESSES,
            sharing: layout::ALL_SHARING,
            conditions: Vec::new(),
            action: Action::Allow,
            audit: false,
        }
    }
}

/// Which options or ioctls a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All.
    Any,
    /// All of a level.
    Level(u32),
    /// One option.
    Option {
        /// Level.
        level: u32,
        /// Option.
        code: u32,
    },
    /// One ioctl.
    Ioctl(u32),
}

/// What a condition allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Numbers.
    Ranges(Ranges),
    /// Clients or processes.
    Principals(Vec<Principal>),
}

/// A client or process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// File name of the image, lower case.
    Image(String),
    /// NPI module id, as it lies in memory.
    Module([u8; 16]),
    /// Process id.
    Pid(u64),
    /// No owning process.
    NoProcess,
    /// Some owning process.
    AnyProcess,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward.
    Allow,
    /// Refuse with a status.
    Deny(u32),
    /// Complete successfully, do not forward.
    Succeed,
    /// Move the value into a range.
    Clamp(u32, u32),
    /// Replace the value.
    Force(u32),
    /// Replace the values listed: ((low, high), replacement), ascending and disjoint.
    Rewrite(Vec<((u64, u64), u32)>),
    /// Set `SO_EXCLUSIVEADDRUSE`, then bind.
    Exclusive,
}

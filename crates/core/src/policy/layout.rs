//! The binary image of a policy, version 1: a header and eight sections, one behind the other, little-endian, without padding.
//!
//! ```text
//! Header | Slot… | run entries u32… | RuleRecord… | initial RuleRecord… | Condition… | Range… | Pattern… | MapEntry… | UTF-8 text
//! ```
//!
//! Sections have counts, not offsets, so they can neither overlap nor leave a gap. Within a section every [`Span`] begins where the
//! one before it ended (in the order in which the records name them), so no two records share an entry and validation is one pass.
//! Reserved bytes are zero. All types are unaligned: an image may lie anywhere.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"WSKGPOL\0";
/// The version of the image format.
pub const VERSION: u32 = 1;
/// The largest image, bytes.
pub const MAX_IMAGE: usize = 8 << 20;
/// The most rules.
pub const MAX_RULES: usize = 65_536;
/// The most initial options.
pub const MAX_INITIAL: usize = 64;
/// The most keep-alive failure statuses.
pub const MAX_KEEPALIVE_STATUSES: usize = 16;
/// The longest search in the index, slots.
pub const MAX_PROBES: u32 = 64;
/// The most slots: twice the keys that [`MAX_RULES`] rules can have (one for set and one for get each).
pub const MAX_SLOTS: usize = 1 << 18;
/// The longest name of a rule or policy, bytes.
pub const MAX_NAME: usize = 128;
/// The longest description, bytes.
pub const MAX_DESCRIPTION: usize = 4096;

/// Bytes of the header that [`Header::hash`] does not cover: up to and including itself.
pub const HASHED_FROM: usize = 24;

/// `count` entries of a section from `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Span {
    /// Index of the first.
    pub start: U32,
    /// How many.
    pub count: U32,
}

/// A list of rules, by index, ascending, and what it takes to apply them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Run {
    /// The entries.
    pub entries: Span,
    /// Categories (bits) some rule of the list is for.
    pub decide: u8,
    /// Categories for which the completion must be seen.
    pub complete: u8,
    /// Categories for which a rule reads what earlier sets left on record.
    pub tracks: u8,
    /// Zero.
    pub reserved: u8,
}

/// The head of an image.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// Bytes of the whole image.
    pub size: U32,
    /// FNV-1a of every byte behind this field.
    pub hash: U64,
    /// [`super::PolicyMode`].
    pub mode: u8,
    /// [`crate::Mode`].
    pub semantics: u8,
    /// [`super::Fallback`].
    pub default: u8,
    /// [`super::Verbosity`].
    pub verbosity: u8,
    /// Longest graceful close, seconds.
    pub linger_max: U32,
    /// Keep-alive failure statuses, among the ranges.
    pub keepalive: Span,
    /// Name, in the text.
    pub name: Span,
    /// Description, in the text.
    pub description: Span,
    /// For each request kind, the rules that name neither option nor level.
    pub any: [Run; 4],
    /// Seed of the index.
    pub seed: U64,
    /// Longest search in the index, slots.
    pub probes: U32,
    /// Entries of each section, in order.
    pub counts: Counts,
}

/// Entries of each section; bytes for the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Counts {
    /// [`Slot`]; 0 or a power of two.
    pub slots: U32,
    /// `u32` rule indices.
    pub entries: U32,
    /// [`RuleRecord`].
    pub rules: U32,
    /// [`RuleRecord`] of `[[initial]]`.
    pub initial: U32,
    /// [`Condition`].
    pub conditions: U32,
    /// [`Range`].
    pub ranges: U32,
    /// [`Pattern`].
    pub patterns: U32,
    /// [`MapEntry`].
    pub map: U32,
    /// Bytes.
    pub text: U32,
}

/// One place of the index: open addressing, linear probing from [`super::slot_home`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Slot {
    /// [`SCOPE_EXACT`] or [`SCOPE_LEVEL`]; 0 (and all else zero) is a free slot.
    pub scope: u8,
    /// [`crate::RequestKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Level; 0 for an ioctl.
    pub level: U32,
    /// Option or ioctl; 0 for a whole level.
    pub code: U32,
    /// The rules.
    pub run: Run,
}

/// The rule names neither option nor level.
pub const SCOPE_ANY: u8 = 0;
/// The rule is for one option or ioctl.
pub const SCOPE_EXACT: u8 = 1;
/// The rule is for every option of a level.
pub const SCOPE_LEVEL: u8 = 2;

/// A rule, or an initial option (whose `requests` is 0 and whose action is force).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RuleRecord {
    /// Request kinds, bits.
    pub requests: u8,
    /// Categories, bits.
    pub categories: u8,
    /// Address classes of a bind, bits.
    pub addresses: u8,
    /// Sharing of a bind, bits.
    pub sharing: u8,
    /// `SCOPE_*`.
    pub scope: u8,
    /// `ACTION_*`.
    pub action: u8,
    /// [`FLAG_AUDIT`].
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// Level, where the scope has one.
    pub level: U32,
    /// Option or ioctl, where the scope has one.
    pub code: U32,
    /// Status, minimum, value, or first map entry, by the action.
    pub first: U32,
    /// Maximum, or count of map entries, by the action.
    pub second: U32,
    /// What else must hold.
    pub conditions: Span,
    /// Name, in the text.
    pub name: Span,
    /// Description, in the text.
    pub description: Span,
}

/// All request kinds.
pub const ALL_REQUESTS: u8 = 0b1111;
/// All categories.
pub const ALL_CATEGORIES: u8 = 0b1_1111;
/// All address classes.
pub const ALL_ADDRESSES: u8 = 0b111;
/// All sharing states.
pub const ALL_SHARING: u8 = 0b111;

/// Neither sharing option is set.
pub const SHARING_DEFAULT: u8 = 1;
/// `SO_REUSEADDR` is set.
pub const SHARING_REUSE: u8 = 2;
/// `SO_EXCLUSIVEADDRUSE` is set.
pub const SHARING_EXCLUSIVE: u8 = 4;

/// Record what this rule decides, and the outcome.
pub const FLAG_AUDIT: u8 = 1;

/// Forward.
pub const ACTION_ALLOW: u8 = 1;
/// Refuse with the status in `first`.
pub const ACTION_DENY: u8 = 2;
/// Move into `first`..=`second`.
pub const ACTION_CLAMP: u8 = 3;
/// Replace by `first`.
pub const ACTION_FORCE: u8 = 4;
/// Replace by the map of `second` entries from `first`.
pub const ACTION_REWRITE: u8 = 5;
/// Complete successfully, do not forward.
pub const ACTION_SUCCEED: u8 = 6;
/// Set `SO_EXCLUSIVEADDRUSE`, then bind.
pub const ACTION_EXCLUSIVE: u8 = 7;

/// One more thing that must hold. The conditions of a rule have ascending fields, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Condition {
    /// `FIELD_*`.
    pub field: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Members, among the ranges or (client, process) the patterns; at least one.
    pub members: Span,
}

/// The value asked for: ranges.
pub const FIELD_NEW: u8 = 1;
/// The value on record: ranges.
pub const FIELD_OLD: u8 = 2;
/// The port of a bind: ranges.
pub const FIELD_PORT: u8 = 3;
/// The address family: ranges.
pub const FIELD_FAMILY: u8 = 4;
/// The protocol: ranges.
pub const FIELD_PROTOCOL: u8 = 5;
/// The client driver: patterns.
pub const FIELD_CLIENT: u8 = 6;
/// The owning process: patterns.
pub const FIELD_PROCESS: u8 = 7;

/// The numbers from `low` to `high`, both included. Those of one condition are ascending and disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Range {
    /// Lowest.
    pub low: U64,
    /// Highest.
    pub high: U64,
}

/// A client or process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Pattern {
    /// `PATTERN_*`.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Hash of the image name, or the process id.
    pub number: U64,
    /// Image name (file name, lower case), in the text.
    pub name: Span,
    /// NPI module id, as it lies in memory.
    pub module: [u8; 16],
}

/// An image name.
pub const PATTERN_IMAGE: u8 = 1;
/// A client's module id.
pub const PATTERN_MODULE: u8 = 2;
/// A process id.
pub const PATTERN_PID: u8 = 3;
/// The endpoint has no owning process.
pub const PATTERN_NO_PROCESS: u8 = 4;
/// The endpoint has an owning process.
pub const PATTERN_ANY_PROCESS: u8 = 5;

/// A value, or a range of them, and what replaces it. Those of one map are ascending and disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MapEntry {
    /// The values.
    pub from: Range,
    /// The replacement.
    pub to: U32,
    /// Zero.
    pub reserved: U32,
}

const _: () = {
    assert!(size_of::<Header>() == 152 && core::mem::offset_of!(Header, mode) == HASHED_FROM);
    assert!(size_of::<Slot>() == 24 && size_of::<RuleRecord>() == 48 && size_of::<Condition>() == 12);
    assert!(size_of::<Range>() == 16 && size_of::<Pattern>() == 40 && size_of::<MapEntry>() == 24);
};

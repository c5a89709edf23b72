//! Version, status, counters, clients, draining.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Header, layout};

/// Answer to `QueryVersion`. This layout is frozen: it is how versions that differ tell each other so.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VersionReply {
    /// The driver's contract version.
    pub header: Header,
    /// The driver's own version: major, minor, patch, 0.
    pub driver: [u16; 4],
}

/// Flags of [`StatusReply`].
pub mod status_flags {
    /// Draining: attaching clients are turned away.
    pub const DRAINING: u32 = 1;
    /// Policy changes are refused until the machine restarts.
    pub const LOCKED: u32 = 2;
    /// The transparent upper edge is asked for.
    pub const TRANSPARENT: u32 = 4;
    /// The canary was handed wskguard's dispatch table.
    pub const TRANSPARENT_ACTIVE: u32 = 8;
    /// The policy in force is the built-in one: nothing was loaded.
    pub const BUILT_IN_POLICY: u32 = 16;
    /// `Parameters\Mode=off`: forwarding only, and no policy is accepted.
    pub const KILL_SWITCH: u32 = 32;
    /// Too many starts without a healthy mark: forwarding only, until a policy is loaded.
    pub const UNHEALTHY: u32 = 64;
    /// The policy kept last was damaged: the one of before was put in force at start.
    pub const LAST_KNOWN_GOOD: u32 = 128;
    /// The policies kept were damaged, or could not be read: nothing was put in force at start.
    pub const STORED_POLICY_BAD: u32 = 256;
    /// The policy in force is not kept for the next start: not yet, or because writing it failed.
    pub const NOT_STORED: u32 = 512;
}

/// Answer to `QueryStatus`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StatusReply {
    /// Version and size.
    pub header: Header,
    /// The driver's own version.
    pub driver: [u16; 4],
    /// [`status_flags`].
    pub flags: u32,
    /// Policy mode: 0 enforce, 1 audit.
    pub policy_mode: u8,
    /// Semantics mode: 0 off, 1 audit, 2 compat, 3 strict.
    pub semantics: u8,
    /// Default action: 0 allow, 1 deny.
    pub default_action: u8,
    /// Zero.
    pub reserved: u8,
    /// Generation of the policy in force; 0 is the built-in one.
    pub generation: u64,
    /// Content hash of the policy in force.
    pub policy_hash: u64,
    /// Rules in the policy in force.
    pub rules: u32,
    /// Attached clients.
    pub clients: u32,
    /// Shim clients that had to bind to the system's provider.
    pub bypassing: u32,
    /// Live endpoints, listed or not.
    pub endpoints: u32,
    /// Largest number of endpoints that the table lists.
    pub endpoints_max: u32,
    /// Processors that have an audit ring.
    pub processors: u32,
    /// Time of the driver's start, 100 ns since 1601.
    pub started: u64,
    /// Version of the running Windows: major, minor, build.
    pub windows: [u32; 3],
    /// Why the transparent mode is not active, an NTSTATUS; 0 when it is or is not asked for.
    pub transparent_status: u32,
    /// Why the kept state could not be read or written the last time, an NTSTATUS; 0 when it could.
    pub state_status: u32,
    /// Starts since the last that was healthy, with this one until it is.
    pub unhealthy_starts: u32,
}

/// Answer to `QueryCounters` and `QueryRuleCounters`; `count` u64 values follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CountersReply {
    /// Version and size.
    pub header: Header,
    /// Policy generation that rule counters belong to.
    pub generation: u64,
    /// Index of the first value.
    pub first: u32,
    /// Values that follow.
    pub count: u32,
    /// Values there are in all.
    pub total: u32,
    /// Zero.
    pub reserved: u32,
}

/// A range of a list that is numbered from 0: rules, clients.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RangeRequest {
    /// Version and size.
    pub header: Header,
    /// First wanted.
    pub first: u32,
    /// Most wanted; what fits the output is returned.
    pub max: u32,
}

impl RangeRequest {
    /// `max` elements from `first`.
    #[must_use]
    pub const fn new(first: u32, max: u32) -> Self {
        Self {
            header: Header::of::<Self>(),
            first,
            max,
        }
    }
}

/// Flags of [`ClientInfo`].
pub mod client_flags {
    /// Attached at wskguard's own NPI.
    pub const OWN_NPI: u16 = 1;
    /// Attached at the transparent upper edge.
    pub const TRANSPARENT: u16 = 2;
    /// A shim client that had to bind to the system's provider.
    pub const BYPASSING: u16 = 4;
}

/// An attached WSK client.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClientInfo {
    /// Number of the client, never reused while the driver is loaded.
    pub id: u32,
    /// WSK version it asked for.
    pub version: u16,
    /// [`client_flags`].
    pub flags: u16,
    /// Module id, bytes of the GUID in memory order.
    pub module_id: [u8; 16],
    /// Time of attach, 100 ns since 1601.
    pub attached: u64,
    /// Sockets it holds.
    pub endpoints: u32,
    /// Bytes used of `image`.
    pub image_length: u32,
    /// Base name of the client driver's image, UTF-8, lower case.
    pub image: [u8; 64],
}

/// Begins or ends draining.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DrainRequest {
    /// Version and size.
    pub header: Header,
    /// 1 begins (or asks again), 0 ends.
    pub begin: u32,
    /// Zero.
    pub reserved: u32,
}

impl DrainRequest {
    /// Begin, or end.
    #[must_use]
    pub const fn new(begin: bool) -> Self {
        Self {
            header: Header::of::<Self>(),
            begin: begin as u32,
            reserved: 0,
        }
    }
}

/// Answer to `Drain`: what still holds the driver.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DrainReply {
    /// Version and size.
    pub header: Header,
    /// Attached clients.
    pub clients: u32,
    /// Live endpoints.
    pub endpoints: u32,
    /// 1 when nothing is left and a stop will succeed.
    pub drained: u32,
    /// Zero.
    pub reserved: u32,
}

layout! {
    VersionReply: 16 { driver @ 8 }
    StatusReply: 96 { driver @ 8, flags @ 16, policy_mode @ 20, generation @ 24, policy_hash @ 32, rules @ 40, clients @ 44,
        bypassing @ 48, endpoints @ 52, endpoints_max @ 56, processors @ 60, started @ 64, windows @ 72, transparent_status @ 84,
        state_status @ 88, unhealthy_starts @ 92 }
    CountersReply: 32 { generation @ 8, first @ 16, count @ 20, total @ 24 }
    RangeRequest: 16 { first @ 8, max @ 12 }
    ClientInfo: 104 { id @ 0, version @ 4, flags @ 6, module_id @ 8, attached @ 24, endpoints @ 32, image_length @ 36, image @ 40 }
    DrainRequest: 16 { begin @ 8 }
    DrainReply: 24 { clients @ 8, endpoints @ 12, drained @ 16 }
}

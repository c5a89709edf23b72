//! Reading the audit rings.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use wskguard_core::audit::AuditRecord as AuditEntry;

use crate::{Header, layout};

/// Flags of [`ReadAuditRequest`].
pub mod audit_flags {
    /// Move the file object's cursor to the oldest record first.
    pub const FROM_OLDEST: u32 = 1;
    /// Move the file object's cursor past the newest record first.
    pub const FROM_NOW: u32 = 2;
}

/// Reads audit records at the file object's cursor, which starts at the oldest record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReadAuditRequest {
    /// Version and size.
    pub header: Header,
    /// [`audit_flags`].
    pub flags: u32,
    /// Most wanted; what fits the output is returned. 0 asks for the numbers of the reply alone.
    pub max: u32,
}

impl ReadAuditRequest {
    /// `max` records; `flags` may move the cursor first.
    #[must_use]
    pub const fn new(flags: u32, max: u32) -> Self {
        Self {
            header: Header::of::<Self>(),
            flags,
            max,
        }
    }
}

/// Answer; `count` [`AuditEntry`]s follow. For each reader: position moved = read + overwritten. For the writers, once none is
/// in the middle of a record: decided = written + suppressed + dropped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AuditReply {
    /// Version and size.
    pub header: Header,
    /// Records that follow.
    pub count: u32,
    /// Bytes of one record.
    pub element_size: u32,
    /// Records this reader lost because they were overwritten, since its cursor was made.
    pub overwritten: u64,
    /// Records this reader was given, since its cursor was made.
    pub read: u64,
    /// Decisions that might have left a record, since the driver's start.
    pub decided: u64,
    /// Records written, since the driver's start.
    pub written: u64,
    /// Decisions that left none, by `wskguard_core::audit::Suppressed`: the endpoint's budget, the client's, not asked for.
    pub suppressed: [u64; 3],
    /// Records that could not be written because the slot's former writer had not finished.
    pub dropped: u64,
}

layout! {
    ReadAuditRequest: 16 { flags @ 8, max @ 12 }
    AuditReply: 80 { count @ 8, element_size @ 12, overwritten @ 16, read @ 24, decided @ 32, written @ 40, suppressed @ 48,
        dropped @ 72 }
    AuditEntry: 128 { sequence @ 0, time @ 8, endpoint @ 16, client @ 24, old_value @ 32, asked_value @ 40, new_value @ 48,
        process @ 56, level @ 64, code @ 68, rule @ 72, generation @ 76, status @ 80, wsa @ 84, input_length @ 88, scope @ 92,
        family @ 96, port @ 98, flags @ 100, cpu @ 102, version @ 104, kind @ 105, request @ 106, action @ 107, reason @ 108,
        mode @ 109, category @ 110, phase @ 111, address @ 112 }
}

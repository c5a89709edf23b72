//! Reading the audit rings.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// Most wanted; what fits the output is returned.
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

/// Answer; `count` records follow. For each reader: position moved = read + overwritten.
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
    /// Records the driver did not write for want of an endpoint's budget, since its start.
    pub suppressed: u64,
    /// Records the driver could not write, since its start.
    pub dropped: u64,
}

layout! {
    ReadAuditRequest: 16 { flags @ 8, max @ 12 }
    AuditReply: 48 { count @ 8, element_size @ 12, overwritten @ 16, read @ 24, suppressed @ 32, dropped @ 40 }
}

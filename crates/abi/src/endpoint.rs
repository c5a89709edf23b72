//! The list of endpoints.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Header, layout};

/// Lists endpoints from a cursor on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListEndpointsRequest {
    /// Version and size.
    pub header: Header,
    /// 0 to begin, then `next` of the reply before.
    pub cursor: u64,
    /// Most wanted; what fits the output is returned.
    pub max: u32,
    /// Zero.
    pub reserved: u32,
}

impl ListEndpointsRequest {
    /// `max` endpoints from `cursor`.
    #[must_use]
    pub const fn new(cursor: u64, max: u32) -> Self {
        Self {
            header: Header::of::<Self>(),
            cursor,
            max,
            reserved: 0,
        }
    }
}

/// One endpoint by id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct QueryEndpointRequest {
    /// Version and size.
    pub header: Header,
    /// The endpoint.
    pub id: u64,
}

impl QueryEndpointRequest {
    /// The endpoint `id`.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self {
            header: Header::of::<Self>(),
            id,
        }
    }
}

/// Answer to the list requests; `count` elements follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ListReply {
    /// Version and size.
    pub header: Header,
    /// Cursor of the next call; 0 when this was the last.
    pub next: u64,
    /// Elements that follow.
    pub count: u32,
    /// Bytes of one element.
    pub element_size: u32,
}

/// Bits of [`EndpointInfo::options`].
pub mod option_bits {
    /// `SO_BROADCAST`.
    pub const BROADCAST: u32 = 1;
    /// `SO_DEBUG`.
    pub const DEBUG: u32 = 2;
    /// `SO_DONTROUTE`.
    pub const DONTROUTE: u32 = 4;
    /// `SO_KEEPALIVE`.
    pub const KEEPALIVE: u32 = 8;
    /// `SO_OOBINLINE`.
    pub const OOBINLINE: u32 = 16;
    /// `SO_REUSEADDR`.
    pub const REUSEADDR: u32 = 32;
    /// `SO_EXCLUSIVEADDRUSE`.
    pub const EXCLUSIVEADDRUSE: u32 = 64;
    /// `SO_CONDITIONAL_ACCEPT`.
    pub const CONDITIONAL_ACCEPT: u32 = 128;
    /// `SO_LINGER` is on.
    pub const LINGER: u32 = 256;
}

/// One endpoint as its record stood when it was listed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EndpointInfo {
    /// Generational id.
    pub id: u64,
    /// The client that holds it.
    pub client: u32,
    /// `IPPROTO_*`.
    pub protocol: u32,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub socket_type: u8,
    /// Category: 0 basic, 1 listen, 2 connection, 3 datagram, 4 stream.
    pub category: u8,
    /// Phase, as the core numbers them.
    pub phase: u8,
    /// Semantics mode in force for it.
    pub mode: u8,
    /// Local port, host byte order; 0 when not known.
    pub port: u16,
    /// [`option_bits`].
    pub options: u32,
    /// `SO_RCVBUF` as last set; 0 when the client never set it.
    pub rcvbuf: u32,
    /// `SO_SNDBUF` as last set; 0 when the client never set it.
    pub sndbuf: u32,
    /// `l_linger`, seconds.
    pub linger: u16,
    /// Zero.
    pub reserved: u16,
    /// Owning process, or 0.
    pub process: u64,
    /// Creation, 100 ns since 1601.
    pub created: u64,
    /// Control and bind requests decided.
    pub decided: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Local address: 4 bytes (IPv4) or 16 (IPv6), zero when not bound.
    pub local: [u8; 16],
}

layout! {
    ListEndpointsRequest: 24 { cursor @ 8, max @ 16 }
    QueryEndpointRequest: 16 { id @ 8 }
    ListReply: 24 { next @ 8, count @ 16, element_size @ 20 }
    EndpointInfo: 88 { id @ 0, client @ 8, protocol @ 12, family @ 16, socket_type @ 18, category @ 19, phase @ 20, mode @ 21,
        port @ 22, options @ 24, rcvbuf @ 28, sndbuf @ 32, linger @ 36, process @ 40, created @ 48, decided @ 56, refused @ 64,
        local @ 72 }
}

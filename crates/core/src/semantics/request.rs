//! What is asked, of whom. Plain data, any IRQL.

use super::form::AddressList;
use crate::catalogue::{self, Class, OptionSet, Size};
use crate::{Category, Family, RequestKind, SOL_SOCKET, SocketType};

/// What never changes while an endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// WSK category; not looked at for Winsock sockets.
    pub category: Category,
    /// Type of the socket.
    pub socket_type: SocketType,
    /// Address family.
    pub family: Family,
    /// Protocol number (`IPPROTO_*`).
    pub protocol: u32,
    /// Events that the client enabled for all its sockets (`WSK_SET_STATIC_EVENT_CALLBACKS`).
    pub static_events: u32,
    /// Options the provider is known to lack.
    pub lacks: OptionSet,
}

/// A length of -1: the all-ones `SIZE_T`. It is a claim, never a number of bytes to read.
pub const MINUS_ONE: usize = usize::MAX;

/// State of a caller's pointer. A kernel client's is `Valid` or `Null`; `Bad` is a user-mode address that faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// Readable and writable.
    Valid,
    /// NULL.
    Null,
    /// Not mapped.
    Bad,
}

/// One control request, captured once.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Set, get or IOCTL. Classified before the level: a WSK client may pass any level with an IOCTL.
    pub kind: RequestKind,
    /// Level.
    pub level: u32,
    /// Option or IOCTL code, all 32 bits.
    pub code: u32,
    /// Input pointer.
    pub input_pointer: Pointer,
    /// Input length as the caller claims it.
    pub input_len: usize,
    /// The captured copy of the input: [`capture_len`] bytes.
    pub input: &'a [u8],
    /// Output pointer.
    pub output_pointer: Pointer,
    /// Output length as the caller claims it.
    pub output_len: usize,
    /// An IRP was given.
    pub has_irp: bool,
    /// `OutputSizeReturned` was given.
    pub wants_size: bool,
    /// The call came at `DISPATCH_LEVEL`. Looked at where [`asks_irql`] says so.
    pub at_dispatch: bool,
    /// Seconds of a clock that only grows. Looked at where [`asks_time`] says so.
    pub now: u32,
}

impl Request<'_> {
    /// The little-endian number at `offset` of the captured input; missing bytes are zero.
    pub(super) fn u32_at(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(self.input.iter().skip(offset)) {
            *to = *from;
        }
        u32::from_le_bytes(bytes)
    }
}

/// Whether the decision on a request looks at [`Request::at_dispatch`].
#[must_use]
#[inline]
pub fn asks_irql(kind: RequestKind, code: u32) -> bool {
    kind == RequestKind::Ioctl && AddressList::CODES.contains(&code)
}

/// Whether the decision on a request, or its answer, looks at [`Request::now`].
#[must_use]
#[inline]
pub fn asks_time(kind: RequestKind, level: u32, code: u32) -> bool {
    const SO_CONNECT_TIME: u32 = 0x700C;
    kind == RequestKind::Get && level == SOL_SOCKET && code == SO_CONNECT_TIME
}

/// How many bytes of the input have to be captured to decide: what the option needs, never more than the caller claims, never
/// more than 64. An option whose value the engine does not look at needs its bytes only when they fit.
#[must_use]
pub fn capture_len(kind: RequestKind, level: u32, code: u32, claimed: usize) -> usize {
    const INLINE: usize = 64;
    let row = match kind {
        RequestKind::Set => catalogue::option(level, code),
        RequestKind::Ioctl => catalogue::ioctl(code),
        RequestKind::Get | RequestKind::Bind => return 0,
    };
    let needed = match row {
        Some(row) if level == SOL_SOCKET && kind == RequestKind::Set => match (row.class, row.set_len) {
            (Class::A | Class::B | Class::C | Class::D | Class::Thread | Class::Dword, _) => 4,
            (_, size) => size.minimum().unwrap_or(if size == Size::Provider { 8 } else { 0 }),
        },
        _ => 0,
    };
    if needed > 0 {
        claimed.min(needed)
    } else if claimed <= INLINE {
        claimed
    } else {
        0
    }
}

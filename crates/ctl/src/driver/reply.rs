//! Reading replies: nothing in them is believed before it is checked.

use wskguard_abi::{AuditReply, Code, CountersReply, DrainReply, Header, ListReply, PolicyReply, StatusReply};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::{Error, Result};

/// The error of a reply that is not what the contract says.
pub(super) const fn malformed(code: Code, what: &'static str) -> Error {
    Error::Malformed { code, what }
}

/// The fixed part of a reply.
pub(super) trait Reply: FromBytes + KnownLayout + Immutable {
    fn header(&self) -> Header;
}

macro_rules! replies {
    ($($reply:ty),*) => {$(
        impl Reply for $reply {
            fn header(&self) -> Header {
                self.header
            }
        }
    )*};
}
replies!(
    StatusReply,
    PolicyReply,
    CountersReply,
    ListReply,
    DrainReply,
    AuditReply
);

/// The elements that follow a list's fixed part.
pub(super) fn elements<E: FromBytes>(code: Code, reply: &ListReply, tail: &[u8]) -> Result<Vec<E>> {
    counted(code, reply.count, reply.element_size, tail)
}

/// `count` elements of `size` bytes at the front of `tail`.
pub(super) fn counted<E: FromBytes>(code: Code, count: u32, size: u32, tail: &[u8]) -> Result<Vec<E>> {
    if count != 0 && size as usize != size_of::<E>() {
        return Err(malformed(code, "its elements have another size"));
    }
    let chunks = tail.chunks_exact(size_of::<E>());
    if chunks.len() < count as usize {
        return Err(malformed(code, "shorter than it says"));
    }
    Ok(chunks
        .take(count as usize)
        .filter_map(|bytes| E::read_from_bytes(bytes).ok())
        .collect())
}

/// The counters that follow the fixed part.
pub(super) fn numbers(code: Code, reply: &CountersReply, tail: &[u8]) -> Result<Vec<u64>> {
    let bytes = tail.get(..reply.count as usize * size_of::<u64>());
    let bytes = bytes.ok_or(malformed(code, "shorter than it says"))?;
    let (chunks, _) = bytes.as_chunks();
    Ok(chunks.iter().copied().map(u64::from_le_bytes).collect())
}

//! The IOCTL contract between wskguard.sys and its companion.
//!
//! Plain little-endian structures without pointers or padding, the same for 32-bit and 64-bit callers. Every request begins with a
//! [`Header`] that names the contract's version and the size of the request's fixed part; a driver that speaks another version
//! answers `STATUS_REVISION_MISMATCH`, and [`Code::QueryVersion`], which any version may send, says which it speaks. Reserved fields
//! and unknown flag bits must be zero. docs/IOCTL.md is the prose; [`ABI_VERSION`] changes whenever this crate's layouts do.
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod audit;
mod code;
mod endpoint;
mod names;
mod notice;
pub mod parse;
mod policy;
mod status;

pub use audit::*;
pub use code::*;
pub use endpoint::*;
pub use names::*;
pub use notice::*;
pub use policy::*;
pub use status::*;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of this contract.
pub const ABI_VERSION: u32 = 2;

/// First field of every request and every reply. 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// [`ABI_VERSION`] of the sender.
    pub abi_version: u32,
    /// Bytes of the fixed part that begins with this header.
    pub size: u32,
}

impl Header {
    /// The header of a fixed part of type `T`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "fixed parts are a few hundred bytes")]
    pub const fn of<T>() -> Self {
        Self {
            abi_version: ABI_VERSION,
            size: size_of::<T>() as u32,
        }
    }
}

/// A request that carries nothing but its header: `QueryStatus`, `QueryCounters`, `Lock`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// Version and size.
    pub header: Header,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            header: Header::of::<Self>(),
        }
    }
}

macro_rules! layout {
    ($($type:ty: $size:literal { $($field:ident @ $offset:literal),* $(,)? })*) => {$(
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() <= 8, stringify!($type));
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset, concat!(stringify!($type), ".", stringify!($field)));)*
    )*};
}
pub(crate) use layout;

layout! {
    Header: 8 { abi_version @ 0, size @ 4 }
    Request: 8 { header @ 0 }
}

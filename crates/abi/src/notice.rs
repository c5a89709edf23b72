//! What the shim tells wskguard through NMR: a client that had to go without it.
//!
//! Such a client registers as a provider of [`WSKGUARD_BYPASS_NPI_ID`] for as long as its registration lasts. wskguard is a client
//! of that NPI, so that the two find each other in whichever order they come. Nothing is called through the binding.

use core::ffi::c_void;

use crate::GuidFields;

/// The NPI under which a bypassing client says so.
pub const WSKGUARD_BYPASS_NPI_ID: GuidFields = (
    0x9A1C_5E55,
    0x7D0B,
    0x4B0E,
    [0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91],
);
/// Module id of every registration that the shim makes.
pub const WSKGUARD_SHIM_MODULE_ID: GuidFields = (
    0x9A1C_5E56,
    0x7D0B,
    0x4B0E,
    [0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91],
);

/// NPI-specific characteristics of the provider of [`WSKGUARD_BYPASS_NPI_ID`]. Resident while it is registered.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BypassNotice {
    /// Bytes of this structure; later versions are longer.
    pub size: u16,
    /// WSK version that the client asked for.
    pub version: u16,
    /// Zero.
    pub reserved: u32,
    /// Time at which it was bound to the system's provider, 100 ns since 1601.
    pub since: u64,
    /// An address inside the client driver's image.
    pub code: *const c_void,
}

#[cfg(target_pointer_width = "64")]
crate::layout! {
    BypassNotice: 24 { size @ 0, version @ 2, since @ 8, code @ 16 }
}

//! The statuses of the driver's answers that the companion tells apart. Source: ntstatus.h.

/// `STATUS_ACCESS_DENIED`.
pub const ACCESS_DENIED: u32 = 0xC000_0022;
/// `STATUS_BUFFER_TOO_SMALL`: the output has no room for the fixed part of the reply.
pub const BUFFER_TOO_SMALL: u32 = 0xC000_0023;
/// `STATUS_CANCELLED`.
pub const CANCELLED: u32 = 0xC000_0120;
/// `STATUS_DEVICE_BUSY`: another request of the kind is being carried out.
pub const DEVICE_BUSY: u32 = 0x8000_0011;
/// `STATUS_DEVICE_NOT_READY`: the driver is turned off.
pub const DEVICE_NOT_READY: u32 = 0xC000_00A3;
/// `STATUS_INVALID_IMAGE_FORMAT`: no valid policy image.
pub const INVALID_IMAGE_FORMAT: u32 = 0xC000_007B;
/// `STATUS_NO_SUCH_DEVICE`: the device is going away.
pub const NO_SUCH_DEVICE: u32 = 0xC000_000E;
/// `STATUS_NOT_FOUND`.
pub const NOT_FOUND: u32 = 0xC000_0225;
/// `STATUS_REQUEST_NOT_ACCEPTED`: another policy generation is in force than was expected.
pub const REQUEST_NOT_ACCEPTED: u32 = 0xC000_00D0;
/// `STATUS_REVISION_MISMATCH`: the driver speaks another version of the contract.
pub const REVISION_MISMATCH: u32 = 0xC000_0059;

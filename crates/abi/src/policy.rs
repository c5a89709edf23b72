//! Setting and reading back the policy.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Header, layout};

/// Most bytes of a policy image.
pub const MAX_POLICY_IMAGE: u32 = 8 << 20;

/// Sets the policy; `image_length` bytes of image follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetPolicyRequest {
    /// Version and size.
    pub header: Header,
    /// Zero: no flags are defined.
    pub flags: u32,
    /// Bytes of image that follow.
    pub image_length: u32,
    /// Generation that must be in force for the change to happen; `u64::MAX`: any.
    pub expected_generation: u64,
}

impl SetPolicyRequest {
    /// Replaces whatever is in force.
    #[must_use]
    pub const fn new(image_length: u32) -> Self {
        Self {
            header: Header::of::<Self>(),
            flags: 0,
            image_length,
            expected_generation: u64::MAX,
        }
    }
}

/// Reads a piece of the image in force.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetPolicyRequest {
    /// Version and size.
    pub header: Header,
    /// First byte wanted.
    pub offset: u32,
    /// Zero.
    pub reserved: u32,
}

impl GetPolicyRequest {
    /// From `offset` on, as much as the output holds.
    #[must_use]
    pub const fn new(offset: u32) -> Self {
        Self {
            header: Header::of::<Self>(),
            offset,
            reserved: 0,
        }
    }
}

/// Answer to both: what is in force. After `GetPolicy`, `count` bytes of image follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PolicyReply {
    /// Version and size.
    pub header: Header,
    /// Generation in force; 0 is the built-in policy, which has no image.
    pub generation: u64,
    /// Its content hash.
    pub hash: u64,
    /// Bytes of its image.
    pub total: u32,
    /// Bytes that follow.
    pub count: u32,
}

layout! {
    SetPolicyRequest: 24 { flags @ 8, image_length @ 12, expected_generation @ 16 }
    GetPolicyRequest: 16 { offset @ 8 }
    PolicyReply: 32 { generation @ 8, hash @ 16, total @ 24, count @ 28 }
}

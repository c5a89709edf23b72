//! Requests and replies of probe.sys.
//!
//! One IOCTL carries them all: a [`Header`], the body that its operation asks for, then bytes that the body counts. Objects are
//! named by ids that the probe hands out; they belong to the file object and die with it.

mod call;
mod event;
mod load;
mod outcome;
mod session;

pub use call::*;
pub use event::*;
pub use load::*;
pub use outcome::*;
pub use session::*;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of this protocol; both sides are built together, so that a mismatch is a stale file.
pub const VERSION: u32 = 1;

/// Win32 name of the device of the driver that was started under the service name `service` is this prefix and that name.
pub const WIN32_PREFIX: &str = r"\\.\WskProbe-";

const fn ctl_code(function: u32, method: u32) -> u32 {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    const READ_AND_WRITE: u32 = 3;
    (FILE_DEVICE_UNKNOWN << 16) | (READ_AND_WRITE << 14) | (function << 2) | method
}

/// Carries out one request. `METHOD_BUFFERED`.
pub const IOCTL_EXECUTE: u32 = ctl_code(0x900, 0);
/// Launches a prepared request ([`CallFlags::PREPARE`]) with the IOCTL's own IRP passed down to WSK. Input: [`Header`] and the request's
/// id. `METHOD_OUT_DIRECT`, so that the I/O manager copies nothing back.
pub const IOCTL_PASS_DOWN: u32 = ctl_code(0x901, 2);

/// Looks into a socket whose close has completed, as a client must not: the kernel stops here. Input: [`Header`] and the socket's id as a
/// [`RequestRef`]. `METHOD_BUFFERED`.
pub const IOCTL_USE_CLOSED: u32 = ctl_code(0x902, 0);

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$member_doc])* $member = $value,)* }

        impl $name {
            /// The member with this number.
            #[must_use]
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$member),)* _ => None }
            }
        }
    };
}
pub(crate) use wire_enum;

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$member_doc])* pub const $member: Self = Self($value);)*

            /// Whether all bits of `other` are set.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl core::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }
    };
}
pub(crate) use bits;

macro_rules! wire_struct {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )*};
}
pub(crate) use wire_struct;

wire_enum! {
    /// What is asked.
    Op {
        /// No body. Reply: [`Hello`].
        Hello = 1,
        /// Body: [`Attach`]. Reply: [`Attached`].
        Attach = 2,
        /// Body: [`ClientRequest`]. Reply: [`ClientState`].
        Detach = 3,
        /// Body: [`ClientRequest`]. Reply: [`ClientState`].
        QueryClient = 4,
        /// Body: [`Call`] and its input bytes. Reply: [`Outcome`] and its output bytes.
        Call = 5,
        /// Body: [`RequestRef`]. Launches a prepared request, or a completed one again. Reply: as for a call.
        Launch = 6,
        /// Body: [`RequestRef`]. Waits for a request. Reply: as for a call.
        Wait = 7,
        /// Body: [`RequestRef`]. `IoCancelIrp`. Reply: as for a call.
        Cancel = 8,
        /// Body: [`RequestRef`]. Forgets a request that has completed or was never launched.
        Free = 9,
        /// Body: [`SetReactions`].
        SetReactions = 10,
        /// Body: [`ReadEvents`]. Reply: [`Events`] and that many [`Event`]s.
        ReadEvents = 11,
        /// Body: [`Gate`].
        SetGate = 12,
        /// Body: [`SocketRef`]. Reply: [`SocketState`].
        QuerySocket = 13,
        /// Body: [`ReleaseRetained`]. Reply: [`Released`].
        ReleaseRetained = 14,
        /// Body: [`Transfer`]. Reply: [`TransferReport`].
        Transfer = 15,
        /// Body: [`Stress`]. Reply: [`StressReport`].
        Stress = 16,
        /// Body: [`Bench`]. Reply: [`BenchReport`].
        Bench = 17,
        /// No body. Tears the session down as a close would. Reply: [`Leftovers`].
        Finish = 18,
        /// Body: [`RequestRef`]. The provider returned a failure and left the IRP alone: it is the client's again.
        Abandon = 19,
    }
}

wire_struct! {
    /// Begins every request.
    Header {
        /// [`VERSION`].
        version: u32,
        /// [`Op`].
        op: u32,
    }
    /// Answer to [`Op::Hello`].
    Hello {
        /// [`VERSION`].
        version: u32,
        /// `RtlGetVersion`: major, minor, build.
        windows: [u32; 3],
        /// Ticks per second of the counters in replies.
        ticks_per_second: u64,
        /// Objects alive in the whole driver: requests, sockets, clients.
        alive: [u32; 4],
    }
}

impl Header {
    /// The header for `op`.
    #[must_use]
    pub const fn new(op: Op) -> Self {
        Self {
            version: VERSION,
            op: op as u32,
        }
    }
}

/// Splits a fixed part off the front of `bytes`.
#[must_use]
pub fn take<T: FromBytes + Immutable + KnownLayout + Copy>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

/// Writes a fixed part to the front of `bytes` and returns the rest.
pub fn put<'a, T: IntoBytes + Immutable>(bytes: &'a mut [u8], value: &T) -> Option<&'a mut [u8]> {
    let (front, rest) = bytes.split_at_mut_checked(size_of::<T>())?;
    value.write_to(front).ok()?;
    Some(rest)
}

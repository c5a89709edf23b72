//! Why a request was refused, and what its client is told.

use super::map::{canonical, wsa};
use super::names::nt;
use crate::{NtStatus, WsaError};

/// A refusal: what the client gets, what a Winsock caller would have got, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status for the client and its IRP.
    pub status: NtStatus,
    /// Winsock error that the contract names.
    pub wsa: WsaError,
    /// The rule that was broken.
    pub reason: Reason,
}

impl Refusal {
    /// The contract's answer to breaking `reason`.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        let (status, wsa) = reason.outcome();
        Self { status, wsa, reason }
    }

    /// The same reason with another Winsock error, and the status that stands for it.
    #[must_use]
    pub const fn with(reason: Reason, wsa: WsaError) -> Self {
        Self {
            status: canonical(wsa),
            wsa,
            reason,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $status:expr, $wsa:expr;)*) => {
        /// Why. Numbers and names are stable: audit records carry the number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The reason with this number.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Status and Winsock error of a refusal for this reason.
            #[must_use]
            pub const fn outcome(self) -> (NtStatus, WsaError) {
                match self { $(Self::$name => ($status, $wsa),)* }
            }
        }
    };
}

reasons! {
    /// Not a level that any protocol has. SPI page, WSAEINVAL.
    Level = 1, "level", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// No such option. SPI page, WSAENOPROTOOPT.
    UnknownOption = 2, "unknown option", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// The provider does not support the option.
    Unsupported = 3, "unsupported option", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// Not for sockets of this type.
    SocketType = 4, "socket type", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// Not for sockets of this address family.
    Family = 5, "address family", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// There is no set.
    ReadOnly = 6, "read only", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// There is no get.
    NoGetForm = 7, "no get form", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// A buffer is missing or not readable.
    Pointer = 8, "pointer", nt::BUFFER_TOO_SMALL, wsa::EFAULT;
    /// A buffer is too short.
    Length = 9, "length", nt::BUFFER_TOO_SMALL, wsa::EFAULT;
    /// The value is not one of the option's.
    Value = 10, "value", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// Too early, too late, or in a transition.
    Phase = 11, "phase", nt::INVALID_DEVICE_STATE, wsa::EINVAL;
    /// SO_REUSEADDR and SO_EXCLUSIVEADDRUSE exclude each other.
    ReuseXorExclusive = 12, "reuse-xor-exclusive", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// A call after the connection was dropped by keep-alive failure.
    KeepAliveFailed = 13, "keep-alive failed", nt::INVALID_CONNECTION, wsa::ENOTCONN;
    /// The connection is gone or was never there.
    NotConnected = 14, "not connected", nt::INVALID_CONNECTION, wsa::ENOTCONN;
    /// A call that was in progress at the keep-alive failure. The provider's status passes; only the audit record says so.
    NetworkReset = 15, "network reset", nt::CONNECTION_ABORTED, wsa::ENETRESET;
    /// Not the handle of a live socket.
    NotASocket = 16, "not a socket", nt::INVALID_HANDLE, wsa::ENOTSOCK;
    /// The WSK page names other socket categories.
    Category = 17, "category", nt::NOT_SUPPORTED, wsa::ENOPROTOOPT;
    /// The WSK page asks for an IRP.
    IrpMissing = 18, "irp missing", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// The request is for PASSIVE_LEVEL.
    Irql = 19, "irql", nt::INVALID_DEVICE_STATE, wsa::EINVAL;
    /// More than one event disabled in one request.
    EventDisableSeveral = 20, "event disable: several", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// A connection event disabled on a listening socket.
    EventDisableOnListener = 21, "event disable: on listener", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// An event disabled that is enabled for the whole client.
    EventDisableStatic = 22, "event disable: static", nt::INVALID_PARAMETER, wsa::EINVAL;
    /// A call is in progress that excludes this one. A user-mode concept: no kernel request earns it.
    InProgress = 23, "call in progress", nt::INVALID_DEVICE_STATE, wsa::EINPROGRESS;
    /// The network subsystem failed, or wskguard's lower binding is gone.
    NetworkDown = 24, "network down", nt::UNEXPECTED_NETWORK_ERROR, wsa::ENETDOWN;
    /// The claimed length cannot be allocated (a length of -1).
    Resources = 25, "resources", nt::INSUFFICIENT_RESOURCES, wsa::ENOBUFS;
    /// A rule of the policy.
    Policy = 26, "policy", nt::ACCESS_DENIED, wsa::EACCES;
    /// No WSK_CONTROL_SOCKET_TYPE.
    RequestType = 27, "request type", nt::INVALID_PARAMETER, wsa::EINVAL;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_go_both_ways() {
        for (i, &a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_u8(a as u8), Some(a));
            assert!(Reason::ALL[..i].iter().all(|b| b.name() != a.name()));
            let refusal = Refusal::new(a);
            assert!(!refusal.status.is_success() && refusal.wsa.0 >= 10000);
        }
    }
}

//! The vocabulary that every part of the core shares. Plain data, any IRQL.

/// An NTSTATUS, as its 32-bit pattern. Names and the map to Winsock errors are in [`crate::status`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NtStatus(pub u32);

impl NtStatus {
    /// `STATUS_SUCCESS`.
    pub const SUCCESS: Self = Self(0);
    /// `STATUS_PENDING`.
    pub const PENDING: Self = Self(0x103);

    /// `NT_SUCCESS`: success and informational severities.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 < 0x8000_0000
    }
}

/// A Winsock error code (10000-based); 0 is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct WsaError(pub u32);

impl WsaError {
    /// No error.
    pub const OK: Self = Self(0);
}

/// What a client asks of an endpoint. The first three are `WSK_CONTROL_SOCKET_TYPE`; bind is a decision point of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RequestKind {
    /// `WskSetOption`.
    Set = 0,
    /// `WskGetOption`.
    Get = 1,
    /// `WskIoctl`: the level is ignored.
    Ioctl = 2,
    /// `WskBind`, or the bind inside `WskSocketConnect`.
    Bind = 3,
}

/// WSK socket category. Source: wsk.h, `WSK_FLAG_*_SOCKET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Category {
    /// Options and IOCTLs of the transport only.
    Basic = 0,
    /// Accepts connections.
    Listen = 1,
    /// Connects, or was accepted.
    Connection = 2,
    /// Sends and receives datagrams.
    Datagram = 3,
    /// Listen or connection, decided late (Windows 10 1703).
    Stream = 4,
}

/// `SOCK_*` type of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SocketType {
    /// `SOCK_STREAM`.
    Stream = 1,
    /// `SOCK_DGRAM`.
    Dgram = 2,
    /// `SOCK_RAW`.
    Raw = 3,
}

/// Address family, as `ADDRESS_FAMILY` (u16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Family(pub u16);

impl Family {
    /// `AF_INET`.
    pub const INET: Self = Self(2);
    /// `AF_ATM`.
    pub const ATM: Self = Self(22);
    /// `AF_INET6`.
    pub const INET6: Self = Self(23);
}

/// How strictly option semantics are applied to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Forward; keep the record only.
    Off = 0,
    /// Forward; report what breaks the contract.
    #[default]
    Audit = 1,
    /// What Windows was tested to do (length classes A to D).
    Compat = 2,
    /// The documented contract of `LPWSPSetSockOpt`.
    Strict = 3,
}

/// Where an endpoint is in its life, as far as options care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Created, no address.
    #[default]
    Unbound = 0,
    /// A bind is in progress.
    Binding = 1,
    /// Has an address.
    Bound = 2,
    /// Listens.
    Listening = 3,
    /// A connect is in progress (transitional: `SO_KEEPALIVE` is refused).
    Connecting = 4,
    /// Connected, or accepted.
    Connected = 5,
    /// Disconnected in both directions, or reset.
    Disconnected = 6,
    /// Dropped by keep-alive failure.
    KeepAliveFailed = 7,
    /// Close was called.
    Closing = 8,
}

/// Generational endpoint id: never 0, never reused while the machine is up, never a kernel address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EndpointId(pub u64);

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xFFFF;

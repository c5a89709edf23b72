//! Objects, enumerations and constants of wsk.h.

use core::ffi::c_void;

use crate::{
    ADDRESS_FAMILY, GUID, HANDLE, NTSTATUS, PCMSGHDR, PIRP, PMDL, PSOCKADDR, SIZE_T, ULONG, USHORT,
    WSK_PROVIDER_DISPATCH,
};

/// `NPIID`.
pub type NPIID = GUID;

/// `NPI_WSK_INTERFACE_ID`, the NPI that the system's WSK provider registers.
pub const NPI_WSK_INTERFACE_ID: NPIID = GUID {
    Data1: 0x2227_E803,
    Data2: 0x8D8B,
    Data3: 0x11D4,
    Data4: [0xAB, 0xAD, 0x00, 0x90, 0x27, 0x71, 0x9E, 0x09],
};

/// What a WSK socket shows of itself; the rest belongs to whoever provides it.
#[repr(C)]
#[derive(Debug)]
pub struct WSK_SOCKET {
    /// The dispatch table of the socket's category.
    pub Dispatch: *const c_void,
}
/// `PWSK_SOCKET`.
pub type PWSK_SOCKET = *mut WSK_SOCKET;
/// `PWSK_CLIENT`: the provider's context of one attached client, opaque.
pub type PWSK_CLIENT = *mut c_void;

/// `WSK_BUF`. `Offset` lies inside the first MDL of the chain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_BUF {
    /// Chain of MDLs over nonpaged or locked memory.
    pub Mdl: PMDL,
    /// Bytes to skip in the first MDL.
    pub Offset: ULONG,
    /// Bytes of data.
    pub Length: SIZE_T,
}
/// `PWSK_BUF`.
pub type PWSK_BUF = *mut WSK_BUF;

/// `WSK_BUF_LIST`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_BUF_LIST {
    /// Next, or NULL.
    pub Next: *mut WSK_BUF_LIST,
    /// This one.
    pub Buffer: WSK_BUF,
}

/// `WSK_DATA_INDICATION`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_DATA_INDICATION {
    /// Next, or NULL.
    pub Next: *mut WSK_DATA_INDICATION,
    /// The data.
    pub Buffer: WSK_BUF,
}
/// `PWSK_DATA_INDICATION`.
pub type PWSK_DATA_INDICATION = *mut WSK_DATA_INDICATION;

/// `WSK_DATAGRAM_INDICATION`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_DATAGRAM_INDICATION {
    /// Next, or NULL.
    pub Next: *mut WSK_DATAGRAM_INDICATION,
    /// The data.
    pub Buffer: WSK_BUF,
    /// Control messages, or NULL.
    pub ControlInfo: PCMSGHDR,
    /// Bytes of control messages.
    pub ControlInfoLength: ULONG,
    /// Sender.
    pub RemoteAddress: PSOCKADDR,
}
/// `PWSK_DATAGRAM_INDICATION`.
pub type PWSK_DATAGRAM_INDICATION = *mut WSK_DATAGRAM_INDICATION;

/// `WSK_INSPECT_ID`: identifies a request by content, not by address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WSK_INSPECT_ID {
    /// First half.
    pub Key: usize,
    /// Second half.
    pub SerialNumber: ULONG,
}
/// `PWSK_INSPECT_ID`.
pub type PWSK_INSPECT_ID = *mut WSK_INSPECT_ID;

/// `WSK_EVENT_CALLBACK_CONTROL`: input of `SO_WSK_EVENT_CALLBACK` and `WSK_SET_STATIC_EVENT_CALLBACKS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EVENT_CALLBACK_CONTROL {
    /// `NPI_WSK_INTERFACE_ID`, or an extension's.
    pub NpiId: *const NPIID,
    /// `WSK_EVENT_*`.
    pub EventMask: ULONG,
}

/// `WSK_EXTENSION_CONTROL_IN`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EXTENSION_CONTROL_IN {
    /// The extension.
    pub NpiId: *const NPIID,
    /// The client's context in it.
    pub ClientContext: *mut c_void,
    /// The client's callbacks in it.
    pub ClientDispatch: *const c_void,
}

/// `WSK_EXTENSION_CONTROL_OUT`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_EXTENSION_CONTROL_OUT {
    /// The provider's context in the extension.
    pub ProviderContext: *mut c_void,
    /// The provider's functions in it.
    pub ProviderDispatch: *const c_void,
}

/// `WSK_PROVIDER_CHARACTERISTICS`: NPI-specific characteristics of a WSK provider.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WSK_PROVIDER_CHARACTERISTICS {
    /// `MAKE_WSK_VERSION`.
    pub HighestVersion: USHORT,
    /// `MAKE_WSK_VERSION`.
    pub LowestVersion: USHORT,
}

/// `WSK_TRANSPORT`: an element of `WSK_TRANSPORT_LIST_QUERY`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WSK_TRANSPORT {
    /// `MAKE_WSK_VERSION`.
    pub Version: USHORT,
    /// `SOCK_*`.
    pub SocketType: USHORT,
    /// `IPPROTO_*`.
    pub Protocol: ULONG,
    /// `AF_*`.
    pub AddressFamily: ADDRESS_FAMILY,
    /// The transport's own id.
    pub ProviderId: GUID,
}

/// `WSK_CLIENT_DISPATCH`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_CLIENT_DISPATCH {
    /// Version the client was written for.
    pub Version: USHORT,
    /// Zero.
    pub Reserved: USHORT,
    /// May be NULL; no events are defined.
    pub WskClientEvent: Option<unsafe extern "system" fn(*mut c_void, ULONG, *mut c_void, SIZE_T) -> NTSTATUS>,
}

/// `WSK_CLIENT_NPI`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_CLIENT_NPI {
    /// Handed to `WskClientEvent`.
    pub ClientContext: *mut c_void,
    /// Resident until deregistered.
    pub Dispatch: *const WSK_CLIENT_DISPATCH,
}

/// `WSK_PROVIDER_NPI`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_PROVIDER_NPI {
    /// First argument of the provider's functions.
    pub Client: PWSK_CLIENT,
    /// The provider's functions.
    pub Dispatch: *const WSK_PROVIDER_DISPATCH,
}

/// `WSK_REGISTRATION`: storage that the registration library owns while registered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_REGISTRATION {
    /// Reserved.
    pub ReservedRegistrationState: u64,
    /// Reserved.
    pub ReservedRegistrationContext: *mut c_void,
    /// Reserved.
    pub ReservedRegistrationLock: usize,
}

/// `WSK_CONTROL_SOCKET_TYPE`, an int that clients may set to anything.
pub type WSK_CONTROL_SOCKET_TYPE = i32;
/// Set a socket option.
pub const WskSetOption: WSK_CONTROL_SOCKET_TYPE = 0;
/// Get a socket option.
pub const WskGetOption: WSK_CONTROL_SOCKET_TYPE = 1;
/// Issue an IOCTL; the level is ignored.
pub const WskIoctl: WSK_CONTROL_SOCKET_TYPE = 2;

/// `WSK_INSPECT_ACTION`.
pub type WSK_INSPECT_ACTION = i32;
/// Reject the connection request.
pub const WskInspectReject: WSK_INSPECT_ACTION = 0;
/// Accept it.
pub const WskInspectAccept: WSK_INSPECT_ACTION = 1;
/// Decide later with `WskInspectComplete`.
pub const WskInspectPend: WSK_INSPECT_ACTION = 2;

/// `MAKE_WSK_VERSION`.
#[must_use]
pub const fn MAKE_WSK_VERSION(major: u8, minor: u8) -> USHORT {
    u16::from_be_bytes([major, minor])
}

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {$(
        #[doc = concat!("`", stringify!($name), "` of wsk.h.")]
        $(#[$doc])*
        pub const $name: $type = $value;
    )*};
}
constants! {
    WSK_FLAG_BASIC_SOCKET: ULONG = 0;
    WSK_FLAG_LISTEN_SOCKET: ULONG = 1;
    WSK_FLAG_CONNECTION_SOCKET: ULONG = 2;
    WSK_FLAG_DATAGRAM_SOCKET: ULONG = 4;
    WSK_FLAG_STREAM_SOCKET: ULONG = 8;
    /// Indications and events: the callback runs at `DISPATCH_LEVEL`.
    WSK_FLAG_AT_DISPATCH_LEVEL: ULONG = 8;
    WSK_FLAG_RELEASE_ASAP: ULONG = 2;
    WSK_FLAG_ENTIRE_MESSAGE: ULONG = 4;
    WSK_FLAG_ABORTIVE: ULONG = 1;
    WSK_FLAG_OOB: ULONG = 1;
    WSK_FLAG_NODELAY: ULONG = 2;
    WSK_FLAG_WAITALL: ULONG = 2;
    WSK_FLAG_DRAIN: ULONG = 4;
    WSK_EVENT_RECEIVE_FROM: ULONG = 0x100;
    WSK_EVENT_ACCEPT: ULONG = 0x200;
    WSK_EVENT_SEND_BACKLOG: ULONG = 0x10;
    WSK_EVENT_RECEIVE: ULONG = 0x40;
    WSK_EVENT_DISCONNECT: ULONG = 0x80;
    WSK_EVENT_DISABLE: ULONG = 0x8000_0000;
    WSK_TRANSPORT_LIST_QUERY: ULONG = 2;
    WSK_TRANSPORT_LIST_CHANGE: ULONG = 3;
    WSK_CACHE_SD: ULONG = 4;
    WSK_RELEASE_SD: ULONG = 5;
    WSK_TDI_DEVICENAME_MAPPING: ULONG = 6;
    WSK_SET_STATIC_EVENT_CALLBACKS: ULONG = 7;
    WSK_TDI_BEHAVIOR: ULONG = 8;
    SO_WSK_SECURITY: ULONG = 0x4001;
    SO_WSK_EVENT_CALLBACK: ULONG = 0x4002;
    SIO_WSK_SET_REMOTE_ADDRESS: ULONG = 0x8F00_0001;
    SIO_WSK_REGISTER_EXTENSION: ULONG = 0xCF00_0002;
    SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: ULONG = 0x4F00_0003;
    SIO_WSK_QUERY_RECEIVE_BACKLOG: ULONG = 0x4F00_0004;
    SIO_WSK_QUERY_INSPECT_ID: ULONG = 0x4F00_0005;
    SIO_WSK_SET_SENDTO_ADDRESS: ULONG = 0x8F00_0006;
    SIO_WSK_SET_TCP_SILENT_MODE: ULONG = 0x2F00_0007;
    SIO_WSK_SET_RECEIVE_EX_CALLBACK: ULONG = 0x8F00_0008;
    WSK_NO_WAIT: ULONG = 0;
    WSK_INFINITE_WAIT: ULONG = 0xFFFF_FFFF;
}

#[cfg_attr(feature = "wdk", link(name = "netio"))]
unsafe extern "system" {
    /// Registers a WSK client. PASSIVE_LEVEL. The block stays resident until `WskDeregister` returned.
    pub fn WskRegister(WskClientNpi: *const WSK_CLIENT_NPI, WskRegistration: *mut WSK_REGISTRATION) -> NTSTATUS;
    /// Waits for sockets, captures and requests to end. PASSIVE_LEVEL.
    pub fn WskDeregister(WskRegistration: *mut WSK_REGISTRATION);
    /// Waits up to `WaitTimeout` ms for a provider. PASSIVE_LEVEL, or <= DISPATCH_LEVEL with `WSK_NO_WAIT`.
    pub fn WskCaptureProviderNPI(
        WskRegistration: *mut WSK_REGISTRATION,
        WaitTimeout: ULONG,
        WskProviderNpi: *mut WSK_PROVIDER_NPI,
    ) -> NTSTATUS;
    /// Once per successful capture. <= DISPATCH_LEVEL.
    pub fn WskReleaseProviderNPI(WskRegistration: *mut WSK_REGISTRATION);
    /// Versions that the provider supports. <= DISPATCH_LEVEL.
    pub fn WskQueryProviderCharacteristics(
        WskRegistration: *mut WSK_REGISTRATION,
        WskProviderCharacteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
    ) -> NTSTATUS;
}

// Mentioned so that the prototypes above and in `dispatch` read as in the headers.
const _: (Option<PIRP>, Option<HANDLE>) = (None, None);

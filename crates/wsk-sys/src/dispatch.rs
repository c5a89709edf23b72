//! Dispatch tables of a WSK provider, in the exact member order of wsk.h.
//!
//! The per-category tables carry no version and no size: `sizeof` says nothing about the table that a given Windows exports.
//! Every function runs at IRQL <= DISPATCH_LEVEL unless its line says PASSIVE_LEVEL. Where an IRP is given, a valid request is
//! always completed through it, and the returned status is a hint.

use core::ffi::c_void;

use crate::{
    ADDRESS_FAMILY, GUID, NTSTATUS, PADDRINFOEXW, PCMSGHDR, PEPROCESS, PETHREAD, PIRP, PSECURITY_DESCRIPTOR, PSOCKADDR,
    PUNICODE_STRING, PWSK_BUF, PWSK_CLIENT, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID,
    PWSK_SOCKET, SIZE_T, ULONG, USHORT, WSK_BUF_LIST, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CONTROL_SOCKET_TYPE,
    WSK_INSPECT_ACTION,
};

/// Creates a socket; `IoStatus.Information` is the `PWSK_SOCKET`.
pub type PFN_WSK_SOCKET = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    AddressFamily: ADDRESS_FAMILY,
    SocketType: USHORT,
    Protocol: ULONG,
    Flags: ULONG,
    SocketContext: *mut c_void,
    Dispatch: *const c_void,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    SecurityDescriptor: PSECURITY_DESCRIPTOR,
    Irp: PIRP,
) -> NTSTATUS;
/// Creates, binds and connects in one; `IoStatus.Information` is the `PWSK_SOCKET`.
pub type PFN_WSK_SOCKET_CONNECT = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    SocketType: USHORT,
    Protocol: ULONG,
    LocalAddress: PSOCKADDR,
    RemoteAddress: PSOCKADDR,
    Flags: ULONG,
    SocketContext: *mut c_void,
    Dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    SecurityDescriptor: PSECURITY_DESCRIPTOR,
    Irp: PIRP,
) -> NTSTATUS;
/// Client-wide control; the IRP is optional, per code.
pub type PFN_WSK_CONTROL_CLIENT = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    ControlCode: ULONG,
    InputSize: SIZE_T,
    InputBuffer: *mut c_void,
    OutputSize: SIZE_T,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut SIZE_T,
    Irp: PIRP,
) -> NTSTATUS;
/// PASSIVE_LEVEL.
pub type PFN_WSK_GET_ADDRESS_INFO = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    NodeName: PUNICODE_STRING,
    ServiceName: PUNICODE_STRING,
    NameSpace: ULONG,
    Provider: *mut GUID,
    Hints: PADDRINFOEXW,
    Result: *mut PADDRINFOEXW,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    Irp: PIRP,
) -> NTSTATUS;
/// PASSIVE_LEVEL, no IRP.
pub type PFN_WSK_FREE_ADDRESS_INFO = unsafe extern "system" fn(Client: PWSK_CLIENT, AddrInfo: PADDRINFOEXW);
/// PASSIVE_LEVEL.
pub type PFN_WSK_GET_NAME_INFO = unsafe extern "system" fn(
    Client: PWSK_CLIENT,
    SockAddr: PSOCKADDR,
    SockAddrLength: ULONG,
    NodeName: PUNICODE_STRING,
    ServiceName: PUNICODE_STRING,
    Flags: ULONG,
    OwningProcess: PEPROCESS,
    OwningThread: PETHREAD,
    Irp: PIRP,
) -> NTSTATUS;
/// Sets or gets an option or issues an IOCTL; the IRP is optional, per option.
pub type PFN_WSK_CONTROL_SOCKET = unsafe extern "system" fn(
    Socket: PWSK_SOCKET,
    RequestType: WSK_CONTROL_SOCKET_TYPE,
    ControlCode: ULONG,
    Level: ULONG,
    InputSize: SIZE_T,
    InputBuffer: *mut c_void,
    OutputSize: SIZE_T,
    OutputBuffer: *mut c_void,
    OutputSizeReturned: *mut SIZE_T,
    Irp: PIRP,
) -> NTSTATUS;
/// Closes; nothing may be in progress on the socket, and nothing may follow.
pub type PFN_WSK_CLOSE_SOCKET = unsafe extern "system" fn(Socket: PWSK_SOCKET, Irp: PIRP) -> NTSTATUS;
/// Binds to a local address.
pub type PFN_WSK_BIND =
    unsafe extern "system" fn(PWSK_SOCKET, LocalAddress: PSOCKADDR, Flags: ULONG, Irp: PIRP) -> NTSTATUS;
/// Accepts; `IoStatus.Information` is the accepted `PWSK_SOCKET`.
pub type PFN_WSK_ACCEPT = unsafe extern "system" fn(
    ListenSocket: PWSK_SOCKET,
    Flags: ULONG,
    AcceptSocketContext: *mut c_void,
    AcceptSocketDispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    LocalAddress: PSOCKADDR,
    RemoteAddress: PSOCKADDR,
    Irp: PIRP,
) -> NTSTATUS;
/// Resumes a pended inspection.
pub type PFN_WSK_INSPECT_COMPLETE =
    unsafe extern "system" fn(PWSK_SOCKET, PWSK_INSPECT_ID, Action: WSK_INSPECT_ACTION, Irp: PIRP) -> NTSTATUS;
/// The bound address.
pub type PFN_WSK_GET_LOCAL_ADDRESS = unsafe extern "system" fn(PWSK_SOCKET, PSOCKADDR, PIRP) -> NTSTATUS;
/// The peer's address.
pub type PFN_WSK_GET_REMOTE_ADDRESS = unsafe extern "system" fn(PWSK_SOCKET, PSOCKADDR, PIRP) -> NTSTATUS;
/// Turns a bound stream socket into a listener.
pub type PFN_WSK_LISTEN = unsafe extern "system" fn(PWSK_SOCKET, PIRP) -> NTSTATUS;
/// Connects.
pub type PFN_WSK_CONNECT =
    unsafe extern "system" fn(PWSK_SOCKET, RemoteAddress: PSOCKADDR, Flags: ULONG, PIRP) -> NTSTATUS;
/// Connects and sends.
pub type PFN_WSK_CONNECT_EX =
    unsafe extern "system" fn(PWSK_SOCKET, RemoteAddress: PSOCKADDR, Buffer: PWSK_BUF, Flags: ULONG, PIRP) -> NTSTATUS;
/// Sends; `Information` is the byte count.
pub type PFN_WSK_SEND = unsafe extern "system" fn(PWSK_SOCKET, PWSK_BUF, Flags: ULONG, PIRP) -> NTSTATUS;
/// Receives; `Information` is the byte count.
pub type PFN_WSK_RECEIVE = unsafe extern "system" fn(PWSK_SOCKET, PWSK_BUF, Flags: ULONG, PIRP) -> NTSTATUS;
/// Disconnects, gracefully or not, after an optional last send.
pub type PFN_WSK_DISCONNECT = unsafe extern "system" fn(PWSK_SOCKET, Buffer: PWSK_BUF, Flags: ULONG, PIRP) -> NTSTATUS;
/// Gives back a retained list. No IRP.
pub type PFN_WSK_RELEASE_DATA_INDICATION_LIST =
    unsafe extern "system" fn(PWSK_SOCKET, PWSK_DATA_INDICATION) -> NTSTATUS;
/// Gives back a retained list. No IRP.
pub type PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST =
    unsafe extern "system" fn(PWSK_SOCKET, PWSK_DATAGRAM_INDICATION) -> NTSTATUS;
/// Sends a datagram.
pub type PFN_WSK_SEND_TO = unsafe extern "system" fn(
    Socket: PWSK_SOCKET,
    Buffer: PWSK_BUF,
    Flags: ULONG,
    RemoteAddress: PSOCKADDR,
    ControlInfoLength: ULONG,
    ControlInfo: PCMSGHDR,
    Irp: PIRP,
) -> NTSTATUS;
/// Receives a datagram.
pub type PFN_WSK_RECEIVE_FROM = unsafe extern "system" fn(
    Socket: PWSK_SOCKET,
    Buffer: PWSK_BUF,
    Flags: ULONG,
    RemoteAddress: PSOCKADDR,
    ControlLength: *mut ULONG,
    ControlInfo: PCMSGHDR,
    ControlFlags: *mut ULONG,
    Irp: PIRP,
) -> NTSTATUS;
/// Sends a list of datagrams (Windows 8).
pub type PFN_WSK_SEND_MESSAGES = unsafe extern "system" fn(
    Socket: PWSK_SOCKET,
    BufferList: *mut WSK_BUF_LIST,
    Flags: ULONG,
    RemoteAddress: PSOCKADDR,
    ControlInfoLength: ULONG,
    ControlInfo: PCMSGHDR,
    Irp: PIRP,
) -> NTSTATUS;
/// Reserved for system use; forwarded untouched.
pub type PFN_WSK_SEND_EX = unsafe extern "system" fn(
    PWSK_SOCKET,
    PWSK_BUF,
    Flags: ULONG,
    ControlInfoLength: ULONG,
    PCMSGHDR,
    PIRP,
) -> NTSTATUS;
/// Reserved for system use; forwarded untouched.
pub type PFN_WSK_RECEIVE_EX = unsafe extern "system" fn(
    PWSK_SOCKET,
    PWSK_BUF,
    Flags: ULONG,
    ControlInfoLength: *mut ULONG,
    PCMSGHDR,
    ControlFlags: *mut ULONG,
    PIRP,
) -> NTSTATUS;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $table { $(#[doc = concat!("See [`", stringify!($type), "`].")] pub $field: $type,)* }
    )*};
}
tables! {
    /// What a provider offers a client. `Version` may be above what the client asked for.
    WSK_PROVIDER_DISPATCH {
        Version: USHORT,
        Reserved: USHORT,
        WskSocket: Option<PFN_WSK_SOCKET>,
        WskSocketConnect: Option<PFN_WSK_SOCKET_CONNECT>,
        WskControlClient: Option<PFN_WSK_CONTROL_CLIENT>,
        WskGetAddressInfo: Option<PFN_WSK_GET_ADDRESS_INFO>,
        WskFreeAddressInfo: Option<PFN_WSK_FREE_ADDRESS_INFO>,
        WskGetNameInfo: Option<PFN_WSK_GET_NAME_INFO>,
    }
    /// First member of every category's table.
    WSK_PROVIDER_BASIC_DISPATCH {
        WskControlSocket: Option<PFN_WSK_CONTROL_SOCKET>,
        WskCloseSocket: Option<PFN_WSK_CLOSE_SOCKET>,
    }
    /// Listening sockets.
    WSK_PROVIDER_LISTEN_DISPATCH {
        Basic: WSK_PROVIDER_BASIC_DISPATCH,
        WskBind: Option<PFN_WSK_BIND>,
        WskAccept: Option<PFN_WSK_ACCEPT>,
        WskInspectComplete: Option<PFN_WSK_INSPECT_COMPLETE>,
        WskGetLocalAddress: Option<PFN_WSK_GET_LOCAL_ADDRESS>,
    }
    /// Datagram sockets.
    WSK_PROVIDER_DATAGRAM_DISPATCH {
        Basic: WSK_PROVIDER_BASIC_DISPATCH,
        WskBind: Option<PFN_WSK_BIND>,
        WskSendTo: Option<PFN_WSK_SEND_TO>,
        WskReceiveFrom: Option<PFN_WSK_RECEIVE_FROM>,
        WskRelease: Option<PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST>,
        WskGetLocalAddress: Option<PFN_WSK_GET_LOCAL_ADDRESS>,
        WskSendMessages: Option<PFN_WSK_SEND_MESSAGES>,
    }
    /// Connection sockets. The last three members are not there on every Windows.
    WSK_PROVIDER_CONNECTION_DISPATCH {
        Basic: WSK_PROVIDER_BASIC_DISPATCH,
        WskBind: Option<PFN_WSK_BIND>,
        WskConnect: Option<PFN_WSK_CONNECT>,
        WskGetLocalAddress: Option<PFN_WSK_GET_LOCAL_ADDRESS>,
        WskGetRemoteAddress: Option<PFN_WSK_GET_REMOTE_ADDRESS>,
        WskSend: Option<PFN_WSK_SEND>,
        WskReceive: Option<PFN_WSK_RECEIVE>,
        WskDisconnect: Option<PFN_WSK_DISCONNECT>,
        WskRelease: Option<PFN_WSK_RELEASE_DATA_INDICATION_LIST>,
        WskConnectEx: Option<PFN_WSK_CONNECT_EX>,
        WskSendEx: Option<PFN_WSK_SEND_EX>,
        WskReceiveEx: Option<PFN_WSK_RECEIVE_EX>,
    }
    /// Stream sockets (Windows 10 1703). The last two members are not there on every Windows.
    WSK_PROVIDER_STREAM_DISPATCH {
        Basic: WSK_PROVIDER_BASIC_DISPATCH,
        WskBind: Option<PFN_WSK_BIND>,
        WskAccept: Option<PFN_WSK_ACCEPT>,
        WskConnect: Option<PFN_WSK_CONNECT>,
        WskListen: Option<PFN_WSK_LISTEN>,
        WskSend: Option<PFN_WSK_SEND>,
        WskReceive: Option<PFN_WSK_RECEIVE>,
        WskDisconnect: Option<PFN_WSK_DISCONNECT>,
        WskRelease: Option<PFN_WSK_RELEASE_DATA_INDICATION_LIST>,
        WskGetLocalAddress: Option<PFN_WSK_GET_LOCAL_ADDRESS>,
        WskGetRemoteAddress: Option<PFN_WSK_GET_REMOTE_ADDRESS>,
        WskConnectEx: Option<PFN_WSK_CONNECT_EX>,
        WskSendEx: Option<PFN_WSK_SEND_EX>,
        WskReceiveEx: Option<PFN_WSK_RECEIVE_EX>,
    }
}

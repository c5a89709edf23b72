//! Callbacks that a WSK client implements. All run at IRQL <= DISPATCH_LEVEL and may not wait.

use core::ffi::c_void;

use crate::{
    NTSTATUS, PCMSGHDR, PSOCKADDR, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET,
    SIZE_T, ULONG, WSK_INSPECT_ACTION,
};

/// A connection was accepted; `AcceptSocket` NULL: the listener is dead. The addresses live for the call only.
pub type PFN_WSK_ACCEPT_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: ULONG,
    LocalAddress: PSOCKADDR,
    RemoteAddress: PSOCKADDR,
    AcceptSocket: PWSK_SOCKET,
    AcceptSocketContext: *mut *mut c_void,
    AcceptSocketDispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS;
/// A connection request arrived at a conditional listener; id NULL: the listener is dead.
pub type PFN_WSK_INSPECT_EVENT =
    unsafe extern "system" fn(*mut c_void, PSOCKADDR, PSOCKADDR, PWSK_INSPECT_ID) -> WSK_INSPECT_ACTION;
/// A pended or accepted connection request went away.
pub type PFN_WSK_ABORT_EVENT = unsafe extern "system" fn(*mut c_void, PWSK_INSPECT_ID) -> NTSTATUS;
/// Datagrams arrived; NULL: the socket is dead. `STATUS_PENDING` retains the list.
pub type PFN_WSK_RECEIVE_FROM_EVENT =
    unsafe extern "system" fn(*mut c_void, ULONG, PWSK_DATAGRAM_INDICATION) -> NTSTATUS;
/// Stream data arrived; NULL: the socket is dead. `STATUS_PENDING` retains the list.
pub type PFN_WSK_RECEIVE_EVENT =
    unsafe extern "system" fn(*mut c_void, ULONG, PWSK_DATA_INDICATION, SIZE_T, *mut SIZE_T) -> NTSTATUS;
/// The peer disconnected; `WSK_FLAG_ABORTIVE` when it was a reset.
pub type PFN_WSK_DISCONNECT_EVENT = unsafe extern "system" fn(*mut c_void, ULONG) -> NTSTATUS;
/// The ideal send backlog changed.
pub type PFN_WSK_SEND_BACKLOG_EVENT = unsafe extern "system" fn(*mut c_void, SIZE_T) -> NTSTATUS;
/// Installed by `SIO_WSK_SET_RECEIVE_EX_CALLBACK`.
pub type PFN_WSK_RECEIVE_EX_EVENT = unsafe extern "system" fn(
    SocketContext: *mut c_void,
    Flags: ULONG,
    DataIndication: PWSK_DATA_INDICATION,
    ControlInfo: PCMSGHDR,
    ControlInfoLength: ULONG,
    BytesIndicated: SIZE_T,
    BytesAccepted: *mut SIZE_T,
) -> NTSTATUS;

/// Callbacks of a listening socket. A NULL member is never enabled.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WSK_CLIENT_LISTEN_DISPATCH {
    /// Enabled by `WSK_EVENT_ACCEPT`.
    pub WskAcceptEvent: Option<PFN_WSK_ACCEPT_EVENT>,
    /// Enabled by `SO_CONDITIONAL_ACCEPT`.
    pub WskInspectEvent: Option<PFN_WSK_INSPECT_EVENT>,
    /// Enabled by `SO_CONDITIONAL_ACCEPT`.
    pub WskAbortEvent: Option<PFN_WSK_ABORT_EVENT>,
}

/// Callbacks of a datagram socket.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WSK_CLIENT_DATAGRAM_DISPATCH {
    /// Enabled by `WSK_EVENT_RECEIVE_FROM`.
    pub WskReceiveFromEvent: Option<PFN_WSK_RECEIVE_FROM_EVENT>,
}

/// Callbacks of a connection socket.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WSK_CLIENT_CONNECTION_DISPATCH {
    /// Enabled by `WSK_EVENT_RECEIVE`.
    pub WskReceiveEvent: Option<PFN_WSK_RECEIVE_EVENT>,
    /// Enabled by `WSK_EVENT_DISCONNECT`.
    pub WskDisconnectEvent: Option<PFN_WSK_DISCONNECT_EVENT>,
    /// Enabled by `WSK_EVENT_SEND_BACKLOG`.
    pub WskSendBacklogEvent: Option<PFN_WSK_SEND_BACKLOG_EVENT>,
}

/// Callbacks of a stream socket: two tables by pointer, either of which may be NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WSK_CLIENT_STREAM_DISPATCH {
    /// Used once the socket listens.
    pub Listen: *const WSK_CLIENT_LISTEN_DISPATCH,
    /// Used once it connects.
    pub Connect: *const WSK_CLIENT_CONNECTION_DISPATCH,
}

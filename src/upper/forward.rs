//! Calls that nothing is decided on: the provider's socket for ours, and the client's IRP as it came.

use wdk_sys::{NTSTATUS, STATUS_NOT_SUPPORTED};
use wsk_sys::{
    PCMSGHDR, PIRP, PSOCKADDR, PWSK_BUF, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET,
    ULONG, WSK_BUF_LIST, WSK_INSPECT_ACTION, WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH,
    WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH,
};

use super::lower::{reach, reach_to_end};
use crate::alive;
use crate::endpoint::Endpoint;
use crate::request::complete_here;

/// One wrapper for each function of a table; a function the provider does not have is `STATUS_NOT_SUPPORTED`. Those that are `watched`
/// are observed where keep-alive asks for it. Those `without irp` give something back, also to a provider that leaves.
macro_rules! forward {
    ($module:ident $table:ty {
        $($name:ident -> $member:ident($($arg:ident: $type:ty),*);)*
    } watched {
        $($seen:ident -> $seen_member:ident($($seen_arg:ident: $seen_type:ty),*);)*
    } without irp {
        $($bare:ident -> $bare_member:ident($bare_arg:ident: $bare_type:ty);)*
    }) => {
        pub mod $module {
            use super::*;
            $(
                pub unsafe extern "system" fn $name(socket: PWSK_SOCKET, $($arg: $type,)* irp: PIRP) -> NTSTATUS {
                    // SAFETY: the client passes a socket of ours that is open.
                    match reach::<$table>(unsafe { Endpoint::from_socket(socket) }).and_then(|(lower, table)| {
                        table.$member.map(|function| (lower, function)).ok_or(STATUS_NOT_SUPPORTED)
                    }) {
                        // SAFETY: the client's own arguments, for the provider to judge.
                        Ok((lower, function)) => unsafe { function(lower, $($arg,)* irp) },
                        // SAFETY: the client's IRP, which went nowhere.
                        Err(status) => unsafe { unreached(irp, status) },
                    }
                }
            )*
            $(
                pub unsafe extern "system" fn $seen(socket: PWSK_SOCKET, $($seen_arg: $seen_type,)* irp: PIRP) -> NTSTATUS {
                    // SAFETY: the client passes a socket of ours that is open.
                    let endpoint = unsafe { Endpoint::from_socket(socket) };
                    let (lower, function) = match reach::<$table>(endpoint).and_then(|(lower, table)| {
                        table.$seen_member.map(|function| (lower, function)).ok_or(STATUS_NOT_SUPPORTED)
                    }) {
                        Ok(found) => found,
                        // SAFETY: the client's IRP, which went nowhere.
                        Err(status) => return unsafe { unreached(irp, status) },
                    };
                    if !irp.is_null() && alive::may_watch(endpoint) {
                        // SAFETY: the client's own arguments, for the provider to judge, with its IRP or ours.
                        let call = move |irp| unsafe { function(lower, $($seen_arg,)* irp) };
                        // SAFETY: the client's IRP; the call above passes ours to one function.
                        return unsafe { alive::call(endpoint, irp, call) };
                    }
                    // SAFETY: the client's own arguments, for the provider to judge.
                    unsafe { function(lower, $($seen_arg,)* irp) }
                }
            )*
            $(
                pub unsafe extern "system" fn $bare(socket: PWSK_SOCKET, $bare_arg: $bare_type) -> NTSTATUS {
                    // SAFETY: the client passes a socket of ours that is open.
                    match reach_to_end::<$table>(unsafe { Endpoint::from_socket(socket) }) {
                        Ok((lower, table)) => match table.$bare_member {
                            // SAFETY: the client's own argument, for the provider to judge.
                            Some(function) => unsafe { function(lower, $bare_arg) },
                            None => STATUS_NOT_SUPPORTED,
                        },
                        Err(status) => status,
                    }
                }
            )*
        }
    };
}

/// Apart, so that a call that goes down needs no register but those of its arguments.
///
/// # Safety
/// As [`complete_here`].
#[cold]
#[inline(never)]
unsafe fn unreached(irp: PIRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: as the caller promises.
    unsafe { complete_here(irp, status, 0) }
}

forward!(listen WSK_PROVIDER_LISTEN_DISPATCH {
    inspect_complete -> WskInspectComplete(id: PWSK_INSPECT_ID, action: WSK_INSPECT_ACTION);
    local_address -> WskGetLocalAddress(address: PSOCKADDR);
} watched {} without irp {});

forward!(datagram WSK_PROVIDER_DATAGRAM_DISPATCH {
    send_to -> WskSendTo(buffer: PWSK_BUF, flags: ULONG, remote: PSOCKADDR, control_length: ULONG, control: PCMSGHDR);
    receive_from -> WskReceiveFrom(
        buffer: PWSK_BUF, flags: ULONG, remote: PSOCKADDR, control_length: *mut ULONG, control: PCMSGHDR, control_flags: *mut ULONG
    );
    local_address -> WskGetLocalAddress(address: PSOCKADDR);
    send_messages -> WskSendMessages(
        buffers: *mut WSK_BUF_LIST, flags: ULONG, remote: PSOCKADDR, control_length: ULONG, control: PCMSGHDR
    );
} watched {} without irp {
    release -> WskRelease(indication: PWSK_DATAGRAM_INDICATION);
});

forward!(connection WSK_PROVIDER_CONNECTION_DISPATCH {
    local_address -> WskGetLocalAddress(address: PSOCKADDR);
    remote_address -> WskGetRemoteAddress(address: PSOCKADDR);
} watched {
    send -> WskSend(buffer: PWSK_BUF, flags: ULONG);
    receive -> WskReceive(buffer: PWSK_BUF, flags: ULONG);
    send_ex -> WskSendEx(buffer: PWSK_BUF, flags: ULONG, control_length: ULONG, control: PCMSGHDR);
    receive_ex -> WskReceiveEx(
        buffer: PWSK_BUF, flags: ULONG, control_length: *mut ULONG, control: PCMSGHDR, control_flags: *mut ULONG
    );
} without irp {
    release -> WskRelease(indication: PWSK_DATA_INDICATION);
});

forward!(stream WSK_PROVIDER_STREAM_DISPATCH {
    local_address -> WskGetLocalAddress(address: PSOCKADDR);
    remote_address -> WskGetRemoteAddress(address: PSOCKADDR);
} watched {
    send -> WskSend(buffer: PWSK_BUF, flags: ULONG);
    receive -> WskReceive(buffer: PWSK_BUF, flags: ULONG);
    send_ex -> WskSendEx(buffer: PWSK_BUF, flags: ULONG, control_length: ULONG, control: PCMSGHDR);
    receive_ex -> WskReceiveEx(
        buffer: PWSK_BUF, flags: ULONG, control_length: *mut ULONG, control: PCMSGHDR, control_flags: *mut ULONG
    );
} without irp {
    release -> WskRelease(indication: PWSK_DATA_INDICATION);
});

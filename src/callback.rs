//! Client callbacks, wrapped: the provider calls ours with the endpoint as context, ours calls the client's with the client's.
//!
//! IRQL <= `DISPATCH_LEVEL`; nothing waits. A NULL slot of the client's table stays NULL, so there is a table for each set of slots.
//! From the entry of close no callback reaches the client.

mod tables;

pub use tables::{connection_table, table_for};

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_REQUEST_NOT_ACCEPTED, STATUS_SUCCESS};
use wsk_sys::{
    PCMSGHDR, PSOCKADDR, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET, SIZE_T, ULONG,
    WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH,
    WSK_CLIENT_STREAM_DISPATCH, WSK_FLAG_ABORTIVE, WSK_INSPECT_ACTION, WskInspectReject,
};
use wskguard_core::{Category, Phase, counters::Counter, semantics};

use crate::endpoint::{Birth, Endpoint, EndpointRef};
use crate::guard::guard;
use crate::initial::Later;
use crate::sockaddr::Address;
use crate::{alive, linger, upper};

/// The endpoint that an event is for, kept while the event lasts; `None` once its close has begun.
///
/// # Safety
/// `context` is what the provider was given with the socket: the endpoint, which outlives the socket's close.
unsafe fn enter(context: *mut c_void) -> Option<EndpointRef> {
    // SAFETY: as the caller promises.
    let endpoint = unsafe { context.cast::<Endpoint>().as_ref() }?;
    let endpoint = endpoint.reference();
    let suppressed = endpoint.is_closing();
    guard().count(if suppressed {
        Counter::CallbacksSuppressed
    } else {
        Counter::Callbacks
    });
    (!suppressed).then_some(endpoint)
}

/// The client's listen callbacks; of a stream socket, its listen part.
fn listen(endpoint: &Endpoint) -> Option<&WSK_CLIENT_LISTEN_DISPATCH> {
    let table = match endpoint.facts.category {
        // SAFETY: the client's table is of the kind that its category asks for, and resident while the socket is open.
        Category::Stream => unsafe { endpoint.callbacks().cast::<WSK_CLIENT_STREAM_DISPATCH>().as_ref() }?.Listen,
        _ => endpoint.callbacks().cast(),
    };
    // SAFETY: as above.
    unsafe { table.as_ref() }
}

/// The client's connection callbacks; of a stream socket, its connection part.
fn connection(endpoint: &Endpoint) -> Option<&WSK_CLIENT_CONNECTION_DISPATCH> {
    let table = match endpoint.facts.category {
        // SAFETY: the client's table is of the kind that its category asks for, and resident while the socket is open.
        Category::Stream => unsafe { endpoint.callbacks().cast::<WSK_CLIENT_STREAM_DISPATCH>().as_ref() }?.Connect,
        _ => endpoint.callbacks().cast(),
    };
    // SAFETY: as above.
    unsafe { table.as_ref() }
}

/// A connection was accepted: the client is shown a wrapper, and the provider our callbacks in the client's slots.
///
/// Refused with `STATUS_REQUEST_NOT_ACCEPTED`, so that the provider closes the connection, when there is no memory for the wrapper, or
/// for setting the options that the policy gives it.
unsafe extern "system" fn accept_event(
    context: *mut c_void,
    flags: ULONG,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    accepted: PWSK_SOCKET,
    accepted_context: *mut *mut c_void,
    accepted_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(listener) = (unsafe { enter(context) }) else {
        return STATUS_REQUEST_NOT_ACCEPTED;
    };
    let Some(event) = listen(&listener).and_then(|table| table.WskAcceptEvent) else {
        return STATUS_REQUEST_NOT_ACCEPTED;
    };
    if accepted.is_null() {
        // SAFETY: the client's own function and context; NULL tells it that its listener is dead.
        return unsafe {
            event(
                listener.context(),
                flags,
                local,
                remote,
                accepted,
                accepted_context,
                accepted_dispatch,
            )
        };
    }
    let Some(endpoint) = accepted_endpoint(&listener) else {
        guard().count(Counter::AllocationFailures);
        return STATUS_REQUEST_NOT_ACCEPTED;
    };
    // SAFETY: the provider passes NULL or an address of its family.
    if let Some(local) = unsafe { Address::capture(local) } {
        endpoint.set_local(&local);
    }
    endpoint.open(accepted);
    let Ok(later) = Later::prepare(&endpoint) else {
        guard().count(Counter::AllocationFailures);
        endpoint.begin_close();
        endpoint.closed();
        return STATUS_REQUEST_NOT_ACCEPTED;
    };
    endpoint.connected();
    let (mut client_context, mut client_dispatch) = (core::ptr::null_mut(), core::ptr::null());
    // SAFETY: the client's own function and context, with out parameters of ours.
    let status = unsafe {
        event(
            listener.context(),
            flags,
            local,
            remote,
            endpoint.as_socket(),
            &raw mut client_context,
            &raw mut client_dispatch,
        )
    };
    if status != STATUS_SUCCESS {
        // The provider closes the connection; the client never had it.
        endpoint.begin_close();
        endpoint.closed();
        return status;
    }
    endpoint.set_callbacks(client_context, client_dispatch.cast());
    // SAFETY: the provider's out parameters.
    unsafe { accepted_context.write(endpoint.as_context()) };
    // SAFETY: the client's table is NULL or valid.
    let own_dispatch = unsafe { connection_table(client_dispatch) };
    // SAFETY: as above.
    unsafe { accepted_dispatch.write(own_dispatch) };
    if let Some(later) = later {
        Later::begin(later);
    }
    // Open: the client's until it closes it.
    endpoint.into_raw();
    status
}

/// A wrapper for a connection that `listener` accepts, with the options that it inherits, and what they need. `None` without memory.
pub fn accepted_endpoint(listener: &Endpoint) -> Option<EndpointRef> {
    let facts = semantics::EndpointFacts {
        category: Category::Connection,
        ..listener.facts
    };
    let options = semantics::inherit(&listener.options.load());
    let birth = Birth {
        facts,
        context: core::ptr::null_mut(),
        callbacks: core::ptr::null(),
        process: core::ptr::null_mut(),
        options,
        phase: Phase::Connected,
    };
    let endpoint = Endpoint::create(listener.client(), upper::table_of(Category::Connection), birth)?;
    endpoint.bound_as(listener);
    linger::reserve(&endpoint, &options).then_some(endpoint)
}

unsafe extern "system" fn inspect_event(
    context: *mut c_void,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    id: PWSK_INSPECT_ID,
) -> WSK_INSPECT_ACTION {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return WskInspectReject;
    };
    match listen(&endpoint).and_then(|table| table.WskInspectEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), local, remote, id) },
        None => WskInspectReject,
    }
}

unsafe extern "system" fn abort_event(context: *mut c_void, id: PWSK_INSPECT_ID) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    match listen(&endpoint).and_then(|table| table.WskAbortEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), id) },
        None => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn receive_from_event(
    context: *mut c_void,
    flags: ULONG,
    data: PWSK_DATAGRAM_INDICATION,
) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    // SAFETY: a datagram socket's table is of this kind, and resident while it is open.
    let table = unsafe { endpoint.callbacks().cast::<WSK_CLIENT_DATAGRAM_DISPATCH>().as_ref() };
    match table.and_then(|table| table.WskReceiveFromEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), flags, data) },
        None => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn receive_event(
    context: *mut c_void,
    flags: ULONG,
    data: PWSK_DATA_INDICATION,
    indicated: SIZE_T,
    accepted: *mut SIZE_T,
) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    match connection(&endpoint).and_then(|table| table.WskReceiveEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), flags, data, indicated, accepted) },
        None => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn disconnect_event(context: *mut c_void, flags: ULONG) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    if flags & WSK_FLAG_ABORTIVE != 0 {
        alive::aborted(&endpoint);
    }
    match connection(&endpoint).and_then(|table| table.WskDisconnectEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), flags) },
        None => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn send_backlog_event(context: *mut c_void, ideal: SIZE_T) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    match connection(&endpoint).and_then(|table| table.WskSendBacklogEvent) {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe { event(endpoint.context(), ideal) },
        None => STATUS_SUCCESS,
    }
}

/// What goes down in place of the function that the client installs by `SIO_WSK_SET_RECEIVE_EX_CALLBACK`.
pub unsafe extern "system" fn receive_ex_event(
    context: *mut c_void,
    flags: ULONG,
    data: PWSK_DATA_INDICATION,
    control: PCMSGHDR,
    control_length: ULONG,
    indicated: SIZE_T,
    accepted: *mut SIZE_T,
) -> NTSTATUS {
    // SAFETY: the provider passes the context it was given.
    let Some(endpoint) = (unsafe { enter(context) }) else {
        return STATUS_SUCCESS;
    };
    match endpoint.receive_ex() {
        // SAFETY: the client's own function and context.
        Some(event) => unsafe {
            event(
                endpoint.context(),
                flags,
                data,
                control,
                control_length,
                indicated,
                accepted,
            )
        },
        None => STATUS_SUCCESS,
    }
}

//! WskAccept: the accepted connection's wrapper is made before the call, so that accepting cannot fail for it afterwards.

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED};
use wsk_sys::{PIRP, PSOCKADDR, PWSK_SOCKET, ULONG, WSK_CLIENT_CONNECTION_DISPATCH};

use super::create::{Create, out_of_memory};
use super::lower::{Accepts, reach};
use crate::callback::{accepted_endpoint, connection_table};
use crate::endpoint::Endpoint;
use crate::request::{Request, complete_here};

pub unsafe extern "system" fn accept<T: Accepts>(
    socket: PWSK_SOCKET,
    flags: ULONG,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    irp: PIRP,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the client passes a socket of ours that is open.
    let listener = unsafe { Endpoint::from_socket(socket) };
    let (lower, table) = match reach::<T>(listener) {
        Ok(found) => found,
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = table.accept() else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    let Some(accepted) = accepted_endpoint(listener) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    accepted.set_callbacks(context, dispatch.cast());
    let own_context = accepted.as_context();
    let (Some(finish), Some(request)) = (Create::of(accepted), Request::<Create>::allocate()) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // SAFETY: the client's table is NULL or valid.
    let own_dispatch = unsafe { connection_table(dispatch) };
    let call = |own| {
        // SAFETY: the client's arguments with our context, callbacks and IRP.
        unsafe { function(lower, flags, own_context, own_dispatch, local, remote, own) }
    };
    // SAFETY: the client's IRP; the call above passes ours to one function.
    unsafe { request.send(irp, finish, call) }
}

//! WskCloseSocket: the end of an endpoint. Needs no memory: its block came with the endpoint.

use core::ptr::NonNull;

use wdk_sys::{NTSTATUS, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_PENDING};
use wsk_sys::{PIRP, PWSK_SOCKET};

use super::lower;
use crate::endpoint::{Endpoint, EndpointRef};
use crate::linger;
use crate::request::{Finish, Prepared, Request, Told, complete_here, prepare};

/// A close on its way. Holds the reference that opening gave.
pub struct Close {
    endpoint: Option<EndpointRef>,
    /// Seconds of a graceful disconnect that comes first.
    linger: Option<u32>,
    closed: bool,
}

impl Finish for Close {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        if let Some(endpoint) = &self.endpoint {
            self.closed = status >= 0;
            if self.closed {
                endpoint.closed();
            } else {
                endpoint.close_failed();
            }
        }
        Told::Now(status, information)
    }

    unsafe fn retire(block: NonNull<Request<Self>>) {
        // SAFETY: as the caller promises.
        let Self { endpoint, closed, .. } = unsafe { Request::take(block) };
        if let Some(endpoint) = endpoint {
            if closed {
                // The last thing that touches the block: it lies in the endpoint.
                drop(endpoint);
            } else {
                // Still open, so the reference is the client's again.
                endpoint.into_raw();
            }
        }
    }
}

pub unsafe extern "system" fn close_socket(socket: PWSK_SOCKET, irp: PIRP) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let Some(phase) = endpoint.begin_close() else {
        // A second close while the first is pending.
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { complete_here(irp, STATUS_INVALID_HANDLE, 0) };
    };
    // SAFETY: the reference that opening gave, which the client gives up by closing.
    let open = unsafe { EndpointRef::from_raw(NonNull::from(endpoint)) };
    let finish = Close {
        endpoint: Some(open),
        linger: linger::wanted(endpoint, phase),
        closed: false,
    };
    // SAFETY: the block is idle, since close began once; the endpoint outlives it. The IRP is the client's. Close is not cancellable.
    if let Some(prepared) = unsafe { prepare(endpoint.close_block(), irp, finish, false) } {
        // A call of our own on this socket that is in progress has to return first; whoever ends it sends the close then.
        prepared.keep();
        if endpoint.shut() {
            go(endpoint);
        }
    }
    STATUS_PENDING
}

/// Nothing of our own is in progress any more: disconnects if the close is to linger, and else sends it.
pub fn go(endpoint: &Endpoint) {
    // SAFETY: kept by `close_socket`, and whoever gets here is the only one: the endpoint says once that close can go.
    let prepared = unsafe { Prepared::kept(endpoint.close_block()) };
    // SAFETY: not launched yet.
    let linger = unsafe { (*prepared.data()).linger.take() };
    prepared.keep();
    if !linger.is_some_and(|seconds| linger::begin(endpoint, seconds)) {
        send(endpoint);
    }
}

/// Sends the close that is kept in the endpoint.
pub fn send(endpoint: &Endpoint) {
    // SAFETY: kept, and sent once: by `go`, or by the linger that `go` began.
    let prepared = unsafe { Prepared::kept(endpoint.close_block()) };
    let lower = endpoint.lower_to_end();
    // SAFETY: the provider's socket lives until this close completes.
    match unsafe { lower::close(lower) } {
        Some(close) => {
            // SAFETY: the provider's socket, with our IRP.
            let call = |own, _| unsafe { close(lower, own) };
            // SAFETY: the call above passes our IRP to one function.
            unsafe { prepared.launch(call) };
        }
        None => prepared.fail(STATUS_NOT_SUPPORTED),
    }
}

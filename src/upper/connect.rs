//! What moves a connection through its life: connect, listen, disconnect. Observed for the endpoint's phase; nothing is decided.

use wdk_sys::{NTSTATUS, STATUS_INVALID_CONNECTION, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED};
use wsk_sys::{PIRP, PSOCKADDR, PWSK_BUF, PWSK_SOCKET, ULONG, WSK_FLAG_ABORTIVE, WSK_PROVIDER_STREAM_DISPATCH};
use wskguard_core::{NtStatus, Phase, semantics::Number, status::to_wsa};

use super::create::out_of_memory;
use super::lower::{Connects, reach};
use crate::alive;
use crate::endpoint::{Endpoint, EndpointRef};
use crate::request::{Finish, Request, Told, complete_here};

/// A change of phase on its way.
struct Move {
    endpoint: EndpointRef,
    /// Phase while it lasts, phase after it succeeded, phase after it failed.
    during: Phase,
    then: Phase,
    back: Phase,
}

impl Finish for Move {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        let to = if status >= 0 { self.then } else { self.back };
        // Another event (a close, an abortive disconnect) may have moved it on meanwhile.
        self.endpoint.move_phase(self.during, to);
        if self.during != Phase::Connecting {
            alive::ended(&self.endpoint, status);
        } else if status >= 0 {
            self.endpoint.connected();
        } else {
            let error = to_wsa(NtStatus(status.cast_unsigned()));
            self.endpoint.learn(Number::Error, error.0);
        }
        Told::Now(status, information)
    }
}

/// Sends `call` down, with the endpoint in phase `during` until it completes, and in `then` if it succeeds.
unsafe fn send_move(
    endpoint: &Endpoint,
    during: Phase,
    then: Phase,
    irp: PIRP,
    call: Option<impl FnOnce(PIRP) -> NTSTATUS>,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let Some(call) = call else {
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    let Some(request) = Request::<Move>::allocate() else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    let back = endpoint.phase();
    let during = if endpoint.move_phase(back, during) {
        during
    } else {
        back
    };
    let finish = Move {
        endpoint: endpoint.reference(),
        during,
        then,
        back,
    };
    // SAFETY: the client's IRP; the callers' closures pass ours to one function.
    unsafe { request.send(irp, finish, call) }
}

pub unsafe extern "system" fn connect<T: Connects>(
    socket: PWSK_SOCKET,
    remote: PSOCKADDR,
    flags: ULONG,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let (lower, function) = match reach::<T>(endpoint) {
        Ok((lower, table)) => (lower, table.connect()),
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    // SAFETY: the client's own arguments, with our IRP.
    let call = function.map(|function| move |own| unsafe { function(lower, remote, flags, own) });
    // SAFETY: the client's IRP.
    unsafe { send_move(endpoint, Phase::Connecting, Phase::Connected, irp, call) }
}

pub unsafe extern "system" fn connect_ex<T: Connects>(
    socket: PWSK_SOCKET,
    remote: PSOCKADDR,
    buffer: PWSK_BUF,
    flags: ULONG,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let (lower, function) = match reach::<T>(endpoint) {
        Ok((lower, table)) => (lower, table.connect_ex()),
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    // SAFETY: the client's own arguments, with our IRP.
    let call = function.map(|function| move |own| unsafe { function(lower, remote, buffer, flags, own) });
    // SAFETY: the client's IRP.
    unsafe { send_move(endpoint, Phase::Connecting, Phase::Connected, irp, call) }
}

pub unsafe extern "system" fn listen(socket: PWSK_SOCKET, irp: PIRP) -> NTSTATUS {
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let (lower, function) = match reach::<WSK_PROVIDER_STREAM_DISPATCH>(endpoint) {
        Ok((lower, table)) => (lower, table.WskListen),
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    // SAFETY: the client's socket, with our IRP.
    let call = function.map(|function| move |own| unsafe { function(lower, own) });
    let phase = endpoint.phase();
    // SAFETY: the client's IRP.
    unsafe { send_move(endpoint, phase, Phase::Listening, irp, call) }
}

pub unsafe extern "system" fn disconnect<T: Connects>(
    socket: PWSK_SOCKET,
    buffer: PWSK_BUF,
    flags: ULONG,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let (lower, function) = match reach::<T>(endpoint) {
        Ok((lower, table)) => (lower, table.disconnect()),
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    // SAFETY: the client's own arguments, with our IRP.
    let call = function.map(|function| move |own| unsafe { function(lower, buffer, flags, own) });
    let phase = endpoint.phase();
    if phase == Phase::KeepAliveFailed && !irp.is_null() && alive::watches(endpoint) {
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { complete_here(irp, STATUS_INVALID_CONNECTION, 0) };
    }
    // A graceful disconnect closes our direction only; data may still come.
    let then = if flags & WSK_FLAG_ABORTIVE != 0 {
        Phase::Disconnected
    } else {
        phase
    };
    // SAFETY: the client's IRP.
    unsafe { send_move(endpoint, phase, then, irp, call) }
}

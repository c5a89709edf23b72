//! How a call becomes a request: checks that fail at once, what the script says, and the way to the socket's inbox.
//! `<= DISPATCH_LEVEL`.

use alloc::sync::Arc;

use probe_protocol::probe::Function;
use wsk_sys::{PIRP, PWSK_SOCKET};

use super::request::{Op, Request};
use super::socket::{Socket, Task};
use crate::engine;
use crate::report::misuse;
use crate::script::{self, Plan};
use crate::status::{NTSTATUS, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_PENDING};

/// A request of an existing socket. `check` may refuse it at once: the IRP is then completed with the status, which is returned.
///
/// # Safety
/// The IRP is NULL or the client's to give; the socket is NULL or was given to a client.
pub(super) unsafe fn submit(
    socket: PWSK_SOCKET,
    irp: PIRP,
    function: Function,
    check: impl FnOnce(&Arc<Socket>) -> Result<Op, NTSTATUS>,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { Socket::find(socket, function_name(function)) }) else {
        return STATUS_INVALID_HANDLE;
    };
    let plan = script::plan(function);
    if let Some(status) = plan.refuse {
        return status;
    }
    match check(&socket) {
        // SAFETY: as the caller promises.
        Ok(op) => unsafe { send_in(&socket, irp, function, op, plan) },
        // SAFETY: as the caller promises.
        Err(status) => unsafe { fail(irp, function, status) },
    }
}

/// Completes an IRP at once.
///
/// # Safety
/// The IRP is the client's to give.
pub(super) unsafe fn fail(irp: PIRP, function: Function, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: as the caller promises.
    unsafe { finish(irp, function, status, 0) }
}

/// Completes an IRP at once, with a result.
///
/// # Safety
/// The IRP is the client's to give.
pub(super) unsafe fn finish(irp: PIRP, function: Function, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let request = unsafe { Request::take(irp, function, Op::Close(None), Plan::default()) };
    request.complete_now(status, information);
    status
}

/// Puts a request into the inbox of its socket, or does it at once when the script says so.
///
/// # Safety
/// The IRP is the client's to give.
pub(super) unsafe fn send_in(socket: &Arc<Socket>, irp: PIRP, function: Function, op: Op, plan: Plan) -> NTSTATUS {
    let is_close = matches!(op, Op::Close(_));
    // SAFETY: as the caller promises.
    let mut request = unsafe { Request::take(irp, function, op, plan) };
    if plan.inline && !engine::is_own_thread() {
        match socket.try_inline(request) {
            Ok(status) => return status,
            Err(back) => request = back,
        }
    }
    request.mark_pending();
    if !is_close {
        request.make_cancellable(socket);
    }
    socket.post(Task::Request(request));
    STATUS_PENDING
}

/// Reports a call of a socket whose close has begun.
pub(super) fn check_open(socket: &Socket, function: Function) {
    if socket.shared.lock().closing {
        misuse!("{} after WskCloseSocket", function_name(function));
    }
}

pub(super) fn function_name(function: Function) -> &'static str {
    match function {
        Function::Socket => "WskSocket",
        Function::SocketConnect => "WskSocketConnect",
        Function::ControlClient => "WskControlClient",
        Function::GetAddressInfo => "WskGetAddressInfo",
        Function::GetNameInfo => "WskGetNameInfo",
        Function::ControlSocket => "WskControlSocket",
        Function::CloseSocket => "WskCloseSocket",
        Function::Bind => "WskBind",
        Function::Accept => "WskAccept",
        Function::InspectComplete => "WskInspectComplete",
        Function::GetLocalAddress => "WskGetLocalAddress",
        Function::GetRemoteAddress => "WskGetRemoteAddress",
        Function::Listen => "WskListen",
        Function::Connect => "WskConnect",
        Function::ConnectEx => "WskConnectEx",
        Function::Send => "WskSend",
        Function::Receive => "WskReceive",
        Function::Disconnect => "WskDisconnect",
        Function::SendTo => "WskSendTo",
        Function::ReceiveFrom => "WskReceiveFrom",
        Function::SendMessages => "WskSendMessages",
        Function::SendEx => "WskSendEx",
        Function::ReceiveEx => "WskReceiveEx",
    }
}

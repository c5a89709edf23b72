//! The functions of the categories' dispatch tables.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;

use probe_protocol::probe::Function;
use wsk_sys::{
    PCMSGHDR, PIRP, PSOCKADDR, PWSK_BUF, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET,
    SIZE_T, ULONG, WSK_BUF, WSK_BUF_LIST, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CONTROL_SOCKET_TYPE, WSK_INSPECT_ACTION,
};

use super::entry::{check_open, finish, function_name, send_in, submit};
use super::events::{Change, status_without_irp};
use super::request::{Accept, Control, Op, ReceiveFrom};
use super::socket::{Category, Phase, Socket};
use super::{control, indication, ioctl};
use crate::script;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
};

type Checked = Result<Op, NTSTATUS>;

fn no_flags(flags: ULONG, op: Op) -> Checked {
    if flags == 0 {
        Ok(op)
    } else {
        Err(STATUS_INVALID_PARAMETER)
    }
}

/// # Safety
/// The buffer is NULL or valid.
unsafe fn copy(buffer: PWSK_BUF) -> Option<WSK_BUF> {
    // SAFETY: as the caller promises.
    unsafe { buffer.as_ref() }.copied()
}

macro_rules! wsk_calls {
    ($($(#[$doc:meta])* $name:ident($function:ident, $socket:ident, $irp:ident; $($argument:ident: $type:ty),*) $check:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// See wsk.h.
        pub(super) unsafe extern "system" fn $name(socket: PWSK_SOCKET, $($argument: $type,)* irp: PIRP) -> NTSTATUS {
            let check = |$socket: &Arc<Socket>| -> Checked {
                check_open($socket, Function::$function);
                $check
            };
            // SAFETY: as the caller promises.
            unsafe { submit(socket, irp, Function::$function, check) }
        }
    )*};
}

wsk_calls! {
    /// `WskBind`.
    bind(Bind, socket, irp; address: PSOCKADDR, flags: ULONG) no_flags(flags, Op::Bind(address));
    /// `WskListen`.
    listen(Listen, socket, irp;) Ok(Op::Listen);
    /// `WskAccept`.
    accept(
        Accept, socket, irp;
        flags: ULONG, context: *mut c_void, dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH, local: PSOCKADDR, remote: PSOCKADDR
    ) {
        if socket.phase() < Phase::Bound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        no_flags(flags, Op::Accept(Accept { context, dispatch, local, remote }))
    };
    /// `WskInspectComplete`.
    inspect_complete(InspectComplete, socket, irp; id: PWSK_INSPECT_ID, action: WSK_INSPECT_ACTION) {
        // SAFETY: the client's id is good for the call, or NULL.
        let id = unsafe { id.as_ref() }.copied().ok_or(STATUS_INVALID_PARAMETER)?;
        Ok(Op::InspectComplete { id, action })
    };
    /// `WskGetLocalAddress`.
    get_local_address(GetLocalAddress, socket, irp; address: PSOCKADDR) Ok(Op::LocalAddress(address));
    /// `WskGetRemoteAddress`.
    get_remote_address(GetRemoteAddress, socket, irp; address: PSOCKADDR) Ok(Op::RemoteAddress(address));
    /// `WskConnect`. Before `WskBind` it fails at once, as Windows was tested to.
    connect(Connect, socket, irp; to: PSOCKADDR, flags: ULONG) {
        if socket.phase() == Phase::Unbound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        no_flags(flags, Op::Connect { to, data: None })
    };
    /// `WskConnectEx`.
    connect_ex(ConnectEx, socket, irp; to: PSOCKADDR, data: PWSK_BUF, flags: ULONG) {
        if socket.phase() == Phase::Unbound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) };
        if data.is_some_and(|data| data.Length > 65535) {
            return Err(STATUS_BUFFER_OVERFLOW);
        }
        no_flags(flags, Op::Connect { to, data })
    };
    /// `WskSend`.
    send(Send, socket, irp; data: PWSK_BUF, flags: ULONG) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) }.ok_or(STATUS_INVALID_PARAMETER)?;
        Ok(Op::Send { data, flags })
    };
    /// `WskSendEx`: control information is not looked at.
    send_ex(SendEx, socket, irp; data: PWSK_BUF, flags: ULONG, _control_length: ULONG, _control: PCMSGHDR) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) }.ok_or(STATUS_INVALID_PARAMETER)?;
        Ok(Op::Send { data, flags })
    };
    /// `WskReceive`.
    receive(Receive, socket, irp; data: PWSK_BUF, flags: ULONG) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) }.ok_or(STATUS_INVALID_PARAMETER)?;
        Ok(Op::Receive { data, flags })
    };
    /// `WskReceiveEx`: there is never control information.
    receive_ex(
        ReceiveEx, socket, irp;
        data: PWSK_BUF, flags: ULONG, control_length: *mut ULONG, _control: PCMSGHDR, _control_flags: *mut ULONG
    ) {
        // SAFETY: the client's buffers are good, or NULL.
        let data = unsafe {
            if let Some(length) = control_length.as_mut() {
                *length = 0;
            }
            copy(data)
        };
        Ok(Op::Receive { data: data.ok_or(STATUS_INVALID_PARAMETER)?, flags })
    };
    /// `WskDisconnect`.
    disconnect(Disconnect, socket, irp; data: PWSK_BUF, flags: ULONG) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        Ok(Op::Disconnect { data: unsafe { copy(data) }, flags })
    };
    /// `WskSendTo`: control information is not looked at.
    send_to(
        SendTo, socket, irp;
        data: PWSK_BUF, flags: ULONG, to: PSOCKADDR, _control_length: ULONG, _control: PCMSGHDR
    ) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) }.ok_or(STATUS_INVALID_PARAMETER)?;
        no_flags(flags, Op::SendTo { datagrams: vec![data], to })
    };
    /// `WskSendMessages`: control information is not looked at.
    send_messages(
        SendMessages, socket, irp;
        list: *mut WSK_BUF_LIST, flags: ULONG, to: PSOCKADDR, _control_length: ULONG, _control: PCMSGHDR
    ) {
        let mut datagrams = Vec::new();
        let mut next = list.cast_const();
        // SAFETY: the client's list is good for the call.
        while let Some(element) = unsafe { next.as_ref() } {
            datagrams.push(element.Buffer);
            next = element.Next;
        }
        if datagrams.is_empty() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        no_flags(flags, Op::SendTo { datagrams, to })
    };
    /// `WskReceiveFrom`: there is never control information.
    receive_from(
        ReceiveFrom, socket, irp;
        data: PWSK_BUF, flags: ULONG, from: PSOCKADDR, control_length: *mut ULONG, _control: PCMSGHDR, control_flags: *mut ULONG
    ) {
        // SAFETY: the client's buffer description is good for the call, or NULL.
        let data = unsafe { copy(data) }.ok_or(STATUS_INVALID_PARAMETER)?;
        no_flags(flags, Op::ReceiveFrom(ReceiveFrom { data, from, control_length, control_flags }))
    };
}

/// `WskCloseSocket`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn close_socket(socket: PWSK_SOCKET, irp: PIRP) -> NTSTATUS {
    let check = |socket: &Arc<Socket>| {
        check_open(socket, Function::CloseSocket);
        // From here on no callback begins.
        socket.shared.lock().closing = true;
        Ok(Op::Close(None))
    };
    // SAFETY: as the caller promises.
    unsafe { submit(socket, irp, Function::CloseSocket, check) }
}

/// `WskControlSocket`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn control_socket(
    socket: PWSK_SOCKET,
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: ULONG,
    level: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    let control = Control {
        kind,
        code,
        level,
        input,
        input_size,
        output,
        output_size,
    };
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { Socket::find(socket, function_name(Function::ControlSocket)) }) else {
        return STATUS_INVALID_HANDLE;
    };
    check_open(&socket, Function::ControlSocket);
    ioctl::check_level(&control);
    let plan = script::plan(Function::ControlSocket);
    if let Some(status) = plan.refuse {
        return status;
    }
    if irp.is_null() {
        // SAFETY: as the caller promises.
        return plan
            .fail
            .unwrap_or_else(|| unsafe { control_without_irp(&socket, &control, returned) });
    }
    let op = if control.is_event_callback() && plan.fail.is_none() {
        match control.change_events(&socket) {
            // SAFETY: as the caller promises.
            Change::Done(status) => return unsafe { finish(irp, Function::ControlSocket, status, 0) },
            Change::InProgress(event) => Op::DisableEvent(event),
        }
    } else {
        Op::Control(control)
    };
    if let Op::DisableEvent(_) = op {
        // SAFETY: as the caller promises.
        return unsafe { wait_for_event(&socket, irp, op) };
    }
    // SAFETY: as the caller promises.
    unsafe { send_in(&socket, irp, Function::ControlSocket, op, plan) }
}

/// The socket's worker is in the callback that is waited for, so the request does not go through the inbox.
///
/// # Safety
/// The IRP is the client's to give.
unsafe fn wait_for_event(socket: &Arc<Socket>, irp: PIRP, op: Op) -> NTSTATUS {
    let Op::DisableEvent(event) = op else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: as the caller promises.
    let request = unsafe { super::request::Request::take(irp, Function::ControlSocket, op, script::Plan::default()) };
    request.mark_pending();
    if let Some(request) = socket.wait_for_event(event, request) {
        request.complete(crate::status::STATUS_SUCCESS, 0);
    }
    crate::status::STATUS_PENDING
}

/// # Safety
/// `returned` is NULL or can be written.
unsafe fn control_without_irp(socket: &Arc<Socket>, control: &Control, returned: *mut SIZE_T) -> NTSTATUS {
    if control.is_event_callback() {
        return status_without_irp(&control.change_events(socket));
    }
    let Some((status, length)) = control::without_irp(socket, control) else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: as the caller promises.
    if let Some(returned) = unsafe { returned.as_mut() } {
        *returned = length;
    }
    status
}

/// `WskRelease` of a connection.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn release_data(socket: PWSK_SOCKET, list: PWSK_DATA_INDICATION) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { Socket::find(socket, "WskRelease") }) else {
        return STATUS_INVALID_HANDLE;
    };
    debug_assert!(socket.category != Category::Datagram);
    // SAFETY: as the caller promises.
    unsafe { indication::release_data(&socket, list) }
}

/// `WskRelease` of a datagram socket.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn release_datagrams(
    socket: PWSK_SOCKET,
    list: PWSK_DATAGRAM_INDICATION,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { Socket::find(socket, "WskRelease") }) else {
        return STATUS_INVALID_HANDLE;
    };
    // SAFETY: as the caller promises.
    unsafe { indication::release_datagrams(&socket, list) }
}

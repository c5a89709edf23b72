//! From a request to the provider's function: which table, which member, which arguments. IRQL as the script asked.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use probe_protocol::probe::{Call, CallFlags, Category, Function};
use wdk_sys::{NTSTATUS, PIRP};
use wsk_sys::{
    PFN_WSK_CONTROL_SOCKET, PWSK_CLIENT, PWSK_SOCKET, WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH,
    WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH,
};

use crate::request::Request;
use crate::socket::{Socket, Stage};

/// Why nothing was called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotCalled {
    NoSuchObject,
    NoSuchFunction,
}

/// A socket's dispatch table.
#[derive(Clone, Copy)]
struct Table {
    address: *const c_void,
    category: Category,
}

/// Reads a member of the table, if tables of its category have it.
macro_rules! member {
    ($table:expr, $member:ident: $($category:ident $type:ident),+) => {{
        let table: Table = $table;
        let function = match table.category {
            $(Category::$category => {
                let slot = table.address.wrapping_byte_add(core::mem::offset_of!($type, $member));
                // SAFETY: the provider's table has the members of its category.
                unsafe { slot.cast::<Option<_>>().read() }
            })+
            #[allow(unreachable_patterns, reason = "some members are in every category")]
            _ => None,
        };
        function.ok_or(NotCalled::NoSuchFunction)
    }};
}

impl Table {
    fn of(socket: &Socket) -> Result<Self, NotCalled> {
        let wsk = socket.wsk();
        if wsk.is_null() || matches!(socket.stage(), Stage::New | Stage::Closed) {
            return Err(NotCalled::NoSuchObject);
        }
        // SAFETY: the provider's socket lives until its close completes.
        let address = unsafe { (*wsk).Dispatch };
        Ok(Self { address, category: socket.category })
    }

    fn control(self) -> Result<PFN_WSK_CONTROL_SOCKET, NotCalled> {
        let basic = self.address.cast::<WSK_PROVIDER_BASIC_DISPATCH>();
        // SAFETY: every table begins with the basic one.
        unsafe { (*basic).WskControlSocket }.ok_or(NotCalled::NoSuchFunction)
    }
}

/// Calls the function that `request` names, with `irp`.
pub(crate) fn invoke(request: &Request, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    match request.function {
        Function::Socket
        | Function::SocketConnect
        | Function::ControlClient
        | Function::GetAddressInfo
        | Function::GetNameInfo => invoke_client(request, irp),
        _ => invoke_socket(request, irp),
    }
}

/// Context and dispatch of the socket to be made.
fn identity(request: &Request) -> (*mut c_void, *const c_void) {
    let Some(created) = &request.created else { return (null_mut(), null()) };
    let flags = request.flags();
    let context = if flags.has(CallFlags::NULL_CONTEXT) { null_mut() } else { created.as_ptr() };
    let dispatch = if flags.has(CallFlags::NULL_DISPATCH) { null() } else { created.dispatch() };
    (context, dispatch)
}

#[allow(clippy::cast_possible_truncation, reason = "the script's numbers are cut to what the function takes")]
fn invoke_client(request: &Request, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let client = request.client.as_ref().ok_or(NotCalled::NoSuchObject)?;
    let (wsk_client, dispatch) = client.provider().ok_or(NotCalled::NoSuchObject)?;
    let wsk_client: PWSK_CLIENT = if request.flags().has(CallFlags::NULL_TARGET) { null_mut() } else { wsk_client };
    // SAFETY: the provider's dispatch is resident while the client is attached.
    let dispatch: &WSK_PROVIDER_DISPATCH = unsafe { &*dispatch };
    let Call { numbers: [n0, n1, n2, n3], input_size, output_size, .. } = request.call;
    let arguments = &request.arguments;
    let (context, callbacks) = identity(request);
    let with_process = request.flags().has(CallFlags::WITH_PROCESS);
    let process = if with_process { request.session.process() } else { null_mut() };
    let security = request.session.handles.get(request.call.security).unwrap_or(null_mut());
    let missing = NotCalled::NoSuchFunction;
    match request.function {
        Function::Socket => {
            let function = dispatch.WskSocket.ok_or(missing)?;
            // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
            Ok(unsafe {
                function(
                    wsk_client, n0 as u16, n1 as u16, n2, n3, context, callbacks, process, null_mut(), security, irp,
                )
            })
        }
        Function::SocketConnect => {
            let function = dispatch.WskSocketConnect.ok_or(missing)?;
            let (local, remote) = (arguments.address(0), arguments.address(1));
            // SAFETY: as above.
            Ok(unsafe {
                function(
                    wsk_client, n1 as u16, n2, local, remote, n3, context, callbacks.cast(), process, null_mut(),
                    security, irp,
                )
            })
        }
        Function::ControlClient => {
            let function = dispatch.WskControlClient.ok_or(missing)?;
            let (input, output, returned) = (arguments.input(), arguments.output(), arguments.output_returned());
            let (input_size, output_size) = (input_size as usize, output_size as usize);
            // SAFETY: as above.
            Ok(unsafe { function(wsk_client, n0, input_size, input, output_size, output, returned, irp) })
        }
        Function::GetAddressInfo => {
            let function = dispatch.WskGetAddressInfo.ok_or(missing)?;
            let (name, results) = (arguments.name(), arguments.results());
            // SAFETY: as above.
            Ok(unsafe {
                function(
                    wsk_client, name, null_mut(), 0, null_mut(), null_mut(), results, process, null_mut(), irp,
                )
            })
        }
        _ => {
            let function = dispatch.WskGetNameInfo.ok_or(missing)?;
            let (address, length) = (arguments.address(0), request.call.address_length);
            let name = arguments.name();
            // SAFETY: as above.
            Ok(unsafe {
                function(wsk_client, address, length, name, null_mut(), n3, process, null_mut(), irp)
            })
        }
    }
}

fn invoke_socket(request: &Request, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let socket = request.socket.as_ref().ok_or(NotCalled::NoSuchObject)?;
    let own = Table::of(socket)?;
    let table = request.table_of.as_ref().map_or(Ok(own), |other| Table::of(other))?;
    let wsk: PWSK_SOCKET = if request.flags().has(CallFlags::NULL_TARGET) { null_mut() } else { socket.wsk() };
    match request.function {
        Function::ControlSocket
        | Function::CloseSocket
        | Function::GetLocalAddress
        | Function::GetRemoteAddress
        | Function::InspectComplete => invoke_common(request, table, wsk, irp),
        Function::Bind
        | Function::Accept
        | Function::Listen
        | Function::Connect
        | Function::ConnectEx
        | Function::Disconnect => invoke_connecting(request, table, wsk, irp),
        _ => invoke_data(request, table, wsk, irp),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "sizes are 64 bits wide where the tests run")]
fn invoke_common(request: &Request, table: Table, wsk: PWSK_SOCKET, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let arguments = &request.arguments;
    let Call { numbers: [n0, n1, n2, _], input_size, output_size, .. } = request.call;
    match request.function {
        Function::ControlSocket => {
            let function = table.control()?;
            let (input, output, returned) = (arguments.input(), arguments.output(), arguments.output_returned());
            let (input_size, output_size) = (input_size as usize, output_size as usize);
            let kind = n0.cast_signed();
            // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
            Ok(unsafe { function(wsk, kind, n1, n2, input_size, input, output_size, output, returned, irp) })
        }
        Function::CloseSocket => {
            let basic = table.address.cast::<WSK_PROVIDER_BASIC_DISPATCH>();
            // SAFETY: every table begins with the basic one.
            let function = unsafe { (*basic).WskCloseSocket }.ok_or(NotCalled::NoSuchFunction)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, irp) })
        }
        Function::GetLocalAddress => {
            let function: wsk_sys::PFN_WSK_GET_LOCAL_ADDRESS = member!(table, WskGetLocalAddress:
                Listen WSK_PROVIDER_LISTEN_DISPATCH, Datagram WSK_PROVIDER_DATAGRAM_DISPATCH,
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.address_out(0), irp) })
        }
        Function::GetRemoteAddress => {
            let function: wsk_sys::PFN_WSK_GET_REMOTE_ADDRESS = member!(table, WskGetRemoteAddress:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.address_out(0), irp) })
        }
        _ => {
            let function: wsk_sys::PFN_WSK_INSPECT_COMPLETE =
                member!(table, WskInspectComplete: Listen WSK_PROVIDER_LISTEN_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.input().cast(), n0.cast_signed(), irp) })
        }
    }
}

fn invoke_connecting(request: &Request, table: Table, wsk: PWSK_SOCKET, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let arguments = &request.arguments;
    let [.., flags] = request.call.numbers;
    match request.function {
        Function::Bind => {
            let function: wsk_sys::PFN_WSK_BIND = member!(table, WskBind:
                Listen WSK_PROVIDER_LISTEN_DISPATCH, Datagram WSK_PROVIDER_DATAGRAM_DISPATCH,
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
            Ok(unsafe { function(wsk, arguments.address(0), flags, irp) })
        }
        Function::Accept => {
            let function: wsk_sys::PFN_WSK_ACCEPT = member!(table, WskAccept:
                Listen WSK_PROVIDER_LISTEN_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            let (context, dispatch) = identity(request);
            let (local, remote) = (arguments.address_out(0), arguments.address_out(1));
            // SAFETY: as above.
            Ok(unsafe { function(wsk, flags, context, dispatch.cast(), local, remote, irp) })
        }
        Function::Listen => {
            let function: wsk_sys::PFN_WSK_LISTEN = member!(table, WskListen: Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, irp) })
        }
        Function::Connect => {
            let function: wsk_sys::PFN_WSK_CONNECT = member!(table, WskConnect:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.address(0), flags, irp) })
        }
        Function::ConnectEx => {
            let function: wsk_sys::PFN_WSK_CONNECT_EX = member!(table, WskConnectEx:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.address(0), arguments.data(), flags, irp) })
        }
        _ => {
            let function: wsk_sys::PFN_WSK_DISCONNECT = member!(table, WskDisconnect:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.data(), flags, irp) })
        }
    }
}

fn invoke_data(request: &Request, table: Table, wsk: PWSK_SOCKET, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let arguments = &request.arguments;
    let Call { numbers: [.., flags], control_length, .. } = request.call;
    let (data, control) = (arguments.data(), arguments.control());
    match request.function {
        Function::Send => {
            let function: wsk_sys::PFN_WSK_SEND = member!(table, WskSend:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
            Ok(unsafe { function(wsk, data, flags, irp) })
        }
        Function::Receive => {
            let function: wsk_sys::PFN_WSK_RECEIVE = member!(table, WskReceive:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, data, flags, irp) })
        }
        Function::SendTo => {
            let function: wsk_sys::PFN_WSK_SEND_TO =
                member!(table, WskSendTo: Datagram WSK_PROVIDER_DATAGRAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, data, flags, arguments.address(0), control_length, control, irp) })
        }
        Function::ReceiveFrom => {
            let function: wsk_sys::PFN_WSK_RECEIVE_FROM =
                member!(table, WskReceiveFrom: Datagram WSK_PROVIDER_DATAGRAM_DISPATCH)?;
            let (length, control_flags) = (arguments.control_length(), arguments.control_flags());
            // SAFETY: as above.
            Ok(unsafe { function(wsk, data, flags, arguments.address_out(0), length, control, control_flags, irp) })
        }
        Function::SendMessages => {
            let function: wsk_sys::PFN_WSK_SEND_MESSAGES =
                member!(table, WskSendMessages: Datagram WSK_PROVIDER_DATAGRAM_DISPATCH)?;
            let address = arguments.address(0);
            // SAFETY: as above.
            Ok(unsafe { function(wsk, arguments.list(), flags, address, control_length, control, irp) })
        }
        Function::SendEx => {
            let function: wsk_sys::PFN_WSK_SEND_EX = member!(table, WskSendEx:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            // SAFETY: as above.
            Ok(unsafe { function(wsk, data, flags, control_length, control, irp) })
        }
        _ => {
            let function: wsk_sys::PFN_WSK_RECEIVE_EX = member!(table, WskReceiveEx:
                Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
            let length = arguments.control_length();
            // SAFETY: as above.
            Ok(unsafe { function(wsk, data, flags, length, control, null_mut(), irp) })
        }
    }
}

/// Gives a retained list back.
pub(crate) fn release(socket: &Socket, list: *mut c_void) -> Result<NTSTATUS, NotCalled> {
    let table = Table::of(socket)?;
    let wsk = socket.wsk();
    if table.category == Category::Datagram {
        let function: wsk_sys::PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST =
            member!(table, WskRelease: Datagram WSK_PROVIDER_DATAGRAM_DISPATCH)?;
        // SAFETY: the list was retained by a callback of this socket.
        return Ok(unsafe { function(wsk, list.cast()) });
    }
    let function: wsk_sys::PFN_WSK_RELEASE_DATA_INDICATION_LIST = member!(table, WskRelease:
        Connection WSK_PROVIDER_CONNECTION_DISPATCH, Stream WSK_PROVIDER_STREAM_DISPATCH)?;
    // SAFETY: the list was retained by a callback of this socket.
    Ok(unsafe { function(wsk, list.cast()) })
}

/// Frees the list of a `WskGetAddressInfo`; returns its length. `PASSIVE_LEVEL`.
pub(crate) fn free_results(request: &Request) {
    let place = request.arguments.results();
    // SAFETY: the place is inside the request, which has completed.
    let results = unsafe { place.replace(null_mut()) };
    let Some((client, dispatch)) = request.client.as_ref().and_then(|client| client.provider()) else { return };
    if results.is_null() {
        return;
    }
    // SAFETY: the provider's dispatch is resident while the client is attached.
    if let Some(free) = unsafe { (*dispatch).WskFreeAddressInfo } {
        // SAFETY: the list is the provider's and freed once.
        unsafe { free(client, results) };
    }
}

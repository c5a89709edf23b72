//! From a request to the provider's function: which table, which member, which arguments. IRQL as the script asked.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use probe_protocol::probe::{Call, CallFlags, Category, Function};
use wdk_sys::{NTSTATUS, PIRP};
use wsk_sys::{
    PEPROCESS, PFN_WSK_CONTROL_SOCKET, PWSK_CLIENT, PWSK_SOCKET, WSK_PROVIDER_BASIC_DISPATCH,
    WSK_PROVIDER_CONNECTION_DISPATCH, WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_DISPATCH,
    WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH,
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
        Ok(Self {
            address,
            category: socket.category,
        })
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
    let Some(created) = &request.created else {
        return (null_mut(), null());
    };
    let flags = request.flags();
    let context = if flags.has(CallFlags::NULL_CONTEXT) {
        null_mut()
    } else {
        created.as_ptr()
    };
    let dispatch = if flags.has(CallFlags::NULL_DISPATCH) {
        null()
    } else {
        created.dispatch()
    };
    (context, dispatch)
}

/// What the functions of a client's provider are called with.
struct ClientCall<'r> {
    request: &'r Request,
    wsk_client: PWSK_CLIENT,
    dispatch: &'r WSK_PROVIDER_DISPATCH,
    process: PEPROCESS,
    irp: PIRP,
}

fn invoke_client(request: &Request, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let client = request.client.as_ref().ok_or(NotCalled::NoSuchObject)?;
    let (wsk_client, dispatch) = client.provider().ok_or(NotCalled::NoSuchObject)?;
    let flags = request.flags();
    let null_client = flags.has(CallFlags::NULL_TARGET);
    let with_process = flags.has(CallFlags::WITH_PROCESS);
    let call = ClientCall {
        request,
        wsk_client: if null_client { null_mut() } else { wsk_client },
        // SAFETY: the provider's dispatch is resident while the client is attached.
        dispatch: unsafe { &*dispatch },
        process: if with_process {
            request.session.process()
        } else {
            null_mut()
        },
        irp,
    };
    match request.function {
        Function::Socket | Function::SocketConnect => call.create(),
        _ => call.ask(),
    }
}

impl ClientCall<'_> {
    fn create(&self) -> Result<NTSTATUS, NotCalled> {
        let Call {
            numbers: [family, kind, protocol, flags],
            security,
            ..
        } = self.request.call;
        let (context, callbacks) = identity(self.request);
        let security = self.request.session.handles.get(security).unwrap_or(null_mut());
        let (client, process, thread, irp) = (self.wsk_client, self.process, null_mut(), self.irp);
        let (family, kind) = (low_half(family), low_half(kind));
        if self.request.function == Function::Socket {
            let function = self.dispatch.WskSocket.ok_or(NotCalled::NoSuchFunction)?;
            // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
            return Ok(unsafe {
                function(
                    client, family, kind, protocol, flags, context, callbacks, process, thread, security, irp,
                )
            });
        }
        let function = self.dispatch.WskSocketConnect.ok_or(NotCalled::NoSuchFunction)?;
        let (local, remote) = (self.request.arguments.address(0), self.request.arguments.address(1));
        let callbacks = callbacks.cast();
        // SAFETY: as above.
        Ok(unsafe {
            function(
                client, kind, protocol, local, remote, flags, context, callbacks, process, thread, security, irp,
            )
        })
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "sizes are 64 bits wide where the tests run"
    )]
    fn ask(&self) -> Result<NTSTATUS, NotCalled> {
        let Call {
            numbers: [code, .., flags],
            input_size,
            output_size,
            address_length,
            ..
        } = self.request.call;
        let arguments = &self.request.arguments;
        let (client, process, irp, none) = (self.wsk_client, self.process, self.irp, null_mut());
        match self.request.function {
            Function::ControlClient => {
                let function = self.dispatch.WskControlClient.ok_or(NotCalled::NoSuchFunction)?;
                let (input, output, returned) = (arguments.input(), arguments.output(), arguments.output_returned());
                let (input_size, output_size) = (input_size as usize, output_size as usize);
                // SAFETY: a WSK call as the script wants it; every buffer lives as long as the request.
                Ok(unsafe { function(client, code, input_size, input, output_size, output, returned, irp) })
            }
            Function::GetAddressInfo => {
                let function = self.dispatch.WskGetAddressInfo.ok_or(NotCalled::NoSuchFunction)?;
                let (name, results) = (arguments.name(), arguments.results());
                // SAFETY: as above.
                Ok(unsafe {
                    function(
                        client,
                        name,
                        null_mut(),
                        0,
                        null_mut(),
                        none,
                        results,
                        process,
                        none,
                        irp,
                    )
                })
            }
            _ => {
                let function = self.dispatch.WskGetNameInfo.ok_or(NotCalled::NoSuchFunction)?;
                let (address, name) = (arguments.address(0), arguments.name());
                // SAFETY: as above.
                Ok(unsafe {
                    function(
                        client,
                        address,
                        address_length,
                        name,
                        null_mut(),
                        flags,
                        process,
                        none,
                        irp,
                    )
                })
            }
        }
    }
}

/// The script's number as a USHORT.
fn low_half(number: u32) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn invoke_socket(request: &Request, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let socket = request.socket.as_ref().ok_or(NotCalled::NoSuchObject)?;
    let own = Table::of(socket)?;
    let table = request.table_of.as_ref().map_or(Ok(own), |other| Table::of(other))?;
    let wsk: PWSK_SOCKET = if request.flags().has(CallFlags::NULL_TARGET) {
        null_mut()
    } else {
        socket.wsk()
    };
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

#[allow(
    clippy::cast_possible_truncation,
    reason = "sizes are 64 bits wide where the tests run"
)]
fn invoke_common(request: &Request, table: Table, wsk: PWSK_SOCKET, irp: PIRP) -> Result<NTSTATUS, NotCalled> {
    let arguments = &request.arguments;
    let Call {
        numbers: [n0, n1, n2, _],
        input_size,
        output_size,
        ..
    } = request.call;
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
    let Call {
        numbers: [.., flags],
        control_length,
        ..
    } = request.call;
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
            Ok(unsafe {
                function(
                    wsk,
                    data,
                    flags,
                    arguments.address_out(0),
                    length,
                    control,
                    control_flags,
                    irp,
                )
            })
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
    let Some((client, dispatch)) = request.client.as_ref().and_then(|client| client.provider()) else {
        return;
    };
    if results.is_null() {
        return;
    }
    // SAFETY: the provider's dispatch is resident while the client is attached.
    if let Some(free) = unsafe { (*dispatch).WskFreeAddressInfo } {
        // SAFETY: the list is the provider's and freed once.
        unsafe { free(client, results) };
    }
}

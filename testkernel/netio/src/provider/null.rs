//! Sockets without a host socket, for scale and speed: every request completes before the call returns, and nothing ever arrives.
//!
//! Binds and connects succeed with the address asked for, sends with all bytes, and options keep what was set. Accepts and receives
//! fail with `STATUS_NOT_SUPPORTED`: nobody could ever answer them. `<= DISPATCH_LEVEL`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use probe_protocol::netio::NULL_PROTOCOL;
use wdk_rtl::irp;
use wsk_sys::{
    PCMSGHDR, PIRP, PSOCKADDR, PWSK_BUF, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET,
    SIZE_T, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, ULONG, WSK_BUF_LIST, WSK_CLIENT_CONNECTION_DISPATCH,
    WSK_CONTROL_SOCKET_TYPE, WSK_INSPECT_ACTION, WSK_PROVIDER_BASIC_DISPATCH, WSK_PROVIDER_CONNECTION_DISPATCH,
    WSK_PROVIDER_DATAGRAM_DISPATCH, WSK_PROVIDER_LISTEN_DISPATCH, WSK_PROVIDER_STREAM_DISPATCH, WSK_SOCKET,
    WskGetOption, WskSetOption,
};

use super::client::Client;
use super::socket::Category;
use crate::host::Address;
use crate::level;
use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED, STATUS_SUCCESS, is_success,
};
use crate::sync::Mutex;

#[derive(Default)]
struct State {
    local: Option<Address>,
    remote: Option<Address>,
    /// Level, option and value of each option that was set.
    options: Vec<(u32, u32, u32)>,
}

#[repr(C)]
struct Null {
    wsk: WSK_SOCKET,
    mark: AtomicU32,
    client: Arc<Client>,
    state: Mutex<State>,
}

const LIVE: u32 = u32::from_le_bytes(*b"wskN");

static ALL: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);
static CREATED: AtomicU64 = AtomicU64::new(0);

/// Makes every new socket one without a host socket.
pub(crate) fn set_all(all: bool) {
    ALL.store(all, Ordering::Relaxed);
}

/// Open ones, and all there ever were.
pub(crate) fn counts() -> (usize, u64) {
    (OPEN.load(Ordering::Relaxed), CREATED.load(Ordering::Relaxed))
}

pub(super) fn is_wanted(protocol: u32) -> bool {
    protocol == NULL_PROTOCOL || ALL.load(Ordering::Relaxed)
}

/// Makes a socket for a client.
pub(super) fn create(client: &Arc<Client>, category: Category) -> PWSK_SOCKET {
    OPEN.fetch_add(1, Ordering::Relaxed);
    CREATED.fetch_add(1, Ordering::Relaxed);
    client.add_socket();
    let socket = Null {
        wsk: WSK_SOCKET {
            Dispatch: table(category),
        },
        mark: AtomicU32::new(LIVE),
        client: Arc::clone(client),
        state: Mutex::default(),
    };
    Box::into_raw(Box::new(socket)).cast()
}

/// Completes a client's IRP with what `body` says, and returns it.
///
/// # Safety
/// The IRP is NULL or the client's to give; the socket is NULL or open.
unsafe fn answer(socket: PWSK_SOCKET, irp: PIRP, body: impl FnOnce(&Null) -> (NTSTATUS, usize)) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let Some(socket) = (unsafe { find(socket) }) else {
        return STATUS_INVALID_HANDLE;
    };
    let (status, information) = body(socket);
    // SAFETY: as the caller promises.
    unsafe { complete(irp, status, information) };
    status
}

/// # Safety
/// The socket is NULL or was given to a client.
unsafe fn find<'a>(socket: PWSK_SOCKET) -> Option<&'a Null> {
    // SAFETY: as the caller promises.
    let socket = unsafe { socket.cast::<Null>().as_ref() }.filter(|socket| socket.mark.load(Ordering::Relaxed) == LIVE);
    if socket.is_none() {
        misuse!("a call with something that is no open socket");
    }
    socket
}

/// # Safety
/// The IRP is the client's to give.
unsafe fn complete(irp: PIRP, status: NTSTATUS, information: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        irp::set_next_location(irp);
        irp::set_status(irp, status, if is_success(status) { information } else { 0 });
        level::call_out(|| irp::complete(irp, irp::IO_NETWORK_INCREMENT));
    }
}

/// Answers a call: its arguments, and what it comes to.
macro_rules! null_calls {
    ($($name:ident($socket:ident; $($argument:ident: $type:ty),*) $answer:expr;)*) => {$(
        /// # Safety
        /// See wsk.h.
        unsafe extern "system" fn $name(socket: PWSK_SOCKET, $($argument: $type,)* irp: PIRP) -> NTSTATUS {
            // SAFETY: as the caller promises.
            unsafe { answer(socket, irp, |$socket| $answer) }
        }
    )*};
}

const DONE: (NTSTATUS, usize) = (STATUS_SUCCESS, 0);
const NOBODY_THERE: (NTSTATUS, usize) = (STATUS_NOT_SUPPORTED, 0);

null_calls! {
    bind(socket; address: PSOCKADDR, _flags: ULONG) socket.bind(address);
    listen(_socket;) DONE;
    accept(
        _socket;
        _flags: ULONG, _context: *mut c_void, _dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH, _local: PSOCKADDR, _remote: PSOCKADDR
    ) NOBODY_THERE;
    inspect_complete(_socket; _id: PWSK_INSPECT_ID, _action: WSK_INSPECT_ACTION) NOBODY_THERE;
    get_local_address(socket; to: PSOCKADDR) give(socket.state.lock().local, to);
    get_remote_address(socket; to: PSOCKADDR) give(socket.state.lock().remote, to);
    connect(socket; to: PSOCKADDR, _flags: ULONG) socket.connect(to);
    connect_ex(socket; to: PSOCKADDR, _data: PWSK_BUF, _flags: ULONG) socket.connect(to);
    send(_socket; data: PWSK_BUF, _flags: ULONG) length(data);
    send_ex(_socket; data: PWSK_BUF, _flags: ULONG, _control_length: ULONG, _control: PCMSGHDR) length(data);
    receive(_socket; _data: PWSK_BUF, _flags: ULONG) NOBODY_THERE;
    receive_ex(
        _socket;
        _data: PWSK_BUF, _flags: ULONG, _control_length: *mut ULONG, _control: PCMSGHDR, _control_flags: *mut ULONG
    ) NOBODY_THERE;
    disconnect(_socket; _data: PWSK_BUF, _flags: ULONG) DONE;
    send_to(
        _socket;
        data: PWSK_BUF, _flags: ULONG, _to: PSOCKADDR, _control_length: ULONG, _control: PCMSGHDR
    ) length(data);
    send_messages(
        _socket;
        list: *mut WSK_BUF_LIST, _flags: ULONG, _to: PSOCKADDR, _control_length: ULONG, _control: PCMSGHDR
    ) list_length(list);
    receive_from(
        _socket;
        _data: PWSK_BUF, _flags: ULONG, _from: PSOCKADDR, _control_length: *mut ULONG, _control: PCMSGHDR, _control_flags: *mut ULONG
    ) NOBODY_THERE;
}

impl Null {
    fn bind(&self, address: PSOCKADDR) -> (NTSTATUS, usize) {
        // SAFETY: the client's address is good for the call.
        let Some(address) = (unsafe { Address::read(address) }) else {
            return (STATUS_INVALID_PARAMETER, 0);
        };
        let mut state = self.state.lock();
        if state.local.is_some() {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        }
        state.local = Some(address);
        DONE
    }

    fn connect(&self, to: PSOCKADDR) -> (NTSTATUS, usize) {
        // SAFETY: the client's address is good for the call.
        let Some(address) = (unsafe { Address::read(to) }) else {
            return (STATUS_INVALID_PARAMETER, 0);
        };
        let mut state = self.state.lock();
        if state.local.is_none() {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        }
        state.remote = Some(address);
        DONE
    }

    fn set(&self, level: u32, code: u32, value: u32) {
        let mut state = self.state.lock();
        let same = |option: &&mut (u32, u32, u32)| option.0 == level && option.1 == code;
        if let Some(option) = state.options.iter_mut().find(same) {
            option.2 = value;
        } else {
            state.options.push((level, code, value));
        }
    }

    fn get(&self, level: u32, code: u32) -> u32 {
        let state = self.state.lock();
        state
            .options
            .iter()
            .find(|option| option.0 == level && option.1 == code)
            .map_or(0, |option| option.2)
    }
}

fn give(address: Option<Address>, to: PSOCKADDR) -> (NTSTATUS, usize) {
    let Some(address) = address else {
        return (STATUS_INVALID_DEVICE_STATE, 0);
    };
    // SAFETY: the client's buffer has room for an address of the socket's family, or is NULL.
    unsafe { address.write(to) };
    DONE
}

fn length(data: PWSK_BUF) -> (NTSTATUS, usize) {
    // SAFETY: the client's buffer description is good for the call, or NULL.
    unsafe { data.as_ref() }.map_or((STATUS_INVALID_PARAMETER, 0), |data| (STATUS_SUCCESS, data.Length))
}

fn list_length(mut list: *mut WSK_BUF_LIST) -> (NTSTATUS, usize) {
    let mut total = 0_usize;
    // SAFETY: the client's list is good for the call.
    while let Some(element) = unsafe { list.as_ref() } {
        total = total.saturating_add(element.Buffer.Length);
        list = element.Next;
    }
    (STATUS_SUCCESS, total)
}

/// # Safety
/// See wsk.h.
unsafe extern "system" fn control(
    socket: PWSK_SOCKET,
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: ULONG,
    level: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    _returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    if irp.is_null() && level == SOL_SOCKET && code == SO_WSK_EVENT_CALLBACK {
        // No event will ever happen.
        return STATUS_SUCCESS;
    }
    let body = |socket: &Null| match kind {
        WskSetOption if input.is_null() || input_size < 4 => (STATUS_BUFFER_TOO_SMALL, 0),
        WskSetOption => {
            // SAFETY: the client's input is that long.
            socket.set(level, code, unsafe { input.cast::<u32>().read_unaligned() });
            DONE
        }
        WskGetOption if output.is_null() || output_size < 4 => (STATUS_BUFFER_TOO_SMALL, 0),
        WskGetOption => {
            // SAFETY: the client's output is that long.
            unsafe { output.cast::<u32>().write_unaligned(socket.get(level, code)) };
            (STATUS_SUCCESS, 4)
        }
        _ => NOBODY_THERE,
    };
    // SAFETY: as the caller promises.
    unsafe { answer(socket, irp, body) }
}

/// # Safety
/// See wsk.h.
unsafe extern "system" fn close(socket: PWSK_SOCKET, irp: PIRP) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let Some(live) = (unsafe { find(socket) }) else {
        return STATUS_INVALID_HANDLE;
    };
    live.mark.store(0, Ordering::Relaxed);
    OPEN.fetch_sub(1, Ordering::Relaxed);
    // SAFETY: `create` made it, and its client gives it up.
    let socket = unsafe { Box::from_raw(socket.cast::<Null>()) };
    // SAFETY: as the caller promises.
    unsafe { complete(irp, STATUS_SUCCESS, 0) };
    socket.client.remove_socket();
    STATUS_SUCCESS
}

/// # Safety
/// See wsk.h.
unsafe extern "system" fn release_data(_socket: PWSK_SOCKET, _list: PWSK_DATA_INDICATION) -> NTSTATUS {
    misuse!("WskRelease of a list that was never indicated");
    STATUS_INVALID_PARAMETER
}

/// # Safety
/// See wsk.h.
unsafe extern "system" fn release_datagrams(_socket: PWSK_SOCKET, _list: PWSK_DATAGRAM_INDICATION) -> NTSTATUS {
    misuse!("WskRelease of a list that was never indicated");
    STATUS_INVALID_PARAMETER
}

static BASIC: WSK_PROVIDER_BASIC_DISPATCH = WSK_PROVIDER_BASIC_DISPATCH {
    WskControlSocket: Some(control),
    WskCloseSocket: Some(close),
};

static LISTEN: WSK_PROVIDER_LISTEN_DISPATCH = WSK_PROVIDER_LISTEN_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind),
    WskAccept: Some(accept),
    WskInspectComplete: Some(inspect_complete),
    WskGetLocalAddress: Some(get_local_address),
};

static DATAGRAM: WSK_PROVIDER_DATAGRAM_DISPATCH = WSK_PROVIDER_DATAGRAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind),
    WskSendTo: Some(send_to),
    WskReceiveFrom: Some(receive_from),
    WskRelease: Some(release_datagrams),
    WskGetLocalAddress: Some(get_local_address),
    WskSendMessages: Some(send_messages),
};

static CONNECTION: WSK_PROVIDER_CONNECTION_DISPATCH = WSK_PROVIDER_CONNECTION_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind),
    WskConnect: Some(connect),
    WskGetLocalAddress: Some(get_local_address),
    WskGetRemoteAddress: Some(get_remote_address),
    WskSend: Some(send),
    WskReceive: Some(receive),
    WskDisconnect: Some(disconnect),
    WskRelease: Some(release_data),
    WskConnectEx: Some(connect_ex),
    WskSendEx: Some(send_ex),
    WskReceiveEx: Some(receive_ex),
};

static STREAM: WSK_PROVIDER_STREAM_DISPATCH = WSK_PROVIDER_STREAM_DISPATCH {
    Basic: BASIC,
    WskBind: Some(bind),
    WskAccept: Some(accept),
    WskConnect: Some(connect),
    WskListen: Some(listen),
    WskSend: Some(send),
    WskReceive: Some(receive),
    WskDisconnect: Some(disconnect),
    WskRelease: Some(release_data),
    WskGetLocalAddress: Some(get_local_address),
    WskGetRemoteAddress: Some(get_remote_address),
    WskConnectEx: Some(connect_ex),
    WskSendEx: Some(send_ex),
    WskReceiveEx: Some(receive_ex),
};

fn table(category: Category) -> *const c_void {
    match category {
        Category::Basic => (&raw const BASIC).cast(),
        Category::Listen => (&raw const LISTEN).cast(),
        Category::Datagram => (&raw const DATAGRAM).cast(),
        Category::Connection => (&raw const CONNECTION).cast(),
        Category::Stream => (&raw const STREAM).cast(),
    }
}

//! The functions of `WSK_PROVIDER_DISPATCH`, names aside.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

use probe_protocol::netio::NULL_PROTOCOL;
use probe_protocol::probe::Function;
use wsk_sys::{
    ADDRESS_FAMILY, AF_INET, AF_INET6, PEPROCESS, PETHREAD, PIRP, PSECURITY_DESCRIPTOR, PSOCKADDR, PWSK_CLIENT, SIZE_T,
    SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, ULONG, USHORT, WSK_CACHE_SD, WSK_CLIENT_CONNECTION_DISPATCH,
    WSK_EVENT_CALLBACK_CONTROL, WSK_FLAG_BASIC_SOCKET, WSK_FLAG_CONNECTION_SOCKET, WSK_FLAG_DATAGRAM_SOCKET,
    WSK_FLAG_LISTEN_SOCKET, WSK_FLAG_STREAM_SOCKET, WSK_RELEASE_SD, WSK_SET_STATIC_EVENT_CALLBACKS, WSK_TRANSPORT,
    WSK_TRANSPORT_LIST_QUERY,
};

use super::client::Client;
use super::entry::{fail, finish, send_in};
use super::request::Op;
use super::socket::{Callbacks, Category, Socket};
use super::{null, security};
use crate::host::Address;
use crate::script;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};

fn category_of(flags: ULONG) -> Option<Category> {
    Some(match flags {
        WSK_FLAG_BASIC_SOCKET => Category::Basic,
        WSK_FLAG_LISTEN_SOCKET => Category::Listen,
        WSK_FLAG_CONNECTION_SOCKET => Category::Connection,
        WSK_FLAG_DATAGRAM_SOCKET => Category::Datagram,
        WSK_FLAG_STREAM_SOCKET => Category::Stream,
        _ => return None,
    })
}

/// What a socket may be: a datagram type with the listen flag is not refused before bind, as Windows was tested to do.
fn check_kind(category: Category, family: u16, kind: u16) -> Result<(), NTSTATUS> {
    if !matches!(family, AF_INET | AF_INET6) {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let fits = match category {
        Category::Basic => matches!(kind, SOCK_STREAM | SOCK_DGRAM | SOCK_RAW),
        Category::Datagram => matches!(kind, SOCK_DGRAM | SOCK_RAW),
        Category::Listen => matches!(kind, SOCK_STREAM | SOCK_DGRAM),
        Category::Connection | Category::Stream => kind == SOCK_STREAM,
    };
    if fits { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) }
}

/// `WskSocket`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn socket(
    client: PWSK_CLIENT,
    family: ADDRESS_FAMILY,
    kind: USHORT,
    protocol: ULONG,
    flags: ULONG,
    context: *mut c_void,
    dispatch: *const c_void,
    _process: PEPROCESS,
    _thread: PETHREAD,
    descriptor: PSECURITY_DESCRIPTOR,
    irp: PIRP,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let Some(client) = (unsafe { Client::find(client, "WskSocket") }) else {
        return STATUS_INVALID_HANDLE;
    };
    let plan = script::plan(Function::Socket);
    if let Some(status) = plan.refuse {
        return status;
    }
    let checked = category_of(flags).ok_or(STATUS_INVALID_PARAMETER).and_then(|category| {
        check_kind(category, family, kind)?;
        if category == Category::Basic && !(context.is_null() && dispatch.is_null()) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok(category)
    });
    let category = match checked {
        Ok(category) => category,
        // SAFETY: as the caller promises.
        Err(status) => return unsafe { fail(irp, Function::Socket, status) },
    };
    if plan.fail.is_none() && null::is_wanted(protocol) {
        let socket = null::create(&client, category);
        // SAFETY: as the caller promises.
        return unsafe { finish(irp, Function::Socket, STATUS_SUCCESS, socket.expose_provenance()) };
    }
    // SAFETY: the client's table is what the category asks for.
    let callbacks = unsafe { Callbacks::new(category, context, dispatch) };
    let socket = Socket::new(&client, category, family, kind, protocol, callbacks);
    if !descriptor.is_null() {
        let Some(grants) = client.descriptor_grants(descriptor.addr()) else {
            // SAFETY: as the caller promises.
            return unsafe { fail(irp, Function::Socket, STATUS_INVALID_PARAMETER) };
        };
        socket.fill(|inner| {
            inner.options.security = descriptor.addr();
            inner.options.shares = grants;
        });
    }
    // SAFETY: as the caller promises.
    unsafe { send_in(&socket, irp, Function::Socket, Op::Create, plan) }
}

/// `WskSocketConnect`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn socket_connect(
    client: PWSK_CLIENT,
    kind: USHORT,
    protocol: ULONG,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    flags: ULONG,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    _process: PEPROCESS,
    _thread: PETHREAD,
    _descriptor: PSECURITY_DESCRIPTOR,
    irp: PIRP,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let Some(client) = (unsafe { Client::find(client, "WskSocketConnect") }) else {
        return STATUS_INVALID_HANDLE;
    };
    let plan = script::plan(Function::SocketConnect);
    if let Some(status) = plan.refuse {
        return status;
    }
    // SAFETY: the client's addresses are good until its IRP is completed.
    let addresses = unsafe { (Address::read(local), Address::read(remote)) };
    let family = match addresses {
        (Some(local), Some(remote)) if local.family() == remote.family() && flags == 0 => local.family(),
        // SAFETY: as the caller promises.
        _ => return unsafe { fail(irp, Function::SocketConnect, STATUS_INVALID_PARAMETER) },
    };
    if let Err(status) = check_kind(Category::Connection, family, kind) {
        // SAFETY: as the caller promises.
        return unsafe { fail(irp, Function::SocketConnect, status) };
    }
    if plan.fail.is_none() && null::is_wanted(protocol) {
        let socket = null::create(&client, Category::Connection);
        // SAFETY: as the caller promises.
        return unsafe { finish(irp, Function::SocketConnect, STATUS_SUCCESS, socket.expose_provenance()) };
    }
    // SAFETY: the client's table of connection callbacks, or NULL.
    let callbacks = unsafe { Callbacks::new(Category::Connection, context, dispatch.cast()) };
    let socket = Socket::new(&client, Category::Connection, family, kind, protocol, callbacks);
    let op = Op::CreateConnected { local, remote };
    // SAFETY: as the caller promises.
    unsafe { send_in(&socket, irp, Function::SocketConnect, op, plan) }
}

/// `WskControlClient`: answered at once.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn control_client(
    client: PWSK_CLIENT,
    code: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(client) = (unsafe { Client::find(client, "WskControlClient") }) else {
        return STATUS_INVALID_HANDLE;
    };
    let plan = script::plan(Function::ControlClient);
    if let Some(status) = plan.refuse {
        return status;
    }
    let given = Buffers {
        input,
        input_size,
        output,
        output_size,
    };
    // SAFETY: as the caller promises.
    let (status, length) = plan
        .fail
        .map_or_else(|| unsafe { given.answer(&client, code) }, |status| (status, 0));
    if !irp.is_null() {
        // SAFETY: as the caller promises.
        return unsafe { finish(irp, Function::ControlClient, status, length) };
    }
    // SAFETY: as the caller promises.
    if let Some(returned) = unsafe { returned.as_mut() } {
        *returned = length;
    }
    status
}

struct Buffers {
    input: *mut c_void,
    input_size: usize,
    output: *mut c_void,
    output_size: usize,
}

impl Buffers {
    /// The pointer that the input holds.
    ///
    /// # Safety
    /// The input is as long as it says.
    unsafe fn pointer(&self) -> Option<*const c_void> {
        if self.input.is_null() || self.input_size < size_of::<usize>() {
            return None;
        }
        // SAFETY: as the caller promises.
        Some(unsafe { self.input.cast::<*const c_void>().read_unaligned() })
    }

    /// # Safety
    /// The buffers are as long as they say, and hold what the code asks for.
    unsafe fn answer(&self, client: &Arc<Client>, code: ULONG) -> (NTSTATUS, usize) {
        match code {
            WSK_TRANSPORT_LIST_QUERY => {
                let transports = transports();
                let needed = size_of_val(&*transports);
                if self.output.is_null() || self.output_size < needed {
                    return (STATUS_BUFFER_OVERFLOW, needed);
                }
                // SAFETY: the output is long enough.
                unsafe { core::ptr::copy_nonoverlapping(transports.as_ptr().cast::<u8>(), self.output.cast(), needed) };
                (STATUS_SUCCESS, needed)
            }
            WSK_CACHE_SD => {
                // SAFETY: as the caller promises.
                let given = unsafe { self.pointer() }.filter(|given| !given.is_null());
                let Some(given) = given.filter(|_| !self.output.is_null() && self.output_size >= size_of::<usize>())
                else {
                    return (STATUS_BUFFER_TOO_SMALL, 0);
                };
                // SAFETY: the input points to a security descriptor.
                let descriptor = unsafe { security::read(given) };
                let address = client.cache_descriptor(descriptor);
                // SAFETY: the output has room for a pointer.
                unsafe { self.output.cast::<usize>().write_unaligned(address) };
                (STATUS_SUCCESS, size_of::<usize>())
            }
            WSK_RELEASE_SD => {
                // SAFETY: as the caller promises.
                let given = unsafe { self.pointer() };
                let released = given.is_some_and(|given| client.release_descriptor(given.addr()));
                (
                    if released {
                        STATUS_SUCCESS
                    } else {
                        STATUS_INVALID_PARAMETER
                    },
                    0,
                )
            }
            WSK_SET_STATIC_EVENT_CALLBACKS => {
                if self.input.is_null() || self.input_size < size_of::<WSK_EVENT_CALLBACK_CONTROL>() {
                    return (STATUS_BUFFER_TOO_SMALL, 0);
                }
                // SAFETY: the input is long enough.
                let control = unsafe { self.input.cast::<WSK_EVENT_CALLBACK_CONTROL>().read_unaligned() };
                let set = client.set_static_events(control.EventMask);
                (if set { STATUS_SUCCESS } else { STATUS_INVALID_PARAMETER }, 0)
            }
            _ => (STATUS_NOT_SUPPORTED, 0),
        }
    }
}

fn transports() -> Vec<WSK_TRANSPORT> {
    let mut transports = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for (kind, protocol) in [
            (SOCK_STREAM, wsk_sys::IPPROTO_TCP),
            (SOCK_DGRAM, wsk_sys::IPPROTO_UDP),
            (SOCK_RAW, 0),
        ] {
            transports.push(WSK_TRANSPORT {
                Version: wsk_sys::MAKE_WSK_VERSION(1, 0),
                SocketType: kind,
                Protocol: protocol,
                AddressFamily: family,
                ProviderId: wsk_sys::GUID {
                    Data1: 0,
                    Data2: 0,
                    Data3: 0,
                    Data4: [0; 8],
                },
            });
        }
    }
    transports
}

const _: () = assert!(NULL_PROTOCOL != 0);

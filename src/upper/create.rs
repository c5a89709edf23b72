//! WskSocket, WskSocketConnect, and what a client asks of its provider as a whole.

use core::ffi::c_void;

use wdk_sys::{
    GUID, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, UNICODE_STRING,
};
use wsk_sys::{
    PADDRINFOEXW, PEPROCESS, PETHREAD, PIRP, PSECURITY_DESCRIPTOR, PSOCKADDR, PWSK_CLIENT, PWSK_SOCKET, SIZE_T,
    SOCK_RAW, SOCK_STREAM, ULONG, USHORT, WSK_CLIENT_CONNECTION_DISPATCH,
};
use wskguard_core::{
    Category, Family, Phase, SocketType,
    catalogue::OptionSet,
    counters::Counter,
    decide::BindOutcome,
    semantics::{EndpointFacts, OptionState},
};

use super::{bind, table_of};
use crate::callback;
use crate::client::Client;
use crate::endpoint::{Birth, Endpoint, EndpointRef, category_of};
use crate::guard::guard;
use crate::initial;
use crate::request::{Finish, Request, Told, complete_here};
use crate::sockaddr::Address;
use crate::work::WorkItem;

/// A socket in the making. The endpoint is the client's once the provider has made its own.
pub struct Create {
    endpoint: Option<EndpointRef>,
    /// Local address of a WskSocketConnect.
    local: Option<Address>,
    /// Where the policy has options for the new endpoint: to set them with.
    work: Option<WorkItem>,
}

impl Create {
    /// For an endpoint that the provider is about to make a socket for. `None` when there is no memory.
    pub fn of(endpoint: EndpointRef, local: Option<Address>) -> Option<Self> {
        let work = if initial::any(&endpoint) {
            Some(WorkItem::allocate()?)
        } else {
            None
        };
        Some(Self {
            endpoint: Some(endpoint),
            local,
            work,
        })
    }
}

impl Finish for Create {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        let lower: PWSK_SOCKET = core::ptr::with_exposed_provenance_mut(information);
        let Some(endpoint) = self.endpoint.as_ref().filter(|_| status >= 0 && !lower.is_null()) else {
            return Told::Now(status, 0);
        };
        if let Some(local) = &self.local {
            endpoint.set_local(local);
        }
        endpoint.open(lower);
        if let Some(work) = self.work.take() {
            return Told::AfterWork(work);
        }
        let (status, information) = self.hand_over(status);
        Told::Now(status, information)
    }

    fn work(&mut self, status: NTSTATUS, _: usize) -> (NTSTATUS, usize) {
        if let Some(endpoint) = &self.endpoint {
            initial::apply(endpoint);
        }
        self.hand_over(status)
    }
}

impl Create {
    /// The endpoint is the client's.
    fn hand_over(&mut self, status: NTSTATUS) -> (NTSTATUS, usize) {
        let Some(endpoint) = self.endpoint.take() else {
            return (status, 0);
        };
        let socket = endpoint.as_socket();
        endpoint.into_raw();
        (status, socket.expose_provenance())
    }
}

/// The client behind a `PWSK_CLIENT`.
unsafe fn client_of<'a>(client: PWSK_CLIENT) -> Option<&'a Client> {
    // SAFETY: the caller passes what we gave it at attach, or NULL.
    unsafe { client.cast::<Client>().as_ref() }
}

fn socket_type(number: USHORT) -> SocketType {
    match number {
        SOCK_STREAM => SocketType::Stream,
        SOCK_RAW => SocketType::Raw,
        _ => SocketType::Dgram,
    }
}

pub unsafe extern "system" fn socket(
    client: PWSK_CLIENT,
    family: USHORT,
    kind: USHORT,
    protocol: ULONG,
    flags: ULONG,
    context: *mut c_void,
    dispatch: *const c_void,
    process: PEPROCESS,
    thread: PETHREAD,
    security: PSECURITY_DESCRIPTOR,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let client = unsafe { client_of(client) };
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let Some(client) = client else {
        return STATUS_INVALID_HANDLE;
    };
    let (lower_client, function) = match client.lower() {
        Ok((lower_client, table)) => (lower_client, table.WskSocket),
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let (Some(category), Some(function)) = (category_of(flags), function) else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_INVALID_PARAMETER, 0) };
    };
    let facts = EndpointFacts {
        category,
        socket_type: socket_type(kind),
        family: Family(family),
        protocol,
        static_events: client.static_events(),
        lacks: OptionSet::NONE,
    };
    let birth = Birth {
        facts,
        context,
        callbacks: dispatch,
        process,
        options: OptionState::default(),
        phase: Phase::Unbound,
    };
    let Some(endpoint) = Endpoint::create(client, table_of(category), birth) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // A basic socket has neither context nor callbacks.
    let own_context = if category == Category::Basic {
        context
    } else {
        endpoint.as_context()
    };
    let (Some(finish), Some(request)) = (Create::of(endpoint, None), Request::<Create>::allocate()) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // SAFETY: the client's table is NULL or one of its category.
    let own_dispatch = unsafe { callback::table_for(category, dispatch) };
    let call = |own| {
        // SAFETY: the client's arguments with our context, callbacks and IRP.
        unsafe {
            function(
                lower_client,
                family,
                kind,
                protocol,
                flags,
                own_context,
                own_dispatch,
                process,
                thread,
                security,
                own,
            )
        }
    };
    // SAFETY: the client's IRP; the call above passes ours to one function.
    unsafe { request.send(irp, finish, call) }
}

/// Refuses for want of memory.
///
/// # Safety
/// As [`complete_here`].
pub unsafe fn out_of_memory(irp: PIRP) -> NTSTATUS {
    guard().count(Counter::AllocationFailures);
    // SAFETY: as the caller promises.
    unsafe { complete_here(irp, STATUS_INSUFFICIENT_RESOURCES, 0) }
}

pub unsafe extern "system" fn socket_connect(
    client: PWSK_CLIENT,
    kind: USHORT,
    protocol: ULONG,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    flags: ULONG,
    context: *mut c_void,
    dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    process: PEPROCESS,
    thread: PETHREAD,
    security: PSECURITY_DESCRIPTOR,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let client = unsafe { client_of(client) };
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    let Some(client) = client else {
        return STATUS_INVALID_HANDLE;
    };
    let (lower_client, function) = match client.lower() {
        Ok((lower_client, table)) => (lower_client, table.WskSocketConnect),
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = function else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    // SAFETY: WSK's contract for addresses.
    let address = unsafe { Address::capture(local) };
    let facts = EndpointFacts {
        category: Category::Connection,
        socket_type: socket_type(kind),
        family: address.as_ref().map_or(Family(0), Address::family),
        protocol,
        static_events: client.static_events(),
        lacks: OptionSet::NONE,
    };
    let birth = Birth {
        facts,
        context,
        callbacks: dispatch.cast(),
        process,
        options: OptionState::default(),
        phase: Phase::Connected,
    };
    let Some(endpoint) = Endpoint::create(client, table_of(Category::Connection), birth) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    if let Some(address) = &address {
        let refused = match bind::decide(&endpoint, address).outcome {
            BindOutcome::Refuse(refusal) => Some(refusal.status.0.cast_signed()),
            // There is no room for the option before this function's bind: rather no connection than one that shares its port.
            BindOutcome::Exclusive => Some(STATUS_ACCESS_DENIED),
            BindOutcome::Forward | BindOutcome::Succeed => None,
        };
        if let Some(status) = refused {
            // SAFETY: as above.
            return unsafe { complete_here(irp, status, 0) };
        }
    }
    let own_context = endpoint.as_context();
    let (Some(finish), Some(request)) = (Create::of(endpoint, address), Request::<Create>::allocate()) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // SAFETY: the client's table is NULL or valid.
    let own_dispatch = unsafe { callback::connection_table(dispatch) };
    let call = |own| {
        // SAFETY: the client's arguments with our context, callbacks and IRP.
        unsafe {
            function(
                lower_client,
                kind,
                protocol,
                local,
                remote,
                flags,
                own_context,
                own_dispatch,
                process,
                thread,
                security,
                own,
            )
        }
    };
    // SAFETY: the client's IRP; the call above passes ours to one function.
    unsafe { request.send(irp, finish, call) }
}

pub unsafe extern "system" fn control_client(
    client: PWSK_CLIENT,
    code: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    let (lower_client, function) = match client.lower() {
        Ok((lower_client, table)) => (lower_client, table.WskControlClient),
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = function else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    // SAFETY: the client's control structure, if it is one.
    let events = unsafe { Client::static_events_in(code, input_size, input) };
    // SAFETY: the client's own arguments; the provider knows the client by another name.
    let status = unsafe {
        function(
            lower_client,
            code,
            input_size,
            input,
            output_size,
            output,
            returned,
            irp,
        )
    };
    if status == 0
        && let Some(events) = events
    {
        client.add_static_events(events);
    }
    status
}

pub unsafe extern "system" fn get_address_info(
    client: PWSK_CLIENT,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    name_space: ULONG,
    provider: *mut GUID,
    hints: PADDRINFOEXW,
    result: *mut PADDRINFOEXW,
    process: PEPROCESS,
    thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    match client.lower() {
        Ok((lower_client, table)) => match table.WskGetAddressInfo {
            // SAFETY: the client's own arguments.
            Some(function) => unsafe {
                function(
                    lower_client,
                    node,
                    service,
                    name_space,
                    provider,
                    hints,
                    result,
                    process,
                    thread,
                    irp,
                )
            },
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            None => unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) },
        },
        // SAFETY: as above.
        Err(status) => unsafe { complete_here(irp, status, 0) },
    }
}

pub unsafe extern "system" fn free_address_info(client: PWSK_CLIENT, info: PADDRINFOEXW) {
    // SAFETY: WSK's contract.
    let lower = unsafe { client_of(client) }.and_then(|client| client.lower().ok());
    if let Some((lower_client, table)) = lower
        && let Some(function) = table.WskFreeAddressInfo
    {
        // SAFETY: the client's own argument.
        unsafe { function(lower_client, info) };
    }
}

pub unsafe extern "system" fn get_name_info(
    client: PWSK_CLIENT,
    address: PSOCKADDR,
    length: ULONG,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    flags: ULONG,
    process: PEPROCESS,
    thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    match client.lower() {
        Ok((lower_client, table)) => match table.WskGetNameInfo {
            // SAFETY: the client's own arguments.
            Some(function) => unsafe {
                function(
                    lower_client,
                    address,
                    length,
                    node,
                    service,
                    flags,
                    process,
                    thread,
                    irp,
                )
            },
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            None => unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) },
        },
        // SAFETY: as above.
        Err(status) => unsafe { complete_here(irp, status, 0) },
    }
}

//! WskSocket, and what every way of creating a socket has in common.

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER};
use wsk_sys::{
    PEPROCESS, PETHREAD, PIRP, PSECURITY_DESCRIPTOR, PWSK_CLIENT, PWSK_SOCKET, SOCK_RAW, SOCK_STREAM, ULONG, USHORT,
};
use wskguard_core::{
    Category, Family, Phase, SocketType,
    audit::AuditRecord,
    catalogue::OptionSet,
    counters::Counter,
    semantics::{EndpointFacts, OptionState},
};

use super::table_of;
use crate::client::Client;
use crate::endpoint::{Birth, Endpoint, EndpointRef, category_of};
use crate::guard::guard;
use crate::policy::GenerationRef;
use crate::request::{Finish, Request, Told, complete_here};
use crate::sockaddr::Address;
use crate::work::{OwnIrp, WorkItem};
use crate::{audit, callback, initial};

/// A socket in the making. The endpoint is the client's once the provider has made its own.
pub struct Create {
    endpoint: Option<EndpointRef>,
    /// Local address of a WskSocketConnect, and the record of its bind.
    bound: Option<(Address, Option<AuditRecord>)>,
    /// Where the policy has options for the new endpoint: which, and what to set them with.
    initial: Option<(WorkItem, GenerationRef, OwnIrp)>,
    /// The same once the work item is queued.
    setting: Option<(GenerationRef, OwnIrp)>,
}

impl Create {
    /// For an endpoint that the provider is about to make a socket for. `None` when there is no memory.
    pub fn of(endpoint: EndpointRef) -> Option<Self> {
        let initial = match initial::policy_for(&endpoint).ok()? {
            Some(generation) => Some((WorkItem::allocate()?, generation, OwnIrp::allocate()?)),
            None => None,
        };
        Some(Self {
            endpoint: Some(endpoint),
            bound: None,
            initial,
            setting: None,
        })
    }

    /// For an endpoint that the provider makes, binds and connects in one, and whose policy has no options for it.
    pub fn bound(endpoint: EndpointRef, bound: Option<(Address, Option<AuditRecord>)>) -> Self {
        Self {
            endpoint: Some(endpoint),
            bound,
            initial: None,
            setting: None,
        }
    }
}

impl Finish for Create {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        let lower: PWSK_SOCKET = core::ptr::with_exposed_provenance_mut(information);
        if let (Some(endpoint), Some((_, Some(record)))) = (&self.endpoint, &self.bound) {
            audit::write(endpoint, *record, status);
        }
        let Some(endpoint) = self.endpoint.as_ref().filter(|_| status >= 0 && !lower.is_null()) else {
            return Told::Now(status, 0);
        };
        if let Some((local, _)) = &self.bound {
            endpoint.set_local(local);
        }
        endpoint.open(lower);
        if endpoint.phase() == Phase::Connected {
            endpoint.connected();
        }
        if let Some((work, generation, own)) = self.initial.take() {
            self.setting = Some((generation, own));
            return Told::AfterWork(work);
        }
        let (status, information) = self.hand_over(status);
        Told::Now(status, information)
    }

    fn work(&mut self, status: NTSTATUS, _: usize) -> (NTSTATUS, usize) {
        if let (Some(endpoint), Some((generation, mut own))) = (&self.endpoint, self.setting.take()) {
            initial::apply(endpoint, &generation, &mut own);
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
///
/// # Safety
/// `client` is NULL or what we gave the caller at attach.
pub unsafe fn client_of<'a>(client: PWSK_CLIENT) -> Option<&'a Client> {
    // SAFETY: the caller passes what we gave it at attach, or NULL.
    unsafe { client.cast::<Client>().as_ref() }
}

pub fn socket_type(number: USHORT) -> SocketType {
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
    let lower = match client.lower() {
        Ok(lower) => lower,
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let (Some(category), Some(function)) = (category_of(flags), lower.table.WskSocket) else {
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
    let (Some(finish), Some(request)) = (Create::of(endpoint), Request::<Create>::allocate()) else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // SAFETY: the client's table is NULL or one of its category.
    let own_dispatch = unsafe { callback::table_for(category, dispatch) };
    let call = |own| {
        // SAFETY: the client's arguments with our context, callbacks and IRP.
        unsafe {
            function(
                lower.name,
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

/// The same of a bind that was allowed: what it would have left is written with that status.
///
/// # Safety
/// As [`complete_here`].
pub unsafe fn out_of_memory_after(endpoint: &Endpoint, record: Option<AuditRecord>, irp: PIRP) -> NTSTATUS {
    if let Some(record) = record {
        audit::write(endpoint, record, STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: as the caller promises.
    unsafe { out_of_memory(irp) }
}

//! WskSocketConnect: one call of the provider's, or, where the policy wants something done before its bind, the steps one by one.
//!
//! The provider's function leaves no room between making the socket and binding it. Where an option is to be set first, a work item
//! makes the socket, sets the options, decides the bind and makes it; the connect is then sent in the request's own IRP, so that the
//! client can cancel it. What fails on the way closes the socket again before the client is told.

use core::ffi::c_void;

use wdk_rtl::irp;
use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_NOT_SUPPORTED, STATUS_PENDING,
    ntddk::{ObfDereferenceObject, ObfReferenceObject},
};
use wsk_sys::{
    PEPROCESS, PETHREAD, PIRP, PSECURITY_DESCRIPTOR, PSOCKADDR, PWSK_CLIENT, PWSK_SOCKET, ULONG, USHORT,
    WSK_CLIENT_CONNECTION_DISPATCH, WSK_FLAG_CONNECTION_SOCKET, WSK_PROVIDER_CONNECTION_DISPATCH,
};
use wskguard_core::{
    Category, Family, NtStatus, Phase,
    audit::AuditRecord,
    catalogue::OptionSet,
    decide::BindOutcome,
    semantics::{EndpointFacts, Number, OptionState},
    status::to_wsa,
};

use super::create::{Create, client_of, out_of_memory, out_of_memory_after, socket_type};
use super::lower::{self, table};
use super::{bind, table_of};
use crate::endpoint::{Birth, Endpoint, EndpointRef};
use crate::policy::GenerationRef;
use crate::request::{Finish, Prepared, Request, Told, complete_here};
use crate::sockaddr::Address;
use crate::work::{OwnIrp, WorkItem};
use crate::{audit, callback, initial};

/// What the client gave, and what the provider is given instead.
#[derive(Clone, Copy)]
struct Arguments {
    kind: USHORT,
    protocol: ULONG,
    remote: PSOCKADDR,
    own_dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    process: PEPROCESS,
    thread: PETHREAD,
    security: PSECURITY_DESCRIPTOR,
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
    let lower = match client.lower() {
        Ok(lower) => lower,
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = lower.table.WskSocketConnect else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    // SAFETY: WSK's contract for addresses.
    let address = unsafe { Address::capture(local) };
    let birth = Birth {
        facts: EndpointFacts {
            category: Category::Connection,
            socket_type: socket_type(kind),
            family: address.as_ref().map_or(Family(0), Address::family),
            protocol,
            static_events: client.static_events(),
            lacks: OptionSet::NONE,
        },
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
    let arguments = Arguments {
        kind,
        protocol,
        remote,
        // SAFETY: the client's table is NULL or valid.
        own_dispatch: unsafe { callback::connection_table(dispatch) },
        process,
        thread,
        security,
    };
    let mut bound = None;
    if let Some(address) = address {
        let Ok(generation) = initial::policy_for(&endpoint) else {
            // SAFETY: the client's IRP, which went nowhere.
            return unsafe { out_of_memory(irp) };
        };
        if generation.is_some() {
            // The bind is decided on the options that it will have.
            // SAFETY: the client's IRP and arguments.
            return unsafe { in_steps(endpoint, arguments, address, None, generation, irp) };
        }
        let (verdict, record) = bind::judge(&endpoint, &address);
        match verdict.outcome {
            BindOutcome::Refuse(refusal) => {
                // SAFETY: the client's IRP, which went nowhere.
                return unsafe { complete_here(irp, refusal.status.0.cast_signed(), 0) };
            }
            BindOutcome::Exclusive => {
                let decided = Some((true, record));
                // SAFETY: as above.
                return unsafe { in_steps(endpoint, arguments, address, decided, None, irp) };
            }
            BindOutcome::Forward => bound = Some((address, record)),
        }
    }
    let own_context = endpoint.as_context();
    let Some(request) = Request::<Create>::allocate() else {
        // SAFETY: as above.
        return unsafe { out_of_memory_after(&endpoint, bound.and_then(|(_, record)| record), irp) };
    };
    let call = |own| {
        // SAFETY: the client's arguments with our context, callbacks and IRP.
        unsafe {
            function(
                lower.name,
                kind,
                protocol,
                local,
                remote,
                flags,
                own_context,
                arguments.own_dispatch,
                process,
                thread,
                security,
                own,
            )
        }
    };
    // SAFETY: the client's IRP; the call above passes ours to one function.
    unsafe { request.send(irp, Create::bound(endpoint, bound), call) }
}

/// Whether the bind has to be exclusive, and its record.
type Decided = (bool, Option<AuditRecord>);

/// A WskSocketConnect that is carried out in steps.
struct Steps {
    endpoint: Option<EndpointRef>,
    arguments: Arguments,
    address: Address,
    /// Of a bind that was decided before the socket was made.
    decided: Option<Decided>,
    generation: Option<GenerationRef>,
    /// To close the socket again with, when the connect fails.
    undo: Option<WorkItem>,
    /// For every call that waits.
    own: OwnIrp,
    made: bool,
}

/// # Safety
/// The client's IRP and arguments, inside its call.
unsafe fn in_steps(
    endpoint: EndpointRef,
    arguments: Arguments,
    address: Address,
    decided: Option<Decided>,
    generation: Option<GenerationRef>,
    irp: PIRP,
) -> NTSTATUS {
    let items = (WorkItem::allocate(), WorkItem::allocate());
    let (Some(request), (Some(work), Some(undo)), Some(own)) =
        (Request::<Steps>::allocate(), items, OwnIrp::allocate())
    else {
        let record = decided.and_then(|(_, record)| record);
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { out_of_memory_after(&endpoint, record, irp) };
    };
    endpoint.set_phase(Phase::Unbound);
    for object in [arguments.process.cast::<c_void>(), arguments.thread.cast()] {
        if !object.is_null() {
            // The client vouches for it during its call; the socket is made after that.
            // SAFETY: an object of the kernel's, as the caller vouches.
            unsafe { ObfReferenceObject(object) };
        }
    }
    let steps = Steps {
        endpoint: Some(endpoint),
        arguments,
        address,
        decided,
        generation,
        undo: Some(undo),
        own,
        made: false,
    };
    // SAFETY: the client's IRP, and a fresh block.
    if let Some(prepared) = unsafe { request.prepare(irp, steps) } {
        prepared.after_work(work);
    }
    STATUS_PENDING
}

impl Drop for Steps {
    fn drop(&mut self) {
        for object in [self.arguments.process.cast::<c_void>(), self.arguments.thread.cast()] {
            if !object.is_null() {
                // SAFETY: referenced by `in_steps`.
                unsafe { ObfDereferenceObject(object) };
            }
        }
    }
}

impl Steps {
    /// Makes the socket, sets what is to be set, and binds. `PASSIVE_LEVEL`.
    fn before_connect(&mut self) -> Result<(), NTSTATUS> {
        let endpoint = self.endpoint.clone().ok_or(STATUS_INVALID_HANDLE)?;
        self.make(&endpoint)?;
        if let Some(generation) = self.generation.take() {
            initial::apply(&endpoint, &generation, &mut self.own);
        }
        let (exclusive, record) = match self.decided.take() {
            Some(decided) => decided,
            None => self.decide(&endpoint)?,
        };
        let status = self.bind(&endpoint, exclusive);
        if let Some(record) = record {
            audit::write(&endpoint, record, status);
        }
        if status < 0 {
            return Err(status);
        }
        endpoint.set_local(&self.address);
        // SAFETY: the provider's socket, which is a connection.
        let provider = unsafe { table::<WSK_PROVIDER_CONNECTION_DISPATCH>(endpoint.lower_to_end()) };
        if let Some(function) = provider.WskGetLocalAddress.filter(|_| self.address.port() == 0) {
            initial::learn_address(&endpoint, function, &mut self.own);
        }
        endpoint.set_phase(Phase::Connecting);
        Ok(())
    }

    fn make(&mut self, endpoint: &EndpointRef) -> Result<(), NTSTATUS> {
        let lower = endpoint.client().lower()?;
        let function = lower.table.WskSocket.ok_or(STATUS_NOT_SUPPORTED)?;
        let with = self.arguments;
        let (family, context) = (self.address.family().0, endpoint.as_context());
        let (status, information) = self.own.call_and_wait(|own| {
            // SAFETY: the client's arguments, of which the objects are referenced, with our context, callbacks and IRP.
            unsafe {
                function(
                    lower.name,
                    family,
                    with.kind,
                    with.protocol,
                    WSK_FLAG_CONNECTION_SOCKET,
                    context,
                    with.own_dispatch.cast(),
                    with.process,
                    with.thread,
                    with.security,
                    own,
                )
            }
        });
        let socket: PWSK_SOCKET = core::ptr::with_exposed_provenance_mut(information);
        if status < 0 || socket.is_null() {
            return Err(if status < 0 {
                status
            } else {
                STATUS_INSUFFICIENT_RESOURCES
            });
        }
        endpoint.open(socket);
        self.made = true;
        Ok(())
    }

    fn decide(&self, endpoint: &Endpoint) -> Result<Decided, NTSTATUS> {
        let (verdict, record) = bind::judge(endpoint, &self.address);
        match verdict.outcome {
            BindOutcome::Refuse(refusal) => Err(refusal.status.0.cast_signed()),
            BindOutcome::Exclusive => Ok((true, record)),
            BindOutcome::Forward => Ok((false, record)),
        }
    }

    fn bind(&mut self, endpoint: &Endpoint, exclusive: bool) -> NTSTATUS {
        if exclusive {
            let status = initial::make_exclusive(endpoint, &mut self.own);
            if status < 0 {
                return status;
            }
        }
        let lower = endpoint.lower_to_end();
        // SAFETY: the provider's socket, which is a connection.
        let Some(function) = (unsafe { table::<WSK_PROVIDER_CONNECTION_DISPATCH>(lower) }).WskBind else {
            return STATUS_NOT_SUPPORTED;
        };
        let address: PSOCKADDR = (&raw mut self.address).cast();
        // SAFETY: the address lies in the block, which outlives the wait for the IRP.
        let call = |own| unsafe { function(lower, address, 0, own) };
        self.own.call_and_wait(call).0
    }

    /// Closes a socket that the client will not get. `PASSIVE_LEVEL`.
    fn close(&mut self) {
        if !core::mem::take(&mut self.made) {
            return;
        }
        if let Some(endpoint) = &self.endpoint {
            let _ = endpoint.begin_close();
            let lower = endpoint.lower_to_end();
            // SAFETY: the provider's socket, closed once.
            if let Some(close) = unsafe { lower::close(lower) } {
                // SAFETY: as above.
                let _ = self.own.call_and_wait(|own| unsafe { close(lower, own) });
            }
            endpoint.closed();
        }
    }
}

impl Finish for Steps {
    fn before_call(prepared: Prepared<Self>) {
        // SAFETY: the request is not launched yet.
        let steps = unsafe { &mut *prepared.data() };
        if let Err(status) = steps.before_connect() {
            steps.close();
            return prepared.fail(status);
        }
        let lower = steps
            .endpoint
            .as_ref()
            .map_or(core::ptr::null_mut(), |endpoint| endpoint.lower_to_end());
        let remote = steps.arguments.remote;
        // SAFETY: the provider's socket, which is a connection.
        let Some(connect) = (unsafe { table::<WSK_PROVIDER_CONNECTION_DISPATCH>(lower) }).WskConnect else {
            steps.close();
            return prepared.fail(STATUS_NOT_SUPPORTED);
        };
        let call = |own, _| {
            // A status that no provider completes with tells an IRP that was left alone.
            // SAFETY: our IRP, until the provider has it.
            unsafe { irp::set_status(own, STATUS_MORE_PROCESSING_REQUIRED, 0) };
            // SAFETY: the client's remote address, which lasts as long as its IRP, and our IRP.
            let status = unsafe { connect(lower, remote, 0, own) };
            // SAFETY: the call's own hold keeps the block, and our IRP in it.
            if status < 0 && unsafe { irp::status(own) }.0 == STATUS_MORE_PROCESSING_REQUIRED {
                // SAFETY: ours again, as it went.
                unsafe { complete_here(own, status, 0) };
            }
            // A failure takes work, so it must come by the completion alone.
            STATUS_PENDING
        };
        // SAFETY: the call passes our IRP to one function.
        unsafe { prepared.launch(call) };
    }

    fn finish(&mut self, status: NTSTATUS, _: usize) -> Told {
        if status < 0 {
            // Decided, and then never made.
            if let (Some(endpoint), Some((_, Some(record)))) = (&self.endpoint, self.decided.take()) {
                audit::write(endpoint, record, status);
            }
            if let (Some(endpoint), true) = (&self.endpoint, self.made) {
                endpoint.learn(Number::Error, to_wsa(NtStatus(status.cast_unsigned())).0);
                if let Some(work) = self.undo.take() {
                    return Told::AfterWork(work);
                }
            }
            return Told::Now(status, 0);
        }
        let Some(endpoint) = self.endpoint.take() else {
            return Told::Now(status, 0);
        };
        endpoint.move_phase(Phase::Connecting, Phase::Connected);
        endpoint.connected();
        let socket = endpoint.as_socket();
        // The client's from now on.
        endpoint.into_raw();
        Told::Now(status, socket.expose_provenance())
    }

    fn work(&mut self, status: NTSTATUS, _: usize) -> (NTSTATUS, usize) {
        self.close();
        (status, 0)
    }
}

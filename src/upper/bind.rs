//! WskBind: a decision point of its own. It sees the address and the sharing options in force, may refuse, and may make the bind
//! exclusive first.

use wdk_sys::{
    NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED, STATUS_PENDING,
};
use wsk_sys::{PFN_WSK_BIND, PFN_WSK_GET_LOCAL_ADDRESS, PIRP, PSOCKADDR, PWSK_SOCKET, ULONG};
use wskguard_core::{
    Category, Phase, RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, BindOutcome, BindVerdict},
    policy::{BindInput, Sharing},
    semantics::Flag,
};

use super::create::out_of_memory_after;
use super::lower::{Binds, reach};
use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::{guard, processor};
use crate::request::{Finish, Prepared, Request, Told, complete_here};
use crate::sockaddr::Address;
use crate::work::{OwnIrp, WorkItem};
use crate::{audit, control, initial};

/// A bind on its way, with the copy of the address that was decided on.
struct Bind {
    endpoint: EndpointRef,
    address: Address,
    record: Option<AuditRecord>,
    before: Phase,
    function: PFN_WSK_BIND,
    flags: ULONG,
    /// Where the provider chooses the port: how to learn it.
    learn: Option<(PFN_WSK_GET_LOCAL_ADDRESS, WorkItem)>,
    learning: Option<PFN_WSK_GET_LOCAL_ADDRESS>,
    /// For what is asked of the provider before and after the bind.
    own: Option<OwnIrp>,
}

impl Finish for Bind {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        let bound = if self.endpoint.facts.category == Category::Listen {
            Phase::Listening
        } else {
            Phase::Bound
        };
        let then = if status >= 0 { bound } else { self.before };
        self.endpoint.move_phase(Phase::Binding, then);
        if status >= 0 {
            self.endpoint.set_local(&self.address);
        } else {
            guard().count(Counter::LowerFailures);
        }
        if let Some(record) = self.record.take() {
            audit::write(&self.endpoint, record, status);
        }
        match self.learn.take() {
            Some((function, work)) if status >= 0 && self.endpoint.enter() => {
                self.learning = Some(function);
                Told::AfterWork(work)
            }
            _ => Told::Now(status, information),
        }
    }

    fn work(&mut self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        if let (Some(function), Some(own)) = (self.learning.take(), &mut self.own) {
            initial::learn_address(&self.endpoint, function, own);
            self.endpoint.leave();
        }
        (status, information)
    }

    /// Of a bind that is to be exclusive: sets the option first, and refuses the bind where that fails.
    fn before_call(prepared: Prepared<Self>) {
        // SAFETY: the request is not launched yet.
        let bind = unsafe { &mut *prepared.data() };
        let endpoint = bind.endpoint.clone();
        let status = match &mut bind.own {
            Some(own) => initial::make_exclusive(&endpoint, own),
            None => STATUS_INSUFFICIENT_RESOURCES,
        };
        if status >= 0 {
            // SAFETY: not launched yet.
            let call = unsafe { call_of(&prepared) };
            // SAFETY: the call passes our IRP to one function.
            unsafe { prepared.launch(call) };
        } else {
            prepared.fail(status);
        }
        endpoint.leave();
    }
}

/// The call of a bind, with the copy of the address in the block.
///
/// # Safety
/// The request is not launched yet.
unsafe fn call_of(prepared: &Prepared<Bind>) -> impl FnOnce(PIRP, *mut Bind) -> NTSTATUS + use<> {
    // SAFETY: as the caller promises.
    let bind = unsafe { &*prepared.data() };
    let (lower, function, flags) = (bind.endpoint.lower_to_end(), bind.function, bind.flags);
    move |own, kept: *mut Bind| {
        // SAFETY: the block keeps the copy of the address until the provider completes our IRP.
        let address = unsafe { &raw mut (*kept).address }.cast();
        // SAFETY: the client's arguments, with our copy of the address and our IRP.
        unsafe { function(lower, address, flags, own) }
    }
}

/// Decides a bind and counts it. The record is to be written with the bind's status; of a refused one it is written already.
pub fn judge(endpoint: &Endpoint, address: &Address) -> (BindVerdict, Option<AuditRecord>) {
    let guard = guard();
    let state = endpoint.options.load();
    let sharing = Sharing {
        reuse: state.flag(Flag::ReuseAddr),
        exclusive: state.flag(Flag::ExclusiveAddrUse),
    };
    let input = BindInput {
        port: address.port(),
        address: address.class(),
        sharing,
    };
    let cpu = processor();
    let reading = guard.policy.begin(cpu, RequestKind::Bind);
    let image = reading.as_ref().map(|generation| &generation.image);
    let verdict = decide::bind(image, endpoint, input);
    let generation = control::end(reading, verdict.rule, cpu);
    let refused = matches!(verdict.outcome, BindOutcome::Refuse(_));
    endpoint.decided(refused);
    guard.count_on(
        cpu,
        if refused {
            Counter::BindsDenied
        } else {
            Counter::BindsAllowed
        },
    );
    if refused {
        guard.count_on(cpu, Counter::RefusedByPolicy);
    } else if verdict.refusal.is_some() {
        guard.count_on(cpu, Counter::WouldRefuse);
    }
    let record = verdict
        .record
        .then(|| audit::bind(endpoint, &verdict, generation, address));
    if record.is_none() {
        audit::not_wanted(cpu);
    }
    if let (BindOutcome::Refuse(refusal), Some(record)) = (verdict.outcome, record) {
        audit::write(endpoint, record, refusal.status.0.cast_signed());
        return (verdict, None);
    }
    (verdict, record)
}

pub unsafe extern "system" fn bind<T: Binds>(
    socket: PWSK_SOCKET,
    local: PSOCKADDR,
    flags: ULONG,
    irp: PIRP,
) -> NTSTATUS {
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let (lower, table) = match reach::<T>(endpoint) {
        Ok(found) => found,
        // SAFETY: the client's IRP, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = table.bind() else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    // SAFETY: WSK's contract for addresses.
    let Some(address) = (unsafe { Address::capture(local) }) else {
        // Not an address that can be decided on, nor one that a provider can bind to.
        // SAFETY: the client's own arguments.
        return unsafe { function(lower, local, flags, irp) };
    };
    let (verdict, record) = judge(endpoint, &address);
    if let BindOutcome::Refuse(refusal) = verdict.outcome {
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { complete_here(irp, refusal.status.0.cast_signed(), 0) };
    }
    let Some(request) = Request::<Bind>::allocate() else {
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { out_of_memory_after(endpoint, record, irp) };
    };
    let mut own = None;
    let exclusive = if verdict.outcome == BindOutcome::Exclusive {
        own = OwnIrp::allocate();
        let (Some(work), Some(_)) = (WorkItem::allocate(), &own) else {
            // SAFETY: as above.
            return unsafe { out_of_memory_after(endpoint, record, irp) };
        };
        Some(work)
    } else {
        None
    };
    let local_address = table.local_address();
    // Without memory for it, the port stays unknown: the bind matters more.
    let learn = local_address.filter(|_| address.port() == 0).and_then(|function| {
        own = own.take().or_else(OwnIrp::allocate);
        own.as_ref()?;
        Some((function, WorkItem::allocate()?))
    });
    let before = endpoint.phase();
    endpoint.move_phase(before, Phase::Binding);
    let finish = Bind {
        endpoint: endpoint.reference(),
        address,
        record,
        before,
        function,
        flags,
        learn,
        learning: None,
        own,
    };
    // SAFETY: the client's IRP, and a fresh block.
    let Some(prepared) = (unsafe { request.prepare(irp, finish) }) else {
        return STATUS_PENDING;
    };
    match exclusive {
        None => {
            // SAFETY: not launched yet.
            let call = unsafe { call_of(&prepared) };
            // SAFETY: the call passes our IRP to one function.
            return unsafe { prepared.launch_inline(call) };
        }
        Some(work) if endpoint.enter() => prepared.after_work(work),
        Some(_) => prepared.fail(STATUS_INVALID_DEVICE_STATE),
    }
    STATUS_PENDING
}

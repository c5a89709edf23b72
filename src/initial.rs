//! Options that the policy gives a new endpoint, and the port that the provider chose for it: calls to the provider of our own, made
//! at `PASSIVE_LEVEL` before the client is told, or inside the endpoint's gate, so that close does not run into them.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_rtl::nonpaged::NonpagedBox;
use wdk_sys::{
    DEVICE_OBJECT, NTSTATUS, STATUS_FILE_FORCED_CLOSED, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED,
};
use wsk_sys::{PFN_WSK_GET_LOCAL_ADDRESS, SOCKADDR_INET, WskSetOption};
use wskguard_core::{
    NtStatus, RequestKind, SOL_SOCKET,
    audit::{AuditRecord, FLAG_HAS_NEW, FLAG_OWN_REQUEST, Kind},
    counters::Counter,
    decide::{self, Done},
    policy::InitialOption,
    semantics::{self, Change, EndpointFacts, Forward, OptionState, Plan, Pointer, Request},
    status::to_wsa,
};

use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::{TAG_REQUEST, guard};
use crate::policy::{Generation, GenerationRef};
use crate::sockaddr::Address;
use crate::work::{OwnIrp, WorkItem};
use crate::{audit, linger, upper};

/// `SO_EXCLUSIVEADDRUSE`.
const SO_EXCLUSIVEADDRUSE: u32 = !4;

/// The policy that has options for a new endpoint, kept so that the endpoint gets all of this one's, whatever is loaded meanwhile;
/// `None` where the policy in force has none for it. Takes the memory that the options need, so that none stays unset for want of
/// it. <= `DISPATCH_LEVEL`. `STATUS_INSUFFICIENT_RESOURCES` without memory.
pub fn policy_for(endpoint: &Endpoint) -> Result<Option<GenerationRef>, NTSTATUS> {
    let state = endpoint.options.load();
    let Some(reading) = guard().policy.look() else {
        return Ok(None);
    };
    let (mut any, mut room, mut then) = (false, true, state);
    decide::initial(&reading.image, endpoint, |option| {
        any = true;
        let change = change(endpoint, &then, option.level, option.code, option.value);
        // What cannot be applied will not be committed either.
        if then.apply(change).is_ok() {
            room &= linger::reserve(endpoint, &then);
        }
    });
    if !room {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    Ok(any.then(|| reading.keep()))
}

/// Sets them all. One that the provider refuses is audited with its status; the others are set all the same.
pub fn apply(endpoint: &Endpoint, generation: &Generation, own: &mut OwnIrp) {
    let mut index = 0;
    // One at a time: a list of them would not fit on a kernel stack.
    while let Some(option) = nth(endpoint, generation, index) {
        let status = set(endpoint, own, option.level, option.code, option.value);
        record(endpoint, generation.number, &option, status);
        index = index.wrapping_add(1);
    }
}

/// The option of that number.
fn nth(endpoint: &Endpoint, generation: &Generation, index: usize) -> Option<InitialOption> {
    let (mut at, mut found) = (0_usize, None);
    decide::initial(&generation.image, endpoint, |option| {
        if at == index {
            found = Some(option);
        }
        at = at.wrapping_add(1);
    });
    found
}

/// Sets the options of a connection that `WskAcceptEvent` hands out, which cannot wait for it: right after, unless the client closes
/// the connection before. It is made ahead, since a connection that cannot be given its options is refused.
pub struct Later {
    endpoint: EndpointRef,
    generation: GenerationRef,
    work: WorkItem,
    own: OwnIrp,
}

impl Later {
    /// `None` where the policy in force has no options for this endpoint. <= `DISPATCH_LEVEL`. `STATUS_INSUFFICIENT_RESOURCES` without
    /// memory.
    pub fn prepare(endpoint: &Endpoint) -> Result<Option<NonpagedBox<Self, TAG_REQUEST>>, NTSTATUS> {
        let Some(generation) = policy_for(endpoint)? else {
            return Ok(None);
        };
        let work = WorkItem::allocate().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let own = OwnIrp::allocate().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let later = NonpagedBox::try_new(Self {
            endpoint: endpoint.reference(),
            generation,
            work,
            own,
        });
        later.map(Some).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Begins. <= `DISPATCH_LEVEL`.
    pub fn begin(later: NonpagedBox<Self, TAG_REQUEST>) {
        if !later.endpoint.enter() {
            return;
        }
        let later = later.into_raw();
        // SAFETY: the box is what the routine takes over, with the work item in it.
        let work = unsafe { &later.as_ref().work };
        // SAFETY: as above; queued once.
        unsafe { work.queue(apply_now, later.as_ptr().cast()) };
    }
}

unsafe extern "C" fn apply_now(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    let Some(later) = NonNull::new(context.cast::<Later>()) else {
        return;
    };
    // SAFETY: given up by `Later::begin`, once.
    let mut later = unsafe { NonpagedBox::<Later, TAG_REQUEST>::from_raw(later) };
    let later = &mut *later;
    apply(&later.endpoint, &later.generation, &mut later.own);
    later.endpoint.leave();
}

/// Makes the bind that follows an exclusive one.
pub fn make_exclusive(endpoint: &Endpoint, own: &mut OwnIrp) -> NTSTATUS {
    set(endpoint, own, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)
}

/// Sets one option below, and in the record when that succeeded.
fn set(endpoint: &Endpoint, own: &mut OwnIrp, level: u32, code: u32, value: u32) -> NTSTATUS {
    let Some(lower) = endpoint.lower() else {
        return STATUS_FILE_FORCED_CLOSED;
    };
    // SAFETY: the provider's socket lives while ours is open.
    let Some(function) = (unsafe { upper::lower_control(lower) }) else {
        return STATUS_NOT_SUPPORTED;
    };
    let change = change(endpoint, &endpoint.options.load(), level, code, value);
    if !linger::reserve_for(endpoint, change) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut bytes = value.to_le_bytes();
    let input: *mut c_void = bytes.as_mut_ptr().cast();
    let (none, no_size) = (core::ptr::null_mut(), core::ptr::null_mut());
    let (status, _) = own.call_and_wait(|own| {
        // SAFETY: the input outlives the wait for the IRP.
        unsafe {
            function(
                lower,
                WskSetOption,
                code,
                level,
                size_of::<u32>(),
                input,
                0,
                none,
                no_size,
                own,
            )
        }
    });
    if status >= 0 {
        guard().count(Counter::Forced);
        // Reports what the provider did: nothing to refuse.
        let _ = endpoint.options.commit(change);
    }
    status
}

/// What the record becomes by such a set.
fn change(endpoint: &Endpoint, state: &OptionState, level: u32, code: u32, value: u32) -> Change {
    let input = value.to_le_bytes();
    let request = Request {
        kind: RequestKind::Set,
        level,
        code,
        input_pointer: Pointer::Valid,
        input_len: input.len(),
        input: &input,
        output_pointer: Pointer::Null,
        output_len: 0,
        has_irp: true,
        wants_size: false,
        at_dispatch: false,
        now: crate::guard::seconds(),
    };
    let facts: &EndpointFacts = &endpoint.facts;
    match semantics::plan(facts, state, endpoint.phase(), wskguard_core::Mode::Off, &request) {
        Plan::Forward(Forward { commit, .. }) => commit.as_fact(),
        Plan::Refuse(_) | Plan::Answer(_) => Change::NONE,
    }
}

fn record(endpoint: &Endpoint, generation: u64, option: &InitialOption, status: NTSTATUS) {
    let mut record = AuditRecord::new(Kind::Decision, audit::WHEN_WRITTEN);
    audit::describe(&mut record, endpoint);
    record.generation = u32::try_from(generation).unwrap_or(u32::MAX);
    record.request = RequestKind::Set as u8;
    record.level = option.level;
    record.code = option.code;
    record.action = Done::Initial as u8;
    record.new_value = option.value.into();
    record.flags = FLAG_OWN_REQUEST | FLAG_HAS_NEW;
    record.wsa = to_wsa(NtStatus(status.cast_unsigned())).0;
    audit::write(endpoint, record, status);
}

/// Asks the provider where an endpoint is bound, and records it.
pub fn learn_address(endpoint: &Endpoint, function: PFN_WSK_GET_LOCAL_ADDRESS, own: &mut OwnIrp) {
    let Some(lower) = endpoint.lower() else {
        return;
    };
    let mut local = SOCKADDR_INET {
        Ipv6: wsk_sys::SOCKADDR_IN6::default(),
    };
    let address: wsk_sys::PSOCKADDR = (&raw mut local).cast();
    // SAFETY: the provider's socket lives while ours is open; the buffer outlives the wait for the IRP.
    let (status, _) = own.call_and_wait(|own| unsafe { function(lower, address, own) });
    if status >= 0 {
        // SAFETY: the provider has filled it in.
        if let Some(address) = unsafe { Address::capture(address) } {
            endpoint.set_local(&address);
        }
    }
}

//! The record of every IRP, and the rules that follow from it. IRQL <= DISPATCH_LEVEL.
//!
//! A *visit* is one call of a dispatch routine with an IRP: what the routine returned and what happened to the IRP meanwhile must agree.

extern crate alloc;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use probe_protocol::verifier::flags;
use wdk_rtl::irp as inline;
use wdk_sys::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, NTSTATUS, SL_PENDING_RETURNED, STATUS_PENDING};

use crate::exports;
use crate::irp;
use crate::settings;
use crate::stop::{self, Code, Stack};
use crate::sync::Lock;

/// Who made an IRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The I/O manager, for a request of a user program.
    User,
    /// The I/O manager, for a driver that asked it to.
    Built,
    /// A driver, with IoAllocateIrp.
    Allocated,
    /// A driver, in memory of its own.
    Placed,
}

#[derive(Clone, Copy)]
struct Visit {
    id: u64,
    location: i8,
}

struct Record {
    origin: Origin,
    made: Stack,
    visits: Vec<Visit>,
    /// The thread that moves it upwards: what a location above says of it may be yet to come.
    completer: Option<usize>,
}

#[derive(Clone, Copy)]
struct Outcome {
    status: NTSTATUS,
    pending: bool,
}

struct State {
    records: BTreeMap<usize, Record>,
    /// Addresses that were on record once.
    gone: BTreeSet<usize>,
    /// Visits whose dispatch routine has not returned: completed, and how, or not.
    visits: BTreeMap<u64, Option<Outcome>>,
    next: u64,
}

static STATE: Lock<State> = Lock::new(State {
    records: BTreeMap::new(),
    gone: BTreeSet::new(),
    visits: BTreeMap::new(),
    next: 1,
});

/// Puts an IRP on record.
pub(crate) fn insert(irp: *mut IRP, origin: Origin) {
    let record = Record {
        origin,
        // Without rules nobody asks, and it takes longer than all else.
        made: if settings::has(flags::IRP) {
            stop::call_stack()
        } else {
            [0; _]
        },
        visits: Vec::new(),
        completer: None,
    };
    let mut state = STATE.lock();
    state.gone.remove(&irp.addr());
    state.records.insert(irp.addr(), record);
}

/// Takes an IRP off the record.
pub(crate) fn remove(irp: *mut IRP) -> Option<Origin> {
    let mut state = STATE.lock();
    let record = state.records.remove(&irp.addr())?;
    state.gone.insert(irp.addr());
    Some(record.origin)
}

/// Whether the IRP is on record.
pub(crate) fn known(irp: *mut IRP) -> bool {
    STATE.lock().records.contains_key(&irp.addr())
}

/// Who made the IRP.
pub(crate) fn origin(irp: *mut IRP) -> Option<Origin> {
    STATE.lock().records.get(&irp.addr()).map(|record| record.origin)
}

/// IRPs on record.
pub(crate) fn count() -> usize {
    STATE.lock().records.len()
}

/// Whether an IRP may be freed or used again: it exists, and nobody below has it.
pub(crate) fn check_idle(irp: *mut IRP, what: &str) -> bool {
    let code = {
        let state = STATE.lock();
        match state.records.get(&irp.addr()) {
            None => Some(Code::PoolBadFree),
            Some(record) if !record.visits.is_empty() => Some(Code::IrpFreedInUse),
            Some(_) => None,
        }
    };
    if let Some(code) = code {
        stop::report_about(code, [irp.addr(), 0, 0, 0], what.as_bytes());
    }
    code.is_none()
}

/// A dispatch routine is about to be called.
pub(crate) fn enter(irp: *mut IRP, location: i8, _device: *mut DEVICE_OBJECT) -> u64 {
    let mut state = STATE.lock();
    let id = state.next;
    state.next = id.wrapping_add(1);
    state.visits.insert(id, None);
    if let Some(record) = state.records.get_mut(&irp.addr()) {
        record.visits.push(Visit { id, location });
        record.completer = None;
    }
    id
}

/// The IRP was completed at a location.
pub(crate) fn passed(irp: *mut IRP, location: i8, status: NTSTATUS, pending: bool) {
    let mut state = STATE.lock();
    let State { records, visits, .. } = &mut *state;
    let Some(record) = records.get_mut(&irp.addr()) else {
        return;
    };
    record.completer = Some(irp::current_thread().addr());
    record.visits.retain(|visit| {
        if visit.location != location {
            return true;
        }
        if let Some(outcome) = visits.get_mut(&visit.id) {
            *outcome = Some(Outcome { status, pending });
        }
        false
    });
}

/// A completion routine has kept the IRP, which may be elsewhere, or gone, by now.
pub(crate) fn kept(irp: *mut IRP) {
    if let Some(record) = STATE.lock().records.get_mut(&irp.addr())
        && record.completer == Some(irp::current_thread().addr())
    {
        record.completer = None;
    }
}

/// A dispatch routine has returned.
pub(crate) fn leave(irp: *mut IRP, visit: u64, returned: NTSTATUS, dispatch: usize) {
    let code = {
        let mut state = STATE.lock();
        match state.visits.remove(&visit).flatten() {
            Some(outcome) => judge_completed(outcome, returned),
            None => state
                .records
                .get(&irp.addr())
                .and_then(|record| judge_kept(irp, record, visit, returned)),
        }
    };
    if let Some(code) = code {
        #[allow(clippy::cast_sign_loss, reason = "printed in hexadecimal")]
        stop::report_of(
            code,
            [irp.addr(), returned as u32 as usize, dispatch, 0],
            b"dispatch routine",
            dispatch,
        );
    }
}

/// A dispatch routine was ended by a fault: whether the IRP is still in its hands.
pub(crate) fn abandon(irp: *mut IRP, visit: u64) -> bool {
    let mut state = STATE.lock();
    let completed = state.visits.remove(&visit).flatten().is_some();
    let Some(record) = state.records.get(&irp.addr()) else {
        return false;
    };
    let passed_down = record.visits.iter().any(|one| one.id > visit);
    !completed && !passed_down && record.visits.iter().any(|one| one.id == visit)
}

fn judge_completed(outcome: Outcome, returned: NTSTATUS) -> Option<Code> {
    match (returned == STATUS_PENDING, outcome.pending) {
        (true, false) => Some(Code::IrpPendingNotMarked),
        (false, true) => Some(Code::IrpMarkedNotPending),
        (false, false) if returned != outcome.status => Some(Code::IrpStatusMismatch),
        _ => None,
    }
}

/// The stack location with that number, of those behind the IRP; the first is 1.
fn location_at(irp: *mut IRP, number: i8) -> *mut IO_STACK_LOCATION {
    irp.wrapping_add(1)
        .cast::<IO_STACK_LOCATION>()
        .wrapping_offset(isize::from(number).wrapping_sub(1))
}

fn judge_kept(irp: *mut IRP, record: &Record, visit: u64, returned: NTSTATUS) -> Option<Code> {
    let own = record.visits.iter().find(|one| one.id == visit)?;
    let passed_down = record.visits.iter().any(|one| one.id > visit);
    // SAFETY: a visit on record was not completed yet, and it cannot be while the table is locked: the IRP and its locations exist.
    let (location, control) = unsafe { ((*irp).CurrentLocation, (*location_at(irp, own.location)).Control) };
    // Of the visit's own location: whoever has the IRP now may be moving it to the next one.
    let marked = u32::from(control) & SL_PENDING_RETURNED != 0;
    // On another thread, a completion routine may be about to mark it; `passed` tells what comes of that.
    let on_its_way = record
        .completer
        .is_some_and(|thread| thread != irp::current_thread().addr());
    if passed_down || on_its_way || location != own.location {
        return None;
    }
    match (returned == STATUS_PENDING, marked) {
        (true, false) => Some(Code::IrpPendingNotMarked),
        (false, true) => Some(Code::IrpMarkedNotPending),
        (false, false) => Some(Code::IrpNotCompleted),
        (true, true) => None,
    }
}

/// Completes an IRP that Wine made.
fn pass_on(irp: *mut IRP) {
    type Complete = unsafe extern "C" fn(*mut IRP, i8);
    if let Some(original) = exports::original(c"IofCompleteRequest") {
        // SAFETY: Wine's function of that name has this type.
        let original = unsafe { core::mem::transmute::<core::ptr::NonNull<core::ffi::c_void>, Complete>(original) };
        // SAFETY: its owner completes it, and it was never ours.
        unsafe { original(irp, 0) };
    }
}

/// Whether an IRP may be completed now; reports why not, and other faults of the completion.
pub(crate) fn check_completion(irp: *mut IRP) -> bool {
    if !known(irp) && !STATE.lock().gone.contains(&irp.addr()) {
        // Wine's own, for a device of a driver that was not entered through the loader: netio.sys's.
        pass_on(irp);
        return false;
    }
    if !known(irp) {
        stop::report(Code::IrpCompletedTwice, [irp.addr(), 0, 0, 0]);
        return false;
    }
    // SAFETY: on record, so it exists; its owner is completing it.
    let (past_end, routine, (status, _)) = unsafe {
        (
            (*irp).CurrentLocation > (*irp).StackCount,
            (*irp).CancelRoutine,
            inline::status(irp),
        )
    };
    if past_end {
        stop::report(Code::IrpCompletedTwice, [irp.addr(), 1, 0, 0]);
        return false;
    }
    if let Some(routine) = routine {
        stop::report(Code::IrpCompletedCancelable, [irp.addr(), routine as usize, 0, 0]);
        // SAFETY: as above: the routine must not be called for an IRP that is gone.
        unsafe { inline::set_cancel_routine(irp, None) };
    }
    if status == STATUS_PENDING || status == -1 {
        #[allow(clippy::cast_sign_loss, reason = "printed in hexadecimal")]
        stop::report(Code::IrpCompletedPending, [irp.addr(), status as u32 as usize, 0, 0]);
    }
    true
}

/// IRPs on record: address, origin, where they were made, devices' drivers that have them.
pub(crate) fn for_each(mut visit: impl FnMut(usize, Origin, &Stack, bool)) {
    let all: Vec<_> = {
        let state = STATE.lock();
        state
            .records
            .iter()
            .map(|(irp, record)| (*irp, record.origin, record.made, !record.visits.is_empty()))
            .collect()
    };
    for (irp, origin, made, visited) in &all {
        visit(*irp, *origin, made, *visited);
    }
}

/// Memory is freed: IRPs in it that their driver had initialised are gone, and should not be under way.
pub(crate) fn freed(block: usize, size: usize) {
    let end = block.saturating_add(size);
    let busy: Vec<usize> = {
        let mut state = STATE.lock();
        let inside: Vec<usize> = state.records.range(block..end).map(|(irp, _)| *irp).collect();
        inside
            .into_iter()
            .filter(|irp| {
                state
                    .records
                    .remove(irp)
                    .is_some_and(|record| !record.visits.is_empty())
            })
            .collect()
    };
    for irp in busy {
        stop::report_about(Code::IrpFreedInUse, [irp, 0, 0, 0], b"memory freed");
    }
}

/// Forgets IRPs that are chosen: they have been reported, and nobody has them any more.
pub(crate) fn forget(mut chosen: impl FnMut(Origin, &Stack) -> bool) {
    STATE
        .lock()
        .records
        .retain(|_, record| !chosen(record.origin, &record.made));
}

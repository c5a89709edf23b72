//! Linger at close: a graceful disconnect before the provider's close, for as long as the option says and the policy allows.
//!
//! What it needs is taken when the option is set, so that close cannot fail for memory. Three parties hold it while it runs: the call,
//! the disconnect's completion, and the timer that cancels the disconnect; the last one queues the close. IRQL <= `DISPATCH_LEVEL`.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_rtl::{irp, nonpaged::NonpagedBox};
use wdk_sys::{
    DEVICE_OBJECT, IRP, KDPC, KTIMER, LARGE_INTEGER, NTSTATUS, PIRP, PVOID, STATUS_MORE_PROCESSING_REQUIRED,
    ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, KeCancelTimer, KeInitializeDpc, KeInitializeTimer, KeSetTimer},
};
use wskguard_core::{
    Category, Mode, Phase,
    audit::Happened,
    counters::Counter,
    semantics::{Change, CloseAction, Op, OptionState, linger_at_close},
};

use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::{TAG_REQUEST, guard};
use crate::upper::close;
use crate::work::WorkItem;
use crate::{audit, control, upper};

/// Longest wait without a policy, in seconds.
const DEFAULT_MAX: u32 = 5;

/// See the module. One for each endpoint at most, used once.
pub struct Linger {
    disconnect: PIRP,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    work: WorkItem,
    parties: AtomicU32,
    endpoint: AtomicPtr<Endpoint>,
}

impl Linger {
    fn create() -> Option<NonNull<Self>> {
        let work = WorkItem::allocate()?;
        // SAFETY: no precondition.
        let disconnect = unsafe { IoAllocateIrp(1, 0) };
        if disconnect.is_null() {
            return None;
        }
        let linger = Self {
            disconnect,
            timer: UnsafeCell::new(KTIMER::default()),
            dpc: UnsafeCell::new(KDPC::default()),
            work,
            parties: AtomicU32::new(0),
            endpoint: AtomicPtr::new(core::ptr::null_mut()),
        };
        let Ok(linger) = NonpagedBox::<_, TAG_REQUEST>::try_new(linger) else {
            // SAFETY: allocated above.
            unsafe { IoFreeIrp(disconnect) };
            return None;
        };
        let linger = linger.into_raw();
        // SAFETY: just made, and in its final place.
        let made = unsafe { linger.as_ref() };
        // SAFETY: the objects are ours, nonpaged, and stay where they are.
        unsafe { KeInitializeTimer(made.timer.get()) };
        // SAFETY: as above; the routine expects the block.
        unsafe { KeInitializeDpc(made.dpc.get(), Some(expired), linger.as_ptr().cast()) };
        Some(linger)
    }

    /// # Safety
    /// Made by [`Self::create`]; nothing of it runs, and nobody uses it any more.
    pub unsafe fn free(linger: NonNull<Self>) {
        // SAFETY: as the caller promises.
        let linger = unsafe { NonpagedBox::<Self, TAG_REQUEST>::from_raw(linger) };
        // SAFETY: allocated by `create`.
        unsafe { IoFreeIrp(linger.disconnect) };
    }

    /// One party less. The last one has the close sent.
    fn leave(&self) {
        if self.parties.fetch_sub(1, Ordering::AcqRel) == 1 {
            let endpoint = self.endpoint.load(Ordering::Acquire);
            // SAFETY: queued once; the endpoint stays until the close that the routine sends has completed, and the block with it.
            unsafe { self.work.queue(send_close, endpoint.cast()) };
        }
    }
}

/// The same for the options as `change` will leave them.
pub fn reserve_for(endpoint: &Endpoint, change: Change) -> bool {
    if !matches!(change.op(), Op::Linger { .. } | Op::DontLinger(_)) {
        return true;
    }
    let mut state = endpoint.options.load();
    // What cannot be applied will not be committed either.
    state.apply(change).is_err() || reserve(endpoint, &state)
}

/// Takes what a lingering close of this endpoint will need, if its options ask for one. False without memory for it.
pub fn reserve(endpoint: &Endpoint, state: &OptionState) -> bool {
    let wanted = matches!(linger_at_close(state), CloseAction::Graceful { .. });
    let has_connections = matches!(endpoint.facts.category, Category::Connection | Category::Stream);
    if !wanted || !has_connections || endpoint.linger().is_some() || control::mode_of(state) < Mode::Compat {
        return true;
    }
    let Some(linger) = Linger::create() else {
        guard().count(Counter::AllocationFailures);
        return false;
    };
    if !endpoint.keep_linger(linger) {
        // SAFETY: another request was faster: nobody knows this one.
        unsafe { Linger::free(linger) };
    }
    true
}

/// For how many seconds a close now has to wait for a graceful disconnect; `None` where WSK's own close is left alone.
///
/// Only of a connection whose record carries the contract (`compat` and `strict`): in the other modes the option is the provider's.
pub fn wanted(endpoint: &Endpoint, phase: Phase) -> Option<u32> {
    endpoint.linger().filter(|_| phase == Phase::Connected)?;
    let state = endpoint.options.load();
    let CloseAction::Graceful { seconds } = linger_at_close(&state) else {
        return None;
    };
    if control::mode_of(&state) < Mode::Compat {
        return None;
    }
    let most = guard()
        .policy
        .look()
        .map_or(DEFAULT_MAX, |generation| generation.image.settings().linger_max);
    Some(u32::from(seconds).min(most)).filter(|&seconds| seconds > 0)
}

/// Disconnects gracefully, for `seconds` at most, and has the close that is kept in the endpoint sent afterwards. False when it
/// cannot: the close is the caller's to send.
pub fn begin(endpoint: &Endpoint, seconds: u32) -> bool {
    const PER_SECOND: i64 = 10_000_000;
    let (Some(linger), Some(disconnect)) = (endpoint.linger(), upper::lower_disconnect(endpoint)) else {
        return false;
    };
    guard().count(Counter::LingerCloses);
    audit::state(endpoint, Happened::Lingering, 0);
    linger
        .endpoint
        .store(core::ptr::from_ref(endpoint).cast_mut(), Ordering::Release);
    linger.parties.store(3, Ordering::Release);
    let block: *mut c_void = core::ptr::from_ref(linger).cast_mut().cast();
    // SAFETY: the IRP is ours and fresh: an endpoint closes once. The block outlives it.
    unsafe { irp::set_completion_routine(linger.disconnect, disconnected, block) };
    // A status that no provider completes with tells an IRP that was left alone.
    // SAFETY: as above.
    unsafe { irp::set_status(linger.disconnect, STATUS_MORE_PROCESSING_REQUIRED, 0) };
    let due = LARGE_INTEGER {
        QuadPart: i64::from(seconds).saturating_mul(PER_SECOND).wrapping_neg(),
    };
    // SAFETY: both objects were initialised, and stay until the timer's party has left.
    let _ = unsafe { KeSetTimer(linger.timer.get(), due, linger.dpc.get()) };
    // SAFETY: the provider's socket lives until the close; no data, and our IRP.
    let status = unsafe { disconnect(endpoint.lower_to_end(), core::ptr::null_mut(), 0, linger.disconnect) };
    // SAFETY: the call's party keeps the IRP.
    if status < 0 && unsafe { irp::status(linger.disconnect) }.0 == STATUS_MORE_PROCESSING_REQUIRED {
        ended(linger);
    }
    linger.leave();
    true
}

/// The disconnect is over: nobody waits for the timer any more.
fn ended(linger: &Linger) {
    // SAFETY: initialised, and its party or ours keeps it.
    if unsafe { KeCancelTimer(linger.timer.get()) } != 0 {
        // It will not run, so its party leaves here.
        linger.leave();
    }
    linger.leave();
}

unsafe extern "C" fn disconnected(_: *mut DEVICE_OBJECT, _: *mut IRP, block: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the block, which the disconnect's party keeps.
    if let Some(linger) = unsafe { block.cast::<Linger>().as_ref() } {
        ended(linger);
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Long enough: the disconnect is cancelled, and completes so.
unsafe extern "C" fn expired(_: *mut KDPC, block: PVOID, _: PVOID, _: PVOID) {
    // SAFETY: the context is the block, which the timer's party keeps.
    if let Some(linger) = unsafe { block.cast::<Linger>().as_ref() } {
        // SAFETY: the IRP lives as long as the block.
        let _ = unsafe { IoCancelIrp(linger.disconnect) };
        linger.leave();
    }
}

/// Work item: sends the close that waited. `PASSIVE_LEVEL`.
unsafe extern "C" fn send_close(_: *mut DEVICE_OBJECT, endpoint: *mut c_void) {
    let Some(endpoint) = NonNull::new(endpoint.cast::<Endpoint>()) else {
        return;
    };
    // SAFETY: open until its close completes, and that is sent here. The work item goes with the endpoint.
    let endpoint: EndpointRef = unsafe { endpoint.as_ref() }.reference();
    close::send(&endpoint);
}

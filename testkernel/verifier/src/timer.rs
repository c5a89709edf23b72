//! Timers. Wine's own do the waiting; a DPC of ours stands between, so that the driver's is queued, and runs at DISPATCH_LEVEL, and so
//! that an expired timer no longer counts as set. IRQL <= DISPATCH_LEVEL.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use wdk_sys::{KDPC, KTIMER, LARGE_INTEGER};

use crate::dpc;
use crate::exports::exports;
use crate::sync::Lock;

/// What stands between a timer and its DPC. Never freed: Wine's thread may still look at it after a cancellation.
struct Shadow {
    own: KDPC,
    driver: AtomicPtr<KDPC>,
    set: AtomicBool,
    periodic: AtomicBool,
}

// SAFETY: the DPC inside is only read after it was made; the rest is atomic.
unsafe impl Sync for Shadow {}
// SAFETY: as above.
unsafe impl Send for Shadow {}

static SHADOWS: Lock<BTreeMap<usize, &'static Shadow>> = Lock::new(BTreeMap::new());

unsafe extern "C" fn expired(_own: *mut KDPC, context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: the context is a shadow, and those stay.
    let shadow = unsafe { &*context.cast::<Shadow>() };
    if shadow.periodic.load(Ordering::Acquire) {
        if !shadow.set.load(Ordering::Acquire) {
            return;
        }
    } else if !shadow.set.swap(false, Ordering::AcqRel) {
        return;
    }
    let dpc = shadow.driver.load(Ordering::Acquire);
    if !dpc.is_null() {
        // SAFETY: the driver keeps its DPC for as long as the timer is set.
        unsafe { dpc::insert(dpc, core::ptr::null_mut(), core::ptr::null_mut()) };
    }
}

fn shadow(timer: *mut KTIMER) -> &'static Shadow {
    SHADOWS.lock().entry(timer.addr()).or_insert_with(|| {
        // SAFETY: all of its fields are allowed to be zero.
        let mut shadow: Box<Shadow> = Box::new(unsafe { core::mem::zeroed() });
        let context = (&raw mut *shadow).cast();
        shadow.own.DeferredRoutine = Some(expired);
        shadow.own.DeferredContext = context;
        Box::leak(shadow)
    })
}

unsafe extern "system" fn set_ex(timer: *mut KTIMER, due: LARGE_INTEGER, period: i32, dpc: *mut KDPC) -> u8 {
    let shadow = shadow(timer);
    let was_set = shadow.set.swap(false, Ordering::AcqRel);
    shadow.driver.store(dpc, Ordering::Release);
    shadow.periodic.store(period != 0, Ordering::Release);
    shadow.set.store(true, Ordering::Release);
    // SAFETY: the driver's timer; the shadow's DPC stays.
    unsafe { wdk_sys::ntddk::KeSetTimerEx(timer, due, period, (&raw const shadow.own).cast_mut()) };
    u8::from(was_set)
}

unsafe extern "system" fn set(timer: *mut KTIMER, due: LARGE_INTEGER, dpc: *mut KDPC) -> u8 {
    // SAFETY: the driver's timer.
    unsafe { set_ex(timer, due, 0, dpc) }
}

unsafe extern "system" fn cancel(timer: *mut KTIMER) -> u8 {
    let known = SHADOWS.lock().get(&timer.addr()).copied();
    let was_set = known.is_some_and(|shadow| shadow.set.swap(false, Ordering::AcqRel));
    // SAFETY: the driver's timer.
    unsafe { wdk_sys::ntddk::KeCancelTimer(timer) };
    u8::from(was_set)
}

/// Timers that are set, with their DPCs' routines.
pub(crate) fn running(mut visit: impl FnMut(usize, usize)) {
    let shadows = SHADOWS.lock().clone();
    for (timer, shadow) in shadows {
        let dpc = shadow.driver.load(Ordering::Acquire);
        if shadow.set.load(Ordering::Acquire) && !dpc.is_null() {
            // SAFETY: the driver keeps its DPC for as long as the timer is set.
            visit(
                timer,
                unsafe { (*dpc).DeferredRoutine }.map_or(0, |routine| routine as usize),
            );
        }
    }
}

/// Stops timers whose DPC's routine is chosen: their driver goes away.
pub(crate) fn disarm(mut chosen: impl FnMut(usize) -> bool) {
    let shadows = SHADOWS.lock().clone();
    for shadow in shadows.values() {
        let dpc = shadow.driver.load(Ordering::Acquire);
        // SAFETY: as in `running`.
        if !dpc.is_null()
            && shadow.set.load(Ordering::Acquire)
            // SAFETY: as in `running`.
            && chosen(unsafe { (*dpc).DeferredRoutine }.map_or(0, |routine| routine as usize))
        {
            shadow.set.store(false, Ordering::Release);
        }
    }
}

exports! {
    KeSetTimer => set,
    KeSetTimerEx => set_ex,
    KeCancelTimer => cancel,
}

//! Cancellation: the cancel spin lock, `IoCancelIrp`, and the thread that carries out the cancellations that user programs ask for. The spin
//! lock is an ordinary one of the test kernel, so its rules are checked too. IRQL <= DISPATCH_LEVEL.

extern crate alloc;

use alloc::collections::VecDeque;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_rtl::irp as inline;
use wdk_sys::IRP;

use crate::callback;
use crate::exports::exports;
use crate::irptable;
use crate::spin;
use crate::sync::Lock;
use crate::user;

struct CancelLock(UnsafeCell<usize>);

// SAFETY: the word is only touched by the spin lock functions.
unsafe impl Sync for CancelLock {}

static CANCEL_LOCK: CancelLock = CancelLock(UnsafeCell::new(0));

/// Takes the cancel spin lock: the IRQL to return to.
pub(crate) fn acquire() -> u8 {
    // SAFETY: a spin lock.
    unsafe { spin::acquire(CANCEL_LOCK.0.get()) }
}

/// Lets go of the cancel spin lock.
pub(crate) fn release(irql: u8) {
    // SAFETY: a spin lock.
    unsafe { spin::release(CANCEL_LOCK.0.get(), irql) };
}

unsafe extern "system" fn io_acquire(irql: *mut u8) {
    let old = acquire();
    // SAFETY: the driver's variable.
    unsafe { irql.write(old) };
}

unsafe extern "system" fn io_release(irql: u8) {
    release(irql);
}

/// `IoCancelIrp`: whether a cancel routine was called. `still` is asked with the cancel spin lock held.
fn cancel(irp: *mut IRP, still: impl FnOnce() -> bool) -> bool {
    let irql = acquire();
    if !still() {
        release(irql);
        return false;
    }
    // SAFETY: the IRP exists while `still` says so and the cancel spin lock is held: the end of a user request takes that lock, and a
    // driver that cancels its own IRP keeps it alive meanwhile.
    let routine = unsafe {
        (&raw mut (*irp).Cancel).write_volatile(1);
        inline::set_cancel_routine(irp, None)
    };
    let Some(routine) = routine else {
        release(irql);
        return false;
    };
    // SAFETY: a cancel routine was set, so the IRP is with a driver that will complete it only after the routine is done with it.
    let device = unsafe {
        (*irp).CancelIrql = irql;
        (*inline::current_location(irp)).DeviceObject
    };
    // The routine lets go of the lock that this function took: what it must leave behind is what was there before.
    let thread = crate::thread::current();
    let locks = thread.held_count().saturating_sub(1);
    // SAFETY: the routine that the IRP's owner set, called with the cancel spin lock held, as documented.
    unsafe { routine(device, irp) };
    callback::check("cancel routine", routine as usize, irql, locks);
    true
}

unsafe extern "system" fn io_cancel(irp: *mut IRP) -> u8 {
    u8::from(cancel(irp, || irptable::known(irp)))
}

/// Requests of user programs that are to be cancelled.
static WANTED: Lock<VecDeque<usize>> = Lock::new(VecDeque::new());
static CHANGES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn canceller(_: *mut c_void) -> u32 {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        let Some(request) = WANTED.lock().pop_front() else {
            user::wait_on(&CHANGES, seen, user::INFINITE);
            continue;
        };
        crate::request::with_irp_of(request, |irp| {
            cancel(irp, || crate::request::irp_of(request) == Some(irp))
        });
    }
}

/// Cancels a request that Wine knows by this address, on a thread of its own: as on Windows, at the same time as the driver works on it.
pub(crate) fn request(wine_irp: usize) {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    if STARTED.swap(1, Ordering::AcqRel) == 0 {
        user::start_thread(canceller, core::ptr::null_mut());
    }
    WANTED.lock().push_back(wine_irp);
    CHANGES.fetch_add(1, Ordering::AcqRel);
    user::wake_all(&CHANGES);
}

exports! {
    IoAcquireCancelSpinLock => io_acquire,
    IoReleaseCancelSpinLock => io_release,
    IoCancelIrp => io_cancel,
}

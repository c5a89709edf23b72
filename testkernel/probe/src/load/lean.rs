//! The shortest client there is: one IRP, used again and again, and an event for when it pends and has not completed by the time the
//! call returns. What is measured with it is the provider.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, IO_STACK_LOCATION, IRP, NTSTATUS, PIRP, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_TIMEOUT,
    ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, IoInitializeIrp, IoReuseIrp},
};

use crate::ke;
use crate::shared::Shared;

/// Of [`Lean::state`]: in progress; somebody waits for the event; completed.
const RUNNING: u32 = 0;
const WAITED_FOR: u32 = 1;
const COMPLETED: u32 = 2;

/// An IRP and its event.
pub(super) struct Lean {
    irp: PIRP,
    done: ke::Event,
    state: AtomicU32,
    /// The provider never gave the IRP back.
    stuck: AtomicU32,
}

// SAFETY: used by one thread at a time; the provider completes it on any.
unsafe impl Send for Lean {}
// SAFETY: as above.
unsafe impl Sync for Lean {}

unsafe extern "C" fn complete(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the IRP is valid in its completion routine.
    if unsafe { (*irp).PendingReturned } != 0 {
        // SAFETY: the context is a lean client that waits for this.
        let lean = unsafe { &*context.cast::<Lean>() };
        if lean.state.swap(COMPLETED, Ordering::AcqRel) == WAITED_FOR {
            lean.done.set();
        }
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

impl Lean {
    pub(super) fn new() -> Option<Shared<Self>> {
        // SAFETY: any size is allowed; failure is NULL.
        let irp = unsafe { IoAllocateIrp(1, 0) };
        if irp.is_null() {
            return None;
        }
        let lean = Shared::try_new(Self {
            irp,
            done: ke::Event::uninitialised(),
            state: AtomicU32::new(COMPLETED),
            stuck: AtomicU32::new(0),
        })?;
        lean.done.init();
        Some(lean)
    }

    /// Makes the call; returns what it returned.
    pub(super) fn start(&self, call: impl FnOnce(PIRP) -> NTSTATUS) -> NTSTATUS {
        // SAFETY: the IRP is ours and not in progress.
        unsafe { IoReuseIrp(self.irp, STATUS_SUCCESS) };
        self.state.store(RUNNING, Ordering::Release);
        let context = (&raw const *self).cast_mut().cast();
        // SAFETY: as above; the client outlives the request, for whose end it waits.
        unsafe { irp::set_completion_routine(self.irp, complete, context) };
        call(self.irp)
    }

    /// Waits for what `start` returned as pending.
    pub(super) fn wait(&self, returned: NTSTATUS) -> (NTSTATUS, usize) {
        if returned == STATUS_PENDING && self.must_wait() && !self.done.wait(5000) {
            // SAFETY: the IRP is ours and not freed.
            unsafe { IoCancelIrp(self.irp) };
            if !self.done.wait(5000) {
                self.stuck.store(1, Ordering::Release);
                return (STATUS_TIMEOUT, 0);
            }
        }
        // SAFETY: the request has completed.
        unsafe { irp::status(self.irp) }
    }

    /// Says that the event is waited for; false where the request has completed by now.
    fn must_wait(&self) -> bool {
        if self.state.load(Ordering::Acquire) == COMPLETED {
            return false;
        }
        self.done.clear();
        self.state
            .compare_exchange(RUNNING, WAITED_FOR, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(super) fn call(&self, call: impl FnOnce(PIRP) -> NTSTATUS) -> (NTSTATUS, usize) {
        let returned = self.start(call);
        self.wait(returned)
    }
}

/// An IRP in memory of its own, which goes nowhere.
#[repr(C)]
pub(super) struct Spare {
    irp: IRP,
    location: IO_STACK_LOCATION,
}

unsafe extern "C" fn keep(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, _context: *mut c_void) -> NTSTATUS {
    STATUS_MORE_PROCESSING_REQUIRED
}

impl Spare {
    const BYTES: usize = size_of::<IRP>().wrapping_add(size_of::<IO_STACK_LOCATION>());

    pub(super) fn new() -> Self {
        // SAFETY: both consist of numbers and pointers, for which zero is a value.
        unsafe { core::mem::zeroed() }
    }

    #[allow(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    pub(super) fn initialise(&mut self) {
        const { assert!(size_of::<Spare>() >= Spare::BYTES && Spare::BYTES < 0x200) };
        // SAFETY: the memory is one IRP with one stack location, and nobody has it.
        unsafe { IoInitializeIrp((&raw mut *self).cast(), Self::BYTES as u16, 1) };
    }

    /// Of one that was just initialised.
    pub(super) fn complete(&mut self) {
        let irp: PIRP = (&raw mut *self).cast();
        // SAFETY: the IRP has its location left.
        unsafe { irp::set_completion_routine(irp, keep, core::ptr::null_mut()) };
        // SAFETY: as above: as if it were sent down.
        unsafe { irp::set_next_location(irp) };
        // SAFETY: the IRP is ours, and its routine keeps it.
        unsafe { irp::complete(irp, irp::IO_NO_INCREMENT) };
    }
}

impl Drop for Lean {
    fn drop(&mut self) {
        if self.stuck.load(Ordering::Acquire) == 0 {
            // SAFETY: nothing is in progress on it.
            unsafe { IoFreeIrp(self.irp) };
        }
    }
}

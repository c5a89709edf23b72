//! What has to wait, done at `PASSIVE_LEVEL`: work items, and IRPs for calls to the provider that wait for their completion. Both are
//! allocated before they are needed, so that what was begun cannot fail half-way for want of memory.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use wdk_rtl::irp;
use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, _WORK_QUEUE_TYPE, DEVICE_OBJECT, IRP, KEVENT, NTSTATUS, PIO_WORKITEM, PIRP,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_SUCCESS,
    ntddk::{
        IoAllocateIrp, IoAllocateWorkItem, IoFreeIrp, IoFreeWorkItem, IoQueueWorkItem, IoReuseIrp, KeInitializeEvent,
        KeSetEvent, KeWaitForSingleObject,
    },
};

use crate::guard::guard;

/// A work item that has not been queued.
pub struct WorkItem(PIO_WORKITEM);

// SAFETY: a work item may be queued by any thread.
unsafe impl Send for WorkItem {}

/// What a work item does. It is given the work item too, which it frees by dropping it.
pub type Routine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut c_void);

impl WorkItem {
    /// <= `DISPATCH_LEVEL`. `None` when there is no memory.
    pub fn allocate() -> Option<Self> {
        // SAFETY: the device lives as long as the driver is loaded.
        let item = unsafe { IoAllocateWorkItem(guard().device) };
        // Only now: dropping it frees what it holds.
        if item.is_null() { None } else { Some(Self(item)) }
    }

    /// Queues it; `routine` is given `context` at `PASSIVE_LEVEL`. <= `DISPATCH_LEVEL`.
    ///
    /// The caller keeps the item where `context` leads to it, so that the routine can drop it: a routine may free its own item.
    ///
    /// # Safety
    /// `context` is what `routine` expects, and stays valid until it has run. Queued once.
    pub unsafe fn queue(&self, routine: Routine, context: *mut c_void) {
        // SAFETY: as the caller promises; the I/O manager keeps the device, and so the driver, until the routine returns.
        unsafe { IoQueueWorkItem(self.0, Some(routine), _WORK_QUEUE_TYPE::DelayedWorkQueue, context) };
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate`; not queued, or its routine is what drops it.
        unsafe { IoFreeWorkItem(self.0) };
    }
}

/// An IRP of our own, for calls that wait, one after the other.
pub struct OwnIrp(PIRP);

// SAFETY: any thread may use an IRP that is in nobody's hands.
unsafe impl Send for OwnIrp {}

impl OwnIrp {
    /// <= `DISPATCH_LEVEL`. `None` when there is no memory.
    pub fn allocate() -> Option<Self> {
        // SAFETY: no precondition.
        let own = unsafe { IoAllocateIrp(1, 0) };
        if own.is_null() { None } else { Some(Self(own)) }
    }

    /// Lets `call` give the IRP to the provider, and waits for it. `PASSIVE_LEVEL`. Returns `IoStatus`, or the call's status when the
    /// provider left the IRP alone.
    pub fn call_and_wait(&mut self, call: impl FnOnce(PIRP) -> NTSTATUS) -> (NTSTATUS, usize) {
        let own = self.0;
        // SAFETY: the IRP is ours; the call before this one has ended.
        unsafe { IoReuseIrp(own, STATUS_SUCCESS) };
        // A status that no provider completes with tells an IRP that was left alone.
        // SAFETY: as above.
        unsafe { irp::set_status(own, STATUS_MORE_PROCESSING_REQUIRED, 0) };
        let mut done = MaybeUninit::<KEVENT>::uninit();
        // SAFETY: the event lies in this frame, which waits for whoever else uses it.
        unsafe { KeInitializeEvent(done.as_mut_ptr(), _EVENT_TYPE::NotificationEvent, 0) };
        // SAFETY: the IRP is fresh, and the event outlives the call.
        unsafe { irp::set_completion_routine(own, completed, done.as_mut_ptr().cast()) };
        let status = call(own);
        // SAFETY: the IRP is ours, or in the provider's hands, which does not free it.
        if status < 0 && unsafe { irp::status(own) }.0 == STATUS_MORE_PROCESSING_REQUIRED {
            return (status, 0);
        }
        wait(done.as_mut_ptr());
        // SAFETY: completed.
        unsafe { irp::status(own) }
    }
}

impl Drop for OwnIrp {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate`, and no call uses it: each waits for its end.
        unsafe { IoFreeIrp(self.0) };
    }
}

fn wait(event: *mut KEVENT) {
    const KERNEL_MODE: i8 = 0;
    // SAFETY: at PASSIVE_LEVEL, without a time-out; a kernel-mode wait keeps the stack, where the event is, in memory.
    let _ = unsafe {
        KeWaitForSingleObject(
            event.cast(),
            _KWAIT_REASON::Executive,
            KERNEL_MODE,
            0,
            core::ptr::null_mut(),
        )
    };
}

unsafe extern "C" fn completed(_: *mut DEVICE_OBJECT, _: *mut IRP, event: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the event that `OwnIrp::call_and_wait` waits for.
    unsafe { KeSetEvent(event.cast(), 0, 0) };
    STATUS_MORE_PROCESSING_REQUIRED
}

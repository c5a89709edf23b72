//! The pended audit read: one for each open, cancellable, completed by a DPC when a record is written and by cleanup at the latest.
//!
//! The IRP is in its open's slot from pending until somebody takes it out under the list's lock; whoever takes it completes it. A
//! cancel routine that has begun takes it itself.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_rtl::{irp, lock::SpinLock};
use wdk_sys::{
    DEVICE_OBJECT, IRP, KDPC, NTSTATUS, PVOID, STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_PENDING, STATUS_SUCCESS,
    ntddk::{IoReleaseCancelSpinLock, KeInitializeDpc, KeInsertQueueDpc},
};
use wskguard_abi::{AuditReply, ReadAuditRequest};

use super::{Call, Opened, audit};
use crate::guard::guard;

/// The slot of one open.
pub struct Wait {
    pended: AtomicPtr<IRP>,
    /// Most records that the pended read wants.
    max: AtomicU32,
    /// Next open in the list.
    next: AtomicPtr<Opened>,
}

impl Wait {
    pub const fn new() -> Self {
        Self {
            pended: AtomicPtr::new(core::ptr::null_mut()),
            max: AtomicU32::new(0),
            next: AtomicPtr::new(core::ptr::null_mut()),
        }
    }
}

impl Wait {
    /// Whether a read waits.
    pub fn is_pended(&self) -> bool {
        !self.pended.load(Ordering::Relaxed).is_null()
    }
}

/// Every open of the device. The DPC finds pended reads through it.
pub struct Waiters {
    opens: SpinLock<AtomicPtr<Opened>>,
    /// Pended reads: 0 spares writers the DPC.
    count: AtomicU32,
    dpc: UnsafeCell<KDPC>,
}

// SAFETY: the DPC object is the kernel's; the rest is atomic or locked.
unsafe impl Sync for Waiters {}
// SAFETY: as above; it does not move once its DPC is initialised.
unsafe impl Send for Waiters {}

impl Waiters {
    pub fn new() -> Self {
        Self {
            opens: SpinLock::new(AtomicPtr::new(core::ptr::null_mut())),
            count: AtomicU32::new(0),
            dpc: UnsafeCell::new(KDPC::default()),
        }
    }

    /// Once in its final place.
    pub fn initialise(&self) {
        // SAFETY: the object is ours, nonpaged, and stays where it is.
        unsafe { KeInitializeDpc(self.dpc.get(), Some(records_written), core::ptr::null_mut()) };
    }

    /// A new open.
    ///
    /// # Safety
    /// `opened` stays valid until [`Self::remove`].
    pub unsafe fn add(&self, opened: NonNull<Opened>) {
        let head = self.opens.lock();
        // SAFETY: as the caller promises.
        unsafe { opened.as_ref() }
            .wait
            .next
            .store(head.load(Ordering::Relaxed), Ordering::Relaxed);
        head.store(opened.as_ptr(), Ordering::Relaxed);
    }

    /// The open goes. Nothing is pended on it any more.
    pub fn remove(&self, opened: &Opened) {
        let head = self.opens.lock();
        let mut link: &AtomicPtr<Opened> = &head;
        loop {
            let at = link.load(Ordering::Relaxed);
            if core::ptr::eq(at, opened) {
                link.store(opened.wait.next.load(Ordering::Relaxed), Ordering::Relaxed);
                return;
            }
            // SAFETY: listed opens are valid under the lock.
            match unsafe { at.as_ref() } {
                Some(other) => link = &other.wait.next,
                None => return,
            }
        }
    }

    /// Takes a pended read out that `wanted` says yes to, unless its cancel routine was faster.
    fn take(&self, wanted: impl Fn(&Opened) -> bool) -> Option<(*mut IRP, NonNull<Opened>)> {
        let head = self.opens.lock();
        let mut at = head.load(Ordering::Relaxed);
        // SAFETY: listed opens are valid under the lock.
        while let Some(opened) = unsafe { at.as_ref() } {
            let pended = opened.wait.pended.load(Ordering::Relaxed);
            // SAFETY: a pended IRP is valid until it is taken out, under this lock.
            if !pended.is_null() && wanted(opened) && unsafe { irp::set_cancel_routine(pended, None) }.is_some() {
                self.clear(opened);
                return Some((pended, NonNull::from(opened)));
            }
            at = opened.wait.next.load(Ordering::Relaxed);
        }
        None
    }

    fn clear(&self, opened: &Opened) {
        opened.wait.pended.store(core::ptr::null_mut(), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        // SAFETY: initialised with the guard. Queued already is as good.
        let _ = unsafe { KeInsertQueueDpc(self.dpc.get(), core::ptr::null_mut(), core::ptr::null_mut()) };
    }

    /// Completes every pended read with `STATUS_CANCELLED`: the driver is to be stopped, which an open handle would prevent.
    pub fn abandon_all(&self) {
        while let Some((pended, _)) = self.take(|_| true) {
            // SAFETY: taken out, so ours to complete.
            unsafe { complete(pended, STATUS_CANCELLED, 0) };
        }
    }

    /// Completes what is pended on an open with `STATUS_CANCELLED`: its handle is being closed.
    pub fn abandon(&self, opened: &Opened) {
        if let Some((pended, _)) = self.take(|other| core::ptr::eq(other, opened)) {
            // SAFETY: taken out, so ours to complete.
            unsafe { complete(pended, STATUS_CANCELLED, 0) };
        }
    }
}

/// A record was written: whoever waits for one can go on. <= `DISPATCH_LEVEL`.
pub fn audit_written() {
    let waiters = &guard().waiters;
    if waiters.count.load(Ordering::Relaxed) != 0 {
        waiters.wake();
    }
}

pub fn wait(call: Call<'_>, request: ReadAuditRequest) -> Result<usize, NTSTATUS> {
    let opened = call.opened;
    if opened.wait.is_pended() {
        // Before the cursor moves under the read that waits. Looked at again under the lock.
        return Err(STATUS_DEVICE_BUSY);
    }
    audit::position(opened, request.flags)?;
    if audit::anything(opened) {
        let reply = call.reply::<AuditReply>()?;
        return audit::fill(opened, reply, request.max);
    }
    let waiters = &guard().waiters;
    let pended = call.irp;
    let head = waiters.opens.lock();
    if !opened.wait.pended.load(Ordering::Relaxed).is_null() {
        return Err(STATUS_DEVICE_BUSY);
    }
    opened.wait.max.store(request.max, Ordering::Relaxed);
    opened.wait.pended.store(pended, Ordering::Relaxed);
    waiters.count.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the IRP is ours, in the location we were called in.
    unsafe { irp::mark_pending(pended) };
    // SAFETY: as above; the routine finds it in the slot.
    unsafe { irp::set_cancel_routine(pended, Some(cancelled)) };
    // SAFETY: as above.
    let late = unsafe { irp::is_cancelled(pended) } && unsafe { irp::set_cancel_routine(pended, None) }.is_some();
    if late {
        waiters.clear(opened);
    }
    drop(head);
    if late {
        // SAFETY: the routine was taken back, so it is ours to complete.
        unsafe { complete(pended, STATUS_CANCELLED, 0) };
    } else if audit::anything(opened) {
        // Written between our look and our pending.
        waiters.wake();
    }
    Err(STATUS_PENDING)
}

unsafe extern "C" fn cancelled(_: *mut DEVICE_OBJECT, pended: *mut IRP) {
    // SAFETY: `IoCancelIrp` stored the IRQL to return to in the IRP.
    let irql = unsafe { (*pended).CancelIrql };
    // SAFETY: cancel routines are entered with the lock held and release it.
    unsafe { IoReleaseCancelSpinLock(irql) };
    let waiters = &guard().waiters;
    let head = waiters.opens.lock();
    let mut at = head.load(Ordering::Relaxed);
    // SAFETY: listed opens are valid under the lock.
    while let Some(opened) = unsafe { at.as_ref() } {
        if opened.wait.pended.load(Ordering::Relaxed) == pended {
            waiters.clear(opened);
            break;
        }
        at = opened.wait.next.load(Ordering::Relaxed);
    }
    drop(head);
    // SAFETY: whoever saw the routine gone left the IRP to us.
    unsafe { complete(pended, STATUS_CANCELLED, 0) };
}

/// DPC: completes every pended read that has something to read. `DISPATCH_LEVEL`.
unsafe extern "C" fn records_written(_: *mut KDPC, _: PVOID, _: PVOID, _: PVOID) {
    while let Some((pended, opened)) = guard().waiters.take(audit::anything) {
        // SAFETY: the pended IRP keeps its file object, and so the open, until it is completed.
        let opened = unsafe { opened.as_ref() };
        // SAFETY: taken out, so ours until it is completed.
        match unsafe { answer(pended, opened) } {
            // SAFETY: as above.
            Ok(written) => unsafe { complete(pended, STATUS_SUCCESS, written) },
            // SAFETY: as above.
            Err(status) => unsafe { complete(pended, status, 0) },
        }
    }
}

unsafe fn answer(pended: *mut IRP, opened: &Opened) -> Result<usize, NTSTATUS> {
    // SAFETY: the caller owns the IRP, whose location is a device control.
    let output = unsafe { irp::device_control(pended) }.output as usize;
    // SAFETY: as above.
    let buffer: *mut c_void = unsafe { irp::system_buffer(pended) };
    // SAFETY: METHOD_BUFFERED, and output was checked to hold the fixed part, so there is a buffer of that length.
    let buffer = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), output) };
    let call = Call {
        buffer,
        input: 0,
        output,
        opened,
        irp: pended,
    };
    let max = opened.wait.max.load(Ordering::Relaxed);
    audit::fill(opened, call.reply::<AuditReply>()?, max)
}

unsafe fn complete(pended: *mut IRP, status: NTSTATUS, information: usize) {
    // SAFETY: the caller owns the IRP.
    unsafe { irp::set_status(pended, status, information) };
    // SAFETY: as above.
    unsafe { irp::complete(pended, irp::IO_NO_INCREMENT) };
}

//! Bugs with IRPs: the request that carries the case, or one of the driver's own that is sent to its own device.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use probe_protocol::verifier::faulty::{Case, HOLD};
use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, IRP, KEVENT, LARGE_INTEGER, NTSTATUS, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
    ntddk::{
        IoAllocateIrp, IoFreeIrp, IofCallDriver, IofCompleteRequest, KeInitializeEvent, KeSetEvent,
        KeWaitForSingleObject,
    },
};

use crate::complete;

unsafe extern "C" fn cancel(_device: *mut DEVICE_OBJECT, _request: *mut IRP) {}

/// Carries out a bug with the request itself; what the dispatch routine is to return, or `None` if it is no such case.
///
/// # Safety
/// The caller owns the request, whose system buffer has room for four bytes.
pub(crate) unsafe fn run(request: *mut IRP, case: Case) -> Option<NTSTATUS> {
    // SAFETY: as the caller promises; what follows breaks rules, one at a time.
    unsafe {
        Some(match case {
            Case::SystemBufferOverrun => {
                irp::system_buffer(request).cast::<u8>().add(16).write_volatile(1);
                complete(request, STATUS_SUCCESS, 4)
            }
            Case::IrpCompletedTwice => {
                complete(request, STATUS_SUCCESS, 0);
                IofCompleteRequest(request, 0);
                STATUS_SUCCESS
            }
            Case::IrpTouchedAfterCompletion => {
                complete(request, STATUS_SUCCESS, 0);
                (&raw const (*request).Flags).read_volatile();
                STATUS_SUCCESS
            }
            Case::IrpCompletedCancelable => {
                irp::set_cancel_routine(request, Some(cancel));
                complete(request, STATUS_SUCCESS, 0)
            }
            Case::IrpPendingNotMarked => {
                complete(request, STATUS_SUCCESS, 0);
                STATUS_PENDING
            }
            Case::IrpMarkedNotPending => {
                irp::mark_pending(request);
                complete(request, STATUS_SUCCESS, 0)
            }
            Case::IrpCompletedPending => {
                irp::mark_pending(request);
                complete(request, STATUS_PENDING, 0)
            }
            Case::IrpStatusMismatch => {
                complete(request, STATUS_UNSUCCESSFUL, 0);
                STATUS_SUCCESS
            }
            Case::IrpNotCompleted => {
                FORGOTTEN.store(request, Ordering::Release);
                STATUS_SUCCESS
            }
            Case::IrpForgotten => {
                irp::mark_pending(request);
                STATUS_PENDING
            }
            Case::IrpInformationTooLong => complete(request, STATUS_SUCCESS, 1000),
            _ => return None,
        })
    }
}

static FORGOTTEN: AtomicPtr<IRP> = AtomicPtr::new(core::ptr::null_mut());

/// Completes the request that [`Case::IrpNotCompleted`] left lying, when the next request comes.
pub(crate) fn settle() {
    let request = FORGOTTEN.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if !request.is_null() {
        // SAFETY: left by `run`, and taken once.
        unsafe { complete(request, STATUS_SUCCESS, 0) };
    }
}

unsafe extern "C" fn take_back(_device: *mut DEVICE_OBJECT, _request: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the waiter's event.
    unsafe { KeSetEvent(context.cast(), 0, 0) };
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe extern "C" fn forget_pending(
    _device: *mut DEVICE_OBJECT,
    _request: *mut IRP,
    _context: *mut c_void,
) -> NTSTATUS {
    STATUS_SUCCESS
}

/// The IRP that the driver has as the lower one.
static HELD: AtomicPtr<IRP> = AtomicPtr::new(core::ptr::null_mut());

/// Takes an IRP of the driver's own and keeps it.
///
/// # Safety
/// The caller owns the IRP.
pub(crate) unsafe fn hold(request: *mut IRP) -> NTSTATUS {
    // SAFETY: as the caller promises.
    unsafe { irp::mark_pending(request) };
    HELD.store(request, Ordering::Release);
    STATUS_PENDING
}

fn let_go() {
    let request = HELD.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if !request.is_null() {
        // SAFETY: kept by `hold`, and taken once.
        unsafe { complete(request, STATUS_SUCCESS, 0) };
    }
}

unsafe fn wait(event: *mut KEVENT) {
    let mut limit = LARGE_INTEGER { QuadPart: -20_000_000 };
    // SAFETY: the caller's event; PASSIVE_LEVEL.
    let _ = unsafe { KeWaitForSingleObject(event.cast(), 0, 0, 0, &raw mut limit) };
}

unsafe fn address_to_hold(request: *mut IRP) {
    const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
    // SAFETY: the caller's IRP, with a location left.
    unsafe {
        let next = &mut *irp::next_location(request);
        next.MajorFunction = IRP_MJ_DEVICE_CONTROL;
        next.Parameters.DeviceIoControl.IoControlCode = HOLD;
    }
}

/// Carries out a bug with an IRP of the driver's own; whether it is one.
///
/// # Safety
/// `device` is this driver's device; the caller is at `PASSIVE_LEVEL`.
pub(crate) unsafe fn run_own(device: *mut DEVICE_OBJECT, case: Case) -> bool {
    let mut event = KEVENT::default();
    // SAFETY: the IRPs are this function's; what is done to them is the bug.
    unsafe {
        KeInitializeEvent(&raw mut event, 0, 0);
        match case {
            Case::IrpNoLocation => {
                let own = IoAllocateIrp(1, 0);
                irp::set_completion_routine(own, take_back, (&raw mut event).cast());
                irp::set_next_location(own);
                let _ = IofCallDriver(device, own);
                wait(&raw mut event);
                IoFreeIrp(own);
            }
            Case::IrpFreedInUse => {
                let own = IoAllocateIrp(1, 0);
                address_to_hold(own);
                irp::set_completion_routine(own, take_back, (&raw mut event).cast());
                let _ = IofCallDriver(device, own);
                IoFreeIrp(own);
                let_go();
                wait(&raw mut event);
                IoFreeIrp(own);
            }
            Case::IrpNotTakenBack => {
                let own = IoAllocateIrp(1, 0);
                address_to_hold(own);
                let _ = IofCallDriver(device, own);
                let_go();
                IoFreeIrp(own);
            }
            Case::IrpLeak => {
                core::hint::black_box(IoAllocateIrp(1, 0));
            }
            Case::IrpPendingNotPassedOn => {
                let own = IoAllocateIrp(2, 0);
                irp::set_completion_routine(own, take_back, (&raw mut event).cast());
                irp::set_next_location(own);
                address_to_hold(own);
                irp::set_completion_routine(own, forget_pending, core::ptr::null_mut());
                let _ = IofCallDriver(device, own);
                let_go();
                wait(&raw mut event);
                IoFreeIrp(own);
            }
            _ => return false,
        }
    }
    true
}

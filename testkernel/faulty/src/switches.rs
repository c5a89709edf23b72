//! Switches: changes of the driver's behaviour that tests of the test kernel's own I/O manager need, and what the driver has seen.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use probe_protocol::verifier::faulty::Switch;
use wdk_rtl::irp;
use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    ACL, DACL_SECURITY_INFORMATION, DEVICE_OBJECT, IRP, LARGE_INTEGER, NTSTATUS, SECURITY_DESCRIPTOR,
    SECURITY_DESCRIPTOR_REVISION, STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS, STATUS_TOO_MANY_SESSIONS,
    ntddk::{
        IoReleaseCancelSpinLock, KeDelayExecutionThread, ObOpenObjectByPointer, RtlAddAccessAllowedAce, RtlCreateAcl,
        RtlCreateSecurityDescriptor, RtlSetDaclSecurityDescriptor, ZwClose, ZwSetSecurityObject,
    },
};

use crate::complete;

static REFUSE: AtomicBool = AtomicBool::new(false);
static SLOW_CLOSE: AtomicBool = AtomicBool::new(false);
static CREATES: AtomicU32 = AtomicU32::new(0);
static CLEANUPS: AtomicU32 = AtomicU32::new(0);
static CLOSES: AtomicU32 = AtomicU32::new(0);
static CANCELS: AtomicU32 = AtomicU32::new(0);
static PRESENT: AtomicU32 = AtomicU32::new(0);
static CROWD: AtomicU32 = AtomicU32::new(0);

/// The request that is pended, if there is one.
static PENDED: SpinLock<usize> = SpinLock::new(0);

pub(crate) unsafe extern "C" fn create(_device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    CREATES.fetch_add(1, Ordering::Relaxed);
    let status = if REFUSE.load(Ordering::Relaxed) {
        STATUS_TOO_MANY_SESSIONS
    } else {
        STATUS_SUCCESS
    };
    // SAFETY: the I/O manager hands the request over.
    unsafe { complete(request, status, 0) }
}

pub(crate) unsafe extern "C" fn cleanup(_device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    let late = u32::from(CLOSES.load(Ordering::Relaxed) > CLEANUPS.load(Ordering::Relaxed) & 0xffff);
    CLEANUPS.fetch_add(1 + (late << 16), Ordering::Relaxed);
    let pended = core::mem::take(&mut *PENDED.lock());
    let pended: *mut IRP = core::ptr::with_exposed_provenance_mut(pended);
    // SAFETY: whoever takes the pended request out of its place and still finds its cancel routine set owns it.
    unsafe {
        if !pended.is_null() && irp::set_cancel_routine(pended, None).is_some() {
            complete(pended, STATUS_CANCELLED, 0);
        }
        complete(request, STATUS_SUCCESS, 0)
    }
}

pub(crate) unsafe extern "C" fn close(_device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    CLOSES.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the I/O manager hands the request over.
    let status = unsafe { complete(request, STATUS_SUCCESS, 0) };
    if SLOW_CLOSE.load(Ordering::Relaxed) {
        // Longer than it takes to stop the driver.
        (0..25).for_each(|_| delay());
    }
    status
}

unsafe extern "C" fn cancelled(_device: *mut DEVICE_OBJECT, request: *mut IRP) {
    CANCELS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: called with the cancel spin lock held, for the pended request, which nobody else completes from here on.
    unsafe {
        IoReleaseCancelSpinLock((*request).CancelIrql);
        *PENDED.lock() = 0;
        complete(request, STATUS_CANCELLED, 0);
    }
}

/// Pends a request until it is cancelled.
pub(crate) unsafe fn pend(request: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller owns the request; after the lock is free, only whoever clears the cancel routine does.
    unsafe {
        irp::mark_pending(request);
        let mut pended = PENDED.lock();
        *pended = request.expose_provenance();
        irp::set_cancel_routine(request, Some(cancelled));
        if irp::is_cancelled(request) && irp::set_cancel_routine(request, None).is_some() {
            *pended = 0;
            drop(pended);
            complete(request, STATUS_CANCELLED, 0);
        }
    }
    STATUS_PENDING
}

unsafe fn set_dacl(device: *mut DEVICE_OBJECT, everybody: bool) -> u32 {
    const WRITE_DAC: u32 = 0x0004_0000;
    /// S-1-1-0.
    const WORLD: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut room = [0u64; 32];
    let mut descriptor = SECURITY_DESCRIPTOR::default();
    let mut handle = core::ptr::null_mut();
    let acl: *mut ACL = room.as_mut_ptr().cast();
    // SAFETY: every pointer is to a live local, large enough for the list and its one entry.
    let status = unsafe {
        let mut status = RtlCreateSecurityDescriptor((&raw mut descriptor).cast(), SECURITY_DESCRIPTOR_REVISION);
        status |= RtlCreateAcl(acl, 256, 2);
        if everybody {
            status |= RtlAddAccessAllowedAce(acl, 2, 0x001f_01ff, WORLD.as_ptr().cast_mut().cast());
        }
        status |= RtlSetDaclSecurityDescriptor((&raw mut descriptor).cast(), 1, acl, 0);
        let open = ObOpenObjectByPointer(
            device.cast(),
            0x200,
            core::ptr::null_mut(),
            WRITE_DAC,
            core::ptr::null_mut(),
            0,
            &raw mut handle,
        );
        if open != STATUS_SUCCESS {
            return open.cast_unsigned();
        }
        status |= ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, (&raw mut descriptor).cast());
        let _ = ZwClose(handle);
        status
    };
    status.cast_unsigned()
}

/// Waits for 20 ms.
fn delay() {
    let mut time = LARGE_INTEGER { QuadPart: -200_000 };
    // SAFETY: a live local; PASSIVE_LEVEL.
    let _ = unsafe { KeDelayExecutionThread(0, 0, &raw mut time) };
}

fn crowd() -> u32 {
    let present = PRESENT.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    let most = CROWD.fetch_max(present, Ordering::AcqRel).max(present);
    delay();
    PRESENT.fetch_sub(1, Ordering::AcqRel);
    most
}

/// Throws a switch, or answers a question.
pub(crate) unsafe fn throw(device: *mut DEVICE_OBJECT, switch: Switch) -> u32 {
    // SAFETY: this driver's own device and driver object.
    unsafe {
        match switch {
            Switch::NoUnload => (*(*device).DriverObject).DriverUnload = None,
            Switch::Unload => (*(*device).DriverObject).DriverUnload = Some(crate::unload),
            Switch::RefuseOpen => REFUSE.store(true, Ordering::Relaxed),
            Switch::AllowOpen => REFUSE.store(false, Ordering::Relaxed),
            Switch::DenyAll => return set_dacl(device, false),
            Switch::GrantAll => return set_dacl(device, true),
            Switch::SlowClose => SLOW_CLOSE.store(true, Ordering::Relaxed),
            Switch::Creates => return CREATES.load(Ordering::Relaxed),
            Switch::Cleanups => return CLEANUPS.load(Ordering::Relaxed),
            Switch::Closes => return CLOSES.load(Ordering::Relaxed),
            Switch::Cancels => return CANCELS.load(Ordering::Relaxed),
            Switch::Crowd => return crowd(),
            Switch::LeakOnFailure => return crate::healthy::leak_on_failure(),
            _ => {}
        }
    }
    0
}

//! IRP stack locations, completion routines and cancel routines: the inline functions of wdm.h. IRQL <= DISPATCH_LEVEL.
//!
//! Anonymous unions of `IRP` and `IO_STACK_LOCATION` are touched here and nowhere else.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_sys::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, NTSTATUS, PIO_STACK_LOCATION, PIRP, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED, ntddk::IofCompleteRequest,
};

/// A completion routine, as `IoSetCompletionRoutine` takes it.
pub type CompletionRoutine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;
/// A cancel routine, as `IoSetCancelRoutine` takes it: entered with the cancel spin lock held.
pub type CancelRoutine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP);

/// `IO_NO_INCREMENT`.
pub const IO_NO_INCREMENT: i8 = 0;
/// `IO_NETWORK_INCREMENT`.
pub const IO_NETWORK_INCREMENT: i8 = 2;

fn overlay_current(irp: *mut IRP) -> *mut PIO_STACK_LOCATION {
    // SAFETY: only the address of the field is taken; the pointer is inside the IRP.
    unsafe {
        &raw mut (*irp)
            .Tail
            .Overlay
            .__bindgen_anon_2
            .__bindgen_anon_1
            .CurrentStackLocation
    }
}

/// `IoGetCurrentIrpStackLocation`.
///
/// # Safety
/// `irp` is a valid IRP whose current stack location is set up.
#[must_use]
pub unsafe fn current_location(irp: PIRP) -> PIO_STACK_LOCATION {
    // SAFETY: the caller's IRP is valid.
    unsafe { *overlay_current(irp) }
}

/// `IoGetNextIrpStackLocation`.
///
/// # Safety
/// `irp` is valid and has a stack location left.
#[must_use]
pub unsafe fn next_location(irp: PIRP) -> PIO_STACK_LOCATION {
    // SAFETY: as the caller promises.
    let current = unsafe { current_location(irp) };
    // SAFETY: stack locations are one array that grows downwards, and the caller vouches for one more.
    unsafe { current.sub(1) }
}

/// `IoSetNextIrpStackLocation`: moves to the location below, as `IofCallDriver` would.
///
/// # Safety
/// `irp` is valid, owned by the caller, and has a stack location left.
pub unsafe fn set_next_location(irp: PIRP) {
    // SAFETY: the caller owns the IRP.
    let count = unsafe { &mut (*irp).CurrentLocation };
    *count = count.wrapping_sub(1);
    // SAFETY: as the caller promises.
    let next = unsafe { next_location(irp) };
    // SAFETY: the field lies inside the IRP.
    unsafe { *overlay_current(irp) = next };
}

/// `IoSkipCurrentIrpStackLocation`.
///
/// # Safety
/// `irp` is valid and owned by the caller, who stands in a location it was given.
pub unsafe fn skip_current_location(irp: PIRP) {
    // SAFETY: the caller owns the IRP.
    let count = unsafe { &mut (*irp).CurrentLocation };
    *count = count.wrapping_add(1);
    // SAFETY: the IRP is valid.
    let current = unsafe { current_location(irp) };
    // SAFETY: the location above exists, since the caller stands in one that was passed down.
    let above = unsafe { current.add(1) };
    // SAFETY: the field lies inside the IRP.
    unsafe { *overlay_current(irp) = above };
}

/// Stack locations not yet used: 1 for a fresh one-location IRP.
///
/// # Safety
/// `irp` is valid.
#[must_use]
pub unsafe fn locations_left(irp: PIRP) -> i8 {
    // SAFETY: the IRP is valid.
    unsafe { (*irp).CurrentLocation }.wrapping_sub(1)
}

/// `IoSetCompletionRoutine`, invoked on success, error and cancel.
///
/// # Safety
/// `irp` is valid, owned by the caller, and has a stack location left; `context` outlives the completion.
pub unsafe fn set_completion_routine(irp: PIRP, routine: CompletionRoutine, context: *mut c_void) {
    // SAFETY: as the caller promises.
    let next = unsafe { next_location(irp) };
    // SAFETY: the location is the caller's to fill.
    let next = unsafe { &mut *next };
    next.CompletionRoutine = Some(routine);
    next.Context = context;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the SL_* flags fit in the byte that holds them"
    )]
    {
        next.Control = (SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL) as u8;
    }
}

/// `IoMarkIrpPending`.
///
/// # Safety
/// `irp` is valid and the caller owns its current location.
pub unsafe fn mark_pending(irp: PIRP) {
    // SAFETY: as the caller promises.
    let location = unsafe { current_location(irp) };
    // SAFETY: the caller owns it.
    let location = unsafe { &mut *location };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the SL_* flags fit in the byte that holds them"
    )]
    {
        location.Control |= SL_PENDING_RETURNED as u8;
    }
}

/// Undoes [`set_next_location`] and [`mark_pending`]: the IRP is its sender's again, as it came.
///
/// # Safety
/// `irp` is valid, owned by the caller, who has just done those two to it and nothing else.
pub unsafe fn give_back(irp: PIRP) {
    // SAFETY: as the caller promises.
    let location = unsafe { current_location(irp) };
    // SAFETY: the caller owns it.
    let location = unsafe { &mut *location };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the SL_* flags fit in the byte that holds them"
    )]
    {
        location.Control &= !(SL_PENDING_RETURNED as u8);
    }
    // SAFETY: the location above is the one it came from.
    unsafe { skip_current_location(irp) };
}

/// `IoSetCancelRoutine`: the previous routine; `None` means that it has been, or is being, called.
///
/// # Safety
/// `irp` is valid.
pub unsafe fn set_cancel_routine(irp: PIRP, routine: Option<CancelRoutine>) -> Option<CancelRoutine> {
    let new = routine.map_or(core::ptr::null_mut(), |routine| routine as *mut c_void);
    // SAFETY: only the address of the field is taken.
    let slot = unsafe { &raw mut (*irp).CancelRoutine }.cast::<*mut c_void>();
    // SAFETY: the field is a pointer-sized, aligned function pointer that wdm.h, too, exchanges atomically.
    let slot = unsafe { AtomicPtr::from_ptr(slot) };
    let old = slot.swap(new, Ordering::AcqRel);
    // SAFETY: the slot holds NULL or a cancel routine, and `Option` of a function pointer has NULL as `None`.
    unsafe { core::mem::transmute::<*mut c_void, Option<CancelRoutine>>(old) }
}

/// Whether `IoCancelIrp` has been called.
///
/// # Safety
/// `irp` is valid.
#[must_use]
pub unsafe fn is_cancelled(irp: PIRP) -> bool {
    // SAFETY: only the address of the field is taken.
    let cancel = unsafe { &raw const (*irp).Cancel };
    // SAFETY: the IRP is valid; the flag may change under us, so it is read once, volatile.
    unsafe { cancel.read_volatile() != 0 }
}

/// Writes `IoStatus`.
///
/// # Safety
/// The caller owns the IRP.
pub unsafe fn set_status(irp: PIRP, status: NTSTATUS, information: usize) {
    // SAFETY: the caller owns the IRP.
    let io = unsafe { &mut (*irp).IoStatus };
    io.__bindgen_anon_1.Status = status;
    io.Information = information as _;
}

/// Reads `IoStatus`.
///
/// # Safety
/// The IRP is valid and completed, or owned by the caller.
#[must_use]
pub unsafe fn status(irp: PIRP) -> (NTSTATUS, usize) {
    // SAFETY: as the caller promises.
    let io = unsafe { &(*irp).IoStatus };
    // SAFETY: Status and Pointer share the union's bytes; every pattern is a status.
    let status = unsafe { io.__bindgen_anon_1.Status };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "ULONG_PTR is as wide as usize, but u64 in bindgen's output"
    )]
    (status, io.Information as usize)
}

/// `IoCompleteRequest`.
///
/// # Safety
/// The caller owns the IRP, has set its status, and touches it no more.
pub unsafe fn complete(irp: PIRP, boost: i8) {
    // SAFETY: as the caller promises.
    unsafe { IofCompleteRequest(irp, boost) };
}

/// `Irp->AssociatedIrp.SystemBuffer`.
///
/// # Safety
/// The IRP is valid.
#[must_use]
pub unsafe fn system_buffer(irp: PIRP) -> *mut c_void {
    // SAFETY: the IRP is valid.
    let associated = unsafe { &(*irp).AssociatedIrp };
    // SAFETY: all members of the union are pointers or counts of that size.
    unsafe { associated.SystemBuffer }
}

/// Address of `Irp->Tail.Overlay.DriverContext`, four pointers for the IRP's present owner.
///
/// # Safety
/// The IRP is valid and owned by the caller's driver for as long as the address is used.
#[must_use]
pub unsafe fn driver_contexts(irp: PIRP) -> *mut *mut c_void {
    // SAFETY: only an address inside the IRP is taken.
    unsafe { (&raw mut (*irp).Tail.Overlay.__bindgen_anon_1.__bindgen_anon_1.DriverContext).cast() }
}

/// Reads `Irp->Tail.Overlay.DriverContext[0]`.
///
/// # Safety
/// The IRP is valid and owned by the caller's driver.
#[must_use]
pub unsafe fn driver_context(irp: PIRP) -> *mut c_void {
    // SAFETY: as the caller promises.
    let context = unsafe { driver_contexts(irp) };
    // SAFETY: as the caller promises.
    unsafe { *context }
}

/// Writes `Irp->Tail.Overlay.DriverContext[0]`.
///
/// # Safety
/// The IRP is valid and owned by the caller's driver.
pub unsafe fn set_driver_context(irp: PIRP, context: *mut c_void) {
    // SAFETY: as the caller promises.
    let slot = unsafe { driver_contexts(irp) };
    // SAFETY: as the caller promises.
    unsafe { *slot = context };
}

/// The file object of the current location; NULL where there is none.
///
/// # Safety
/// The IRP is valid.
#[must_use]
pub unsafe fn file_object(irp: PIRP) -> *mut FILE_OBJECT {
    // SAFETY: as the caller promises.
    let location = unsafe { current_location(irp) };
    // SAFETY: the current location of a valid IRP is set up.
    unsafe { (*location).FileObject }
}

/// Parameters of an `IRP_MJ_DEVICE_CONTROL`.
#[derive(Clone, Copy, Debug)]
pub struct DeviceControl {
    /// `IoControlCode`.
    pub code: u32,
    /// Bytes of input in the system buffer.
    pub input: u32,
    /// Bytes of room for output in the system buffer.
    pub output: u32,
}

/// Reads the parameters of an `IRP_MJ_DEVICE_CONTROL`.
///
/// # Safety
/// `irp` is such an IRP, in its current location.
#[must_use]
pub unsafe fn device_control(irp: PIRP) -> DeviceControl {
    // SAFETY: as the caller promises.
    let location = unsafe { current_location(irp) };
    // SAFETY: as the caller promises.
    let parameters = unsafe { &(*location).Parameters };
    // SAFETY: the caller says which member is the live one.
    let control = unsafe { &parameters.DeviceIoControl };
    DeviceControl {
        code: control.IoControlCode,
        input: control.InputBufferLength,
        output: control.OutputBufferLength,
    }
}

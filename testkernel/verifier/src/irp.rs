//! IRPs: allocation, passing down, completion. IRQL <= DISPATCH_LEVEL.
//!
//! Every IRP is on record from its making to its end, so that one that is no more, or not where it is said to be, is never touched.

extern crate alloc;

use core::ffi::c_void;

use wdk_rtl::irp as inline;
use wdk_sys::{
    DEVICE_OBJECT, IO_NO_INCREMENT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT, LARGE_INTEGER, NTSTATUS,
    SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED, STATUS_ACCESS_VIOLATION,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_MORE_PROCESSING_REQUIRED, STATUS_SUCCESS,
};

use crate::callback;
use crate::exports::exports;
use crate::irptable::{self, Origin};
use crate::pool::{self, Kind};
use crate::request;
use crate::settings;
use crate::stop::{self, Code};

const TAG: u32 = u32::from_le_bytes(*b"Irp ");
const IO_TYPE_IRP: i16 = 6;
const IRP_DEALLOCATE_BUFFER: u32 = 0x20;

type CompletionRoutine = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;

fn size_of_irp(locations: i8) -> usize {
    let locations = usize::from(locations.unsigned_abs());
    size_of::<IRP>().wrapping_add(size_of::<IO_STACK_LOCATION>().wrapping_mul(locations))
}

/// Where an IRP's `CurrentStackLocation` is.
///
/// # Safety
/// `irp` is an IRP.
unsafe fn current(irp: *mut IRP) -> *mut *mut IO_STACK_LOCATION {
    // SAFETY: only an address inside the IRP is taken.
    unsafe {
        &raw mut (*irp)
            .Tail
            .Overlay
            .__bindgen_anon_2
            .__bindgen_anon_1
            .CurrentStackLocation
    }
}

/// A word of the IRP's driver context.
///
/// # Safety
/// `irp` is an IRP and `index` is less than 4.
pub(crate) unsafe fn driver_context(irp: *mut IRP, index: usize) -> *mut *mut c_void {
    // SAFETY: only an address inside the IRP is taken.
    unsafe {
        (&raw mut (*irp).Tail.Overlay.__bindgen_anon_1.__bindgen_anon_1.DriverContext)
            .cast::<*mut c_void>()
            .add(index)
    }
}

/// Parameters of a device control.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    pub(crate) code: u32,
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// The parameters of a device control's location.
///
/// # Safety
/// The location is one of a device control.
pub(crate) unsafe fn control(location: &IO_STACK_LOCATION) -> Control {
    // SAFETY: as the caller promises.
    let control = unsafe { &location.Parameters.DeviceIoControl };
    Control {
        code: control.IoControlCode,
        input: control.InputBufferLength as usize,
        output: control.OutputBufferLength as usize,
    }
}

/// The thread that the present request came from, or the present thread itself.
pub(crate) fn current_thread() -> *mut wdk_sys::_ETHREAD {
    #[link(name = "ntoskrnl")]
    unsafe extern "C" {
        fn KeGetCurrentThread() -> *mut wdk_sys::_ETHREAD;
    }
    // SAFETY: no preconditions.
    unsafe { KeGetCurrentThread() }
}

unsafe fn prepare(irp: *mut IRP, bytes: usize, locations: i8) {
    // SAFETY: the memory is the caller's, of that size, and holds no IRP in use.
    unsafe {
        irp.cast::<u8>().write_bytes(0, bytes);
        (*irp).Type = IO_TYPE_IRP;
        (*irp).Size = u16::try_from(bytes).unwrap_or(u16::MAX);
        (*irp).StackCount = locations;
        (*irp).CurrentLocation = locations.wrapping_add(1);
        let list = &raw mut (*irp).ThreadListEntry;
        (*list).Flink = list;
        (*list).Blink = list;
        *current(irp) = irp
            .add(1)
            .cast::<IO_STACK_LOCATION>()
            .add(usize::from(locations.unsigned_abs()));
    }
}

/// An IRP with this many stack locations, or NULL.
pub(crate) fn allocate(locations: i8, origin: Origin) -> *mut IRP {
    if locations < 1 {
        return core::ptr::null_mut();
    }
    let bytes = size_of_irp(locations);
    let irp: *mut IRP = pool::allocate_object(bytes, TAG).cast();
    if !irp.is_null() {
        // SAFETY: fresh.
        unsafe { prepare(irp, bytes, locations) };
        irptable::insert(irp, origin);
    }
    irp
}

unsafe extern "system" fn io_allocate(locations: i8, _quota: u8) -> *mut IRP {
    allocate(locations, Origin::Allocated)
}

unsafe extern "system" fn io_allocate_ex(_device: *mut DEVICE_OBJECT, locations: i8, _quota: u8) -> *mut IRP {
    allocate(locations, Origin::Allocated)
}

unsafe extern "system" fn io_initialize(irp: *mut IRP, bytes: u16, locations: i8) {
    // SAFETY: the driver's memory.
    unsafe { prepare(irp, usize::from(bytes), locations) };
    if !settings::nothing() {
        irptable::insert(irp, Origin::Placed);
    }
}

unsafe extern "system" fn io_reuse(irp: *mut IRP, status: NTSTATUS) {
    if !settings::nothing() && !irptable::check_idle(irp, "IoReuseIrp") {
        return;
    }
    // SAFETY: the driver's own IRP.
    unsafe {
        let (flags, bytes, locations) = ((*irp).AllocationFlags, (*irp).Size, (*irp).StackCount);
        prepare(irp, usize::from(bytes), locations);
        (*irp).AllocationFlags = flags;
        inline::set_status(irp, status, 0);
    }
}

/// `IoFreeIrp`.
pub(crate) unsafe extern "system" fn io_free(irp: *mut IRP) {
    if !irptable::check_idle(irp, "IoFreeIrp") {
        return;
    }
    if irptable::remove(irp) == Some(Origin::Placed) {
        return;
    }
    // SAFETY: the driver's own IRP; its MDLs go with it.
    unsafe {
        let mut mdl = (*irp).MdlAddress;
        while !mdl.is_null() {
            let next = (*mdl).Next;
            crate::mdl::free(mdl);
            mdl = next;
        }
        pool::free(irp.cast(), TAG);
    }
}

/// `IofCallDriver`.
pub(crate) unsafe extern "system" fn io_call(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if !irptable::known(irp) {
        irptable::insert(irp, Origin::Placed);
    }
    // SAFETY: the caller owns the IRP.
    if unsafe { (*irp).CurrentLocation } <= 1 {
        stop::report(Code::IrpNoLocation, [irp.addr(), 0, 0, 0]);
        // SAFETY: as above.
        unsafe {
            inline::set_status(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
            complete(irp);
        }
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller owns the IRP, and there is a location left.
    let (major, location) = unsafe {
        inline::set_next_location(irp);
        let next = &mut *inline::current_location(irp);
        next.DeviceObject = device;
        (usize::from(next.MajorFunction), (*irp).CurrentLocation)
    };
    let Some(dispatch) = crate::driver::dispatch_of(device, major) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    let visit = irptable::enter(irp, location, device);
    let status = callback::run_here("dispatch routine", dispatch as usize, || {
        // SAFETY: the device's driver takes IRPs for it.
        unsafe { dispatch(device, irp) }
    });
    let Some(status) = status else {
        if irptable::abandon(irp, visit) {
            // SAFETY: the routine ended by a fault with the IRP in its hands.
            unsafe {
                inline::set_cancel_routine(irp, None);
                inline::set_status(irp, STATUS_ACCESS_VIOLATION, 0);
                complete(irp);
            }
        }
        return STATUS_ACCESS_VIOLATION;
    };
    irptable::leave(irp, visit, status, dispatch as usize);
    status
}

fn invoked(control: u8, status: NTSTATUS, cancelled: bool) -> bool {
    let has = |flag: u32| u32::from(control) & flag != 0;
    (status >= 0 && has(SL_INVOKE_ON_SUCCESS))
        || (status < 0 && has(SL_INVOKE_ON_ERROR))
        || (cancelled && has(SL_INVOKE_ON_CANCEL))
}

/// Completes an IRP: completion routines from the present location upwards, then what its origin asks for.
///
/// # Safety
/// The caller owns the IRP.
pub(crate) unsafe fn complete(irp: *mut IRP) {
    // SAFETY: as the caller promises.
    if settings::nothing() && unsafe { complete_plainly(irp) } {
        return;
    }
    if !irptable::check_completion(irp) {
        return;
    }
    loop {
        // SAFETY: on record, so it exists; the present location, if there is one, is its completer's.
        let location = unsafe {
            if (*irp).CurrentLocation > (*irp).StackCount {
                break;
            }
            &mut *inline::current_location(irp)
        };
        // SAFETY: as above.
        let (status, _) = unsafe { inline::status(irp) };
        let pending = u32::from(location.Control) & SL_PENDING_RETURNED != 0;
        // SAFETY: as above.
        irptable::passed(irp, unsafe { (*irp).CurrentLocation }, status, pending);
        let (routine, context, control) = (location.CompletionRoutine, location.Context, location.Control);
        location.Control = 0;
        // SAFETY: the location above exists, or is the one behind the last, which is only counted.
        let (device, last) = unsafe {
            (*irp).PendingReturned = u8::from(pending);
            (*irp).CurrentLocation = (*irp).CurrentLocation.wrapping_add(1);
            *current(irp) = (*current(irp)).add(1);
            let last = (*irp).CurrentLocation > (*irp).StackCount;
            (
                if last {
                    core::ptr::null_mut()
                } else {
                    (**current(irp)).DeviceObject
                },
                last,
            )
        };
        // SAFETY: as above.
        let cancelled = unsafe { (*irp).Cancel } != 0;
        match routine.filter(|_| invoked(control, status, cancelled)) {
            Some(routine) => {
                // SAFETY: the routine that the driver above set for this IRP.
                if unsafe { call_routine(routine, device, irp, context) } == STATUS_MORE_PROCESSING_REQUIRED {
                    irptable::kept(irp);
                    return;
                }
                // SAFETY: the routine gave the IRP back.
                if pending && !last && u32::from(unsafe { (**current(irp)).Control }) & SL_PENDING_RETURNED == 0 {
                    stop::report(Code::IrpPendingNotPassedOn, [irp.addr(), routine as usize, 0, 0]);
                }
            }
            // SAFETY: with no routine, the I/O manager passes the flag on.
            None if pending && !last => unsafe { inline::mark_pending(irp) },
            None => {}
        }
    }
    // SAFETY: nobody but the I/O manager has it now.
    unsafe { finish(irp) };
}

/// Calls completion routines from the present location upwards, as far as there are any, with nothing checked nor put on record. Whether
/// one of them has kept the IRP; otherwise it stands where there is none.
///
/// # Safety
/// The caller owns the IRP.
unsafe fn complete_plainly(irp: *mut IRP) -> bool {
    loop {
        // SAFETY: the caller's IRP; the present location, if there is one, is its completer's.
        let location = unsafe {
            if (*irp).CurrentLocation > (*irp).StackCount {
                return false;
            }
            &mut *inline::current_location(irp)
        };
        // SAFETY: as above.
        let (status, cancelled) = unsafe { (inline::status(irp).0, (*irp).Cancel != 0) };
        let routine = location.CompletionRoutine;
        let Some(routine) = routine.filter(|_| invoked(location.Control, status, cancelled)) else {
            return false;
        };
        let (pending, context) = (u32::from(location.Control) & SL_PENDING_RETURNED != 0, location.Context);
        location.Control = 0;
        // SAFETY: the location above exists, or is the one behind the last, which is only counted.
        let device = unsafe {
            (*irp).PendingReturned = u8::from(pending);
            (*irp).CurrentLocation = (*irp).CurrentLocation.wrapping_add(1);
            *current(irp) = (*current(irp)).add(1);
            if (*irp).CurrentLocation > (*irp).StackCount {
                core::ptr::null_mut()
            } else {
                (**current(irp)).DeviceObject
            }
        };
        // SAFETY: the routine that the driver above set for this IRP.
        if unsafe { routine(device, irp, context) } == STATUS_MORE_PROCESSING_REQUIRED {
            return true;
        }
    }
}

unsafe fn call_routine(
    routine: CompletionRoutine,
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    context: *mut c_void,
) -> NTSTATUS {
    callback::run_here("completion routine", routine as usize, || {
        // SAFETY: as the caller promises.
        unsafe { routine(device, irp, context) }
    })
    .unwrap_or(STATUS_MORE_PROCESSING_REQUIRED)
}

/// The end of an IRP that no completion routine took back.
unsafe fn finish(irp: *mut IRP) {
    match irptable::origin(irp) {
        // SAFETY: a request of ours, completed.
        Some(Origin::User) => unsafe { request::finished(irp) },
        Some(Origin::Built) => {
            // SAFETY: made by `build`, completed: what its maker asked for is done here.
            unsafe {
                if (*irp).Flags & IRP_DEALLOCATE_BUFFER != 0 {
                    pool::free((*irp).AssociatedIrp.SystemBuffer.cast(), 0);
                }
                let iosb = (*irp).__bindgen_anon_1.UserIosb;
                if !iosb.is_null() {
                    *iosb = (*irp).IoStatus;
                }
                let event = (*irp).UserEvent;
                io_free(irp);
                if !event.is_null() {
                    wdk_sys::ntddk::KeSetEvent(event, 0, 0);
                }
            }
        }
        _ => {
            stop::report(Code::IrpNotTakenBack, [irp.addr(), 0, 0, 0]);
        }
    }
}

unsafe extern "system" fn io_complete(irp: *mut IRP, _boost: i8) {
    // SAFETY: the driver owns the IRP.
    unsafe { complete(irp) };
}

/// Context of a completion routine set with `IoSetCompletionRoutineEx`.
struct Unwinder {
    device: *mut DEVICE_OBJECT,
    routine: Option<CompletionRoutine>,
    context: *mut c_void,
    control: u8,
}

const UNWINDER_TAG: u32 = u32::from_le_bytes(*b"IoUn");

unsafe extern "C" fn unwind(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: written by `set_completion_ex`.
    let unwinder = unsafe { context.cast::<Unwinder>().read() };
    // SAFETY: allocated there, used once.
    unsafe { pool::free(context.cast(), UNWINDER_TAG) };
    // SAFETY: the IRP is being completed, and is this routine's for now.
    let (status, cancelled) = unsafe { (inline::status(irp).0, (*irp).Cancel != 0) };
    let chosen = unwinder
        .routine
        .filter(|_| invoked(unwinder.control, status, cancelled));
    let result = if let Some(routine) = chosen {
        // SAFETY: the routine that the driver set for this IRP.
        unsafe { routine(device, irp, unwinder.context) }
    } else {
        // SAFETY: as above; what the I/O manager does where no routine is called.
        unsafe {
            if (*irp).PendingReturned != 0 && (*irp).CurrentLocation <= (*irp).StackCount {
                inline::mark_pending(irp);
            }
        }
        STATUS_SUCCESS
    };
    // SAFETY: referenced when the routine was set.
    unsafe { wdk_sys::ntddk::ObfDereferenceObject(unwinder.device.cast()) };
    result
}

unsafe extern "system" fn set_completion_ex(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    routine: Option<CompletionRoutine>,
    context: *mut c_void,
    success: u8,
    error: u8,
    cancel: u8,
) -> NTSTATUS {
    let block: *mut Unwinder = pool::allocate(Kind::NonPaged, size_of::<Unwinder>(), UNWINDER_TAG, false).cast();
    if block.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let flag = |wanted: u8, flag: u32| {
        if wanted == 0 {
            0
        } else {
            u8::try_from(flag).unwrap_or(0)
        }
    };
    let control =
        flag(success, SL_INVOKE_ON_SUCCESS) | flag(error, SL_INVOKE_ON_ERROR) | flag(cancel, SL_INVOKE_ON_CANCEL);
    // SAFETY: the block is fresh; the device exists; the IRP is the driver's and has a location left.
    unsafe {
        block.write(Unwinder {
            device,
            routine,
            context,
            control,
        });
        wdk_sys::ntddk::ObfReferenceObject(device.cast());
        inline::set_completion_routine(irp, unwind, block.cast());
    }
    STATUS_SUCCESS
}

/// What the IRPs that the I/O manager builds for a driver have in common.
unsafe fn build(
    device: *mut DEVICE_OBJECT,
    buffer: *mut c_void,
    event: *mut KEVENT,
    iosb: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: the driver's device.
    let irp = allocate(unsafe { (*device).StackSize }, Origin::Built);
    if !irp.is_null() {
        // SAFETY: fresh.
        unsafe {
            (*irp).UserBuffer = buffer;
            (*irp).UserEvent = event;
            (*irp).__bindgen_anon_1.UserIosb = iosb;
            (*irp).Tail.Overlay.Thread = current_thread();
        }
    }
    irp
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn build_control(
    code: u32,
    device: *mut DEVICE_OBJECT,
    input: *mut c_void,
    input_bytes: u32,
    output: *mut c_void,
    output_bytes: u32,
    internal: u8,
    event: *mut KEVENT,
    iosb: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    const DEVICE_CONTROL: u8 = 0x0e;
    // SAFETY: the driver's device.
    let irp = unsafe { build(device, output, event, iosb) };
    if irp.is_null() {
        return irp;
    }
    // SAFETY: fresh, with at least one location; the buffers are the driver's and stay until the IRP is complete.
    unsafe {
        let next = &mut *inline::next_location(irp);
        next.MajorFunction = DEVICE_CONTROL.wrapping_add(u8::from(internal != 0));
        let control = &mut next.Parameters.DeviceIoControl;
        control.IoControlCode = code;
        control.InputBufferLength = input_bytes;
        control.OutputBufferLength = output_bytes;
        match code & 3 {
            0 => (*irp).AssociatedIrp.SystemBuffer = if input_bytes == 0 { output } else { input },
            3 => control.Type3InputBuffer = input,
            _ => {
                (*irp).AssociatedIrp.SystemBuffer = input;
                if output_bytes != 0 {
                    let mdl = crate::mdl::allocate(output, output_bytes, 0, 0, irp);
                    if mdl.is_null() {
                        io_free(irp);
                        return core::ptr::null_mut();
                    }
                }
            }
        }
    }
    irp
}

unsafe extern "system" fn build_asynchronous(
    major: u32,
    device: *mut DEVICE_OBJECT,
    buffer: *mut c_void,
    bytes: u32,
    offset: *const LARGE_INTEGER,
    iosb: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: the driver's device.
    let irp = unsafe { build(device, buffer, core::ptr::null_mut(), iosb) };
    if !irp.is_null() {
        // SAFETY: fresh, with at least one location; reads and writes have the same layout.
        unsafe {
            let next = &mut *inline::next_location(irp);
            next.MajorFunction = u8::try_from(major).unwrap_or(0);
            next.Parameters.Read.Length = bytes;
            if !offset.is_null() {
                next.Parameters.Read.ByteOffset = *offset;
            }
            (*irp).AssociatedIrp.SystemBuffer = buffer;
        }
    }
    irp
}

unsafe extern "system" fn build_synchronous(
    major: u32,
    device: *mut DEVICE_OBJECT,
    buffer: *mut c_void,
    bytes: u32,
    offset: *const LARGE_INTEGER,
    event: *mut KEVENT,
    iosb: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    // SAFETY: as for the asynchronous one.
    let irp = unsafe { build_asynchronous(major, device, buffer, bytes, offset, iosb) };
    if !irp.is_null() {
        // SAFETY: fresh.
        unsafe { (*irp).UserEvent = event };
    }
    irp
}

const _: () = assert!(IO_NO_INCREMENT == 0);

exports! {
    IoAllocateIrp => io_allocate,
    IoAllocateIrpEx => io_allocate_ex,
    IoInitializeIrp => io_initialize,
    IoReuseIrp => io_reuse,
    IoFreeIrp => io_free,
    IoCallDriver => io_call,
    IofCallDriver => io_call,
    IoCompleteRequest => io_complete,
    IofCompleteRequest => io_complete,
    IoSetCompletionRoutineEx => set_completion_ex,
    IoBuildDeviceIoControlRequest => build_control,
    IoBuildAsynchronousFsdRequest => build_asynchronous,
    IoBuildSynchronousFsdRequest => build_synchronous,
}

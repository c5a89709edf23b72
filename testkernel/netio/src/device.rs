//! The control device: carries out the requests of `probe_protocol::netio`. `PASSIVE_LEVEL`.
//!
//! netio.sys has no driver object when it is loaded as an import, so it makes one.

use core::ffi::c_void;

use probe_protocol::netio::IOCTL_EXECUTE;
use wdk_rtl::irp;
use wdk_sys::ntddk::{IoCreateDevice, IoCreateSymbolicLink};
use wdk_sys::{
    DEVICE_OBJECT, DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, FILE_DEVICE_UNKNOWN, IRP, IRP_MJ_CLOSE,
    IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS, UNICODE_STRING,
};

use crate::level::{routine, utf16};
use crate::status::{STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_FOUND, STATUS_SUCCESS, is_success};
use crate::{commands, host, report};

type Dispatch = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS;
type DriverInitialize = unsafe extern "C" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> NTSTATUS;

fn unicode(text: &[u16]) -> UNICODE_STRING {
    let bytes = u16::try_from(size_of_val(text)).unwrap_or(0);
    UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: text.as_ptr().cast_mut(),
    }
}

/// Makes the driver object, and with it the device.
pub(crate) fn create() {
    let function = routine(utf16!(b"IoCreateDriver"));
    let status = if function.is_null() {
        STATUS_NOT_FOUND
    } else {
        type IoCreateDriver = unsafe extern "system" fn(*mut UNICODE_STRING, DriverInitialize) -> NTSTATUS;
        // SAFETY: the name has this signature.
        let create = unsafe { core::mem::transmute::<*mut c_void, IoCreateDriver>(function) };
        let mut name = unicode(utf16!(b"\\Driver\\TestKernelNetio"));
        // SAFETY: the name outlives the call.
        unsafe { create(&raw mut name, initialize) }
    };
    if !is_success(status) {
        report::print(format_args!("no control device: {status:#010x}"));
    }
}

/// # Safety
/// The I/O manager calls it in `IoCreateDriver`.
unsafe extern "C" fn initialize(driver: *mut DRIVER_OBJECT, _path: *mut UNICODE_STRING) -> NTSTATUS {
    let mut name = unicode(utf16!(b"\\Device\\TestKernelNetio"));
    let mut link = unicode(utf16!(b"\\DosDevices\\TestKernelNetio"));
    let mut device: *mut DEVICE_OBJECT = core::ptr::null_mut();
    // SAFETY: the driver object is ours, and the names outlive the calls.
    unsafe {
        for (code, routine) in [
            (IRP_MJ_CREATE, open_or_close as Dispatch),
            (IRP_MJ_CLOSE, open_or_close),
            (IRP_MJ_DEVICE_CONTROL, control),
        ] {
            if let Some(slot) = (*driver).MajorFunction.get_mut(code as usize) {
                *slot = Some(routine);
            }
        }
        let status = IoCreateDevice(driver, 0, &raw mut name, FILE_DEVICE_UNKNOWN, 0, 0, &raw mut device);
        if !is_success(status) {
            return status;
        }
        (*device).Flags |= DO_BUFFERED_IO;
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
        IoCreateSymbolicLink(&raw mut link, &raw mut name)
    }
}

/// Completes an IRP of this device. Where the verifier has not taken the driver object in hand, the IRP comes straight from the host,
/// the verifier does not know it, and the host's own function completes it.
///
/// # Safety
/// The IRP is ours.
unsafe fn complete(device: *mut DEVICE_OBJECT, irp: *mut IRP, status: NTSTATUS, information: usize) {
    type IoCompleteRequest = unsafe extern "system" fn(*mut IRP, u8);
    // SAFETY: as the caller promises; the device is ours, and the name has this signature.
    unsafe {
        irp::set_status(irp, status, information);
        let ours = (*(*device).DriverObject)
            .MajorFunction
            .get(IRP_MJ_DEVICE_CONTROL as usize)
            .copied()
            .flatten();
        let direct = ours.is_some_and(|routine| core::ptr::fn_addr_eq(routine, control as Dispatch));
        match host::ntoskrnl::original(c"IoCompleteRequest").filter(|_| direct) {
            Some(function) => core::mem::transmute::<*const c_void, IoCompleteRequest>(function)(irp, 0),
            None => irp::complete(irp, irp::IO_NO_INCREMENT),
        }
    }
}

/// # Safety
/// The I/O manager calls it.
unsafe extern "C" fn open_or_close(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours.
    unsafe { complete(device, irp, STATUS_SUCCESS, 0) };
    STATUS_SUCCESS
}

/// # Safety
/// The I/O manager calls it.
unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the IRP is ours, and the system buffer as long as the longer of its two sides.
    unsafe {
        let parameters = irp::device_control(irp);
        let (status, length) = if parameters.code == IOCTL_EXECUTE {
            let length = parameters.input.max(parameters.output) as usize;
            let buffer = irp::system_buffer(irp).cast::<u8>();
            let bytes = if buffer.is_null() {
                &mut []
            } else {
                core::slice::from_raw_parts_mut(buffer, length)
            };
            commands::execute(bytes, parameters.input as usize, parameters.output as usize)
        } else {
            (STATUS_INVALID_DEVICE_REQUEST, 0)
        };
        complete(device, irp, status, length);
        status
    }
}

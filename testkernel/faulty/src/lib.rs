//! faulty.sys: a driver that does one thing wrong, or nothing, as it is told. Each bug is one that a rule of the verifier is about;
//! the healthy cases show that the rules leave correct drivers alone, and that the kernel functions behind them work.
//!
//! The request is a device control with the number of a case; its output is what the case returns. Every case runs in the caller's
//! thread at `PASSIVE_LEVEL` unless it says otherwise.
#![no_std]
#![deny(clippy::expect_used, clippy::panic, clippy::unwrap_used)]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each case is one fault made of several calls"
)]

extern crate wdk_panic;

mod bugs;
mod healthy;
mod irps;
mod kernel;
mod names;
mod switches;

use probe_protocol::verifier::faulty::{CASE_INDEX, Case, HOLD, PEND, RUN, SWITCH, Switch};
use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, PCUNICODE_STRING, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    ntddk::{IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink, IofCompleteRequest},
};

const FILE_DEVICE_UNKNOWN: u32 = 0x22;
const DO_BUFFERED_IO: u32 = 0x4;

/// `DriverUnload`.
///
/// # Safety
/// Only the I/O manager calls it.
pub(crate) unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    let mut link = names::link();
    // SAFETY: made in DriverEntry.
    unsafe {
        let _ = IoDeleteSymbolicLink(&raw mut link);
        IoDeleteDevice((*driver).DeviceObject);
    }
}

/// Completes a request, and says how.
///
/// # Safety
/// The caller owns the request.
pub(crate) unsafe fn complete(request: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: as the caller promises.
    unsafe {
        irp::set_status(request, status, information);
        IofCompleteRequest(request, 0);
    }
    status
}

unsafe extern "C" fn control(device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands over a device control.
    unsafe {
        let location = &*irp::current_location(request);
        let parameters = &location.Parameters.DeviceIoControl;
        let buffer: *mut u32 = irp::system_buffer(request).cast();
        let code = parameters.IoControlCode;
        irps::settle();
        match code {
            PEND => return switches::pend(request),
            HOLD => return irps::hold(request),
            _ => {}
        }
        if code != RUN && code != SWITCH {
            return complete(request, STATUS_INVALID_DEVICE_REQUEST, 0);
        }
        if (parameters.InputBufferLength as usize) < size_of::<u32>()
            || (parameters.OutputBufferLength as usize) < size_of::<u32>()
        {
            return complete(request, STATUS_INVALID_PARAMETER, 0);
        }
        let number = buffer.add(CASE_INDEX).read();
        if code == SWITCH {
            let Some(switch) = Switch::from_index(number) else {
                return complete(request, STATUS_INVALID_PARAMETER, 0);
            };
            buffer.write(switches::throw(device, switch));
            return complete(request, STATUS_SUCCESS, size_of::<u32>());
        }
        match Case::from_index(number) {
            Some(case) => run(device, request, case, buffer),
            None => complete(request, STATUS_INVALID_PARAMETER, 0),
        }
    }
}

unsafe fn run(device: *mut DEVICE_OBJECT, request: *mut IRP, case: Case, result: *mut u32) -> NTSTATUS {
    // SAFETY: the request's system buffer has room for the result, until the request is completed.
    unsafe {
        if let Some(value) = healthy::run(device, case) {
            result.write(value);
            return complete(request, STATUS_SUCCESS, size_of::<u32>());
        }
        if let Some(status) = irps::run(request, case) {
            return status;
        }
        let known = bugs::run(device, case) || irps::run_own(device, case);
        complete(
            request,
            if known {
                STATUS_SUCCESS
            } else {
                STATUS_INVALID_PARAMETER
            },
            0,
        )
    }
}

/// Entry point. `PASSIVE_LEVEL`.
///
/// # Safety
///
/// Only the I/O manager calls it.
// SAFETY: the name is the one the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: PCUNICODE_STRING) -> NTSTATUS {
    let mut device = core::ptr::null_mut();
    let (mut name, mut link) = (names::device(), names::link());
    // SAFETY: the names are static, the device a live local.
    unsafe {
        let status = IoCreateDevice(driver, 0, &raw mut name, FILE_DEVICE_UNKNOWN, 0, 0, &raw mut device);
        if status != STATUS_SUCCESS {
            return status;
        }
        (*device).Flags |= DO_BUFFERED_IO;
        let status = IoCreateSymbolicLink(&raw mut link, &raw mut name);
        if status != STATUS_SUCCESS {
            IoDeleteDevice(device);
            return status;
        }
    }
    for (major, routine) in (0u8..).zip(&mut driver.MajorFunction) {
        match major {
            0x00 => *routine = Some(switches::create),
            0x02 => *routine = Some(switches::close),
            0x0e => *routine = Some(control),
            0x12 => *routine = Some(switches::cleanup),
            _ => {}
        }
    }
    driver.DriverUnload = Some(unload);
    STATUS_SUCCESS
}

//! Processes and subjects: image names, security contexts, access checks. `PASSIVE_LEVEL`.

extern crate alloc;

use core::ffi::c_void;

use wdk_sys::{
    GENERIC_MAPPING, IRP, NTSTATUS, SECURITY_SUBJECT_CONTEXT, STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UNICODE_STRING,
};

use crate::exports::exports;
use crate::pool::{self, Kind};
use crate::security;
use crate::server;
use crate::system::Native;
use crate::user;

const TAG: u32 = u32::from_le_bytes(*b"SeIn");
const PROCESS_QUERY_INFORMATION: u32 = 0x400;
const PROCESS_IMAGE_FILE_NAME: u32 = 27;
const KERNEL_MODE: i8 = 0;
const MAXIMUM_ALLOWED: u32 = 0x0200_0000;

unsafe extern "system" fn locate_image_name(process: *mut c_void, name: *mut *mut UNICODE_STRING) -> NTSTATUS {
    type Query = unsafe extern "system" fn(*mut c_void, u32, *mut c_void, u32, *mut u32) -> NTSTATUS;
    static QUERY: Native = Native::new(c"NtQueryInformationProcess");
    const ROOM: usize = 2048;
    let mut handle = core::ptr::null_mut();
    // SAFETY: the driver's process; the handle is a live local.
    let status = unsafe {
        wdk_sys::ntddk::ObOpenObjectByPointer(
            process.cast(),
            0,
            core::ptr::null_mut(),
            PROCESS_QUERY_INFORMATION,
            core::ptr::null_mut(),
            KERNEL_MODE,
            &raw mut handle,
        )
    };
    if status != STATUS_SUCCESS {
        return status;
    }
    let block = pool::allocate(Kind::Paged, ROOM, TAG, false);
    if block.is_null() {
        // SAFETY: opened above.
        unsafe { user::CloseHandle(handle) };
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: that is the function's signature; the block has this much room, and the answer, a counted string with its text behind it,
    // is what the driver is to get.
    unsafe {
        let status = QUERY.get::<Query>().map_or(STATUS_UNSUCCESSFUL, |query| {
            query(
                handle,
                PROCESS_IMAGE_FILE_NAME,
                block.cast(),
                2048,
                core::ptr::null_mut(),
            )
        });
        user::CloseHandle(handle);
        if status == STATUS_SUCCESS {
            name.write(block.cast());
        } else {
            pool::free(block, TAG);
        }
        status
    }
}

/// The subject is the thread whose request is being dispatched, or the system's own; its token is looked at when it is asked about.
unsafe extern "system" fn capture_subject(subject: *mut SECURITY_SUBJECT_CONTEXT) {
    // SAFETY: the driver's variable.
    unsafe { subject.write(SECURITY_SUBJECT_CONTEXT::default()) };
}

unsafe extern "system" fn no_subject(_subject: *mut SECURITY_SUBJECT_CONTEXT) {}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn access_check(
    descriptor: *mut c_void,
    _subject: *mut SECURITY_SUBJECT_CONTEXT,
    _locked: u8,
    desired: u32,
    previous: u32,
    _privileges: *mut *mut c_void,
    _mapping: *mut GENERIC_MAPPING,
    mode: i8,
    granted: *mut u32,
    status: *mut NTSTATUS,
) -> u8 {
    let allowed = mode == KERNEL_MODE
        || desired & !previous == 0
        || security::caller_has(descriptor, server::create_request().thread, desired & !MAXIMUM_ALLOWED);
    let (mask, result) = if allowed {
        (desired | previous, STATUS_SUCCESS)
    } else {
        (0, STATUS_ACCESS_DENIED)
    };
    // SAFETY: the driver's variables.
    unsafe {
        granted.write(mask);
        status.write(result);
    }
    u8::from(allowed)
}

unsafe extern "system" fn requestor_process_id(irp: *mut IRP) -> u32 {
    // SAFETY: the driver's IRP, which came from a thread.
    unsafe {
        let process = wdk_sys::ntddk::IoGetRequestorProcess(irp);
        u32::try_from(wdk_sys::ntddk::PsGetProcessId(process).addr()).unwrap_or(0)
    }
}

unsafe extern "system" fn previous_mode() -> i8 {
    KERNEL_MODE
}

exports! {
    SeLocateProcessImageName => locate_image_name,
    SeCaptureSubjectContext => capture_subject,
    SeReleaseSubjectContext => no_subject,
    SeLockSubjectContext => no_subject,
    SeUnlockSubjectContext => no_subject,
    SeAccessCheck => access_check,
    IoGetRequestorProcessId => requestor_process_id,
    ExGetPreviousMode => previous_mode,
}

//! Test kernel: missing kernel exports and Driver-Verifier-class checks.
#![no_std]

extern crate wdk_panic;

use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS, ntddk::DbgPrint};

#[global_allocator]
static GLOBAL: WdkAllocator = WdkAllocator;

extern "C" fn driver_unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: the format is NUL-terminated and names no argument.
    unsafe { DbgPrint(c"verifier: unloaded\n".as_ptr()) };
}

/// Entry point. `PASSIVE_LEVEL`.
///
/// # Safety
///
/// Only the I/O manager calls it.
// SAFETY: the name is the one the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, _registry_path: PCUNICODE_STRING) -> NTSTATUS {
    driver.DriverUnload = Some(driver_unload);
    // SAFETY: the format is NUL-terminated and names no argument.
    unsafe { DbgPrint(c"verifier: loaded\n".as_ptr()) };
    STATUS_SUCCESS
}

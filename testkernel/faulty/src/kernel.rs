//! Kernel functions that the bindings lack.

use core::ffi::c_void;

use wdk_sys::{DEVICE_OBJECT, IRP, KIRQL, NTSTATUS, PVOID};

unsafe extern "C" {
    pub(crate) fn KeQuerySystemTimePrecise(time: *mut i64);
    pub(crate) fn KeFlushQueuedDpcs();
    #[allow(dead_code, reason = "declared together")]
    pub(crate) fn ExFreePool2(block: PVOID, tag: u32, extended: *const c_void, count: u32);
}

/// Types that the cases use.
pub(crate) type Completion = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NTSTATUS;
/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH: KIRQL = 2;

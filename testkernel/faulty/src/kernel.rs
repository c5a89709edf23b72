//! Kernel functions that the bindings lack.

use core::ffi::c_void;

use wdk_sys::KIRQL;

unsafe extern "C" {
    pub(crate) fn KeQuerySystemTimePrecise(time: *mut i64);
    pub(crate) fn KeFlushQueuedDpcs();
    pub(crate) fn KeRegisterBugCheckReasonCallback(
        record: *mut c_void,
        routine: *const c_void,
        reason: i32,
        component: *const u8,
    ) -> u8;
}

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    /// Not there: neither on Windows nor in Wine.
    pub(crate) fn TestKernelHasNoSuchFunction();
}

/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH: KIRQL = 2;

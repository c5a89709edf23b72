//! Which drivers a request's dispatch routine is in. On Windows the file that a request came by holds its driver until the routine has
//! returned; Wine unloads a driver that has completed its last request and is about to return. `PASSIVE_LEVEL`.

extern crate alloc;

use alloc::collections::BTreeMap;

use wdk_sys::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS};

use crate::irp;
use crate::sync::Lock;
use crate::user;

/// How often, every ten milliseconds, is looked whether a routine has returned.
const LOOKS: u32 = 500;

/// Calls under way, by driver object.
static CALLS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// Sends an IRP to a device, whose driver stays until its routine has returned.
///
/// # Safety
/// The caller has the IRP, and the device exists.
pub(crate) unsafe fn call(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: as the caller promises. The device may be gone when the routine returns.
    let driver = unsafe { (*device).DriverObject }.addr();
    let count = |change: fn(usize) -> usize| {
        let mut calls = CALLS.lock();
        let count = calls.entry(driver).or_default();
        *count = change(*count);
        if *count == 0 {
            calls.remove(&driver);
        }
    };
    count(|calls| calls.wrapping_add(1));
    // SAFETY: as the caller promises.
    let status = unsafe { irp::io_call(device, irp) };
    count(|calls| calls.wrapping_sub(1));
    status
}

/// Waits until nobody is in the driver, for a few seconds at most.
pub(crate) fn wait(driver: *const DRIVER_OBJECT) {
    for _ in 0..LOOKS {
        if !CALLS.lock().contains_key(&driver.addr()) {
            return;
        }
        // SAFETY: no preconditions.
        unsafe { user::Sleep(10) };
    }
}

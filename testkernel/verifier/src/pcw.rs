//! Performance counters: registrations and instances are kept, values are not read by anybody. IRQL <= APC_LEVEL.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};

use crate::exports::exports;
use crate::pool::{self, Kind};
use crate::stop;
use crate::sync::Lock;

const TAG: u32 = u32::from_le_bytes(*b"PcwR");

/// Registrations and instances, and who made them.
static OBJECTS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

unsafe fn make(object: *mut *mut c_void) -> NTSTATUS {
    let block = pool::allocate(Kind::NonPaged, 16, TAG, false);
    if block.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let owner = stop::caller();
    OBJECTS.lock().insert(block.addr(), owner);
    // SAFETY: the driver's variable.
    unsafe { object.write(block.cast()) };
    STATUS_SUCCESS
}

unsafe fn unmake(object: *mut c_void) {
    if OBJECTS.lock().remove(&object.addr()).is_some() {
        // SAFETY: it came from `make`, once.
        unsafe { pool::free(object.cast(), TAG) };
    }
}

unsafe extern "system" fn register(registration: *mut *mut c_void, _information: *const c_void) -> NTSTATUS {
    // SAFETY: the driver's variable.
    unsafe { make(registration) }
}

unsafe extern "system" fn unregister(registration: *mut c_void) {
    // SAFETY: the driver's registration.
    unsafe { unmake(registration) };
}

unsafe extern "system" fn create_instance(
    instance: *mut *mut c_void,
    _registration: *mut c_void,
    _name: *const c_void,
    _count: u32,
    _data: *const c_void,
) -> NTSTATUS {
    // SAFETY: the driver's variable.
    unsafe { make(instance) }
}

unsafe extern "system" fn close_instance(instance: *mut c_void) {
    // SAFETY: the driver's instance.
    unsafe { unmake(instance) };
}

unsafe extern "system" fn add_instance(
    _buffer: *mut c_void,
    _name: *const c_void,
    _id: u32,
    _count: u32,
    _data: *const c_void,
) -> NTSTATUS {
    STATUS_SUCCESS
}

/// Registrations and instances that exist: object, where it was made.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize)) {
    let objects = OBJECTS.lock().clone();
    for (object, owner) in objects {
        visit(object, owner);
    }
}

/// Forgets what was made by an owner that is chosen: it has been reported.
pub(crate) fn forget(mut chosen: impl FnMut(usize) -> bool) {
    OBJECTS.lock().retain(|_, owner| !chosen(*owner));
}

exports! {
    PcwRegister => register,
    PcwUnregister => unregister,
    PcwCreateInstance => create_instance,
    PcwCloseInstance => close_instance,
    PcwAddInstance => add_instance,
}

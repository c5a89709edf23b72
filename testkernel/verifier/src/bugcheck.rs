//! Bug checks and raised statuses. Any IRQL.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use wdk_sys::NTSTATUS;

use crate::exports::exports;
use crate::guard;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::system;
use crate::user;

/// Registered callback records, and who registered them.
static RECORDS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

fn note(record: *mut c_void) -> u8 {
    u8::from(RECORDS.lock().insert(record.addr(), stop::caller()).is_none())
}

unsafe extern "system" fn register_reason(
    record: *mut c_void,
    _routine: *const c_void,
    _reason: i32,
    _component: *const u8,
) -> u8 {
    note(record)
}

unsafe extern "system" fn register(
    record: *mut c_void,
    _routine: *const c_void,
    _buffer: *mut c_void,
    _length: u32,
    _component: *const u8,
) -> u8 {
    note(record)
}

unsafe extern "system" fn deregister(record: *mut c_void) -> u8 {
    u8::from(RECORDS.lock().remove(&record.addr()).is_some())
}

/// Records that are registered: record, where it was registered.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize)) {
    let records = RECORDS.lock().clone();
    for (record, owner) in records {
        visit(record, owner);
    }
}

/// Reports, and ends the call that the kernel made into the driver, or keeps the thread: nothing after a bug check runs.
unsafe extern "system" fn bug_check_ex(code: u32, first: usize, second: usize, third: usize, _fourth: usize) -> ! {
    stop::report(Code::BugCheck, [code as usize, first, second, third]);
    guard::escape();
    loop {
        // SAFETY: no preconditions.
        unsafe { user::Sleep(user::INFINITE) };
    }
}

unsafe extern "system" fn bug_check(code: u32) -> ! {
    // SAFETY: any code is allowed.
    unsafe { bug_check_ex(code, 0, 0, 0, 0) }
}

unsafe extern "system" fn raise_status(status: NTSTATUS) -> ! {
    system::raise_status(status)
}

/// Forgets what was made by an owner that is chosen: it has been reported.
pub(crate) fn forget(mut chosen: impl FnMut(usize) -> bool) {
    RECORDS.lock().retain(|_, owner| !chosen(*owner));
}

exports! {
    KeBugCheck => bug_check,
    KeBugCheckEx => bug_check_ex,
    KeRegisterBugCheckCallback => register,
    KeDeregisterBugCheckCallback => deregister,
    KeRegisterBugCheckReasonCallback => register_reason,
    KeDeregisterBugCheckReasonCallback => deregister,
    ExRaiseStatus => raise_status,
}

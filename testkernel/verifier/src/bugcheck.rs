//! Bug checks and raised statuses. Any IRQL.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use wdk_sys::{
    _KBUGCHECK_CALLBACK_REASON::KbCallbackSecondaryDumpData, GUID, KBUGCHECK_REASON_CALLBACK_ROUTINE,
    KBUGCHECK_SECONDARY_DUMP_DATA, NTSTATUS,
};

use crate::callback;
use crate::exports::exports;
use crate::guard;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::system;
use crate::thread::HIGH;
use crate::user;

/// Most bytes that a callback may add to a dump.
const ROOM: u32 = 64 * 1024;

#[derive(Clone, Copy)]
struct Registered {
    owner: usize,
    /// For secondary dump data; `None` for another reason.
    routine: KBUGCHECK_REASON_CALLBACK_ROUTINE,
}

/// Registered callback records.
static RECORDS: Lock<BTreeMap<usize, Registered>> = Lock::new(BTreeMap::new());

fn note(record: *mut c_void, routine: KBUGCHECK_REASON_CALLBACK_ROUTINE) -> u8 {
    let owner = stop::caller();
    let registered = Registered { owner, routine };
    u8::from(RECORDS.lock().insert(record.expose_provenance(), registered).is_none())
}

unsafe extern "system" fn register_reason(
    record: *mut c_void,
    routine: KBUGCHECK_REASON_CALLBACK_ROUTINE,
    reason: i32,
    _component: *const u8,
) -> u8 {
    note(record, routine.filter(|_| reason == KbCallbackSecondaryDumpData))
}

/// Calls the callback of this number, of those for secondary dump data, as in a crash. Returns the data's name and the data,
/// which stays until the callback is called again; `None` if there is no such callback, or it added nothing it may add.
pub(crate) fn secondary_data(number: usize) -> Option<(GUID, &'static [u8])> {
    let records = RECORDS.lock().clone();
    let mut with_routine = records
        .iter()
        .filter_map(|(record, registered)| Some((*record, registered.routine?)));
    let (record, routine) = with_routine.nth(number)?;
    let mut data = KBUGCHECK_SECONDARY_DUMP_DATA {
        MaximumAllowed: ROOM,
        ..KBUGCHECK_SECONDARY_DUMP_DATA::default()
    };
    let length = u32::try_from(size_of_val(&data)).ok()?;
    callback::run("bug check callback", routine as usize, HIGH, false, || {
        // SAFETY: the record is registered, the structure ours, its length as said.
        unsafe {
            routine(
                KbCallbackSecondaryDumpData,
                core::ptr::with_exposed_provenance_mut(record),
                (&raw mut data).cast(),
                length,
            );
        };
    })?;
    if data.OutBuffer.is_null() || data.OutBufferLength > ROOM {
        return None;
    }
    // SAFETY: the callback says that so much is there, in memory that outlives the call.
    let bytes = unsafe { core::slice::from_raw_parts(data.OutBuffer.cast(), data.OutBufferLength as usize) };
    Some((data.Guid, bytes))
}

unsafe extern "system" fn register(
    record: *mut c_void,
    _routine: *const c_void,
    _buffer: *mut c_void,
    _length: u32,
    _component: *const u8,
) -> u8 {
    note(record, None)
}

unsafe extern "system" fn deregister(record: *mut c_void) -> u8 {
    u8::from(RECORDS.lock().remove(&record.addr()).is_some())
}

/// Records that are registered: record, where it was registered.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize)) {
    let records = RECORDS.lock().clone();
    for (record, registered) in records {
        visit(record, registered.owner);
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
    RECORDS.lock().retain(|_, registered| !chosen(registered.owner));
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

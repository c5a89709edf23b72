//! What a crash dump keeps of wskguard: counters, books, and the newest audit records, as secondary dump data. The layout is in
//! docs/OPERATING.md. Registered at `PASSIVE_LEVEL`; the kernel calls at `HIGH_LEVEL`, every other processor stopped: nothing
//! here waits, allocates or calls out.

use core::{
    ffi::c_void,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

use wdk_rtl::nonpaged;
use wdk_sys::{
    _KBUGCHECK_CALLBACK_REASON::KbCallbackSecondaryDumpData,
    GUID, KBUGCHECK_CALLBACK_REASON, KBUGCHECK_REASON_CALLBACK_RECORD, KBUGCHECK_SECONDARY_DUMP_DATA, ULONG,
    ntddk::{KeDeregisterBugCheckReasonCallback, KeRegisterBugCheckReasonCallback},
};
use wskguard_core::{audit::AuditRecord, counters};

use crate::guard::{TAG_STATE, guard};

/// Records that a dump keeps.
const RECORDS: usize = 64;
const VERSION: u32 = 1;
/// {5D7C2C4E-2B7E-4E55-9C0D-6E1B5A9F3D21}: names the data in the dump.
const DATA: GUID = GUID {
    Data1: 0x5D7C_2C4E,
    Data2: 0x2B7E,
    Data3: 0x4E55,
    Data4: [0x9C, 0x0D, 0x6E, 0x1B, 0x5A, 0x9F, 0x3D, 0x21],
};

/// The data. Only numbers, no address.
#[repr(C)]
struct Dump {
    magic: [u8; 8],
    version: u32,
    /// Words of `counters`.
    counter_count: u32,
    /// Records that hold something.
    record_count: u32,
    record_size: u32,
    /// Audit: decided, written, dropped; endpoints alive.
    books: [u64; 4],
    counters: [u64; counters::COUNT],
    /// In no order: sort by time, processor, sequence.
    records: [AuditRecord; RECORDS],
}

const _: () = assert!(core::mem::offset_of!(Dump, books) == 24 && core::mem::offset_of!(Dump, counters) == 56);
const _: () = assert!(core::mem::offset_of!(Dump, records) == 56 + 8 * counters::COUNT);

/// The kernel's record first: the callback is handed its address.
#[repr(C)]
struct Crash {
    record: KBUGCHECK_REASON_CALLBACK_RECORD,
    dump: Dump,
}

static CRASH: AtomicPtr<Crash> = AtomicPtr::new(core::ptr::null_mut());

/// Registers the callback, once there is a guard. A driver without it works as well, so failures are not told.
/// `PASSIVE_LEVEL`.
pub fn start() {
    let Some(block) = nonpaged::allocate(size_of::<Crash>(), TAG_STATE, false) else {
        return;
    };
    let crash = block.cast::<Crash>().as_ptr();
    // SAFETY: the block is of this size, and zeroed: numbers and a record as KeInitializeCallbackRecord leaves it.
    let dump = unsafe { &mut (*crash).dump };
    dump.magic = *b"WskGuard";
    dump.version = VERSION;
    dump.counter_count = u32::try_from(counters::COUNT).unwrap_or(0);
    dump.record_size = u32::try_from(size_of::<AuditRecord>()).unwrap_or(0);
    // SAFETY: only the address of the field is taken.
    let record = unsafe { &raw mut (*crash).record };
    let name = c"wskguard".as_ptr().cast_mut().cast();
    // SAFETY: the record is nonpaged and stays until `stop`; so does the name.
    let registered =
        unsafe { KeRegisterBugCheckReasonCallback(record, Some(secondary_data), KbCallbackSecondaryDumpData, name) };
    if registered == 0 {
        release(crash);
    } else {
        CRASH.store(crash, Ordering::Release);
    }
}

/// Takes the callback back, while there is a guard still. `PASSIVE_LEVEL`.
pub fn stop() {
    let crash = CRASH.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if crash.is_null() {
        return;
    }
    // SAFETY: only the address of the field is taken.
    let record = unsafe { &raw mut (*crash).record };
    // SAFETY: registered by `start`. It fails only if it was not.
    let _ = unsafe { KeDeregisterBugCheckReasonCallback(record) };
    release(crash);
}

fn release(crash: *mut Crash) {
    if let Some(crash) = NonNull::new(crash) {
        // SAFETY: made by `start`; the kernel does not have it, or no longer.
        unsafe { nonpaged::free(crash.cast(), TAG_STATE) };
    }
}

/// May be called several times for one crash: it fills the data anew.
unsafe extern "C" fn secondary_data(
    reason: KBUGCHECK_CALLBACK_REASON,
    record: *mut KBUGCHECK_REASON_CALLBACK_RECORD,
    data: *mut c_void,
    length: ULONG,
) {
    let wanted = u32::try_from(size_of::<KBUGCHECK_SECONDARY_DUMP_DATA>()).unwrap_or(u32::MAX);
    if reason != KbCallbackSecondaryDumpData || length < wanted {
        return;
    }
    let data = data.cast::<KBUGCHECK_SECONDARY_DUMP_DATA>();
    // SAFETY: for this reason and length, `data` is that structure.
    let Some(data) = (unsafe { data.as_mut() }) else { return };
    // SAFETY: the record is the first field of the Crash that `start` registered, and nobody else looks at it any more.
    let Some(crash) = (unsafe { record.cast::<Crash>().as_mut() }) else {
        return;
    };
    let dump = &mut crash.dump;
    fill(dump);
    let size = u32::try_from(size_of::<Dump>()).unwrap_or(0);
    if data.MaximumAllowed < size {
        return;
    }
    data.Guid = DATA;
    data.OutBuffer = (&raw mut *dump).cast();
    data.OutBufferLength = size;
}

fn fill(dump: &mut Dump) {
    let guard = guard();
    let books = guard.books();
    let live = u64::from(guard.live.load(Ordering::Relaxed));
    dump.books = [books.decided(), books.written, books.dropped_busy, live];
    dump.counters = guard.counts();
    let records = guard.rings.newest(&mut dump.records);
    dump.record_count = u32::try_from(records).unwrap_or(0);
}

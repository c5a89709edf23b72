//! Deferred procedure calls, on threads at DISPATCH_LEVEL, one for each virtual processor, and timers that queue them. IRQL <= HIGH_LEVEL for
//! queueing, PASSIVE_LEVEL for flushing.
//!
//! A DPC in the queue is in it once. `DpcData` says that it is queued, as on Windows; the queue itself is ours, so the object may be
//! queued again, or freed, as soon as its routine runs.

extern crate alloc;

use alloc::collections::VecDeque;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_sys::KDPC;

use crate::callback;
use crate::exports::exports;
use crate::sync::Lock;
use crate::user;

type Routine = unsafe extern "C" fn(*mut KDPC, *mut c_void, *mut c_void, *mut c_void);

#[derive(Clone, Copy)]
struct Entry {
    dpc: *mut KDPC,
    first: *mut c_void,
    second: *mut c_void,
}

// SAFETY: a queued DPC belongs to the queue until it is taken out.
unsafe impl Send for Entry {}

struct Queue {
    entries: VecDeque<Entry>,
    running: usize,
    started: bool,
}

static QUEUE: Lock<Queue> = Lock::new(Queue {
    entries: VecDeque::new(),
    running: 0,
    started: false,
});
/// Changes whenever something is queued or finished.
static CHANGES: AtomicUsize = AtomicUsize::new(0);
/// Threads that run DPCs: as many as can run at a time.
const PROCESSORS: usize = 2;
/// What `DpcData` holds while the DPC is queued.
const QUEUED: *mut c_void = core::ptr::without_provenance_mut(1);

fn changed() {
    CHANGES.fetch_add(1, Ordering::AcqRel);
    user::wake_all(&CHANGES);
}

unsafe extern "system" fn processor(_: *mut c_void) -> u32 {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        let taken = {
            let mut queue = QUEUE.lock();
            let taken = queue.entries.pop_front();
            if let Some(entry) = taken {
                queue.running = queue.running.wrapping_add(1);
                // SAFETY: the DPC was queued until now; from here on it may be queued again.
                unsafe { (*entry.dpc).DpcData = core::ptr::null_mut() };
            }
            taken.map(|entry| {
                // SAFETY: as above: what the routine gets is read before anybody can free the object.
                let (routine, context) = unsafe { ((*entry.dpc).DeferredRoutine, (*entry.dpc).DeferredContext) };
                (entry, routine, context)
            })
        };
        let Some((entry, routine, context)) = taken else {
            user::wait_on(&CHANGES, seen, user::INFINITE);
            continue;
        };
        if let Some(routine) = routine {
            run(routine, entry, context);
        }
        QUEUE.lock().running -= 1;
        changed();
    }
}

fn run(routine: Routine, entry: Entry, context: *mut c_void) {
    callback::run("DPC", routine as usize, crate::thread::DISPATCH, true, || {
        // SAFETY: the routine that the driver gave to KeInitializeDpc, with what it and KeInsertQueueDpc were given.
        unsafe { routine(entry.dpc, context, entry.first, entry.second) };
    });
}

/// Queues a DPC; false if it is queued already.
///
/// # Safety
/// `dpc` was initialised and stays until its routine has run or it was removed.
pub(crate) unsafe fn insert(dpc: *mut KDPC, first: *mut c_void, second: *mut c_void) -> bool {
    let mut queue = QUEUE.lock();
    // SAFETY: as the caller promises; the field is touched with the queue's lock held.
    let data = unsafe { &mut (*dpc).DpcData };
    if !data.is_null() {
        return false;
    }
    *data = QUEUED;
    queue.entries.push_back(Entry { dpc, first, second });
    let start = !core::mem::replace(&mut queue.started, true);
    drop(queue);
    if start {
        for _ in 0..PROCESSORS {
            user::start_thread(processor, core::ptr::null_mut());
        }
    }
    changed();
    true
}

/// DPCs that wait in the queue.
pub(crate) fn queued(mut visit: impl FnMut(*mut KDPC, usize)) {
    let entries = QUEUE.lock().entries.clone();
    for entry in entries {
        // SAFETY: it was queued a moment ago; the caller looks at a driver whose code no longer runs.
        visit(
            entry.dpc,
            unsafe { (*entry.dpc).DeferredRoutine }.map_or(0, |routine| routine as usize),
        );
    }
}

/// Takes out what waits in the queue with a routine that is chosen.
pub(crate) fn purge(mut chosen: impl FnMut(usize) -> bool) {
    QUEUE.lock().entries.retain(|entry| {
        // SAFETY: as in `queued`.
        !chosen(unsafe { (*entry.dpc).DeferredRoutine }.map_or(0, |routine| routine as usize))
    });
}

unsafe extern "system" fn initialize(dpc: *mut KDPC, routine: Option<Routine>, context: *mut c_void) {
    const DPC_OBJECT: u8 = 19;
    // SAFETY: the driver's own storage.
    unsafe { dpc.write(core::mem::zeroed()) };
    // SAFETY: as above.
    let dpc = unsafe { &mut *dpc };
    dpc.Type = DPC_OBJECT;
    dpc.Importance = 1;
    dpc.DeferredRoutine = routine;
    dpc.DeferredContext = context;
}

unsafe extern "system" fn insert_queue(dpc: *mut KDPC, first: *mut c_void, second: *mut c_void) -> u8 {
    // SAFETY: the driver's DPC.
    u8::from(unsafe { insert(dpc, first, second) })
}

unsafe extern "system" fn remove_queue(dpc: *mut KDPC) -> u8 {
    let mut queue = QUEUE.lock();
    let before = queue.entries.len();
    queue.entries.retain(|entry| entry.dpc != dpc);
    let removed = queue.entries.len() != before;
    if removed {
        // SAFETY: the driver's DPC, and no longer queued.
        unsafe { (*dpc).DpcData = core::ptr::null_mut() };
    }
    u8::from(removed)
}

/// Waits until every DPC that was queued before has run.
pub(crate) unsafe extern "system" fn flush() {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        {
            let queue = QUEUE.lock();
            if queue.entries.is_empty() && queue.running == 0 {
                return;
            }
        }
        user::wait_on(&CHANGES, seen, 50);
    }
}

unsafe extern "system" fn set_importance(dpc: *mut KDPC, importance: i32) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 3")]
    // SAFETY: the driver's DPC.
    unsafe {
        (*dpc).Importance = importance as u8;
    }
}

unsafe extern "system" fn set_target(_dpc: *mut KDPC, _number: i8) {}

unsafe extern "system" fn set_target_ex(_dpc: *mut KDPC, _number: *const c_void) -> i32 {
    wdk_sys::STATUS_SUCCESS
}

exports! {
    KeInitializeDpc => initialize,
    KeInitializeThreadedDpc => initialize,
    KeInsertQueueDpc => insert_queue,
    KeRemoveQueueDpc => remove_queue,
    KeRemoveQueueDpcEx => remove_queue,
    KeFlushQueuedDpcs => flush,
    KeSetImportanceDpc => set_importance,
    KeSetTargetProcessorDpc => set_target,
    KeSetTargetProcessorDpcEx => set_target_ex,
}

//! The threads that do the work: they take finished host requests and scheduled sockets from one completion port.
//!
//! Only they call the host's sockets, complete pended IRPs and call clients back.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::host::sys;
use crate::provider::request::HostRequest;
use crate::provider::socket::{Socket, Task};
use crate::sync::{self, Condvar, Mutex};
use crate::{report, script};

/// Name look-ups and clients' callbacks may hold a thread for a while.
const THREADS: usize = 8;

const KEY_HOST: usize = 1;
const KEY_RUN: usize = 2;
const KEY_JOB: usize = 3;

static PORT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// Ids of the engine's threads.
static OWN: Mutex<[u32; THREADS]> = Mutex::new([0; THREADS]);

/// Work that belongs to no socket.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

pub(crate) fn start() {
    let invalid = core::ptr::without_provenance_mut(usize::MAX);
    // SAFETY: the invalid handle asks for a new port.
    let port = unsafe { sys::CreateIoCompletionPort(invalid, core::ptr::null_mut(), 0, 0) };
    PORT.store(port, Ordering::Release);
    for index in 0..THREADS {
        if !sync::spawn(work, core::ptr::without_provenance_mut(index)) {
            report::print(format_args!("no thread"));
        }
    }
    sync::spawn(keep_time, core::ptr::null_mut());
}

/// Has finished requests of a host socket come to the port.
pub(crate) fn associate(socket: sys::SOCKET) -> bool {
    let port = PORT.load(Ordering::Acquire);
    // SAFETY: both are handles of ours.
    let result = unsafe { sys::CreateIoCompletionPort(core::ptr::without_provenance_mut(socket), port, KEY_HOST, 0) };
    !result.is_null()
}

/// Has a socket's inbox worked off.
pub(crate) fn schedule(socket: Arc<Socket>) {
    post(KEY_RUN, Arc::into_raw(socket).cast_mut().cast());
}

/// Has `job` run.
pub(crate) fn run(job: Job) {
    post(KEY_JOB, Box::into_raw(Box::new(job)).cast());
}

/// Whether the calling thread is one of the engine's.
pub(crate) fn is_own_thread() -> bool {
    OWN.lock().contains(&sync::thread_id())
}

fn post(key: usize, what: *mut c_void) {
    let port = PORT.load(Ordering::Acquire);
    // SAFETY: the host hands the pointer back, without following it.
    while unsafe { sys::PostQueuedCompletionStatus(port, 0, key, what) } == 0 {
        sync::sleep(1);
    }
}

/// Whether there is a new time to keep.
static CLOCK: Mutex<bool> = Mutex::new(false);
static CLOCK_CHANGED: Condvar = Condvar::new();

/// Sockets that want to be looked at, and when.
static WAKES: Mutex<Vec<(u64, Arc<Socket>)>> = Mutex::new(Vec::new());

/// Has a socket look around once, `milliseconds` from now.
pub(crate) fn wake_later(socket: &Arc<Socket>, milliseconds: u32) {
    let mut wakes = WAKES.lock();
    if !wakes.iter().any(|(_, other)| Arc::ptr_eq(other, socket)) {
        wakes.push((sync::now().saturating_add(milliseconds.into()), Arc::clone(socket)));
        drop(wakes);
        wake_clock();
    }
}

/// Wakes the sockets whose time has come, and says in how many milliseconds the next one's will.
fn wake_sockets() -> u32 {
    let now = sync::now();
    let mut wakes = WAKES.lock();
    let due: Vec<_> = wakes.extract_if(.., |(due, _)| *due <= now).collect();
    let next = wakes.iter().map(|(due, _)| *due).min();
    drop(wakes);
    for (_, socket) in due {
        socket.post(Task::Pump);
    }
    next.map_or(sync::FOREVER, |due| {
        u32::try_from(due.saturating_sub(now)).unwrap_or(sync::FOREVER)
    })
}

/// There is a new time to keep.
pub(crate) fn wake_clock() {
    *CLOCK.lock() = true;
    CLOCK_CHANGED.wake_all();
}

/// Completes what the script delayed and wakes sockets, when their time has come.
extern "system" fn keep_time(_context: *mut c_void) -> u32 {
    loop {
        let wait = script::tick().min(wake_sockets());
        let mut changed = CLOCK.lock();
        if !*changed {
            CLOCK_CHANGED.wait(&mut changed, wait);
        }
        *changed = false;
    }
}

extern "system" fn work(index: *mut c_void) -> u32 {
    if let Some(slot) = OWN.lock().get_mut(index.addr()) {
        *slot = sync::thread_id();
    }
    let port = PORT.load(Ordering::Acquire);
    loop {
        let (mut bytes, mut key, mut what) = (0, 0, core::ptr::null_mut());
        // SAFETY: the out parameters are ours. A failed request comes as FALSE with its block.
        unsafe { sys::GetQueuedCompletionStatus(port, &raw mut bytes, &raw mut key, &raw mut what, sys::INFINITE) };
        if what.is_null() {
            continue;
        }
        match key {
            KEY_HOST => {
                // SAFETY: a request's block begins with its overlapped structure, which `HostRequest::start` gave to the host.
                unsafe { HostRequest::finished(what.cast()) };
            }
            KEY_RUN => {
                // SAFETY: `schedule` put it there.
                let socket = unsafe { Arc::from_raw(what.cast::<Socket>().cast_const()) };
                socket.run();
            }
            KEY_JOB => {
                // SAFETY: `run` put it there.
                let job = unsafe { Box::from_raw(what.cast::<Job>()) };
                job();
            }
            _ => {}
        }
    }
}

//! Threads that dispatch requests at the same time, where that is asked for: on Windows every caller's own thread does. `PASSIVE_LEVEL`.

extern crate alloc;

use alloc::collections::VecDeque;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_sys::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_PENDING};

use crate::inside;
use crate::sync::Lock;
use crate::user;

const THREADS: usize = 4;

#[derive(Clone, Copy)]
struct Job {
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
}

// SAFETY: a request on record; whoever takes the job has the IRP.
unsafe impl Send for Job {}

static JOBS: Lock<VecDeque<Job>> = Lock::new(VecDeque::new());
static CHANGES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn work(_: *mut c_void) -> u32 {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        let job = JOBS.lock().pop_front();
        match job {
            Some(job) => {
                // SAFETY: a request on record that nobody else has.
                unsafe { inside::call(job.device, job.irp) };
            }
            None => user::wait_on(&CHANGES, seen, user::INFINITE),
        }
    }
}

/// Has a request dispatched by one of the threads.
pub(crate) fn send(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    if STARTED.swap(1, Ordering::AcqRel) == 0 {
        for _ in 0..THREADS {
            user::start_thread(work, core::ptr::null_mut());
        }
    }
    JOBS.lock().push_back(Job { device, irp });
    CHANGES.fetch_add(1, Ordering::AcqRel);
    user::wake_all(&CHANGES);
    STATUS_PENDING
}

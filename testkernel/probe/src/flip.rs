//! A thread that changes a request's input while the provider works on it: whoever reads it twice sees two values. `PASSIVE_LEVEL`.

use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::probe::CallFlags;

use crate::ke;
use crate::request::Request;
use crate::shared::Shared;

struct Work {
    request: Shared<Request>,
    stop: AtomicU32,
}

/// Flips until dropped.
pub(crate) struct Flipper {
    work: Shared<Work>,
    thread: Option<ke::Thread>,
}

impl Flipper {
    /// Starts when the request asks for it.
    pub(crate) fn start(request: &Shared<Request>) -> Option<Self> {
        if !request.flags().has(CallFlags::FLIP_INPUT) {
            return None;
        }
        let work = Shared::try_new(Work {
            request: request.clone(),
            stop: AtomicU32::new(0),
        })?;
        let thread = ke::Thread::spawn(flip, work.clone())?;
        // The thread is running before the call begins.
        while work.stop.load(Ordering::Acquire) == 0 {
            ke::sleep(1);
        }
        Some(Self {
            work,
            thread: Some(thread),
        })
    }
}

const RUNNING: u32 = 1;
const STOP: u32 = 2;

fn flip(work: &Work) {
    work.stop.store(RUNNING, Ordering::Release);
    let Some((data, length)) = work.request.arguments.input_range() else {
        return;
    };
    while work.stop.load(Ordering::Acquire) == RUNNING {
        for _ in 0..2 {
            for index in 0..length {
                let byte = data.wrapping_add(index);
                // SAFETY: the input lives as long as the request.
                let value = unsafe { byte.read_volatile() };
                // SAFETY: as above; changing it under the provider is the purpose.
                unsafe { byte.write_volatile(!value) };
            }
        }
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.work.stop.store(STOP, Ordering::Release);
        // One that does not end stays counted, so that the driver is not idle.
        let _ = self.thread.take().map(|thread| thread.join(1000));
    }
}

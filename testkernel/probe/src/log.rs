//! The event log of a session: a ring that callbacks write at IRQL <= `DISPATCH_LEVEL` and scripts read.

use probe_protocol::probe::{Event, Events, ReadEvents};
use wdk_rtl::lock::SpinLock;

use crate::ke;

const SLOTS: usize = 256;

struct Ring {
    /// Events ever written; the newest `SLOTS` of them are kept.
    written: u64,
    slots: [Event; SLOTS],
}

/// All bytes zero is an empty log, after [`Self::init`].
pub(crate) struct Log {
    ring: SpinLock<Ring>,
    changed: ke::Event,
}

/// The slot of event number `number`; numbers begin with 0.
fn slot(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0) % SLOTS
}

impl Log {
    pub(crate) fn init(&self) {
        self.changed.init();
    }

    pub(crate) fn write(&self, event: Event) {
        let mut ring = self.ring.lock();
        let number = ring.written;
        if let Some(place) = ring.slots.get_mut(slot(number)) {
            *place = event;
            // The place in the order is taken under the lock, so that the log is sorted by it.
            place.at = ke::next_in_order();
        }
        ring.written = number.saturating_add(1);
        drop(ring);
        self.changed.set();
    }

    /// Events that were overwritten.
    pub(crate) fn lost(&self) -> u64 {
        self.ring.lock().written.saturating_sub(SLOTS as u64)
    }

    /// Hands `take` the events from `request.from` on, waiting for the first; `take` says whether it has room for another.
    /// `PASSIVE_LEVEL`.
    pub(crate) fn read(&self, request: &ReadEvents, mut take: impl FnMut(&Event) -> bool) -> Events {
        let deadline = ke::Deadline::after(request.timeout_ms);
        loop {
            let ring = self.ring.lock();
            if ring.written > request.from {
                let first = request.from.max(ring.written.saturating_sub(SLOTS as u64));
                let mut count = 0_u32;
                for number in first..ring.written {
                    let event = ring.slots.get(slot(number));
                    if count == request.max || !event.is_some_and(&mut take) {
                        break;
                    }
                    count = count.saturating_add(1);
                }
                return Events {
                    first,
                    count,
                    reserved: 0,
                };
            }
            self.changed.clear();
            drop(ring);
            let left = deadline.left();
            if left == 0 || !self.changed.wait(left) {
                return Events {
                    first: request.from,
                    count: 0,
                    reserved: 0,
                };
            }
        }
    }
}

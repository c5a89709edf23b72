//! A chain of free slots: a stack that any processor may push to and pop from at any time.

use crate::sync::{AtomicU64, Ordering};

// | changes 40 | first slot + 1, or 0 | 24 |. The change count keeps a pop that was interrupted for long from taking a head that
// looks the same but is followed by another slot.
const FIRST: u64 = (1 << 24) - 1;
const ONE_CHANGE: u64 = 1 << 24;

pub(super) struct Chain(AtomicU64);

impl Chain {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the first slot off. `link` reads what [`Chain::push`] had stored with a slot; what it reads of a slot that is no
    /// longer on the chain does not matter.
    pub(super) fn pop(&self, link: impl Fn(u32) -> u32) -> Option<u32> {
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            let first = ((head & FIRST) as u32).checked_sub(1)?;
            let new = (head & !FIRST).wrapping_add(ONE_CHANGE) | u64::from(link(first)) & FIRST;
            match self
                .0
                .compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }

    /// Puts a slot, which nobody else uses, first. `store` stores with the slot what follows it.
    pub(super) fn push(&self, slot: u32, store: impl Fn(u32)) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            store((head & FIRST) as u32);
            let new = (head & !FIRST).wrapping_add(ONE_CHANGE) | u64::from(slot).wrapping_add(1) & FIRST;
            match self
                .0
                .compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

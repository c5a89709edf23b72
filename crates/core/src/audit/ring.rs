//! One ring of records of `W` words: overwrites the oldest, never waits, hands out no torn record. Any IRQL.

use crate::{
    memory::{Array, Memory},
    sync::{AtomicU64, Ordering, fence},
};

/// A record's place, with the mark that says what is in it: `2 × laps` when the ring's first `laps` rounds have left a whole
/// record each, one more while the next is being written.
#[repr(C, align(64))]
struct Slot<const W: usize> {
    mark: AtomicU64,
    words: [AtomicU64; W],
}

const _: () = assert!(cfg!(loom) || size_of::<Slot<15>>() == 128);

impl<const W: usize> Slot<W> {
    /// Has its lines brought here to be written: a ring is larger than the caches near the processor, and its next writer would wait.
    #[inline]
    fn will_be_written(&self) {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        // SAFETY: hints, which no address makes a fault. Every processor that Windows 10 runs on has them.
        unsafe {
            core::arch::asm!(
                "prefetchw byte ptr [{slot}]",
                "prefetchw byte ptr [{slot} + 64]",
                slot = in(reg) &raw const *self,
                options(readonly, nostack, preserves_flags)
            );
        }
    }
}

/// # Invariants
/// `slots.len()` is `1 << shift`. A sequence number belongs to the one writer that moved `head` past it, and the slot to that
/// writer from then until it has marked it whole: nobody moves `head` past the next number of that slot before.
pub(super) struct Ring<const W: usize, M: Memory> {
    head: AtomicU64,
    shift: u32,
    slots: Array<Slot<W>, M>,
}

/// What came of reading one sequence number.
enum Read<const W: usize> {
    Whole([u64; W]),
    Overwritten,
    NotYet,
}

impl<const W: usize, M: Memory> Ring<W, M> {
    /// An empty ring of `len` records, a power of two. `None` when it is not, or when there is no memory.
    pub(super) fn new(memory: M, len: usize) -> Option<Self> {
        if !len.is_power_of_two() {
            return None;
        }
        let slot = |_| {
            Some(Slot {
                mark: AtomicU64::new(0),
                words: core::array::from_fn(|_| AtomicU64::new(0)),
            })
        };
        Some(Self {
            head: AtomicU64::new(0),
            shift: len.trailing_zeros(),
            slots: Array::new(memory, len, slot)?,
        })
    }

    /// How many records were written; the sequence number of the next.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The oldest sequence number that may still be read, when `head` is the next to be written.
    pub(super) fn oldest(&self, head: u64) -> u64 {
        head.saturating_sub(1_u64.wrapping_shl(self.shift))
    }

    #[inline]
    fn place(&self, sequence: u64) -> (&Slot<W>, u64) {
        let lap = sequence.wrapping_shr(self.shift);
        let index = sequence ^ lap.wrapping_shl(self.shift);
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
        let index = index as usize;
        // SAFETY: `index` is below `1 << shift`, which is how many slots there are.
        (unsafe { self.slots.get_unchecked(index) }, lap.wrapping_mul(2))
    }

    /// Writes a record over the oldest one, and returns its sequence number. `None` when that one's writer, who began a whole round
    /// ago, has still not finished: then the record is dropped and takes no number.
    #[inline]
    pub(super) fn write(&self, words: &[u64; W]) -> Option<u64> {
        let mut head = self.head.load(Ordering::Relaxed);
        let (slot, mark) = loop {
            let (slot, mark) = self.place(head);
            // Acquire: the former writer's words come before ours. A greater mark means that `head` has moved on, and then the
            // exchange fails.
            if slot.mark.load(Ordering::Acquire) < mark {
                return None;
            }
            let next = head.wrapping_add(1);
            match self
                .head
                .compare_exchange_weak(head, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => break (slot, mark),
                Err(now) => head = now,
            }
        };
        slot.mark.store(mark.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in slot.words.iter().zip(words) {
            cell.store(*word, Ordering::Relaxed);
        }
        slot.mark.store(mark.wrapping_add(2), Ordering::Release);
        self.place(head.wrapping_add(1)).0.will_be_written();
        Some(head)
    }

    fn read(&self, sequence: u64) -> Read<W> {
        let (slot, mark) = self.place(sequence);
        let whole = mark.wrapping_add(2);
        match slot.mark.load(Ordering::Acquire) {
            found if found < whole => return Read::NotYet,
            found if found > whole => return Read::Overwritten,
            _ => {}
        }
        let words = core::array::from_fn(|word| slot.words.get(word).map_or(0, |cell| cell.load(Ordering::Relaxed)));
        fence(Ordering::Acquire);
        if slot.mark.load(Ordering::Relaxed) == whole {
            Read::Whole(words)
        } else {
            Read::Overwritten
        }
    }

    /// Hands records from sequence number `next` on to `put`, in order, for as long as it takes them (`put` says how many it
    /// will take: `room`), and moves `next` behind the last. Returns how many of those passed were overwritten before they
    /// could be read: `next` moves by exactly that and the number of calls of `put`.
    pub(super) fn read_from(&self, next: &mut u64, room: usize, mut put: impl FnMut(u64, [u64; W])) -> u64 {
        let head = self.head();
        let oldest = self.oldest(head).max(*next);
        let mut overwritten = oldest.wrapping_sub(*next);
        *next = oldest;
        let mut left = room;
        while *next < head && left != 0 {
            match self.read(*next) {
                Read::Whole(words) => {
                    put(*next, words);
                    left = left.wrapping_sub(1);
                }
                Read::Overwritten => overwritten = overwritten.wrapping_add(1),
                Read::NotYet => break,
            }
            *next = next.wrapping_add(1);
        }
        overwritten
    }
}

#[cfg(all(test, loom))]
#[path = "../models/ring.rs"]
mod interleavings;

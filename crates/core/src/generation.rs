//! The current generation of something that is replaced whole (the policy), and when the one before may be freed.
//!
//! A reader marks its processor, reads, and unmarks the same mark, wherever it runs by then: no line is written by all. The one
//! who replaces it looks at the marks. At most two generations live: the current one and the one being retired.
//! [`Generations::enter`] and the guard's end: any IRQL, never wait. Publishing and reclaiming: one at a time, under the
//! caller's lock, any IRQL; they never wait either, so a caller who wants the old generation gone asks again later.

use core::{marker::PhantomData, ops::Deref, ptr::NonNull};

use crate::{
    memory::{Memory, PerCpu},
    sync::{AtomicPtr, AtomicUsize, Ordering, total_order},
};

/// Which of the two marks of a processor counts the readers of a generation: generations take turns.
type Turn = usize;

/// How many readers entered on this processor and have not left: of even generations, and of odd ones.
struct Marks([AtomicUsize; 2]);

impl Marks {
    #[inline]
    fn of(&self, turn: Turn) -> &AtomicUsize {
        let [even, odd] = &self.0;
        if turn == 0 { even } else { odd }
    }
}

/// The current generation and the one before.
///
/// # Invariants
/// `current` is null or points to a `T` that lives until `retired` held it and no mark of its turn was left; its lowest bit is
/// the generation's turn. While `retired` is not null, its turn is the other one.
pub struct Generations<T, M: Memory> {
    marks: PerCpu<Marks, M>,
    current: AtomicPtr<T>,
    retired: AtomicPtr<T>,
    shares: PhantomData<T>,
}

/// What became of a retired generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaim<T> {
    /// There is none.
    Nothing,
    /// A decision that began before the swap still reads it.
    InUse,
    /// Nobody reads it or ever will: the caller's again, to free.
    Free(NonNull<T>),
}

impl<T, M: Memory> Generations<T, M> {
    const TURN: usize = {
        assert!(
            align_of::<T>() >= 2,
            "the lowest bit of the pointer is the generation's turn"
        );
        1
    };

    /// No generation yet. `None` when there is no memory for one mark per processor.
    pub fn new(memory: M, cpus: usize) -> Option<Self> {
        Some(Self {
            marks: PerCpu::new(memory, cpus, |_| {
                Some(Marks([AtomicUsize::new(0), AtomicUsize::new(0)]))
            })?,
            current: AtomicPtr::new(core::ptr::null_mut()),
            retired: AtomicPtr::new(core::ptr::null_mut()),
            shares: PhantomData,
        })
    }

    /// Holds the current generation for as long as the guard lives: for the decision, no longer. `None` before the first.
    ///
    /// `cpu` is the processor the caller most likely runs on; it may move while it holds the guard.
    #[inline]
    pub fn enter(&self, cpu: usize) -> Option<Reading<'_, T>> {
        let marks = self.marks.get(cpu);
        let mut seen = self.current.load(Ordering::Relaxed);
        loop {
            if seen.is_null() {
                return None;
            }
            let mark = marks.of(seen.addr() & Self::TURN);
            // Marked first, looked again second; the publisher swaps first and looks at the marks second.
            mark.fetch_add(1, Ordering::SeqCst);
            total_order();
            let now = self.current.load(Ordering::SeqCst);
            if now == seen {
                let value = NonNull::new(now.map_addr(|address| address & !Self::TURN))?;
                // SAFETY: `now` was current after the mark was made, so it is not given back before the mark is gone, which the
                // guard holds. That a new generation may have its old address and turn is no harm: then it is that one.
                let value = unsafe { value.as_ref() };
                return Some(Reading { value, mark });
            }
            // Replaced in between: the mark may stand for the wrong turn.
            mark.fetch_sub(1, Ordering::Release);
            seen = now;
        }
    }

    /// Makes `new` the current generation; the one before is retired, for [`Generations::try_reclaim`].
    ///
    /// # Errors
    /// `new` back, when the generation before the current one is still in use.
    ///
    /// # Safety
    /// `new` is valid for reads until it is given back, and not written meanwhile. One caller at a time, of this function and of
    /// [`Generations::try_reclaim`].
    pub unsafe fn publish(&self, new: NonNull<T>) -> Result<(), NonNull<T>> {
        if !self.retired.load(Ordering::Relaxed).is_null() {
            return Err(new);
        }
        let old = self.current.load(Ordering::Relaxed);
        let turn = !old.addr() & Self::TURN;
        self.current
            .swap(new.as_ptr().map_addr(|address| address | turn), Ordering::SeqCst);
        total_order();
        self.retired.store(old, Ordering::Relaxed);
        Ok(())
    }

    /// The retired generation, once no reader holds it.
    ///
    /// # Safety
    /// One caller at a time, of this function and of [`Generations::publish`].
    pub unsafe fn try_reclaim(&self) -> Reclaim<T> {
        let retired = self.retired.load(Ordering::Relaxed);
        let Some(value) = NonNull::new(retired.map_addr(|address| address & !Self::TURN)) else {
            return Reclaim::Nothing;
        };
        let turn = retired.addr() & Self::TURN;
        // One look at each is enough: since the swap no reader that passes the second look takes a mark of this turn.
        if self
            .marks
            .iter()
            .any(|marks| marks.of(turn).load(Ordering::SeqCst) != 0)
        {
            return Reclaim::InUse;
        }
        self.retired.store(core::ptr::null_mut(), Ordering::Relaxed);
        Reclaim::Free(value)
    }

    /// Takes the current generation out at the end. The retired one has to be reclaimed first.
    pub fn take(&mut self) -> Option<NonNull<T>> {
        let current = self.current.load(Ordering::Relaxed);
        self.current.store(core::ptr::null_mut(), Ordering::Relaxed);
        NonNull::new(current.map_addr(|address| address & !Self::TURN))
    }
}

/// The generation that one decision is made on.
pub struct Reading<'a, T> {
    value: &'a T,
    mark: &'a AtomicUsize,
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Reading<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mark.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::memory::tests::Heap;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    static HEAP: Heap = Heap::new(isize::MAX);

    fn leak(value: u64) -> NonNull<u64> {
        NonNull::from(Box::leak(Box::new(value)))
    }

    fn free(value: NonNull<u64>) -> u64 {
        // SAFETY: leaked by `leak`, given back once.
        *unsafe { Box::from_raw(value.as_ptr()) }
    }

    fn publish(generations: &Generations<u64, &Heap>, new: NonNull<u64>) -> bool {
        // SAFETY: each test has one publisher, and frees a value only when it comes back.
        unsafe { generations.publish(new) }.is_ok()
    }

    /// The retired value, freed; `None` while it is in use, or when there is none.
    fn reclaim(generations: &Generations<u64, &Heap>) -> Option<u64> {
        // SAFETY: as above.
        match unsafe { generations.try_reclaim() } {
            Reclaim::Free(old) => Some(free(old)),
            Reclaim::Nothing | Reclaim::InUse => None,
        }
    }

    #[test]
    fn a_reader_holds_its_generation_and_only_that() {
        let mut generations = Generations::new(&HEAP, 2).unwrap();
        assert!(generations.enter(0).is_none());
        assert!(publish(&generations, leak(1)));
        assert_eq!(reclaim(&generations), None);
        let first = generations.enter(1).unwrap();
        assert!(publish(&generations, leak(2)));
        let second = generations.enter(1).unwrap();
        assert_eq!((*first, *second), (1, 2));
        assert_eq!(reclaim(&generations), None);
        let third = leak(3);
        assert!(!publish(&generations, third), "two generations live");
        drop(first);
        assert_eq!(reclaim(&generations), Some(1));
        assert!(publish(&generations, third));
        assert_eq!(reclaim(&generations), None);
        drop(second);
        assert_eq!(reclaim(&generations), Some(2));
        assert_eq!(free(generations.take().unwrap()), 3);
        assert!(generations.take().is_none());
    }

    #[test]
    fn swaps_under_readers() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let mut generations = Generations::new(&HEAP, 2).unwrap();
        assert!(publish(&generations, leak(0)));
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let (generations, stop, reads) = (&generations, &stop, &reads);
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let value = *generations.enter(cpu).unwrap();
                        assert!(value >= last, "a reader never goes back");
                        last = value;
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 1..=rounds {
                assert!(publish(&generations, leak(round)));
                let old = loop {
                    if let Some(old) = reclaim(&generations) {
                        break old;
                    }
                    std::thread::yield_now();
                };
                assert_eq!(old, round - 1);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(free(generations.take().unwrap()), rounds);
    }
}

#[cfg(all(test, loom))]
#[path = "models/generation.rs"]
mod interleavings;

//! The current generation of something that is replaced whole (the policy), and when the one before may be freed.
//!
//! A reader counts itself in on its processor, reads, and counts itself out, wherever it runs by then: no line is written by all. These
//! counts only grow, so they are statistics too: who comes in is counted by what it comes for, and who leaves may do so by a count of
//! the generation itself ([`Tally`]), such as the hits of the rule that decided. A generation is free once as many have left it as came
//! in. At most two generations live: the current one and the one being retired.
//! Entering and leaving: any IRQL, never wait. Publishing and reclaiming: one at a time, under the caller's lock, any IRQL; they never
//! wait either, so a caller who wants the old generation gone asks again later.

use core::{marker::PhantomData, mem::ManuallyDrop, ops::Deref, ptr::NonNull};

use crate::{
    memory::{Memory, PerCpu},
    sync::{AtomicPtr, AtomicU64, Ordering, total_order},
};

/// Generations take turns: each has its own counts of those who came and left.
type Turn = usize;

/// Who came in on this processor, and who left by its door.
struct Door<const KINDS: usize> {
    /// By what they came for.
    came: [AtomicU64; KINDS],
    /// For a look only, or again, since the generation was replaced meanwhile.
    looked: AtomicU64,
    left: AtomicU64,
}

impl<const KINDS: usize> Door<KINDS> {
    fn new() -> Self {
        Self {
            came: core::array::from_fn(|_| AtomicU64::new(0)),
            looked: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }
}

/// The doors of both turns.
struct Doors<const KINDS: usize>([Door<KINDS>; 2]);

impl<const KINDS: usize> Doors<KINDS> {
    #[inline]
    fn of(&self, turn: Turn) -> &Door<KINDS> {
        let [even, odd] = &self.0;
        if turn == 0 { even } else { odd }
    }
}

/// Something whose readers may leave by counts of its own.
///
/// # Safety
/// [`Tally::counted`] is the sum of counts of this very value that nothing but [`Reading::end`] adds to, loaded with `Acquire`.
pub unsafe trait Tally {
    /// How many readings have ended by one of the counts.
    fn counted(&self) -> u64;
}

/// A count by which a reader may leave.
#[derive(Clone, Copy)]
pub struct Exit<'a>(&'a AtomicU64);

impl<'a> Exit<'a> {
    pub(crate) fn by(count: &'a AtomicU64) -> Self {
        Self(count)
    }

    #[inline]
    pub(crate) fn count(self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// The current generation and the one before, and how many came to read for each of `KINDS` purposes.
///
/// # Invariants
/// `current` is null or points to a `T` that lives until `retired` held it and as many had left in its turn as came; its lowest bit
/// is the generation's turn. While `retired` is not null, its turn is the other one. `settled` is, by turn, what the tallies of the
/// generations that were given back had counted.
pub struct Generations<T, M: Memory, const KINDS: usize> {
    doors: PerCpu<Doors<KINDS>, M>,
    current: AtomicPtr<T>,
    retired: AtomicPtr<T>,
    settled: [AtomicU64; 2],
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

impl<T: Tally, M: Memory, const KINDS: usize> Generations<T, M, KINDS> {
    const TURN: usize = {
        assert!(
            align_of::<T>() >= 2,
            "the lowest bit of the pointer is the generation's turn"
        );
        1
    };

    /// No generation yet. `None` when there is no memory for the counts of each processor.
    pub fn new(memory: M, cpus: usize) -> Option<Self> {
        Some(Self {
            doors: PerCpu::new(memory, cpus, |_| Some(Doors([Door::new(), Door::new()])))?,
            current: AtomicPtr::new(core::ptr::null_mut()),
            retired: AtomicPtr::new(core::ptr::null_mut()),
            settled: [AtomicU64::new(0), AtomicU64::new(0)],
            shares: PhantomData,
        })
    }

    /// Counts one more that comes for `kind` (below `KINDS`; others are not told apart), and holds the current generation for as long
    /// as the guard lives: for the decision, no longer. `None` before the first generation.
    ///
    /// `cpu` is the processor the caller most likely runs on; it may move while it holds the guard.
    #[inline]
    pub fn begin(&self, cpu: usize, kind: usize) -> Option<Reading<'_, T>> {
        self.enter(cpu, |door| door.came.get(kind).unwrap_or(&door.looked))
    }

    /// As [`Self::begin`], for a look that is not counted.
    #[inline]
    pub fn look(&self, cpu: usize) -> Option<Reading<'_, T>> {
        self.enter(cpu, |door| &door.looked)
    }

    /// How many came for `kind`.
    pub fn begun(&self, kind: usize) -> u64 {
        let doors = self.doors.iter().flat_map(|Doors(doors)| doors);
        sum(doors.filter_map(|door| door.came.get(kind)), Ordering::Relaxed)
    }

    #[inline]
    fn enter(&self, cpu: usize, count: impl FnOnce(&Door<KINDS>) -> &AtomicU64) -> Option<Reading<'_, T>> {
        let doors = self.doors.get(cpu);
        let seen = self.current.load(Ordering::Relaxed);
        let door = doors.of(seen.addr() & Self::TURN);
        // Counted first, looked again second; the publisher swaps first and looks at the counts second.
        count(door).fetch_add(1, Ordering::SeqCst);
        total_order();
        let now = self.current.load(Ordering::SeqCst);
        match NonNull::new(now.map_addr(|address| address & !Self::TURN)) {
            Some(value) if now == seen => Some(Reading {
                // It was current after the reader was counted in, so it is not given back before the reader is counted out, which
                // the guard does. That a new generation may have its old address and turn is no harm: then it is that one.
                value,
                left: &door.left,
            }),
            _ => self.enter_again(doors, door, now),
        }
    }

    /// Counted in for `door`, and found `found`: the generation was replaced in between, so the turn may be the wrong one; or there is
    /// none yet.
    #[cold]
    #[inline(never)]
    fn enter_again<'a>(
        &'a self,
        doors: &'a Doors<KINDS>,
        mut door: &'a Door<KINDS>,
        found: *mut T,
    ) -> Option<Reading<'a, T>> {
        let mut seen = found;
        loop {
            door.left.fetch_add(1, Ordering::Release);
            if seen.is_null() {
                return None;
            }
            door = doors.of(seen.addr() & Self::TURN);
            door.looked.fetch_add(1, Ordering::SeqCst);
            total_order();
            let now = self.current.load(Ordering::SeqCst);
            if now == seen {
                let value = NonNull::new(now.map_addr(|address| address & !Self::TURN))?;
                return Some(Reading {
                    // As in `enter`.
                    value,
                    left: &door.left,
                });
            }
            seen = now;
        }
    }

    /// Makes `new` the current generation; the one before is retired, for [`Generations::try_reclaim`].
    ///
    /// # Errors
    /// `new` back, when the generation before the current one is still in use.
    ///
    /// # Safety
    /// `new` is valid for reads until it is given back, not written meanwhile, and its tally has counted nothing. One caller at a
    /// time, of this function and of [`Generations::try_reclaim`].
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
        // SAFETY: it has not been given back.
        let counted = unsafe { value.as_ref() }.counted();
        let [even, odd] = &self.settled;
        let settled = if turn == 0 { even } else { odd };
        let before = settled.load(Ordering::Relaxed).wrapping_add(counted);
        // Those who left are counted before those who came: whoever is seen to have left is seen to have come, so equal sums mean
        // that all who came in time have left. Since the swap nobody who comes in this turn stays.
        let left = sum(self.doors.iter().map(|doors| &doors.of(turn).left), Ordering::Acquire).wrapping_add(before);
        if left != self.came(turn) {
            return Reclaim::InUse;
        }
        settled.store(before, Ordering::Relaxed);
        self.retired.store(core::ptr::null_mut(), Ordering::Relaxed);
        Reclaim::Free(value)
    }

    /// Everybody who came in one of the turns.
    fn came(&self, turn: Turn) -> u64 {
        let doors = self.doors.iter().map(|doors| doors.of(turn));
        let counts = doors.flat_map(|door| door.came.iter().chain([&door.looked]));
        sum(counts, Ordering::SeqCst)
    }

    /// Takes the current generation out at the end. The retired one has to be reclaimed first.
    pub fn take(&mut self) -> Option<NonNull<T>> {
        let current = self.current.load(Ordering::Relaxed);
        self.current.store(core::ptr::null_mut(), Ordering::Relaxed);
        NonNull::new(current.map_addr(|address| address & !Self::TURN))
    }
}

/// The sum of what is only ever added to.
fn sum<'a>(counts: impl Iterator<Item = &'a AtomicU64>, order: Ordering) -> u64 {
    counts.fold(0, |sum, count| sum.wrapping_add(count.load(order)))
}

/// The generation that one decision is made on.
///
/// # Invariants
/// `value` is valid until the reading is counted out. It is no reference, which would have to be valid a little longer: until the function
/// that counts has returned.
pub struct Reading<'a, T> {
    value: NonNull<T>,
    left: &'a AtomicU64,
}

impl<T: Tally> Reading<'_, T> {
    /// The decision is made: leaves by one of the generation's own counts. `None`: as if dropped.
    #[inline]
    pub fn end(self, by: impl FnOnce(&T) -> Option<Exit<'_>>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: by the invariant.
        match by(unsafe { this.value.as_ref() }) {
            Some(exit) => exit.count(),
            None => drop(ManuallyDrop::into_inner(this)),
        }
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: by the invariant.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Reading<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.left.fetch_add(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::memory::tests::Heap;
    use std::sync::atomic::AtomicBool;

    static HEAP: Heap = Heap::new(isize::MAX);

    /// What the readers of the tests come for.
    const KIND: usize = 0;

    /// A number, and a count of its own.
    struct Numbered(u64, AtomicU64);

    // SAFETY: only exits of `Numbered::exit` count there.
    unsafe impl Tally for Numbered {
        fn counted(&self) -> u64 {
            self.1.load(Ordering::Acquire)
        }
    }

    impl Numbered {
        fn exit(&self) -> Exit<'_> {
            Exit::by(&self.1)
        }
    }

    type Numbers = Generations<Numbered, &'static Heap, 1>;

    fn leak(value: u64) -> NonNull<Numbered> {
        NonNull::from(Box::leak(Box::new(Numbered(value, AtomicU64::new(0)))))
    }

    fn free(value: NonNull<Numbered>) -> u64 {
        // SAFETY: leaked by `leak`, given back once.
        unsafe { Box::from_raw(value.as_ptr()) }.0
    }

    fn publish(generations: &Numbers, new: NonNull<Numbered>) -> bool {
        // SAFETY: each test has one publisher, and frees a value only when it comes back.
        unsafe { generations.publish(new) }.is_ok()
    }

    /// The retired value, freed; `None` while it is in use, or when there is none.
    fn reclaim(generations: &Numbers) -> Option<u64> {
        // SAFETY: as above.
        match unsafe { generations.try_reclaim() } {
            Reclaim::Free(old) => Some(free(old)),
            Reclaim::Nothing | Reclaim::InUse => None,
        }
    }

    #[test]
    fn a_reader_holds_its_generation_and_only_that() {
        let mut generations = Numbers::new(&HEAP, 2).unwrap();
        assert!(generations.look(0).is_none());
        assert!(publish(&generations, leak(1)));
        assert_eq!(reclaim(&generations), None);
        let first = generations.look(1).unwrap();
        assert!(publish(&generations, leak(2)));
        let second = generations.look(1).unwrap();
        assert_eq!((first.0, second.0), (1, 2));
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
    fn who_comes_is_counted_by_what_for() {
        let mut generations = Generations::<Numbered, _, 2>::new(&HEAP, 2).unwrap();
        assert!(generations.begin(0, 1).is_none());
        // SAFETY: the only publisher.
        assert!(unsafe { generations.publish(leak(1)) }.is_ok());
        for (cpu, kind) in [(0, 0), (1, 1), (9, 1), (0, 2)] {
            generations.begin(cpu, kind).unwrap().end(|number| Some(number.exit()));
        }
        drop(generations.look(1));
        assert_eq!([0, 1, 2].map(|kind| generations.begun(kind)), [1, 3, 0]);
        let counted = generations.look(0).unwrap().counted();
        assert_eq!((counted, free(generations.take().unwrap())), (4, 1));
    }

    /// Readings that ended by a generation's own count stay ended when its turn comes again.
    #[test]
    fn tallies_of_former_generations_are_kept() {
        let mut generations = Numbers::new(&HEAP, 1).unwrap();
        for number in 1..=5 {
            assert!(publish(&generations, leak(number)));
            assert_eq!(reclaim(&generations), (number > 1).then(|| number - 1));
            for _ in 0..number {
                generations.begin(0, KIND).unwrap().end(|number| Some(number.exit()));
            }
            let reading = generations.begin(0, KIND).unwrap();
            assert!(publish(&generations, leak(100)));
            assert_eq!(reclaim(&generations), None);
            reading.end(|_| None);
            assert_eq!(reclaim(&generations), Some(number));
            assert!(publish(&generations, leak(number)));
            assert_eq!(reclaim(&generations), Some(100));
        }
        assert_eq!(free(generations.take().unwrap()), 5);
    }

    #[test]
    fn swaps_under_readers() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let mut generations = Numbers::new(&HEAP, 2).unwrap();
        assert!(publish(&generations, leak(0)));
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let (generations, stop, reads) = (&generations, &stop, &reads);
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let reading = generations.begin(cpu, KIND).unwrap();
                        let value = reading.0;
                        if value % 3 == 0 {
                            drop(reading);
                        } else {
                            reading.end(|number| Some(number.exit()));
                        }
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
        assert_eq!(generations.begun(KIND), reads.into_inner());
        assert_eq!(free(generations.take().unwrap()), rounds);
    }
}

#[cfg(all(test, loom))]
#[path = "models/generation.rs"]
mod interleavings;

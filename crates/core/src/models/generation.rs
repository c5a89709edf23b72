//! Every interleaving of readers and a publisher: nothing is freed while it is read, and a reader sees one generation.

use super::*;
use crate::memory::tests::Heap;
use loom::{cell::UnsafeCell, sync::Arc, thread};

static HEAP: Heap = Heap::new(isize::MAX);

/// A generation that is one number in two places. Freeing it is a write, which loom does not let race with a read.
#[repr(align(8))]
struct Policy {
    number: u64,
    halves: [UnsafeCell<u64>; 2],
    hits: AtomicU64,
}

// SAFETY: only exits of `Policy::exit` count there.
unsafe impl Tally for Policy {
    fn counted(&self) -> u64 {
        self.hits.load(Ordering::Acquire)
    }
}

type Policies = Generations<Policy, &'static Heap, 1>;

impl Policy {
    fn leak(number: u64) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            number,
            halves: [UnsafeCell::new(number), UnsafeCell::new(number)],
            hits: AtomicU64::new(0),
        })))
    }

    fn check(&self) -> u64 {
        for half in &self.halves {
            // SAFETY: loom checks that nobody writes meanwhile.
            half.with(|half| assert_eq!(unsafe { *half }, self.number, "read after it was freed"));
        }
        self.number
    }

    fn exit(&self) -> Exit<'_> {
        Exit::by(&self.hits)
    }

    fn free(policy: NonNull<Self>) -> u64 {
        // SAFETY: leaked, and kept to the end of the process, so that the model and not the allocator finds a mistake.
        let policy = unsafe { policy.as_ref() };
        for half in &policy.halves {
            // SAFETY: loom checks that nobody reads meanwhile.
            half.with_mut(|half| unsafe { *half = u64::MAX });
        }
        policy.number
    }
}

fn publish(generations: &Policies, number: u64) -> bool {
    // SAFETY: one publisher per model; nothing is really freed.
    unsafe { generations.publish(Policy::leak(number)) }.is_ok()
}

fn reclaim(generations: &Policies) -> Option<u64> {
    // SAFETY: as above.
    match unsafe { generations.try_reclaim() } {
        Reclaim::Free(old) => Some(Policy::free(old)),
        Reclaim::Nothing | Reclaim::InUse => None,
    }
}

/// `readers` threads that read twice each, while `swaps` generations are published as soon as the one before is free.
fn swaps_under_readers(readers: usize, swaps: u64) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let generations = Arc::new(Policies::new(&HEAP, 2).unwrap());
        assert!(publish(&generations, 1));
        let readers: Vec<_> = (0..readers)
            .map(|cpu| {
                let generations = generations.clone();
                thread::spawn(move || {
                    let first = generations.begin(cpu, 0).unwrap();
                    let number = first.check();
                    first.end(|policy| Some(policy.exit()));
                    let second = generations.look(cpu).unwrap();
                    assert!(second.check() >= number, "went back");
                    assert_eq!(second.check(), second.check());
                })
            })
            .collect();
        let mut freed = 0;
        let mut published = 1;
        for _ in 0..swaps {
            published += u64::from(publish(&generations, published + 1));
            if let Some(old) = reclaim(&generations) {
                freed += 1;
                assert_eq!(old, freed, "in order");
            }
            assert!(published - freed <= 2, "two generations live at most");
        }
        for reader in readers {
            reader.join().unwrap();
        }
        freed += u64::from(reclaim(&generations).is_some());
        assert_eq!(freed, published - 1);
        assert_eq!(generations.look(0).unwrap().check(), published);
    });
}

#[test]
fn one_swap_under_two_readers() {
    swaps_under_readers(2, 1);
}

#[test]
fn three_swaps_under_one_reader() {
    swaps_under_readers(1, 3);
}

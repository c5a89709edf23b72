//! Every interleaving of look-ups, removals, insertions and walks: a record is released once, after its last reader.

use super::*;
use crate::memory::tests::Heap;
use loom::{cell::UnsafeCell, sync::Arc, thread};

/// A record whose release is a write, which loom does not let race with a reader.
struct Endpoint(UnsafeCell<u32>);

// SAFETY: loom checks the accesses.
unsafe impl Sync for Endpoint {}

impl Endpoint {
    fn leak() -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self(UnsafeCell::new(0)))))
    }

    /// How often it was released.
    fn released(&self) -> u32 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.0.with(|released| unsafe { *released })
    }
}

// SAFETY: records are leaked, so that the model and not the allocator finds a mistake.
unsafe impl Record for Endpoint {
    unsafe fn release(record: NonNull<Self>) {
        // SAFETY: leaked.
        let record = unsafe { record.as_ref() };
        // SAFETY: loom checks that nobody reads or releases meanwhile.
        record.0.with_mut(|released| unsafe { *released += 1 });
    }
}

type Model = Table<Endpoint, &'static Heap>;

fn table(cpus: usize, limit: u32) -> Arc<Model> {
    Arc::new(Model::new(Box::leak(Box::new(Heap::new(isize::MAX))), cpus, limit).unwrap())
}

/// Blocks that a table has out: directory, chains and segments.
fn blocks(table: &Model) -> isize {
    table.memory.live.load(Ordering::Relaxed)
}

fn insert(table: &Model, cpu: usize) -> (EndpointId, NonNull<Endpoint>) {
    let record = Endpoint::leak();
    // SAFETY: leaked.
    (unsafe { table.insert(cpu, record) }.unwrap(), record)
}

fn released(record: NonNull<Endpoint>) -> u32 {
    // SAFETY: leaked.
    unsafe { record.as_ref() }.released()
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn readers_and_two_removers() {
    check(|| {
        let table = table(1, 4);
        let (id, record) = insert(&table, 0);
        let remover = thread::spawn({
            let table = table.clone();
            move || table.remove(0, id)
        });
        let reader = thread::spawn({
            let table = table.clone();
            move || table.get(id).is_none_or(|pinned| pinned.released() == 0)
        });
        let here = table.get(id).is_none_or(|pinned| pinned.released() == 0);
        let removed = table.remove(0, id);
        assert!(here && reader.join().unwrap());
        assert!(removed != remover.join().unwrap(), "removed once");
        assert_eq!(released(record), 1);
        assert!(table.get(id).is_none());
        drop(table);
        assert_eq!(released(record), 1);
    });
}

#[test]
fn a_slot_that_is_used_again() {
    check(|| {
        let table = table(1, 1);
        let (old, record) = insert(&table, 0);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                table
                    .get(old)
                    .is_none_or(|pinned| pinned.released() == 0 && pinned.id() == old)
            }
        });
        assert!(table.remove(0, old));
        let again = Endpoint::leak();
        // SAFETY: leaked. The slot is not free while the reader has it pinned.
        if let Some(new) = unsafe { table.insert(0, again) } {
            assert!(new != old && table.get(old).is_none());
            assert_eq!(table.get(new).map(|pinned| pinned.record()), Some(again));
        }
        assert!(reader.join().unwrap());
        assert_eq!(released(record), 1);
    });
}

/// Two processors on one chain, popping and pushing: no slot is handed out twice.
#[test]
fn two_processors_take_and_free_slots() {
    check(|| {
        let table = table(1, 3);
        let first = insert(&table, 0);
        let second = insert(&table, 0);
        table.remove(0, first.0);
        let other = thread::spawn({
            let table = table.clone();
            move || {
                let (id, record) = insert(&table, 0);
                assert!(table.remove(0, id));
                assert_eq!(released(record), 1);
                id
            }
        });
        table.remove(0, second.0);
        let (third, fourth) = (insert(&table, 0), insert(&table, 0));
        let id = other.join().unwrap();
        let ids = [first.0, second.0, third.0, fourth.0, id];
        assert!(
            (0..5).all(|i| (0..i).all(|j| ids[i] != ids[j])),
            "an id came twice: {ids:?}"
        );
        assert_eq!(table.get(third.0).unwrap().record(), third.1);
        assert_eq!(table.get(fourth.0).unwrap().record(), fourth.1);
    });
}

/// Two processors open the same segment at once, and one of them frees the segment that it allocated in vain.
#[test]
fn two_processors_open_a_segment() {
    check(|| {
        let table = table(2, 4);
        let other = thread::spawn({
            let table = table.clone();
            move || insert(&table, 1)
        });
        let here = insert(&table, 0);
        let there = other.join().unwrap();
        assert_ne!(here.0, there.0);
        assert_eq!(blocks(&table), 3);
        assert_eq!(table.get(here.0).unwrap().record(), here.1);
        assert_eq!(table.get(there.0).unwrap().record(), there.1);
    });
}

#[test]
fn a_walk_under_change() {
    check(|| {
        let table = table(1, 4);
        let (going, _) = insert(&table, 0);
        let (resident, record) = insert(&table, 0);
        let other = thread::spawn({
            let table = table.clone();
            move || {
                table.remove(0, going);
                insert(&table, 0).0
            }
        });
        let mut walk = table.walk();
        let mut seen = Vec::new();
        while let Some(pinned) = table.next(&mut walk) {
            assert_eq!(pinned.released(), 0);
            assert!(!seen.contains(&pinned.id()));
            seen.push(pinned.id());
        }
        assert!(seen.contains(&resident));
        let came = other.join().unwrap();
        assert!(seen.iter().all(|id| [going, resident, came].contains(id)));
        assert_eq!(released(record), 0);
    });
}

/// A pop that is interrupted while the head goes and comes back with another successor.
#[test]
fn a_chain_whose_head_comes_back() {
    check(|| {
        let chain = Arc::new((Chain::new(), [0, 1, 2].map(|_| AtomicU32::new(0))));
        let push = |chain: &(Chain, [AtomicU32; 3]), slot: u32| {
            chain
                .0
                .push(slot, |next| chain.1[slot as usize].store(next, Ordering::Relaxed));
        };
        let pop = |chain: &(Chain, [AtomicU32; 3])| chain.0.pop(|slot| chain.1[slot as usize].load(Ordering::Relaxed));
        (0..3).rev().for_each(|slot| push(&chain, slot));
        let other = thread::spawn({
            let chain = chain.clone();
            move || pop(&chain)
        });
        let (first, second) = (pop(&chain).unwrap(), pop(&chain).unwrap());
        push(&chain, first);
        let mut out = vec![second, other.join().unwrap().unwrap()];
        out.extend(std::iter::from_fn(|| pop(&chain)));
        out.sort_unstable();
        assert_eq!(out, [0, 1, 2]);
    });
}

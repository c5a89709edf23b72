//! What runs per request never allocates: neither from the core's [`Memory`], nor, on the host, from anything else.
#![cfg(not(loom))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr::NonNull,
};

use wskguard_core::{
    audit::{AuditRecord, Budget, Kind, Limit, ReadResult, Rings, Suppressed},
    cancel::{Duty, Handshake, Irps},
    counters::{Counter, Counters, RuleHits},
    generation::{Generations, Reclaim},
    memory::Memory,
    policy::RuleRef,
    table::{Record, Table},
};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy)]
struct Heap;

// SAFETY: the host's allocator, asked for zeroed memory of the given layout.
unsafe impl Memory for Heap {
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0 by contract.
        NonNull::new(unsafe { std::alloc::alloc_zeroed(Layout::from_size_align(bytes, align).ok()?) })
    }

    unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: the layout it was allocated with.
        unsafe { std::alloc::dealloc(block.as_ptr(), Layout::from_size_align(bytes, align).unwrap()) }
    }
}

struct Endpoint(u64);

// SAFETY: the test's record outlives its table; the release means nothing.
unsafe impl Record for Endpoint {
    unsafe fn release(_: NonNull<Self>) {}
}

/// A client's IRP that nobody cancels.
struct Uncancelled;

impl Irps for Uncancelled {
    fn install(&self) {}

    fn take_back(&self) -> bool {
        true
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn cancel_ours(&self) {}
}

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counting_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn requests_do_not_allocate() {
    let endpoint = Endpoint(7);
    let record = NonNull::from(&endpoint);
    let table = Table::<Endpoint, _>::new(Heap, 2, 1000).unwrap();
    let rings = Rings::new(Heap, 2, 8).unwrap();
    let counters = Counters::new(Heap, 2).unwrap();
    let hits = [1, 2].map(|_| RuleHits::new(Heap, 2, 3).unwrap());
    let generations = Generations::<RuleHits<Heap>, _, 1>::new(Heap, 2).unwrap();
    let values = [NonNull::from(&hits[0]), NonNull::from(&hits[1])];
    let mut cursor = rings.from_oldest(Heap).unwrap();
    let mut out = [AuditRecord::new(Kind::State, 0); 16];
    let budget = Budget::default();
    // The first endpoint of a segment allocates it.
    // SAFETY: the record outlives the table.
    let first = unsafe { table.insert(0, record) }.unwrap();

    let count = allocations(|| {
        for (cpu, value) in values.into_iter().enumerate() {
            // SAFETY: as above.
            let id = unsafe { table.insert(cpu, record) }.unwrap();
            let pinned = table.get(id).unwrap();
            assert!(table.remove(cpu, id));
            assert_eq!(pinned.0, 7);
            drop(pinned);
            let mut walk = table.walk();
            assert_eq!(table.next(&mut walk).map(|pinned| pinned.id()), Some(first));
            assert!(table.next(&mut walk).is_none());

            assert!(budget.take(5, Limit { burst: 2, interval: 1 }));
            (0..10).for_each(|time| assert!(rings.write(cpu, &AuditRecord::new(Kind::Decision, time)).is_some()));
            rings.suppress(cpu, Suppressed::NotWanted);

            counters.count(cpu, Counter::Sets);

            // SAFETY: the values live as long as the generations; the only publisher.
            assert!(unsafe { generations.publish(value) }.is_ok());
            let reading = generations.begin(cpu, 0).unwrap();
            reading.end(|hits| hits.exit(cpu, RuleRef(1)));
            // SAFETY: as above.
            assert!(!matches!(unsafe { generations.try_reclaim() }, Reclaim::InUse));

            let handshake = Handshake::new(true);
            assert_eq!(handshake.returned(false, &Uncancelled), Duty::Nothing);
            assert_eq!(handshake.completed(&Uncancelled), Duty::End);
        }
        assert_eq!(
            rings.read(&mut cursor, &mut out),
            ReadResult {
                read: 16,
                overwritten: 4
            }
        );
        assert_eq!(rings.books().decided(), 22);
        assert_eq!(
            (
                counters.sum(Counter::Sets),
                hits.each_ref().map(|hits| hits.sum(Some(1)))
            ),
            (2, [1, 1])
        );
    });
    assert_eq!(count, 0);
}

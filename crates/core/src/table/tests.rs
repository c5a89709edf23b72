use super::*;
use crate::memory::tests::Heap;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64 as Count},
};

static HEAP: Heap = Heap::new(isize::MAX);

/// A record that knows whether it was released, and is never freed by the table.
struct Endpoint {
    number: u64,
    released: Count,
}

impl Endpoint {
    fn leak(number: u64) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            number,
            released: Count::new(0),
        })))
    }

    fn reclaim(this: NonNull<Self>) -> u64 {
        // SAFETY: leaked by `leak`, reclaimed once.
        unsafe { Box::from_raw(this.as_ptr()) }.released.into_inner()
    }

    fn released(this: NonNull<Self>) -> u64 {
        // SAFETY: not reclaimed yet.
        unsafe { this.as_ref() }.released.load(Ordering::Relaxed)
    }
}

// SAFETY: tests reclaim a record only after its release.
unsafe impl Record for Endpoint {
    unsafe fn release(record: NonNull<Self>) {
        // SAFETY: valid until reclaimed.
        unsafe { record.as_ref() }.released.fetch_add(1, Ordering::Relaxed);
    }
}

/// Records of several threads. Made before the table, it sees in the end that each was released once.
#[derive(Default)]
struct Records(Mutex<Vec<AtomicPtr<Endpoint>>>);

impl Records {
    fn make(&self, number: u64) -> NonNull<Endpoint> {
        let record = Endpoint::leak(number);
        self.0.lock().unwrap().push(AtomicPtr::new(record.as_ptr()));
        record
    }

    fn all_released_once(self) {
        for record in self.0.into_inner().unwrap() {
            assert_eq!(Endpoint::reclaim(NonNull::new(record.into_inner()).unwrap()), 1);
        }
    }
}

type TestTable<'a> = Table<Endpoint, &'a Heap>;

fn insert(table: &TestTable, cpu: usize, record: NonNull<Endpoint>) -> Option<EndpointId> {
    // SAFETY: leaked, reclaimed after the release.
    unsafe { table.insert(cpu, record) }
}

#[test]
fn found_until_removed_and_never_under_another_id() {
    let table = TestTable::new(&HEAP, 2, 100).unwrap();
    let record = Endpoint::leak(7);
    let id = insert(&table, 0, record).unwrap();
    assert_ne!(id.0, 0);
    assert_eq!(table.get(id).unwrap().number, 7);
    assert!(!table.remove(0, EndpointId(id.0 + ONE_USE)));
    assert!(table.get(EndpointId(id.0 + 1)).is_none());
    assert!(table.get(EndpointId(0)).is_none());
    assert!(table.get(EndpointId(u64::MAX)).is_none());
    assert!(table.get(EndpointId(id.0 | LIVE)).is_none() || id.0 & INDEX == id.0 & INDEX | LIVE);
    assert!(table.remove(1, id));
    assert!(table.get(id).is_none());
    assert!(!table.remove(1, id));
    let other = Endpoint::leak(8);
    let again = insert(&table, 1, other).unwrap();
    assert_eq!(again.0 & INDEX, id.0 & INDEX, "the slot is used again");
    assert_ne!(again, id);
    assert!(table.get(id).is_none());
    drop(table);
    assert_eq!((Endpoint::reclaim(record), Endpoint::reclaim(other)), (1, 1));
}

#[test]
fn the_last_reader_releases() {
    let table = TestTable::new(&HEAP, 1, 100).unwrap();
    let record = Endpoint::leak(7);
    let id = insert(&table, 0, record).unwrap();
    let (first, second) = (table.get(id).unwrap(), table.get(id).unwrap());
    assert!(table.remove(0, id));
    assert!(!table.remove(0, id));
    assert!(table.get(id).is_none());
    assert!(table.next(&mut table.walk()).is_none());
    drop(first);
    assert_eq!(Endpoint::released(record), 0);
    assert_eq!(second.number, 7);
    drop(second);
    assert_eq!(Endpoint::reclaim(record), 1);
}

#[test]
fn bounded_by_its_limit_and_by_memory() {
    let records: Vec<_> = (0..200).map(Endpoint::leak).collect();
    let heap = Heap::new(isize::MAX);
    let table = TestTable::new(&heap, 3, 130).unwrap();
    let ids: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(i, &record)| insert(&table, i % 3, record))
        .collect();
    let listed: HashSet<_> = ids.iter().flatten().copied().collect();
    assert_eq!(listed.len(), 130);
    assert_eq!(table.unlisted(), 70);
    // A slot freed by one processor serves another.
    table.remove(2, ids[0].unwrap());
    let late = Endpoint::leak(1000);
    assert!(insert(&table, 1, late).is_some());
    drop(table);
    assert_eq!(Endpoint::reclaim(late), 1);
    assert_eq!(heap.live.load(Ordering::Relaxed), 0);
    for (&record, id) in records.iter().zip(&ids) {
        assert_eq!(Endpoint::reclaim(record), u64::from(id.is_some()));
    }

    let tight = Heap::new(2);
    let table = TestTable::new(&tight, 1, 100).unwrap();
    let record = Endpoint::leak(0);
    assert!(insert(&table, 0, record).is_none());
    assert_eq!((table.unlisted(), Endpoint::reclaim(record)), (1, 0));
    assert!(TestTable::new(&HEAP, 1, 0).is_none());
    assert!(TestTable::new(&HEAP, 1, MAX_ENDPOINTS + 1).is_none());
    assert!(TestTable::new(&HEAP, 0, 1).is_none());
    assert!(TestTable::new(&Heap::new(1), 1, 1).is_none());
}

#[test]
fn a_slot_whose_uses_ran_out_is_retired() {
    let table = TestTable::new(&HEAP, 1, 1).unwrap();
    let record = Endpoint::leak(0);
    let id = insert(&table, 0, record).unwrap();
    table.remove(0, id);
    let last = !INDEX;
    table.slot(0).unwrap().word.store(last, Ordering::Relaxed);
    let id = insert(&table, 0, record).unwrap();
    assert_eq!(id.0, last);
    assert_eq!(table.get(id).unwrap().number, 0);
    assert!(table.remove(0, id));
    assert!(table.get(id).is_none());
    assert!(insert(&table, 0, record).is_none());
    assert!(table.next(&mut table.walk()).is_none());
    assert_eq!(Endpoint::reclaim(record), 2);
}

#[test]
fn segments_come_when_needed_and_never_move() {
    let count = if cfg!(miri) { 10 } else { 3 * u64::from(SEGMENT) };
    let heap = Heap::new(isize::MAX);
    let table = TestTable::new(&heap, 2, MAX_ENDPOINTS).unwrap();
    assert_eq!(heap.live.load(Ordering::Relaxed), 2);
    let ids: Vec<_> = (0..count)
        .map(|n| insert(&table, 0, Endpoint::leak(n)).unwrap())
        .collect();
    assert_eq!(
        heap.live.load(Ordering::Relaxed),
        2 + isize::try_from(count.div_ceil(u64::from(SEGMENT))).unwrap()
    );
    let mut walk = table.walk();
    let mut seen = HashSet::new();
    while let Some(pinned) = table.next(&mut walk) {
        assert!(seen.insert(pinned.id()));
        assert_eq!(table.get(pinned.id()).unwrap().number, pinned.number);
    }
    assert_eq!(seen, ids.iter().copied().collect());
    for id in ids {
        let record = table.get(id).unwrap().record();
        table.remove(1, id);
        assert_eq!(Endpoint::reclaim(record), 1);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize),
    Remove(usize, usize),
    Pin(usize),
    Unpin(usize),
    Get(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3usize).prop_map(Step::Insert),
        2 => (0..3usize, any::<usize>()).prop_map(|(cpu, which)| Step::Remove(cpu, which)),
        1 => any::<usize>().prop_map(Step::Pin),
        1 => any::<usize>().prop_map(Step::Unpin),
        2 => any::<usize>().prop_map(Step::Get),
    ];
    prop::collection::vec(step, 0..if cfg!(miri) { 20 } else { 300 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a map, with a limit that is reached: what is listed is found, what is not is not, and a record is released once,
    /// when it is neither listed nor pinned.
    #[test]
    fn behaves_as_a_map(steps in steps()) {
        const LIMIT: u32 = 40;
        let heap = Heap::new(isize::MAX);
        let table = TestTable::new(&heap, 3, LIMIT).unwrap();
        let mut model: HashMap<EndpointId, NonNull<Endpoint>> = HashMap::new();
        let mut every: Vec<EndpointId> = Vec::new();
        let mut records: Vec<NonNull<Endpoint>> = Vec::new();
        let mut pins: Vec<Pinned<'_, Endpoint, &Heap>> = Vec::new();
        let pick = |every: &Vec<EndpointId>, which: usize| every.get(which % every.len().max(1)).copied();
        for step in steps {
            match step {
                Step::Insert(cpu) => {
                    let record = Endpoint::leak(records.len() as u64);
                    records.push(record);
                    let held: HashSet<_> = model.keys().copied().chain(pins.iter().map(Pinned::id)).map(|id| id.0 & INDEX).collect();
                    let id = insert(&table, cpu, record);
                    prop_assert_eq!(id.is_some(), held.len() < LIMIT as usize);
                    if let Some(id) = id {
                        prop_assert!(!every.contains(&id), "an id came twice");
                        every.push(id);
                        model.insert(id, record);
                    }
                }
                Step::Remove(cpu, which) => if let Some(id) = pick(&every, which) {
                    let record = model.remove(&id);
                    prop_assert_eq!(table.remove(cpu, id), record.is_some());
                    if let Some(record) = record {
                        let pinned = pins.iter().any(|pin| pin.id() == id);
                        prop_assert_eq!(Endpoint::released(record), u64::from(!pinned));
                    }
                },
                Step::Pin(which) => if let Some(id) = pick(&every, which) {
                    pins.extend(table.get(id));
                },
                Step::Unpin(which) => if !pins.is_empty() {
                    let pin = pins.swap_remove(which % pins.len());
                    let (id, record) = (pin.id(), pin.record());
                    prop_assert_eq!(Endpoint::released(record), 0);
                    drop(pin);
                    let held = model.contains_key(&id) || pins.iter().any(|pin| pin.id() == id);
                    prop_assert_eq!(Endpoint::released(record), u64::from(!held));
                },
                Step::Get(which) => if let Some(id) = pick(&every, which) {
                    prop_assert_eq!(table.get(id).map(|pin| pin.record()), model.get(&id).copied());
                },
            }
            let mut walk = table.walk();
            let mut seen = HashMap::new();
            while let Some(pin) = table.next(&mut walk) {
                prop_assert!(seen.insert(pin.id(), pin.record()).is_none());
            }
            prop_assert_eq!(&seen, &model);
        }
        drop(pins);
        let listed = every.len() as u64;
        drop(table);
        prop_assert_eq!(heap.live.load(Ordering::Relaxed), 0);
        prop_assert_eq!(records.into_iter().map(Endpoint::reclaim).sum::<u64>(), listed);
    }
}

/// Two processors create and remove while two others look up and walk: what lives throughout is in every walk once.
#[test]
fn walks_and_look_ups_under_change() {
    let rounds = if cfg!(miri) { 10 } else { 20_000 };
    let records = Records::default();
    let table = TestTable::new(&HEAP, 2, 1000).unwrap();
    let residents: Vec<_> = (0..10).map(|n| insert(&table, 0, records.make(n)).unwrap()).collect();
    let stop = AtomicBool::new(false);
    let latest = Count::new(0);
    std::thread::scope(|scope| {
        let changers: Vec<_> = (0..2)
            .map(|cpu| {
                let (table, latest, records) = (&table, &latest, &records);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let ids = [0, 1, 2].map(|_| insert(table, cpu, records.make(1000 + round)).unwrap());
                        latest.store(ids[1].0, Ordering::Relaxed);
                        assert!(ids.into_iter().all(|id| table.remove(cpu, id)));
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let (table, stop, latest, residents) = (&table, &stop, &latest, &residents);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(pin) = table.get(EndpointId(latest.load(Ordering::Relaxed))) {
                        assert_eq!(pin.released.load(Ordering::Relaxed), 0);
                    }
                    let mut walk = table.walk();
                    let mut seen = HashSet::new();
                    while let Some(pin) = table.next(&mut walk) {
                        assert_eq!(pin.released.load(Ordering::Relaxed), 0);
                        assert!(seen.insert(pin.id()));
                    }
                    assert!(residents.iter().all(|id| seen.contains(id)));
                }
            });
        }
        for changer in changers {
            changer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(table);
    records.all_released_once();
}

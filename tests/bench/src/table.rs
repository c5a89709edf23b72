//! The endpoint table: look-up, insert and remove, and the snapshot.

use std::{hint::black_box, ptr::NonNull};

use wskguard_core::table::{MAX_ENDPOINTS, Table};

use crate::{
    harness::{Contender, Race, Random, Row},
    index::{Counted, Endpoint, Heap, Index, Ours, Sharded},
};

type Papaya = Counted<papaya::HashMap<u64, usize, hashbrown::DefaultHashBuilder>>;
type Scc = Counted<scc::HashMap<u64, usize, hashbrown::DefaultHashBuilder>>;
type DashMap = Counted<dashmap::DashMap<u64, usize, hashbrown::DefaultHashBuilder>>;
type Slab = sharded_slab::Slab<usize>;

/// An index with `endpoints` records, and its ids in an order that tells the processor nothing.
struct Filled<I> {
    index: I,
    ids: Vec<u64>,
}

impl<I: Index> Filled<I> {
    fn new(endpoints: usize) -> Self {
        let index = I::new(endpoints * 2);
        let mut ids: Vec<_> = (0..endpoints).map(|number| index.insert(0, (number + 1) * 8)).collect();
        Random(42).shuffle(&mut ids);
        Self { index, ids }
    }

    /// Looks every id up, in as many passes as make `least` look-ups, shared between `threads`.
    fn look_up(&self, least: usize, threads: usize) -> usize {
        let passes = least.div_ceil(self.ids.len());
        let work = |ids: &[u64]| {
            for _ in 0..passes {
                for &id in ids {
                    assert_ne!(black_box(self.index.get(id)), 0);
                }
            }
        };
        std::thread::scope(|scope| {
            let mut parts = self.ids.chunks(self.ids.len().div_ceil(threads));
            let own = parts.next().unwrap_or_default();
            parts.for_each(|part| drop(scope.spawn(|| work(part))));
            work(own);
        });
        passes * self.ids.len()
    }

    /// Inserts a record and removes another, `many` times per thread.
    fn replace(&mut self, many: usize, threads: usize) -> usize {
        let index = &self.index;
        let work = |cpu: usize, ids: &mut [u64]| {
            let mut random = Random(7);
            for _ in 0..many {
                let which = random.below(ids.len());
                let new = index.insert(cpu, 8);
                index.remove(cpu, std::mem::replace(&mut ids[which], new));
            }
        };
        std::thread::scope(|scope| {
            let size = self.ids.len().div_ceil(threads);
            let mut parts = self.ids.chunks_mut(size).enumerate();
            let (_, own) = parts.next().unwrap_or_default();
            parts.for_each(|(cpu, part)| drop(scope.spawn(move || work(cpu, part))));
            work(0, own);
        });
        many * threads
    }
}

fn look_ups(rounds: usize, endpoints: usize, threads: usize, rows: &mut Vec<Row>) {
    fn contender<I: Index + 'static>(endpoints: usize, threads: usize) -> Contender<'static> {
        let filled = Filled::<I>::new(endpoints);
        Contender::new(I::NAME, move || filled.look_up(1_000_000, threads))
    }
    let race = Race::run(
        rounds,
        vec![
            contender::<Ours>(endpoints, threads),
            contender::<Slab>(endpoints, threads),
            contender::<Papaya>(endpoints, threads),
            contender::<Scc>(endpoints, threads),
            contender::<DashMap>(endpoints, threads),
            contender::<Counted<Sharded>>(endpoints, threads),
        ],
    );
    let what = format!("lookup/{}/{threads}t", short(endpoints));
    rows.extend(race.rows(&what));
    let (slab, best_map) = (race.ratio(1), race.ratio_to_best(2..6));
    rows.push(ratio(format!("{what}/vs-sharded-slab"), slab, 1.0, endpoints));
    rows.push(ratio(format!("{what}/vs-best-map"), best_map, 2.0, endpoints));
}

fn replacements(rounds: usize, endpoints: usize, threads: usize, rows: &mut Vec<Row>) {
    fn contender<I: Index + 'static>(endpoints: usize, threads: usize) -> Contender<'static> {
        let mut filled = Filled::<I>::new(endpoints);
        Contender::new(I::NAME, move || filled.replace(500_000, threads))
    }
    let race = Race::run(
        rounds,
        vec![
            contender::<Ours>(endpoints, threads),
            contender::<Slab>(endpoints, threads),
            contender::<Papaya>(endpoints, threads),
            contender::<Scc>(endpoints, threads),
            contender::<DashMap>(endpoints, threads),
            contender::<Counted<Sharded>>(endpoints, threads),
        ],
    );
    let what = format!("insert+remove/{}/{threads}t", short(endpoints));
    rows.extend(race.rows(&what));
    rows.push(ratio(
        format!("{what}/vs-best-peer"),
        race.ratio_to_best(1..6),
        1.0,
        endpoints,
    ));
}

/// Walks a full table: copying ids and addresses, and copying ids and a part of each record.
fn snapshot(rounds: usize, endpoints: usize, rows: &mut Vec<Row>) {
    let records: Vec<_> = (0..endpoints).map(|number| Endpoint([number as u64; 16])).collect();
    let table: Ours = Table::new(Heap, 2, MAX_ENDPOINTS).expect("memory");
    for record in &records {
        // SAFETY: the records outlive the table, and releasing them does nothing.
        unsafe { table.insert(0, NonNull::from(record)) }.expect("room");
    }
    let mut entries = vec![(0_u64, 0_u64); endpoints];
    let mut copies = vec![(0_u64, [0_u64; 8]); endpoints];
    let race = Race::run(
        rounds,
        vec![
            Contender::new("id+address", || {
                let mut walk = table.walk();
                for (count, entry) in entries.iter_mut().enumerate() {
                    let Some(pinned) = table.next(&mut walk) else {
                        return count;
                    };
                    *entry = (pinned.id().0, pinned.record().addr().get() as u64);
                }
                black_box(entries.len())
            }),
            Contender::new("id+64-bytes", || {
                let mut walk = table.walk();
                for (count, copy) in copies.iter_mut().enumerate() {
                    let Some(pinned) = table.next(&mut walk) else {
                        return count;
                    };
                    *copy = (pinned.id().0, *pinned.0.first_chunk().expect("16 words"));
                }
                black_box(copies.len())
            }),
        ],
    );
    let what = format!("snapshot/{}", short(endpoints));
    let per_second = |which| 1e3 / race.nanoseconds(which);
    rows.push(Row::at_least(format!("{what}/id+address"), per_second(0), "M/s", 20.0));
    rows.push(Row::at_least(format!("{what}/id+64-bytes"), per_second(1), "M/s", 20.0));
}

pub(crate) fn run(rounds: usize, rows: &mut Vec<Row>) {
    for endpoints in [1_000, 100_000, 1_000_000] {
        for threads in [1, 2] {
            look_ups(rounds, endpoints, threads, rows);
        }
        for threads in [1, 2] {
            replacements(rounds, endpoints, threads, rows);
        }
    }
    snapshot(rounds, 1_000_000, rows);
}

/// A ratio, with its target where one is set: at a million endpoints.
fn ratio(name: String, value: f64, target: f64, endpoints: usize) -> Row {
    if endpoints == 1_000_000 {
        Row::at_least(name, value, "x", target)
    } else {
        Row::info(name, value, "x")
    }
}

fn short(endpoints: usize) -> String {
    if endpoints < 1_000_000 {
        format!("{}k", endpoints / 1_000)
    } else {
        format!("{}M", endpoints / 1_000_000)
    }
}

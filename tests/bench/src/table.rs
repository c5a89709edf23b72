//! The endpoint table: look-up, insert and remove, and the snapshot.

use std::{hint::black_box, ptr::NonNull};

use wskguard_core::table::{MAX_ENDPOINTS, Table};

use crate::{
    harness::{Contender, Dose, Race, Random, Row},
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
    turn: usize,
}

impl<I: Index> Filled<I> {
    fn new(endpoints: usize) -> Self {
        let index = I::new(endpoints * 2);
        let mut ids: Vec<_> = (0..endpoints).map(|number| index.insert(0, (number + 1) * 8)).collect();
        Random(42).shuffle(&mut ids);
        Self { index, ids, turn: 0 }
    }

    /// Does `work` with the index, the number of the processor, its share of the ids and a number that is another each time.
    fn share(&mut self, threads: usize, work: impl Fn(&I, usize, &mut [u64], usize) + Sync) {
        self.turn += 1;
        let (index, turn) = (&self.index, self.turn);
        if threads == 1 {
            return work(index, 0, &mut self.ids, turn);
        }
        let size = self.ids.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for (cpu, ids) in self.ids.chunks_mut(size).enumerate() {
                let work = &work;
                scope.spawn(move || work(index, cpu, ids, turn));
            }
        });
    }

    /// Looks `many` ids up on each thread, going on where the last time ended.
    fn look_up(&mut self, many: usize, threads: usize) -> usize {
        self.share(threads, |index, _, ids, turn| {
            let (before, from) = ids.split_at(turn * many % ids.len());
            for &id in from.iter().chain(before).cycle().take(many) {
                assert_ne!(black_box(index.get(id)), 0);
            }
        });
        many * threads
    }

    /// Inserts a record and removes another, `many` times on each thread.
    fn replace(&mut self, many: usize, threads: usize) -> usize {
        self.share(threads, |index, cpu, ids, turn| {
            let mut random = Random(turn as u64);
            for _ in 0..many {
                let which = random.below(ids.len());
                let new = index.insert(cpu, 8);
                index.remove(cpu, std::mem::replace(&mut ids[which], new));
            }
        });
        many * threads
    }
}

/// How much of which size: for one thread a pass over a million ids that does not count, then short runs; for more, long runs, in
/// which starting the threads does not count.
fn dose(rounds: usize, threads: usize, many: usize) -> (Dose, usize) {
    if threads == 1 {
        (
            Dose {
                rounds,
                warm: 1_000_000 / many,
                timed: 41,
            },
            many,
        )
    } else {
        (
            Dose {
                rounds,
                warm: 1,
                timed: 3,
            },
            300_000,
        )
    }
}

fn contender<I: Index + 'static>(
    endpoints: usize,
    threads: usize,
    mut run: impl FnMut(&mut Filled<I>) -> usize + 'static,
) -> Contender<'static> {
    let mut filled = Filled::<I>::new(endpoints);
    Contender::on(threads, I::NAME, move || run(&mut filled))
}

fn look_ups(rounds: usize, endpoints: usize, threads: usize, rows: &mut Vec<Row>) {
    let (dose, many) = dose(rounds, threads, 5_000);
    let race = Race::run(
        dose,
        vec![
            contender::<Ours>(endpoints, threads, move |filled| filled.look_up(many, threads)),
            contender::<Slab>(endpoints, threads, move |filled| filled.look_up(many, threads)),
            contender::<Papaya>(endpoints, threads, move |filled| filled.look_up(many, threads)),
            contender::<Scc>(endpoints, threads, move |filled| filled.look_up(many, threads)),
            contender::<DashMap>(endpoints, threads, move |filled| filled.look_up(many, threads)),
            contender::<Counted<Sharded>>(endpoints, threads, move |filled| filled.look_up(many, threads)),
        ],
    );
    let what = format!("lookup/{}/{threads}t", short(endpoints));
    rows.extend(race.rows(&what));
    let target = |least| (endpoints == 1_000_000 && threads == 1).then_some(least);
    rows.push(Row::ratio(
        format!("{what}/vs-sharded-slab"),
        race.ratio(1),
        target(1.0),
    ));
    rows.push(Row::ratio(
        format!("{what}/vs-best-map"),
        race.ratio_to_best(2..6),
        target(2.0),
    ));
}

fn replacements(rounds: usize, endpoints: usize, threads: usize, rows: &mut Vec<Row>) {
    let (dose, many) = dose(rounds, threads, 1_000);
    let race = Race::run(
        dose,
        vec![
            contender::<Ours>(endpoints, threads, move |filled| filled.replace(many, threads)),
            contender::<Slab>(endpoints, threads, move |filled| filled.replace(many, threads)),
            contender::<Papaya>(endpoints, threads, move |filled| filled.replace(many, threads)),
            contender::<Scc>(endpoints, threads, move |filled| filled.replace(many, threads)),
            contender::<DashMap>(endpoints, threads, move |filled| filled.replace(many, threads)),
            contender::<Counted<Sharded>>(endpoints, threads, move |filled| filled.replace(many, threads)),
        ],
    );
    let what = format!("insert+remove/{}/{threads}t", short(endpoints));
    rows.extend(race.rows(&what));
    let target = (endpoints == 1_000_000 && threads == 1).then_some(1.0);
    rows.push(Row::ratio(
        format!("{what}/vs-best-peer"),
        race.ratio_to_best(1..6),
        target,
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
        Dose {
            rounds,
            warm: 1,
            timed: 5,
        },
        vec![
            Contender::alone("id+address", || {
                let mut walk = table.walk();
                for (count, entry) in entries.iter_mut().enumerate() {
                    let Some(pinned) = table.next(&mut walk) else {
                        return count;
                    };
                    *entry = (pinned.id().0, pinned.record().addr().get() as u64);
                }
                black_box(entries.len())
            }),
            Contender::alone("id+64-bytes", || {
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
    rows.push(Row::info(format!("{what}/id+64-bytes"), per_second(1), "M/s"));
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

fn short(endpoints: usize) -> String {
    if endpoints < 1_000_000 {
        format!("{}k", endpoints / 1_000)
    } else {
        format!("{}M", endpoints / 1_000_000)
    }
}

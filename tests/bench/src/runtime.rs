//! The audit ring against a queue, and what a request pays for generations, counters and budgets.

use std::{
    hint::black_box,
    ptr::NonNull,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use wskguard_core::{
    audit::{AuditRecord, Budget, Kind, Limit, Rings},
    counters::{Counter, Counters, RuleHits},
    generation::Generations,
    policy::RuleRef,
};

use crate::{
    harness::{Contender, Dose, Race, Row},
    index::{Endpoint, Heap},
};

const RECORDS: usize = 4096;
/// Writes per round and thread: short rounds, most of which nothing interrupts.
const WRITES: usize = 2 * RECORDS;

fn dose(rounds: usize) -> Dose {
    Dose {
        rounds,
        warm: 3,
        timed: 21,
    }
}

fn record(number: usize) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Decision, number as u64);
    record.endpoint = number as u64;
    record
}

/// Does `work` with numbers from 0 on `threads` at once.
fn share(threads: usize, work: impl Fn(usize) + Sync) -> usize {
    if threads == 1 {
        (0..WRITES).for_each(&work);
        return WRITES;
    }
    // Long enough for the start of the threads not to count.
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..WRITES * 20).for_each(&work));
        }
    });
    WRITES * 20 * threads
}

/// The same records into one ring and into one queue, both over the oldest ones; and, by one thread, into a queue with room.
fn writes(rounds: usize, threads: usize, rows: &mut Vec<Row>) {
    let rings = Rings::new(Heap, 1, RECORDS).expect("memory");
    let (full, roomy) = (ArrayQueue::new(RECORDS), ArrayQueue::new(RECORDS));
    let mut contenders = vec![
        Contender::on(threads, "wskguard", || {
            share(threads, |number| {
                black_box(rings.write(0, black_box(&record(number))));
            })
        }),
        Contender::on(threads, "arrayqueue-overwriting", || {
            share(threads, |number| {
                black_box(full.force_push(black_box(record(number))));
            })
        }),
    ];
    if threads == 1 {
        contenders.push(Contender::timed("arrayqueue-with-room", || {
            let mut time = Duration::ZERO;
            for _ in 0..WRITES / RECORDS {
                let start = Instant::now();
                for number in 0..RECORDS {
                    let _ = black_box(roomy.push(black_box(record(number))));
                }
                time += start.elapsed();
                while black_box(roomy.pop()).is_some() {}
            }
            (WRITES, time)
        }));
    }
    let peers = 1..contenders.len();
    let race = Race::run(dose(rounds), contenders);
    let what = format!("audit-write/{threads}t");
    rows.extend(race.rows(&what));
    rows.push(Row::at_least(
        format!("{what}/vs-best-arrayqueue"),
        race.ratio_to_best(peers),
        "x",
        1.0,
    ));
}

/// Reading the records of a full ring.
fn reads(rounds: usize, rows: &mut Vec<Row>) {
    let rings = Rings::new(Heap, 1, RECORDS).expect("memory");
    assert!((0..RECORDS).all(|number| rings.write(0, &record(number)).is_some()));
    let mut out = vec![record(0); RECORDS];
    let race = Race::run(
        dose(rounds),
        vec![Contender::alone("read", || {
            let mut cursor = rings.from_oldest(Heap).expect("memory");
            rings.read(&mut cursor, black_box(&mut out)).read
        })],
    );
    rows.extend(race.rows("audit"));
}

/// What every request pays.
fn per_request(rounds: usize, rows: &mut Vec<Row>) {
    let value = RuleHits::new(Heap, 2, 1).expect("memory");
    let generations = Generations::<RuleHits<Heap>, _, 1>::new(Heap, 2).expect("memory");
    // SAFETY: the value outlives the generations; the only publisher.
    assert!(unsafe { generations.publish(NonNull::from(&value)) }.is_ok());
    let swap = ArcSwap::new(Arc::new(Endpoint([1; 16])));
    let counters = Counters::new(Heap, 2).expect("memory");
    let limit = Limit {
        burst: 10,
        interval: 10,
    };
    let (budget, exhausted, mut clock) = (Budget::default(), Budget::default(), 0);
    let race = Race::run(
        dose(rounds),
        vec![
            Contender::alone("generation-enter-leave", || {
                share(1, |_| {
                    let reading = generations.begin(black_box(0), 0).expect("published");
                    reading.end(|hits| hits.exit(0, black_box(RuleRef::DEFAULT)));
                })
            }),
            Contender::alone("arc-swap-load", || {
                share(1, |_| {
                    black_box(swap.load().0[3]);
                })
            }),
            Contender::alone("count", || share(1, |_| counters.count(black_box(1), Counter::Sets))),
            Contender::alone("budget-taken", || {
                for _ in 0..WRITES {
                    clock += limit.interval;
                    assert!(budget.take(black_box(clock), limit));
                }
                WRITES
            }),
            Contender::alone("budget-exhausted", || {
                share(1, |_| {
                    black_box(exhausted.take(black_box(0), limit));
                })
            }),
        ],
    );
    rows.extend(race.rows("per-request"));
}

pub(crate) fn run(rounds: usize, rows: &mut Vec<Row>) {
    writes(rounds, 1, rows);
    writes(rounds, 2, rows);
    reads(rounds, rows);
    per_request(rounds, rows);
}

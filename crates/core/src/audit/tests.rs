use super::*;
use crate::memory::tests::Heap;
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

static HEAP: Heap = Heap::new(isize::MAX);

type TestRings<'a> = Rings<&'a Heap>;

/// A record all of whose fields follow from a number, so that a torn one shows.
fn numbered(number: u64) -> AuditRecord {
    let mut words = [number.wrapping_mul(0x9E37_79B9_7F4A_7C15); WORDS];
    words[0] = 0;
    words[1] = number;
    let mut record: AuditRecord = zerocopy::transmute!(words);
    record.cpu = 0;
    record
}

fn blank() -> AuditRecord {
    AuditRecord::new(Kind::Decision, 0)
}

fn check(record: &AuditRecord) -> u64 {
    assert_eq!(
        *record,
        AuditRecord {
            sequence: record.sequence,
            cpu: record.cpu,
            ..numbered(record.time)
        }
    );
    record.time
}

#[test]
fn every_reader_sees_every_record_in_order() {
    let rings = TestRings::new(&HEAP, 2, 8).unwrap();
    let mut early = rings.from_now(&HEAP).unwrap();
    for number in 0..6 {
        assert!(rings.write((number % 2) as usize, &numbered(number)).is_some());
    }
    let mut late = rings.from_now(&HEAP).unwrap();
    let mut oldest = rings.from_oldest(&HEAP).unwrap();
    assert_eq!(
        (rings.waiting(&early), rings.waiting(&late), rings.waiting(&oldest)),
        (6, 0, 6)
    );
    for cursor in [&mut early, &mut oldest] {
        let mut out = [blank(); 10];
        assert_eq!(
            rings.read(cursor, &mut out),
            ReadResult {
                read: 6,
                overwritten: 0
            }
        );
        let mut order: Vec<_> = out[..6].iter().map(|r| (check(r), r.cpu, r.sequence)).collect();
        assert!(out[6..].iter().all(|rest| *rest == blank()));
        order.sort_unstable();
        assert_eq!(order, (0..6).map(|n| (n, (n % 2) as u16, n / 2)).collect::<Vec<_>>());
        assert_eq!(cursor.position(), 6);
    }
    assert_eq!(rings.read(&mut late, &mut [blank()]), ReadResult::default());
}

#[test]
fn a_small_output_takes_turns_between_processors() {
    let rings = TestRings::new(&HEAP, 3, 16).unwrap();
    let mut cursor = rings.from_oldest(&HEAP).unwrap();
    for number in 0..30_u8 {
        rings.write(usize::from(number % 3), &numbered(u64::from(number)));
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let mut out = [blank()];
        assert_eq!(rings.read(&mut cursor, &mut out).read, 1);
        seen.insert(out[0].cpu);
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(rings.read(&mut cursor, &mut []), ReadResult::default());
}

#[test]
fn the_writers_books_balance() {
    let rings = TestRings::new(&HEAP, 2, 4).unwrap();
    (0..10).for_each(|number| assert!(rings.write(0, &numbered(number)).is_some()));
    rings.suppress(1, Suppressed::EndpointBudget);
    rings.suppress(0, Suppressed::EndpointBudget);
    rings.suppress(1, Suppressed::ClientBudget);
    rings.suppress(99, Suppressed::NotWanted);
    assert_eq!(
        rings.books(),
        Books {
            written: 10,
            suppressed: [2, 1, 1],
            dropped_busy: 0
        }
    );
    assert_eq!(rings.books().decided(), 14);
}

#[test]
fn a_ring_is_a_power_of_two_long_and_needs_memory() {
    for records in [0, 3, 12] {
        assert!(TestRings::new(&HEAP, 1, records).is_none());
    }
    let heap = Heap::new(2);
    assert!(TestRings::new(&heap, 2, 4).is_none());
    assert_eq!(heap.live.load(Ordering::Relaxed), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written and read in whichever order: each record is read once by each reader or counted as overwritten, those
    /// read are the latest, and nothing is read out of order.
    #[test]
    fn a_reader_accounts_for_everything(
        steps in prop::collection::vec((0..4usize, 0..12usize), 0..if cfg!(miri) { 12 } else { 120 }), shift in 0..4u32
    ) {
        let records = 1_usize << shift;
        let rings = TestRings::new(&HEAP, 2, records).unwrap();
        let mut cursors = [rings.from_oldest(&HEAP).unwrap(), rings.from_now(&HEAP).unwrap()];
        let mut written = [0_u64; 2];
        let mut next = [[0_u64; 2]; 2];
        let mut lost = [0_u64; 2];
        for (what, many) in steps {
            if let Some(count) = written.get_mut(what) {
                for _ in 0..many {
                    prop_assert!(rings.write(what, &numbered(*count * 2 + what as u64)).is_some());
                    *count += 1;
                }
                continue;
            }
            let reader = what - 2;
            let before = cursors[reader].position();
            let mut out = vec![blank(); many];
            let result = rings.read(&mut cursors[reader], &mut out);
            prop_assert_eq!(cursors[reader].position() - before, result.read as u64 + result.overwritten);
            lost[reader] += result.overwritten;
            for record in &out[..result.read] {
                let cpu = usize::from(record.cpu);
                prop_assert_eq!(check(record), record.sequence * 2 + cpu as u64);
                prop_assert!(record.sequence >= next[reader][cpu]);
                prop_assert!(record.sequence + records as u64 >= written[cpu]);
                next[reader][cpu] = record.sequence + 1;
            }
            if result.read < many {
                prop_assert_eq!(rings.waiting(&cursors[reader]), 0);
            }
        }
        prop_assert_eq!(rings.books().written, written.iter().sum::<u64>());
    }
}

/// Unequal processors, rings that have gone round: what is kept is what has the greatest times.
#[test]
fn the_newest_of_all_processors_are_found_without_a_cursor() {
    let rings = TestRings::new(&HEAP, 3, 8).unwrap();
    let mut out = [blank(); 6];
    assert_eq!(rings.newest(&mut out), 0);
    for number in 1..=4 {
        rings.write(2, &numbered(number));
    }
    assert_eq!(rings.newest(&mut out), 4);
    for number in 5..=60 {
        rings.write(usize::from(number % 7 == 0), &numbered(number));
    }
    assert_eq!(rings.newest(&mut out), 6);
    let mut times = out.iter().map(check).collect::<Vec<_>>();
    times.sort_unstable();
    assert_eq!(times, [55, 56, 57, 58, 59, 60]);
    assert_eq!(rings.newest(&mut []), 0);
}

/// Four writers on two rings that are far too short, two readers: no torn record, and the books balance.
#[test]
fn writers_and_readers_at_once() {
    let rounds = if cfg!(miri) { 40 } else { 100_000 };
    let rings = TestRings::new(&HEAP, 2, 8).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let rings = &rings;
                scope.spawn(move || {
                    let numbers = (0..rounds).map(|round| round * 4 + writer);
                    numbers
                        .filter(|number| rings.write((number % 2) as usize, &numbered(*number)).is_some())
                        .count() as u64
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (rings, stop) = (&rings, &stop);
                scope.spawn(move || {
                    let mut cursor = rings.from_oldest(&HEAP).unwrap();
                    let start = cursor.position();
                    let (mut sum, mut last) = (0, [None; 2]);
                    loop {
                        let stopped = stop.load(Ordering::Acquire);
                        let mut out = [blank(); 5];
                        let result = rings.read(&mut cursor, &mut out);
                        for record in &out[..result.read] {
                            check(record);
                            let last = &mut last[usize::from(record.cpu)];
                            assert!(last.is_none_or(|last| last < record.sequence));
                            *last = Some(record.sequence);
                        }
                        sum += result.read as u64 + result.overwritten;
                        if stopped && result == ReadResult::default() {
                            return (cursor.position() - start, sum, cursor.position());
                        }
                    }
                })
            })
            .collect();
        let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        stop.store(true, Ordering::Release);
        let books = rings.books();
        assert_eq!(
            books,
            Books {
                written,
                suppressed: [0; 3],
                dropped_busy: rounds * 4 - written
            }
        );
        for reader in readers {
            let (moved, accounted, end) = reader.join().unwrap();
            assert_eq!(moved, accounted);
            assert_eq!(end, written);
        }
    });
}

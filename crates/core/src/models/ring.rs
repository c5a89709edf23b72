//! Every interleaving of writers that meet in one slot and of a reader: no torn record, none lost uncounted.

use super::*;
use crate::memory::tests::Heap;
use loom::{sync::Arc, thread};

static HEAP: Heap = Heap::new(isize::MAX);

fn race(len: usize, writers: &'static [&'static [u64]], reads: usize, preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let ring = Arc::new(Ring::<2, _>::new(&HEAP, len).unwrap());
        let threads: Vec<_> = writers
            .iter()
            .map(|numbers| {
                let ring = ring.clone();
                thread::spawn(move || {
                    numbers
                        .iter()
                        .filter(|&&number| ring.write(&[number, !number]).is_some())
                        .count() as u64
                })
            })
            .collect();
        let mut next = 0;
        let mut seen = Vec::new();
        let mut read = |next: &mut u64| {
            let (before, had) = (*next, seen.len());
            let overwritten = ring.read_from(next, 4, |_, [one, other]| {
                assert_eq!(one, !other, "torn");
                assert!(!seen.contains(&one), "read twice");
                seen.push(one);
            });
            assert_eq!(*next - before, (seen.len() - had) as u64 + overwritten);
        };
        for _ in 0..reads {
            read(&mut next);
        }
        let written: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(ring.head(), written);
        read(&mut next);
        assert_eq!(next, written);
    });
}

#[test]
fn two_writers_in_one_slot() {
    race(1, &[&[1], &[2]], 1, 3);
}

#[test]
fn a_writer_that_laps_the_reader() {
    race(1, &[&[1, 2, 3]], 2, 3);
    race(2, &[&[1, 2, 3]], 2, 3);
}

#[test]
fn two_writers_that_lap_each_other() {
    race(2, &[&[1, 2], &[3, 4]], 1, 2);
}

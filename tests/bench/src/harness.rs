//! Measures contenders in turn, so that whatever else the machine does meets them all, and compares them round by round.
//!
//! What one thread does is measured in its own processor time, which other programs on the machine do not add to; what several
//! threads do together in the time that passes, except where a function says otherwise.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// One line of the result.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What was measured; stable, for scripts.
    pub(crate) name: String,
    /// The median over all rounds.
    pub(crate) value: f64,
    /// `ns`, `M/s`, `bytes`, `times` (as much as), or `x`: how many times as fast as the peer.
    pub(crate) unit: &'static str,
    /// The value that is good enough, where there is one: the least (`x`, `M/s`), or the most (`ns`, `times`, `bytes`).
    pub(crate) target: Option<f64>,
    /// Whether it was reached.
    pub(crate) met: Option<bool>,
}

impl Row {
    pub(crate) fn info(name: String, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            target: None,
            met: None,
        }
    }

    /// A ratio, with the least one that is good enough where there is one.
    pub(crate) fn ratio(name: String, value: f64, target: Option<f64>) -> Self {
        Self {
            name,
            value,
            unit: "x",
            target,
            met: target.map(|least| value >= least),
        }
    }

    pub(crate) fn at_most(name: String, value: f64, unit: &'static str, target: f64) -> Self {
        Self {
            name,
            value,
            unit,
            target: Some(target),
            met: Some(value <= target),
        }
    }

    pub(crate) fn at_least(name: String, value: f64, unit: &'static str, target: f64) -> Self {
        Self {
            name,
            value,
            unit,
            target: Some(target),
            met: Some(value >= target),
        }
    }
}

/// Something that can be done a number of times.
pub(crate) struct Contender<'a> {
    name: &'static str,
    /// Does it, and says how many times and how long it took.
    run: Box<dyn FnMut() -> (usize, Duration) + 'a>,
}

impl<'a> Contender<'a> {
    /// One whose `run` stays on its thread, and returns how many times it did the thing.
    pub(crate) fn alone(name: &'static str, mut run: impl FnMut() -> usize + 'a) -> Self {
        Self::timed(name, move || {
            let start = thread_time();
            let operations = run();
            (operations, thread_time().saturating_sub(start))
        })
    }

    /// As [`Self::alone`] for one thread, [`Self::together`] for more.
    pub(crate) fn on(threads: usize, name: &'static str, run: impl FnMut() -> usize + 'a) -> Self {
        if threads == 1 {
            Self::alone(name, run)
        } else {
            Self::together(name, run)
        }
    }

    /// One whose `run` uses several threads, and returns how many times they did the thing.
    pub(crate) fn together(name: &'static str, mut run: impl FnMut() -> usize + 'a) -> Self {
        Self::timed(name, move || {
            let start = Instant::now();
            let operations = run();
            (operations, start.elapsed())
        })
    }

    /// One that knows itself how long it took.
    pub(crate) fn timed(name: &'static str, run: impl FnMut() -> (usize, Duration) + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// Nanoseconds per operation in one turn.
    fn turn(&mut self, dose: Dose) -> f64 {
        for _ in 0..dose.warm {
            (self.run)();
        }
        let time = |(operations, time): (usize, Duration)| time.as_secs_f64() * 1e9 / operations as f64;
        median((0..dose.timed).map(|_| time((self.run)())).collect())
    }
}

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    // Both parts are never negative.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// How much a race takes.
#[derive(Clone, Copy)]
pub(crate) struct Dose {
    pub(crate) rounds: usize,
    /// Runs in a contender's turn that do not count: they bring its memory into the caches, which the others had.
    pub(crate) warm: usize,
    /// Runs in a turn that count: their median is the turn's time. Short ones, most of which nothing interrupts.
    pub(crate) timed: usize,
}

/// Nanoseconds per operation of every contender, round by round.
pub(crate) struct Race {
    names: Vec<&'static str>,
    rounds: Vec<Vec<f64>>,
}

impl Race {
    /// Gives every contender a turn per round, beginning with another one each time.
    pub(crate) fn run(dose: Dose, mut contenders: Vec<Contender<'_>>) -> Self {
        let count = contenders.len();
        let mut race = Self {
            names: contenders.iter().map(|contender| contender.name).collect(),
            rounds: Vec::new(),
        };
        for round in 0..dose.rounds {
            let mut times = vec![0.0; count];
            for turn in 0..count {
                let which = (round + turn) % count;
                times[which] = contenders[which].turn(dose);
            }
            race.rounds.push(times);
        }
        race
    }

    /// Median time of contender number `which`, in ns.
    pub(crate) fn nanoseconds(&self, which: usize) -> f64 {
        median(self.rounds.iter().map(|times| times[which]).collect())
    }

    /// How many times as fast as contender number `which` the first one is: the median of the rounds' ratios.
    pub(crate) fn ratio(&self, which: usize) -> f64 {
        median(self.rounds.iter().map(|times| times[which] / times[0]).collect())
    }

    /// The smallest ratio to the contenders with these numbers: the one to the best of them.
    pub(crate) fn ratio_to_best(&self, peers: impl IntoIterator<Item = usize>) -> f64 {
        peers
            .into_iter()
            .map(|which| self.ratio(which))
            .fold(f64::INFINITY, f64::min)
    }

    /// A row per contender, with its median time.
    pub(crate) fn rows<'a>(&'a self, what: &'a str) -> impl Iterator<Item = Row> + 'a {
        let name = move |which: usize| format!("{what}/{}", self.names[which]);
        (0..self.names.len()).map(move |which| Row::info(name(which), self.nanoseconds(which), "ns"))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end + 1));
        }
    }
}

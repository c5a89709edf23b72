//! How many records an endpoint (or a client) may leave, so that one flooder does not overwrite everybody else's. Any IRQL.

use crate::sync::{AtomicU64, Ordering};

/// The allowance of a [`Budget`]: so many records at once, and one more per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Records that may be written at once after a pause.
    pub burst: u32,
    /// Time in which one more is earned, in 100 ns. 0: no limit.
    pub interval: u64,
}

/// What is left of an allowance: the time at which it will be whole again. All zero is a whole allowance.
#[derive(Default)]
pub struct Budget(AtomicU64);

impl Budget {
    /// Takes one record's worth at time `now`, or says that there is none left.
    ///
    /// `now` is in 100 ns of one clock for all calls. Where that clock is set back, what was taken before counts as one burst: it never
    /// takes longer than an interval until there is something to take again.
    #[inline]
    pub fn take(&self, now: u64, limit: Limit) -> bool {
        if limit.interval == 0 {
            return true;
        }
        let latest = now.saturating_add(limit.interval.saturating_mul(u64::from(limit.burst)));
        let mut whole_at = self.0.load(Ordering::Relaxed);
        loop {
            let next = whole_at.max(now).saturating_add(limit.interval);
            let taken = next <= latest;
            if !taken && whole_at <= latest {
                return false;
            }
            let new = if taken { next } else { latest };
            match self
                .0
                .compare_exchange_weak(whole_at, new, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return taken,
                Err(now) => whole_at = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Limit = Limit { burst: 3, interval: 10 };

    #[test]
    fn a_burst_then_one_per_interval() {
        let budget = Budget::default();
        let took = |now| (0..9).filter(|_| budget.take(now, LIMIT)).count();
        assert_eq!(
            [
                took(1000),
                took(1000),
                took(1009),
                took(1010),
                took(1025),
                took(1030),
                took(2000)
            ],
            [3, 0, 0, 1, 1, 1, 3]
        );
        assert!((0..1000).all(|_| budget.take(0, Limit { burst: 0, interval: 0 })));
        assert!(!budget.take(5000, Limit { burst: 0, interval: 10 }));
    }

    #[test]
    fn a_clock_that_is_set_back_costs_one_interval() {
        let budget = Budget::default();
        assert_eq!((0..9).filter(|_| budget.take(1_000_000, LIMIT)).count(), 3);
        assert!(!budget.take(1000, LIMIT));
        assert!(!budget.take(1009, LIMIT));
        assert!(budget.take(1010, LIMIT));
        assert!(!budget.take(1010, LIMIT));
        assert_eq!((0..9).filter(|_| budget.take(2000, LIMIT)).count(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

        /// In any window of time no more than the burst and what the window earned.
        #[test]
        fn never_more_than_earned(steps in prop::collection::vec(0..40u64, 0..if cfg!(miri) { 10 } else { 200 })) {
            let budget = Budget::default();
            let mut now = 0;
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                if budget.take(now, LIMIT) {
                    taken.push(now);
                }
            }
            for (first, start) in taken.iter().enumerate() {
                for (last, end) in taken.iter().enumerate().skip(first) {
                    let many = (last - first + 1) as u64;
                    prop_assert!(many <= 3 + (end - start) / 10, "{many} between {start} and {end}");
                }
            }
        }
    }
}

//! Lock order: whether two spin locks are ever taken in both orders, by whatever threads. Each pair that was nested is remembered with the
//! call stack that did it; a lock that would close a circle is reported, whether or not it comes to a deadlock. IRQL = DISPATCH_LEVEL.

extern crate alloc;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use probe_protocol::verifier::flags;

use crate::settings;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::thread::Thread;

/// Most pairs remembered.
const MOST: usize = 20_000;

struct State {
    /// (outer, inner).
    pairs: BTreeSet<(usize, usize)>,
    /// Every lock in a pair, with how many pairs it is the inner one of.
    inner: BTreeMap<usize, usize>,
    reported: BTreeSet<(usize, usize)>,
}

static STATE: Lock<State> = Lock::new(State {
    pairs: BTreeSet::new(),
    inner: BTreeMap::new(),
    reported: BTreeSet::new(),
});

impl State {
    /// Whether `to` was ever taken, at any depth, while `from` was held.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = alloc::vec![from];
        while let Some(at) = open.pop() {
            for &(_, next) in self.pairs.range((at, 0)..=(at, usize::MAX)) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    fn add(&mut self, outer: usize, inner: usize) {
        if self.pairs.len() < MOST && self.pairs.insert((outer, inner)) {
            let count = self.inner.entry(inner).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// The thread is about to wait for a lock.
pub(crate) fn acquiring(thread: &Thread, lock: usize) {
    if !settings::has(flags::LOCKS) {
        return;
    }
    let Some(outer) = thread.innermost().map(|held| held.lock) else {
        return;
    };
    let circle = {
        let mut state = STATE.lock();
        if state.pairs.contains(&(outer, lock)) {
            return;
        }
        let circle = state.inner.contains_key(&outer) && state.reaches(lock, outer);
        state.add(outer, lock);
        circle && state.reported.insert((outer, lock))
    };
    if circle {
        stop::report(Code::SpinLockOrder, [outer, lock, 0, 0]);
    }
}

/// Forgets the locks in memory that is freed: another may come to lie there.
pub(crate) fn forget(block: usize, size: usize) {
    let end = block.saturating_add(size);
    let mut state = STATE.lock();
    if state.pairs.is_empty() {
        return;
    }
    let inside = |lock: usize| (block..end).contains(&lock);
    let touched =
        state.inner.range(block..end).next().is_some() || state.pairs.range((block, 0)..(end, 0)).next().is_some();
    if !touched {
        return;
    }
    state.pairs.retain(|&(outer, inner)| !inside(outer) && !inside(inner));
    state
        .reported
        .retain(|&(outer, inner)| !inside(outer) && !inside(inner));
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &(_, inner) in &state.pairs {
        let count = counts.entry(inner).or_default();
        *count = count.saturating_add(1);
    }
    state.inner = counts;
}

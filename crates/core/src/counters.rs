//! What happened how often, since the driver was loaded: counted per processor, only ever growing, summed when asked.
//!
//! Any IRQL. Counting is one atomic addition to a line that other processors seldom touch; a sum is taken while others count,
//! so it is exact only once they stop, but no counter ever goes back.

use crate::{
    RequestKind,
    generation::{Exit, Tally},
    memory::{Array, Memory, Padded, PerCpu},
    policy::RuleRef,
    sync::{AtomicU64, Ordering},
};

/// What is counted. The number is the counter's index in [`COUNTERS`] and in every array of sums; new ones go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(missing_docs, reason = "`COUNTERS` holds the words, for users too")]
pub enum Counter {
    Sets,
    Gets,
    Ioctls,
    Binds,
    Forwarded,
    ForwardedUntouched,
    RefusedByPolicy,
    RefusedBySemantics,
    Clamped,
    Forced,
    Rewritten,
    Answered,
    BindsAllowed,
    BindsDenied,
    WouldRefuse,
    ContractBreaches,
    EndpointsOpened,
    EndpointsClosed,
    EndpointsUnlisted,
    Callbacks,
    CallbacksSuppressed,
    ClientsAttached,
    ClientsDetached,
    Cancellations,
    CancelledBeforeCall,
    ProviderFailedUncompleted,
    LowerFailures,
    AllocationFailures,
    LingerCloses,
    KeepAliveFailures,
    PolicyLoads,
    PolicyLoadsRefused,
    IoctlsServed,
    IoctlsRefused,
}

impl Counter {
    /// Of the requests of this kind. They are counted where they come to be decided on, by [`crate::generation::Generations::begin`].
    #[must_use]
    pub const fn of(kind: RequestKind) -> Self {
        match kind {
            RequestKind::Set => Self::Sets,
            RequestKind::Get => Self::Gets,
            RequestKind::Ioctl => Self::Ioctls,
            RequestKind::Bind => Self::Binds,
        }
    }
}

/// How many counters there are.
pub const COUNT: usize = COUNTERS.len();

/// Name (stable: scripts read it) and meaning of each counter, in the order of [`Counter`].
#[rustfmt::skip]
pub const COUNTERS: [(Counter, &str, &str); 34] = [
    (Counter::Sets, "requests_set", "WskSetOption requests seen"),
    (Counter::Gets, "requests_get", "WskGetOption requests seen"),
    (Counter::Ioctls, "requests_ioctl", "WskIoctl requests seen"),
    (Counter::Binds, "requests_bind", "binds seen, with those inside WskSocketConnect"),
    (Counter::Forwarded, "forwarded", "requests sent down with their completion observed"),
    (Counter::ForwardedUntouched, "forwarded_untouched", "requests whose IRP went down as it came"),
    (Counter::RefusedByPolicy, "refused_policy", "requests refused because a rule said so"),
    (Counter::RefusedBySemantics, "refused_semantics", "requests refused because the option's contract said so"),
    (Counter::Clamped, "clamped", "values brought into a rule's range"),
    (Counter::Forced, "forced", "options set that the client had not asked for"),
    (Counter::Rewritten, "rewritten", "values replaced by a rule's"),
    (Counter::Answered, "answered", "requests answered without the provider"),
    (Counter::BindsAllowed, "binds_allowed", "binds let through"),
    (Counter::BindsDenied, "binds_denied", "binds refused"),
    (Counter::WouldRefuse, "would_refuse", "requests that enforcing would have refused, let through by audit mode"),
    (Counter::ContractBreaches, "contract_breaches", "requests that broke the option's contract, refused or not"),
    (Counter::EndpointsOpened, "endpoints_opened", "endpoints created or accepted"),
    (Counter::EndpointsClosed, "endpoints_closed", "endpoints whose last reference went"),
    (Counter::EndpointsUnlisted, "endpoints_unlisted", "endpoints that did not fit into the table: they work, but are not listed"),
    (Counter::Callbacks, "callbacks", "events passed on to clients"),
    (Counter::CallbacksSuppressed, "callbacks_suppressed", "events that arrived after close had begun, kept from clients"),
    (Counter::ClientsAttached, "clients_attached", "client drivers that attached"),
    (Counter::ClientsDetached, "clients_detached", "client drivers that detached"),
    (Counter::Cancellations, "cancellations", "requests cancelled while the provider had them"),
    (Counter::CancelledBeforeCall, "cancelled_before_call", "requests cancelled before the provider was called"),
    (Counter::ProviderFailedUncompleted, "provider_failed_uncompleted", "calls that the provider failed without completing the IRP"),
    (Counter::LowerFailures, "provider_failures", "requests that the provider completed with an error"),
    (Counter::AllocationFailures, "allocation_failures", "requests refused for lack of memory"),
    (Counter::LingerCloses, "linger_closes", "closes carried out as a bounded graceful disconnect"),
    (Counter::KeepAliveFailures, "keepalive_failures", "connections lost with a status that means keep-alive failure"),
    (Counter::PolicyLoads, "policy_loads", "policies put in force"),
    (Counter::PolicyLoadsRefused, "policy_loads_refused", "policies that did not validate"),
    (Counter::IoctlsServed, "device_requests", "requests of the companion served"),
    (Counter::IoctlsRefused, "device_requests_refused", "requests of the companion refused"),
];

const _: () = {
    let mut rest: &[(Counter, &str, &str)] = &COUNTERS;
    let mut index = 0_usize;
    while let [(counter, name, _), tail @ ..] = rest {
        assert!(*counter as usize == index, "COUNTERS is in the order of Counter");
        assert!(!name.is_empty());
        rest = tail;
        index = index.wrapping_add(1);
    }
};

/// The counters of all processors.
pub struct Counters<M: Memory>(PerCpu<[AtomicU64; COUNT], M>);

impl<M: Memory> Counters<M> {
    /// All at zero. `None` when there is no memory for one set per processor.
    pub fn new(memory: M, cpus: usize) -> Option<Self> {
        Some(Self(PerCpu::new(memory, cpus, |_| {
            Some(core::array::from_fn(|_| AtomicU64::new(0)))
        })?))
    }

    /// Counts one.
    #[inline]
    pub fn count(&self, cpu: usize, counter: Counter) {
        self.add(cpu, counter, 1);
    }

    /// Counts several at once.
    #[inline]
    pub fn add(&self, cpu: usize, counter: Counter, many: u64) {
        if let Some(cell) = self.0.get(cpu).get(counter as usize) {
            cell.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// The sum of one counter over all processors.
    pub fn sum(&self, counter: Counter) -> u64 {
        self.sums().get(counter as usize).copied().unwrap_or(0)
    }

    /// The sums of all counters, in the order of [`COUNTERS`].
    pub fn sums(&self) -> [u64; COUNT] {
        let mut sums = [0_u64; COUNT];
        for cells in self.0.iter() {
            for (sum, cell) in sums.iter_mut().zip(cells) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

/// Counters on one padded line.
const PER_LINE: usize = 16;

/// Hits of every rule of one policy generation, and of its default: made with the generation and freed with it. They are the counts by
/// which decisions leave the generation, so nothing else adds to them.
pub struct RuleHits<M: Memory> {
    /// Whole lines for each processor.
    lines: Array<Padded<[AtomicU64; PER_LINE]>, M>,
    rules: usize,
    /// Counters from one processor's to the next one's.
    stride: usize,
    cpus: usize,
}

impl<M: Memory> RuleHits<M> {
    /// For `rules` rules and the default, all at zero. `None` when there is no memory.
    pub fn new(memory: M, cpus: usize, rules: usize) -> Option<Self> {
        let lines = rules.checked_add(1)?.div_ceil(PER_LINE);
        Some(Self {
            lines: Array::new(memory, lines.checked_mul(cpus)?, |_| {
                Some(Padded(core::array::from_fn(|_| AtomicU64::new(0))))
            })?,
            rules,
            stride: lines.checked_mul(PER_LINE)?,
            cpus,
        })
    }

    /// How many rules are counted, without the default.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// By which the reader leaves whose decision was that of rule `rule`, or of the default. `None` for a rule that does not exist.
    #[inline]
    pub fn exit(&self, cpu: usize, rule: RuleRef) -> Option<Exit<'_>> {
        let cpu = if cpu < self.cpus { cpu } else { 0 };
        self.cell(cpu, rule.counter(self.rules)).map(Exit::by)
    }

    /// How often rule number `rule`, or the default, decided.
    pub fn sum(&self, rule: Option<usize>) -> u64 {
        let index = rule.unwrap_or(self.rules);
        let cells = (0..self.cpus).filter_map(|cpu| self.cell(cpu, index));
        cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    #[inline]
    fn cell(&self, cpu: usize, index: usize) -> Option<&AtomicU64> {
        if index > self.rules {
            return None;
        }
        // Both factors were multiplied when the lines were made.
        let place = cpu.wrapping_mul(self.stride).wrapping_add(index);
        self.lines.get(place / PER_LINE)?.0.get(place % PER_LINE)
    }
}

// SAFETY: the cells are private, and given out as exits only.
unsafe impl<M: Memory> Tally for RuleHits<M> {
    fn counted(&self) -> u64 {
        let cells = self.lines.iter().flat_map(|line| &line.0);
        cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Acquire)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::memory::tests::Heap;

    #[test]
    fn names_are_unique_and_plain() {
        for (index, (_, name, meaning)) in COUNTERS.iter().enumerate() {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert!(!meaning.is_empty());
            assert!(COUNTERS[..index].iter().all(|(_, other, _)| other != name), "{name}");
        }
    }

    #[test]
    fn sums_are_over_all_processors() {
        let heap = Heap::new(isize::MAX);
        let counters = Counters::new(&heap, 2).unwrap();
        std::thread::scope(|scope| {
            for cpu in 0..4 {
                let counters = &counters;
                scope.spawn(move || (0..100).for_each(|_| counters.count(cpu, Counter::Gets)));
            }
        });
        counters.add(1, Counter::IoctlsRefused, 7);
        assert_eq!(counters.sum(Counter::Gets), 400);
        assert_eq!(counters.sums().iter().sum::<u64>(), 407);
        assert_eq!(counters.sums()[Counter::IoctlsRefused as usize], 7);
    }

    #[test]
    fn every_rule_and_the_default_count_apart() {
        let heap = Heap::new(isize::MAX);
        for count in [0, 1, 15, 16, 17, 100_u32] {
            let rules = count as usize;
            let hits = RuleHits::new(&heap, 3, rules).unwrap();
            let hit = |cpu, rule| hits.exit(cpu, rule).map(Exit::count).is_some();
            for rule in 0..count {
                assert!((0..=rule).all(|cpu| hit(cpu as usize, RuleRef(rule))));
            }
            assert!(hit(9, RuleRef::DEFAULT));
            assert!(!hit(0, RuleRef(count + 1)));
            for rule in 0..rules {
                assert_eq!(hits.sum(Some(rule)), rule as u64 + 1);
            }
            assert_eq!(hits.rules(), rules);
            assert_eq!((hits.sum(None), hits.sum(Some(rules + 1))), (1, 0));
            assert_eq!(hits.counted(), (1..=rules as u64).sum::<u64>() + 1);
        }
        assert!(RuleHits::new(&heap, 3, usize::MAX).is_none());
    }
}

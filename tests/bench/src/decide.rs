//! A set request from its arrival to its audit record, as the driver carries it through the core; and what rules that cannot match cost.

use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use wskguard_core::audit::{AuditRecord, Budget, Kind, Limit, NO_RULE, Rings};
use wskguard_core::catalogue::OptionSet;
use wskguard_core::counters::RuleHits;
use wskguard_core::decide::{self, InForce, Outcome, Subject, Tables, Verdict};
use wskguard_core::generation::{Generations, Reading, Tally};
use wskguard_core::policy::{ClientKey, Image, MatchInput, ProcessKey};
use wskguard_core::semantics::{EndpointFacts, OptionState, Pointer, Request, SharedOptions};
use wskguard_core::table::MAX_ENDPOINTS;
use wskguard_core::{Category, Family, Phase, RequestKind, SOL_SOCKET, SocketType};
use wskguard_policy::{Action, Members, Ranges, Rule, Scope, encode};

use crate::harness::{Contender, Dose, Race, Row, thread_time};
use crate::index::{Endpoint as Listed, Heap, Ours};

const SO_RCVBUF: u32 = 0x1002;
const IPPROTO_TCP: u32 = 6;
/// Field of a rule's condition: the new value.
const NEW: u8 = 1;
/// Requests in a turn that is timed.
const REQUESTS: usize = 10_000;
const THREADS: usize = 2;
/// The driver's.
const LIMIT: Limit = Limit {
    burst: 512,
    interval: 100_000,
};

/// A policy whose rules clamp `SO_RCVBUF` and record that they did.
const CLAMPING: &str = r#"
schema = 1
name = "bench"
semantics = "compat"
audit = "all"

[[rule]]
name = "receive-buffers"
request = "set"
option = "SO_RCVBUF"
action = "clamp"
min = 4096
max = 65536
"#;

/// Everything of one endpoint that requests share with no other.
#[repr(align(128))]
struct Endpoint {
    facts: EndpointFacts,
    options: SharedOptions,
    budget: Budget,
    /// Time of its last request, 100 ns.
    clock: AtomicU64,
}

impl Endpoint {
    fn new() -> Self {
        Self {
            facts: EndpointFacts {
                category: Category::Connection,
                socket_type: SocketType::Stream,
                family: Family::INET,
                protocol: IPPROTO_TCP,
                static_events: 0,
                lacks: OptionSet::default(),
            },
            options: SharedOptions::new(OptionState::default()),
            budget: Budget::default(),
            clock: AtomicU64::new(0),
        }
    }
}

impl Subject for Endpoint {
    fn facts(&self) -> &EndpointFacts {
        &self.facts
    }

    fn options(&self) -> &SharedOptions {
        &self.options
    }

    fn phase(&self) -> Phase {
        Phase::Unbound
    }

    fn client(&self) -> ClientKey<'_> {
        ClientKey::UNKNOWN
    }

    fn process(&self) -> Option<ProcessKey<'_>> {
        None
    }
}

/// A policy in force.
struct Policy<'a> {
    image: Image<'a>,
    tables: Tables<Heap>,
    hits: RuleHits<Heap>,
}

impl<'a> Policy<'a> {
    fn in_force(&self) -> InForce<'_, 'a> {
        InForce {
            image: Some(&self.image),
            tables: self.tables.as_ref(),
        }
    }
}

// SAFETY: nothing but exits counts in the hits.
unsafe impl Tally for Policy<'_> {
    fn counted(&self) -> u64 {
        self.hits.counted()
    }
}

/// What all endpoints share.
struct Core<'a> {
    policies: Generations<Policy<'a>, Heap, 2>,
    rings: Rings<Heap>,
}

impl Core<'_> {
    fn set(&self, endpoint: &Endpoint, cpu: usize, value: u32, time: u64) {
        let input = value.to_le_bytes();
        let request = Request {
            kind: RequestKind::Set,
            level: SOL_SOCKET,
            code: SO_RCVBUF,
            input_pointer: Pointer::Valid,
            input_len: input.len(),
            input: &input,
            output_pointer: Pointer::Null,
            output_len: 0,
            has_irp: true,
            wants_size: false,
            at_dispatch: false,
            now: 0,
        };
        let reading = self
            .policies
            .begin(cpu, RequestKind::Set as usize)
            .expect("a policy is in force");
        let policy = reading.in_force();
        // As the driver does.
        let request = black_box(&request);
        match decide::usual_set(policy, endpoint, request) {
            Some(verdict) => self.follow(endpoint, cpu, request, time, verdict, reading),
            None => self.follow_at_length(endpoint, cpu, request, time, reading),
        }
    }

    #[cold]
    #[inline(never)]
    fn follow_at_length(
        &self,
        endpoint: &Endpoint,
        cpu: usize,
        request: &Request<'_>,
        time: u64,
        reading: Reading<'_, Policy<'_>>,
    ) {
        let verdict = decide::control(reading.in_force(), endpoint, request);
        self.follow(endpoint, cpu, request, time, verdict, reading);
    }

    #[inline(always)]
    fn follow(
        &self,
        endpoint: &Endpoint,
        cpu: usize,
        request: &Request<'_>,
        time: u64,
        verdict: Verdict<'_>,
        reading: Reading<'_, Policy<'_>>,
    ) {
        reading.end(|policy| policy.hits.exit(cpu, verdict.rule?));
        let Outcome::Forward { commit, .. } = verdict.outcome else {
            unreachable!("the rule clamps");
        };
        black_box(endpoint.options.commit(commit).is_ok());
        assert!(verdict.record && endpoint.budget.take(time, LIMIT));
        let mut record = AuditRecord::new(Kind::Decision, time);
        record.request = request.kind as u8;
        record.level = request.level;
        record.code = request.code;
        record.rule = verdict.rule.map_or(NO_RULE, |rule| rule.0);
        record.action = verdict.done as u8;
        record.mode = verdict.mode as u8;
        record.input_length = request.input_len as u32;
        record.old_value = verdict.old.unwrap_or(0);
        record.asked_value = verdict.asked.unwrap_or(0);
        record.new_value = verdict.new.unwrap_or(0);
        black_box(self.rings.write(cpu, &record));
    }

    fn many(&self, endpoint: &Endpoint, cpu: usize, many: usize) {
        let mut time = endpoint.clock.load(Ordering::Relaxed);
        for number in 0..many {
            // In the rule's range and beyond it.
            #[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
            let value = 4096 + (number as u32 & 0xF) * 8192;
            // Far enough apart for the budget.
            time += 1_000_000;
            self.set(endpoint, cpu, black_box(value), time);
        }
        endpoint.clock.store(time, Ordering::Relaxed);
    }
}

/// Calls `with` with the core under the clamping policy.
fn with_core(with: impl FnOnce(&Core<'_>)) {
    let compiled = wskguard_policy::compile("bench.toml", CLAMPING).unwrap_or_else(|errors| panic!("{errors:?}"));
    let image = Image::parse(&compiled.image).expect("just compiled");
    let policy = Policy {
        image,
        tables: Tables::new(Heap, &image).expect("memory"),
        hits: RuleHits::new(Heap, THREADS, 1).expect("memory"),
    };
    let core = Core {
        policies: Generations::new(Heap, THREADS).expect("memory"),
        rings: Rings::new(Heap, THREADS, 4096).expect("memory"),
    };
    // SAFETY: the policy outlives the generations, of which this is the only publisher.
    assert!(unsafe { core.policies.publish(NonNull::from(&policy)) }.is_ok());
    with(&core);
}

/// Decides and records `count` requests.
pub(crate) fn profiled(count: usize) {
    with_core(|core| core.many(&Endpoint::new(), 0, count));
}

/// Decide and record, by one thread and by two, each with an endpoint of its own.
fn requests(core: &Core<'_>, rounds: usize, rows: &mut Vec<Row>) {
    let endpoints: Vec<_> = (0..THREADS).map(|_| Endpoint::new()).collect();
    let single = Race::run(
        Dose {
            rounds,
            warm: 3,
            timed: 41,
        },
        vec![Contender::alone("1t", || {
            core.many(&endpoints[0], 0, REQUESTS);
            REQUESTS
        })],
    );
    // Long enough for the start of the threads not to count.
    let long = REQUESTS * 30;
    let both = Race::run(
        Dose {
            rounds,
            warm: 1,
            timed: 3,
        },
        vec![
            Contender::timed("2t", || {
                let times = std::thread::scope(|scope| {
                    let threads: Vec<_> = endpoints
                        .iter()
                        .enumerate()
                        .map(|(cpu, endpoint)| scope.spawn(move || timed(core, endpoint, cpu, long)))
                        .collect();
                    threads
                        .into_iter()
                        .map(|thread| thread.join().expect("no panic"))
                        .sum::<Duration>()
                });
                // As long as it takes where each thread has a processor to itself.
                (long * THREADS, times / THREADS as u32)
            }),
            Contender::timed("1t", || {
                let time = std::thread::scope(|scope| scope.spawn(|| timed(core, &endpoints[0], 0, long)).join());
                (long, time.expect("no panic"))
            }),
        ],
    );
    rows.push(Row::at_most(
        "decide+record/1t".to_owned(),
        single.nanoseconds(0),
        "ns",
        30.0,
    ));
    rows.push(Row::info("decide+record/2t".to_owned(), both.nanoseconds(0), "ns"));
    rows.push(Row::ratio(
        "decide+record/2t-vs-1t".to_owned(),
        both.ratio(1),
        Some(1.9),
    ));
}

/// Processor time of `many` requests.
fn timed(core: &Core<'_>, endpoint: &Endpoint, cpu: usize, many: usize) -> Duration {
    let start = thread_time();
    core.many(endpoint, cpu, many);
    thread_time().saturating_sub(start)
}

/// A rule for one value of one option.
fn rule(number: usize, code: u32) -> Rule {
    Rule {
        name: format!("rule {number}"),
        requests: 1,
        scope: Scope::Option {
            level: SOL_SOCKET,
            code,
        },
        conditions: vec![(NEW, Members::Ranges(Ranges::one(1_000_000 + number as u64)))],
        action: Action::Deny(0xC000_0022),
        ..Rule::default()
    }
}

/// `rules` rules, `relevant` of them, evenly spread, for `SO_RCVBUF`.
fn image(rules: usize, relevant: usize) -> Vec<u8> {
    let every = (rules / relevant).max(1);
    let code = |number: usize| match number % every {
        0 => SO_RCVBUF,
        _ => 0x10_0000 + u32::try_from(number).expect("a few thousand"),
    };
    let rules = (0..rules).map(|number| rule(number, code(number))).collect();
    let policy = wskguard_policy::Policy {
        name: "bench".to_owned(),
        rules,
        ..wskguard_policy::Policy::default()
    };
    encode(&policy).expect("it fits").0
}

/// How much slower the slowest hundredth of the requests gets while another thread walks a table of a million endpoints, over and over.
fn beside_snapshots(core: &Core<'_>, rounds: usize, rows: &mut Vec<Row>) {
    const ENDPOINTS: usize = 1_000_000;
    let records: Vec<_> = (0..ENDPOINTS).map(|_| Listed([0; 16])).collect();
    let table = Ours::new(Heap, THREADS, MAX_ENDPOINTS).expect("memory");
    for record in &records {
        // SAFETY: the records outlive the table, and releasing them does nothing.
        unsafe { table.insert(0, NonNull::from(record)) }.expect("room");
    }
    let endpoint = Endpoint::new();
    let mut ratios: Vec<_> = (0..rounds)
        .map(|_| {
            let alone = slowest_hundredth(core, &endpoint);
            let ended = AtomicBool::new(false);
            let beside = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        let mut walk = table.walk();
                        while let Some(pinned) = table.next(&mut walk) {
                            black_box(pinned.id());
                        }
                    }
                });
                let beside = slowest_hundredth(core, &endpoint);
                ended.store(true, Ordering::Relaxed);
                beside
            });
            beside / alone
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    rows.push(Row::at_most(
        "snapshot/1M/hot-path-p99".to_owned(),
        ratios[ratios.len() / 2],
        "times",
        1.1,
    ));
}

/// The 99th percentile of the processor time of 64 requests, in ns.
fn slowest_hundredth(core: &Core<'_>, endpoint: &Endpoint) -> f64 {
    let mut times: Vec<_> = (0..50_000)
        .map(|_| {
            let start = thread_time();
            core.many(endpoint, 0, 64);
            thread_time().saturating_sub(start)
        })
        .collect();
    times.sort();
    times[times.len() * 99 / 100].as_secs_f64() * 1e9
}

fn policies(rounds: usize, rows: &mut Vec<Row>) {
    let cases = [
        ("10-of-10000", 10_000, 10),
        ("10-of-10", 10, 10),
        ("1-of-1", 1, 1),
        ("1-of-100", 100, 1),
        ("1-of-10000", 10_000, 1),
    ];
    let bytes = cases.map(|(_, rules, relevant)| image(rules, relevant));
    let images: Vec<_> = bytes
        .iter()
        .map(|bytes| Image::parse(bytes).expect("just made"))
        .collect();
    let contenders = cases.iter().zip(&images).map(|((name, ..), image)| {
        Contender::alone(name, || {
            let mut input = MatchInput::new(RequestKind::Set, SOL_SOCKET, SO_RCVBUF, Category::Connection);
            input.new_value = Some(0);
            for _ in 0..REQUESTS {
                black_box(image.evaluate(black_box(&input)));
            }
            REQUESTS
        })
    });
    let race = Race::run(
        Dose {
            rounds,
            warm: 3,
            timed: 41,
        },
        contenders.collect(),
    );
    rows.extend(race.rows("policy"));
    rows.push(Row::at_most(
        "policy/10-of-10000-vs-10-of-10".to_owned(),
        1.0 / race.ratio(1),
        "times",
        1.5,
    ));
}

pub(crate) fn run(rounds: usize, rows: &mut Vec<Row>) {
    with_core(|core| {
        requests(core, rounds, rows);
        beside_snapshots(core, rounds, rows);
    });
    policies(rounds, rows);
}

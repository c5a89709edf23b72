//! Many sockets and many threads for as long as it takes: seconds by default, minutes with `--extended`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use probe_protocol::netio::NULL_PROTOCOL;
use probe_protocol::probe::{Bench, BenchReport, Op, Stress, StressReport, Workload};
use wskguard_core::counters::Counter;
use wskguard_core::table::MAX_ENDPOINTS;
use zerocopy::IntoBytes;

use super::load::measure;
use crate::check;
use crate::context::Context;
use crate::guard::{Guard, PERMISSIVE};
use crate::probe::{Client, Family};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_BROADCAST, SOL_SOCKET};

tests! {
    "endurance";
    @900 null_sockets, Filtered, "load and faults", "eight threads over sockets without a host socket, while policies are swapped and lists are read; nothing is left";
    @900 real_sockets, Filtered, "load and faults", "as many real sockets at once as the host has, each bound and set";
    @900 listed_under_load, Filtered, "design §5", "all of very many endpoints are listed, a page at a time, while control requests go on";
}

const POLICIES: [&str; 4] = [
    PERMISSIVE,
    "schema = 1\nname = \"strict\"\nsemantics = \"strict\"\naudit = \"all\"\n",
    "schema = 1\nname = \"rules\"\nsemantics = \"compat\"\n\
     [[rule]]\nname = \"own\"\nrequest = \"bind\"\naction = \"exclusive\"\n\
     [[rule]]\nname = \"small\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"clamp\"\nmin = 1024\nmax = 65536\n\
     [[rule]]\nname = \"quiet\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\nnew = 1\naction = \"deny\"\n",
    "schema = 1\nname = \"initial\"\nsemantics = \"audit\"\n\
     [[initial]]\noption = \"SO_EXCLUSIVEADDRUSE\"\nvalue = 1\n[[initial]]\noption = \"SO_RCVBUF\"\nvalue = 8192\n",
];

/// Swaps policies and reads lists, counters and records until it is told to end; how often.
fn disturb(end: &AtomicBool, swaps: &AtomicU64) -> Result<()> {
    let mut guard = Guard::open()?;
    let mut policies = POLICIES.iter().cycle();
    while !end.load(Ordering::Relaxed) {
        if let Some(policy) = policies.next() {
            guard.load(policy)?;
        }
        super::lifetime::list(&mut guard)?;
        guard.counters()?;
        guard.read_audit(0, 256)?;
        swaps.fetch_add(1, Ordering::Relaxed);
    }
    guard.load(PERMISSIVE)
}

fn stress(client: &Client<'_>, seed: u32, steps: u32) -> Result<StressReport> {
    let wish = Stress {
        client: client.id,
        threads: 8,
        sockets: 16,
        steps,
        seed,
        timeout_ms: 20_000,
        at_dispatch: seed % 2,
        family: Family::V4.number(),
        protocol: NULL_PROTOCOL,
    };
    let report: StressReport = client.probe.ask_for(Op::Stress, &[wish.as_bytes()], 300_000)?;
    let what = format!("seed {seed}: {report:?}");
    check::equal(&format!("stuck requests, {what}"), report.stuck, 0)?;
    check::equal(&format!("completions too many, {what}"), report.double_completions, 0)?;
    check::equal(&format!("pending flags, {what}"), report.mismatched, 0)?;
    check::status(&what, report.status, status::SUCCESS)?;
    Ok(report)
}

fn null_sockets(context: &Context) -> Result<()> {
    let (sockets, time) = if context.extended() {
        (100_000, Duration::from_secs(300))
    } else {
        (2_000, Duration::ZERO)
    };
    let netio = Netio::open()?;
    let mut guard = context.guard()?;
    let client = context.attach()?;
    let before = netio.statistics()?;
    let endpoints = guard.status()?.endpoints;
    let opened = guard.counted(Counter::EndpointsOpened)?;
    let closed = guard.counted(Counter::EndpointsClosed)?;
    let (end, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    let mut requests = 0;
    let result = thread::scope(|scope| {
        let other = scope.spawn(|| disturb(&end, &swaps));
        let mut seed = 1;
        let result = loop {
            let report = stress(&client, seed, 500);
            let made = netio.statistics().map(|now| now.created - before.created);
            match (report, made) {
                (Ok(report), Ok(made)) => {
                    requests += report.launched;
                    if made >= sockets && begun.elapsed() >= time {
                        break Ok(made);
                    }
                }
                (Err(error), _) | (_, Err(error)) => break Err(error),
            }
            seed += 1;
        };
        end.store(true, Ordering::Relaxed);
        let other = other
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the disturbing thread panicked")));
        result.and_then(|made| other.map(|()| made))
    });
    let made = result?;
    let swaps = swaps.load(Ordering::Relaxed);
    println!(
        "      {made} sockets, {requests} requests, {swaps} policies in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    check::holds("policies were swapped", swaps > 3)?;
    check::equal("endpoints", guard.status()?.endpoints, endpoints)?;
    let opened = guard.counted(Counter::EndpointsOpened)? - opened;
    let closed = guard.counted(Counter::EndpointsClosed)? - closed;
    check::equal("closed as opened", closed, opened)?;
    check::holds("as many as the provider made", opened >= made)?;
    let after = netio.statistics()?;
    check::equal("sockets below", after.null_sockets, before.null_sockets)?;
    check::equal("IRPs below", after.irps, before.irps)?;
    check::equal("broken contracts", after.misuses, before.misuses)?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)
}

fn real_sockets(context: &Context) -> Result<()> {
    let count = if context.extended() { 2_000 } else { 200 };
    let netio = Netio::open()?;
    let mut guard = context.guard()?;
    let endpoints = guard.status()?.endpoints;
    let before = netio.statistics()?;
    let client = context.attach()?;
    let mut sockets = Vec::new();
    for index in 0..count {
        let (socket, _) = client.datagram(Family::BOTH[index % 2])?;
        socket.set(SO_BROADCAST, 1)?;
        sockets.push(socket);
    }
    check::equal(
        "listed",
        super::lifetime::list(&mut guard)?.len() as u64,
        u64::from(endpoints) + count as u64,
    )?;
    for socket in sockets {
        socket.close()?;
    }
    check::equal("endpoints", guard.status()?.endpoints, endpoints)?;
    check::equal("host sockets", netio.statistics()?.host_sockets, before.host_sockets)
}

/// What is asked of sockets that the provider answers for without a host socket.
fn asked(workload: Workload, iterations: u32, pause: Duration) -> Bench {
    Bench {
        workload: workload as u32,
        client: 0,
        threads: 1,
        sockets: 64,
        iterations,
        family: Family::V4.number(),
        code: SO_BROADCAST,
        level: SOL_SOCKET,
        protocol: NULL_PROTOCOL,
        stretch: 16,
        pause_ms: u32::try_from(pause.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Lists all endpoints until it is told to end: how often, and the largest page.
fn keep_listing(end: &AtomicBool, least: u64) -> Result<(u64, usize)> {
    let mut guard = Guard::open()?;
    let (mut lists, mut largest) = (0, 0);
    while !end.load(Ordering::Relaxed) {
        let mut endpoints = guard.endpoints();
        let (mut seen, mut last) = (0_u64, None);
        loop {
            let page = endpoints.next_page()?;
            if page.is_empty() {
                break;
            }
            largest = largest.max(size_of_val(page.as_slice()));
            for endpoint in page {
                let place = endpoint.id & u64::from(MAX_ENDPOINTS);
                check::holds(
                    "in the table's order, hence once",
                    last.is_none_or(|before| before < place),
                )?;
                last = Some(place);
                seen += 1;
            }
        }
        check::holds(&format!("{seen} listed of at least {least}"), seen >= least)?;
        lists += 1;
    }
    Ok((lists, largest))
}

fn listed_under_load(context: &Context) -> Result<()> {
    let count: u32 = if context.extended() { 1_000_000 } else { 20_000 };
    let pause = Duration::from_secs(if context.extended() { 60 } else { 6 });
    let mut guard = context.guard()?;
    guard.load(PERMISSIVE)?;
    let client = context.attach()?;
    let crowded = context.another_session()?;
    let npi = context.npi();
    let crowd = thread::spawn(move || -> Result<()> {
        let client = crowded.attach(npi)?;
        let wish = Bench {
            client: client.id,
            ..asked(Workload::Crowd, count, pause)
        };
        let report: BenchReport = crowded.ask_for(Op::Bench, &[wish.as_bytes()], 600_000)?;
        check::status("crowd", report.status, status::SUCCESS)?;
        client.detach(5000)?;
        crate::context::finish(&crowded)
    });
    let listed = list_and_set(context, &mut guard, &client, count, || crowd.is_finished());
    crowd.join().map_err(|_| anyhow!("the crowd panicked"))??;
    listed
}

/// What goes on beside the requests that are timed, on the other processor.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    /// Busy without memory and without the filter.
    Spinning,
    /// Requests of the same device that do not look at the table.
    Requests,
    /// As many records as far apart as endpoints, copied into a page: the memory traffic of listing, without the table.
    Copying,
    Listing,
}

const KINDS: [Beside; 5] = [
    Beside::Nothing,
    Beside::Spinning,
    Beside::Requests,
    Beside::Copying,
    Beside::Listing,
];

/// Bytes from one endpoint to the next, and those that its record is made of: three cache lines.
const APART: usize = 640;
const READ: usize = 192;

/// Copies the beginning of each record into a page, until it is told to end.
fn keep_copying(end: &AtomicBool, memory: &[u8]) {
    let mut page = [0_u8; 65_536];
    let mut at = 0;
    for record in memory.chunks_exact(APART).cycle() {
        if end.load(Ordering::Relaxed) {
            break;
        }
        page[at..at + READ].copy_from_slice(&record[..READ]);
        at = (at + READ) % (page.len() - READ);
        std::hint::black_box(&mut page);
    }
}

impl Beside {
    /// Until it is told to end: how many whole lists, and the largest page.
    fn keep_on(self, end: &AtomicBool, memory: &[u8], least: u64) -> Result<(u64, usize)> {
        match self {
            Self::Nothing => {}
            Self::Spinning => {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
            Self::Requests => {
                let mut guard = Guard::open()?;
                while !end.load(Ordering::Relaxed) {
                    guard.counters()?;
                }
            }
            Self::Copying => keep_copying(end, memory),
            Self::Listing => return keep_listing(end, least),
        }
        Ok((0, 0))
    }

    /// The median time of a stretch of requests meanwhile.
    fn time(self, client: &Client<'_>, set: &Bench, memory: &[u8], least: u64) -> Result<(u64, (u64, usize))> {
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            let other = scope.spawn(|| self.keep_on(&end, memory, least));
            thread::sleep(Duration::from_millis(10));
            let report = measure(client, set);
            end.store(true, Ordering::Relaxed);
            let done = other.join().map_err(|_| anyhow!("the other thread panicked"))??;
            Ok((report?.median, done))
        })
    }
}

fn list_and_set(
    context: &Context,
    guard: &mut Guard,
    client: &Client<'_>,
    count: u32,
    over: impl Fn() -> bool,
) -> Result<()> {
    let (rounds, iterations) = if context.extended() { (11, 65_536) } else { (1, 16_384) };
    while guard.status()?.endpoints < count && !over() {
        thread::sleep(Duration::from_millis(20));
    }
    let set = asked(Workload::Set, iterations, Duration::ZERO);
    let memory = vec![1_u8; count as usize * APART];
    let mut ratios: [Vec<f64>; KINDS.len()] = Default::default();
    let (mut lists, mut page) = (0, 0);
    for _ in 0..rounds {
        let mut alone = 1.0;
        for (kind, ratios) in KINDS.into_iter().zip(&mut ratios) {
            let (median, listed) = kind.time(client, &set, &memory, count.into())?;
            if matches!(kind, Beside::Nothing) {
                alone = median.max(1) as f64;
            }
            ratios.push(median as f64 / alone);
            lists += listed.0;
            page = page.max(listed.1);
        }
    }
    check::holds("all were open all the time", guard.status()?.endpoints >= count)?;
    let [_, spinning, requests, copying, listing] = ratios.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    });
    println!(
        "      {count} endpoints listed {lists} times in pages of {page} bytes; beside that a set takes {listing:.3} of what it takes \
         alone; beside a thread that spins {spinning:.3}, one that asks the device for counters {requests:.3}, one that copies as \
         much memory {copying:.3}"
    );
    check::holds("listed while requests went on", lists >= rounds)
}

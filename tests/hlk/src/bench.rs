//! `hlk bench`: what the filter adds to a client's calls, in time, or in instructions and kernel calls, over sockets whose provider
//! answers at once. Prints a row per line: name, value, unit.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use probe_protocol::netio::NULL_PROTOCOL;
use probe_protocol::probe::{Bench, BenchReport, KernelCall, Workload};
use testkernel_check::verifier::{Retired, Verifier, text};

use crate::guard::{Guard, PERMISSIVE};
use crate::probe::{Client, Family, Npi, Probe};
use crate::suites::load::measure;
use crate::wsk::{SO_BROADCAST, SOL_SOCKET};
use crate::{BenchOptions, What};

const SO_RCVBUF: u32 = 0x1002;
/// An option that is in nobody's catalogue.
const FOREIGN: u32 = 0x7777;

const RECORDING: &str = "schema = 1\nname = \"recording\"\nsemantics = \"audit\"\naudit = \"all\"\n";
const CLAMPING: &str = r#"
schema = 1
name = "clamping"
semantics = "compat"

[[rule]]
name = "receive-buffers"
request = "set"
option = "SO_RCVBUF"
action = "clamp"
min = 4096
max = 65536
"#;

/// A kind of call under a policy.
struct Scenario {
    name: &'static str,
    policy: &'static str,
    workload: Workload,
    code: u32,
}

const fn scenario(name: &'static str, policy: &'static str, workload: Workload, code: u32) -> Scenario {
    Scenario {
        name,
        policy,
        workload,
        code,
    }
}

const SCENARIOS: [Scenario; 9] = [
    scenario("get", PERMISSIVE, Workload::Get, SO_BROADCAST),
    scenario("set-unknown", PERMISSIVE, Workload::Set, FOREIGN),
    scenario("set-observed", PERMISSIVE, Workload::Set, SO_BROADCAST),
    scenario("set-audited", RECORDING, Workload::Set, SO_BROADCAST),
    scenario("set-clamped", CLAMPING, Workload::Set, SO_RCVBUF),
    scenario("local-address", PERMISSIVE, Workload::LocalAddress, 0),
    scenario("send", PERMISSIVE, Workload::Send, 0),
    scenario("receive", PERMISSIVE, Workload::Receive, 0),
    scenario("create-close", PERMISSIVE, Workload::CreateClose, 0),
];

impl Scenario {
    fn run(&self, client: &Client<'_>, iterations: u32, stretch: u32, pause_ms: u32) -> Result<BenchReport> {
        let wish = Bench {
            workload: self.workload as u32,
            client: 0,
            threads: 1,
            // Enough for no endpoint to use up what it may record.
            sockets: 64,
            iterations,
            family: Family::V4.number(),
            code: self.code,
            level: SOL_SOCKET,
            protocol: NULL_PROTOCOL,
            stretch,
            pause_ms,
        };
        measure(client, &wish)
    }
}

/// The kernel's part in the times, function by function.
const KERNEL: [(&str, KernelCall); 6] = [
    ("KeGetCurrentProcessorNumberEx", KernelCall::Processor),
    ("KeQuerySystemTimePrecise", KernelCall::SystemTime),
    ("KeGetCurrentIrql", KernelCall::Irql),
    ("KfRaiseIrql+KeLowerIrql", KernelCall::RaiseLower),
    ("IoInitializeIrp", KernelCall::InitializeIrp),
    ("IoInitializeIrp+IofCompleteRequest", KernelCall::InitializeAndComplete),
];

pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    let mut guard = Guard::open()?;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| only == name);
    for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
        guard.load(scenario.policy)?;
        match options.what {
            What::Times => times(scenario, options)?,
            What::Counts => counts(scenario, &options.probe)?,
        }
    }
    if matches!(options.what, What::Times) && wanted("kernel") {
        kernel(options)?;
    }
    guard.load(PERMISSIVE)
}

fn kernel(options: &BenchOptions) -> Result<()> {
    let probe = Probe::open(&options.probe)?;
    let client = probe.attach(Npi::System)?;
    for (name, call) in KERNEL {
        let scenario = scenario("kernel", PERMISSIVE, Workload::Kernel, call as u32);
        let times = (0..options.rounds.max(1))
            .map(|_| Ok(nanoseconds(&scenario.run(&client, options.iterations, STRETCH, 0)?)))
            .collect::<Result<_>>()?;
        row(&scenario, name, median(times), "ns");
    }
    Ok(())
}

/// The time stamp counter may tick as seldom as every 10 ns.
const STRETCH: u32 = 16;

fn nanoseconds(report: &BenchReport) -> f64 {
    report.median as f64 * 1e9 / report.cycles_per_second.max(1) as f64 / f64::from(STRETCH)
}

fn row(scenario: &Scenario, name: &str, value: f64, unit: &str) {
    println!("{}/{name} {value:.2} {unit}", scenario.name);
}

/// Both ways in turn; medians over the rounds of each round's median.
fn times(scenario: &Scenario, options: &BenchOptions) -> Result<()> {
    let probe = Probe::open(&options.probe)?;
    let (direct, filtered) = (probe.attach(Npi::System)?, probe.attach(Npi::Wskguard)?);
    let (mut bare, mut through, mut extra) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(1) {
        let before = nanoseconds(&scenario.run(&direct, options.iterations, STRETCH, 0)?);
        let with = nanoseconds(&scenario.run(&filtered, options.iterations, STRETCH, 0)?);
        bare.push(before);
        through.push(with);
        extra.push(with - before);
    }
    row(scenario, "direct", median(bare), "ns");
    row(scenario, "filtered", median(through), "ns");
    row(scenario, "extra", median(extra), "ns");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Requests that are counted; more than there are sockets.
const REQUESTS: u32 = 256;

/// Counts what is done in the functions that were called as often as there were requests: the sockets' closing is not.
fn counts(scenario: &Scenario, service: &str) -> Result<()> {
    let probe = Probe::open(service)?;
    let client = probe.attach(Npi::Wskguard)?;
    let verifier = Verifier::open().context("the test kernel's verifier counts")?;
    // What is done once: memory that is kept, work that was put off.
    scenario.run(&client, REQUESTS, 1, 0)?;
    // On a busy machine the counting may begin too late.
    let counted = (0..5).find_map(|attempt| counted(scenario, &client, &verifier, attempt).transpose());
    let functions = counted.with_context(|| format!("{}: not counted", scenario.name))??;
    let each = |many: u64| many as f64 / f64::from(REQUESTS);
    let instructions = functions.iter().map(|function| function.instructions).sum();
    row(scenario, "instructions", each(instructions), "instructions");
    let mut calls = BTreeMap::<_, u64>::new();
    for place in verifier.left()? {
        let name = text(&place.name);
        if !name.is_empty() && functions.iter().any(|function| function.entry == place.entry) {
            *calls.entry(name).or_default() += place.times;
        }
    }
    for (name, many) in calls {
        // What one in many requests does is not counted.
        let many = each(many).round();
        if many > 0.0 {
            row(scenario, &name, many, "calls");
        }
    }
    Ok(())
}

/// The functions that were called once for each request. Counts from the first request on, when the sockets' making has ended and
/// nothing else runs: what two threads do at once is not seen.
fn counted(
    scenario: &Scenario,
    client: &Client<'_>,
    verifier: &Verifier,
    attempt: u32,
) -> Result<Option<Vec<Retired>>> {
    let begin_ms = 200 << attempt;
    verifier.count_instructions(begin_ms)?;
    let result = scenario.run(client, REQUESTS, 1, 2 * begin_ms);
    verifier.count_instructions(0)?;
    result?;
    let mut functions = verifier.retired()?;
    functions.retain(|one| one.calls == u64::from(REQUESTS));
    Ok((!functions.is_empty()).then_some(functions))
}

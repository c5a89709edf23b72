//! `hlk bench`: what the filter adds to a client's calls, in time, or in instructions and kernel calls, over sockets whose provider
//! answers at once. Prints a row per line: name, value, unit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use probe_protocol::netio::NULL_PROTOCOL;
use probe_protocol::probe::{Bench, BenchReport, Workload};
use testkernel_check::verifier::{Verifier, text};

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
    fn run(&self, client: &Client<'_>, iterations: u32, stretch: u32) -> Result<BenchReport> {
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
        };
        measure(client, &wish)
    }
}

pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    let mut guard = Guard::open()?;
    for scenario in &SCENARIOS {
        guard.load(scenario.policy)?;
        match options.what {
            What::Times => times(scenario, options)?,
            What::Counts => counts(scenario, &options.probe)?,
        }
    }
    guard.load(PERMISSIVE)
}

fn row(scenario: &Scenario, name: &str, value: f64, unit: &str) {
    println!("{}/{name} {value:.2} {unit}", scenario.name);
}

/// Both ways in turn; medians over the rounds of each round's median.
fn times(scenario: &Scenario, options: &BenchOptions) -> Result<()> {
    let probe = Probe::open(&options.probe)?;
    let (direct, filtered) = (probe.attach(Npi::System)?, probe.attach(Npi::Wskguard)?);
    // The time stamp counter may tick as seldom as every 10 ns.
    const STRETCH: u32 = 16;
    let nanoseconds =
        |report: &BenchReport| report.median as f64 * 1e9 / report.cycles_per_second.max(1) as f64 / f64::from(STRETCH);
    let (mut bare, mut through, mut extra) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(1) {
        let before = nanoseconds(&scenario.run(&direct, options.iterations, STRETCH)?);
        let with = nanoseconds(&scenario.run(&filtered, options.iterations, STRETCH)?);
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

/// Instructions of wskguard.sys, and where it went, by name.
type Counted = (u64, BTreeMap<String, u64>);

/// Counts a few requests and twice as many: the difference is what requests take, without the sockets' making and closing.
fn counts(scenario: &Scenario, service: &str) -> Result<()> {
    // The shorter the request, the more of them: what else happens, such as the binds' work items, must not show.
    let requests = match scenario.workload {
        Workload::LocalAddress | Workload::Send | Workload::Receive => 4096,
        _ => 64,
    };
    let probe = Probe::open(service)?;
    let client = probe.attach(Npi::Wskguard)?;
    let verifier = Verifier::open().context("the test kernel's verifier counts")?;
    // What is done once: memory that is kept, work that was put off.
    scenario.run(&client, requests, 1)?;
    let few = counted(&verifier, || scenario.run(&client, requests, 1))?;
    let many = counted(&verifier, || scenario.run(&client, 2 * requests, 1))?;
    ensure!(many.0 > few.0, "{}: nothing was counted", scenario.name);
    let each = |more: u64, less: u64| ((more as f64 - less as f64) / f64::from(requests)).round();
    row(scenario, "instructions", each(many.0, few.0), "instructions");
    for (name, &calls) in &many.1 {
        let calls = each(calls, few.1.get(name).copied().unwrap_or(0));
        if calls != 0.0 {
            row(scenario, name, calls, "calls");
        }
    }
    Ok(())
}

fn counted(verifier: &Verifier, body: impl FnOnce() -> Result<BenchReport>) -> Result<Counted> {
    verifier.count_instructions(true)?;
    let result = body();
    verifier.count_instructions(false)?;
    result?;
    let mut left = BTreeMap::new();
    for place in verifier.left()? {
        // Without a name it went by a pointer, or back to its caller, of which the client makes as many as it makes calls.
        let name = text(&place.name);
        if !name.is_empty() {
            *left.entry(name).or_default() += place.calls;
        }
    }
    Ok((verifier.retired()?.instructions, left))
}

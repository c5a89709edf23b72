//! `hlk faults`: every call of the filter that can fail is made to fail, each call site by itself, under the tests of the suite.
//!
//! A test is repeated, and in each run the first call site that has not failed yet fails once, until a run meets none. A run with a
//! failure may end in two ways: the test passes, since the filter could do without, or a call ends for want of resources. In both the
//! session must end as it should, no rule of the kernel may be broken, and nothing may be left. The last run has to pass.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use testkernel_check::service::Service;
use testkernel_check::verifier::{FaultMode, FaultSite, Verifier, text};

use crate::Selection;
use crate::context::{Services, Skip};
use crate::guard::{Guard, PERMISSIVE};
use crate::runner::{Case, Course, cases, run_case};
use crate::suites;
use crate::testkernel::Watch;

#[derive(Args, Debug)]
pub(crate) struct FaultOptions {
    #[command(flatten)]
    selection: Selection,
    /// Write the call sites to a file
    #[arg(long, value_name = "FILE")]
    sites: Option<PathBuf>,
    /// Longest time of one run of a test, in seconds, where the test does not say otherwise
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    limit: u64,
    /// Tell calls apart by all the driver's frames, not by where the call is made alone: many more failures
    #[arg(long)]
    stacks: bool,
    /// Show every failure and what came of it
    #[arg(long, short)]
    verbose: bool,
}

/// Tests that are about stops, or that have calls fail themselves.
const NOT_SWEPT: [&str; 2] = ["misuse::used_after_close", "scarce::"];
/// Runs of one test after which it is given up.
const MOST_RUNS: usize = 300;
/// What a call answers that has failed for want of resources, as the suite's errors say it.
const EXHAUSTED: [&str; 3] = ["INSUFFICIENT_RESOURCES", "os error 1450", "-1073741670"];
/// What a failure comes to where the interface has no way to say more: the function that failed, and what the suite's error says.
const INDIRECT: [(&str, &str); 29] = [
    // The Network Module Registrar tells a client of no provider, and keeps the status to itself.
    ("NmrClientAttachProvider", "STATUS_NOINTERFACE"),
    ("NmrClientAttachProvider", "bindings: 1 instead of 2"),
    // A client whose image cannot be noted has no name.
    ("ExAllocatePool2", "\"\"]"),
    // One that fails closed asks for its provider and is not given it.
    ("IoAllocateWorkItem", "Capture: STATUS_NOINTERFACE"),
    ("ExAllocatePool2", "Capture: STATUS_NOINTERFACE"),
    ("NmrRegisterClient", "Capture: STATUS_NOINTERFACE"),
    // A shim that cannot tell of itself is not listed as bypassing.
    ("ExAllocatePool2", "bypassing: (0, 0) instead of (0, 1)"),
    ("NmrClientAttachProvider", "bypassing: (0, 0) instead of (0, 1)"),
    ("ExAllocatePool2", "bypassing: 0 instead of 1"),
    ("NmrClientAttachProvider", "bypassing: 0 instead of 1"),
    // WskRegister of the system gives the canary no provider: the transparent mode stays out, and says so.
    ("IoAllocateWorkItem", "status: (4, -1073741661)"),
    ("ExAllocatePool2", "status: (4, -1073741661)"),
    ("NmrRegisterClient", "status: (4, -1073741661)"),
    ("NmrClientAttachProvider", "status: (4, -1073741127)"),
    ("IoAllocateWorkItem", "STATUS_DEVICE_NOT_READY after 0 offers"),
    ("ExAllocatePool2", "STATUS_DEVICE_NOT_READY after 0 offers"),
    ("NmrRegisterClient", "STATUS_DEVICE_NOT_READY after 0 offers"),
    // What waits for the other end waits in vain when that end's call has failed; that it comes back at the end is looked at.
    ("ExAllocatePool2", "Accept did not complete"),
    ("ExAllocatePool2", "Receive did not complete"),
    // A connection that cannot be handed out is refused.
    ("ExAllocatePool2", "no Accept came"),
    ("IoAllocateWorkItem", "no Accept came"),
    ("IoAllocateIrp", "no Accept came"),
    // A session that has no room for an event counts it, and the driver cannot do more.
    ("EtwWriteTransfer", "errors: []"),
    ("EtwWriteTransfer", "no event "),
    ("EtwWriteTransfer", "records and events: "),
    ("EtwWriteTransfer", "each record has its event"),
    // A policy that cannot be stored is in force all the same; the status says that it is not stored.
    ("IoOpenDriverRegistryKey", "the policy is not stored"),
    ("ExAllocatePool2", "the policy is not stored"),
    ("ZwSetValueKey", "the policy is not stored"),
];
/// A run looks at every call stack, which takes time: so many times the usual.
const SLOWER: u64 = 3;
const RUNNING: u32 = 4;

/// The tests that this is asked for, each with every failure.
struct Sweep {
    verifier: Verifier,
    watch: Watch,
    services: Services,
    options: FaultOptions,
    runs: usize,
    failures: usize,
    tolerated: usize,
}

pub(crate) fn run(options: FaultOptions) -> Result<ExitCode> {
    let verifier = Verifier::open().context("faults are injected by verifier.sys")?;
    verifier.arm(FaultMode::Off, |_| {})?;
    let chosen: Vec<_> = cases(&options.selection)
        .into_iter()
        .filter(|case| case.reaches_filter() && !NOT_SWEPT.iter().any(|name| case.name().starts_with(name)))
        .collect();
    ensure!(!chosen.is_empty(), "no test is called that");
    let mut sweep = Sweep {
        verifier,
        watch: Watch::begin(),
        services: Services {
            probe: "probe".to_owned(),
            probe2: "probe2".to_owned(),
            extended: false,
            risky: false,
            peer: None,
        },
        options,
        runs: 0,
        failures: 0,
        tolerated: 0,
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in chosen {
        let wrong = sweep.test(case);
        match wrong {
            Ok(true) => passed += 1,
            Ok(false) => skipped += 1,
            Err(why) => {
                failed += 1;
                println!("FAIL  {}", case.name());
                format!("{why:#}").lines().for_each(|line| println!("      {line}"));
            }
        }
    }
    sweep.report()?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0 || passed == 0)))
}

impl Sweep {
    /// Repeats a test until no call site is left that has not failed; false if it was skipped.
    fn test(&mut self, case: Case) -> Result<bool> {
        let mut wrong = Vec::new();
        for _ in 0..MOST_RUNS {
            let before = self.sites()?;
            self.arm_next()?;
            let started = Instant::now();
            let course = run_case(case, &self.services, self.options.limit, SLOWER);
            self.runs += 1;
            let stops = self.watch.new_stops();
            let after = self.sites()?;
            let Some(site) = newly_failed(&before, &after) else {
                wrong.extend(stops);
                let skipped = is_skip(&course);
                if !skipped {
                    wrong.extend(course.body.err().map(|error| format!("without a failure: {error:#}")));
                    wrong.extend(
                        course
                            .end
                            .err()
                            .map(|error| format!("without a failure, at the end: {error:#}")),
                    );
                }
                ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
                return Ok(!skipped);
            };
            self.failures += 1;
            let what = describe(site);
            let outcome = self.judge(&text(&site.function), &course, stops);
            if self.options.verbose {
                let said = course.body.as_ref().err().map(|error| format!("{error:#}"));
                println!(
                    "      {} ({:.1} s): {what}: {}",
                    case.name(),
                    started.elapsed().as_secs_f64(),
                    said.unwrap_or_else(|| "tolerated".to_owned())
                );
            }
            wrong.extend(outcome.into_iter().map(|why| format!("{what} failed: {why}")));
            if let Err(error) = recover() {
                wrong.push(format!("{what} failed; afterwards: {error:#}"));
            }
        }
        anyhow::bail!("new call sites in every run\n{}", wrong.join("\n"))
    }

    /// What is wrong with a run in which one call has failed.
    fn judge(&mut self, function: &str, course: &Course, stops: Vec<String>) -> Vec<String> {
        let mut wrong = stops;
        match &course.body {
            Ok(()) => self.tolerated += 1,
            Err(error) => {
                let said = format!("{error:#}");
                let direct = EXHAUSTED.iter().any(|known| said.contains(known));
                if !direct
                    && !INDIRECT
                        .iter()
                        .any(|(name, known)| *name == function && said.contains(known))
                {
                    wrong.push(said);
                }
            }
        }
        wrong.extend(course.end.as_ref().err().map(|error| format!("at the end: {error:#}")));
        wrong
    }

    /// The next call site, or call stack, that has not failed yet is to fail.
    fn arm_next(&self) -> Result<()> {
        let stacks = self.options.stacks;
        Ok(self.verifier.arm(FaultMode::Next, |round| {
            if !stacks {
                round.depth = 1;
            }
        })?)
    }

    fn sites(&self) -> Result<Vec<FaultSite>> {
        Ok(self.verifier.fault_sites()?)
    }

    /// Prints the sum, and writes what an evaluation needs: the functions that can fail, then each call site.
    fn report(&self) -> Result<()> {
        let sites = self.sites()?;
        self.verifier.arm(FaultMode::Off, |_| {})?;
        let missed = sites.iter().filter(|site| site.failed == 0).count();
        println!(
            "{} {} that can fail, {missed} of them did not; {} failures in {} runs, {} without consequence",
            sites.len(),
            if self.options.stacks {
                "call stacks"
            } else {
                "call sites"
            },
            self.failures,
            self.runs,
            self.tolerated
        );
        let Some(path) = &self.options.sites else { return Ok(()) };
        let mut list = String::new();
        for import in self.verifier.imports()?.iter().filter(|import| import.fallible == 1) {
            if text(&import.module) == "wskguard.sys" {
                writeln!(list, "import {} {}", text(&import.name), import.calls)?;
            }
        }
        for site in sites {
            let offset = site.frames.first().map_or(0, |frame| frame.offset);
            writeln!(
                list,
                "site {} {offset:#x} {} {}",
                text(&site.function),
                site.hits,
                site.failed
            )?;
        }
        fs::write(path, list).with_context(|| path.display().to_string())
    }
}

fn is_skip(course: &Course) -> bool {
    course.body.as_ref().is_err_and(anyhow::Error::is::<Skip>)
}

fn newly_failed<'a>(before: &[FaultSite], after: &'a [FaultSite]) -> Option<&'a FaultSite> {
    let failed = |site: &FaultSite| {
        before
            .iter()
            .find(|old| old.frames == site.frames)
            .map_or(0, |old| old.failed)
    };
    after.iter().find(|site| site.failed > failed(site))
}

fn describe(site: &FaultSite) -> String {
    let frames = site.frames.iter().take(site.depth as usize);
    let offsets: Vec<_> = frames.map(|frame| format!("+{:#x}", frame.offset)).collect();
    format!("{} at {}", text(&site.function), offsets.join(" < "))
}

/// What a test undoes at its end may have been what failed. Afterwards the filter runs, takes clients, and holds nothing.
fn recover() -> Result<()> {
    let service = Service::install(wskguard_abi::SERVICE_NAME, "wskguard.sys").context("the filter's service")?;
    if service.state()? != RUNNING {
        service.start().context("start")?;
        service.wait_for(RUNNING).context("until it runs")?;
    }
    let mut guard = Guard::open()?;
    guard.drain(false)?;
    if guard.load(PERMISSIVE).is_err() {
        // Starts that failed were counted, or the test's kill switch is still there: the filter is turned off.
        drop(guard);
        suites::state::restart_healthy()?;
        guard = Guard::open()?;
        guard.load(PERMISSIVE)?;
    }
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let status = guard.status()?;
        if status.endpoints == 0 && status.clients == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{} endpoints and {} clients are left",
            status.endpoints,
            status.clients
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

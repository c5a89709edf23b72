//! Picks tests, runs each on a thread of its own under a time limit, and tells how they did.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use testkernel_check::verifier::Verifier;

use crate::context::{Context, Services, Skip};
use crate::probe::{Address, Npi, Probe};
use crate::report::{self, Outcome, Verdict};
use crate::testkernel::Watch;
use crate::{RunOptions, Selection, areas, suites};

/// What a test runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// The system's provider.
    Direct,
    /// The filter.
    Filtered,
    /// Both, one after the other: two tests.
    Both,
}

/// A test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    pub(crate) category: &'static str,
    pub(crate) name: &'static str,
    /// What it shows, in one line.
    pub(crate) purpose: &'static str,
    /// Where that is demanded.
    pub(crate) requirement: &'static str,
    pub(crate) paths: Paths,
    /// Seconds, where the runner's limit is too short.
    pub(crate) limit: Option<u64>,
    pub(crate) body: Body,
}

/// What a test does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// A script.
    Script(fn(&Context) -> Result<()>),
    /// A row of the conformance vectors.
    Vector(&'static wskguard_vectors::Vector),
}

/// Declares the tests of a category: `function, paths, "requirement", "purpose";`
macro_rules! tests {
    ($category:literal; $($(@$limit:literal)? $body:ident, $paths:ident, $requirement:literal, $purpose:literal;)*) => {
        pub(crate) const TESTS: &[$crate::runner::Test] = &[$($crate::runner::Test {
            category: $category,
            name: stringify!($body),
            purpose: $purpose,
            requirement: $requirement,
            paths: $crate::runner::Paths::$paths,
            limit: { #[allow(unused_mut, unused_assignments, reason = "not every test has one")] let mut limit = None; $(limit = Some($limit);)? limit },
            body: $crate::runner::Body::Script($body),
        }),*];
    };
}
pub(crate) use tests;

/// A test and the provider it runs against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) test: Test,
    npi: Npi,
}

impl Case {
    /// Whether the filter has to do with it.
    pub(crate) fn reaches_filter(&self) -> bool {
        self.npi != Npi::System
    }

    /// Its place in a report, and its category there.
    pub(crate) fn area(&self) -> (usize, &'static str) {
        areas::of(&self.test)
    }

    pub(crate) fn name(&self) -> String {
        let path = match (self.test.paths, self.npi) {
            (Paths::Both, Npi::System) => "::direct",
            (Paths::Both, _) => "::filtered",
            _ => "",
        };
        format!("{}::{}{path}", self.test.category, self.test.name)
    }
}

pub(crate) fn cases(selection: &Selection) -> Vec<Case> {
    let scripts = suites::ALL.iter().copied().flatten().copied();
    let all = scripts.chain(suites::vectors::tests()).flat_map(|test| {
        let npis: &[Npi] = match test.paths {
            Paths::Direct => &[Npi::System],
            Paths::Filtered => &[Npi::Wskguard],
            Paths::Both => &[Npi::System, Npi::Wskguard],
        };
        npis.iter().map(move |npi| Case { test, npi: *npi })
    });
    let matches = |case: &Case, list: &[String]| {
        let (name, (_, area)) = (case.name(), case.area());
        list.iter().any(|text| name.contains(text.as_str()) || area == text)
    };
    all.filter(|case| selection.filter.is_empty() || matches(case, &selection.filter))
        .filter(|case| !matches(case, &selection.skip))
        .collect()
}

pub(crate) fn list(selection: &Selection) -> ExitCode {
    let mut cases = cases(selection);
    cases.sort_by_key(Case::area);
    let mut last = "";
    for case in &cases {
        let (_, area) = case.area();
        if area != last {
            println!("{area}");
            last = area;
        }
        println!(
            "  {:50} {}  [{}]",
            case.name(),
            case.test.purpose,
            case.test.requirement
        );
    }
    println!("{} tests", cases.len());
    ExitCode::SUCCESS
}

/// How a test went.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) body: Result<()>,
    /// The end of its session, which has conditions of its own.
    pub(crate) end: Result<()>,
}

impl Course {
    fn failed(error: anyhow::Error) -> Self {
        Self {
            body: Err(error),
            end: Ok(()),
        }
    }
}

fn carry_out(case: &Case, services: &Services) -> Course {
    let context = match Context::new(services, case.npi) {
        Ok(context) => context,
        Err(error) => return Course::failed(error),
    };
    let body = catch_unwind(AssertUnwindSafe(|| match case.test.body {
        Body::Script(script) => script(&context),
        Body::Vector(vector) => suites::vectors::run(&context, vector),
    }))
    .unwrap_or_else(|_| Err(anyhow!("the test panicked")));
    Course {
        body,
        end: context.finish(),
    }
}

/// Runs a test on a thread of its own. `limit` in seconds; it and the test's own limit are stretched by `slower`.
pub(crate) fn run_case(case: Case, services: &Services, limit: u64, slower: u64) -> Course {
    let (sender, receiver) = mpsc::channel();
    let services = services.clone();
    let limit = Duration::from_secs(case.test.limit.unwrap_or(limit) * slower);
    // The runner does not wait for a thread that is stuck.
    thread::spawn(move || sender.send(carry_out(&case, &services)));
    let course = receiver.recv_timeout(limit);
    course.unwrap_or_else(|_| Course::failed(anyhow!("not finished after {limit:?}")))
}

fn verdict(course: Course) -> Verdict {
    match course.body.and(course.end) {
        Ok(()) => Verdict::Pass,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Verdict::Skip(skip.0.clone()),
            None => Verdict::Fail(format!("{error:#}")),
        },
    }
}

/// A test during which a rule of the kernel was broken has failed, whatever it says itself.
fn judge(verdict: Verdict, stops: &[String]) -> Verdict {
    if stops.is_empty() {
        return verdict;
    }
    let own = match verdict {
        Verdict::Fail(why) => format!("{why}\n"),
        _ => String::new(),
    };
    Verdict::Fail(format!("{own}the kernel's rules were broken:\n{}", stops.join("\n")))
}

pub(crate) fn run(options: &RunOptions) -> ExitCode {
    crate::probe::TRACE.store(options.trace, Ordering::Relaxed);
    let services = Services {
        probe: options.probe.clone(),
        probe2: options.probe2.clone(),
        extended: options.extended,
        risky: options.risky,
        peer: options.peer.map(Address),
    };
    suites::CYCLES.store(options.cycles, Ordering::Relaxed);
    let begun = options.cover.as_deref().map_or(Ok(()), crate::coverage::begin);
    if let Err(error) = begun {
        eprintln!("hlk: {error:#}");
        return ExitCode::FAILURE;
    }
    let cases = cases(&options.selection);
    let mut outcomes = Vec::new();
    let mut watch = Watch::begin();
    for _ in 0..options.repeat {
        for case in &cases {
            let started = Instant::now();
            let verdict = verdict(run_case(*case, &services, options.limit, 1));
            let verdict = judge(verdict, &watch.new_stops());
            let outcome = Outcome {
                area: case.area(),
                name: case.name(),
                purpose: case.test.purpose,
                requirement: case.test.requirement,
                verdict,
                time: started.elapsed(),
            };
            show(&outcome, options.verbose);
            outcomes.push(outcome);
        }
    }
    let written = write_reports(options, &outcomes);
    if let Err(error) = &written {
        eprintln!("hlk: {error:#}");
    }
    print!("{}", report::table(&outcomes));
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count();
    let failed = count(|verdict| matches!(verdict, Verdict::Fail(_)));
    let passed = count(|verdict| *verdict == Verdict::Pass);
    let skipped = count(|verdict| matches!(verdict, Verdict::Skip(_)));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // Stuck threads do not keep the process.
    let good = failed == 0 && passed > 0 && written.is_ok();
    std::process::exit(i32::from(!good));
}

fn write_reports(options: &RunOptions, outcomes: &[Outcome]) -> Result<()> {
    if let Some(path) = &options.tap {
        report::tap(path, outcomes)?;
    }
    if let Some(path) = &options.junit {
        report::junit(path, outcomes)?;
    }
    if let Some(path) = &options.answers {
        let probe = Probe::open(&options.probe)?;
        let [major, minor, build] = probe.hello()?.windows;
        let system = if Verifier::open().is_ok() {
            "the test kernel: its provider, not Windows'".to_owned()
        } else {
            format!("Windows {major}.{minor}, build {build}")
        };
        fs::write(path, suites::asks::table(&system)).with_context(|| path.display().to_string())?;
    }
    options.covered.as_deref().map_or(Ok(()), crate::coverage::end)
}

fn show(outcome: &Outcome, verbose: bool) {
    let time = outcome.time.as_secs_f64();
    match &outcome.verdict {
        Verdict::Pass if verbose => println!("ok    {} ({time:.2} s)", outcome.name),
        Verdict::Pass => {}
        Verdict::Skip(why) => println!("skip  {}: {why}", outcome.name),
        Verdict::Fail(why) => {
            println!(
                "FAIL  {} ({time:.2} s): {}\n      [{}]",
                outcome.name, outcome.purpose, outcome.requirement
            );
            why.lines().for_each(|line| println!("      {line}"));
        }
    }
}

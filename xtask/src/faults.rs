//! `cargo xtask faults`: every call of wskguard.sys that can fail fails once, each by itself, on the test kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    layout::Layout,
    report::Counts,
    session::{Options, Session, wine_path},
    sites, suite,
};

const LIMIT: Duration = Duration::from_mins(40);
/// Tests that meet many call sites in little time, the filter's start among them.
const SHORT: [&str; 4] = [
    "basics::streams_exchange_data",
    "basics::attach_and_detach",
    "device::small_output_keeps_the_cursor",
    "stop::stop_and_start",
];

#[derive(Args, Debug, Default)]
pub(crate) struct FaultsCommand {
    /// Test this wskguard.sys, not the one built here
    #[arg(long, value_name = "FILE")]
    sys: Option<PathBuf>,
    /// Only under tests whose name contains one of these
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Tell calls apart by all the driver's frames, not by where the call is made alone: many more failures
    #[arg(long)]
    stacks: bool,
    /// Show every failure and what came of it
    #[arg(long, short)]
    verbose: bool,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Call sites that never failed, for people.
    missed: Vec<String>,
    sites: usize,
}

impl Outcome {
    /// An error that lists the call sites which never failed.
    pub(crate) fn complete(&self) -> Result<()> {
        ensure!(self.missed.is_empty(), "never failed:\n{}", self.missed.join("\n"));
        Ok(())
    }
}

/// The command: an error unless every test came through and every call site failed.
pub(crate) fn run_command(layout: &Layout, command: &FaultsCommand) -> Result<()> {
    let outcome = run(layout, command)?;
    for site in &outcome.missed {
        println!("never failed: {site}");
    }
    ensure!(outcome.counts.failed == 0, "{}", outcome.counts);
    Ok(())
}

/// Under every test of the suite.
pub(crate) fn run_all(layout: &Layout) -> Result<Outcome> {
    run(layout, &FaultsCommand::default())
}

/// Under a few tests only, but by every way that leads to a call.
pub(crate) fn run_short(layout: &Layout) -> Result<Counts> {
    let filter = SHORT.map(str::to_owned).to_vec();
    let command = FaultsCommand {
        filter,
        stacks: true,
        ..FaultsCommand::default()
    };
    Ok(run(layout, &command)?.counts)
}

fn run(layout: &Layout, command: &FaultsCommand) -> Result<Outcome> {
    let options = Options {
        wskguard: command.sys.clone(),
        ..Options::new(layout)
    };
    let session = Session::start(layout, &options)?;
    let list = layout.logs()?.join("fault-sites.txt");
    let mut arguments = vec!["faults".to_owned(), format!("--sites={}", wine_path(&list))];
    arguments.extend(command.filter.iter().map(|text| format!("--filter={text}")));
    if command.stacks {
        arguments.push("--stacks".to_owned());
    }
    if command.verbose {
        arguments.push("--verbose".to_owned());
    }
    let counts = suite::run_hlk(layout, &session, &arguments, "faults.log", LIMIT)?;
    // What a failure made the driver lose shows when it is unloaded.
    session.stop_drivers(&options)?;
    let printed = session.printed();
    ensure!(
        counts.failed > 0 || !printed.contains("STOP"),
        "left behind:\n{printed}"
    );
    let driver = command.sys.clone().unwrap_or_else(|| layout.out().join("wskguard.sys"));
    let outcome = evaluate(&driver, &fs::read_to_string(&list)?, counts)?;
    println!(
        "    {} of the {} call sites in the code that can fail have failed",
        outcome.sites - outcome.missed.len(),
        outcome.sites
    );
    Ok(outcome)
}

/// Holds what was seen to fail against the calls in the driver's code.
fn evaluate(driver: &Path, list: &str, counts: Counts) -> Result<Outcome> {
    let mut functions = BTreeSet::new();
    let mut failed: BTreeMap<u64, u64> = BTreeMap::new();
    for line in list.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["import", name, _] => {
                functions.insert(name.to_owned());
            }
            ["site", _, offset, _, count] => {
                let offset = u64::from_str_radix(offset.trim_start_matches("0x"), 16)?;
                *failed.entry(offset).or_default() += count.parse::<u64>()?;
            }
            _ => anyhow::bail!("{line:?} in the list of call sites"),
        }
    }
    let sites = sites::of(driver, &functions).context("call sites in the code")?;
    ensure!(!sites.is_empty(), "no calls found in the code");
    let missed = sites
        .iter()
        .filter(|site| failed.get(&site.returns).is_none_or(|count| *count == 0));
    Ok(Outcome {
        counts,
        missed: missed.map(|site| sites::place(driver, site)).collect(),
        sites: sites.len(),
    })
}

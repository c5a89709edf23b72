//! `cargo xtask mutants`: changes the core in one place after another and looks whether a test notices.
//!
//! What is changed is what cargo-mutants lists; mutants of tests and of the models for loom do not count (`.cargo/mutants.toml`), nor do
//! those that do not compile. The tests are the core's own, those of the policy compiler, which makes images for it, and the conformance
//! vectors. To compile for each mutant takes hours, so that as many as can be go into one copy of the sources, each behind a switch that
//! is set when a test starts. The others, those that the compiler itself computes or that do not compile beside their like, are compiled
//! one by one; the core's own tests come first, the others' only after those.

mod copy;
mod single;
mod trial;
mod weave;

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::{copy::Copy, weave::Mutant};
use crate::{command, layout::Layout};

/// Percent that must be noticed.
const GOAL: usize = 90;
pub(super) const PACKAGES: [&str; 3] = ["wskguard-core", "wskguard-policy", "wskguard-vectors"];
/// Bytes that a test may have mapped: some mutants collect for ever.
const MEMORY: u64 = 8 << 30;

#[derive(Args, Debug, Default)]
pub(crate) struct MutantsCommand {
    /// Only one part of them, of parts of the same size: 0/10 is the first of ten
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only those in files that this pattern fits (may be repeated)
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// Only those whose name, as the lists have it, contains this (may be repeated)
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// How many at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    jobs: usize,
}

/// What has become of mutants, by name.
#[derive(Debug, Default)]
struct Verdicts {
    killed: BTreeSet<String>,
    survived: BTreeSet<String>,
    not_compiled: usize,
}

impl Verdicts {
    fn write(&self, folder: &Path) -> Result<()> {
        write(&folder.join("killed.txt"), &self.killed)?;
        write(&folder.join("survived.txt"), &self.survived)
    }
}

pub(crate) fn run(layout: &Layout, wish: &MutantsCommand) -> Result<()> {
    if command::output(Command::new("cargo").args(["mutants", "--version"])).is_err() {
        println!("Running cargo install --locked cargo-mutants.");
        command::run(Command::new("cargo").args(["install", "--locked", "cargo-mutants"]))?;
    }
    let folder = layout.target.join("mutants");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mutants = list(layout, wish)?;
    println!("{} mutants", mutants.len());
    let mut verdicts = Verdicts::default();
    let left = switched(layout, &folder, &mutants, wish.jobs, &mut verdicts)?;
    println!("{} are to be compiled one by one", left.len());
    single::each(layout, &folder, &left, wish.jobs, &mut verdicts)?;
    close(&folder, &verdicts)
}

fn close(folder: &Path, verdicts: &Verdicts) -> Result<()> {
    verdicts.write(folder)?;
    for name in &verdicts.survived {
        println!("survived: {name}");
    }
    let killed = verdicts.killed.len();
    let all = killed + verdicts.survived.len();
    let percent = (100 * killed).checked_div(all).unwrap_or(0);
    println!(
        "{killed} of {all} mutants killed: {percent} % ({} more do not compile)",
        verdicts.not_compiled
    );
    ensure!(percent >= GOAL, "{GOAL} % wanted");
    Ok(())
}

fn list(layout: &Layout, wish: &MutantsCommand) -> Result<Vec<Mutant>> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args(["mutants", "--list", "--json", "--package=wskguard-core"])
        .args(wish.file.iter().map(|glob| format!("--file={glob}")));
    if let Some(shard) = &wish.shard {
        cargo.args([&format!("--shard={shard}"), "--sharding=round-robin"]);
    }
    let mut mutants: Vec<Mutant> =
        serde_json::from_str(&command::output(&mut cargo)?).context("the list of mutants")?;
    // cargo-mutants has an option for this, which leaves fields of structures in.
    mutants.retain(|mutant| wish.name.is_empty() || wish.name.iter().any(|text| mutant.name.contains(text)));
    Ok(mutants)
}

/// Tries those that one copy of the sources can hold, and returns the others.
fn switched<'a>(
    layout: &Layout,
    folder: &Path,
    mutants: &'a [Mutant],
    jobs: usize,
    verdicts: &mut Verdicts,
) -> Result<Vec<&'a Mutant>> {
    let begun = Instant::now();
    let mut copy = Copy::new(layout, &folder.join("copy"), mutants.len())?;
    let programs = copy.build(layout, mutants)?;
    println!("compiled after {} s", begun.elapsed().as_secs());
    limit_memory()?;
    let tests = trial::tests(&programs, folder)?;
    println!("{} tests, after {} s", tests.len(), begun.elapsed().as_secs());
    let tried: Vec<_> = (0..mutants.len())
        .filter(|number| !copy.left.contains(number))
        .collect();
    let survived = trial::survivors(&programs, &tests, &tried, jobs)?;
    for number in tried {
        let list = if survived.contains(&number) {
            &mut verdicts.survived
        } else {
            &mut verdicts.killed
        };
        list.insert(mutants[number].name.clone());
    }
    verdicts.write(folder)?;
    println!(
        "{} of {} killed, after {} s",
        verdicts.killed.len(),
        verdicts.killed.len() + survived.len(),
        begun.elapsed().as_secs()
    );
    Ok(copy.left.iter().map(|number| &mutants[*number]).collect())
}

fn write(path: &Path, names: &BTreeSet<String>) -> Result<()> {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Ok(fs::write(path, names.join("\n") + "\n")?)
}

/// For this process and those that it starts.
#[cfg(unix)]
fn limit_memory() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_AS)?;
    Ok(setrlimit(Resource::RLIMIT_AS, MEMORY.min(hard), hard)?)
}

#[cfg(not(unix))]
fn limit_memory() -> Result<()> {
    Ok(())
}

//! `cargo xtask mutants`: changes the core in one place after another and looks whether a test notices (cargo-mutants).
//!
//! The tests are the core's own, those of the policy compiler, which makes images for it, and the conformance vectors. Mutants of tests and
//! of the models for loom do not count (`.cargo/mutants.toml`), nor do those that do not compile.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{command, layout::Layout};

/// Percent that must be noticed.
const GOAL: usize = 90;

#[derive(Args, Debug, Default)]
pub(crate) struct MutantsCommand {
    /// Only one part of them, of parts of the same size: 0/10 is the first of ten
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only those in files that this pattern fits (may be repeated)
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// How many at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    jobs: usize,
}

const TESTED_BY: &str = "wskguard-core,wskguard-policy,wskguard-vectors";

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
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args(["mutants", "--package=wskguard-core", "--timeout=300", "--colors=never"])
        .arg(format!("--test-package={TESTED_BY}"))
        .arg(format!("--jobs={}", wish.jobs))
        .arg("--output")
        .arg(&folder)
        .args(wish.file.iter().map(|glob| format!("--file={glob}")));
    if let Some(shard) = &wish.shard {
        cargo.args([&format!("--shard={shard}"), "--sharding=round-robin"]);
    }
    // Nobody debugs them, and they are linked a thousand times.
    cargo
        .args(["--", "--lib", "--tests"])
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Survivors make it fail; what it found counts. Without its lists it did not come to its end.
    let ended = command::run(&mut cargo);
    let lists = folder.join("mutants.out");
    ensure!(lists.join("missed.txt").is_file(), "cargo-mutants stopped: {ended:?}");
    // One that does not come to its end is noticed too.
    let killed = lines(&lists.join("caught.txt"))?.len() + lines(&lists.join("timeout.txt"))?.len();
    let survived = lines(&lists.join("missed.txt"))?;
    for name in &survived {
        println!("survived: {name}");
    }
    let all = killed + survived.len();
    let percent = (100 * killed).checked_div(all).unwrap_or(0);
    println!("{killed} of {all} mutants killed: {percent} %");
    ensure!(percent >= GOAL, "{GOAL} % wanted");
    Ok(())
}

fn lines(path: &Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

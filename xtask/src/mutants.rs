//! `cargo xtask mutants`: changes the core in one place after another and looks whether a test notices (cargo-mutants).
//!
//! What the core's own tests let pass is tried again against those of the policy compiler and the conformance vectors, which take
//! longer to build. Mutants of tests and of the models for loom do not count (`.cargo/mutants.toml`), nor do those that do not compile.

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

/// What came of some mutants, by their names.
#[derive(Debug, Default)]
struct Outcome {
    /// Noticed, by a failure or by not coming to an end.
    killed: usize,
    survived: Vec<String>,
}

pub(crate) fn run(layout: &Layout, wish: &MutantsCommand) -> Result<()> {
    if command::output(Command::new("cargo").args(["mutants", "--version"])).is_err() {
        println!("Running cargo install --locked cargo-mutants.");
        command::run(Command::new("cargo").args(["install", "--locked", "cargo-mutants"]))?;
    }
    let mut chosen: Vec<String> = wish.file.iter().map(|glob| format!("--file={glob}")).collect();
    if let Some(shard) = &wish.shard {
        chosen.extend([format!("--shard={shard}"), "--sharding=round-robin".to_owned()]);
    }
    let first = tested(layout, wish, "core", &["wskguard-core"], &chosen)?;
    let others = ["wskguard-policy", "wskguard-vectors"];
    let second = if first.survived.is_empty() {
        Outcome::default()
    } else {
        tested(layout, wish, "others", &others, &by_name(&first.survived))?
    };
    let killed = first.killed + second.killed;
    let all = killed + second.survived.len();
    for name in &second.survived {
        println!("survived: {name}");
    }
    let percent = (100 * killed).checked_div(all).unwrap_or(0);
    println!("{killed} of {all} mutants killed: {percent} %");
    ensure!(percent >= GOAL, "{GOAL} % wanted");
    Ok(())
}

/// Runs the tests of `packages` against the mutants that `chosen` names.
fn tested(layout: &Layout, wish: &MutantsCommand, name: &str, packages: &[&str], chosen: &[String]) -> Result<Outcome> {
    let folder = layout.target.join("mutants").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args(["mutants", "--package=wskguard-core", "--timeout=300", "--colors=never"])
        .arg(format!("--jobs={}", wish.jobs))
        .arg(format!("--test-package={}", packages.join(",")))
        .arg("--output")
        .arg(&folder)
        .args(chosen)
        .args(["--", "--lib", "--tests"])
        // Nobody debugs them, and they are linked a thousand times.
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Survivors make it fail; what it found counts. Without its lists it did not come to its end.
    let ended = command::run(&mut cargo);
    let lists = folder.join("mutants.out");
    ensure!(lists.join("missed.txt").is_file(), "cargo-mutants stopped: {ended:?}");
    Ok(Outcome {
        killed: lines(&lists.join("caught.txt"))?.len() + lines(&lists.join("timeout.txt"))?.len(),
        survived: lines(&lists.join("missed.txt"))?,
    })
}

fn lines(path: &Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect())
}

/// Exactly these.
fn by_name(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("--re=^{}$", escaped(name))).collect()
}

fn escaped(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if !character.is_alphanumeric() && !character.is_whitespace() {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

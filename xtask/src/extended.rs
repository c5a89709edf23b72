//! What `cargo xtask test --extended` adds: fuzzing, loom, Miri, the suite under other flags of the verifier, every failure, many cycles,
//! coverage.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{command, coverage, faults, layout::Layout, report::Report, suite};

const LIMIT: Duration = Duration::from_hours(1);
/// Seconds for each fuzz target.
const FUZZ_SECONDS: u32 = 60;
/// Flags of the verifier that the suite runs under besides its standard.
pub(crate) const FLAG_SETS: [&str; 3] = ["standard,pool_before", "standard,concurrent", "standard,delays"];

/// On the host: what needs another compiler or other flags.
pub(crate) fn on_host(layout: &Layout, report: &mut Report) {
    report.test("loom: every interleaving", || loom(layout));
    report.test("Miri: the core's unit tests", || miri(layout));
    report.test("10000000 random and mutated device requests", || hostile(layout));
    match fuzz_targets(layout) {
        Ok(targets) => {
            for target in targets {
                report.test(&format!("fuzzing {target} for {FUZZ_SECONDS} s"), || {
                    fuzz(layout, &target)
                });
            }
        }
        Err(error) => report.test("fuzzing", || Err(error)),
    }
}

/// On the test kernel.
pub(crate) fn on_test_kernel(layout: &Layout, report: &mut Report) {
    for flags in FLAG_SETS {
        let name = format!("hlk --verifier {flags}");
        report.counted(&name, || suite::run_with(layout, flags, &[]));
    }
    report.counted("hlk: stress, eight times", || {
        suite::run_with(
            layout,
            "standard,concurrent,delays",
            &["--filter=load::", "--filter=cancel::", "--repeat=8"],
        )
    });
    report.counted("hlk: endurance, at length", || {
        suite::run_with(layout, "standard", &["--filter=endurance::", "--extended"])
    });
    report.counted("hlk: 200 cycles", || {
        suite::run_with(layout, "standard", &["--filter=stop::cycles", "--cycles=200"])
    });
    match faults::run_all(layout) {
        Ok(outcome) => {
            report.add("hlk faults", outcome.counts);
            report.test("every call site that can fail has failed", || outcome.complete());
        }
        Err(error) => report.test("hlk faults", || Err(error)),
    }
    report.test("coverage", || {
        coverage::run_command(layout, &coverage::CoverageCommand::default())
    });
}

fn logged(layout: &Layout, command: &mut Command, log: &str) -> Result<()> {
    let log = layout.logs()?.join(log);
    let finished = command::run_logged(command, &log, LIMIT)?;
    if finished.success() {
        return Ok(());
    }
    bail!("{}\n{}", command::describe(command), tail(&log))
}

/// The end of a log, which says why.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn loom(layout: &Layout) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args([
            "test",
            "--locked",
            "--release",
            "-p",
            "wskguard-core",
            "--lib",
            "--target-dir",
        ])
        .arg(layout.target.join("loom"))
        .arg("interleavings")
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    logged(layout, &mut cargo, "loom.log")
}

fn hostile(layout: &Layout) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args([
            "test",
            "--locked",
            "--release",
            "-p",
            "wskguard-abi",
            "--test",
            "hostile",
        ])
        .env("WSKGUARD_HOSTILE", "10000000");
    logged(layout, &mut cargo, "hostile.log")
}

fn nightly(layout: &Layout) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("+nightly").current_dir(&layout.root);
    // What the present toolchain's cargo has set would be inherited.
    cargo
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    cargo
}

fn miri(layout: &Layout) -> Result<()> {
    if command::output(nightly(layout).args(["miri", "--version"])).is_err() {
        say_and_run(&[
            "rustup",
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "miri,rust-src",
        ])?;
    }
    let mut cargo = nightly(layout);
    cargo
        .args([
            "miri",
            "test",
            "--locked",
            "-p",
            "wskguard-core",
            "--lib",
            "--target-dir",
        ])
        .arg(layout.target.join("miri"))
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    logged(layout, &mut cargo, "miri.log")
}

fn fuzz_targets(layout: &Layout) -> Result<Vec<String>> {
    if command::output(nightly(layout).arg("--version")).is_err() {
        say_and_run(&["rustup", "toolchain", "install", "nightly", "--profile", "minimal"])?;
    }
    if command::output(nightly(layout).args(["fuzz", "--version"])).is_err() {
        say_and_run(&["cargo", "install", "--locked", "cargo-fuzz"])?;
    }
    let mut targets = Vec::new();
    for entry in fs::read_dir(layout.root.join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    ensure!(!targets.is_empty(), "no fuzz targets");
    Ok(targets)
}

/// What is found goes to the first folder; the seeds are only read.
fn fuzz(layout: &Layout, target: &str) -> Result<()> {
    let found = layout.target.join("fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut cargo = nightly(layout);
    cargo
        .args(["fuzz", "run", "--target-dir"])
        .arg(layout.target.join("fuzz"))
        .arg(target)
        .arg(found)
        .arg(layout.root.join("fuzz/corpus").join(target))
        .args((target == "policy_text").then(|| layout.root.join("policies")))
        .args(["--", &format!("-max_total_time={FUZZ_SECONDS}"), "-timeout=10"]);
    let log = format!("fuzz-{target}.log");
    logged(layout, &mut cargo, &log)?;
    println!("    {}", fuzzed(&layout.logs()?.join(log)));
    Ok(())
}

/// libFuzzer's closing line: runs, seconds.
fn fuzzed(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .rfind(|line| line.starts_with("Done "))
        .unwrap_or_default()
        .to_owned()
}

fn say_and_run(words: &[&str]) -> Result<()> {
    println!("Running {}.", words.join(" "));
    let (program, arguments) = words.split_first().context("a command")?;
    command::run(Command::new(program).args(arguments))
}

//! `cargo xtask test`: everything that decides whether a change is good.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::{
    bench,
    build::{self, DRIVER_TARGET, DRIVERS, PROGRAM_TARGET, PROGRAMS},
    checks, command, docs, extended, faults,
    layout::Layout,
    package,
    report::{Counts, Report},
    reproducible, setup, suite,
    wdk::Wdk,
};

const CARGO_LIMIT: Duration = Duration::from_mins(30);

#[derive(Args, Debug)]
pub(crate) struct TestCommand {
    /// Leave out the second build from nothing, which takes a minute or two
    #[arg(long)]
    quick: bool,
    /// Also what takes long: fuzzing, loom, Miri, the suite under other flags of the verifier, every failure, 200 cycles, coverage
    #[arg(long, conflicts_with = "quick")]
    extended: bool,
}

pub(crate) fn run(layout: &Layout, command: &TestCommand) -> Result<()> {
    setup::run()?;
    let logs = layout.logs()?;
    let mut report = Report::default();

    println!("Form");
    lints(layout, &logs, &mut report)?;
    println!("Host tests");
    host_tests(layout, &logs, &mut report);
    println!("Drivers");
    let mut built = false;
    report.test("the drivers and programs build", || {
        build::run(layout, &build::Options::default())?;
        built = true;
        Ok(())
    });
    // Without drivers there is nothing to look at, and the failure is counted.
    if built {
        checks::run(layout, &mut report);
        if command.quick {
            report.skip(reproducible::NAME, "--quick");
        } else {
            reproducible::test(layout, &mut report);
        }
        println!("Package");
        package::test(layout, &mut report);
        println!("Documents");
        docs::test(layout, &mut report);
        println!("Test kernel");
        report.counted("verifier", || suite::run_verifier_cases(layout));
        report.counted("hlk", || suite::run_all(layout));
        report.counted("companion", || suite::run_companion(layout));
        if command.extended {
            extended::on_test_kernel(layout, &mut report);
        } else {
            report.counted("hlk faults, a few tests", || faults::run_short(layout));
        }
        report.test("instructions and kernel calls of requests", || {
            bench::driver::check(layout)
        });
    }
    if command.extended {
        println!("Extended, on the host");
        extended::on_host(layout, &mut report);
    }
    report.close()
}

/// Formatting and lints: the host's crates, the drivers, the programs.
fn lints(layout: &Layout, logs: &Path, report: &mut Report) -> Result<()> {
    let cargo = || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&layout.root);
        cargo
    };
    report.test("cargo fmt --check", || {
        logged(cargo().args(["fmt", "--all", "--check"]), &logs.join("fmt.log"))
    });
    report.test("clippy: host", || {
        logged(
            cargo().args(["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]),
            &logs.join("clippy-host.log"),
        )
    });
    let wdk = Wdk::prepare(layout)?;
    report.test("clippy: drivers", || {
        let mut cargo = wdk.cargo();
        cargo
            .args([
                "clippy",
                "--locked",
                "--release",
                "--target",
                DRIVER_TARGET,
                "--target-dir",
            ])
            .arg(&layout.target);
        for package in DRIVERS.iter().map(|driver| driver.package).chain(["wskguard-shim"]) {
            cargo.args(["--package", package]);
        }
        logged(cargo.args(["--", "-D", "warnings"]), &logs.join("clippy-drivers.log"))
    });
    report.test("clippy: programs", || {
        let mut cargo = cargo();
        cargo.args(["clippy", "--locked", "--profile", "program", "--target", PROGRAM_TARGET]);
        for program in PROGRAMS {
            cargo.args(["--package", program.package]);
        }
        logged(cargo.args(["--", "-D", "warnings"]), &logs.join("clippy-programs.log"))
    });
    Ok(())
}

/// The companion is built without its live view unless asked for; its tests are to run all the same.
const LIVE_VIEW: &str = "--features=wskguardctl/top";

fn host_tests(layout: &Layout, logs: &Path, report: &mut Report) {
    let has_nextest = command::output(Command::new("cargo").args(["nextest", "--version"])).is_ok();
    let arguments: &[&[&str]] = if has_nextest {
        &[
            &[
                "nextest",
                "run",
                "--locked",
                "--no-fail-fast",
                LIVE_VIEW,
                "--color=never",
                "--cargo-quiet",
                "--no-tests=pass",
            ],
            &["test", "--locked", "--quiet", "--doc"],
        ]
    } else {
        &[&["test", "--locked", "--quiet", "--no-fail-fast", LIVE_VIEW]]
    };
    for (index, arguments) in arguments.iter().enumerate() {
        let name = format!("cargo {} {}", arguments[0], arguments.last().unwrap_or(&""));
        let log = logs.join(format!("host-tests-{index}.log"));
        match host_test(layout, arguments, &log) {
            Ok(counts) => report.add(&name, counts),
            Err(error) => report.test(&name, || Err(error)),
        }
    }
}

fn host_test(layout: &Layout, arguments: &[&str], log: &Path) -> Result<Counts> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&layout.root).args(arguments);
    let finished = command::run_logged(&mut cargo, log, CARGO_LIMIT)?;
    let text = fs::read_to_string(log)?;
    let counts = count_tests(&text);
    if !finished.success() {
        println!("{text}");
        ensure!(counts.failed > 0, "{} failed", command::describe(&cargo));
    }
    Ok(counts)
}

/// Sums the results that cargo's test runners print.
fn count_tests(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().map(str::trim) {
        // libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`; nextest: `Summary […] 4 tests run: 4 passed, 0 skipped`
        let results = line
            .strip_prefix("test result:")
            .and_then(|rest| rest.split_once(". "))
            .map(|(_, results)| results);
        let summary = line
            .strip_prefix("Summary")
            .and_then(|rest| rest.split_once(" run: "))
            .map(|(_, results)| results);
        for part in results.or(summary).unwrap_or_default().split([',', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => counts.passed += number,
                "failed" | "timed" => counts.failed += number,
                "ignored" | "skipped" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

/// Runs a command whose output matters only if it fails.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let finished = command::run_logged(command, log, CARGO_LIMIT)?;
    if finished.success() {
        return Ok(());
    }
    bail!(
        "{}\n{}",
        command::describe(command),
        fs::read_to_string(log).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let libtest =
            "running 4 tests\n....\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            count_tests(libtest),
            Counts {
                passed: 3,
                failed: 0,
                skipped: 1
            }
        );
        let failed = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            count_tests(failed),
            Counts {
                passed: 3,
                failed: 2,
                skipped: 0
            }
        );
        let nextest = "     Summary [   0.011s] 7 tests run: 6 passed (1 slow), 1 failed, 2 skipped\n";
        assert_eq!(
            count_tests(nextest),
            Counts {
                passed: 6,
                failed: 1,
                skipped: 2
            }
        );
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(
            count_tests("3 passed\nwarning: 5 failed, 1 skipped\n"),
            Counts::default()
        );
    }
}

//! Runs the HLK-style suite against a wskguard.sys on the test kernel, and the test kernel's own tests.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{
    layout::Layout,
    report::Counts,
    session::{self, Options, Session},
};

const LIMIT: Duration = Duration::from_mins(20);

#[derive(Args, Debug, Default)]
pub(crate) struct SuiteCommand {
    /// Test this wskguard.sys, not the one built here
    #[arg(long, value_name = "FILE")]
    sys: Option<PathBuf>,
    /// What hlk.exe is to run, in its own words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// The whole suite against the wskguard.sys built here.
pub(crate) fn run_all(layout: &Layout) -> Result<Counts> {
    run(layout, &SuiteCommand::default())
}

/// Runs the suite in a session of its own and shows its output. An error unless it comes to its end.
fn run(layout: &Layout, command: &SuiteCommand) -> Result<Counts> {
    let options = Options {
        wskguard: command.sys.clone(),
        ..Options::new(layout)
    };
    let session = Session::start(layout, &options)?;
    let log = layout.logs()?.join("hlk.log");
    let mut arguments = vec!["run".to_owned()];
    arguments.extend_from_slice(&command.arguments);
    let finished = session.run_logged(&layout.out().join("hlk.exe"), &arguments, &log, LIMIT)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    print!("{text}");
    let printed = format!("the drivers printed: {}", session.log().display());
    if finished.timed_out() {
        bail!("hlk.exe did not end within {} s; {printed}", LIMIT.as_secs());
    }
    let closing = text.lines().rfind(|line| !line.trim().is_empty());
    let closing = closing.with_context(|| format!("hlk.exe printed nothing; {printed}"))?;
    let counts = Counts::parse(closing).with_context(|| format!("hlk.exe stopped half-way; {printed}"))?;
    ensure!(
        finished.success() == (counts.failed == 0),
        "hlk.exe ended with {:?} after {closing:?}",
        finished.status
    );
    ensure!(counts.passed + counts.failed > 0, "hlk.exe ran no test");
    if counts.failed == 0 {
        session.forget_log();
    } else {
        println!("{printed}");
    }
    Ok(counts)
}

/// The verifier's own tests: each of its rules must catch the driver that breaks it. The verifier is there alone.
pub(crate) fn run_verifier_cases(layout: &Layout) -> Result<Counts> {
    let without = ["netio", "probe", "wskguard"].map(str::to_owned).to_vec();
    let session = Session::start(
        layout,
        &Options {
            without,
            ..Options::new(layout)
        },
    )?;
    let log = layout.logs()?.join("verifier-cases.log");
    let faulty = session::wine_path(&layout.out().join("faulty.sys"));
    let finished = session.run_logged(&layout.out().join("check.exe"), &[faulty], &log, LIMIT)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count() as u64;
    let counts = Counts {
        passed: count("ok "),
        failed: count("FAIL "),
        skipped: 0,
    };
    let printed = format!("the drivers printed: {}", session.log().display());
    ensure!(
        !finished.timed_out(),
        "check.exe did not end within {} s; {printed}\n{text}",
        LIMIT.as_secs()
    );
    ensure!(
        finished.success() == (counts.failed == 0),
        "check.exe ended with {:?}; {printed}\n{text}",
        finished.status
    );
    ensure!(counts.passed + counts.failed > 0, "check.exe ran no test");
    if counts.failed == 0 {
        session.forget_log();
    } else {
        println!("{text}{printed}");
    }
    Ok(counts)
}

/// The same as a command: an error if a test failed.
pub(crate) fn run_command(layout: &Layout, command: &SuiteCommand) -> Result<()> {
    let counts = run(layout, command)?;
    ensure!(counts.failed == 0, "{counts}");
    Ok(())
}

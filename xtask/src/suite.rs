//! Runs the HLK-style suite against a wskguard.sys on the test kernel, and the test kernel's own tests.

use std::{
    fs,
    path::{self, PathBuf},
    time::Duration,
};

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
    /// Show the tests with purpose and requirement, and run none
    #[arg(long)]
    list: bool,
    /// Only tests whose name contains this (may be repeated)
    #[arg(long, short, value_name = "TEXT")]
    filter: Vec<String>,
    /// Not the tests whose name contains this (may be repeated)
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a TAP report
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Ask the provider what its documentation leaves open, and print the answers as a table (target/logs/answers.md)
    #[arg(long, conflicts_with_all = ["list", "filter"])]
    questions: bool,
    /// What the verifier checks: `standard`, `none`, a number, or some of special_pool, pool_before, pool_tracking, irql, locks, irp,
    /// objects, concurrent, delays; joined by commas
    #[arg(long, value_name = "FLAGS", value_parser = flags)]
    verifier: Option<u32>,
    /// Test this wskguard.sys, not the one built here
    #[arg(long, value_name = "FILE")]
    sys: Option<PathBuf>,
    /// Show every test, not only those that fail
    #[arg(long, short)]
    verbose: bool,
    /// What hlk.exe is told besides, in its own words
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Bits of `testkernel_protocol`'s flags by name; the protocol's crate is for drivers and is not linked here.
const FLAGS: [(&str, u32); 11] = [
    ("none", 0),
    ("standard", 0x7d),
    ("special_pool", 1),
    ("pool_before", 1 << 1),
    ("pool_tracking", 1 << 2),
    ("irql", 1 << 3),
    ("locks", 1 << 4),
    ("irp", 1 << 5),
    ("objects", 1 << 6),
    ("concurrent", 1 << 7),
    ("delays", 1 << 8),
];

fn flags(text: &str) -> Result<u32, String> {
    text.split(',').try_fold(0, |all, word| {
        let named = FLAGS.iter().find(|(name, _)| *name == word).map(|(_, bits)| *bits);
        let digits = word.strip_prefix("0x");
        let number = || digits.map_or_else(|| word.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok());
        named
            .or_else(number)
            .map(|bits| all | bits)
            .ok_or_else(|| format!("{word:?} is no flag"))
    })
}

impl SuiteCommand {
    /// What hlk.exe is told.
    fn words(&self) -> Vec<String> {
        let each = |name: &str, values: &[String]| -> Vec<String> {
            values.iter().map(|value| format!("--{name}={value}")).collect()
        };
        let mut words = vec![if self.list { "list" } else { "run" }.to_owned()];
        words.extend(each("filter", &self.filter));
        words.extend(each("skip", &self.skip));
        for (name, file) in [("junit", &self.junit), ("tap", &self.tap)] {
            let file = file
                .as_ref()
                .map(|file| path::absolute(file).unwrap_or_else(|_| file.clone()));
            words.extend(file.map(|file| format!("--{name}={}", session::wine_path(&file))));
        }
        if self.questions {
            words.extend(["--filter=asks::".to_owned(), "--risky".to_owned()]);
        }
        words.extend(self.verbose.then(|| "--verbose".to_owned()));
        words.extend_from_slice(&self.arguments);
        words
    }
}

/// The whole suite against the wskguard.sys built here.
pub(crate) fn run_all(layout: &Layout) -> Result<Counts> {
    run(layout, &SuiteCommand::default())
}

/// The whole suite with these flags of the verifier, and `arguments` besides.
pub(crate) fn run_with(layout: &Layout, verifier: &str, arguments: &[&str]) -> Result<Counts> {
    let command = SuiteCommand {
        verifier: Some(flags(verifier).map_err(anyhow::Error::msg)?),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..SuiteCommand::default()
    };
    run(layout, &command)
}

/// Runs the suite in a session of its own and shows its output. An error unless it comes to its end.
fn run(layout: &Layout, command: &SuiteCommand) -> Result<Counts> {
    let options = Options {
        wskguard: command.sys.clone(),
        verifier: command.verifier,
        ..Options::new(layout)
    };
    let session = Session::start(layout, &options)?;
    let answers = layout.logs()?.join("answers.md");
    let mut words = command.words();
    if command.questions {
        words.push(format!("--answers={}", session::wine_path(&answers)));
    }
    let counts = run_hlk(layout, &session, &words, "hlk.log", LIMIT)?;
    if command.questions {
        println!("{}", fs::read_to_string(&answers)?);
    }
    if counts.failed == 0 {
        session.forget_log();
    }
    Ok(counts)
}

/// Runs hlk.exe in a session, shows its output, and reads its closing line. An error unless it comes to its end.
pub(crate) fn run_hlk(
    layout: &Layout,
    session: &Session,
    arguments: &[String],
    log: &str,
    limit: Duration,
) -> Result<Counts> {
    let log = layout.logs()?.join(log);
    let finished = session.run_logged(&layout.out().join("hlk.exe"), arguments, &log, limit)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    print!("{text}");
    let printed = format!("the drivers printed: {}", session.log().display());
    if finished.timed_out() {
        bail!("hlk.exe did not end within {} s; {printed}", limit.as_secs());
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
    if counts.failed > 0 {
        println!("{printed}");
    }
    Ok(counts)
}

/// Shows the tests: hlk.exe alone, without a driver.
fn list(layout: &Layout, command: &SuiteCommand) -> Result<()> {
    let without = ["verifier", "netio", "probe", "wskguard"].map(str::to_owned).to_vec();
    let session = Session::start(
        layout,
        &Options {
            without,
            ..Options::new(layout)
        },
    )?;
    let finished = session.run(&layout.out().join("hlk.exe"), &command.words(), LIMIT)?;
    ensure!(finished.success(), "hlk.exe failed");
    session.forget_log();
    Ok(())
}

/// The verifier's own tests: each of its rules must catch the driver that breaks it. The verifier is there alone.
pub(crate) fn run_verifier_cases(layout: &Layout) -> Result<Counts> {
    let without = ["netio", "probe", "wskguard"].map(str::to_owned).to_vec();
    let session = Session::start_untested(
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

/// Every command of wskguardctl.exe on the live driver. What was typed and printed is left in the logs folder.
pub(crate) fn run_companion(layout: &Layout) -> Result<Counts> {
    let session = Session::start(layout, &Options::new(layout))?;
    let (out, logs) = (layout.out(), layout.logs()?);
    let scratch = logs.join("companion");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    let option = |name: &str, path: &path::Path| format!("--{name}={}", session::wine_path(path));
    let arguments = [
        "companion".to_owned(),
        option("ctl", &out.join("wskguardctl.exe")),
        option("policy", &layout.root.join("policies/demo.toml")),
        option("scratch", &scratch),
        option("transcript", &logs.join("companion.txt")),
    ];
    let log = logs.join("companion.log");
    let finished = session.run_logged(&out.join("hlk.exe"), &arguments, &log, LIMIT)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let printed = format!("the drivers printed: {}", session.log().display());
    ensure!(!finished.timed_out(), "the session did not end; {printed}\n{text}");
    let closing = text.lines().rfind(|line| !line.trim().is_empty());
    let counts = closing
        .and_then(|line| Counts::parse(line).ok())
        .with_context(|| format!("the session stopped half-way; {printed}\n{text}"))?;
    if counts.failed == 0 {
        session.forget_log();
    } else {
        println!("{text}{printed}");
    }
    Ok(counts)
}

/// The same as a command: an error if a test failed.
pub(crate) fn run_command(layout: &Layout, command: &SuiteCommand) -> Result<()> {
    if command.list {
        return list(layout, command);
    }
    let counts = run(layout, command)?;
    ensure!(counts.failed == 0, "{counts}");
    Ok(())
}

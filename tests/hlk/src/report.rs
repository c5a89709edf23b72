//! Results as a table, TAP and JUnit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail(String),
    Skip(String),
}

/// One result.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Place and name of its category.
    pub(crate) area: (usize, &'static str),
    pub(crate) name: String,
    pub(crate) purpose: &'static str,
    pub(crate) requirement: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) time: Duration,
}

impl Outcome {
    fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Fail(_))
    }

    fn skipped(&self) -> bool {
        matches!(self.verdict, Verdict::Skip(_))
    }
}

/// What came of some tests.
#[derive(Debug, Default)]
struct Sum {
    tests: usize,
    failed: usize,
    skipped: usize,
    seconds: f64,
}

/// The sums by category.
fn sums(outcomes: &[Outcome]) -> BTreeMap<(usize, &'static str), Sum> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for outcome in outcomes {
        let sum = sums.entry(outcome.area).or_default();
        sum.tests += 1;
        sum.failed += usize::from(outcome.failed());
        sum.skipped += usize::from(outcome.skipped());
        sum.seconds += outcome.time.as_secs_f64();
    }
    sums
}

/// One line for each category.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:24} {:>6} {:>6} {:>7} {:>8}\n",
        "category", "passed", "failed", "skipped", "seconds"
    );
    for ((_, area), sum) in sums(outcomes) {
        let passed = sum.tests - sum.failed - sum.skipped;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{area:24} {passed:>6} {:>6} {:>7} {:>8.1}",
            sum.failed, sum.skipped, sum.seconds
        );
    }
    text
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

pub(crate) fn tap(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut text = format!("TAP version 14\n1..{}\n", outcomes.len());
    for (index, outcome) in outcomes.iter().enumerate() {
        let (ok, directive) = match &outcome.verdict {
            Verdict::Pass => ("ok", String::new()),
            Verdict::Fail(_) => ("not ok", String::new()),
            Verdict::Skip(why) => ("ok", format!(" # SKIP {}", why.replace('\n', " "))),
        };
        writeln!(text, "{ok} {} - {}{directive}", index + 1, outcome.name)?;
        if let Verdict::Fail(why) = &outcome.verdict {
            writeln!(text, "  ---\n  requirement: \"{}\"\n  message: |", outcome.requirement)?;
            for line in why.lines() {
                writeln!(text, "    {line}")?;
            }
            writeln!(text, "  ...")?;
        }
    }
    write(path, &text)
}

fn escape(text: &str) -> String {
    let replaced = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    replaced.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// A test suite for each category.
pub(crate) fn junit(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"hlk\">\n");
    for (area, sum) in sums(outcomes) {
        writeln!(
            text,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escape(area.1),
            sum.tests,
            sum.failed,
            sum.skipped,
            sum.seconds
        )?;
        for outcome in outcomes.iter().filter(|outcome| outcome.area == area) {
            writeln!(text, "{}", case(outcome))?;
        }
        text += "</testsuite>\n";
    }
    text += "</testsuites>\n";
    write(path, &text)
}

fn case(outcome: &Outcome) -> String {
    let (class, name) = outcome.name.rsplit_once("::").unwrap_or(("", &outcome.name));
    let head = format!(
        "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escape(class),
        escape(name),
        outcome.time.as_secs_f64()
    );
    let inside = match &outcome.verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail(why) => format!("<failure>{}</failure>", escape(why)),
        Verdict::Skip(why) => format!("<skipped message=\"{}\"/>", escape(why)),
    };
    let told = [("purpose", outcome.purpose), ("requirement", outcome.requirement)]
        .map(|(name, value)| format!("<property name=\"{name}\" value=\"{}\"/>", escape(value)))
        .concat();
    format!("{head}><properties>{told}</properties>{inside}</testcase>")
}

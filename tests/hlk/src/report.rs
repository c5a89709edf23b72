//! Results as TAP and JUnit.

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
    pub(crate) name: String,
    pub(crate) purpose: &'static str,
    pub(crate) requirement: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) time: Duration,
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

pub(crate) fn junit(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count();
    let failures = count(|verdict| matches!(verdict, Verdict::Fail(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skip(_)));
    let time: f64 = outcomes.iter().map(|outcome| outcome.time.as_secs_f64()).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    writeln!(
        text,
        "<testsuite name=\"hlk\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{time:.3}\">",
        outcomes.len()
    )?;
    for outcome in outcomes {
        let (class, name) = outcome.name.rsplit_once("::").unwrap_or(("", &outcome.name));
        let seconds = outcome.time.as_secs_f64();
        let head = format!(
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"",
            escape(class),
            escape(name)
        );
        match &outcome.verdict {
            Verdict::Pass => writeln!(text, "{head}/>")?,
            Verdict::Fail(why) => writeln!(text, "{head}><failure>{}</failure></testcase>", escape(why))?,
            Verdict::Skip(why) => writeln!(text, "{head}><skipped message=\"{}\"/></testcase>", escape(why))?,
        }
    }
    text += "</testsuite>\n";
    write(path, &text)
}

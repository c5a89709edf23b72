//! Requests through wskguard.sys on the test kernel, by `hlk bench`: in time, and in instructions and kernel calls, which are the same
//! in each run, so that they can be compared with what is committed.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use super::Row;
use crate::{
    layout::Layout,
    session::{Options, Session},
};

const LIMIT: Duration = Duration::from_mins(10);
/// How much more instructions than the baseline are none, and how much less: what a new compiler's choices make.
const TOLERANCE: f64 = 0.03;

/// What is good enough.
const TARGETS: [(&str, f64); 6] = [
    ("get/extra", 45.0),
    ("set-unknown/extra", 45.0),
    ("set-audited/extra", 120.0),
    ("local-address/extra", 5.0),
    ("send/extra", 5.0),
    ("receive/extra", 5.0),
];

/// Rows that `hlk bench` prints in a session of its own, in which the verifier only supplies what Wine lacks.
fn rows(layout: &Layout, arguments: &[&str]) -> Result<Vec<(String, f64, String)>> {
    let options = Options {
        verifier: Some(0),
        ..Options::new(layout)
    };
    let session = Session::start(layout, &options)?;
    let log = layout.logs()?.join("bench.log");
    let arguments: Vec<_> = ["bench"].iter().chain(arguments).map(|&word| word.to_owned()).collect();
    let finished = session.run_logged(&layout.out().join("hlk.exe"), &arguments, &log, LIMIT)?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        finished.success(),
        "hlk bench failed: {text}\nthe drivers printed: {}",
        session.log().display()
    );
    session.forget_log();
    let rows: Vec<_> = text.lines().filter_map(parse).collect();
    ensure!(!rows.is_empty(), "hlk bench printed nothing");
    Ok(rows)
}

/// `name value unit`.
pub(super) fn parse(line: &str) -> Option<(String, f64, String)> {
    let mut words = line.split_whitespace();
    let (name, value, unit) = (words.next()?, words.next()?, words.next()?);
    Some((name.to_owned(), value.parse().ok()?, unit.to_owned()))
}

fn row((name, value, unit): (String, f64, String)) -> Row {
    let target = TARGETS.iter().find(|(of, _)| *of == name).map(|&(_, most)| most);
    Row {
        name: format!("driver/{name}"),
        value,
        unit,
        target,
        met: target.map(|most| value <= most),
    }
}

pub(super) fn times(layout: &Layout, rounds: u16, only: Option<&str>) -> Result<Vec<Row>> {
    let rounds = rounds.to_string();
    let mut arguments = vec!["times", "--rounds", &rounds];
    if let Some(only) = only {
        arguments.extend(["--only", only]);
    }
    let rows = rows(layout, &arguments)?;
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn counts(layout: &Layout) -> Result<Vec<Row>> {
    let mut rows: Vec<_> = rows(layout, &["counts"])?.into_iter().map(row).collect();
    // What was not called has no row.
    for (call, most) in [("ExAllocatePool2", 0.0), ("IofCompleteRequest", 1.0)] {
        let name = format!("driver/set-audited/{call}");
        let calls = rows.iter().find(|row| row.name == name).map_or(0.0, |row| row.value);
        rows.retain(|row| row.name != name);
        rows.push(Row {
            name,
            value: calls,
            unit: "calls".to_owned(),
            target: Some(most),
            met: Some(calls <= most),
        });
    }
    Ok(rows)
}

/// Value by name.
type Baseline = BTreeMap<String, f64>;

fn baseline_file(layout: &Layout) -> PathBuf {
    layout.root.join("tests/bench/baseline.json")
}

/// Makes what is counted now the baseline.
pub(super) fn accept(layout: &Layout) -> Result<()> {
    let counted: Baseline = measured(layout)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&counted)?);
    let file = baseline_file(layout);
    fs::write(&file, text).with_context(|| file.display().to_string())
}

fn measured(layout: &Layout) -> Result<Baseline> {
    let rows = rows(layout, &["counts"])?;
    Ok(rows.into_iter().map(|(name, value, _)| (name, value)).collect())
}

/// Compares instructions and kernel calls of each kind of request with the committed ones.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let file = baseline_file(layout);
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let differences = differences(&serde_json::from_str(&text)?, &measured(layout)?);
    ensure!(
        differences.is_empty(),
        "{}\nIf that is meant: cargo xtask bench driver --accept",
        differences.join("\n")
    );
    Ok(())
}

/// Calls must be the same, instructions nearly so.
fn differences(committed: &Baseline, counted: &Baseline) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = committed.keys().chain(counted.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let of = |all: &Baseline| all.get(name).copied().unwrap_or(0.0);
        let (before, now) = (of(committed), of(counted));
        let tolerance = if name.ends_with("/instructions") {
            before * TOLERANCE
        } else {
            0.01
        };
        if (now - before).abs() > tolerance {
            differences.push(format!("{name}: {before} in the baseline, {now} now"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[(&str, f64)]) -> Baseline {
        values.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn rows_are_read() {
        assert_eq!(
            parse("get/extra 12.50 ns"),
            Some(("get/extra".to_owned(), 12.5, "ns".to_owned()))
        );
        assert_eq!(parse("hlk: no such device"), None);
    }

    #[test]
    fn instructions_may_vary_a_little_and_calls_not() {
        let committed = counts(&[("get/instructions", 1000.0), ("get/IofCompleteRequest", 1.0)]);
        assert!(
            differences(
                &committed,
                &counts(&[("get/instructions", 1029.0), ("get/IofCompleteRequest", 1.0)])
            )
            .is_empty()
        );
        for (worse, complaints) in [
            (
                counts(&[("get/instructions", 1031.0), ("get/IofCompleteRequest", 1.0)]),
                1,
            ),
            (
                counts(&[("get/instructions", 969.0), ("get/IofCompleteRequest", 2.0)]),
                2,
            ),
            (counts(&[("get/instructions", 1000.0)]), 1),
            (
                counts(&[
                    ("get/instructions", 1000.0),
                    ("get/IofCompleteRequest", 1.0),
                    ("get/ExAllocatePool2", 1.0),
                ]),
                1,
            ),
        ] {
            assert_eq!(differences(&committed, &worse).len(), complaints, "{worse:?}");
        }
    }
}

//! Runner of the conformance vectors.
//!
//! A vector is a sequence of calls on fresh sockets with what must come of them. This crate reads the file, runs each vector once for
//! every combination of family, type and category that it holds for, and compares. What carries out the calls is a [`Backend`]; the one
//! here, [`Record`], is the engine of `wskguard-core` by itself. Ids serve reports only.

pub mod backend;
pub mod check;
pub mod format;
mod record;
mod strict;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use backend::{Backend, Observed, Run, Stop};
use check::Done;
pub use format::{Layer, Vector};
pub use record::Record;

/// How a vector did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// As expected in every combination.
    Pass,
    /// Not as expected, and why.
    Fail(String),
    /// Could not be decided here, and why.
    Unsupported(String),
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these layers; all if empty.
    pub layers: Vec<Layer>,
    /// Runs the rows in an order that this number picks.
    pub shuffle: Option<u64>,
}

/// One row's result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Its layer.
    pub layer: Layer,
    /// Its verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Its remark.
    pub remark: Option<String>,
}

/// All results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// In the order in which they were run.
    pub rows: Vec<Row>,
    /// Rows of layer `note`, which are for people.
    pub notes: usize,
}

impl Report {
    /// Passed, failed, unsupported.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |test: fn(&Verdict) -> bool| self.rows.iter().filter(|row| test(&row.verdict)).count();
        (
            count(|v| *v == Verdict::Pass),
            count(|v| matches!(v, Verdict::Fail(_))),
            count(|v| matches!(v, Verdict::Unsupported(_))),
        )
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.counts().1 == 0
    }

    /// Takes over what another backend made of the rows that this one could not run. Rows are matched by their place in the file's order,
    /// which is the same for both.
    pub fn complete(&mut self, other: Self) {
        for (mine, theirs) in self.rows.iter_mut().zip(other.rows) {
            if matches!(mine.verdict, Verdict::Unsupported(_)) {
                mine.verdict = theirs.verdict;
            }
        }
    }

    /// Reads what [`Report::save`] has written.
    ///
    /// # Errors
    /// The file's, or that it is not a report.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    /// Writes the report to a file, as JSON.
    ///
    /// # Errors
    /// The file's.
    pub fn save(&self, file: &Path) -> Result<()> {
        std::fs::write(file, serde_json::to_vec(self)?).with_context(|| file.display().to_string())
    }

    /// Writes failures, the reasons of what is unsupported, and a last line `N passed, N failed, N unsupported`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, out: &mut impl Write, verbose: bool) -> io::Result<()> {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.rows {
            match &row.verdict {
                Verdict::Fail(why) => {
                    let remark = row
                        .remark
                        .as_ref()
                        .map(|remark| format!(" (remark: {remark})"))
                        .unwrap_or_default();
                    writeln!(out, "fail         {}: {why}{remark}", row.id)?;
                }
                Verdict::Pass if verbose => writeln!(out, "pass         {}", row.id)?,
                Verdict::Unsupported(why) if verbose => writeln!(out, "unsupported  {}: {why}", row.id)?,
                Verdict::Unsupported(why) => *reasons.entry(why).or_default() += 1,
                Verdict::Pass => {}
            }
        }
        for (why, count) in reasons {
            writeln!(out, "{count} unsupported: {why}")?;
        }
        if self.notes > 0 {
            writeln!(out, "{} notes, which no one can run", self.notes)?;
        }
        let (passed, failed, unsupported) = self.counts();
        writeln!(out, "{passed} passed, {failed} failed, {unsupported} unsupported")
    }
}

/// Runs the vectors of `file` on `backend`.
///
/// # Errors
/// The file is not as the format says.
pub fn run(file: &Path, selection: &Selection, backend: &mut dyn Backend) -> Result<Report> {
    Ok(run_vectors(format::read(file)?, selection, backend))
}

/// Runs vectors that have been read.
pub fn run_vectors(vectors: Vec<Vector>, selection: &Selection, backend: &mut dyn Backend) -> Report {
    run_each(vectors, selection, |vector| run_vector(vector, backend))
}

/// Has `verdict` decide each of the vectors that are selected.
pub fn run_each(
    mut vectors: Vec<Vector>,
    selection: &Selection,
    mut verdict: impl FnMut(&Vector) -> Verdict,
) -> Report {
    if let Some(seed) = selection.shuffle {
        shuffle(&mut vectors, seed);
    }
    let mut report = Report::default();
    for vector in vectors {
        if !selection.layers.is_empty() && !selection.layers.contains(&vector.layer) {
            continue;
        }
        if vector.layer == Layer::Note {
            report.notes += 1;
            continue;
        }
        report.rows.push(Row {
            verdict: verdict(&vector),
            id: vector.id,
            layer: vector.layer,
            remark: vector.remark,
        });
    }
    report
}

/// Fisher and Yates, with a generator that is good enough to change an order.
fn shuffle<T>(list: &mut [T], mut seed: u64) {
    for i in (1..list.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(seed >> 33).unwrap_or(0) % (i + 1);
        list.swap(i, other);
    }
}

/// Runs one vector in every combination: one failure fails it, one undecided combination leaves it undecided.
fn run_vector(vector: &Vector, backend: &mut dyn Backend) -> Verdict {
    if let Some(why) = backend.refuses(vector.layer) {
        return Verdict::Unsupported(why);
    }
    let mut undecided = None;
    for combination in vector.sockets.combinations() {
        match run_once(vector, combination, backend) {
            Verdict::Pass => {}
            Verdict::Fail(why) => return Verdict::Fail(format!("{}{why}", describe(combination))),
            Verdict::Unsupported(why) => undecided = Some(why),
        }
    }
    undecided.map_or(Verdict::Pass, Verdict::Unsupported)
}

fn describe(combination: format::Combination) -> String {
    let format::Combination {
        family,
        socket_type,
        category,
    } = combination;
    let words = [
        family.map(|f| format!("{f:?}")),
        socket_type.map(|t| format!("{t:?}")),
        category.map(|c| format!("{c:?}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() {
        String::new()
    } else {
        format!("[{}] ", words.join(" ").to_lowercase())
    }
}

fn run_once(vector: &Vector, combination: format::Combination, backend: &mut dyn Backend) -> Verdict {
    let mut run = match backend.start(combination) {
        Ok(run) => run,
        Err(stop) => return stopped(stop, "start"),
    };
    let mut history: Vec<Done> = Vec::new();
    let mut unchecked = None;
    for step in &vector.steps {
        let n = step.n;
        let observed = match run.step(step) {
            Ok(observed) => observed,
            Err(stop) => return stopped(stop, &format!("step {n}")),
        };
        match &step.expect {
            None if observed.failed() => {
                return Verdict::Fail(format!("step {n}: preparation failed: {observed:?}"));
            }
            None => {}
            Some(expect) => match check::check(expect, &observed, &history) {
                Err(error) => return Verdict::Fail(format!("step {n}: {error:#}")),
                Ok(findings) => {
                    if let Some(why) = findings.wrong.first() {
                        return Verdict::Fail(format!("step {n}: {why}"));
                    }
                    unchecked = unchecked.or_else(|| findings.unchecked.into_iter().next());
                }
            },
        }
        history.push(Done { n, observed });
    }
    unchecked.map_or(Verdict::Pass, |why| Verdict::Unsupported(format!("not checked: {why}")))
}

fn stopped(stop: Stop, at: &str) -> Verdict {
    match stop {
        Stop::Unsupported(why) => Verdict::Unsupported(why),
        Stop::Broken(error) => Verdict::Fail(format!("{at}: {error:#}")),
    }
}

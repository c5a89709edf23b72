//! The same script against the system's provider and through the filter: what a client can observe must be the same.
//!
//! "Returned S and completed S" and "returned pending and completed S" count as the same observation: WSK allows both.

use anyhow::{Result, bail};

use crate::probe::{Client, Done, Npi, Probe};
use crate::status;

/// What a script observed, line by line, and which calls returned before they were complete.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Vec<String>,
    pended: Vec<(String, bool)>,
}

impl Trace {
    /// Notes a call: its final status, `Information` where it is a count, and the bytes that were written.
    pub(crate) fn note(&mut self, what: &str, done: &Done) {
        let information = match done.is(probe_protocol::probe::Progress::IS_SOCKET) {
            true => {
                if done.information() == 0 {
                    "no socket".to_owned()
                } else {
                    "a socket".to_owned()
                }
            }
            false => done.information().to_string(),
        };
        let result = status::name(done.result());
        self.pended
            .push((format!("{:?}", done.function), done.outcome.returned == status::PENDING));
        self.lines.push(format!(
            "{what}: {result}, information {information}, output {:02X?}",
            done.output
        ));
    }

    /// Notes anything else.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

/// Runs `script` on both paths and compares.
pub(crate) fn compare(probe: &Probe, script: impl Fn(&Client<'_>, &mut Trace) -> Result<()>) -> Result<()> {
    let mut traces = Vec::new();
    for npi in [Npi::System, Npi::Wskguard] {
        let client = probe.attach(npi)?;
        let mut trace = Trace::default();
        script(&client, &mut trace)?;
        traces.push(trace);
    }
    let [direct, filtered] = traces.as_slice() else {
        bail!("two paths")
    };
    if direct.lines == filtered.lines {
        tell_differences(direct, filtered);
        return Ok(());
    }
    let mut text = String::from("the filter shows:");
    for index in 0..direct.lines.len().max(filtered.lines.len()) {
        let line = |trace: &Trace| {
            trace
                .lines
                .get(index)
                .cloned()
                .unwrap_or_else(|| "(nothing)".to_owned())
        };
        let (direct, filtered) = (line(direct), line(filtered));
        if direct != filtered {
            text += &format!("\n  - {direct}\n  + {filtered}");
        }
    }
    bail!(text)
}

/// Prints the functions that pended on one path and completed before their return on the other.
fn tell_differences(direct: &Trace, filtered: &Trace) {
    let mut functions: Vec<String> = Vec::new();
    for ((function, direct), (_, filtered)) in direct.pended.iter().zip(&filtered.pended) {
        let which = if *filtered {
            "pended through the filter only"
        } else {
            "pended directly only"
        };
        let line = format!("{function} ({which})");
        if direct != filtered && !functions.contains(&line) {
            functions.push(line);
        }
    }
    if !functions.is_empty() {
        println!("      returned otherwise: {}", functions.join(", "));
    }
}

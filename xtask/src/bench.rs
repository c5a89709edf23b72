//! `cargo xtask bench`: what things cost, beside others that do the same, in one report.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;

#[derive(Args, Debug)]
pub(crate) struct BenchCommand {
    /// What to measure
    #[arg(default_value = "all")]
    what: What,
    /// Write the rows to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print a Markdown table
    #[arg(long)]
    markdown: bool,
    /// Turns of every contender; results are medians over them
    #[arg(long, value_name = "COUNT", default_value_t = 7)]
    rounds: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The core on the host, beside well-known crates
    Core,
    All,
}

/// One line of the report.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: String,
    target: Option<f64>,
    met: Option<bool>,
}

/// All lines, with the machine they hold for.
#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    rows: Vec<Row>,
}

pub(crate) fn run(layout: &Layout, command: &BenchCommand) -> Result<()> {
    let report = Report {
        machine: machine(),
        rows: match command.what {
            What::Core | What::All => core(layout, command.rounds)?,
        },
    };
    print!(
        "{}",
        if command.markdown {
            markdown(&report)
        } else {
            table(&report)
        }
    );
    if let Some(file) = &command.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    let missed = report.rows.iter().filter(|row| row.met == Some(false)).count();
    let met = report.rows.iter().filter(|row| row.met == Some(true)).count();
    println!("{met} targets met, {missed} missed");
    Ok(())
}

fn core(layout: &Layout, rounds: u16) -> Result<Vec<Row>> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.root)
        .args([
            "run",
            "--quiet",
            "--locked",
            "--profile",
            "bench",
            "-p",
            "wskguard-bench",
            "--",
        ])
        .args(["--rounds", &rounds.to_string()])
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cargo")?;
    ensure!(output.status.success(), "the benchmarks of the core failed");
    serde_json::from_slice(&output.stdout).context("the benchmarks of the core")
}

/// Processor and count, so that a report can be placed.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(": ")?.1.to_owned())
    });
    format!("{cpus} x {}", model.as_deref().unwrap_or("unknown processor"))
}

fn verdict(row: &Row) -> String {
    match (row.target, row.met) {
        (Some(target), Some(met)) => {
            let bound = if matches!(row.unit.as_str(), "x" | "M/s") {
                ">="
            } else {
                "<="
            };
            format!("{} ({bound} {target})", if met { "met" } else { "MISSED" })
        }
        _ => String::new(),
    }
}

fn table(report: &Report) -> String {
    let mut text = format!("{}\n", report.machine);
    for row in &report.rows {
        let line = format!("{:<48} {:>10.2} {:<6} {}", row.name, row.value, row.unit, verdict(row));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn markdown(report: &Report) -> String {
    let mut text = format!("{}\n\n| what | value | target |\n|---|---|---|\n", report.machine);
    for row in &report.rows {
        let _ = writeln!(
            text,
            "| {} | {:.2} {} | {} |",
            row.name,
            row.value,
            row.unit,
            verdict(row)
        );
    }
    text
}

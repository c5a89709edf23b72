//! `cargo xtask bench`: what things cost, beside others that do the same, in one report.

pub(crate) mod driver;
mod peers;
mod sizes;

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
    /// Of the driver, only this kind of request (`set-audited`, say), or only the `kernel`'s part, and only in time
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Make the instructions and kernel calls counted now the baseline that `cargo xtask test` compares with, and measure nothing
    #[arg(long)]
    accept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The core on the host, beside well-known crates
    Core,
    /// Requests through wskguard.sys, in time, and in instructions and kernel calls (on the test kernel; build first)
    Driver,
    /// What does the same job elsewhere: Linux's cgroup/setsockopt BPF hook (as root)
    Peers,
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
    if command.accept {
        return driver::accept(layout);
    }
    let mut rows = Vec::new();
    let wants = |what| matches!(command.what, What::All) || command.what == what;
    if wants(What::Core) {
        rows.extend(core(layout, command.rounds)?);
    }
    if wants(What::Driver) {
        rows.extend(driver::times(layout, command.rounds, command.only.as_deref())?);
        if command.only.is_none() {
            rows.extend(driver::counts(layout)?);
            rows.extend(sizes::rows(layout)?);
        }
    }
    if wants(What::Peers) {
        rows.extend(peers::run(layout, command.rounds)?);
    }
    rows.extend(share_of_the_hook(&rows));
    let report = Report {
        machine: machine(),
        rows,
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

/// What the filter adds to a request that it only decides on, as a share of what the hook adds to one.
fn share_of_the_hook(rows: &[Row]) -> Option<Row> {
    let value = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.value);
    let share = value("driver/get/extra")? / value("peer/bpf/decided-extra")?;
    Some(Row {
        name: "driver/get/extra-vs-bpf".to_owned(),
        value: share,
        unit: "times".to_owned(),
        target: Some(0.2),
        met: Some(share <= 0.2),
    })
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

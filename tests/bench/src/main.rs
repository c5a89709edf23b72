//! Benchmarks of the core: `cargo run --profile bench -p wskguard-bench -- [core] [--rounds N] [--only PART] [--json]`.
//!
//! Prints a line per result, or with `--json` an array of `{name, value, unit, target, met}`. Fails when a target was missed.
//! Absolute times depend on the machine; the targets are ratios between contenders that ran in turn, and rates far from its limits.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "measurements"
)]

mod harness;
mod index;
mod runtime;
mod table;

use std::process::ExitCode;

use harness::Row;

struct Options {
    rounds: usize,
    only: Option<String>,
    json: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        rounds: 7,
        only: None,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "core" => {}
            "--json" => options.json = true,
            "--rounds" => {
                let rounds = arguments.next().and_then(|number| number.parse().ok());
                options.rounds = rounds
                    .filter(|&rounds| rounds > 0)
                    .ok_or("--rounds needs a number above 0")?;
            }
            "--only" => options.only = Some(arguments.next().ok_or("--only needs table or runtime")?),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    let wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    if wanted("table") {
        table::run(options.rounds, &mut rows);
    }
    if wanted("runtime") {
        runtime::run(options.rounds, &mut rows);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("rows are plain data"));
    } else {
        rows.iter().for_each(print);
    }
    if rows.iter().any(|row| row.met == Some(false)) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn print(row: &Row) {
    let verdict = match (row.target, row.met) {
        (Some(target), Some(met)) => format!("  {} (at least {target})", if met { "met" } else { "MISSED" }),
        _ => String::new(),
    };
    println!("{:<48} {:>10.2} {}{verdict}", row.name, row.value, row.unit);
}

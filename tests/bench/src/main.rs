//! Benchmarks of the core, run by `cargo xtask bench core`. Prints an array of `{name, value, unit, target, met}` as JSON.
//!
//! Absolute times depend on the machine; the targets are ratios between contenders that ran in turn, and rates far from its limits.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "measurements"
)]

mod decide;
mod harness;
mod index;
mod runtime;
mod table;

use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(name = "wskguard-bench", about = "Benchmarks of the core")]
struct Options {
    /// Turns of every contender; results are medians over them
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// Measure nothing: decide and record this many requests, for a profiler to look at
    #[arg(long, value_name = "COUNT")]
    requests: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Decide,
    Runtime,
    Table,
}

fn main() {
    let options = Options::parse();
    if let Some(count) = options.requests {
        return decide::profiled(count);
    }
    let mut rows = Vec::new();
    for (part, run) in [
        (Part::Decide, decide::run as fn(usize, &mut Vec<_>)),
        (Part::Runtime, runtime::run),
        (Part::Table, table::run),
    ] {
        if options.only.is_none_or(|only| only == part) {
            run(options.rounds.into(), &mut rows);
        }
    }
    println!("{}", serde_json::to_string_pretty(&rows).expect("rows are plain data"));
}

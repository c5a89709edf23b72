//! The suite: a client driver that tests script (`probe`), the filter's own control device (`guard`), and the tests by category.
//!
//! It runs wherever the drivers are loaded, on the test kernel and on Windows, and tells the two apart nowhere.
#![cfg_attr(not(windows), allow(unused))]
#![allow(
    dead_code,
    clippy::pedantic,
    reason = "scripts read best in their own words; not every one uses all of them"
)]

#[cfg(windows)]
mod areas;
#[cfg(windows)]
mod bench;
#[cfg(windows)]
mod cclient;
#[cfg(windows)]
mod check;
#[cfg(windows)]
mod companion;
#[cfg(windows)]
mod context;
#[cfg(windows)]
mod coverage;
#[cfg(windows)]
mod demo;
#[cfg(windows)]
#[allow(unsafe_code, reason = "calls the operating system")]
mod device;
#[cfg(windows)]
mod faults;
#[cfg(windows)]
mod fidelity;
#[cfg(windows)]
mod guard;
#[cfg(windows)]
mod live;
#[cfg(windows)]
mod probe;
#[cfg(windows)]
#[allow(unsafe_code, reason = "calls the operating system")]
mod registry;
#[cfg(windows)]
mod report;
#[cfg(windows)]
mod runner;
#[cfg(windows)]
mod status;
#[cfg(windows)]
mod suites;
#[cfg(windows)]
mod testkernel;
#[cfg(windows)]
mod vectors;
#[cfg(windows)]
mod wsk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(
    name = "hlk",
    about = "Tests of wskguard.sys through a scripted client driver",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the tests with their purpose
    List(Selection),
    /// Run the tests
    Run(RunOptions),
    /// Run the tests with each call of the filter that can fail failing once (test kernel only)
    #[cfg(windows)]
    Faults(faults::FaultOptions),
    /// Run the conformance vectors of a file that need a driver, through the filter in strict mode
    #[cfg(windows)]
    Vectors(vectors::VectorOptions),
    /// Measure what calls cost, with the filter and without
    Bench(BenchOptions),
    /// Show what wskguard does, step by step
    #[cfg(windows)]
    Demo(demo::DemoOptions),
    /// Show which script covers which function, callback and rule
    #[cfg(windows)]
    Scripts,
    /// Use every command of wskguardctl.exe on the live driver; ends with the lock
    #[cfg(windows)]
    Companion(companion::CompanionOptions),
    /// Say what an unloaded wskguard.sys has left behind (test kernel only)
    #[cfg(windows)]
    Leftovers,
}

#[derive(Args, Debug, Default)]
struct Selection {
    /// Only tests whose name contains one of these, or of one of these categories
    #[arg(long, short, value_name = "TEXT")]
    filter: Vec<String>,
    /// Not the tests whose name contains one of these
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
}

#[derive(Args, Debug, Default)]
struct RunOptions {
    #[command(flatten)]
    selection: Selection,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a TAP report
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Write what the provider answered to the questions that its documentation leaves open
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Ask also what a provider could answer by stopping the system
    #[arg(long)]
    risky: bool,
    /// A TCP address and port that accepts, and can be cut off while it is connected: for the question about keep-alive
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<SocketAddr>,
    /// Longest time of one test, in seconds, where the test does not say otherwise
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    limit: u64,
    /// Service name of the first client driver
    #[arg(long, value_name = "NAME", default_value = "probe")]
    probe: String,
    /// Service name of the second client driver
    #[arg(long, value_name = "NAME", default_value = "probe2")]
    probe2: String,
    /// Let the tests of endurance take their time: minutes, and many sockets
    #[arg(long)]
    extended: bool,
    /// Show every test, not only those that fail
    #[arg(long, short)]
    verbose: bool,
    /// Show every call that the tests make
    #[arg(long)]
    trace: bool,
    /// How often `stop::cycles` loads and unloads the filter
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    cycles: u32,
    /// Watch which of these instructions of wskguard.sys run: a file of offsets (test kernel only)
    #[arg(long, value_name = "FILE", requires = "covered")]
    cover: Option<PathBuf>,
    /// Write those that did to a file
    #[arg(long, value_name = "FILE", requires = "cover")]
    covered: Option<PathBuf>,
    /// Repeat the selection this many times
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    repeat: u32,
}

#[derive(Args, Debug)]
struct BenchOptions {
    /// What to measure
    what: What,
    /// Calls in a round; no endpoint may record more than 512 at once, and there are 64
    #[arg(long, value_name = "COUNT", default_value_t = 16384)]
    iterations: u32,
    /// Turns of each way
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    rounds: u32,
    /// Service name of the client driver
    #[arg(long, value_name = "NAME", default_value = "probe")]
    probe: String,
    /// Only this kind of request; `kernel`: only what functions of the kernel cost by themselves
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Time, with the filter and without
    Times,
    /// Instructions in the filter and its calls (test kernel only)
    Counts,
}

#[cfg(windows)]
fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List(selection) => runner::list(&selection),
        Command::Run(options) => runner::run(&options),
        Command::Vectors(options) => told(vectors::run(&options).map(|()| ExitCode::SUCCESS)),
        Command::Faults(options) => told(faults::run(options)),
        Command::Bench(options) => told(bench::run(&options).map(|()| ExitCode::SUCCESS)),
        Command::Demo(options) => told(demo::run(&options).map(|()| ExitCode::SUCCESS)),
        Command::Scripts => told(suites::each::coverage().map(|()| ExitCode::SUCCESS)),
        Command::Companion(options) => companion::run(&options),
        Command::Leftovers => told(demo::leftovers().map(|()| ExitCode::SUCCESS)),
    }
}

#[cfg(windows)]
fn told(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("hlk: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!("hlk: the drivers under test run on Windows");
    ExitCode::FAILURE
}

//! The project's own commands: `cargo xtask <command>`.

mod bench;
mod build;
mod build_id;
mod callers;
mod checks;
mod command;
mod coverage;
mod demo;
mod docs;
mod extended;
mod faults;
mod hashing;
mod image;
mod inf;
mod layout;
mod mutants;
mod package;
mod report;
mod reproducible;
mod selftest;
mod session;
mod setup;
mod shim;
mod sites;
mod suite;
mod test;
mod vectors;
mod wdk;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::layout::Layout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, test and demonstrate wskguard")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the build and the tests need and this machine lacks
    Setup,
    /// Build the drivers and the programs into target/out
    Build(build::Options),
    /// Check, build and test everything; the last line sums up
    Test(test::TestCommand),
    /// Check the built drivers' files: imports, rights, panics
    Check(checks::CheckCommand),
    /// Run the HLK-style suite on the test kernel against the sources as they are, or a given .sys
    Hlk(suite::SuiteCommand),
    /// Let each call of wskguard.sys that can fail do so once, under the tests of the suite
    Faults(faults::FaultsCommand),
    /// Lines of the core and of the driver that the tests run
    Coverage(coverage::CoverageCommand),
    /// Change the core in one place after another, and look whether a test notices
    Mutants(mutants::MutantsCommand),
    /// Use every command of wskguardctl.exe on the live driver; the transcript is target/logs/companion.txt
    Companion,
    /// Run conformance vectors
    Vectors(vectors::VectorsCommand),
    /// Make the folder to take to a Windows machine: signed driver, INF, symbols, wskguardctl, policies, scripts
    Package(package::PackageCommand),
    /// Check the documents: links, and every command that they mark as runnable
    Docs,
    /// Show wskguard at work on the test kernel
    Demo,
    /// Measure what things cost, beside others that do the same
    Bench(bench::BenchCommand),
    /// Run cargo on the drivers: the target and the WDK are set (cargo xtask cargo clippy -p wskguard)
    #[command(hide = true)]
    Cargo(build::CargoCommand),
    /// Boot the test kernel, run a program in it, show what the drivers print
    #[command(hide = true)]
    Session(session::cli::SessionCommand),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace: the chain of causes says what went wrong.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a test is about is what the sources say now, not what was built once.
fn up_to_date(layout: &Layout) -> Result<()> {
    setup::run()?;
    build::run(layout, &build::Options::default())
}

fn run(command: Command) -> Result<()> {
    let layout = Layout::find()?;
    match command {
        Command::Setup => setup::run(),
        Command::Build(options) => {
            setup::run()?;
            build::run(&layout, &options)
        }
        Command::Hlk(command) => {
            up_to_date(&layout)?;
            suite::run_command(&layout, &command)
        }
        Command::Companion => {
            up_to_date(&layout)?;
            let counts = suite::run_companion(&layout)?;
            anyhow::ensure!(counts.failed == 0, "{counts}");
            println!("{counts}");
            Ok(())
        }
        Command::Faults(command) => {
            up_to_date(&layout)?;
            faults::run_command(&layout, &command)
        }
        Command::Test(command) => test::run(&layout, &command),
        Command::Check(command) => {
            up_to_date(&layout)?;
            checks::run_command(&layout, &command)
        }
        Command::Bench(command) => bench::run(&layout, &command),
        Command::Vectors(command) => vectors::run(&layout, &command),
        Command::Package(command) => package::run(&layout, &command),
        Command::Docs => {
            let mut report = report::Report::default();
            docs::test(&layout, &mut report);
            report.close()
        }
        Command::Coverage(command) => coverage::run_command(&layout, &command),
        Command::Mutants(command) => mutants::run(&layout, &command),
        Command::Demo => demo::run(&layout),
        Command::Session(command) => session::cli::run(&layout, &command),
        Command::Cargo(command) => build::cargo(&layout, &command),
    }
}

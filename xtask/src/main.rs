//! The project's own commands: `cargo xtask <command>`.

mod build;
mod command;
mod hashing;
mod layout;
mod setup;
mod wdk;

use clap::{Parser, Subcommand};

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
}

fn main() -> anyhow::Result<()> {
    let layout = layout::Layout::find()?;
    match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Build(options) => {
            setup::run()?;
            build::run(&layout, &options)
        }
    }
}

//! `cargo xtask session`: boots a session for a developer.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;

use super::{Options, Session};
use crate::layout::Layout;

#[derive(Args, Debug)]
pub(crate) struct SessionCommand {
    /// Leave out a driver: verifier, netio, probe or wskguard (may be repeated)
    #[arg(long, value_name = "DRIVER")]
    without: Vec<String>,
    /// Take the drivers from this folder
    #[arg(long, value_name = "FOLDER")]
    drivers: Option<PathBuf>,
    /// Take wskguard.sys from this file
    #[arg(long, value_name = "FILE")]
    sys: Option<PathBuf>,
    /// End the program after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// A Windows program to run (a path, or hlk or wskguardctl for the one built), and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

/// Boots, runs the program, shows what the drivers printed, stops the probes and ends the session.
pub(crate) fn run(layout: &Layout, command: &SessionCommand) -> Result<()> {
    let mut options = Options::new(layout);
    options.without.clone_from(&command.without);
    options.wskguard.clone_from(&command.sys);
    if let Some(folder) = &command.drivers {
        options.drivers.clone_from(folder);
    }
    let session = Session::start(layout, &options)?;
    let result = match command.program.split_first() {
        Some((program, arguments)) => run_program(layout, &session, program, arguments, command.limit),
        None => session.stop_drivers(&options),
    };
    eprint!("{}", session.printed());
    eprintln!("log: {}", session.log().display());
    result
}

fn run_program(layout: &Layout, session: &Session, program: &str, arguments: &[String], limit: u64) -> Result<()> {
    let built = layout.out().join(program).with_extension("exe");
    let path = if built.is_file() { built } else { PathBuf::from(program) };
    let finished = session.run(&path, arguments, Duration::from_secs(limit))?;
    ensure!(!finished.timed_out(), "{program} did not end within {limit} s");
    ensure!(finished.success(), "{program} failed: {:?}", finished.status);
    Ok(())
}

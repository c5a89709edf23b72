//! `wskguardctl`: reads the command line, connects the commands to this machine, and ends with their exit code.

use std::{
    io::{self, BufWriter, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use wskguardctl::{cli::Cli, host::ThisMachine, output::Output, terminal::wants_color};

fn main() -> ExitCode {
    // clap ends the process itself: 0 for help and version, 2 for what it does not understand.
    let cli = Cli::parse();
    let (color, color_stderr) = (
        wants_color(cli.color, &io::stdout()),
        wants_color(cli.color, &io::stderr()),
    );
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut stderr = io::stderr();
    let mut out = Output::new(&mut stdout, &mut stderr);
    out.cut = io::stdout().is_terminal();
    (out.color, out.color_stderr) = (color, color_stderr);
    ExitCode::from(wskguardctl::run(cli, &mut ThisMachine, &mut out) as u8)
}

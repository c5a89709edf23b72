//! `cargo run -p wskguard-vectors -- FILE [--layer LAYER]... [--shuffle SEED] [-v]`: runs conformance vectors on the record.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use wskguard_vectors::{Record, Selection};

struct Arguments {
    file: PathBuf,
    selection: Selection,
    verbose: bool,
}

fn arguments() -> Result<Arguments> {
    let mut file = None;
    let mut selection = Selection::default();
    let mut verbose = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "-v" | "--verbose" => verbose = true,
            "--layer" => selection.layers.push(value()?.parse()?),
            "--shuffle" => selection.shuffle = Some(value()?.parse().context("--shuffle takes a number")?),
            _ if file.is_none() && !word.starts_with('-') => file = Some(PathBuf::from(word)),
            _ => bail!("unknown argument {word}"),
        }
    }
    let file = file.context("usage: wskguard-vectors FILE [--layer LAYER]... [--shuffle SEED] [-v]")?;
    Ok(Arguments {
        file,
        selection,
        verbose,
    })
}

fn run() -> Result<bool> {
    let arguments = arguments()?;
    let report = wskguard_vectors::run(&arguments.file, &arguments.selection, &mut Record)?;
    report.print(&mut io::stdout().lock(), arguments.verbose)?;
    Ok(report.passed())
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

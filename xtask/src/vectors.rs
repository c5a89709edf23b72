//! `cargo xtask vectors`: runs conformance vectors.

use std::{io, path::PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use wskguard_vectors::{Layer, Record, Selection};

#[derive(Args, Debug)]
pub(crate) struct VectorsCommand {
    /// The vectors, one JSON object a line (tests/vectors/FORMAT.md)
    file: PathBuf,
    /// Only vectors of this layer; may be repeated
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    layer: Vec<Layer>,
    /// Run them in another order, with other ids
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Show every row, not only those that fail or cannot be run
    #[arg(long, short)]
    verbose: bool,
}

fn layer(name: &str) -> Result<Layer> {
    name.parse()
}

/// Runs them on the core. Rows that need the driver count as unsupported, with that reason.
pub(crate) fn run(command: VectorsCommand) -> Result<()> {
    let selection = Selection {
        layers: command.layer,
        shuffle: command.shuffle,
    };
    let report = wskguard_vectors::run(&command.file, &selection, &mut Record)?;
    report.print(&mut io::stdout().lock(), command.verbose)?;
    ensure!(report.passed(), "some vectors failed");
    Ok(())
}

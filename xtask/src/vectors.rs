//! `cargo xtask vectors`: runs conformance vectors, each by what it needs: the core alone, or the drivers on the test kernel.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use wskguard_vectors::{Layer, Record, Report, Selection, Verdict};

use crate::{
    build,
    layout::Layout,
    session::{self, Options, Session},
    setup,
};

const LIMIT: Duration = Duration::from_mins(20);

#[derive(Args, Debug)]
pub(crate) struct VectorsCommand {
    /// The vectors, one JSON object a line (tests/vectors/FORMAT.md)
    file: PathBuf,
    /// Only vectors of this layer: constant, status, core, sharing, wsk, transport; may be repeated
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    layer: Vec<Layer>,
    /// Run them in another order
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Show every row, not only those that fail or cannot be run
    #[arg(long, short)]
    verbose: bool,
    /// Only on the core: what needs the drivers counts as unsupported
    #[arg(long)]
    core_only: bool,
}

fn layer(name: &str) -> Result<Layer> {
    name.parse()
}

pub(crate) fn run(layout: &Layout, command: &VectorsCommand) -> Result<()> {
    let selection = Selection {
        layers: command.layer.clone(),
        shuffle: command.shuffle,
    };
    let mut report = wskguard_vectors::run(&command.file, &selection, &mut Record)?;
    let needs_driver = report.rows.iter().any(|row| {
        matches!(row.layer, Layer::Wsk | Layer::Transport) && matches!(row.verdict, Verdict::Unsupported(_))
    });
    if needs_driver && !command.core_only {
        setup::run()?;
        build::run(layout, &build::Options::default())?;
        report.complete(on_test_kernel(layout, command)?);
    }
    report.print(&mut io::stdout().lock(), command.verbose)?;
    ensure!(report.passed(), "some vectors failed");
    Ok(())
}

/// The same rows in the same order, decided by the drivers.
fn on_test_kernel(layout: &Layout, command: &VectorsCommand) -> Result<Report> {
    let session = Session::start(layout, &Options::new(layout))?;
    let file = fs::canonicalize(&command.file).with_context(|| command.file.display().to_string())?;
    let (log, saved) = (
        layout.logs()?.join("vectors.log"),
        layout.logs()?.join("vectors-report.json"),
    );
    if saved.exists() {
        fs::remove_file(&saved)?;
    }
    let mut arguments = vec!["vectors".to_owned(), session::wine_path(&file)];
    arguments.extend(["--report".to_owned(), session::wine_path(&saved)]);
    for name in &command.layer {
        arguments.extend(["--layer".to_owned(), format!("{name:?}").to_lowercase()]);
    }
    if let Some(seed) = command.shuffle {
        arguments.extend(["--shuffle".to_owned(), seed.to_string()]);
    }
    let finished = session.run_logged(&layout.out().join("hlk.exe"), &arguments, &log, LIMIT)?;
    ensure!(
        !finished.timed_out() && saved.exists(),
        "hlk.exe decided nothing:\n{}\nthe drivers printed: {}",
        fs::read_to_string(&log).unwrap_or_default(),
        session.log().display()
    );
    session.forget_log();
    Report::read(&saved)
}

//! `hlk vectors`: conformance vectors of any file, through the filter in strict mode, each on a thread of its own under a time limit.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use wskguard_vectors::{Layer, Selection, Vector, Verdict, format};

use crate::context::{Context, Services};
use crate::probe::Npi;
use crate::suites;
use crate::testkernel::Watch;

/// Longest time of one row.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Args, Debug)]
pub(crate) struct VectorOptions {
    /// The vectors, one JSON object a line
    file: PathBuf,
    /// Only vectors of this layer; may be repeated
    #[arg(long, value_name = "LAYER", value_parser = layer)]
    layer: Vec<Layer>,
    /// Run them in another order
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Service name of the client driver
    #[arg(long, value_name = "NAME", default_value = "probe")]
    probe: String,
}

fn layer(name: &str) -> Result<Layer> {
    name.parse()
}

pub(crate) fn run(options: &VectorOptions) -> Result<()> {
    let selection = Selection {
        layers: options.layer.clone(),
        shuffle: options.shuffle,
    };
    let services = Services {
        probe: options.probe.clone(),
        probe2: options.probe.clone(),
        extended: false,
        risky: false,
        peer: None,
    };
    let mut watch = Watch::begin();
    let report = wskguard_vectors::run_each(format::read(&options.file)?, &selection, |vector| {
        let verdict = verdict(&services, vector);
        let stops = watch.new_stops();
        if stops.is_empty() {
            verdict
        } else {
            Verdict::Fail(format!("the kernel's rules were broken: {}", stops.join("; ")))
        }
    });
    if let Some(file) = &options.report {
        report.save(file)?;
    }
    report.print(&mut std::io::stdout().lock(), false)?;
    ensure!(report.passed(), "some vectors failed");
    Ok(())
}

fn verdict(services: &Services, vector: &Vector) -> Verdict {
    if !matches!(vector.layer, Layer::Wsk | Layer::Transport) {
        return Verdict::Unsupported("not about WSK".to_owned());
    }
    let (sender, receiver) = mpsc::channel();
    let (services, vector) = (services.clone(), vector.clone());
    // A thread that is stuck is left behind.
    thread::spawn(move || {
        let verdict = Context::new(&services, Npi::Wskguard).and_then(|context| {
            let verdict = suites::vectors::verdict(&context, &vector);
            let end = context.finish();
            verdict.and_then(|verdict| end.map(|()| verdict))
        });
        sender.send(verdict.unwrap_or_else(|error| Verdict::Fail(format!("{error:#}"))))
    });
    receiver
        .recv_timeout(LIMIT)
        .unwrap_or_else(|_| Verdict::Fail(format!("not finished after {LIMIT:?}")))
}

//! `hlk bench`: what calls cost, straight to the system's provider and through the filter.

use anyhow::Result;
use probe_protocol::netio::NULL_PROTOCOL;
use probe_protocol::probe::Bench;

use crate::BenchOptions;
use crate::probe::{Family, Npi, Probe};
use crate::suites::load::{WORKLOADS, measure, nanoseconds};
use crate::wsk::{SO_BROADCAST, SOL_SOCKET};

/// Measures every workload with every number of threads and prints a table of nanoseconds.
pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    let kind = if options.host { "host sockets" } else { "null sockets" };
    println!(
        "{kind}, {} repetitions, 16 sockets in turn for each thread; nanoseconds",
        options.iterations
    );
    println!(
        "{:14} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "workload", "threads", "path", "least", "median", "99th", "mean"
    );
    for threads in &options.threads {
        for workload in WORKLOADS {
            let wish = Bench {
                workload: workload as u32,
                client: 0,
                threads: *threads,
                sockets: 16,
                iterations: options.iterations,
                family: Family::V4.number(),
                code: SO_BROADCAST,
                level: SOL_SOCKET,
                protocol: if options.host { 0 } else { NULL_PROTOCOL },
                reserved: 0,
            };
            for (path, npi) in [("direct", Npi::System), ("filtered", Npi::Wskguard)] {
                let probe = Probe::open(&options.probe)?;
                let report = measure(&probe.attach(npi)?, &wish)?;
                let show = |cycles| nanoseconds(&report, cycles);
                let mean = show(report.cycles / report.iterations.max(1));
                let (least, median, last) = (show(report.least), show(report.median), show(report.percentile99));
                let name = format!("{workload:?}");
                println!("{name:14} {threads:>7} {path:>9} {least:>9} {median:>9} {last:>9} {mean:>9}");
            }
        }
    }
    Ok(())
}

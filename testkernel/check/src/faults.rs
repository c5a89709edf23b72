//! Low-resources simulation as a test uses it: a workload is repeated until every call stack that allocates in it has failed once.

use std::{collections::BTreeMap, fmt, io};

use crate::verifier::{FaultMode, FaultSite, Verifier, place, text};

/// Rounds after which a workload that always finds new call stacks is given up.
const MOST: usize = 500;

/// What a sweep came to.
#[derive(Debug)]
pub struct Sweep {
    /// Times that the workload ran.
    pub rounds: usize,
    /// Every call stack that allocated.
    pub sites: Vec<FaultSite>,
}

impl Sweep {
    /// Call stacks that were never made to fail: 0 after a complete sweep.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.sites.iter().filter(|site| site.failed == 0).count()
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut functions: BTreeMap<String, (usize, u32)> = BTreeMap::new();
        for site in &self.sites {
            let entry = functions.entry(text(&site.function)).or_default();
            entry.0 += 1;
            entry.1 += site.failed;
        }
        writeln!(
            out,
            "{} call stacks in {} rounds, {} not failed",
            self.sites.len(),
            self.rounds,
            self.missed()
        )?;
        for (function, (stacks, failed)) in &functions {
            writeln!(out, "  {function}: {stacks} call stacks, {failed} failures")?;
        }
        for site in self.sites.iter().filter(|site| site.failed == 0) {
            let frames: Vec<String> = site.frames.iter().take(site.depth as usize).map(place).collect();
            writeln!(
                out,
                "  not failed: {} from {}",
                text(&site.function),
                frames.join(" < ")
            )?;
        }
        Ok(())
    }
}

/// Runs `workload` again and again, each time with one more of the call stacks that allocate failing, until all have failed. What the
/// workload returns is for the caller to judge: it is told whether an allocation may fail in this run. In the last run none does.
///
/// # Errors
/// The verifier's, the workload's in the last run, or that there is no end of new call stacks.
pub fn sweep(verifier: &Verifier, mut workload: impl FnMut(bool) -> io::Result<()>) -> io::Result<Sweep> {
    verifier.arm(FaultMode::Off, |_| {})?;
    let swept = repeat(verifier, &mut workload);
    let sites = verifier.fault_sites();
    verifier.arm(FaultMode::Off, |_| {})?;
    let rounds = swept?;
    workload(false)?;
    Ok(Sweep { rounds, sites: sites? })
}

fn repeat(verifier: &Verifier, workload: &mut impl FnMut(bool) -> io::Result<()>) -> io::Result<usize> {
    for round in 1..=MOST {
        verifier.arm(FaultMode::Next, |_| {})?;
        let before = verifier.info()?.faults;
        // A failure is what is to be expected here: that it is survived is what the stops and the last run show.
        let _ = workload(true);
        if verifier.info()?.faults == before {
            return Ok(round);
        }
    }
    Err(io::Error::other("new call stacks in every round"))
}

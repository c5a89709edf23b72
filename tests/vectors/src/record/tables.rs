//! Steps without a socket.

use anyhow::{Context, ensure};
use wskguard_core::NtStatus;
use wskguard_core::catalogue;
use wskguard_core::status::{status_by_name, to_wsa};

use crate::backend::{Observed, Stop};

pub(super) fn constant(name: &str) -> Result<Observed, Stop> {
    let value = catalogue::constant(name).with_context(|| format!("no constant is called {name}"))?;
    Ok(Observed {
        value: Some(value),
        ..Observed::default()
    })
}

/// The value counts; the name is checked where the table has it.
pub(super) fn map(name: &str, status: u32) -> Result<Observed, Stop> {
    if let Some(known) = status_by_name(name) {
        let check = || {
            ensure!(known.0 == status, "{name} is {:#x}, not {status:#x}", known.0);
            Ok(())
        };
        check()?;
    }
    Ok(Observed::wsa(to_wsa(NtStatus(status)).0))
}

pub(super) fn map_reverse(wsa: u32, ranges: &[(u32, u32)]) -> Observed {
    let all = ranges.iter().flat_map(|&(low, high)| low..=high);
    let statuses = all.filter(|&status| to_wsa(NtStatus(status)).0 == wsa).collect();
    Observed {
        statuses: Some(statuses),
        ..Observed::default()
    }
}

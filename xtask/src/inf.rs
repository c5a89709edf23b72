//! Fills in what stampinf would: architecture, date and version of the driver's INF.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;

/// wskguard.inx for `arch` (`amd64`, `arm64`), driver version `version` (four numbers) of `date` (MM/DD/YYYY).
pub(crate) fn stamp(layout: &Layout, arch: &str, date: &str, version: &str) -> Result<String> {
    let path = layout.root.join("wskguard.inx");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(text.contains("$ARCH$"), "{} has no $ARCH$ to fill in", path.display());
    let stamped = text.replace("$ARCH$", arch);
    let lines = stamped.lines().map(|line| match line.split_once('=') {
        Some((key, _)) if key.trim() == "DriverVer" => format!("{key}= {date},{version}"),
        _ => line.to_owned(),
    });
    Ok(lines.map(|line| line + "\r\n").collect())
}

/// The same INF for Wine 8, whose `SetupAPI` knows neither DIRID 13 (the driver store) nor an operating system version in a
/// section's name: files go to system32\drivers, the decoration keeps the architecture only. Nothing else changes.
pub(crate) fn for_wine(stamped: &str) -> Result<String> {
    let mut text = stamped.to_owned();
    for (windows, wine) in [
        ("DefaultDestDir = 13", "DefaultDestDir = 12"),
        ("%13%\\", "%12%\\"),
        (".NTamd64.10.0...19041", ".NTamd64"),
    ] {
        ensure!(text.contains(windows), "the INF has no {windows:?}");
        text = text.replace(windows, wine);
    }
    Ok(text)
}

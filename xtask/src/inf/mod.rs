//! The driver's INF: fills in what stampinf would, and checks what InfVerif would.

mod lint;
mod parse;

use std::fs;

use anyhow::{Context, Result, ensure};

use self::lint::lint;
use crate::layout::Layout;

/// driver.inx for `arch` (`amd64`, `arm64`), with the workspace's version and the date that stands in the file: the same
/// sources give the same INF. An error if it breaks a rule.
pub(crate) fn stamp(layout: &Layout, arch: &str) -> Result<String> {
    let path = layout.root.join("driver.inx");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let stamped = stamp_text(&text, arch).with_context(|| path.display().to_string())?;
    let findings = lint(&stamped).iter().map(ToString::to_string).collect::<Vec<_>>();
    ensure!(findings.is_empty(), "{}:\n{}", path.display(), findings.join("\n"));
    Ok(stamped)
}

fn stamp_text(text: &str, arch: &str) -> Result<String> {
    ensure!(text.contains("$ARCH$"), "no $ARCH$ to fill in");
    let mut has_version = false;
    let mut stamped = String::new();
    for line in text.replace("$ARCH$", arch).lines() {
        match line.split_once(',') {
            Some((date, _)) if line.starts_with("DriverVer ") => {
                has_version = true;
                stamped.extend([date, ",", env!("CARGO_PKG_VERSION"), ".0"]);
            }
            _ => stamped += line,
        }
        stamped += "\r\n";
    }
    ensure!(has_version, "no DriverVer to fill in");
    Ok(stamped)
}

/// The same INF for Wine 8, whose `SetupAPI` knows neither DIRID 13 (the driver store) nor an operating system version in a
/// section's name: files go to system32\drivers, the decoration keeps the architecture only. Nor does it turn an
/// installation round, as Windows does for a primitive driver, whose INF therefore must not have a [DefaultUninstall]: the
/// copy gets one, the opposite of each line of [DefaultInstall]. Nothing else changes.
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
    for line in ["CopyFiles = wskguard.CopyFiles", "AddService = wskguard,"] {
        ensure!(text.contains(line), "the INF has no {line:?} to take back");
    }
    Ok(text + UNINSTALL)
}

/// 0x200 is SPSVCINST_STOPSERVICE.
const UNINSTALL: &str = "\r\n[DefaultUninstall.NTamd64]\r\nDelFiles = wskguard.CopyFiles\r\n\r\n\
                         [DefaultUninstall.NTamd64.Services]\r\nDelService = wskguard, 0x200\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const INX: &str = include_str!("../../../driver.inx");

    #[test]
    fn architecture_and_version_are_filled_in() {
        let inf = stamp_text(INX, "arm64").unwrap();
        assert!(inf.contains("[DefaultInstall.NTarm64.10.0...19041.Services]\r\n"));
        assert!(inf.contains(concat!(",", env!("CARGO_PKG_VERSION"), ".0\r\n")));
        assert!(!inf.contains("$ARCH"));
    }

    #[test]
    fn the_copy_for_wine_differs_in_its_places_only() {
        let stamped = stamp_text(INX, "amd64").unwrap();
        let wine = for_wine(&stamped).unwrap();
        assert!(wine.ends_with(UNINSTALL));
        let changed = stamped
            .lines()
            .zip(wine.lines())
            .filter(|(windows, wine)| windows != wine)
            .count();
        assert_eq!(changed, 4, "two folders, two section names");
    }
}

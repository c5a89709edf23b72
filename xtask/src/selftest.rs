//! Whether this machine's Wine will do. The test kernel was made on Debian 12's; on any other, its verifier's own tests have to pass
//! before anything else runs there, once for each Wine and build.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, hashing, layout::Layout, suite};

/// What `wine --version` of Debian 12 begins with.
const KNOWN: &str = "wine-8.0";

/// An error that says what to do, if the test kernel does not work on this Wine.
pub(crate) fn passed(layout: &Layout) -> Result<()> {
    let version = command::output(Command::new("wine").arg("--version"))?;
    let version = version.trim();
    if is_known(version) {
        return Ok(());
    }
    let mut key = version.to_owned();
    for file in ["verifier.sys", "faulty.sys", "check.exe"] {
        key += &hashing::sha256_file(&layout.out().join(file))?;
    }
    hashing::once_per_key(&layout.target.join("wine/self-test"), &key, || {
        println!(
            "The test kernel was made on Wine 8.0 of Debian 12. This is {version}: testing the test kernel first."
        );
        test(layout)
            .with_context(|| format!("the test kernel does not work on {version}; use Debian 12, whose Wine it knows"))
    })
}

fn test(layout: &Layout) -> Result<()> {
    let counts = suite::run_verifier_cases(layout)?;
    println!("Self-test: {counts}.");
    ensure!(counts.failed == 0, "its self-test failed");
    Ok(())
}

fn is_known(version: &str) -> bool {
    version
        .strip_prefix(KNOWN)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.'))
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn only_the_wine_of_debian_12_is_known() {
        assert!(is_known("wine-8.0"));
        assert!(is_known("wine-8.0 (Debian 8.0~repack-4)"));
        for other in [
            "wine-8.01",
            "wine-8.0.1",
            "wine-8.21",
            "wine-10.0 (Debian 10.0~repack-6)",
            "wine-8",
            "",
        ] {
            assert!(!is_known(other), "{other}");
        }
    }
}

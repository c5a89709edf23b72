//! Counts what passed, and says what failed.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Reads the closing line that every runner of this project prints: `N passed, N failed, N skipped`.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let mut counts = Self::default();
        let mut parts = line.trim().split(", ");
        for (name, field) in [
            ("passed", &mut counts.passed),
            ("failed", &mut counts.failed),
            ("skipped", &mut counts.skipped),
        ] {
            let part = parts
                .next()
                .with_context(|| format!("no number of {name} in {line:?}"))?;
            let number = part
                .strip_suffix(name)
                .with_context(|| format!("no number of {name} in {line:?}"))?;
            *field = number.trim().parse().with_context(|| format!("{line:?}"))?;
        }
        ensure!(parts.next().is_none(), "more than the three numbers in {line:?}");
        Ok(counts)
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The sum over the steps of a test run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: Counts,
}

impl Report {
    /// Runs one test.
    pub(crate) fn test(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        match test() {
            Ok(()) => {
                self.counts.passed += 1;
                println!("  ok      {name}{}", seconds(start.elapsed()));
            }
            Err(error) => {
                self.counts.failed += 1;
                println!(
                    "  FAILED  {name}{}\n{}",
                    seconds(start.elapsed()),
                    indent(&format!("{error:#}"))
                );
            }
        }
    }

    /// Adds what another runner counted.
    pub(crate) fn add(&mut self, name: &str, counts: Counts) {
        println!("  {name}: {counts}");
        self.counts.passed += counts.passed;
        self.counts.failed += counts.failed;
        self.counts.skipped += counts.skipped;
    }

    /// Adds what another runner counts, or its failure to do so.
    pub(crate) fn counted(&mut self, name: &str, run: impl FnOnce() -> Result<Counts>) {
        match run() {
            Ok(counts) => self.add(name, counts),
            Err(error) => self.test(name, || Err(error)),
        }
    }

    /// Counts one test as skipped.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("  skipped {name}: {why}");
        self.counts.skipped += 1;
    }

    /// Prints the closing line; an error if anything failed.
    pub(crate) fn close(self) -> Result<()> {
        println!("{}", self.counts);
        ensure!(self.counts.failed == 0, "{} failed", self.counts.failed);
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!(" ({:.0} s)", time.as_secs_f64())
    } else {
        String::new()
    }
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("          {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_line_is_read_back() {
        let counts = Counts {
            passed: 120,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(Counts::parse(&counts.to_string()).unwrap(), counts);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "12 passed",
            "1 passed, 2 failed",
            "a passed, 0 failed, 0 skipped",
            "1 passed, 0 failed, 0 skipped, 1 lost",
        ] {
            assert!(Counts::parse(line).is_err(), "{line:?}");
        }
    }
}

//! Comparisons that say what was expected and what came.

use std::fmt::Debug;

use anyhow::{Result, bail};

/// Fails unless both are equal.
#[track_caller]
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    bail!(
        "{what}: {got:?} instead of {expected:?} ({})",
        std::panic::Location::caller()
    );
}

/// Fails unless it holds.
#[track_caller]
pub(crate) fn holds(what: &str, condition: bool) -> Result<()> {
    if condition {
        return Ok(());
    }
    bail!("{what} ({})", std::panic::Location::caller());
}

/// Fails unless the status is the expected one.
#[track_caller]
pub(crate) fn status(what: &str, got: i32, expected: i32) -> Result<()> {
    one_of(what, got, &[expected])
}

/// Fails unless the status is one of these.
#[track_caller]
pub(crate) fn one_of(what: &str, got: i32, expected: &[i32]) -> Result<()> {
    if expected.contains(&got) {
        return Ok(());
    }
    let expected: Vec<_> = expected.iter().map(|status| crate::status::name(*status)).collect();
    let got = crate::status::name(got);
    bail!(
        "{what}: {got} instead of {} ({})",
        expected.join(" or "),
        std::panic::Location::caller()
    );
}

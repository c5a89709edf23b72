//! Placeholder body, filled in a later commit.
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    Ok(())
}

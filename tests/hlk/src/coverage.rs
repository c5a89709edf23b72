//! Which instructions of wskguard.sys ran: lists of offsets, one a line in hexadecimal, to the verifier and back.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use testkernel_check::verifier::Verifier;

/// From now on, it is watched whether these run.
pub(crate) fn begin(list: &Path) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let offsets: Result<Vec<u32>, _> = text.lines().map(|line| u32::from_str_radix(line, 16)).collect();
    let verifier = Verifier::open().context("coverage needs verifier.sys")?;
    Ok(verifier.cover("wskguard.sys", &offsets?)?)
}

/// Writes those that did.
pub(crate) fn end(list: &Path) -> Result<()> {
    let mut text = String::new();
    for offset in Verifier::open()?.covered()? {
        writeln!(text, "{offset:x}")?;
    }
    fs::write(list, text).with_context(|| list.display().to_string())
}

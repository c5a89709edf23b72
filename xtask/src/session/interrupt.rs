//! Ends the sessions when xtask itself is interrupted: Wine's processes would live on.

use std::{
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use anyhow::{Context, Result};

use super::prefix;

static PREFIXES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From here on Ctrl-C and termination end the sessions first.
pub(super) fn guard() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = ctrlc::set_handler(interrupted));
    result.context("cannot watch for Ctrl-C")
}

pub(super) fn add(prefix: &Path) {
    prefixes().push(prefix.to_path_buf());
}

pub(super) fn remove(prefix: &Path) {
    prefixes().retain(|other| other != prefix);
}

fn prefixes() -> MutexGuard<'static, Vec<PathBuf>> {
    PREFIXES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interrupted() {
    for prefix in prefixes().iter() {
        prefix::end(prefix);
    }
    process::exit(130);
}

//! Where things are: the workspace, and what is generated below its target folder.
//!
//! Everything generated stays under one target folder (`CARGO_TARGET_DIR` if set, else `target/`), so that two
//! checkouts, or two people in one checkout with a target folder each, never meet.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// cargo marks each target folder with this file.
pub(crate) const CACHE_TAG: &str = "CACHEDIR.TAG";

/// The folders xtask reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        // wdk-build finds the workspace by looking for Cargo.lock above its output folder.
        ensure!(
            target.starts_with(&root),
            "the target folder {} must lie inside the workspace {}: wdk-build looks for Cargo.lock above it",
            target.display(),
            root.display()
        );
        Ok(Self { root, target })
    }

    /// The files a user takes away: drivers, programs, symbols.
    pub(crate) fn out(&self) -> PathBuf {
        self.target.join("out")
    }

    /// The stand-in for the Windows Driver Kit.
    pub(crate) fn wdk(&self) -> PathBuf {
        self.target.join("wdk")
    }

    /// What commands and sessions have written; created if need be.
    pub(crate) fn logs(&self) -> Result<PathBuf> {
        let logs = self.target.join("logs");
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        Ok(logs)
    }

    /// xtask's own data files.
    pub(crate) fn wdk_sources(&self) -> PathBuf {
        self.root.join("xtask/wdkroot")
    }
}

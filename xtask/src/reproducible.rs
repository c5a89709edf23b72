//! Builds wskguard.sys a second time, from nothing and in another folder, and compares.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    build,
    hashing::sha256_file,
    layout::{self, Layout},
    report::Report,
};

/// The test's name in reports.
pub(crate) const NAME: &str = "wskguard.sys is the same from another folder";

pub(crate) fn test(layout: &Layout, report: &mut Report) {
    report.test(NAME, || check(layout));
}

/// An error unless the second build gives the bytes of the one in the out folder.
fn check(layout: &Layout) -> Result<()> {
    let first = sha256_file(&layout.out().join("wskguard.sys"))?;
    // Not below this workspace: cargo would read this workspace's configuration as well.
    let folder = Scratch(env::temp_dir().join(format!("wskguard-second-build-{}", std::process::id())));
    let root = folder.0.join("under/another/name");
    copy_sources(&layout.root, &root).context("copying the workspace")?;
    let other = Layout {
        target: root.join("target"),
        root,
    };
    build::run(
        &other,
        &build::Options {
            only: vec!["wskguard".to_owned()],
        },
    )?;
    let second = sha256_file(&other.out().join("wskguard.sys"))?;
    ensure!(
        first == second,
        "SHA-256 {first} here, {second} in {}",
        other.root.display()
    );
    Ok(())
}

/// The whole workspace without what is generated.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let (source, copy) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            let generated = name == ".git" || source.join(layout::CACHE_TAG).exists() || name == "target";
            if !generated {
                copy_sources(&source, &copy)?;
            }
        } else {
            fs::copy(&source, &copy)?;
        }
    }
    Ok(())
}

/// A folder that is removed in the end.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

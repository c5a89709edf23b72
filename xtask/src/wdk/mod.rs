//! What stands in for the Windows Driver Kit on a machine that has none.
//!
//! windows-drivers-rs wants a WDK to read headers from and libraries to link, and its build crate compiles on Windows
//! only. Below the target folder this makes both: a WDK root out of mingw-w64's driver headers and import libraries, and a
//! `CARGO_HOME` whose configuration replaces the registry by vendored sources in which wdk-build is patched. The sources,
//! manifests and Cargo.lock of the workspace are the same as for a build on Windows.

mod cargo_home;
pub(crate) mod llvm;
mod patch;
mod root;

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::layout::Layout;

/// A cargo that can build drivers.
#[derive(Debug)]
pub(crate) struct Wdk {
    workspace: PathBuf,
    /// `None` where the real WDK is installed and cargo needs no help.
    cargo_home: Option<PathBuf>,
}

impl Wdk {
    /// Makes the stand-in, or what of it is out of date.
    pub(crate) fn prepare(layout: &Layout) -> Result<Self> {
        let workspace = layout.root.clone();
        if cfg!(windows) {
            return Ok(Self {
                workspace,
                cargo_home: None,
            });
        }
        let llvm = llvm::Llvm::find()?;
        let wdk_root = root::make(layout, &llvm)?;
        let cargo_home = cargo_home::make(layout, &llvm, &wdk_root)?;
        Ok(Self {
            workspace,
            cargo_home: Some(cargo_home),
        })
    }

    /// `cargo`, run in the workspace, with the WDK at hand.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.workspace);
        if let Some(home) = &self.cargo_home {
            cargo.env("CARGO_HOME", home);
            // Either would replace the flags of the configuration files.
            cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        }
        cargo
    }
}

/// The folders of headers and of import libraries for `arch` in the stand-in.
pub(crate) fn folders(layout: &Layout, arch: &str) -> (PathBuf, PathBuf) {
    root::folders(layout, arch)
}

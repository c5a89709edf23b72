//! Makes the `CARGO_HOME` that driver builds run with.
//!
//! A `[patch]` section would change Cargo.lock, and wdk-build runs `cargo metadata` itself, which sees no option of ours.
//! A home's configuration is seen by all, and a vendored source keeps the lock file's checksums.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{llvm::Llvm, patch, root::KIT_VERSION};
use crate::{command, hashing, layout::Layout};

/// Returns the value for `CARGO_HOME`.
pub(super) fn make(layout: &Layout, llvm: &Llvm, wdk_root: &Path) -> Result<PathBuf> {
    let vendor = layout.wdk().join("vendor");
    let key = hashing::sha256_file(&layout.root.join("Cargo.lock"))? + patch::REVISION;
    hashing::once_per_key(&vendor, &key, || vendor_sources(&layout.root, &vendor))?;

    let home = layout.wdk().join("cargo-home");
    fs::create_dir_all(&home)?;
    fs::write(home.join("config.toml"), configuration(layout, llvm, wdk_root, &vendor))?;
    Ok(home)
}

fn vendor_sources(workspace: &Path, vendor: &Path) -> Result<()> {
    // cargo leaves alone what is there already, a patched package too.
    if let Ok(patched) = wdk_build(vendor) {
        fs::remove_dir_all(patched)?;
    }
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(workspace)
        .args(["vendor", "--quiet", "--locked", "--versioned-dirs"])
        .arg(vendor);
    // It prints the configuration to use, which is made below.
    command::output(&mut cargo)?;
    let package = wdk_build(vendor)?;
    for (file, replacements) in patch::WDK_BUILD {
        let path = package.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let patched = patch::replace_all(&text, replacements).with_context(|| path.display().to_string())?;
        fs::write(&path, patched)?;
    }
    forget_file_checksums(&package.join(".cargo-checksum.json"))
}

fn wdk_build(vendor: &Path) -> Result<PathBuf> {
    let mut folders = fs::read_dir(vendor)?.filter_map(|entry| Some(entry.ok()?.path()));
    folders
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("wdk-build-"))
        })
        .context("Cargo.lock has no wdk-build")
}

/// Cargo compares the package's checksum with Cargo.lock (it stays) and each listed file with the list (it goes).
fn forget_file_checksums(path: &Path) -> Result<()> {
    let mut checksums: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    checksums["files"] = serde_json::json!({});
    fs::write(path, checksums.to_string()).with_context(|| path.display().to_string())
}

fn configuration(layout: &Layout, llvm: &Llvm, wdk_root: &Path, vendor: &Path) -> String {
    let quote = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        r#"# Written by cargo xtask.
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = {vendor}

[net]
offline = true

[env]
WDKContentRoot = {wdk_root}
Version_Number = "{KIT_VERSION}"
LIBCLANG_PATH = {libclang}
BINDGEN_EXTRA_CLANG_ARGS = "-resource-dir={resource_dir}"

[target.x86_64-pc-windows-msvc]
linker = "rust-lld"
rustflags = {flags}

[target.aarch64-pc-windows-msvc]
linker = "rust-lld"
rustflags = {flags}
"#,
        vendor = quote(vendor),
        wdk_root = quote(wdk_root),
        libclang = quote(&llvm.libclang_dir()),
        resource_dir = llvm.resource_dir().display(),
        flags = format_args!(
            "[\"--remap-path-prefix={}=vendor\", \"--remap-path-prefix={}=target\", \"--remap-path-prefix={}=.\"]",
            vendor.display(),
            layout.target.display(),
            layout.root.display()
        ),
    )
}

//! Builds the drivers and the programs, and collects them in the out folder.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build_id, command, layout::Layout, shim, wdk::Wdk};

/// The target of everything that runs in a kernel.
pub(crate) const DRIVER_TARGET: &str = "x86_64-pc-windows-msvc";
/// The target of programs built on a machine without Microsoft's linker and libraries.
#[cfg(not(windows))]
pub(crate) const PROGRAM_TARGET: &str = "x86_64-pc-windows-gnu";
#[cfg(windows)]
pub(crate) const PROGRAM_TARGET: &str = "x86_64-pc-windows-msvc";

/// A file that the build makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// The crate's file, as cargo names it.
    built: &'static str,
    /// The file's name in the out folder.
    pub(crate) file: &'static str,
}

const fn product(name: &'static str, package: &'static str, built: &'static str, file: &'static str) -> Product {
    Product {
        name,
        package,
        built,
        file,
    }
}

/// Drivers.
pub(crate) const DRIVERS: [Product; 6] = [
    product("wskguard", "wskguard", "wskguard.dll", "wskguard.sys"),
    product("netio", "testkernel-netio", "netio.dll", "netio.sys"),
    product("verifier", "testkernel-verifier", "verifier.dll", "verifier.sys"),
    product("probe", "testkernel-probe", "probe.dll", "probe.sys"),
    product("faulty", "testkernel-faulty", "faulty.dll", "faulty.sys"),
    product("client", "testkernel-client", "client.dll", "client.sys"),
];

/// User-mode programs.
pub(crate) const PROGRAMS: [Product; 3] = [
    product("ctl", "wskguardctl", "wskguardctl.exe", "wskguardctl.exe"),
    product("hlk", "wskguard-hlk", "wskguard-hlk.exe", "hlk.exe"),
    product("check", "testkernel-check", "check.exe", "check.exe"),
];

#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Build only this: wskguard, netio, verifier, probe, faulty, client, shim, ctl, hlk or check (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CargoCommand {
    /// The subcommand
    subcommand: String,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs any cargo subcommand for the drivers' target.
pub(crate) fn cargo(layout: &Layout, command: &CargoCommand) -> Result<()> {
    let mut cargo = Wdk::prepare(layout)?.cargo();
    cargo
        .arg(&command.subcommand)
        .args(["--target", DRIVER_TARGET, "--target-dir"])
        .arg(&layout.target);
    command::run(cargo.args(&command.arguments))
}

impl Options {
    fn select<'a>(&self, products: &'a [Product]) -> Vec<&'a Product> {
        let wanted = |product: &&Product| self.only.is_empty() || self.only.iter().any(|name| name == product.name);
        products.iter().filter(wanted).collect()
    }
}

/// Builds what `options` selects into the out folder.
pub(crate) fn run(layout: &Layout, options: &Options) -> Result<()> {
    let known = |name: &&String| {
        !DRIVERS
            .iter()
            .chain(&PROGRAMS)
            .map(|product| product.name)
            .chain([shim::NAME])
            .any(|known| known == name.as_str())
    };
    if let Some(unknown) = options.only.iter().find(known) {
        bail!("nothing is called {unknown:?}");
    }
    fs::create_dir_all(layout.out())?;
    let drivers = options.select(&DRIVERS);
    if !drivers.is_empty() {
        let mut cargo = Wdk::prepare(layout)?.cargo();
        build(&mut cargo, DRIVER_TARGET, "release", layout, &drivers)?;
    }
    if options.only.is_empty() || options.only.iter().any(|name| name == shim::NAME) {
        shim::build(layout, &Wdk::prepare(layout)?)?;
    }
    let programs = options.select(&PROGRAMS);
    if !programs.is_empty() {
        let mut cargo = std::process::Command::new("cargo");
        build(
            cargo.current_dir(&layout.root),
            PROGRAM_TARGET,
            "program",
            layout,
            &programs,
        )?;
    }
    Ok(())
}

fn build(
    cargo: &mut std::process::Command,
    target: &str,
    profile: &str,
    layout: &Layout,
    products: &[&Product],
) -> Result<()> {
    cargo
        .args([
            "build",
            "--locked",
            "--profile",
            profile,
            "--target",
            target,
            "--target-dir",
        ])
        .arg(&layout.target);
    for product in products {
        cargo.args(["--package", product.package]);
    }
    command::run(cargo)?;
    let folder = layout.target.join(target).join(profile);
    for product in products {
        collect(&folder, &layout.out(), product)?;
    }
    Ok(())
}

/// Copies a product and, for a driver, its symbols and map.
fn collect(release: &Path, out: &Path, product: &Product) -> Result<()> {
    copy(&release.join(product.built), &out.join(product.file))?;
    if Path::new(product.file)
        .extension()
        .is_some_and(|extension| extension == "sys")
    {
        for extension in ["pdb", "map"] {
            let from = release.join("deps").join(product.built).with_extension(extension);
            copy(&from, &out.join(product.file).with_extension(extension))?;
        }
        let driver = out.join(product.file);
        if cfg!(windows) {
            // Microsoft's linker writes its own.
            return Ok(());
        }
        build_id::stamp(&driver, &driver.with_extension("pdb"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("{} to {}", from.display(), to.display()))
        .map(drop)
}

//! Installs what the build and the tests need and this machine lacks. Says nothing when nothing is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{DRIVER_TARGET, PROGRAM_TARGET},
    command,
    wdk::llvm::{self, Llvm},
};

/// Debian packages and the program by which each is known to be there.
const PROGRAMS: [(&str, &str); 5] = [
    ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
    ("wine", "wine"),
    ("wineserver", "wine64"),
    ("openssl", "openssl"),
    ("osslsigncode", "osslsigncode"),
];

/// Debian packages and a file by which each is known to be there. Wine's `wsk.h` is what the bindings are compared with.
const FILES: [(&str, &str); 1] = [("/usr/include/wine/wine/windows/ddk/wsk.h", "libwine-dev")];

/// Makes sure of the tools; an error if one is missing and cannot be installed.
pub(crate) fn run() -> Result<()> {
    if cfg!(windows) {
        // Visual Studio and the WDK have installers of their own; wdk-build reports what is missing.
        return Ok(());
    }
    let missing = missing_tools();
    if !missing.is_empty() {
        install(&missing)?;
    }
    install_rust_parts()
}

/// What a Debian package would have to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Llvm,
    Package(&'static str),
}

fn missing_tools() -> Vec<Tool> {
    let llvm = Llvm::find().is_err().then_some(Tool::Llvm);
    let programs = PROGRAMS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| Tool::Package(package));
    let files = FILES
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| Tool::Package(package));
    llvm.into_iter().chain(programs).chain(files).collect()
}

fn on_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

fn install(missing: &[Tool]) -> Result<()> {
    if !is_debian() {
        let names = missing.iter().map(|tool| match tool {
            Tool::Llvm => "LLVM 15 or later in /usr/lib/llvm-<version>, with clang and libclang",
            Tool::Package(name) => name,
        });
        bail!(
            "this is no Debian, so nothing is installed here. Missing (by Debian's names): {}",
            names.collect::<Vec<_>>().join(", ")
        );
    }
    println!("Bringing the list of packages up to date (apt-get update).");
    apt(&["update", "--quiet=2"])?;
    let mut packages = Vec::new();
    for tool in missing {
        match tool {
            Tool::Llvm => packages.extend(llvm_packages()?),
            Tool::Package(name) => packages.push((*name).to_owned()),
        }
    }
    let how = if is_root() { "apt-get" } else { "sudo apt-get" };
    println!("Installing with {how}: {}.", packages.join(" "));
    let mut arguments = vec!["install", "--yes", "--quiet=2", "--no-install-recommends"];
    arguments.extend(packages.iter().map(String::as_str));
    apt(&arguments)?;
    match missing_tools().as_slice() {
        [] => Ok(()),
        still => bail!("installed, and yet missing: {still:?}"),
    }
}

/// The packages of the newest version of LLVM that this machine's repositories have.
fn llvm_packages() -> Result<Vec<String>> {
    let names = |version| {
        [
            format!("llvm-{version}"),
            format!("clang-{version}"),
            format!("libclang-{version}-dev"),
        ]
    };
    let has = |package: &String| {
        let policy = command::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
        policy
            .lines()
            .any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
    };
    let newest = llvm::VERSIONS
        .into_iter()
        .find(|version| names(*version).iter().all(has));
    let newest = newest.context("apt offers no LLVM from 15 on; on Debian 12, the security repository has one")?;
    Ok(names(newest).to_vec())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut as_root = Command::new(if is_root() { "env" } else { "sudo" });
    if !is_root() {
        as_root.arg("env");
    }
    command::run(
        as_root
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(arguments),
    )
}

#[cfg(unix)]
fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| match line.split_once('=') {
        Some(("ID" | "ID_LIKE", value)) => value.trim_matches('"').split(' ').any(|id| id == "debian"),
        _ => false,
    })
}

/// The standard libraries of the targets that are built for, and cargo's subcommands that the tests use.
fn install_rust_parts() -> Result<()> {
    let sysroot = PathBuf::from(command::output(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    for target in [DRIVER_TARGET, PROGRAM_TARGET] {
        if !has_target(&sysroot, target) {
            rustup(&["target", "add", target])?;
        }
    }
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        // Not on the path: rustup puts a proxy there in any case.
        if !sysroot.join("bin").join(program).is_file() {
            rustup(&["component", "add", component])?;
        }
    }
    Ok(())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    println!("Running rustup {}.", arguments.join(" "));
    command::run(Command::new("rustup").args(arguments)).context("without rustup, install it by hand")
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
}

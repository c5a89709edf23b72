//! Linux's own way to do the filter's job, for user-mode sockets: a BPF program on the cgroup hook of setsockopt. What it adds to a
//! call is the yardstick for what wskguard adds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::Row;
use crate::{command, layout::Layout};

/// The hook beside the bare call; no rows, and the reason on standard error, where it cannot be run.
pub(super) fn run(layout: &Layout, rounds: u16) -> Result<Vec<Row>> {
    let folder = layout.target.join("peers");
    fs::create_dir_all(&folder)?;
    let built = build(&layout.root.join("tests/bench/peers"), &folder);
    match built.and_then(|()| measure(&folder, rounds)) {
        Ok(rows) => Ok(rows),
        Err(error) => {
            eprintln!("no BPF peer (it takes root, cgroup v2, clang-22 and libbpf-dev): {error:#}");
            Ok(Vec::new())
        }
    }
}

fn build(sources: &Path, to: &Path) -> Result<()> {
    let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let mut hook = Command::new("clang-22");
    hook.args(["-target", "bpf", "-O2", "-g", &headers, "-c"])
        .arg(sources.join("hook.bpf.c"))
        .arg("-o")
        .arg(to.join("hook.bpf.o"));
    command::output(&mut hook)?;
    let mut program = Command::new("clang-22");
    program
        .args(["-O2", "-Wall", "-Werror"])
        .arg(sources.join("hook.c"))
        .args(["-lbpf", "-o"])
        .arg(to.join("hook"));
    command::output(&mut program).map(drop)
}

fn measure(folder: &Path, rounds: u16) -> Result<Vec<Row>> {
    let cgroup = Cgroup::make(folder.join("cgroup"))?;
    let mut program = Command::new(folder.join("hook"));
    program
        .arg(folder.join("hook.bpf.o"))
        .arg(&cgroup.group)
        .arg(rounds.to_string());
    let text = command::output(&mut program)?;
    let rows: Vec<_> = text.lines().filter_map(super::driver::parse).collect();
    ensure!(!rows.is_empty(), "the hook printed nothing");
    let row = |(name, value, unit)| Row {
        name: format!("peer/{name}"),
        value,
        unit,
        target: None,
        met: None,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// A cgroup of its own on a mount of its own; both go when it is dropped.
struct Cgroup {
    mount: PathBuf,
    group: PathBuf,
}

impl Cgroup {
    fn make(mount: PathBuf) -> Result<Self> {
        fs::create_dir_all(&mount)?;
        command::output(Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&mount))?;
        let group = mount.join(format!("wskguard-bench-{}", std::process::id()));
        let made = Self { mount, group };
        fs::create_dir(&made.group).with_context(|| made.group.display().to_string())?;
        Ok(made)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed is empty, and does no harm.
        let _ = fs::remove_dir(&self.group);
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

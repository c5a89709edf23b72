//! Wine prefixes: one that is made once and kept ready, and the copies that sessions run in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{command, hashing, layout::Layout};

const CREATION_LIMIT: Duration = Duration::from_mins(3);
const END_LIMIT: Duration = Duration::from_secs(20);
/// What is at least this long is one of Wine's own modules, which nobody writes to.
const SHARED_FROM_BYTES: u64 = 4096;

/// The environment of every program of a session.
pub(super) fn environment<'a>(command: &'a mut Command, prefix: &Path) -> &'a mut Command {
    command
        .env("WINEPREFIX", prefix)
        .env("WINEARCH", "win64")
        // DbgPrint goes to the debugstr channel.
        .env("WINEDEBUG", "-all,warn+debugstr,err+module")
        // No .NET, no browser, no desktop menus; our netio.sys in place of Wine's.
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=;winemenubuilder.exe=d;netio.sys=n")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
}

/// A new copy of the ready prefix.
pub(super) fn copy(layout: &Layout, name: &str) -> Result<PathBuf> {
    let ready = ready(layout)?;
    sweep(&layout.target.join("wine"))?;
    let prefix = layout.target.join("wine").join(name);
    copy_tree(&ready, &prefix).with_context(|| prefix.display().to_string())?;
    Ok(prefix)
}

/// The name of a session's prefix begins with this and the id of the xtask process it belongs to.
pub(super) const SESSION: &str = "session-";

/// Ends the sessions of xtasks that were killed.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(SESSION)
            .and_then(|rest| rest.split('-').next())
            .and_then(|id| id.parse().ok());
        if owner.is_some_and(|id| !is_running(id)) {
            end(&entry.path());
        }
    }
    Ok(())
}

/// Ends what runs in a prefix, and removes the prefix.
pub(super) fn end(prefix: &Path) {
    for argument in ["-k", "-w"] {
        let mut server = Command::new("wineserver");
        // An error means that the server is gone already.
        let _ = command::run_limited(
            environment(&mut server, prefix).arg(argument).stderr(Stdio::null()),
            END_LIMIT,
        );
    }
    // What a dying process still held is swept up by a later session.
    let _ = fs::remove_dir_all(prefix);
}

#[cfg(unix)]
fn is_running(id: i32) -> bool {
    use nix::{sys::signal::kill, unistd::Pid};
    kill(Pid::from_raw(id), None).is_ok()
}

#[cfg(not(unix))]
fn is_running(_id: i32) -> bool {
    true
}

fn ready(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.target.join("wine/ready");
    let definition = layout.root.join("xtask/wine/bcryptprimitives.def");
    let version = command::output(Command::new("wine").arg("--version"))?;
    let key = format!("{version}{}", hashing::sha256_file(&definition)?);
    let prefix = folder.join("prefix");
    hashing::once_per_key(&folder, &key, || create(&prefix, &definition))?;
    Ok(prefix)
}

fn create(prefix: &Path, definition: &Path) -> Result<()> {
    if prefix.exists() {
        fs::remove_dir_all(prefix)?;
    }
    fs::create_dir_all(prefix)?;
    let log = prefix.with_extension("log");
    let finished = command::run_logged(
        environment(&mut Command::new("wineboot"), prefix).arg("--init"),
        &log,
        CREATION_LIMIT,
    )?;
    ensure!(finished.success(), "wineboot failed: see {}", log.display());
    // The registry is written when the server ends.
    for argument in ["-k", "-w"] {
        command::run_limited(
            environment(&mut Command::new("wineserver"), prefix).arg(argument),
            CREATION_LIMIT,
        )?;
    }
    // A DLL of one forwarded export, so no code.
    let dll = prefix.join("drive_c/windows/system32/bcryptprimitives.dll");
    let mut linker = Command::new("x86_64-w64-mingw32-gcc");
    linker
        .args(["-shared", "-nostdlib", "-Wl,--entry=0", "-o"])
        .arg(dll)
        .arg(definition);
    command::run(&mut linker)
}

/// Copies a prefix; Wine's modules, most of its hundreds of megabytes, are hard links.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &copy)?;
        } else if kind.is_symlink() {
            copy_link(&source, &copy)?;
        } else if is_module(&source) && entry.metadata()?.len() >= SHARED_FROM_BYTES {
            fs::hard_link(&source, &copy)?;
        } else {
            fs::copy(&source, &copy)?;
        }
    }
    Ok(())
}

/// Adds the files below `folder` to `files`. Links are not followed.
pub(crate) fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["dll", "exe", "drv", "sys", "ocx", "cpl", "acm", "ax", "nls"]
            .iter()
            .any(|module| extension == *module)
    })
}

#[cfg(unix)]
fn copy_link(source: &Path, copy: &Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(fs::read_link(source)?, copy)?)
}

#[cfg(not(unix))]
fn copy_link(_source: &Path, _copy: &Path) -> Result<()> {
    anyhow::bail!("test-kernel sessions need Wine")
}

//! Running other programs: loudly when they fail, never for ever.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// Runs `command` with the terminal's output; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    ensure!(status.success(), "{} failed: {status}", describe(command));
    Ok(())
}

/// Runs `command` and returns its standard output; an error with what it wrote to standard error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    ensure!(
        output.status.success(),
        "{} failed: {}\n{}",
        describe(command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How `command` would be typed.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// What came of a command with a time limit.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if it was killed for taking too long.
    pub(crate) status: Option<ExitStatus>,
}

impl Finished {
    pub(crate) fn timed_out(&self) -> bool {
        self.status.is_none()
    }

    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` with both outputs in `log` (which is created), and kills it and its children after `limit`.
pub(crate) fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Finished> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    run_limited(command, limit)
}

/// Runs `command`, whose outputs the caller has set, and kills it and its children after `limit`.
pub(crate) fn run_limited(command: &mut Command, limit: Duration) -> Result<Finished> {
    own_process_group(command);
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Finished { status: Some(status) });
        }
        if start.elapsed() >= limit {
            kill_group(&mut child);
            child.wait()?;
            return Ok(Finished { status: None });
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
fn own_process_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(unix)]
fn kill_group(child: &mut Child) {
    use nix::{
        sys::signal::{Signal, killpg},
        unistd::Pid,
    };
    if let Ok(id) = i32::try_from(child.id()) {
        // An error means that the group is already gone.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

#[cfg(not(unix))]
fn own_process_group(_command: &mut Command) {}

#[cfg(not(unix))]
fn kill_group(child: &mut Child) {
    // An error means that the child is already gone.
    let _ = child.kill();
}

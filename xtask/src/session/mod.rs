//! A test-kernel session: Wine, which loads kernel drivers, with the test kernel's drivers and wskguard.
//!
//! Each session has a Wine prefix of its own, so that any number can run side by side. All drivers are in one load order
//! group: Wine gives each group a process, and drivers in different processes would not see each other.

pub(crate) mod cli;
mod interrupt;
mod prefix;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use self::prefix::list as list_files;
use crate::{
    command::{self, Finished},
    inf,
    layout::Layout,
    selftest,
};

/// The group that driver.inx names.
const GROUP: &str = "PNP_TDI";
/// Where the INF and what it installs lie.
const PACKAGE_FOLDER: &str = "drive_c/package";
const DRIVERS_FOLDER: &str = "drive_c/windows/system32/drivers";
/// Wine's own programs take well under a second; more means that something hangs.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// What a session consists of.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where the drivers come from.
    pub(crate) drivers: PathBuf,
    /// wskguard.sys, if it comes from elsewhere.
    pub(crate) wskguard: Option<PathBuf>,
    /// Drivers to leave out: verifier, netio, probe, wskguard.
    pub(crate) without: Vec<String>,
    /// What verifier.sys checks, as its registry value; its standard without.
    pub(crate) verifier: Option<u32>,
}

impl Options {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            drivers: layout.out(),
            wskguard: None,
            without: Vec::new(),
            verifier: None,
        }
    }

    fn has(&self, driver: &str) -> bool {
        !self.without.iter().any(|name| name == driver)
    }
}

/// A running session. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    prefix: PathBuf,
    /// What the drivers print.
    log: PathBuf,
}

impl Session {
    /// Boots Wine and loads the drivers, where they are known to work.
    pub(crate) fn start(layout: &Layout, options: &Options) -> Result<Self> {
        selftest::passed(layout)?;
        Self::start_untested(layout, options)
    }

    /// Boots whatever Wine there is and loads the drivers.
    pub(crate) fn start_untested(layout: &Layout, options: &Options) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}{}-{}",
            prefix::SESSION,
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let log = layout.logs()?.join(&name).with_extension("log");
        interrupt::guard()?;
        let prefix = prefix::copy(layout, &name)?;
        interrupt::add(&prefix);
        let session = Self { prefix, log };
        session.boot(options)?;
        session.load(layout, options)?;
        Ok(session)
    }

    fn boot(&self, options: &Options) -> Result<()> {
        if options.has("netio") {
            place(
                &options.drivers.join("netio.sys"),
                &self.prefix.join(DRIVERS_FOLDER).join("netio.sys"),
            )?;
        }
        // Persistent, or the drivers end three seconds after the last program.
        let server = command::run_limited(self.environment(&mut Command::new("wineserver")).arg("-p"), STEP_LIMIT)?;
        ensure!(server.success(), "wineserver does not start");
        // The first program's environment and standard error are those of the process that runs the drivers.
        let mut first = self.wine("wineboot");
        let finished = command::run_logged(&mut first, &self.log, STEP_LIMIT)?;
        ensure!(finished.success(), "wineboot failed: see {}", self.log.display());
        Ok(())
    }

    fn load(&self, layout: &Layout, options: &Options) -> Result<()> {
        // First, since what it supplies must be there when the others are linked.
        if options.has("verifier") {
            self.create_service("verifier", &options.drivers.join("verifier.sys"))?;
            if let Some(flags) = options.verifier {
                self.set_flags(flags)?;
            }
            self.start_service("verifier")?;
        }
        if options.has("wskguard") {
            let driver = options
                .wskguard
                .clone()
                .unwrap_or_else(|| options.drivers.join("wskguard.sys"));
            self.install(&driver, &inf::stamp(layout, "amd64")?)?;
        }
        // Clients linked with the shim. Tests install and start them when the time has come.
        for name in ["client.sys", "cclient-open.sys", "cclient-closed.sys"] {
            let file = options.drivers.join(name);
            if file.is_file() {
                place(&file, &self.prefix.join(DRIVERS_FOLDER).join(name))?;
            }
        }
        if options.has("probe") {
            // Two clients, so that tests see what is per client.
            for name in ["probe", "probe2"] {
                self.add_driver(name, &options.drivers.join("probe.sys"))?;
            }
        }
        Ok(())
    }

    /// Installs a copy of `file` as the kernel service `name` and starts it.
    pub(crate) fn add_driver(&self, name: &str, file: &Path) -> Result<()> {
        self.create_service(name, file)?;
        self.start_service(name)
    }

    fn create_service(&self, name: &str, file: &Path) -> Result<()> {
        place(file, &self.prefix.join(DRIVERS_FOLDER).join(name).with_extension("sys"))?;
        let binary = format!("C:\\windows\\system32\\drivers\\{name}.sys");
        let mut create = self.wine("sc");
        create.args([
            "create", name, "type=", "kernel", "start=", "demand", "group=", GROUP, "binPath=", &binary,
        ]);
        self.step(&mut create)
            .with_context(|| format!("installing {name}"))
            .map(drop)
    }

    fn set_flags(&self, flags: u32) -> Result<()> {
        let key = r"HKLM\System\CurrentControlSet\Services\verifier\Parameters";
        let mut add = self.wine("reg");
        add.args([
            "add",
            key,
            "/v",
            "Flags",
            "/t",
            "REG_DWORD",
            "/d",
            &flags.to_string(),
            "/f",
        ]);
        self.step(&mut add).context("the verifier's flags").map(drop)
    }

    /// Installs wskguard the way Windows would: from its INF, by `SetupAPI`. The INF's service starts as it is installed.
    pub(crate) fn install(&self, driver: &Path, stamped_inf: &str) -> Result<()> {
        let package = self.prefix.join(PACKAGE_FOLDER);
        fs::create_dir_all(&package)?;
        place(driver, &package.join("wskguard.sys"))?;
        fs::write(package.join("wskguard.inf"), inf::for_wine(stamped_inf)?)?;
        self.setup_section("DefaultInstall").context("installing wskguard")?;
        ensure!(
            self.is_installed("wskguard")?,
            "the INF installed no service; the drivers printed:\n{}",
            self.printed()
        );
        ensure!(
            self.is_running("wskguard")?,
            "wskguard does not start; the drivers printed:\n{}",
            self.printed()
        );
        Ok(())
    }

    /// Takes back what [`install`](Self::install) did, by the same INF. The driver must be stopped.
    pub(crate) fn uninstall(&self) -> Result<()> {
        self.setup_section("DefaultUninstall")
            .context("uninstalling wskguard")?;
        fs::remove_dir_all(self.prefix.join(PACKAGE_FOLDER)).map_err(Into::into)
    }

    /// rundll32 succeeds whatever `SetupAPI` says: the caller looks at what came of it.
    fn setup_section(&self, section: &str) -> Result<()> {
        let mut setup = self.wine("rundll32");
        setup.args([
            "setupapi,InstallHinfSection",
            section,
            "132",
            "C:\\package\\wskguard.inf",
        ]);
        self.step(&mut setup).map(drop)
    }

    /// Whether the service control manager knows `service`, whatever its state.
    pub(crate) fn is_installed(&self, service: &str) -> Result<bool> {
        let finished = command::run_limited(
            self.wine("sc")
                .args(["query", service])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
            STEP_LIMIT,
        )?;
        ensure!(!finished.timed_out(), "sc query {service} timed out");
        Ok(finished.success())
    }

    /// All files on drive C, in order.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        prefix::list(&self.prefix.join("drive_c"), &mut files)?;
        files.sort();
        Ok(files)
    }

    /// The registry below the services' key, as text.
    pub(crate) fn services(&self) -> Result<String> {
        let mut query = self.wine("reg");
        query.args(["query", r"HKLM\System\CurrentControlSet\Services", "/s"]);
        self.step(&mut query)
    }

    pub(crate) fn start_service(&self, name: &str) -> Result<()> {
        self.step(self.wine("sc").args(["start", name]))
            .with_context(|| format!("{name} does not start"))
            .map(drop)
    }

    /// Stops every driver that `options` had started and that still runs, last first.
    pub(crate) fn stop_drivers(&self, options: &Options) -> Result<()> {
        let services = [
            ("probe", "probe2"),
            ("probe", "probe"),
            ("wskguard", "wskguard"),
            ("verifier", "verifier"),
        ];
        for (_, service) in services.into_iter().filter(|(driver, _)| options.has(driver)) {
            if !self.is_running(service)? {
                continue;
            }
            if service == "wskguard" {
                // It can be unloaded only once it is drained.
                let ctl = options.drivers.join("wskguardctl.exe");
                self.step(self.wine(ctl).arg("stop"))
                    .context("wskguard does not stop")?;
            } else {
                self.stop_service(service)?;
            }
        }
        Ok(())
    }

    pub(crate) fn stop_service(&self, name: &str) -> Result<()> {
        self.step(self.wine("sc").args(["stop", name]))
            .with_context(|| format!("{name} does not stop"))
            .map(drop)
    }

    fn is_running(&self, service: &str) -> Result<bool> {
        Ok(self.step(self.wine("sc").args(["query", service]))?.contains("RUNNING"))
    }

    /// One of Wine's own programs, which must succeed. Returns its output, or an error with it.
    fn step(&self, command: &mut Command) -> Result<String> {
        let log = self.prefix.join("step.log");
        let finished = command::run_logged(command, &log, STEP_LIMIT)?;
        let output = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        if finished.success() {
            return Ok(output);
        }
        let how = if finished.timed_out() { "timed out" } else { "failed" };
        bail!(
            "{} {how}\n{}\nThe drivers printed:\n{}",
            command::describe(command),
            output.trim(),
            self.printed()
        )
    }

    /// Runs a Windows program in the session with this process's outputs.
    pub(crate) fn run(&self, program: &Path, arguments: &[String], limit: Duration) -> Result<Finished> {
        let mut command = self.wine(program);
        command::run_limited(command.args(arguments).stdin(Stdio::null()), limit)
    }

    /// Runs a Windows program in the session with its outputs in `log`.
    pub(crate) fn run_logged(
        &self,
        program: &Path,
        arguments: &[String],
        log: &Path,
        limit: Duration,
    ) -> Result<Finished> {
        command::run_logged(self.wine(program).args(arguments), log, limit)
    }

    /// A program for Wine: one of its own by name, or a Windows executable by path.
    fn wine(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("wine");
        self.environment(&mut command).arg(program);
        command
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        prefix::environment(command, &self.prefix)
    }

    /// What the drivers have printed so far, a line per `DbgPrint`.
    pub(crate) fn printed(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines = text.lines().flat_map(|line| [printed_line(line), "\n"]);
        lines.collect()
    }

    /// Removes the log, when there is nothing to find out.
    pub(crate) fn forget_log(&self) {
        // A log that stays does no harm.
        let _ = fs::remove_file(&self.log);
    }

    /// The file in which Wine's messages and the drivers' are kept.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

/// Takes Wine's own words off a line of the debug channel.
fn printed_line(line: &str) -> &str {
    let message = line
        .split_once("vDbgPrintExWithPrefix ")
        .and_then(|(_, rest)| rest.split_once(": "));
    message.map_or(line, |(_, message)| message)
}

impl Drop for Session {
    fn drop(&mut self) {
        prefix::end(&self.prefix);
        interrupt::remove(&self.prefix);
    }
}

/// Copies `from` to `to` as a new file: `to` may be a hard link to the ready prefix's.
fn place(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_file(to)?;
    }
    let mut source = File::open(from).with_context(|| from.display().to_string())?;
    let mut copy = File::create(to).with_context(|| to.display().to_string())?;
    std::io::copy(&mut source, &mut copy)?;
    Ok(())
}

/// How Wine names a file of the host.
pub(crate) fn wine_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

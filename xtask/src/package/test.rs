//! The package's tests: that its driver is the tested one, that a change in it is noticed, and that it installs, answers and
//! goes without leaving anything.

use std::{fs, time::Duration};

use anyhow::{Result, bail, ensure};

use super::{Package, authenticode};
use crate::{
    layout::Layout,
    report::Report,
    session::{Options, Session},
};

const LIMIT: Duration = Duration::from_mins(1);
/// What wskguardctl ends with when the driver is not loaded.
const ABSENT: i32 = 3;

/// Makes a package of what was built, and tests it.
pub(crate) fn test(layout: &Layout, report: &mut Report) {
    let mut made = None;
    report.test("the package is made; its signatures verify", || {
        made = Some(Package::make(layout, layout.target.join("package-tested"))?);
        Ok(())
    });
    let Some(package) = made else { return };
    report.test("the package's driver is the tested one, but for its signature", || {
        let (built, signed) = (
            fs::read(layout.out().join("wskguard.sys"))?,
            fs::read(package.file("wskguard.sys"))?,
        );
        authenticode::ensure_same(&built, &signed)
    });
    report.test("a changed byte in the package's driver is noticed", || {
        changed_byte(&package)
    });
    report.test("the package installs by its INF, answers, and leaves nothing", || {
        install(layout, &package)
    });
}

/// Both our comparison and the verification have to fail for an image that was changed after it was signed.
fn changed_byte(package: &Package) -> Result<()> {
    let signed = fs::read(package.file("wskguard.sys"))?;
    let mut changed = signed.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    ensure!(
        authenticode::content(&signed)? != authenticode::content(&changed)?,
        "the comparison misses it"
    );
    let file = package.file("changed.sys");
    fs::write(&file, changed)?;
    let verified = package.verify(&file);
    fs::remove_file(&file)?;
    ensure!(verified.is_err(), "the signature still verifies");
    Ok(())
}

/// Twice, since what an uninstallation left half-done shows at the next installation.
fn install(layout: &Layout, package: &Package) -> Result<()> {
    let without = ["probe", "wskguard"].map(str::to_owned).to_vec();
    let session = Session::start(
        layout,
        &Options {
            without,
            ..Options::new(layout)
        },
    )?;
    let (files, services) = (session.files()?, session.services()?);
    for _ in 0..2 {
        session.install(
            &package.file("wskguard.sys"),
            &fs::read_to_string(package.file("wskguard.inf"))?,
        )?;
        ensure!(session.files()? != files, "nothing was copied");
        ctl(&session, package, &["status"], 0)?;
        ctl(&session, package, &["stop"], 0)?;
        session.uninstall()?;
        ctl(&session, package, &["status"], ABSENT)?;
        ensure!(!session.is_installed("wskguard")?, "the service is still there");
        ensure!(session.files()? == files, "files are left");
        ensure!(session.services()? == services, "registry keys or values are left");
    }
    let log = layout.logs()?.join("package-leftovers.log");
    let left = session.run_logged(&layout.out().join("hlk.exe"), &["leftovers".to_owned()], &log, LIMIT)?;
    ensure!(
        left.success(),
        "something is left in the kernel:\n{}",
        fs::read_to_string(log)?
    );
    session.forget_log();
    Ok(())
}

/// Runs the package's own wskguardctl, which has to end with `code`.
fn ctl(session: &Session, package: &Package, arguments: &[&str], code: i32) -> Result<()> {
    let arguments = arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect::<Vec<_>>();
    let log = package.folder.with_extension("log");
    let finished = session.run_logged(&package.file("wskguardctl.exe"), &arguments, &log, LIMIT)?;
    let Some(status) = finished.status else {
        bail!("wskguardctl {} did not end", arguments.join(" "))
    };
    ensure!(
        status.code() == Some(code),
        "wskguardctl {} ended with {status}, not {code}:\n{}\n{}",
        arguments.join(" "),
        fs::read_to_string(&log)?,
        session.printed()
    );
    Ok(())
}

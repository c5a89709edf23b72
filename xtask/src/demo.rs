//! `cargo xtask demo`: wskguard at work, on the test kernel.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    build,
    layout::Layout,
    session::{Options, Session, wine_path},
    setup,
};

const LIMIT: Duration = Duration::from_mins(3);

/// Builds what is missing, boots the test kernel, lets `hlk demo` tell the story, and unloads: nothing may be left behind.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    setup::run()?;
    build::run(layout, &build::Options::default())?;
    println!("Booting the test kernel: verifier.sys, netio.sys, wskguard.sys from its INF, and two client drivers.");
    let options = Options::new(layout);
    let session = Session::start(layout, &options)?;
    let out = layout.out();
    let arguments = [
        "demo".to_owned(),
        format!("--ctl={}", wine_path(&out.join("wskguardctl.exe"))),
        format!("--policy={}", wine_path(&layout.root.join("policies/demo.toml"))),
    ];
    let finished = session.run(&out.join("hlk.exe"), &arguments, LIMIT)?;
    ensure!(
        !finished.timed_out(),
        "the demonstration did not end; the drivers printed:\n{}",
        session.printed()
    );
    ensure!(
        finished.success(),
        "the demonstration failed; the drivers printed:\n{}",
        session.printed()
    );
    println!("\n--- wskguard drains, stops and unloads. The verifier looks for what it left behind.");
    let stopped = session.run(&out.join("wskguardctl.exe"), &["stop".to_owned()], LIMIT)?;
    ensure!(
        stopped.success(),
        "wskguard could not be stopped; the drivers printed:\n{}",
        session.printed()
    );
    for client in ["probe2", "probe"] {
        session.stop_service(client)?;
    }
    let left = session.run(&out.join("hlk.exe"), &["leftovers".to_owned()], LIMIT)?;
    let printed = session.printed();
    ensure!(
        left.success(),
        "something was left behind; the drivers printed:\n{printed}"
    );
    ensure!(!printed.contains("STOP"), "the verifier found faults:\n{printed}");
    session.stop_service("verifier")?;
    session.forget_log();
    println!("demo: ok");
    Ok(())
}

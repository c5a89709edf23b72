//! `cargo xtask demo`: wskguard at work, on the test kernel.

use anyhow::Result;

use crate::{
    build,
    layout::Layout,
    session::{Options, Session},
    setup,
};

pub(crate) fn run(layout: &Layout) -> Result<()> {
    let session = boot(layout)?;
    print!("{}", session.printed());
    session.forget_log();
    Ok(())
}

/// A session with everything built and loaded.
fn boot(layout: &Layout) -> Result<Session> {
    setup::run()?;
    build::run(layout, &build::Options::default())?;
    println!("Booting the test kernel: verifier.sys, netio.sys, wskguard.sys from its INF, two clients.");
    Session::start(layout, &Options::new(layout))
}

//! Transparent mode: the filter at the system's NPI, and what its canary says of whom `WskRegister` clients are bound to.

use std::process::Command;

use anyhow::{Result, ensure};
use probe_protocol::netio::{Choice, Configuration};
use wskguard_abi::client_flags::TRANSPARENT as VIA_TRANSPARENT;
use wskguard_abi::status_flags::{TRANSPARENT, TRANSPARENT_ACTIVE};

use super::stop::Away;
use crate::check;
use crate::context::Context;
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;

tests! {
    "transparent";
    off_by_default, Filtered, "transparent mode", "without the parameter the filter is not at the system's NPI";
    @60 active, Filtered, "transparent mode", "where WskRegister binds to the filter the canary says so, and such a client goes through it";
    @60 inactive, Filtered, "transparent mode", "where WskRegister binds to the system the canary says that, and why";
    @60 follows_what_happens, Filtered, "transparent mode", "the canary tells what is so now, not what was so at the start";
    @60 does_not_bind_to_itself, Filtered, "a binding for each client", "the filter's lower bindings are to the system's provider";
    @60 canary_leaves_nothing, Filtered, "transparent mode", "looking does not leave clients behind, nor hold the filter";
}

const KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\wskguard\Parameters";

fn registry(arguments: &[&str]) -> Result<()> {
    let output = Command::new("reg").args(arguments).output()?;
    ensure!(output.status.success(), "reg {arguments:?}: {output:?}");
    Ok(())
}

/// The filter, restarted with the mode on; restarted without it in the end.
struct On<'c>(&'c Context);

impl<'c> On<'c> {
    fn begin(context: &'c Context) -> Result<Self> {
        registry(&["add", KEY, "/v", "Transparent", "/t", "REG_DWORD", "/d", "1", "/f"])?;
        let on = Self(context);
        Away::begin(context)?.end()?;
        Ok(on)
    }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        // If either fails, `off_by_default` of the next run tells.
        let _ = registry(&["delete", KEY, "/v", "Transparent", "/f"]);
        let _ = Away::begin(self.0).and_then(Away::end);
    }
}

fn choose(netio: &Netio, choice: Choice) -> Result<()> {
    netio
        .configure(Configuration {
            choice: choice as u32,
            ..Configuration::default()
        })
        .map(drop)
}

/// Flags and reason of the status.
fn told(context: &Context) -> Result<(u32, i32)> {
    let status = context.guard()?.status()?;
    let flags = status.flags & (TRANSPARENT | TRANSPARENT_ACTIVE);
    Ok((flags, status.transparent_status.cast_signed()))
}

fn works(client: &Client<'_>) -> Result<()> {
    let (listener, near, far) = client.pair(Family::V4)?;
    near.send(b"works")?;
    check::equal("data", far.receive_all(5)?, b"works".to_vec())?;
    for socket in [near, far, listener] {
        socket.close()?;
    }
    Ok(())
}

fn off_by_default(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    check::equal("status", told(context)?, (0, status::SUCCESS))?;
    choose(&netio, Choice::Last)?;
    let client = context.probe.attach(Npi::Register)?;
    check::equal("clients", context.guard()?.status()?.clients, 0)?;
    client.detach(5000)?;
    Ok(())
}

fn active(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    choose(&netio, Choice::Last)?;
    let _on = On::begin(context)?;
    check::equal(
        "status",
        told(context)?,
        (TRANSPARENT | TRANSPARENT_ACTIVE, status::SUCCESS),
    )?;
    let client = context.probe.attach(Npi::Register)?;
    let listed = context.guard()?.clients()?;
    let flags: Vec<_> = listed.iter().map(|client| client.flags).collect();
    check::equal("attached", flags, vec![VIA_TRANSPARENT])?;
    let socket = client.datagram_socket(Family::V4)?;
    check::equal("endpoints", context.guard()?.status()?.endpoints, 1)?;
    socket.close()?;
    works(&client)?;
    // Its own NPI is there as before.
    let own = context.attach()?;
    works(&own)?;
    own.detach(5000)?;
    check::status("WskDeregister", client.detach(5000)?.status, status::SUCCESS)
}

fn inactive(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    choose(&netio, Choice::System)?;
    let _on = On::begin(context)?;
    check::equal("status", told(context)?, (TRANSPARENT, status::NOT_SAME_OBJECT))?;
    let client = context.probe.attach(Npi::Register)?;
    check::equal("clients", context.guard()?.status()?.clients, 0)?;
    works(&client)?;
    check::status("WskDeregister", client.detach(5000)?.status, status::SUCCESS)
}

fn follows_what_happens(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    choose(&netio, Choice::Last)?;
    let _on = On::begin(context)?;
    let active = (TRANSPARENT | TRANSPARENT_ACTIVE, status::SUCCESS);
    let inactive = (TRANSPARENT, status::NOT_SAME_OBJECT);
    check::equal("newest", told(context)?, active)?;
    choose(&netio, Choice::First)?;
    check::equal("oldest", told(context)?, inactive)?;
    choose(&netio, Choice::Last)?;
    check::equal("newest again", told(context)?, active)
}

fn does_not_bind_to_itself(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    choose(&netio, Choice::Last)?;
    let _on = On::begin(context)?;
    let client = context.probe.attach(Npi::Register)?;
    let _socket = client.datagram_socket(Family::V4)?;
    let status = context.guard()?.status()?;
    check::equal("clients and endpoints", (status.clients, status.endpoints), (1, 1))?;
    check::equal("clients of the system's provider", netio.statistics()?.clients, 1)
}

fn canary_leaves_nothing(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    choose(&netio, Choice::Last)?;
    let _on = On::begin(context)?;
    let before = netio.statistics()?;
    for _ in 0..10 {
        told(context)?;
    }
    let after = netio.statistics()?;
    check::equal("modules", after.modules, before.modules)?;
    check::equal("bindings", after.bindings, before.bindings)?;
    check::equal("misuses", after.misuses, before.misuses)?;
    check::equal("listed", context.guard()?.clients()?.len(), 0)?;
    let mut guard = context.guard()?;
    let drained = guard.drain(true)?;
    let while_draining = guard.status()?;
    guard.drain(false)?;
    check::equal("drained", drained.drained, 1)?;
    check::equal("active while draining", while_draining.flags & TRANSPARENT_ACTIVE, 0)
}

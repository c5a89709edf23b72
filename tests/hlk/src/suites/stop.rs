//! Draining, stopping and starting the filter under its clients.

use anyhow::{Context as _, Result};
use probe_protocol::probe::Attach;
use testkernel_check::service::Service;

use crate::check;
use crate::context::Context;
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;

tests! {
    "stop";
    drain_names_holders, Filtered, "design §3", "the answer counts clients and endpoints, and says when none is left";
    @60 stop_and_start, Filtered, "design §3", "a drained filter stops, and starts again";
}

const STOPPED: u32 = 1;
const RUNNING: u32 = 4;

fn turned_away(context: &Context) -> Result<()> {
    let wish = Attach {
        timeout_ms: 500,
        ..Npi::Wskguard.attach()
    };
    let attached = Client::try_attach(&context.probe, &wish)?;
    check::status("attach", attached.status, status::NOINTERFACE)
}

fn drain_names_holders(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let first = guard.drain(true)?;
    socket.close()?;
    let second = guard.drain(true)?;
    client.detach(5000)?;
    let third = guard.drain(true)?;
    guard.drain(false)?;
    check::equal(
        "with a socket",
        (first.clients, first.endpoints, first.drained),
        (1, 1, 0),
    )?;
    check::equal("without", (second.clients, second.endpoints, second.drained), (1, 0, 0))?;
    check::equal(
        "without clients",
        (third.clients, third.endpoints, third.drained),
        (0, 0, 1),
    )
}

fn service() -> Result<Service> {
    // It is there: installing finds it.
    Service::install(wskguard_abi::SERVICE_NAME, "wskguard.sys").context("the filter's service")
}

fn stop_and_start(context: &Context) -> Result<()> {
    let client = context.attach()?;
    client.datagram_socket(Family::V4)?.close()?;
    client.detach(5000)?;
    let drained = context.guard()?.drain(true)?;
    check::equal("drained", drained.drained, 1)?;
    let service = service()?;
    service.stop().context("stop")?;
    service.wait_for(STOPPED).context("until it has stopped")?;
    turned_away(context)?;
    service.start().context("start")?;
    service.wait_for(RUNNING).context("until it runs")?;
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    near.send(b"again")?;
    check::equal("data", far.receive_all(5)?, b"again".to_vec())
}

//! Draining, stopping and starting the filter under its clients.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use probe_protocol::probe::Attach;
use testkernel_check::service::Service;
use wskguard_abi::client_flags;

use crate::check;
use crate::context::{self, Context};
use crate::guard::Guard;
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;

tests! {
    "stop";
    drain_names_holders, Filtered, "design §3", "the answer counts clients and endpoints, and says when none is left";
    @60 stop_and_start, Filtered, "design §3", "a drained filter stops, and starts again";
    @60 clients_before_and_after, Filtered, "OPERATING", "a client that waits for the filter and one that comes later are both attached, and listed so";
}

const STOPPED: u32 = 1;
const RUNNING: u32 = 4;

/// How long the early client waits alone before the filter starts.
const ALONE: Duration = Duration::from_secs(1);

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

/// Drains the filter and stops it.
fn stopped() -> Result<Service> {
    let drained = Guard::open()?.drain(true)?;
    check::equal("drained", drained.drained, 1)?;
    let service = service()?;
    service.stop().context("stop")?;
    service.wait_for(STOPPED).context("until it has stopped")?;
    Ok(service)
}

/// As at the start of the machine: the registrar brings a client and its provider together, whichever comes first.
fn clients_before_and_after(context: &Context) -> Result<()> {
    let service = stopped()?;
    let early = context.another_session()?;
    let waiting = thread::spawn(move || {
        let attached = Client::try_attach(&early, &Npi::Wskguard.attach());
        (early, attached)
    });
    thread::sleep(ALONE);
    ensure!(!waiting.is_finished(), "the early client did not wait");
    service.start().context("start")?;
    service.wait_for(RUNNING).context("until it runs")?;
    let Ok((early, attached)) = waiting.join() else {
        bail!("the early client's thread panicked");
    };
    check::status("the early client's attach", attached?.status, status::SUCCESS)?;
    let late = context.second_driver()?;
    late.attach(Npi::Wskguard)?;
    let clients = context.guard()?.clients()?;
    let flags = clients.iter().map(|client| client.flags).collect::<Vec<_>>();
    check::equal("how they are attached", flags, vec![client_flags::OWN_NPI; 2])?;
    context::finish(&early)?;
    context::finish(&late)
}

fn stop_and_start(context: &Context) -> Result<()> {
    let client = context.attach()?;
    client.datagram_socket(Family::V4)?.close()?;
    client.detach(5000)?;
    let service = stopped()?;
    turned_away(context)?;
    service.start().context("start")?;
    service.wait_for(RUNNING).context("until it runs")?;
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    near.send(b"again")?;
    check::equal("data", far.receive_all(5)?, b"again".to_vec())
}

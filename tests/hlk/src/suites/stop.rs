//! Draining, stopping and starting the filter under its clients.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use probe_protocol::probe::Attach;
use testkernel_check::service::Service;
use testkernel_check::verifier::Verifier;
use wskguard_abi::client_flags;

use crate::check;
use crate::context::{self, Context};
use crate::probe::{Client, Family, Npi};
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_KEEPALIVE};

tests! {
    "stop";
    drain_names_holders, Filtered, "interposition", "the answer counts clients and endpoints, and says when none is left";
    @900 cycles, Filtered, "interposition", "loaded, used and unloaded again and again, nothing grows by pool tag";
    @60 stop_and_start, Filtered, "interposition", "a drained filter stops, and starts again";
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

/// The filter, stopped for as long as this lives.
pub(super) struct Away {
    service: Service,
    ended: bool,
}

impl Away {
    /// Drains and stops it.
    pub(super) fn begin(context: &Context) -> Result<Self> {
        let drained = context.guard()?.drain(true)?;
        check::equal("drained", drained.drained, 1)?;
        let service = service()?;
        service.stop().context("stop")?;
        service.wait_for(STOPPED).context("until it has stopped")?;
        Ok(Self { service, ended: false })
    }

    /// Starts it again.
    pub(super) fn end(mut self) -> Result<()> {
        self.ended = true;
        self.start()
    }

    fn start(&self) -> Result<()> {
        self.service.start().context("start")?;
        self.service.wait_for(RUNNING).context("until it runs")
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if !self.ended {
            // That it does not start is the next test's to tell.
            let _ = self.start();
        }
    }
}

/// As at the start of the machine: the registrar brings a client and its provider together, whichever comes first.
fn clients_before_and_after(context: &Context) -> Result<()> {
    let away = Away::begin(context)?;
    let early = context.another_session()?;
    let waiting = thread::spawn(move || {
        let attached = Client::try_attach(&early, &Npi::Wskguard.attach());
        (early, attached)
    });
    thread::sleep(ALONE);
    ensure!(!waiting.is_finished(), "the early client did not wait");
    away.end()?;
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
    let away = Away::begin(context)?;
    turned_away(context)?;
    away.end()?;
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    near.send(b"again")?;
    check::equal("data", far.receive_all(5)?, b"again".to_vec())
}

/// Pool tags of wskguard.sys, wdk-alloc's last.
const TAGS: [&[u8; 4]; 7] = [b"WsGc", b"WsGe", b"WsGr", b"WsGt", b"WsGp", b"WsGs", b"rust"];

/// Everything that allocates: clients, sockets of all categories, data both ways, options, a policy, audit, a control handle.
fn traffic(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    guard.load("schema = 1\nname = \"cycle\"\naudit = \"all\"\nsemantics = \"compat\"\n")?;
    // A session of its own, so that what the client driver keeps for a session goes too.
    let session = context.another_session()?;
    let client = session.attach(context.npi())?;
    for family in Family::BOTH {
        let (listener, near, far) = client.pair(family)?;
        near.set(SO_KEEPALIVE, 1)?;
        let data = vec![0x5a; 16_384];
        near.send(&data)?;
        check::equal("forth", far.receive_all(data.len())?, data.clone())?;
        far.send(&data)?;
        check::equal("back", near.receive_all(data.len())?, data)?;
        let (datagram, _address) = client.datagram(family)?;
        datagram.set(SO_BROADCAST, 1)?;
        check::equal("endpoints", super::lifetime::list(&mut guard)?.len(), 4)?;
        for socket in [listener, near, far, datagram] {
            socket.close()?;
        }
    }
    client.detach(5000)?;
    let drained = guard.drain(true)?;
    check::equal("drained", drained.drained, 1)?;
    context::finish(&session)
}

fn cycles(context: &Context) -> Result<()> {
    let service = service()?;
    let verifier = Verifier::open().ok();
    let mut blocks = Vec::new();
    for cycle in 0..super::CYCLES.load(Ordering::Relaxed) {
        traffic(context).with_context(|| format!("cycle {cycle}"))?;
        service.stop().with_context(|| format!("stop {cycle}"))?;
        service.wait_for(STOPPED).context("until it has stopped")?;
        if let Some(verifier) = &verifier {
            for tag in TAGS {
                let left = verifier.pool(Some(*tag))?;
                let tag = String::from_utf8_lossy(tag);
                check::equal(&format!("blocks of {tag} after cycle {cycle}"), left.blocks, 0)?;
            }
            blocks.push(verifier.pool(None)?.blocks);
        }
        service.start().with_context(|| format!("start {cycle}"))?;
        service.wait_for(RUNNING).context("until it runs")?;
    }
    // The other drivers of the session keep what they made at the first use, and the I/O manager may be behind with closed handles.
    if let [_, second, .., last] = blocks[..] {
        check::holds(
            &format!("blocks of all drivers do not grow: {blocks:?}"),
            last <= second + 16,
        )?;
    }
    Ok(())
}

//! Clients that are linked with the shim and know nothing of the filter: one in C, one in Rust. With the filter they go through it;
//! without it they do what was chosen when they were linked.

use std::time::{Duration, Instant};

use anyhow::Result;
use probe_protocol::client::Step;
use probe_protocol::probe::Attach;
use wskguard_abi::client_flags::{BYPASSING, OWN_NPI};

use super::stop::Away;
use crate::cclient::{CClient, Running};
use crate::check;
use crate::context::{Context, finish};
use crate::guard::under;
use crate::probe::{Client, Family, Npi, Probe};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_RCVBUF, SOL_SOCKET};

tests! {
    "shim";
    c_client, Filtered, "opting in", "a client in C that calls WskRegister goes through the filter";
    rust_client, Filtered, "opting in", "a client in Rust that calls WskRegister goes through the filter";
    c_client_under_policy, Filtered, "opting in", "a policy applies to it by its image";
    versions_of_the_filter, Filtered, "WSK: lifetime", "WskQueryProviderCharacteristics tells the filter's versions";
    capture_ends_in_time, Filtered, "WSK: lifetime", "without the filter a fail-closed capture fails with DEVICE_NOT_READY when its time is over";
    @60 fail_closed, Filtered, "opting in", "a fail-closed client gets no provider without the filter, and the filter once it is there";
    @60 fail_open, Filtered, "opting in", "a fail-open client gets the system's provider without the filter, after a bounded wait";
    @60 fail_open_at_once, Filtered, "WSK: lifetime", "WSK_NO_WAIT does not wait for the filter";
    @60 bypassing_is_listed, Filtered, "opting in", "a filter that comes later lists the client as bypassing, until it leaves";
    @60 bypassing_does_not_hold, Filtered, "interposition", "a bypassing client does not keep the filter from stopping";
    @60 draining_filter, Filtered, "interposition", "a draining filter refuses: fail-closed is NOINTERFACE, fail-open bypasses";
    @60 load_and_unload, Filtered, "interposition", "clients load, work and unload many times and leave nothing";
    unload_with_a_socket, Filtered, "WSK: lifetime", "a client that is stopped with a socket open takes all of it along";
    provider_holds_nothing, Filtered, "WSK: lifetime", "the provider has no client or binding left";
}

const LONG: u32 = 5000;

fn registered(fail: &str) -> Result<CClient> {
    let client = CClient::start(fail)?;
    client.ok(Step::Register, 0)?;
    Ok(client)
}

fn c_client(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    for fail in ["open", "closed"] {
        let client = registered(fail)?;
        let captured = client.ok(Step::Capture, LONG)?;
        check::holds("version", captured.first >= 0x0100)?;
        let image = format!("cclient-{fail}.sys");
        let listed = guard.client_of(&image)?;
        check::equal("attached at the filter's NPI", listed.flags, OWN_NPI)?;
        check::equal("version", listed.version, 0x0100)?;
        client.works()?;
        client.ok(Step::Open, 0)?;
        check::equal("sockets", guard.client_of(&image)?.endpoints, 1)?;
        client.ok(Step::Close, 0)?;
        client.leave()?;
        check::holds("gone", guard.client_of(&image).is_err())?;
    }
    check::equal("bypassing", guard.status()?.bypassing, 0)
}

/// The probe's sources, linked with the shim.
fn rust_service() -> Result<(Running, Probe)> {
    let running = Running::start("client", "client.sys")?;
    Ok((running, Probe::open("client")?))
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

fn rust_client(context: &Context) -> Result<()> {
    let (_running, probe) = rust_service()?;
    let mut guard = context.guard()?;
    let client = probe.attach(Npi::Register)?;
    check::equal(
        "attached at the filter's NPI",
        guard.client_of("client.sys")?.flags,
        OWN_NPI,
    )?;
    works(&client)?;
    // Several registrations of one driver are several clients.
    let other = probe.attach(Npi::Register)?;
    works(&other)?;
    check::status("WskDeregister", client.detach(LONG)?.status, status::SUCCESS)?;
    works(&other)?;
    check::status("WskDeregister", other.detach(LONG)?.status, status::SUCCESS)?;
    check::holds("gone", guard.client_of("client.sys").is_err())?;
    finish(&probe)
}

fn c_client_under_policy(context: &Context) -> Result<()> {
    let rule = "[[rule]]\nname = \"cap\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\nclient = \"cclient-closed.sys\"\naction = \"deny\"\n";
    let client = registered("closed")?;
    client.ok(Step::Capture, LONG)?;
    client.ok(Step::Open, 0)?;
    under(context, "audit", rule, |_, other| {
        let socket = other.datagram_socket(Family::V4)?;
        socket.set_call(SO_RCVBUF, SOL_SOCKET, &4096_u32.to_le_bytes()).ok()?;
        let denied = client.step(Step::SetReceiveBuffer, 4096)?;
        check::status("denied", denied.status, status::ACCESS_DENIED)
    })?;
    check::equal("afterwards", client.ok(Step::SetReceiveBuffer, 8192)?.first, 8192)?;
    client.ok(Step::Close, 0)?;
    client.leave()
}

fn versions_of_the_filter(_: &Context) -> Result<()> {
    let client = registered("closed")?;
    let versions = client.ok(Step::Query, 0)?;
    check::equal(
        "lowest and highest",
        (versions.first, versions.second),
        (0x0100, 0x0100),
    )?;
    client.ok(Step::Capture, LONG)?;
    client.leave()
}

/// How long `body` takes.
fn timed<T>(body: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let started = Instant::now();
    Ok((body()?, started.elapsed()))
}

fn capture_ends_in_time(context: &Context) -> Result<()> {
    let _away = Away::begin(context)?;
    let client = registered("closed")?;
    check::status(
        "versions",
        client.step(Step::Query, 0)?.status,
        status::DEVICE_NOT_READY,
    )?;
    check::status(
        "at once",
        client.step(Step::Capture, 0)?.status,
        status::DEVICE_NOT_READY,
    )?;
    let (waited, time) = timed(|| client.step(Step::Capture, 700))?;
    check::status("after a while", waited.status, status::DEVICE_NOT_READY)?;
    check::holds("it waited", time >= Duration::from_millis(650))?;
    client.ok(Step::Deregister, 0)?;
    Ok(())
}

fn fail_closed(context: &Context) -> Result<()> {
    let away = Away::begin(context)?;
    let netio = Netio::open()?;
    let client = registered("closed")?;
    check::status(
        "capture",
        client.step(Step::Capture, 300)?.status,
        status::DEVICE_NOT_READY,
    )?;
    check::status(
        "no socket",
        client.step(Step::Open, 0)?.status,
        status::INVALID_DEVICE_STATE,
    )?;
    check::equal("clients of the system's provider", netio.statistics()?.clients, 0)?;
    let (_running, probe) = rust_service()?;
    let wish = Attach {
        timeout_ms: 300,
        ..Npi::Register.attach()
    };
    let attached = Client::try_attach(&probe, &wish)?;
    check::status("the client in Rust", attached.status, status::DEVICE_NOT_READY)?;
    finish(&probe)?;
    away.end()?;
    client.ok(Step::Capture, LONG)?;
    client.works()?;
    check::equal("bypassing", context.guard()?.status()?.bypassing, 0)?;
    client.leave()
}

fn fail_open(context: &Context) -> Result<()> {
    let _away = Away::begin(context)?;
    let netio = Netio::open()?;
    let client = registered("open")?;
    let (captured, time) = timed(|| client.ok(Step::Capture, u32::MAX))?;
    check::holds("version", captured.first >= 0x0100)?;
    check::holds("it waited for the filter", time >= Duration::from_millis(1500))?;
    check::equal("clients of the system's provider", netio.statistics()?.clients, 1)?;
    client.works()?;
    client.leave()?;
    check::equal("clients of the system's provider", netio.statistics()?.clients, 0)
}

fn fail_open_at_once(context: &Context) -> Result<()> {
    let _away = Away::begin(context)?;
    let client = registered("open")?;
    client.ok(Step::Capture, 0)?;
    client.works()?;
    client.leave()
}

fn bypassing_is_listed(context: &Context) -> Result<()> {
    let away = Away::begin(context)?;
    let client = registered("open")?;
    client.ok(Step::Capture, 0)?;
    client.ok(Step::Open, 0)?;
    away.end()?;
    let mut guard = context.guard()?;
    let status = guard.status()?;
    check::equal("attached and bypassing", (status.clients, status.bypassing), (0, 1))?;
    let listed = guard.clients()?;
    check::equal(
        "flags",
        listed.iter().map(|client| client.flags).collect::<Vec<_>>(),
        vec![BYPASSING],
    )?;
    check::equal("version", listed[0].version, 0x0100)?;
    check::holds("since", listed[0].attached != 0)?;
    // With an attached one beside it, and page by page as well as at once.
    let attached = context.attach()?;
    let flags: Vec<_> = guard.clients()?.iter().map(|client| client.flags).collect();
    check::equal("both", flags, vec![OWN_NPI, BYPASSING])?;
    attached.detach(LONG)?;
    check::equal("it works on", client.ok(Step::Exchange, 8)?.second, 8)?;
    client.ok(Step::Close, 0)?;
    client.leave()?;
    check::equal("bypassing", guard.status()?.bypassing, 0)?;
    check::equal("listed", guard.clients()?.len(), 0)?;
    // It registers anew, and is not past the filter any more.
    client.ok(Step::Register, 0)?;
    client.ok(Step::Capture, 0)?;
    let status = guard.status()?;
    check::equal("attached and bypassing", (status.clients, status.bypassing), (1, 0))?;
    client.leave()
}

fn bypassing_does_not_hold(context: &Context) -> Result<()> {
    let away = Away::begin(context)?;
    let client = registered("open")?;
    client.ok(Step::Capture, 0)?;
    away.end()?;
    check::equal("bypassing", context.guard()?.status()?.bypassing, 1)?;
    let again = Away::begin(context)?;
    again.end()?;
    check::equal("found again", context.guard()?.status()?.bypassing, 1)?;
    client.leave()
}

fn draining_filter(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    guard.drain(true)?;
    let closed = registered("closed")?;
    let open = registered("open")?;
    let outcome = closed.step(Step::Capture, 300).and_then(|refused| {
        check::status("fail-closed", refused.status, status::NOINTERFACE)?;
        open.ok(Step::Capture, LONG)?;
        check::equal("bypassing", guard.status()?.bypassing, 1)
    });
    guard.drain(false)?;
    outcome?;
    open.works()?;
    open.leave()?;
    closed.ok(Step::Deregister, 0)?;
    // Refused while it drained: after the end of that a new registration is let in.
    closed.ok(Step::Register, 0)?;
    closed.ok(Step::Capture, LONG)?;
    check::equal("attached", guard.status()?.clients, 1)?;
    closed.leave()
}

fn load_and_unload(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    for _ in 0..8 {
        let client = registered("closed")?;
        client.ok(Step::Capture, LONG)?;
        client.works()?;
        client.leave()?;
        client.stop()?;
    }
    for _ in 0..3 {
        let (running, probe) = rust_service()?;
        works(&probe.attach(Npi::Register)?)?;
        finish(&probe)?;
        drop(probe);
        running.stop()?;
    }
    let status = guard.status()?;
    check::equal("left", (status.clients, status.endpoints, status.bypassing), (0, 0, 0))
}

fn unload_with_a_socket(context: &Context) -> Result<()> {
    let client = registered("closed")?;
    client.ok(Step::Capture, LONG)?;
    client.ok(Step::Open, 0)?;
    client.stop()?;
    let status = context.guard()?.status()?;
    check::equal("left", (status.clients, status.endpoints), (0, 0))
}

fn provider_holds_nothing(_: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let before = netio.statistics()?;
    for fail in ["open", "closed"] {
        let client = registered(fail)?;
        client.ok(Step::Capture, LONG)?;
        client.works()?;
        client.leave()?;
    }
    let after = netio.statistics()?;
    let of = |counts: probe_protocol::netio::Statistics| {
        (
            counts.modules,
            counts.bindings,
            counts.clients,
            counts.sockets,
            counts.misuses,
        )
    };
    check::equal("modules, bindings, clients, sockets, misuses", of(after), of(before))
}

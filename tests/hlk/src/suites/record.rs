//! What the filter has on record of an endpoint beside what its client set: its configuration, facts, and what happened to it.

use anyhow::{Context as _, Result};
use probe_protocol::probe::{Category, Function, Reactions, Slots};
use wskguard_abi::AuditEntry;
use wskguard_core::audit::{Happened, Kind};
use wskguard_core::decide::Done;

use super::callbacks::pair;
use crate::check;
use crate::context::Context;
use crate::guard::{Guard, under};
use crate::probe::{Client, Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_BROADCAST, SO_KEEPALIVE, SOL_SOCKET};

tests! {
    "record";
    own_mode, Filtered, "decisions and records", "PVD_CONFIG: a client may ask for a stricter mode than the policy's, never for a laxer one";
    own_audit, Filtered, "decisions and records", "PVD_CONFIG: a client may have all of its endpoint's requests recorded";
    configuration_of_a_listener, Filtered, "decisions and records", "accepted connections have the listener's configuration";
    connect_time, Filtered, "SOL_SOCKET options", "SO_CONNECT_TIME from the record: since the connect, and -1 before";
    last_error, Filtered, "SOL_SOCKET options", "SO_ERROR from the record: why the last connect failed";
    life, Filtered, "decisions and records", "attach, open, close, detach and policy changes leave records where everything is recorded";
    life_is_not_noise, Filtered, "decisions and records", "endpoints come and go unrecorded where only changes are";
    resets, Filtered, "interposition", "a lost connection leaves a record, with its cause as far as it is known";
    foreign_values, Filtered, "decisions and records", "rules judge four-byte values of options outside the catalogue";
    watched_data, Filtered, "interposition", "strict, with keep-alive: sends and receives of either kind are watched, and carry their data";
    data_after_keepalive_failure, Filtered, "interposition", "strict: sends and receives fail as not connected as well, and only there";
    connect_in_steps_decides_the_bind, Filtered, "interposition", "WskSocketConnect in steps: the bind is decided on the options set before it";
    connect_made_exclusive, Filtered, "interposition", "WskSocketConnect under a rule for an exclusive bind is carried out";
}

const PVD_CONFIG: u32 = 0x3001;
const SO_ERROR: u32 = 0x1007;
const SO_CONNECT_TIME: u32 = 0x700C;
const IPPROTO_TCP: u32 = 6;
const TCP_NODELAY: u32 = 1;
const WSAECONNREFUSED: u32 = 10061;

/// `PVD_CONFIG`'s object: version 1, a mode, flags.
const fn configuration(mode: u8, flags: u8) -> [u8; 8] {
    [1, 0, 0, 0, mode, flags, 0, 0]
}
const POLICYS: u8 = 0xFF;
const STRICT: u8 = 3;
const OFF: u8 = 0;
const VERBOSE: u8 = 1;

/// What happened, of all kinds but decisions.
fn happened(guard: &mut Guard) -> Result<Vec<(Happened, AuditEntry)>> {
    let all = guard.audited()?.into_iter();
    let others = all.filter(|record| record.kind != Kind::Decision as u8);
    others
        .map(|record| {
            let what = Happened::from_u32(record.code).context("a known event")?;
            check::equal("kind", record.kind, what.kind() as u8)?;
            Ok((what, record))
        })
        .collect()
}

/// A request that only the strict mode refuses.
fn is_strict(socket: &Socket<'_>) -> Result<bool> {
    let set = socket
        .set_call(SO_BROADCAST, SOL_SOCKET, &[1, 0])
        .sized_input(2)
        .run()?;
    Ok(set.result() == status::BUFFER_TOO_SMALL)
}

fn own_mode(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        check::holds("as the policy says", !is_strict(&socket)?)?;
        let set = |mode| socket.set_call(PVD_CONFIG, SOL_SOCKET, &configuration(mode, 0)).ok();
        set(STRICT)?;
        check::holds("stricter", is_strict(&socket)?)?;
        set(POLICYS)?;
        check::holds("the policy's again", !is_strict(&socket)?)?;
        let other = client.datagram_socket(Family::V4)?;
        check::holds("one endpoint's only", !is_strict(&other)?)
    })?;
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket.set_call(PVD_CONFIG, SOL_SOCKET, &configuration(OFF, 0)).ok()?;
        check::holds("not laxer", is_strict(&socket)?)?;
        let object = socket.get_call(PVD_CONFIG, SOL_SOCKET, 8).ok()?;
        check::equal("read back", object.written(), configuration(OFF, 0).as_slice())?;
        for wrong in [[2, 0, 0, 0, 0, 0, 0, 0], configuration(4, 0), configuration(0, 2)] {
            socket
                .set_call(PVD_CONFIG, SOL_SOCKET, &wrong)
                .fails_with(status::INVALID_PARAMETER)?;
        }
        Ok(())
    })
}

fn quiet(context: &Context, body: impl FnOnce(&mut Guard, &Client<'_>) -> Result<()>) -> Result<()> {
    let mut guard = context.guard()?;
    guard.load("schema = 1\nname = \"quiet\"\nsemantics = \"compat\"\naudit = \"marked\"\n")?;
    let result = context.attach().and_then(|client| body(&mut guard, &client));
    guard.load(crate::guard::PERMISSIVE)?;
    result
}

fn own_audit(context: &Context) -> Result<()> {
    quiet(context, |guard, client| {
        let socket = client.datagram_socket(Family::V4)?;
        guard.audit_from_now()?;
        socket.set(SO_BROADCAST, 1)?;
        check::equal("records before", guard.audited()?.len(), 0)?;
        socket
            .set_call(PVD_CONFIG, SOL_SOCKET, &configuration(POLICYS, VERBOSE))
            .ok()?;
        guard.audit_from_now()?;
        socket.set(SO_BROADCAST, 0)?;
        check::equal("records", guard.audited()?.len(), 1)
    })
}

fn configuration_of_a_listener(context: &Context) -> Result<()> {
    quiet(context, |_, client| {
        let listener = client.listen_socket(Family::V4)?;
        listener
            .set_call(PVD_CONFIG, SOL_SOCKET, &configuration(STRICT, 0))
            .ok()?;
        let address = listener.bind(Family::V4.loopback(0))?.local_address()?;
        let (near, far) = client.pair_with(&listener, address)?;
        let keep = |socket: &Socket<'_>| {
            let set = socket.set_call(SO_KEEPALIVE, SOL_SOCKET, &[1]).sized_input(1).run();
            set.map(|done| done.result())
        };
        check::status("the one that connected", keep(&near)?, status::SUCCESS)?;
        check::status("the accepted one", keep(&far)?, status::BUFFER_TOO_SMALL)
    })
}

/// A get that the provider says it lacks.
fn from_record(netio: &Netio, socket: &Socket<'_>, option: u32) -> Result<u32> {
    netio.fail(Function::ControlSocket, status::NOT_SUPPORTED)?;
    let value = socket.get(option);
    netio.clear()?;
    value
}

fn connect_time(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "compat", "", |_, client| {
        let (listener, address) = client.listener(Family::V4)?;
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?;
        check::equal("before", from_record(&netio, &near, SO_CONNECT_TIME)?, u32::MAX)?;
        let accept = listener.accept_call(Reactions::default()).start()?;
        near.connect(address)?;
        let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
        for socket in [near, far] {
            check::holds("seconds", from_record(&netio, &socket, SO_CONNECT_TIME)? < 60)?;
        }
        Ok(())
    })
}

fn last_error(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "compat", "", |_, client| {
        let (gone, address) = client.listener(Family::V4)?;
        gone.close()?;
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?;
        check::equal("before", from_record(&netio, &near, SO_ERROR)?, 0)?;
        near.connect_call(address).fails_with(status::CONNECTION_REFUSED)?;
        check::equal("after", from_record(&netio, &near, SO_ERROR)?, WSAECONNREFUSED)
    })
}

fn life(context: &Context) -> Result<()> {
    under(context, "compat", "", |guard, _| {
        guard.audit_from_now()?;
        let client = context.attach()?;
        let (listener, near, far) = client.pair(Family::V4)?;
        for socket in [near, far, listener] {
            socket.close()?;
        }
        check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
        guard.load(crate::guard::PERMISSIVE)?;
        let all = happened(guard)?;
        let count = |wanted| all.iter().filter(|(what, _)| *what == wanted).count();
        check::equal("attached", count(Happened::ClientAttached), 1)?;
        check::equal("opened", count(Happened::EndpointOpened), 3)?;
        check::equal("closed", count(Happened::EndpointClosed), 3)?;
        check::equal("detached", count(Happened::ClientDetached), 1)?;
        check::equal("policies", count(Happened::PolicyLoaded), 1)?;
        let of = |wanted| all.iter().find(|(what, _)| *what == wanted).map(|(_, record)| *record);
        let (attached, opened) = (of(Happened::ClientAttached), of(Happened::EndpointOpened));
        let (attached, opened) = (attached.context("attached")?, opened.context("opened")?);
        check::equal("the same client", opened.client, attached.client)?;
        check::holds("its endpoint", opened.endpoint != 0)?;
        let loaded = of(Happened::PolicyLoaded).context("loaded")?;
        check::equal("generation", u64::from(loaded.generation), guard.status()?.generation)
    })
}

fn life_is_not_noise(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    let client = context.attach()?;
    guard.audit_from_now()?;
    client.datagram_socket(Family::V4)?.close()?;
    check::equal("records", happened(&mut guard)?.len(), 0)
}

/// A connection that dies with `code` in a receive; what is on record of it.
fn dies(context: &Context, mode: &str, keep_alive: u32, code: i32) -> Result<Vec<Happened>> {
    let netio = Netio::open()?;
    let mut events = Vec::new();
    under(context, mode, "", |guard, client| {
        let reactions = Reactions {
            slots: Slots::ALL.0,
            ..Reactions::default()
        };
        let (near, _far) = pair(client, reactions)?;
        near.set(SO_KEEPALIVE, keep_alive)?;
        guard.audit_from_now()?;
        let receive = near.receive_call(16).start()?;
        netio.kill(near.local_address()?, code, true)?;
        check::status("receive", receive.wait()?.result(), code)?;
        let ended = near.call(Function::Disconnect).null_buffer().flag(1).run()?;
        ended.check_rules()?;
        events = happened(guard)?.into_iter().map(|(what, _)| what).collect();
        Ok(())
    })?;
    let ends = [Happened::KeepAliveFailed, Happened::ConnectionReset];
    events.retain(|what| ends.contains(what));
    Ok(events)
}

fn resets(context: &Context) -> Result<()> {
    use Happened::{ConnectionReset, KeepAliveFailed};
    let strict = dies(context, "strict", 1, status::IO_TIMEOUT)?;
    check::equal("strict, on, time-out", strict, vec![KeepAliveFailed])?;
    let reset = dies(context, "strict", 1, status::CONNECTION_RESET)?;
    check::equal("strict, on, reset", reset, vec![ConnectionReset])?;
    let off = dies(context, "strict", 0, status::IO_TIMEOUT)?;
    check::holds("strict, off", !off.contains(&KeepAliveFailed))
}

fn foreign_values(context: &Context) -> Result<()> {
    let rule = format!(
        "[[rule]]\nname = \"delay\"\nrequest = \"set\"\nlevel = {IPPROTO_TCP}\noption = {TCP_NODELAY}\nnew = 1\naction = \"deny\"\n"
    );
    under(context, "off", &rule, |guard, client| {
        let socket = client.connection_socket(Family::V4)?;
        guard.audit_from_now()?;
        let set = |value: u32| socket.set_call(TCP_NODELAY, IPPROTO_TCP, &value.to_le_bytes()).run();
        check::status("0", set(0)?.result(), status::SUCCESS)?;
        check::status("1", set(1)?.result(), status::ACCESS_DENIED)?;
        let asked: Vec<_> = guard
            .audited()?
            .iter()
            .filter(|record| record.level == IPPROTO_TCP)
            .map(|record| (record.asked_value, record.action))
            .collect();
        check::equal(
            "records",
            asked,
            vec![(0, Done::Forwarded as u8), (1, Done::Denied as u8)],
        )
    })
}

fn watched_data(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        for category in [Category::Connection, Category::Stream] {
            let (listener, address) = client.listener(Family::V4)?;
            let near = client.socket(category, Family::V4, Reactions::default())?;
            near.bind(Family::V4.loopback(0))?;
            let accept = listener.accept_call(Reactions::default()).start()?;
            near.connect(address)?;
            let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
            near.set(SO_KEEPALIVE, 1)?;
            near.send(b"out")?;
            check::equal("sent", far.receive_all(3)?, b"out".to_vec())?;
            near.call(Function::SendEx).input(b"ex").ok()?;
            check::equal("sent ex", far.receive_all(2)?, b"ex".to_vec())?;
            far.send(b"back")?;
            check::equal("received", near.receive_all(2)?, b"ba".to_vec())?;
            near.call(Function::ReceiveEx).output(2).flag(2).ok()?;
        }
        Ok(())
    })
}

fn data_after_keepalive_failure(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    for (mode, refused) in [("strict", true), ("compat", false)] {
        under(context, mode, "", |_, client| {
            let reactions = Reactions {
                slots: Slots::ALL.0,
                ..Reactions::default()
            };
            let (near, far) = pair(client, reactions)?;
            near.set(SO_KEEPALIVE, 1)?;
            near.send(b"watched")?;
            check::equal("data", far.receive_all(7)?, b"watched".to_vec())?;
            let receive = near.receive_call(16).start()?;
            netio.kill(near.local_address()?, status::IO_TIMEOUT, true)?;
            check::status("in progress", receive.wait()?.result(), status::IO_TIMEOUT)?;
            for call in [
                near.send_call(b"x"),
                near.receive_call(4),
                near.call(Function::Disconnect).null_buffer(),
            ] {
                let done = call.run()?;
                let not_connected = done.result() == status::INVALID_CONNECTION;
                check::holds(&format!("{mode} {:?}", done.function), not_connected || !refused)?;
            }
            near.close().map(drop)
        })?;
    }
    Ok(())
}

fn connect_in_steps_decides_the_bind(context: &Context) -> Result<()> {
    let rules = "[[initial]]\ncategory = \"connection\"\noption = \"SO_REUSEADDR\"\nvalue = 1\n\
                 [[rule]]\nname = \"own\"\nrequest = \"bind\"\nsharing = \"reuse\"\naction = \"deny\"\n";
    let netio = Netio::open()?;
    under(context, "off", rules, |guard, client| {
        let (_listener, address) = client.listener(Family::V4)?;
        let (sockets, endpoints) = (netio.statistics()?.sockets, guard.status()?.endpoints);
        let done = client
            .call(Function::SocketConnect)
            .numbers([0, 1, 6, 0])
            .address(Family::V4.loopback(0))
            .address2(address)
            .fails_with(status::ACCESS_DENIED)?;
        check::equal("no socket", done.information(), 0)?;
        check::equal("sockets below", netio.statistics()?.sockets, sockets)?;
        check::equal("endpoints", guard.status()?.endpoints, endpoints)
    })
}

fn connect_made_exclusive(context: &Context) -> Result<()> {
    let rules = "[[rule]]\nname = \"own\"\nrequest = \"bind\"\ncategory = \"connection\"\naction = \"exclusive\"\n";
    under(context, "off", rules, |guard, client| {
        let (listener, address) = client.listener(Family::V4)?;
        let accept = listener.accept_call(Reactions::default()).start()?;
        guard.audit_from_now()?;
        let near = client.socket_connect(address, Reactions::default())?;
        let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
        check::equal("exclusive", near.get(crate::wsk::SO_EXCLUSIVEADDRUSE)?, 1)?;
        near.send(b"mine")?;
        check::equal("data", far.receive_all(4)?, b"mine".to_vec())?;
        let binds: Vec<_> = guard
            .audited()?
            .iter()
            .filter(|record| record.action == Done::MadeExclusive as u8)
            .map(|record| record.status)
            .collect();
        check::equal("one record, of a bind that succeeded", binds, vec![0])?;
        let shown = super::lifetime::list(guard)?;
        let port = near.local_address()?.port();
        check::holds("its port is known", shown.iter().any(|endpoint| endpoint.port == port))?;
        let other = client.socket(Category::Connection, Family::V4, Reactions::default())?;
        other.set(crate::wsk::SO_REUSEADDR, 1).map(drop)
    })
}

//! The provider below leaves while clients work: every call is answered, every close completes, and nothing stays behind.

use anyhow::Result;
use probe_protocol::netio::{Configuration, DetachOrder};
use probe_protocol::probe::{Category, Function, Reactions, Slots, Take};

use wskguard_core::audit::Happened;

use super::callbacks::pair;
use crate::check;
use crate::context::Context;
use crate::probe::{Client, Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_LINGER, SO_REUSEADDR, SOL_SOCKET, WSK_EVENT_RECEIVE};

tests! {
    "loss";
    without_sockets, Filtered, "NMR: detach", "a client without sockets is told that there is no provider, and is bound again when there is one";
    in_traffic, Filtered, "WSK: lifetime", "every call of an open socket fails as forced closed, pending ones end with the close, and every close succeeds";
    in_every_order, Filtered, "NMR: detach", "whichever side NMR tells first";
    during_creation, Filtered, "interposition", "a socket whose creation was on its way is the client's to close";
    during_close, Filtered, "interposition", "closes on their way, lingering or not, complete";
    with_retained_data, Filtered, "WSK: lifetime", "retained data can be given back to a provider that leaves";
    client_leaves_after_it, Filtered, "NMR: detach", "a client's own detach completes when its last socket is closed";
    detach_in_traffic, Both, "NMR: detach", "a client that detaches in the middle of traffic closes its sockets, and is gone";
    is_audited, Filtered, "decisions and records", "the loss leaves a record";
}

/// The provider's books before and after are the same, and a client works again.
fn restored(netio: &Netio, context: &Context, bindings: u32) -> Result<()> {
    check::equal("bindings", netio.statistics()?.bindings, bindings)?;
    let client = context.attach()?;
    let (socket, _) = client.datagram(Family::V4)?;
    socket.close()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)
}

fn is_dead(socket: &Socket<'_>) -> Result<()> {
    let mut calls = vec![
        socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]),
        socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4),
        socket.ioctl_call(crate::wsk::SIO_WSK_QUERY_RECEIVE_BACKLOG).output(8),
        socket.bind_call(Family::V4.loopback(0)),
        socket.call(Function::GetLocalAddress),
    ];
    match socket.category {
        Category::Listen => calls.push(socket.accept_call(Reactions::default())),
        Category::Datagram => {
            calls.push(socket.send_to_call(b"x", Family::V4.loopback(9)));
            calls.push(socket.receive_from_call(4));
        }
        _ => {
            calls.push(socket.connect_call(Family::V4.loopback(9)));
            calls.push(socket.send_call(b"x"));
            calls.push(socket.receive_call(4));
            calls.push(socket.call(Function::Disconnect).null_buffer());
            calls.push(socket.call(Function::GetRemoteAddress));
        }
    }
    for call in calls {
        call.fails_with(status::FILE_FORCED_CLOSED)?;
        call.at_dispatch().fails_with(status::FILE_FORCED_CLOSED)?;
    }
    Ok(())
}

fn nobody_below(client: &Client<'_>) -> Result<()> {
    client
        .create(Category::Datagram, Family::V4)
        .fails_with(status::DEVICE_NOT_READY)?;
    client.control(2).output(64).fails_with(status::DEVICE_NOT_READY)?;
    Ok(())
}

fn without_sockets(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let client = context.attach()?;
    let bindings = netio.statistics()?.bindings;
    for _ in 0..3 {
        let away = netio.leave()?;
        nobody_below(&client)?;
        away.come_back()?;
        check::equal("bindings", netio.statistics()?.bindings, bindings)?;
        client.datagram_socket(Family::V4)?.close()?;
    }
    let away = netio.leave()?;
    // Without a provider a client cannot come, and can go.
    check::holds("attach", context.attach().is_err())?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    away.come_back()
}

fn in_traffic(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let before = netio.statistics()?;
    let mut guard = context.guard()?;
    let endpoints = guard.status()?.endpoints;
    let client = context.attach()?;
    let (listener, near, far) = client.pair(Family::V4)?;
    let (datagram, _) = client.datagram(Family::V4)?;
    let stream = client.stream_socket(Family::V6)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    let receive = near.receive_call(16).start()?;
    let from = datagram.receive_from_call(16).start()?;
    let away = netio.leave()?;
    nobody_below(&client)?;
    let sockets = [near, far, datagram, listener, stream];
    for socket in &sockets {
        is_dead(socket)?;
    }
    check::holds("the provider waits for its sockets", netio.statistics()?.bindings > 0)?;
    for socket in sockets {
        let done = socket.close()?;
        done.check_rules()?;
    }
    for pending in [accept, receive, from] {
        let done = pending.wait()?;
        done.check_rules()?;
        check::one_of(
            "pending",
            done.result(),
            &[status::CANCELLED, status::FILE_FORCED_CLOSED],
        )?;
    }
    check::equal("endpoints", guard.status()?.endpoints, endpoints)?;
    check::equal("sockets below", netio.statistics()?.sockets, before.sockets)?;
    away.come_back()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    restored(&netio, context, before.bindings)
}

fn in_every_order(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    for order in [
        DetachOrder::ClientFirst,
        DetachOrder::ProviderFirst,
        DetachOrder::ClientThenProvider,
        DetachOrder::ProviderThenClient,
    ] {
        netio.configure(Configuration {
            detach_order: order as u32,
            ..Configuration::default()
        })?;
        let bindings = netio.statistics()?.bindings;
        let client = context.attach()?;
        let (socket, _) = client.datagram(Family::V4)?;
        let away = netio.leave()?;
        if order != DetachOrder::ProviderThenClient {
            is_dead(&socket)?;
        }
        socket.close()?;
        away.come_back()?;
        client.datagram_socket(Family::V4)?.close()?;
        check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
        restored(&netio, context, bindings)?;
    }
    Ok(())
}

fn during_creation(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let bindings = netio.statistics()?.bindings;
    let client = context.attach()?;
    netio.hold_completion(Function::Socket)?;
    let create = client.create(Category::Datagram, Family::V4).start()?;
    check::holds("on its way", create.is_pending()?)?;
    let away = netio.leave()?;
    netio.release(Function::Socket)?;
    let done = create.wait()?.checked_ok()?;
    let socket = Socket::made(&context.probe, client, &done, Category::Datagram, Family::V4)?;
    is_dead(&socket)?;
    socket.close()?;
    away.come_back()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    restored(&netio, context, bindings)
}

fn during_close(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let bindings = netio.statistics()?.bindings;
    crate::guard::under(context, "compat", "", |_, client| {
        let (listener, near, far) = client.pair(Family::V4)?;
        near.set_call(SO_LINGER, SOL_SOCKET, &[1, 0, 1, 0]).ok()?;
        netio.hold(Function::Disconnect)?;
        let lingering = near.close_call().start()?;
        netio.hold(Function::CloseSocket)?;
        let closing = far.close_call().start()?;
        check::holds("both on their way", lingering.is_pending()? && closing.is_pending()?)?;
        let away = netio.leave()?;
        netio.release(Function::Disconnect)?;
        netio.release(Function::CloseSocket)?;
        for close in [lingering, closing] {
            close.wait()?.checked_ok()?;
        }
        listener.close()?;
        away.come_back()?;
        check::status("detach", client.detach(5000)?.status, status::SUCCESS)
    })?;
    restored(&netio, context, bindings)
}

fn with_retained_data(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let bindings = netio.statistics()?.bindings;
    let client = context.attach()?;
    let events = context.probe.events();
    let retaining = Reactions {
        slots: Slots::ALL.0,
        take: Take::Retain as u32,
        ..Reactions::default()
    };
    let (near, far) = pair(&client, retaining)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"held")?;
    events.wait_for(probe_protocol::probe::Happening::Returned, near.id)?;
    let away = netio.leave()?;
    check::equal("released", near.release(8, false)?.count, 1)?;
    context.finish()?;
    away.come_back()?;
    check::equal("retained", netio.statistics()?.retained, 0)?;
    check::equal("bindings", netio.statistics()?.bindings, bindings)
}

fn client_leaves_after_it(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let bindings = netio.statistics()?.bindings;
    let client = context.attach()?;
    let (socket, _) = client.datagram(Family::V4)?;
    let away = netio.leave()?;
    check::status("detach with a socket", client.detach(300)?.status, status::TIMEOUT)?;
    socket.close()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    away.come_back()?;
    restored(&netio, context, bindings)
}

fn detach_in_traffic(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let before = netio.statistics()?;
    let client = context.attach()?;
    let (listener, near, far) = client.pair(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    let receive = near.receive_call(16).start()?;
    far.send(b"in flight")?;
    check::status("detach with sockets", client.detach(300)?.status, status::TIMEOUT)?;
    for socket in [near, far, listener] {
        socket.close()?;
    }
    accept.wait()?.check_rules()?;
    receive.wait()?.check_rules()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    let after = netio.statistics()?;
    check::equal("bindings", after.bindings, before.bindings)?;
    check::equal("sockets", after.sockets, before.sockets)
}

fn is_audited(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let mut guard = context.guard()?;
    let client = context.attach()?;
    let id = guard.client_of("probe.sys")?.id;
    guard.audit_from_now()?;
    netio.leave()?.come_back()?;
    check::status("detach", client.detach(5000)?.status, status::SUCCESS)?;
    let records = guard.audited()?;
    let of_client: Vec<_> = records
        .iter()
        .filter(|record| record.client == u64::from(id) && record.endpoint == 0)
        .filter_map(|record| Happened::from_u32(record.code))
        .collect();
    check::equal(
        "records",
        of_client,
        vec![Happened::ProviderLost, Happened::ClientDetached],
    )
}

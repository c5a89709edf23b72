//! Questions about functions, callbacks and connections.

use std::time::Instant;

use anyhow::Result;
use probe_protocol::probe::{Category, Choice, Function, Happening, Reactions};

use super::super::callbacks::{ALL, listener, pair};
use super::{ask, direct, note, told};
use crate::context::Context;
use crate::probe::{Address, Client, Family, Npi, Socket};
use crate::runner::tests;
use crate::status;
use crate::wsk::{
    NO_SUCH_OPTION, SO_KEEPALIVE, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE,
    WSK_EVENT_RECEIVE_FROM,
};

tests! {
    "asks";
    @9000 keep_alive, Direct, "question Q3", "how a connection ends that keep-alive drops";
    providers, Direct, "question A1", "offers of the WSK NPI";
    functions, Direct, "question A2", "the functions that came later";
    send_messages, Direct, "question A3", "WskSendMessages at both levels";
    failures, Direct, "question A4", "IRPs of calls that fail at once";
    static_and_own_events, Direct, "question A5", "events for all sockets and for one";
    flags, Direct, "question A6", "flags of indications";
    @60 cancelled, Direct, "question A7", "what IoCancelIrp ends";
}

const IPPROTO_TCP: u32 = 6;
const TCP_KEEPIDLE: u32 = 3;
const TCP_KEEPINTVL: u32 = 17;
/// Bytes that no connection buffers.
const MUCH: usize = 16 << 20;

/// A connection to the machine that `--peer` names, whose cable somebody pulls.
fn keep_alive(context: &Context) -> Result<()> {
    let Some(peer) = context.peer() else {
        note(
            "Q3",
            "a connection whose peer is cut off",
            "not asked: --peer names an address that can be cut off",
        );
        return Ok(());
    };
    let client = direct(context)?;
    let events = context.probe.events();
    let socket = client.socket(Category::Connection, peer.family(), ALL)?;
    socket
        .bind(peer.family().wildcard(0))?
        .connect(peer)?
        .set(SO_KEEPALIVE, 1)?;
    for (code, seconds) in [(TCP_KEEPIDLE, 10u32), (TCP_KEEPINTVL, 1)] {
        ask(
            "Q3",
            format!("TCP option {code}"),
            socket.set_call(code, IPPROTO_TCP, &seconds.to_le_bytes()),
        );
    }
    socket.enable(WSK_EVENT_DISCONNECT)?;
    let receive = socket.receive_call(16).start()?;
    println!(
        "connected to {:?}: cut it off now; waiting for two hours at most",
        peer.0
    );
    let began = Instant::now();
    let done = receive.wait_up_to(8_000_000)?;
    note(
        "Q3",
        format!("the receive, after {} s", began.elapsed().as_secs()),
        told(&done),
    );
    let event = events.within(5000, Happening::Disconnect, socket.id)?;
    let seen = event.map_or_else(
        || "does not come".to_owned(),
        |event| {
            let order = if event.at < done.outcome.completed_at {
                "before"
            } else {
                "after"
            };
            format!("comes {order} the receive ends, flags {:#x}", event.flags)
        },
    );
    note("Q3", "WskDisconnectEvent", seen);
    ask(
        "Q3",
        "get SO_KEEPALIVE afterwards",
        socket.get_call(SO_KEEPALIVE, SOL_SOCKET, 4),
    );
    ask("Q3", "WskSend afterwards", socket.send_call(b"x"));
    Ok(())
}

fn providers(context: &Context) -> Result<()> {
    let wish = probe_protocol::probe::Attach {
        choice: Choice::None as u32,
        ..Npi::System.attach()
    };
    let attached = Client::try_attach(&context.probe, &wish)?;
    let client = Client {
        probe: &context.probe,
        id: attached.client,
        version: 0,
    };
    note(
        "A1",
        "offers to a client that declines all",
        client.state()?.offered.to_string(),
    );
    client.detach(5000)?;
    Ok(())
}

fn functions(context: &Context) -> Result<()> {
    let client = direct(context)?;
    note(
        "A2",
        "version of the dispatch table",
        format!("{:#06x}", client.version),
    );
    let (listener, address) = client.listener(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?;
    ask(
        "A2",
        "WskConnectEx",
        near.call(Function::ConnectEx).address(address).input(b"first"),
    );
    accept.cancel()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    ask("A2", "WskSendEx", near.call(Function::SendEx).input(b"extended"));
    far.send(b"extended")?;
    ask("A2", "WskReceiveEx", near.call(Function::ReceiveEx).output(8));
    Ok(())
}

fn send_messages(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let ((sender, _), (_receiver, to)) = (client.datagram(Family::V4)?, client.datagram(Family::V4)?);
    let call = || {
        sender
            .call(Function::SendMessages)
            .input(b"onetwo")
            .pieces(2)
            .address(to)
    };
    ask("A3", "at PASSIVE_LEVEL", call());
    ask("A3", "at DISPATCH_LEVEL", call().at_dispatch());
    Ok(())
}

fn failures(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let unbound = client.connection_socket(Family::V4)?;
    let somewhere = Family::V4.loopback(9);
    ask("A4", "WskConnect before WskBind", unbound.connect_call(somewhere));
    ask("A4", "WskSend without a connection", unbound.send_call(b"x"));
    ask("A4", "WskReceive without a connection", unbound.receive_call(1));
    ask(
        "A4",
        "WskDisconnect without a connection",
        unbound.call(Function::Disconnect),
    );
    ask(
        "A4",
        "WskGetRemoteAddress without a connection",
        unbound.call(Function::GetRemoteAddress),
    );
    ask(
        "A4",
        "WskBind to an address that is not local",
        unbound.bind_call(Address(([192, 0, 2, 1], 1).into())),
    );
    let listener = client.listen_socket(Family::V4)?;
    ask(
        "A4",
        "WskAccept before WskBind",
        listener.accept_call(Reactions::default()),
    );
    ask(
        "A4",
        "WskControlSocket, unknown option",
        listener.set_call(NO_SUCH_OPTION, SOL_SOCKET, &[0; 4]),
    );
    ask(
        "A4",
        "WskSocket, unknown family",
        client.call(Function::Socket).numbers([999, 1, 6, 2]),
    );
    ask(
        "A4",
        "WskBind, NULL address",
        listener.call(Function::Bind).null_address(),
    );
    ask("A4", "WskSend, NULL buffer", unbound.call(Function::Send).null_buffer());
    ask(
        "A4",
        "WskSocket, NULL client",
        client.create(Category::Datagram, Family::V4).null_target(),
    );
    Ok(())
}

fn comes(context: &Context, happening: Happening, socket: &Socket<'_>) -> Result<String> {
    let event = context.probe.events().within(1000, happening, socket.id)?;
    Ok(if event.is_some() { "comes" } else { "does not come" }.to_owned())
}

fn static_and_own_events(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let done = client.static_events(WSK_EVENT_RECEIVE)?;
    note("A5", "WskReceiveEvent for all sockets", told(&done));
    let (near, far) = pair(&client, ALL)?;
    ask(
        "A5",
        "WskDisconnectEvent for one of them",
        near.events_call(WSK_EVENT_DISCONNECT).no_irp(),
    );
    far.send(b"x")?;
    note("A5", "WskReceiveEvent", comes(context, Happening::Receive, &near)?);
    far.disconnect()?;
    note(
        "A5",
        "WskDisconnectEvent",
        comes(context, Happening::Disconnect, &near)?,
    );
    let (listener, address) = listener(&client, ALL)?;
    let accept = listener.accept_call(ALL).start()?;
    let near = client.socket_connect(address, ALL)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    far.send(b"x")?;
    note(
        "A5",
        "WskReceiveEvent of a socket from WskSocketConnect",
        comes(context, Happening::Receive, &near)?,
    );
    Ok(())
}

fn flags(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let events = context.probe.events();
    let (listener, address) = listener(&client, ALL)?;
    listener.enable(WSK_EVENT_ACCEPT)?;
    let near = client.socket(Category::Connection, Family::V4, ALL)?;
    near.bind(Family::V4.loopback(0))?
        .connect(address)?
        .enable(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT)?;
    let accepted = events.wait_for(Happening::Accept, listener.id)?;
    note(
        "A6",
        "WskAcceptEvent",
        format!("{:#x} at IRQL {}", accepted.flags, accepted.irql),
    );
    let far = listener.accepted_as(accepted.other);
    far.send(b"x")?;
    let received = events.wait_for(Happening::Receive, near.id)?;
    note(
        "A6",
        "WskReceiveEvent",
        format!("{:#x} at IRQL {}", received.flags, received.irql),
    );
    far.disconnect()?;
    let ended = events.wait_for(Happening::Disconnect, near.id)?;
    note(
        "A6",
        "WskDisconnectEvent, graceful",
        format!("{:#x} at IRQL {}", ended.flags, ended.irql),
    );
    let (near, far) = pair(&client, ALL)?;
    near.enable(WSK_EVENT_DISCONNECT)?;
    far.abort()?;
    let ended = events.wait_for(Happening::Disconnect, near.id)?;
    note(
        "A6",
        "WskDisconnectEvent, abortive",
        format!("{:#x} at IRQL {}", ended.flags, ended.irql),
    );
    let receiver = client.socket(Category::Datagram, Family::V4, ALL)?;
    let to = receiver
        .bind(Family::V4.loopback(0))?
        .enable(WSK_EVENT_RECEIVE_FROM)?
        .local_address()?;
    let (sender, _) = client.datagram(Family::V4)?;
    sender.send_to(b"x", to)?;
    let received = events.wait_for(Happening::ReceiveFrom, receiver.id)?;
    note(
        "A6",
        "WskReceiveFromEvent",
        format!("{:#x} at IRQL {}", received.flags, received.irql),
    );
    Ok(())
}

fn cancelled(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let (listener, near, _far) = client.pair(Family::V4)?;
    let (datagram, _) = client.datagram(Family::V4)?;
    let connecting = client.connection_socket(Family::V4)?;
    connecting.bind(Family::V4.wildcard(0))?;
    // Addresses for documentation: nobody answers, and nobody refuses where there is a route.
    let nobody = Address(([192, 0, 2, 1], 9).into());
    let much = vec![0; MUCH];
    let calls = [
        ("WskAccept", listener.accept_call(Reactions::default())),
        ("WskReceive", near.receive_call(16)),
        ("WskReceiveFrom", datagram.receive_from_call(16)),
        ("WskConnect to nobody", connecting.connect_call(nobody)),
        ("WskSend that the peer does not read", near.send_call(&much)),
        ("WskControlSocket", near.get_call(SO_KEEPALIVE, SOL_SOCKET, 4)),
    ];
    for (case, call) in calls {
        let pending = call.start()?;
        if !pending.is_pending()? {
            note(
                "A7",
                case,
                format!("over before it could be cancelled: {}", told(&pending.look()?)),
            );
            continue;
        }
        pending.cancel_only(false)?;
        let done = pending.wait_up_to(3000)?;
        let seen = match done.result() {
            status::CANCELLED => "ended as cancelled".to_owned(),
            _ => told(&done),
        };
        note("A7", case, seen);
    }
    Ok(())
}

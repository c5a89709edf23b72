//! Every category of socket, doing what it is for: the same through the system's provider and through the filter.

use anyhow::Result;
use probe_protocol::probe::{Category, Function, Happening, Progress, Reactions, Slots};

use crate::check;
use crate::context::Context;
use crate::probe::Family;
use crate::runner::tests;
use crate::status;

tests! {
    "basics";
    attach_and_detach, Both, "WSK and NMR: attach, detach", "a client attaches, sees a version, and detaches";
    streams_exchange_data, Both, "WSK: functions", "two connected sockets exchange data in both directions";
    datagrams_carry_their_sender, Both, "WSK: functions", "a datagram arrives whole, with its sender's address";
    addresses_are_told, Both, "WSK: functions", "local and remote addresses agree at both ends";
    options_are_set_and_read, Both, "WSK: socket options", "documented options read back what was set";
    unbound_socket_cannot_connect, Both, "vector WK-T-12", "WskConnect before WskBind fails by return and by IRP";
    pending_accept_is_cancelled, Both, "WSK: lifetime", "IoCancelIrp ends a pending accept";
    pending_receive_is_cancelled, Both, "WSK: lifetime", "IoCancelIrp ends a pending receive";
    close_cancels_what_is_pending, Both, "vector WK-T-11", "closing a listener ends its pending accept, without a socket";
    refused_connection_fails, Both, "WSK: functions", "a connection to a port without listener is refused";
    graceful_disconnect_ends_the_stream, Both, "WSK: functions", "after a disconnect the peer reads what was sent, then nothing";
    stream_category_listens_and_connects, Both, "WSK: functions", "a stream socket can become either end";
    accept_event_hands_out_sockets, Both, "WSK: event callbacks", "WskAcceptEvent delivers a connection";
    receive_event_delivers_data, Both, "WSK: event callbacks", "WskReceiveEvent delivers the bytes that were sent";
    socket_connect_makes_a_connection, Both, "WSK: functions", "WskSocketConnect creates, binds and connects";
}

fn attach_and_detach(context: &Context) -> Result<()> {
    let client = context.attach()?;
    check::holds("a version", client.version >= 0x0100)?;
    let state = client.state()?;
    check::equal("attached", state.attached, 1)?;
    let state = client.detach(5000)?;
    check::status("detach", state.status, status::SUCCESS)
}

fn streams_exchange_data(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for family in Family::BOTH {
        let (_listener, near, far) = client.pair(family)?;
        near.send(b"to the far end")?;
        check::equal("forth", far.receive_all(14)?, b"to the far end".to_vec())?;
        far.send(b"and back")?;
        check::equal("back", near.receive_all(8)?, b"and back".to_vec())?;
    }
    Ok(())
}

fn datagrams_carry_their_sender(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for family in Family::BOTH {
        let (sender, from) = client.datagram(family)?;
        let (receiver, to) = client.datagram(family)?;
        sender.send_to(b"a datagram", to)?;
        let (data, sender) = receiver.receive_from(64)?;
        check::equal("data", data, b"a datagram".to_vec())?;
        check::equal("sender", sender, from)?;
    }
    Ok(())
}

fn addresses_are_told(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for family in Family::BOTH {
        let (listener, near, far) = client.pair(family)?;
        check::equal(
            "listener's and accepted address",
            far.local_address()?,
            listener.local_address()?,
        )?;
        check::equal("remote of the near end", near.remote_address()?, far.local_address()?)?;
        check::equal("remote of the far end", far.remote_address()?, near.local_address()?)?;
    }
    Ok(())
}

fn options_are_set_and_read(context: &Context) -> Result<()> {
    const SO_REUSEADDR: u32 = 4;
    const SO_KEEPALIVE: u32 = 8;
    const SO_BROADCAST: u32 = 0x20;
    let client = context.attach()?;
    let listener = client.listen_socket(Family::V4)?;
    check::equal("SO_REUSEADDR at first", listener.get(SO_REUSEADDR)?, 0)?;
    check::equal("SO_REUSEADDR", listener.set(SO_REUSEADDR, 1)?.get(SO_REUSEADDR)?, 1)?;
    let connection = client.connection_socket(Family::V4)?;
    check::equal(
        "SO_KEEPALIVE",
        connection.set(SO_KEEPALIVE, 1)?.get(SO_KEEPALIVE)? & 0xFF,
        1,
    )?;
    let datagram = client.datagram_socket(Family::V4)?;
    check::equal("SO_BROADCAST", datagram.set(SO_BROADCAST, 1)?.get(SO_BROADCAST)?, 1)
}

fn unbound_socket_cannot_connect(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (_listener, address) = client.listener(Family::V4)?;
    let done = client
        .connection_socket(Family::V4)?
        .connect_call(address)
        .fails_with(status::INVALID_DEVICE_STATE)?;
    check::equal("Information", done.information(), 0)
}

fn pending_accept_is_cancelled(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, _) = client.listener(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    check::holds("pending", accept.is_pending()?)?;
    let done = accept.cancel()?;
    check::status("accept", done.result(), status::CANCELLED)?;
    check::equal("Information", done.information(), 0)
}

fn pending_receive_is_cancelled(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    let receive = near.receive_call(16).start()?;
    check::holds("pending", receive.is_pending()?)?;
    check::status("receive", receive.cancel()?.result(), status::CANCELLED)?;
    far.send(b"still here")?;
    check::equal("data after it", near.receive_all(10)?, b"still here".to_vec())
}

fn close_cancels_what_is_pending(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, _) = client.listener(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    check::holds("pending", accept.is_pending()?)?;
    listener.close()?;
    let done = accept.wait()?;
    done.check_rules()?;
    check::status("accept", done.result(), status::CANCELLED)?;
    check::equal("Information", done.information(), 0)
}

fn refused_connection_fails(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    listener.close()?;
    let socket = client.connection_socket(Family::V4)?;
    let done = socket.bind(Family::V4.loopback(0))?.connect_call(address).run()?;
    check::status("connect", done.result(), status::CONNECTION_REFUSED)
}

fn graceful_disconnect_ends_the_stream(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    near.send(b"last words")?;
    near.disconnect()?;
    check::equal("data", far.receive_all(10)?, b"last words".to_vec())?;
    check::equal("end of stream", far.receive(16)?, Vec::new())
}

fn stream_category_listens_and_connects(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let listener = client.stream_socket(Family::V4)?;
    let address = listener.bind(Family::V4.loopback(0))?.listen()?.local_address()?;
    let near = client.stream_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    near.connect(address)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    near.send(b"stream")?;
    check::equal("data", far.receive_all(6)?, b"stream".to_vec())
}

fn accept_event_hands_out_sockets(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let reactions = Reactions {
        slots: Slots::ALL.0,
        accepted_slots: Slots::ALL.0,
        ..Reactions::default()
    };
    let events = context.probe.events();
    let listener = client.socket(Category::Listen, Family::V4, reactions)?;
    let address = listener.bind(Family::V4.loopback(0))?.enable(0x200)?.local_address()?;
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?.connect(address)?;
    let event = events.wait_for(Happening::Accept, listener.id)?;
    let far = listener.accepted_as(event.other);
    near.send(b"by event")?;
    check::equal("data", far.receive_all(8)?, b"by event".to_vec())
}

fn receive_event_delivers_data(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    let events = context.probe.events();
    let near = client.socket(
        Category::Connection,
        Family::V4,
        Reactions {
            slots: Slots::ALL.0,
            ..Reactions::default()
        },
    )?;
    near.bind(Family::V4.loopback(0))?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    near.connect(address)?.enable(0x40)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    far.send(b"indicated")?;
    let event = events.wait_for(Happening::Receive, near.id)?;
    check::equal("bytes", event.length, 9)?;
    check::equal("data", &event.data[..9], b"indicated".as_slice())
}

fn socket_connect_makes_a_connection(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    let near = client.socket_connect(address, Reactions::default())?;
    let done = accept.wait()?.checked_ok()?;
    check::holds("a socket", done.is(Progress::IS_SOCKET))?;
    check::equal("accepted from", done.address2()?, near.local_address()?)?;
    let far = listener.accepted(&done)?;
    near.call(Function::Send).input(b"connected").ok()?;
    check::equal("data", far.receive_all(9)?, b"connected".to_vec())
}

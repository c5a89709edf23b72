//! Event callbacks: which come, with what, and what their return values do.

use anyhow::{Context as _, Result};
use probe_protocol::probe::{Category, Event, Function, Happening, Input, Progress, Reactions, Slots, Take, checksum};

use crate::check;
use crate::context::Context;
use crate::probe::{Address, Client, EventLog, Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::wsk::{
    INSPECT_ACCEPT, INSPECT_PEND, INSPECT_REJECT, SIO_WSK_QUERY_INSPECT_ID, SIO_WSK_SET_RECEIVE_EX_CALLBACK,
    SO_CONDITIONAL_ACCEPT, WSK_EVENT_ACCEPT, WSK_EVENT_DISABLE, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE,
    WSK_EVENT_RECEIVE_FROM, WSK_FLAG_ABORTIVE,
};

tests! {
    "callbacks";
    nothing_comes_unasked, Both, "WSK: event callbacks", "all events are off on a created and on an accepted socket";
    accept_event_addresses, Both, "WSK: event callbacks", "WskAcceptEvent carries both addresses and a socket that works";
    accept_event_refused, Both, "WSK: event callbacks", "REQUEST_NOT_ACCEPTED: the provider closes the accepted socket itself";
    accept_event_nulls, Both, "WSK: event callbacks", "an accepted socket may have no context and no callbacks";
    accepted_events_are_armed, Both, "vector WK-EV-08", "receive events enabled on the listener are on for sockets from WskAcceptEvent";
    accepted_events_not_for_accept, Both, "vector WK-EV-09", "... and not for those from WskAccept";
    receive_all, Both, "vector WK-H-02", "accepted data is gone; the next data is indicated";
    receive_part, Both, "vector WK-H-03", "what a callback left is received first, then indications go on";
    receive_nothing, Both, "WSK: event callbacks", "DATA_NOT_ACCEPTED keeps the data for WskReceive";
    receive_retained, Both, "WSK: lifetime", "a retained list is released later, also at DISPATCH_LEVEL";
    receive_sums, Both, "WSK: event callbacks", "bytes indicated are the bytes sent, in order";
    datagram_event, Both, "WSK: event callbacks", "WskReceiveFromEvent carries the datagram and its sender";
    datagram_not_accepted, Both, "vector WK-H-04", "after DATA_NOT_ACCEPTED a datagram socket is quiet until enabled again";
    datagram_retained, Both, "WSK: lifetime", "retained datagrams are released";
    disconnect_graceful, Both, "WSK: event callbacks", "WskDisconnectEvent without the abortive flag";
    disconnect_abortive, Both, "WSK: event callbacks", "WskDisconnectEvent with the abortive flag";
    null_slots_stay_null, Both, "interposition", "an event without a callback cannot be enabled, or does not come";
    disable_when_idle, Both, "SO_WSK_EVENT_CALLBACK", "disabling an idle event succeeds, and nothing comes after it";
    disable_while_running, Both, "vectors WK-EV-05, WK-EV-06", "disabling an event whose callback runs pends until it returns";
    conditional_accept, Both, "WSK: event callbacks", "inspect, then accept: the request is accepted";
    conditional_reject, Both, "WSK: event callbacks", "inspect, then reject: no accept and no abort follow";
    conditional_pend, Both, "WSK: event callbacks", "a pended inspection is resumed by WskInspectComplete";
    conditional_abort, Both, "WSK: event callbacks", "a request that goes away while pended is aborted with its id";
    inspect_id_of_socket, Both, "vector WK-IO-09", "SIO_WSK_QUERY_INSPECT_ID on the accepted socket gives the id";
    receive_ex, Both, "vector WK-H-01, interposition", "the receive-ex callback gets the data, with the client's context";
    receive_ex_off, Both, "vector WK-H-01", "a NULL receive-ex callback ends it";
    callbacks_call_back, Both, "WSK: event callbacks", "a callback may start a request on its socket";
    static_events, Both, "vector WK-EV-13", "WSK_SET_STATIC_EVENT_CALLBACKS enables for every socket of the client, and for no other's";
    slow_callbacks, Both, "WSK: lifetime", "data that comes while a callback runs is not lost";
}

pub(super) const ALL: Reactions = Reactions {
    slots: Slots::ALL.0,
    accepted_slots: Slots::ALL.0,
    accept_status: 0,
    inspect_action: INSPECT_ACCEPT,
    take: Take::All as u32,
    take_bytes: 0,
    stall_us: 0,
    gate: 0,
    launch: 0,
    launch_on: 0,
};

/// A connected pair whose near end has callbacks that do as `reactions` says.
pub(super) fn pair<'p>(client: &Client<'p>, reactions: Reactions) -> Result<(Socket<'p>, Socket<'p>)> {
    let (listener, address) = client.listener(Family::V4)?;
    let near = client.socket(Category::Connection, Family::V4, reactions)?;
    near.bind(Family::V4.loopback(0))?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    near.connect(address)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    Ok((near, far))
}

/// A listener with callbacks, and its address.
pub(super) fn listener<'p>(client: &Client<'p>, reactions: Reactions) -> Result<(Socket<'p>, Address)> {
    let listener = client.socket(Category::Listen, Family::V4, reactions)?;
    let address = listener.bind(Family::V4.loopback(0))?.local_address()?;
    Ok((listener, address))
}

fn connect<'p>(client: &Client<'p>, address: Address) -> Result<Socket<'p>> {
    let socket = client.connection_socket(Family::V4)?;
    socket.bind(Family::V4.loopback(0))?.connect(address)?;
    Ok(socket)
}

fn data(event: &Event) -> &[u8] {
    &event.data[..event.data_length as usize]
}

fn nothing_comes_unasked(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    far.send(b"silence")?;
    events.none(Happening::Receive, near.id)?;
    check::equal("data", near.receive_all(7)?, b"silence".to_vec())?;
    let (listener, address) = listener(&client, ALL)?;
    listener.enable(WSK_EVENT_ACCEPT)?;
    let other = connect(&client, address)?;
    let accepted = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    other.send(b"silence")?;
    events.none(Happening::Receive, accepted.id)
}

fn accept_event_addresses(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = listener(&client, ALL)?;
    listener.enable(WSK_EVENT_ACCEPT)?;
    for _ in 0..3 {
        let near = connect(&client, address)?;
        let event = events.wait_for(Happening::Accept, listener.id)?;
        let remote = Address::parse(&event.address2).context("a remote address")?;
        check::equal("remote", remote, near.local_address()?)?;
        check::equal(
            "local",
            Address::parse(&event.address).context("a local address")?,
            address,
        )?;
        let far = listener.accepted_as(event.other);
        check::equal("remote of the socket", far.remote_address()?, remote)?;
        far.send(b"hello")?;
        check::equal("data", near.receive_all(5)?, b"hello".to_vec())?;
    }
    Ok(())
}

fn accept_event_refused(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let refusing = Reactions {
        accept_status: status::REQUEST_NOT_ACCEPTED,
        ..ALL
    };
    let (listener, address) = listener(&client, refusing)?;
    listener.enable(WSK_EVENT_ACCEPT)?;
    let near = connect(&client, address)?;
    let event = events.wait_for(Happening::Accept, listener.id)?;
    check::equal("no socket is the client's", event.other, 0)?;
    let done = near.receive_call(1).run()?;
    check::holds("the connection ends", done.result() < 0 || done.information() == 0)?;
    // The listener goes on.
    listener.set_reactions(ALL)?;
    let near = connect(&client, address)?;
    let far = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    near.send(b"x")?;
    far.receive_all(1).map(drop)
}

fn accept_event_nulls(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let nulls = Reactions {
        slots: (Slots::ALL | Slots::ACCEPT_WITH_NULLS).0,
        ..ALL
    };
    let (listener, address) = listener(&client, nulls)?;
    listener.enable(WSK_EVENT_ACCEPT)?;
    let near = connect(&client, address)?;
    let far = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    near.send(b"null")?;
    check::equal("data", far.receive_all(4)?, b"null".to_vec())?;
    far.close()?;
    check::equal("the end", near.receive_call(4).run()?.information(), 0)
}

fn accepted_events_are_armed(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = listener(&client, ALL)?;
    listener.enable(WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT)?;
    let near = connect(&client, address)?;
    let far = events.wait_for(Happening::Accept, listener.id)?.other;
    near.send(b"armed")?;
    check::equal(
        "data",
        data(&events.wait_for(Happening::Receive, far)?),
        b"armed".as_slice(),
    )?;
    near.disconnect()?;
    events.wait_for(Happening::Disconnect, far).map(drop)
}

fn accepted_events_not_for_accept(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = listener(&client, ALL)?;
    listener.enable(WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE)?;
    let accept = listener.accept_call(ALL).start()?;
    let near = connect(&client, address)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    near.send(b"not armed")?;
    events.none(Happening::Receive, far.id)?;
    check::equal("data", far.receive_all(9)?, b"not armed".to_vec())
}

fn receive_all(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    for word in [b"first", b"other"] {
        far.send(word)?;
        check::equal(
            "indicated",
            data(&events.wait_for(Happening::Receive, near.id)?),
            word.as_slice(),
        )?;
        check::equal(
            "returned",
            events.wait_for(Happening::Returned, near.id)?.status,
            status::SUCCESS,
        )?;
    }
    let receive = near.receive_call(8).start()?;
    check::holds("nothing is left", receive.is_pending()?)?;
    receive.cancel().map(drop)
}

/// Data arrives at a callback that takes `taken` of it; the rest must come by `WskReceive`, and indications go on after that.
fn leaves_a_rest(context: &Context, reactions: Reactions, taken: usize) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, reactions)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"0123456789")?;
    events.wait_for(Happening::Receive, near.id)?;
    events.wait_for(Happening::Returned, near.id)?;
    far.send(b"abc")?;
    events.none(Happening::Receive, near.id)?;
    near.set_reactions(ALL)?;
    // Once that receive has completed indications go on, so that what it did not take comes by callback.
    let mut rest = near.receive(64)?;
    check::holds("the rest came first", rest.starts_with(&b"0123456789"[taken..][..1]))?;
    far.send(b"again")?;
    let expected = [&b"0123456789"[taken..], b"abcagain"].concat();
    while rest.len() < expected.len() {
        rest.extend_from_slice(data(&events.wait_for(Happening::Receive, near.id)?));
    }
    check::equal("in all", rest, expected)
}

fn receive_part(context: &Context) -> Result<()> {
    leaves_a_rest(
        context,
        Reactions {
            take: Take::Part as u32,
            take_bytes: 4,
            ..ALL
        },
        4,
    )
}

fn receive_nothing(context: &Context) -> Result<()> {
    leaves_a_rest(
        context,
        Reactions {
            take: Take::Nothing as u32,
            ..ALL
        },
        0,
    )
}

fn receive_retained(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(
        &client,
        Reactions {
            take: Take::Retain as u32,
            ..ALL
        },
    )?;
    near.enable(WSK_EVENT_RECEIVE)?;
    for (word, at_dispatch) in [(b"keep one", false), (b"keep two", true)] {
        far.send(word)?;
        events.wait_for(Happening::Receive, near.id)?;
        let returned = events.wait_for(Happening::Returned, near.id)?;
        check::status("returned", returned.status, status::PENDING)?;
        check::equal("retained", near.state()?.retained, 1)?;
        let released = near.release(1, at_dispatch)?;
        check::equal("released", released.count, 1)?;
        check::status("WskRelease", released.status, status::SUCCESS)?;
    }
    near.close().map(drop)
}

fn receive_sums(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    let text: Vec<u8> = (0..20_000_u32).map(|index| (index * 7 % 251) as u8).collect();
    far.send(&text)?;
    let mut length = 0;
    while length < text.len() {
        let event = events.wait_for(Happening::Receive, near.id)?;
        let piece = usize::try_from(event.length)?;
        check::equal("indicated and listed", event.value, event.length)?;
        let expected = text.get(length..length + piece).context("more than was sent")?;
        check::equal("checksum", event.sum, checksum(0, expected))?;
        length += piece;
    }
    check::equal("length", length, text.len())
}

fn datagram_pair<'p>(client: &Client<'p>, reactions: Reactions) -> Result<(Socket<'p>, Socket<'p>, Address)> {
    let receiver = client.socket(Category::Datagram, Family::V4, reactions)?;
    let address = receiver.bind(Family::V4.loopback(0))?.local_address()?;
    let (sender, _) = client.datagram(Family::V4)?;
    Ok((receiver, sender, address))
}

fn datagram_event(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (receiver, sender, address) = datagram_pair(&client, ALL)?;
    receiver.enable(WSK_EVENT_RECEIVE_FROM)?;
    for word in [b"datagram 1".as_slice(), b"datagram two", b""] {
        sender.send_to(word, address)?;
        let event = events.wait_for(Happening::ReceiveFrom, receiver.id)?;
        check::equal("data", data(&event), word)?;
        let from = Address::parse(&event.address).context("a sender")?;
        check::equal("sender", from, sender.local_address()?)?;
    }
    Ok(())
}

fn datagram_not_accepted(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let refusing = Reactions {
        take: Take::Nothing as u32,
        ..ALL
    };
    let (receiver, sender, address) = datagram_pair(&client, refusing)?;
    receiver.enable(WSK_EVENT_RECEIVE_FROM)?;
    sender.send_to(b"kept", address)?;
    events.wait_for(Happening::ReceiveFrom, receiver.id)?;
    events.wait_for(Happening::Returned, receiver.id)?;
    sender.send_to(b"quiet", address)?;
    events.none(Happening::ReceiveFrom, receiver.id)?;
    check::equal("buffered", receiver.receive_from(16)?.0, b"kept".to_vec())?;
    check::equal("buffered", receiver.receive_from(16)?.0, b"quiet".to_vec())?;
    receiver.set_reactions(ALL)?;
    receiver.enable(WSK_EVENT_RECEIVE_FROM)?;
    sender.send_to(b"loud", address)?;
    check::equal(
        "data",
        data(&events.wait_for(Happening::ReceiveFrom, receiver.id)?),
        b"loud".as_slice(),
    )
}

fn datagram_retained(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (receiver, sender, address) = datagram_pair(
        &client,
        Reactions {
            take: Take::Retain as u32,
            ..ALL
        },
    )?;
    receiver.enable(WSK_EVENT_RECEIVE_FROM)?;
    for _ in 0..4 {
        sender.send_to(b"held", address)?;
        events.wait_for(Happening::Returned, receiver.id)?;
    }
    let held = receiver.state()?.retained;
    check::holds("some are held", held > 0)?;
    check::equal("released", receiver.release(held, true)?.count, held)?;
    receiver.close().map(drop)
}

fn disconnect_graceful(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    near.enable(WSK_EVENT_DISCONNECT | WSK_EVENT_RECEIVE)?;
    far.disconnect()?;
    let event = events.wait_for(Happening::Disconnect, near.id)?;
    check::equal("flags", event.flags & WSK_FLAG_ABORTIVE, 0)?;
    near.disconnect().map(drop)
}

fn disconnect_abortive(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    near.enable(WSK_EVENT_DISCONNECT)?;
    far.abort()?;
    let event = events.wait_for(Happening::Disconnect, near.id)?;
    check::equal("flags", event.flags & WSK_FLAG_ABORTIVE, WSK_FLAG_ABORTIVE)
}

fn null_slots_stay_null(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(
        &client,
        Reactions {
            slots: Slots::DISCONNECT.0,
            ..ALL
        },
    )?;
    near.events_call(WSK_EVENT_RECEIVE).no_irp().run()?;
    far.send(b"for nobody")?;
    events.none(Happening::Receive, near.id)?;
    check::equal("data", near.receive_all(10)?, b"for nobody".to_vec())?;
    near.enable(WSK_EVENT_DISCONNECT)?;
    far.disconnect()?;
    events.wait_for(Happening::Disconnect, near.id).map(drop)
}

fn disable_when_idle(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    for with_irp in [false, true] {
        let (near, far) = pair(&client, ALL)?;
        near.enable(WSK_EVENT_RECEIVE)?;
        far.send(b"on")?;
        events.wait_for(Happening::Returned, near.id)?;
        let disable = near.events_call(WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE);
        let done = if with_irp {
            disable.run()?
        } else {
            disable.no_irp().run()?
        };
        check::status("disable", done.result(), status::SUCCESS)?;
        events.drain()?;
        far.send(b"off")?;
        events.none(Happening::Receive, near.id)?;
        check::equal("data", near.receive_all(3)?, b"off".to_vec())?;
    }
    Ok(())
}

/// The near end's receive callback stands at the gate.
fn stop_in_receive(events: &EventLog<'_>, context: &Context, near: &Socket<'_>, far: &Socket<'_>) -> Result<()> {
    context.probe.close_gate(1)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"enter")?;
    events.wait_for(Happening::Receive, near.id).map(drop)
}

fn disable_while_running(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    for with_irp in [false, true] {
        let (near, far) = pair(&client, Reactions { gate: 1, ..ALL })?;
        stop_in_receive(&events, context, &near, &far)?;
        let disable = near.events_call(WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE);
        if with_irp {
            let pending = disable.start()?;
            check::holds("pends while the callback runs", pending.is_pending()?)?;
            context.probe.open_gate(1)?;
            let done = pending.wait()?;
            done.check_rules()?;
            check::status("disable", done.result(), status::SUCCESS)?;
            let returned = events.wait_for(Happening::Returned, near.id)?;
            check::holds("after the callback", done.outcome.completed_at > returned.at)?;
        } else {
            let done = disable.no_irp().run()?;
            check::status("disable", done.outcome.returned, status::EVENT_PENDING)?;
            context.probe.open_gate(1)?;
            events.wait_for(Happening::Returned, near.id)?;
        }
        far.send(b"off")?;
        events.none(Happening::Receive, near.id)?;
    }
    Ok(())
}

/// A listener that inspects, with its action.
fn conditional<'p>(client: &Client<'p>, action: i32) -> Result<(Socket<'p>, Address)> {
    let listener = client.socket(
        Category::Listen,
        Family::V4,
        Reactions {
            inspect_action: action,
            ..ALL
        },
    )?;
    listener.set(SO_CONDITIONAL_ACCEPT, 1)?;
    let address = listener
        .bind(Family::V4.loopback(0))?
        .enable(WSK_EVENT_ACCEPT)?
        .local_address()?;
    Ok((listener, address))
}

fn conditional_accept(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = conditional(&client, INSPECT_ACCEPT)?;
    let near = connect(&client, address)?;
    let inspected = events.wait_for(Happening::Inspect, listener.id)?;
    check::equal(
        "remote",
        Address::parse(&inspected.address2),
        Some(near.local_address()?),
    )?;
    let far = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    near.send(b"inspected")?;
    check::equal("data", far.receive_all(9)?, b"inspected".to_vec())
}

fn conditional_reject(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = conditional(&client, INSPECT_REJECT)?;
    let near = client.connection_socket(Family::V4)?;
    let connecting = near.bind(Family::V4.loopback(0))?.connect_call(address).start()?;
    events.wait_for(Happening::Inspect, listener.id)?;
    events.none(Happening::Accept, listener.id)?;
    events.none(Happening::Abort, listener.id)?;
    let done = connecting.wait()?;
    let ended = done.result() < 0 || near.receive_call(1).run().is_ok_and(|done| done.information() == 0);
    check::holds("the connection does not live", ended)
}

fn conditional_pend(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = conditional(&client, INSPECT_PEND)?;
    let near = client.connection_socket(Family::V4)?;
    let connecting = near.bind(Family::V4.loopback(0))?.connect_call(address).start()?;
    let inspected = events.wait_for(Happening::Inspect, listener.id)?;
    events.none(Happening::Accept, listener.id)?;
    let numbers = [INSPECT_ACCEPT.cast_unsigned(), 0, 0, 0];
    listener
        .call(Function::InspectComplete)
        .numbers(numbers)
        .input(data(&inspected))
        .ok()?;
    let far = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    check::status("connect", connecting.wait()?.result(), status::SUCCESS)?;
    near.send(b"resumed")?;
    check::equal("data", far.receive_all(7)?, b"resumed".to_vec())
}

fn conditional_abort(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = conditional(&client, INSPECT_PEND)?;
    let near = client.connection_socket(Family::V4)?;
    let connecting = near.bind(Family::V4.loopback(0))?.connect_call(address).start()?;
    let inspected = events.wait_for(Happening::Inspect, listener.id)?;
    near.close()?;
    connecting.wait()?;
    let aborted = events.wait_for(Happening::Abort, listener.id)?;
    check::equal("id", data(&aborted), data(&inspected))?;
    events.none(Happening::Accept, listener.id)
}

fn inspect_id_of_socket(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (listener, address) = conditional(&client, INSPECT_ACCEPT)?;
    let near = connect(&client, address)?;
    let inspected = events.wait_for(Happening::Inspect, listener.id)?;
    let far = listener.accepted_as(events.wait_for(Happening::Accept, listener.id)?.other);
    let done = far
        .ioctl_call(SIO_WSK_QUERY_INSPECT_ID)
        .output(16)
        .output_returned()
        .no_irp()
        .ok()?;
    check::equal("key", &done.output[..8], &data(&inspected)[..8])?;
    check::equal("serial number", &done.output[8..12], &data(&inspected)[8..12])?;
    let done = near
        .ioctl_call(SIO_WSK_QUERY_INSPECT_ID)
        .output(16)
        .output_returned()
        .no_irp()
        .run()?;
    check::status("on another socket", done.result(), status::INVALID_DEVICE_REQUEST)
}

fn set_receive_ex(socket: &Socket<'_>, input: Input) -> Result<()> {
    let done = socket
        .ioctl_call(SIO_WSK_SET_RECEIVE_EX_CALLBACK)
        .input_kind(input, &[])
        .sized_input(8)
        .run()?;
    check::status("SIO_WSK_SET_RECEIVE_EX_CALLBACK", done.result(), status::SUCCESS)
}

fn receive_ex(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    set_receive_ex(&near, Input::ReceiveExCallback)?;
    far.send(b"extended")?;
    let event = events.wait_for(Happening::ReceiveEx, near.id)?;
    check::equal("data", data(&event), b"extended".as_slice())?;
    events.none(Happening::Receive, near.id)
}

fn receive_ex_off(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, ALL)?;
    set_receive_ex(&near, Input::ReceiveExCallback)?;
    set_receive_ex(&near, Input::NullCallback)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"plain")?;
    check::equal(
        "data",
        data(&events.wait_for(Happening::Receive, near.id)?),
        b"plain".as_slice(),
    )?;
    events.none(Happening::ReceiveEx, near.id)
}

fn callbacks_call_back(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (near, far) = pair(&client, ALL)?;
    let answer = near.send_call(b"answer").prepare()?;
    near.set_reactions(Reactions {
        launch: answer.request,
        launch_on: Happening::Receive as u32,
        ..ALL
    })?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"question")?;
    check::equal("data", far.receive_all(6)?, b"answer".to_vec())?;
    let done = answer.wait()?;
    done.check_rules()?;
    check::holds("launched", done.is(Progress::CALLED))?;
    check::status("send", done.result(), status::SUCCESS)
}

fn static_events(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let other = context.attach()?;
    let events = context.probe.events();
    let done = client.static_events(WSK_EVENT_RECEIVE)?;
    check::status("WSK_SET_STATIC_EVENT_CALLBACKS", done.result(), status::SUCCESS)?;
    let (near, far) = pair(&client, ALL)?;
    far.send(b"static")?;
    check::equal(
        "data",
        data(&events.wait_for(Happening::Receive, near.id)?),
        b"static".as_slice(),
    )?;
    let (near, far) = pair(&other, ALL)?;
    far.send(b"another client's")?;
    events.none(Happening::Receive, near.id)
}

fn slow_callbacks(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    let (near, far) = pair(&client, Reactions { gate: 1, ..ALL })?;
    stop_in_receive(&events, context, &near, &far)?;
    far.send(b" and more")?;
    context.probe.open_gate(1)?;
    let event = events.wait_for(Happening::Receive, near.id)?;
    check::equal("data", data(&event), b" and more".as_slice())
}

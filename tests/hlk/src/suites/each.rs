//! One script for each function of each dispatch table, each callback, and each rule of IRPs and lifetimes, run directly and through the
//! filter, and compared by the harness. `hlk scripts` prints the table.

use anyhow::{Result, ensure};
use probe_protocol::probe::{Category, Function, Happening, Input, Reactions, Slots, Style, Take};

use super::callbacks::{listener, pair};
use crate::context::Context;
use crate::fidelity::{Trace, compare};
use crate::probe::{Client, Family, Socket};
use crate::runner::{Body, Paths, Test};
use crate::testkernel::Netio;
use crate::wsk::{
    INSPECT_ACCEPT, INSPECT_PEND, SIO_WSK_SET_RECEIVE_EX_CALLBACK, SO_CONDITIONAL_ACCEPT, SO_KEEPALIVE, SO_RCVBUF,
    SO_REUSEADDR, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_RECEIVE_FROM,
    WSK_EVENT_SEND_BACKLOG,
};

/// `name, "what it covers", script;`
macro_rules! each {
    ($($name:ident, $covers:literal, $script:expr;)*) => {
        pub(crate) const TESTS: &[Test] = &[$({
            fn $name(context: &Context) -> Result<()> {
                compare(&context.probe, $script)
            }
            Test {
                category: "each",
                name: stringify!($name),
                purpose: "the same directly and through the filter",
                requirement: $covers,
                paths: Paths::Filtered,
                limit: None,
                body: Body::Script($name),
            }
        }),*];
    };
}

each! {
    provider_socket, "WSK_PROVIDER_DISPATCH.WskSocket", creates;
    provider_socket_connect, "WSK_PROVIDER_DISPATCH.WskSocketConnect", socket_connect;
    provider_control_client, "WSK_PROVIDER_DISPATCH.WskControlClient", control_client;
    provider_address_info, "WSK_PROVIDER_DISPATCH.WskGetAddressInfo, WskFreeAddressInfo", names;
    provider_name_info, "WSK_PROVIDER_DISPATCH.WskGetNameInfo", name_info;
    basic_control, "WSK_PROVIDER_BASIC_DISPATCH.WskControlSocket", |client, trace| control(client, trace, Category::Basic);
    basic_close, "WSK_PROVIDER_BASIC_DISPATCH.WskCloseSocket", |client, trace| close(client, trace, Category::Basic);
    listen_control, "WSK_PROVIDER_LISTEN_DISPATCH.WskControlSocket", |client, trace| control(client, trace, Category::Listen);
    listen_close, "WSK_PROVIDER_LISTEN_DISPATCH.WskCloseSocket", |client, trace| close(client, trace, Category::Listen);
    listen_bind, "WSK_PROVIDER_LISTEN_DISPATCH.WskBind", |client, trace| bind(client, trace, Category::Listen);
    listen_accept, "WSK_PROVIDER_LISTEN_DISPATCH.WskAccept", |client, trace| connection(client, trace, Category::Connection, Talk::Nothing);
    listen_inspect_complete, "WSK_PROVIDER_LISTEN_DISPATCH.WskInspectComplete", |client, trace| inspect(client, trace, INSPECT_PEND);
    listen_local_address, "WSK_PROVIDER_LISTEN_DISPATCH.WskGetLocalAddress", |client, trace| local(client, trace, Category::Listen);
    datagram_control, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskControlSocket", |client, trace| control(client, trace, Category::Datagram);
    datagram_close, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskCloseSocket", |client, trace| close(client, trace, Category::Datagram);
    datagram_bind, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskBind", |client, trace| bind(client, trace, Category::Datagram);
    datagram_send_to, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskSendTo, WskReceiveFrom", datagrams;
    datagram_release, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskRelease", retained_datagram;
    datagram_local_address, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskGetLocalAddress", |client, trace| local(client, trace, Category::Datagram);
    datagram_send_messages, "WSK_PROVIDER_DATAGRAM_DISPATCH.WskSendMessages", messages;
    connection_control, "WSK_PROVIDER_CONNECTION_DISPATCH.WskControlSocket", |client, trace| control(client, trace, Category::Connection);
    connection_close, "WSK_PROVIDER_CONNECTION_DISPATCH.WskCloseSocket", |client, trace| close(client, trace, Category::Connection);
    connection_bind, "WSK_PROVIDER_CONNECTION_DISPATCH.WskBind", |client, trace| bind(client, trace, Category::Connection);
    connection_connect, "WSK_PROVIDER_CONNECTION_DISPATCH.WskConnect", |client, trace| refused(client, trace, Category::Connection);
    connection_addresses, "WSK_PROVIDER_CONNECTION_DISPATCH.WskGetLocalAddress, WskGetRemoteAddress", |client, trace| connection(client, trace, Category::Connection, Talk::Addresses);
    connection_data, "WSK_PROVIDER_CONNECTION_DISPATCH.WskSend, WskReceive", |client, trace| connection(client, trace, Category::Connection, Talk::Data);
    connection_disconnect, "WSK_PROVIDER_CONNECTION_DISPATCH.WskDisconnect", |client, trace| connection(client, trace, Category::Connection, Talk::Disconnect);
    connection_release, "WSK_PROVIDER_CONNECTION_DISPATCH.WskRelease", retained;
    connection_connect_ex, "WSK_PROVIDER_CONNECTION_DISPATCH.WskConnectEx", |client, trace| connect_ex(client, trace, Category::Connection);
    connection_data_ex, "WSK_PROVIDER_CONNECTION_DISPATCH.WskSendEx, WskReceiveEx", |client, trace| connection(client, trace, Category::Connection, Talk::DataEx);
    stream_control, "WSK_PROVIDER_STREAM_DISPATCH.WskControlSocket", |client, trace| control(client, trace, Category::Stream);
    stream_close, "WSK_PROVIDER_STREAM_DISPATCH.WskCloseSocket", |client, trace| close(client, trace, Category::Stream);
    stream_bind, "WSK_PROVIDER_STREAM_DISPATCH.WskBind", |client, trace| bind(client, trace, Category::Stream);
    stream_listen_accept, "WSK_PROVIDER_STREAM_DISPATCH.WskListen, WskAccept", |client, trace| connection(client, trace, Category::Stream, Talk::Nothing);
    stream_connect, "WSK_PROVIDER_STREAM_DISPATCH.WskConnect", |client, trace| refused(client, trace, Category::Stream);
    stream_addresses, "WSK_PROVIDER_STREAM_DISPATCH.WskGetLocalAddress, WskGetRemoteAddress", |client, trace| connection(client, trace, Category::Stream, Talk::Addresses);
    stream_data, "WSK_PROVIDER_STREAM_DISPATCH.WskSend, WskReceive, WskRelease", |client, trace| connection(client, trace, Category::Stream, Talk::Data);
    stream_disconnect, "WSK_PROVIDER_STREAM_DISPATCH.WskDisconnect", |client, trace| connection(client, trace, Category::Stream, Talk::Disconnect);
    stream_connect_ex, "WSK_PROVIDER_STREAM_DISPATCH.WskConnectEx", |client, trace| connect_ex(client, trace, Category::Stream);
    stream_data_ex, "WSK_PROVIDER_STREAM_DISPATCH.WskSendEx, WskReceiveEx", |client, trace| connection(client, trace, Category::Stream, Talk::DataEx);
    accept_event, "WskAcceptEvent", accepts;
    inspect_event, "WskInspectEvent", |client, trace| inspect(client, trace, INSPECT_ACCEPT);
    abort_event, "WskAbortEvent", aborted;
    receive_event, "WskReceiveEvent", |client, trace| indicated(client, trace, WSK_EVENT_RECEIVE, Happening::Receive);
    disconnect_event, "WskDisconnectEvent", |client, trace| indicated(client, trace, WSK_EVENT_DISCONNECT, Happening::Disconnect);
    send_backlog_event, "WskSendBacklogEvent", |client, trace| indicated(client, trace, WSK_EVENT_SEND_BACKLOG, Happening::SendBacklog);
    receive_from_event, "WskReceiveFromEvent", indicated_datagram;
    receive_ex_event, "the receive-ex callback", receive_ex;
    irp_locations, "WSK: IRPs", |client, trace| shapes(client, trace, Shape::Deep);
    irp_styles, "WSK: IRPs", |client, trace| shapes(client, trace, Shape::Styles);
    irp_reused, "WSK: IRPs reuse", |client, trace| shapes(client, trace, Shape::Reused);
    irp_passed_down, "WSK: IRPs", |client, trace| shapes(client, trace, Shape::PassedDown);
    irp_at_dispatch, "WSK: IRPs", |client, trace| shapes(client, trace, Shape::AtDispatch);
    irp_cancelled_first, "WSK: IRPs, cancellation", |client, trace| pending(client, trace, true);
    irp_none, "WSK: IRPs, NULL IRP", |client, trace| shapes(client, trace, Shape::None);
    pending_at_close, "WSK: lifetime, close ends what is pending", |client, trace| pending(client, trace, false);
    close_resets, "WSK: lifetime, close of a connection", |client, trace| connection(client, trace, Category::Connection, Talk::Close);
    close_is_quiet, "WSK: lifetime, close after both disconnects", |client, trace| connection(client, trace, Category::Connection, Talk::BothDisconnect);
    cached_descriptors, "WSK: lifetime, security descriptors", descriptors;
    dead_socket, "WSK: lifetime, forced close", dead;
}

/// What must have a script: the members of the tables, in their order, and the callbacks.
const WANTED: [(&str, &[&str]); 6] = [
    (
        "WSK_PROVIDER_DISPATCH",
        &[
            "WskSocket",
            "WskSocketConnect",
            "WskControlClient",
            "WskGetAddressInfo",
            "WskFreeAddressInfo",
            "WskGetNameInfo",
        ],
    ),
    ("WSK_PROVIDER_BASIC_DISPATCH", &["WskControlSocket", "WskCloseSocket"]),
    (
        "WSK_PROVIDER_LISTEN_DISPATCH",
        &[
            "WskControlSocket",
            "WskCloseSocket",
            "WskBind",
            "WskAccept",
            "WskInspectComplete",
            "WskGetLocalAddress",
        ],
    ),
    (
        "WSK_PROVIDER_DATAGRAM_DISPATCH",
        &[
            "WskControlSocket",
            "WskCloseSocket",
            "WskBind",
            "WskSendTo",
            "WskReceiveFrom",
            "WskRelease",
            "WskGetLocalAddress",
            "WskSendMessages",
        ],
    ),
    (
        "WSK_PROVIDER_CONNECTION_DISPATCH",
        &[
            "WskControlSocket",
            "WskCloseSocket",
            "WskBind",
            "WskConnect",
            "WskGetLocalAddress",
            "WskGetRemoteAddress",
            "WskSend",
            "WskReceive",
            "WskDisconnect",
            "WskRelease",
            "WskConnectEx",
            "WskSendEx",
            "WskReceiveEx",
        ],
    ),
    (
        "WSK_PROVIDER_STREAM_DISPATCH",
        &[
            "WskControlSocket",
            "WskCloseSocket",
            "WskBind",
            "WskAccept",
            "WskConnect",
            "WskListen",
            "WskSend",
            "WskReceive",
            "WskDisconnect",
            "WskRelease",
            "WskGetLocalAddress",
            "WskGetRemoteAddress",
            "WskConnectEx",
            "WskSendEx",
            "WskReceiveEx",
        ],
    ),
];
const CALLBACKS: [&str; 8] = [
    "WskAcceptEvent",
    "WskInspectEvent",
    "WskAbortEvent",
    "WskReceiveEvent",
    "WskDisconnectEvent",
    "WskSendBacklogEvent",
    "WskReceiveFromEvent",
    "the receive-ex callback",
];

/// Prints what is covered by which script; an error names what is not.
pub(crate) fn coverage() -> Result<()> {
    let covered = |what: &str, member: &str| {
        TESTS.iter().find(|test| {
            let (table, members) = test.requirement.split_once('.').unwrap_or(("", test.requirement));
            table == what && members.split(", ").any(|one| one == member)
        })
    };
    let mut missing = Vec::new();
    let callbacks = [("", CALLBACKS.as_slice())];
    for (table, members) in WANTED.iter().chain(&callbacks) {
        for member in *members {
            let name = covered(table, member).map_or("-", |test| test.name);
            println!("{table:34} {member:24} {name}");
            if name == "-" {
                missing.push(format!("{table} {member}"));
            }
        }
    }
    for test in TESTS.iter().filter(|test| test.requirement.starts_with("WSK: ")) {
        println!("{:59} {}", test.requirement, test.name);
    }
    ensure!(missing.is_empty(), "without a script: {}", missing.join(", "));
    Ok(())
}

const FAMILY: Family = Family::V4;

fn creates(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    for family in Family::BOTH {
        for category in [
            Category::Listen,
            Category::Connection,
            Category::Datagram,
            Category::Stream,
        ] {
            trace.note(
                &format!("{family} {category:?}"),
                &client.create(category, family).run()?,
            );
        }
    }
    Ok(())
}

fn socket_connect(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let (listening, address) = client.listener(FAMILY)?;
    let accept = listening.accept_call(Reactions::default()).start()?;
    let connect = |to| {
        let call = client.call(Function::SocketConnect).numbers([0, 1, 6, 0]);
        call.address(FAMILY.loopback(0)).address2(to).run()
    };
    trace.note("connect", &connect(address)?);
    trace.note("accept", &accept.wait()?);
    listening.close()?;
    trace.note("refused", &connect(address)?);
    Ok(())
}

fn control_client(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    for (code, room) in [(2, 0), (2, 4), (2, 256), (6, 16), (99, 8)] {
        let done = client.control(code).output(room).run()?;
        // The structures have bytes in between that nobody writes.
        let (status, bytes) = (crate::status::name(done.result()), done.information());
        trace.say(format!("code {code} room {room}: {status}, {bytes} bytes"));
    }
    Ok(())
}

fn names(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    for name in ["localhost", "127.0.0.1", "no.such.name.invalid"] {
        let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        trace.note(name, &client.call(Function::GetAddressInfo).input(&utf16).run()?);
    }
    Ok(())
}

fn name_info(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let done = client.call(Function::GetNameInfo).address(FAMILY.loopback(80)).run()?;
    trace.note("127.0.0.1:80", &done);
    Ok(())
}

fn make<'p>(client: &Client<'p>, category: Category) -> Result<Socket<'p>> {
    if category == Category::Basic {
        client.basic_socket(FAMILY)
    } else {
        client.socket(category, FAMILY, Reactions::default())
    }
}

fn control(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    let socket = make(client, category)?;
    for option in [SO_REUSEADDR, SO_RCVBUF, SO_KEEPALIVE] {
        trace.note("get", &socket.get_call(option, SOL_SOCKET, 4).run()?);
        trace.note("set", &socket.set_call(option, SOL_SOCKET, &[0, 64, 0, 0]).run()?);
        trace.note("get", &socket.get_call(option, SOL_SOCKET, 4).run()?);
    }
    trace.note("ioctl", &socket.ioctl_call(0x4F00_0004).output(8).run()?);
    Ok(())
}

fn close(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    trace.note("close", &make(client, category)?.close()?);
    if category != Category::Basic {
        let bound = make(client, category)?;
        trace.note("bind", &bound.bind_call(FAMILY.loopback(0)).run()?);
        trace.note("close", &bound.close()?);
    }
    Ok(())
}

fn bind(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    let first = make(client, category)?;
    trace.note("first", &first.bind_call(FAMILY.loopback(0)).run()?);
    trace.note("again", &first.bind_call(FAMILY.loopback(0)).run()?);
    let taken = first.local_address()?;
    trace.note("taken", &make(client, category)?.bind_call(taken).run()?);
    trace.note(
        "family",
        &make(client, category)?.bind_call(Family::V6.loopback(0)).run()?,
    );
    trace.note(
        "wildcard",
        &make(client, category)?.bind_call(FAMILY.wildcard(0)).run()?,
    );
    Ok(())
}

fn local(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    let socket = make(client, category)?;
    trace.note("unbound", &socket.call(Function::GetLocalAddress).run()?);
    socket.bind(FAMILY.loopback(0))?;
    let done = socket.call(Function::GetLocalAddress).run()?;
    trace.note("bound", &done);
    trace.say(format!(
        "loopback: {}",
        done.address()? == FAMILY.loopback(done.address()?.port())
    ));
    Ok(())
}

fn datagrams(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let ((from, _), (to, address)) = (client.datagram(FAMILY)?, client.datagram(FAMILY)?);
    trace.note("send", &from.send_to_call(b"datagram", address).run()?);
    trace.note("receive", &to.receive_from_call(64).run()?);
    trace.note("cut", &from.send_to_call(b"datagram", address).run()?);
    trace.note("receive", &to.receive_from_call(3).run()?);
    Ok(())
}

fn messages(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let ((from, _), (to, address)) = (client.datagram(FAMILY)?, client.datagram(FAMILY)?);
    let call = from
        .call(Function::SendMessages)
        .input(b"twotwo")
        .pieces(2)
        .address(address);
    trace.note("send", &call.run()?);
    for _ in 0..2 {
        trace.note("receive", &to.receive_from_call(16).timeout(2000).run()?);
    }
    Ok(())
}

/// What happens on a connection once it is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    Nothing,
    Addresses,
    Data,
    DataEx,
    Disconnect,
    BothDisconnect,
    Close,
}

fn connected<'p>(client: &Client<'p>, trace: &mut Trace, category: Category) -> Result<[Socket<'p>; 3]> {
    let listening = make(
        client,
        if category == Category::Stream {
            category
        } else {
            Category::Listen
        },
    )?;
    listening.bind(FAMILY.loopback(0))?;
    if category == Category::Stream {
        trace.note("listen", &listening.call(Function::Listen).run()?);
    }
    let near = make(client, category)?;
    near.bind(FAMILY.loopback(0))?;
    let accept = listening.accept_call(Reactions::default()).start()?;
    trace.note("connect", &near.connect_call(listening.local_address()?).run()?);
    let done = accept.wait()?;
    trace.note("accept", &done);
    Ok([listening, near, listening.accepted(&done)?])
}

fn connection(client: &Client<'_>, trace: &mut Trace, category: Category, talk: Talk) -> Result<()> {
    let [listening, near, far] = connected(client, trace, category)?;
    let disconnect = |socket: &Socket<'_>| socket.call(Function::Disconnect).null_buffer().run();
    match talk {
        Talk::Nothing => trace.note("listen again", &listening.bind_call(FAMILY.loopback(0)).run()?),
        Talk::Addresses => {
            let (ours, theirs) = (near.local_address()?, near.remote_address()?);
            trace.note("remote", &near.call(Function::GetRemoteAddress).run()?);
            trace.say(format!(
                "{}",
                theirs == far.local_address()? && ours == far.remote_address()?
            ));
        }
        Talk::Data => {
            trace.note("send", &near.send_call(b"forth").run()?);
            trace.note("receive", &far.receive_call(5).flag(2).run()?);
            trace.note("send", &far.send_call(b"back").run()?);
            trace.note("receive", &near.receive_call(4).flag(2).run()?);
        }
        Talk::DataEx => {
            trace.note("send", &near.call(Function::SendEx).input(b"ex").run()?);
            trace.note("receive", &far.call(Function::ReceiveEx).output(2).flag(2).run()?);
        }
        Talk::Disconnect => {
            trace.note("disconnect", &disconnect(&near)?);
            trace.note("end", &far.receive_call(4).run()?);
            trace.note("send", &near.send_call(b"x").run()?);
            trace.note("abort", &far.call(Function::Disconnect).null_buffer().flag(1).run()?);
        }
        Talk::BothDisconnect => {
            trace.note("disconnect", &disconnect(&near)?);
            trace.note("disconnect", &disconnect(&far)?);
            trace.note("end", &near.receive_call(4).run()?);
            trace.note("close", &near.close()?);
            trace.note("end", &far.receive_call(4).run()?);
        }
        Talk::Close => {
            let receive = far.receive_call(4).start()?;
            trace.note("close", &near.close()?);
            trace.note("receive", &receive.wait()?);
        }
    }
    Ok(())
}

fn refused(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    let (gone, address) = client.listener(FAMILY)?;
    gone.close()?;
    let socket = make(client, category)?;
    trace.note("unbound", &socket.connect_call(address).run()?);
    socket.bind(FAMILY.loopback(0))?;
    trace.note("refused", &socket.connect_call(address).run()?);
    connected(client, trace, category).map(drop)
}

fn connect_ex(client: &Client<'_>, trace: &mut Trace, category: Category) -> Result<()> {
    let (listening, address) = client.listener(FAMILY)?;
    let near = make(client, category)?;
    near.bind(FAMILY.loopback(0))?;
    let accept = listening.accept_call(Reactions::default()).start()?;
    let done = near.call(Function::ConnectEx).address(address).input(b"first").run()?;
    trace.note("connect", &done);
    let far = listening.accepted(&accept.wait()?)?;
    trace.note("receive", &far.receive_call(5).flag(2).run()?);
    Ok(())
}

fn all() -> Reactions {
    Reactions {
        slots: Slots::ALL.0,
        accepted_slots: Slots::ALL.0,
        inspect_action: INSPECT_ACCEPT,
        ..Reactions::default()
    }
}

/// What the next such callback of a socket showed.
fn shown(
    client: &Client<'_>,
    trace: &mut Trace,
    happening: Happening,
    socket: u32,
) -> Result<probe_protocol::probe::Event> {
    let event = client.probe.events().wait_for(happening, socket)?;
    trace.say(format!(
        "{happening:?}: flags {:#x}, count {}, length {}, sum {:#x}, late {}",
        event.flags & !8,
        event.count,
        event.length,
        event.sum,
        event.late
    ));
    Ok(event)
}

fn accepts(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let (listening, address) = listener(client, all())?;
    trace.note("enable", &listening.events_call(WSK_EVENT_ACCEPT).run()?);
    let near = make(client, Category::Connection)?;
    near.bind(FAMILY.loopback(0))?.connect(address)?;
    let event = shown(client, trace, Happening::Accept, listening.id)?;
    let far = listening.accepted_as(event.other);
    trace.note("send", &near.send_call(b"hello").run()?);
    trace.note("receive", &far.receive_call(5).flag(2).run()?);
    Ok(())
}

fn inspect(client: &Client<'_>, trace: &mut Trace, action: i32) -> Result<()> {
    let reactions = Reactions {
        inspect_action: action,
        ..all()
    };
    let listening = client.socket(Category::Listen, FAMILY, reactions)?;
    trace.note(
        "set",
        &listening
            .set_call(SO_CONDITIONAL_ACCEPT, SOL_SOCKET, &[1, 0, 0, 0])
            .run()?,
    );
    let address = listening
        .bind(FAMILY.loopback(0))?
        .enable(WSK_EVENT_ACCEPT)?
        .local_address()?;
    let near = make(client, Category::Connection)?;
    let connecting = near.bind(FAMILY.loopback(0))?.connect_call(address).start()?;
    let event = shown(client, trace, Happening::Inspect, listening.id)?;
    if action == INSPECT_PEND {
        let id = &event.data[..event.data_length as usize];
        let call = listening
            .call(Function::InspectComplete)
            .numbers([INSPECT_ACCEPT.cast_unsigned(), 0, 0, 0]);
        trace.note("complete", &call.input(id).run()?);
    }
    shown(client, trace, Happening::Accept, listening.id)?;
    trace.note("connect", &connecting.wait()?);
    Ok(())
}

fn aborted(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let reactions = Reactions {
        inspect_action: INSPECT_PEND,
        ..all()
    };
    let listening = client.socket(Category::Listen, FAMILY, reactions)?;
    listening
        .set_call(SO_CONDITIONAL_ACCEPT, SOL_SOCKET, &[1, 0, 0, 0])
        .ok()?;
    let address = listening
        .bind(FAMILY.loopback(0))?
        .enable(WSK_EVENT_ACCEPT)?
        .local_address()?;
    let near = make(client, Category::Connection)?;
    let connecting = near.bind(FAMILY.loopback(0))?.connect_call(address).start()?;
    shown(client, trace, Happening::Inspect, listening.id)?;
    near.close()?;
    connecting.wait()?;
    shown(client, trace, Happening::Abort, listening.id).map(drop)
}

fn indicated(client: &Client<'_>, trace: &mut Trace, events: u32, happening: Happening) -> Result<()> {
    let (near, far) = pair(client, all())?;
    trace.note("enable", &near.events_call(events).run()?);
    match happening {
        Happening::Receive => trace.note("send", &far.send_call(b"indicated").run()?),
        Happening::Disconnect => trace.note("disconnect", &far.disconnect()?),
        _ => trace.note("send", &near.send_call(b"x").run()?),
    }
    shown(client, trace, happening, near.id).map(drop)
}

fn indicated_datagram(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let to = client.socket(Category::Datagram, FAMILY, all())?;
    let address = to.bind(FAMILY.loopback(0))?.local_address()?;
    trace.note("enable", &to.events_call(WSK_EVENT_RECEIVE_FROM).run()?);
    let (from, _) = client.datagram(FAMILY)?;
    trace.note("send", &from.send_to_call(b"indicated", address).run()?);
    shown(client, trace, Happening::ReceiveFrom, to.id).map(drop)
}

fn receive_ex(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let (near, far) = pair(client, all())?;
    let size = size_of::<u64>() as u64;
    let call = near.ioctl_call(SIO_WSK_SET_RECEIVE_EX_CALLBACK).no_irp();
    trace.note(
        "set",
        &call.input_kind(Input::ReceiveExCallback, &[]).sized_input(size).run()?,
    );
    trace.note("enable", &near.events_call(WSK_EVENT_RECEIVE).run()?);
    trace.note("send", &far.send_call(b"ex").run()?);
    shown(client, trace, Happening::ReceiveEx, near.id).map(drop)
}

fn retaining() -> Reactions {
    Reactions {
        take: Take::Retain as u32,
        ..all()
    }
}

fn retained(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let (near, far) = pair(client, retaining())?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"held")?;
    shown(client, trace, Happening::Receive, near.id)?;
    client.probe.events().within(500, Happening::Returned, near.id)?;
    trace.say(format!("released {}", near.release(8, false)?.count));
    Ok(())
}

fn retained_datagram(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let to = client.socket(Category::Datagram, FAMILY, retaining())?;
    let address = to
        .bind(FAMILY.loopback(0))?
        .enable(WSK_EVENT_RECEIVE_FROM)?
        .local_address()?;
    let (from, _) = client.datagram(FAMILY)?;
    from.send_to(b"held", address)?;
    shown(client, trace, Happening::ReceiveFrom, to.id)?;
    client.probe.events().within(500, Happening::Returned, to.id)?;
    trace.say(format!("released {}", to.release(8, true)?.count));
    Ok(())
}

/// How a client hands over an IRP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Deep,
    Styles,
    Reused,
    PassedDown,
    AtDispatch,
    None,
}

fn shapes(client: &Client<'_>, trace: &mut Trace, shape: Shape) -> Result<()> {
    let socket = make(client, Category::Datagram)?;
    let styles = [Style::AlwaysWaits, Style::WaitsIfPending, Style::WokenIfPendingReturned];
    let calls = [
        ("set", socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])),
        ("get", socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4)),
        ("remote", socket.receive_from_call(4)),
        ("bind", socket.bind_call(FAMILY.loopback(0))),
        ("local", socket.call(Function::GetLocalAddress)),
    ];
    for (name, call) in calls {
        match shape {
            Shape::Deep => trace.note(name, &call.deep_irp().run()?),
            Shape::Styles if name == "bind" => trace.note(name, &call.run()?),
            Shape::Styles => {
                for style in styles {
                    trace.note(name, &call.clone().style(style).run()?);
                }
            }
            Shape::Reused => {
                let request = call.prepare()?;
                for _ in 0..2 {
                    trace.note(name, &request.launch()?);
                }
                request.free()?;
            }
            Shape::PassedDown => {
                let above = client.probe.pass_down(call.prepare()?.request)?;
                trace.say(format!("{name}: {:#x}, {}", above.status, above.information));
            }
            Shape::AtDispatch => trace.note(name, &call.at_dispatch().run()?),
            Shape::None => {
                let done = call.no_irp().run()?;
                trace.say(format!("{name}: {:#x}", done.outcome.returned));
            }
        }
    }
    Ok(())
}

fn pending(client: &Client<'_>, trace: &mut Trace, first: bool) -> Result<()> {
    let [listening, near, _far] = connected(client, trace, Category::Connection)?;
    let (datagram, _) = client.datagram(FAMILY)?;
    let calls = [
        (listening, listening.accept_call(Reactions::default())),
        (near, near.receive_call(4)),
        (datagram, datagram.receive_from_call(4)),
    ];
    for (socket, call) in calls {
        if first {
            trace.note("cancelled", &call.cancel_first().run()?);
        } else {
            let request = call.start()?;
            trace.note("close", &socket.close()?);
            trace.note("pending", &request.wait()?);
        }
    }
    Ok(())
}

fn descriptors(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let descriptor = [1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let handle = client.cache_sd(&descriptor)?;
    let socket = make(client, Category::Datagram)?;
    let set = socket.control(0, crate::wsk::SO_WSK_SECURITY, SOL_SOCKET);
    trace.note(
        "set",
        &set.input_kind(Input::Handle, &handle.to_le_bytes())
            .sized_input(8)
            .run()?,
    );
    trace.note("close", &socket.close()?);
    trace.note("release", &client.release_sd(handle)?);
    Ok(())
}

fn dead(client: &Client<'_>, trace: &mut Trace) -> Result<()> {
    let netio = Netio::open()?;
    let (near, _far) = pair(client, all())?;
    near.enable(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT)?;
    let address = near.local_address()?;
    trace.say(format!("hit {}", netio.force_close(address, 1)?));
    shown(client, trace, Happening::Receive, near.id)?;
    trace.note("send", &near.send_call(b"x").run()?);
    trace.note("get", &near.get_call(SO_RCVBUF, SOL_SOCKET, 4).run()?);
    trace.note("close", &near.close()?);
    Ok(())
}

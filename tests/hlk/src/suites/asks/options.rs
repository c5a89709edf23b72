//! Questions about options.

use anyhow::Result;
use probe_protocol::probe::{Category, Happening};

use super::super::callbacks::ALL;
use super::{ask, direct, note, told};
use crate::context::Context;
use crate::probe::{Client, Family, Socket};
use crate::runner::tests;
use crate::wsk::{
    NO_SUCH_OPTION, SO_BROADCAST, SO_CONDITIONAL_ACCEPT, SO_DEBUG, SO_DONTLINGER, SO_DONTROUTE, SO_EXCLUSIVEADDRUSE,
    SO_KEEPALIVE, SO_LINGER, SO_OOBINLINE, SO_RCVBUF, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_WSK_SECURITY,
    SOL_SOCKET, WSK_EVENT_ACCEPT,
};

tests! {
    "asks";
    @60 odd_requests, Direct, "question Q1", "statuses of malformed, misplaced and late option requests";
    booleans, Direct, "question Q2", "what a boolean reads back";
    @120 undocumented_options, Direct, "question Q4", "options that the WSK pages do not list";
    missing_irp, Direct, "question Q5", "a set and a get without an IRP";
    linger_time, Direct, "question Q6", "SO_LINGER before and after SO_DONTLINGER";
    odd_lengths, Direct, "question Q7", "values after sets of length 0 and -1";
    odd_sizes, Direct, "question Q8", "negative and huge buffer sizes";
    other_types, Direct, "question Q9", "options of the other socket type or family";
    inherited, Direct, "question Q10", "an accepted socket's options";
    binds, Direct, "question Q11", "binds that collide";
    random_port, Direct, "question Q12", "SO_RANDOMIZE_PORT after SO_REUSE_UNICASTPORT";
}

const SO_TYPE: u32 = 0x1008;
const SO_ERROR: u32 = 0x1007;
const SO_RANDOMIZE_PORT: u32 = 0x3005;
const SO_REUSE_UNICASTPORT: u32 = 0x3007;
const ONE: [u8; 4] = [1, 0, 0, 0];
const UNDOCUMENTED: [(&str, u32); 13] = [
    ("SO_DEBUG", SO_DEBUG),
    ("SO_DONTROUTE", SO_DONTROUTE),
    ("SO_LINGER", SO_LINGER),
    ("SO_DONTLINGER", SO_DONTLINGER),
    ("SO_OOBINLINE", SO_OOBINLINE),
    ("SO_SNDBUF", SO_SNDBUF),
    ("SO_ERROR", SO_ERROR),
    ("SO_TYPE", SO_TYPE),
    ("SO_MAX_MSG_SIZE", 0x2003),
    ("SO_COMPARTMENT_ID", 0x3004),
    ("SO_RANDOMIZE_PORT", SO_RANDOMIZE_PORT),
    ("SO_PORT_SCALABILITY", 0x3006),
    ("SO_REUSE_UNICASTPORT", SO_REUSE_UNICASTPORT),
];

/// Writes down what an option reads, in a buffer of `room` bytes.
fn read(question: &'static str, case: &str, socket: &Socket<'_>, code: u32, room: u32) {
    let done = socket
        .get_call(code, SOL_SOCKET, room)
        .unchecked()
        .timeout(2000)
        .attempt();
    let seen = match done {
        Ok(done) if done.result() >= 0 => format!("{} ({} bytes)", done.value(), done.information()),
        Ok(done) => told(&done),
        Err(error) => format!("{error:#}"),
    };
    note(question, case, seen);
}

fn odd_requests(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let listener = client.listen_socket(Family::V4)?;
    for size in [0, 1, 2, 3, 8] {
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0];
        let set = listener.set_call(SO_REUSEADDR, SOL_SOCKET, &bytes[..size]);
        ask("Q1", format!("set SO_REUSEADDR, InputSize {size}"), set);
        let set = client
            .connection_socket(Family::V4)?
            .set_call(SO_RCVBUF, SOL_SOCKET, &bytes[..size]);
        ask("Q1", format!("set SO_RCVBUF, InputSize {size}"), set);
    }
    for room in [0, 1, 3, 8] {
        let get = listener.get_call(SO_REUSEADDR, SOL_SOCKET, room);
        ask("Q1", format!("get SO_REUSEADDR, OutputSize {room}"), get);
    }
    let (set, get) = (0, 1);
    ask(
        "Q1",
        "set SO_REUSEADDR, NULL buffer, InputSize 4",
        listener.control(set, SO_REUSEADDR, SOL_SOCKET).sized_input(4),
    );
    ask(
        "Q1",
        "get SO_REUSEADDR, NULL buffer, OutputSize 4",
        listener.control(get, SO_REUSEADDR, SOL_SOCKET).sized_output(4),
    );
    ask("Q1", "ioctl of an unknown code", listener.ioctl_call(0x9800_7ABC));
    ask(
        "Q1",
        "an unknown request type",
        listener.control(7, SO_REUSEADDR, SOL_SOCKET).input(&ONE),
    );
    ask(
        "Q1",
        "set of an unknown option",
        listener.set_call(NO_SUCH_OPTION, SOL_SOCKET, &ONE),
    );
    ask(
        "Q1",
        "set of an unknown level",
        listener.set_call(SO_REUSEADDR, 0x7ABC, &ONE),
    );
    let connection = client.connection_socket(Family::V4)?;
    ask(
        "Q1",
        "set SO_BROADCAST, connection socket",
        connection.set_call(SO_BROADCAST, SOL_SOCKET, &ONE),
    );
    ask(
        "Q1",
        "set SO_KEEPALIVE, listening socket",
        listener.set_call(SO_KEEPALIVE, SOL_SOCKET, &ONE),
    );
    let datagram = client.datagram_socket(Family::V4)?;
    ask(
        "Q1",
        "set SO_CONDITIONAL_ACCEPT, datagram socket",
        datagram.set_call(SO_CONDITIONAL_ACCEPT, SOL_SOCKET, &ONE),
    );
    late(&client)?;
    excluded(&client)
}

fn late(client: &Client<'_>) -> Result<()> {
    let bound = client.listen_socket(Family::V4)?;
    bound.bind(Family::V4.loopback(0))?;
    for (name, code) in [
        ("SO_REUSEADDR", SO_REUSEADDR),
        ("SO_EXCLUSIVEADDRUSE", SO_EXCLUSIVEADDRUSE),
        ("SO_CONDITIONAL_ACCEPT", SO_CONDITIONAL_ACCEPT),
        ("SO_WSK_SECURITY", SO_WSK_SECURITY),
    ] {
        let set = bound.set_call(code, SOL_SOCKET, &ONE);
        ask("Q1", format!("set {name} after WskBind"), set);
    }
    Ok(())
}

fn excluded(client: &Client<'_>) -> Result<()> {
    let options = [
        ("SO_REUSEADDR", SO_REUSEADDR),
        ("SO_EXCLUSIVEADDRUSE", SO_EXCLUSIVEADDRUSE),
    ];
    for (first, second) in [(options[0], options[1]), (options[1], options[0])] {
        let socket = client.datagram_socket(Family::V4)?;
        socket.set(first.1, 1)?;
        ask(
            "Q1",
            format!("set {} after {}", second.0, first.0),
            socket.set_call(second.1, SOL_SOCKET, &ONE),
        );
    }
    Ok(())
}

fn booleans(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let connection = client.connection_socket(Family::V4)?;
    let datagram = client.datagram_socket(Family::V4)?;
    for (name, code, socket) in [
        ("SO_KEEPALIVE", SO_KEEPALIVE, connection),
        ("SO_BROADCAST", SO_BROADCAST, datagram),
        ("SO_REUSEADDR", SO_REUSEADDR, datagram),
    ] {
        for value in [2u32, 0x100, 0] {
            ask(
                "Q2",
                format!("set {name} to {value:#x}"),
                socket.set_call(code, SOL_SOCKET, &value.to_le_bytes()),
            );
            read(
                "Q2",
                &format!("get {name} in 4 bytes after {value:#x}"),
                &socket,
                code,
                4,
            );
        }
        ask(
            "Q2",
            format!("set {name} to one byte 1"),
            socket.set_call(code, SOL_SOCKET, &[1]),
        );
        read("Q2", &format!("get {name} in 4 bytes after one byte"), &socket, code, 4);
        read("Q2", &format!("get {name} in 1 byte"), &socket, code, 1);
    }
    Ok(())
}

fn undocumented_options(context: &Context) -> Result<()> {
    let client = direct(context)?;
    for (kind, socket) in [
        ("connection", client.connection_socket(Family::V4)?),
        ("datagram", client.datagram_socket(Family::V4)?),
    ] {
        for (name, code) in UNDOCUMENTED {
            read("Q4", &format!("get {name}, {kind}"), &socket, code, 4);
            ask(
                "Q4",
                format!("set {name} to 1, {kind}"),
                socket.set_call(code, SOL_SOCKET, &ONE),
            );
        }
    }
    Ok(())
}

fn missing_irp(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let socket = client.datagram_socket(Family::V4)?;
    let set = socket.set_call(SO_REUSEADDR, SOL_SOCKET, &ONE);
    ask("Q5", "set SO_REUSEADDR without an IRP", set.no_irp());
    let get = socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4);
    ask("Q5", "get SO_REUSEADDR without an IRP", get.output_returned().no_irp());
    Ok(())
}

fn linger_time(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let fresh = client.connection_socket(Family::V4)?;
    read("Q6", "get SO_LINGER of a fresh socket", &fresh, SO_LINGER, 4);
    ask(
        "Q6",
        "set SO_DONTLINGER 0 on it",
        fresh.set_call(SO_DONTLINGER, SOL_SOCKET, &[0; 4]),
    );
    read("Q6", "get SO_LINGER then", &fresh, SO_LINGER, 4);
    let socket = client.connection_socket(Family::V4)?;
    for (case, code, value) in [
        ("set SO_LINGER {1,7}", SO_LINGER, [1, 0, 7, 0]),
        ("then set SO_DONTLINGER 1", SO_DONTLINGER, ONE),
        ("then set SO_DONTLINGER 0", SO_DONTLINGER, [0; 4]),
    ] {
        ask("Q6", case, socket.set_call(code, SOL_SOCKET, &value));
        read("Q6", "get SO_LINGER then", &socket, SO_LINGER, 4);
    }
    Ok(())
}

fn odd_lengths(context: &Context) -> Result<()> {
    let client = direct(context)?;
    for before in [0, 1] {
        let socket = client.datagram_socket(Family::V4)?;
        socket.set(SO_BROADCAST, before)?;
        let set = socket.set_call(SO_BROADCAST, SOL_SOCKET, &ONE).sized_input(0);
        ask("Q7", format!("set SO_BROADCAST, InputSize 0, was {before}"), set);
        read("Q7", "get it then", &socket, SO_BROADCAST, 4);
    }
    if !context.risky() {
        note(
            "Q7",
            "InputSize -1",
            "not asked: a provider that reads that much stops the system; --risky asks",
        );
        return Ok(());
    }
    for (name, code, socket) in [
        ("SO_BROADCAST", SO_BROADCAST, client.datagram_socket(Family::V4)?),
        ("SO_KEEPALIVE", SO_KEEPALIVE, client.connection_socket(Family::V4)?),
        ("SO_RCVBUF", SO_RCVBUF, client.datagram_socket(Family::V4)?),
    ] {
        let set = socket.set_call(code, SOL_SOCKET, &ONE).sized_input(u64::MAX);
        ask("Q7", format!("set {name} to 1, InputSize -1"), set);
        read("Q7", "get it then", &socket, code, 4);
    }
    Ok(())
}

fn odd_sizes(context: &Context) -> Result<()> {
    let client = direct(context)?;
    for (name, code) in [("SO_RCVBUF", SO_RCVBUF), ("SO_SNDBUF", SO_SNDBUF)] {
        for value in [u32::MAX, 0x8000_0000, 0x7FFF_FFFF, 0] {
            let socket = client.connection_socket(Family::V4)?;
            ask(
                "Q8",
                format!("set {name} to {value:#x}"),
                socket.set_call(code, SOL_SOCKET, &value.to_le_bytes()),
            );
            read("Q8", "get it then", &socket, code, 4);
        }
    }
    Ok(())
}

fn other_types(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let connection = client.connection_socket(Family::V4)?;
    ask(
        "Q9",
        "set SO_BROADCAST on a stream",
        connection.set_call(SO_BROADCAST, SOL_SOCKET, &ONE),
    );
    let datagram = client.datagram_socket(Family::V4)?;
    for (name, code) in [
        ("SO_DONTLINGER", SO_DONTLINGER),
        ("SO_OOBINLINE", SO_OOBINLINE),
        ("SO_LINGER", SO_LINGER),
    ] {
        ask(
            "Q9",
            format!("set {name} on a datagram socket"),
            datagram.set_call(code, SOL_SOCKET, &ONE),
        );
    }
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let socket = client.connection_socket(family)?;
        ask(
            "Q9",
            format!("set SO_DONTROUTE, {name}"),
            socket.set_call(SO_DONTROUTE, SOL_SOCKET, &ONE),
        );
    }
    Ok(())
}

fn inherited(context: &Context) -> Result<()> {
    let client = direct(context)?;
    for (name, code, value) in [
        ("SO_EXCLUSIVEADDRUSE", SO_EXCLUSIVEADDRUSE, 1u32),
        ("SO_REUSEADDR", SO_REUSEADDR, 1),
        ("SO_DONTROUTE", SO_DONTROUTE, 1),
        ("SO_DEBUG", SO_DEBUG, 1),
        ("SO_KEEPALIVE", SO_KEEPALIVE, 1),
        ("SO_OOBINLINE", SO_OOBINLINE, 1),
        ("SO_RCVBUF", SO_RCVBUF, 20_000),
        ("SO_SNDBUF", SO_SNDBUF, 20_000),
        ("SO_LINGER", SO_LINGER, 0x0007_0001),
        ("SO_RCVTIMEO", SO_RCVTIMEO, 5000),
    ] {
        let listener = client.listen_socket(Family::V4)?;
        let set = listener.set_call(code, SOL_SOCKET, &value.to_le_bytes());
        ask("Q10", format!("set {name} to {value} on the listener"), set);
        listener.bind(Family::V4.loopback(0))?;
        let (near, far) = client.pair_with(&listener, listener.local_address()?)?;
        read("Q10", &format!("get {name} of the accepted socket"), &far, code, 4);
        near.close()?;
    }
    let listener = client.socket(Category::Listen, Family::V4, ALL)?;
    listener.set(SO_CONDITIONAL_ACCEPT, 1)?;
    listener.bind(Family::V4.loopback(0))?.enable(WSK_EVENT_ACCEPT)?;
    let events = context.probe.events();
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?.connect(listener.local_address()?)?;
    let accepted = events.wait_for(Happening::Accept, listener.id)?;
    let far = listener.accepted_as(accepted.other);
    read(
        "Q10",
        "get SO_CONDITIONAL_ACCEPT of the accepted socket",
        &far,
        SO_CONDITIONAL_ACCEPT,
        4,
    );
    Ok(())
}

fn binds(context: &Context) -> Result<()> {
    let client = direct(context)?;
    for (kind, exclusive) in [("", 0), (", the first with SO_EXCLUSIVEADDRUSE", 1)] {
        let first = client.datagram_socket(Family::V4)?;
        first
            .set(SO_EXCLUSIVEADDRUSE, exclusive)?
            .bind(Family::V4.loopback(0))?;
        let taken = first.local_address()?;
        let second = client.datagram_socket(Family::V4)?;
        ask(
            "Q11",
            format!("bind to an address in use{kind}"),
            second.bind_call(taken),
        );
        let sharing = client.datagram_socket(Family::V4)?;
        sharing.set(SO_REUSEADDR, 1)?;
        ask(
            "Q11",
            format!("the same with SO_REUSEADDR{kind}"),
            sharing.bind_call(taken),
        );
        ask(
            "Q11",
            "a second bind of a socket",
            first.bind_call(Family::V4.loopback(0)),
        );
    }
    Ok(())
}

fn random_port(context: &Context) -> Result<()> {
    let client = direct(context)?;
    let socket = client.connection_socket(Family::V4)?;
    for (case, code) in [
        ("set SO_REUSE_UNICASTPORT to 1", SO_REUSE_UNICASTPORT),
        ("then set SO_RANDOMIZE_PORT to 1", SO_RANDOMIZE_PORT),
    ] {
        ask("Q12", case, socket.set_call(code, SOL_SOCKET, &ONE));
    }
    Ok(())
}

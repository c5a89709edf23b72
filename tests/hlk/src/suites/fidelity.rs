//! Scripts run on both paths: whatever a client can observe of the system's provider, it observes through the filter.

use anyhow::Result;
use probe_protocol::probe::{Category, Function, Input, Reactions};

use crate::context::Context;
use crate::fidelity::{Trace, compare};
use crate::probe::{Client, Family};
use crate::runner::tests;
use crate::wsk::{
    NO_SUCH_OPTION, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, SIO_WSK_QUERY_RECEIVE_BACKLOG, SIO_WSK_REGISTER_EXTENSION,
    SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS, SO_BROADCAST, SO_CONDITIONAL_ACCEPT, SO_DEBUG,
    SO_DONTROUTE, SO_EXCLUSIVEADDRUSE, SO_KEEPALIVE, SO_OOBINLINE, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF, SOL_SOCKET,
};

tests! {
    "fidelity";
    options_by_category, Filtered, "interposition", "set and get of every documented option on every category";
    lengths, Filtered, "tested lengths", "every length of set and get";
    odd_requests, Filtered, "WskControlSocket", "unknown request types, levels, codes and NULL buffers";
    extra_arguments, Filtered, "WskControlSocket", "both buffers at once, output size with an IRP, oversized buffers";
    create_arguments, Filtered, "WSK: functions", "families, types, protocols and flags that do not fit";
    ioctls, Filtered, "WSK: ioctls", "the WSK ioctls, in and out of season";
    states, Filtered, "WSK: functions", "every function in the wrong state";
    streams, Filtered, "WSK: functions", "a stream conversation, with disconnects and resets";
    datagrams, Filtered, "WSK: functions", "datagrams: empty, truncated, in several MDLs, to fixed addresses";
    flags_and_shapes, Filtered, "WSK: functions", "flags, offsets and MDL chains of data functions";
    client_controls, Filtered, "WSK: functions", "WskControlClient";
    sharing, Filtered, "address sharing", "who may bind after whom";
}

const CATEGORIES: [Category; 4] = [
    Category::Listen,
    Category::Connection,
    Category::Datagram,
    Category::Stream,
];
const OPTIONS: [u32; 11] = [
    SO_REUSEADDR,
    SO_EXCLUSIVEADDRUSE,
    SO_KEEPALIVE,
    SO_BROADCAST,
    SO_RCVBUF,
    SO_SNDBUF,
    SO_CONDITIONAL_ACCEPT,
    SO_DONTROUTE,
    SO_OOBINLINE,
    SO_DEBUG,
    NO_SUCH_OPTION,
];

fn options_by_category(context: &Context) -> Result<()> {
    for family in Family::BOTH {
        compare(&context.probe, |client, trace| {
            for category in CATEGORIES {
                for option in OPTIONS {
                    let socket = client.socket(category, family, Reactions::default())?;
                    let what = |verb: &str| format!("{family} {category:?} {verb} {option:#x}");
                    trace.note(&what("get"), &socket.get_call(option, SOL_SOCKET, 4).run()?);
                    trace.note(&what("set"), &socket.set_call(option, SOL_SOCKET, &[1, 0, 0, 0]).run()?);
                    trace.note(&what("get"), &socket.get_call(option, SOL_SOCKET, 4).run()?);
                    socket.bind(family.loopback(0))?;
                    trace.note(
                        &what("late set"),
                        &socket.set_call(option, SOL_SOCKET, &[0, 0, 0, 0]).run()?,
                    );
                    trace.note(&what("late get"), &socket.get_call(option, SOL_SOCKET, 4).run()?);
                    socket.close()?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn lengths(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        let socket = client.datagram_socket(Family::V4)?;
        let stream = client.connection_socket(Family::V4)?;
        for (name, socket, option) in [
            ("SO_BROADCAST", socket, SO_BROADCAST),
            ("SO_KEEPALIVE", stream, SO_KEEPALIVE),
            ("SO_RCVBUF", socket, SO_RCVBUF),
        ] {
            for length in [0_u64, 1, 2, 3, 4, 5, 8, 16, 64, 65] {
                let bytes = vec![1; 80];
                let set = socket.set_call(option, SOL_SOCKET, &bytes).sized_input(length).run()?;
                trace.note(&format!("{name} set of {length}"), &set);
                let get = socket
                    .get_call(option, SOL_SOCKET, 80)
                    .sized_output(length)
                    .fill(0xEE)
                    .run()?;
                trace.note(&format!("{name} get of {length}"), &get);
            }
        }
        Ok(())
    })
}

fn odd_requests(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        for category in CATEGORIES {
            let socket = client.socket(category, Family::V4, Reactions::default())?;
            for request in [3, 4, 99, u32::MAX] {
                let done = socket
                    .control(request, SO_REUSEADDR, SOL_SOCKET)
                    .input(&[0; 4])
                    .output(4)
                    .run()?;
                trace.note(&format!("{category:?} request type {request}"), &done);
            }
            for level in [0, 6, 17, 41, 0x8000, u32::MAX] {
                let set = socket.set_call(NO_SUCH_OPTION, level, &[0; 4]).run()?;
                trace.note(&format!("{category:?} set at level {level}"), &set);
                let get = socket.get_call(NO_SUCH_OPTION, level, 4).run()?;
                trace.note(&format!("{category:?} get at level {level}"), &get);
            }
            for code in [0, 1, 0x8F00_00FF, u32::MAX] {
                let done = socket.ioctl_call(code).input(&[0; 8]).output(8).run()?;
                trace.note(&format!("{category:?} ioctl {code:#x}"), &done);
            }
            let null = socket
                .control(0, SO_REUSEADDR, SOL_SOCKET)
                .input_kind(Input::Null, &[])
                .sized_input(0)
                .run()?;
            trace.note(&format!("{category:?} set of nothing"), &null);
            let null = socket.control(1, SO_REUSEADDR, SOL_SOCKET).run()?;
            trace.note(&format!("{category:?} get of nothing"), &null);
        }
        Ok(())
    })
}

fn extra_arguments(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        let socket = client.datagram_socket(Family::V4)?;
        let both = |request| {
            socket
                .control(request, SO_BROADCAST, SOL_SOCKET)
                .input(&[1, 0, 0, 0])
                .output(4)
                .fill(0x55)
        };
        trace.note("set with an output buffer", &both(0).run()?);
        trace.note("get with an input buffer", &both(1).run()?);
        let done = both(1).output_returned().run()?;
        trace.note("get with an IRP and OutputSizeReturned", &done);
        trace.note("large get", &socket.get_call(SO_BROADCAST, SOL_SOCKET, 4096).run()?);
        trace.note(
            "large set",
            &socket.set_call(SO_BROADCAST, SOL_SOCKET, &[0; 4096]).run()?,
        );
        trace.note("get", &socket.get_call(SO_BROADCAST, SOL_SOCKET, 4).run()?);
        Ok(())
    })
}

fn create_arguments(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        let rows = [
            [0, 1, 6, 1],
            [1, 1, 6, 1],
            [2, 0, 0, 1],
            [2, 1, 17, 1],
            [2, 2, 17, 1],
            [2, 2, 17, 2],
            [2, 1, 6, 4],
            [2, 3, 1, 4],
            [2, 1, 6, 3],
            [2, 1, 6, 16],
            [2, 1, 6, 0xFFFF_FFFF],
            [99, 1, 6, 1],
            [23, 2, 17, 4],
            [2, 7, 0, 4],
        ];
        for row in rows {
            let done = client.call(Function::Socket).numbers(row).run()?;
            trace.note(&format!("WskSocket{row:?}"), &done);
        }
        for (name, call) in [
            ("basic with context", client.create(Category::Basic, Family::V4)),
            (
                "listen without dispatch",
                client.create(Category::Listen, Family::V4).null_dispatch(),
            ),
            (
                "datagram without context",
                client.create(Category::Datagram, Family::V4).null_context(),
            ),
            (
                "with an owner",
                client.create(Category::Datagram, Family::V4).with_process(),
            ),
        ] {
            trace.note(name, &call.run()?);
        }
        Ok(())
    })
}

fn ioctls(context: &Context) -> Result<()> {
    const CODES: [u32; 4] = [
        SIO_WSK_QUERY_IDEAL_SEND_BACKLOG,
        SIO_WSK_QUERY_RECEIVE_BACKLOG,
        SIO_WSK_SET_REMOTE_ADDRESS,
        SIO_WSK_SET_SENDTO_ADDRESS,
    ];
    compare(&context.probe, |client, trace| {
        let address = Family::V4.loopback(9).bytes().0;
        for category in CATEGORIES {
            let socket = client.socket(category, Family::V4, Reactions::default())?;
            for code in CODES {
                let done = socket.ioctl_call(code).input(&address[..16]).output(8).run()?;
                trace.note(&format!("{category:?} unbound {code:#x}"), &done);
            }
            socket.bind(Family::V4.loopback(0))?;
            for code in CODES {
                let done = socket.ioctl_call(code).input(&address[..16]).output(8).run()?;
                trace.note(&format!("{category:?} bound {code:#x}"), &done);
            }
            let nobody = [0x77; 16];
            let done = socket
                .ioctl_call(SIO_WSK_REGISTER_EXTENSION)
                .input_kind(Input::Extension, &nobody)
                .sized_input(24)
                .output(16)
                .no_irp()
                .run()?;
            trace.note(&format!("{category:?} unknown extension"), &done);
        }
        Ok(())
    })
}

fn states(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        for category in [Category::Connection, Category::Stream] {
            let socket = client.socket(category, Family::V4, Reactions::default())?;
            for round in ["unbound", "bound"] {
                let what = |verb: &str| format!("{category:?} {round} {verb}");
                trace.note(&what("remote address"), &socket.call(Function::GetRemoteAddress).run()?);
                trace.note(&what("send"), &socket.send_call(b"x").run()?);
                trace.note(&what("receive"), &socket.receive_call(4).run()?);
                trace.note(
                    &what("disconnect"),
                    &socket.call(Function::Disconnect).null_buffer().run()?,
                );
                if round == "unbound" {
                    trace.note(&what("local address"), &socket.call(Function::GetLocalAddress).run()?);
                    socket.bind(Family::V4.loopback(0))?;
                }
            }
            trace.note("bind again", &socket.bind_call(Family::V4.loopback(0)).run()?);
        }
        let listener = client.listen_socket(Family::V4)?;
        trace.note(
            "accept unbound",
            &listener.accept_call(Reactions::default()).timeout(500).run()?,
        );
        let datagram = client.datagram_socket(Family::V4)?;
        trace.note(
            "send unbound",
            &datagram.send_to_call(b"x", Family::V4.loopback(9)).run()?,
        );
        trace.note("receive unbound", &datagram.receive_from_call(4).run()?);
        trace.note("bind elsewhere", &datagram.bind_call(Family::V6.loopback(0)).run()?);
        Ok(())
    })
}

fn streams(context: &Context) -> Result<()> {
    for family in Family::BOTH {
        compare(&context.probe, |client, trace| {
            let (_listener, near, far) = client.pair(family)?;
            trace.note("send", &near.send_call(b"a stream").run()?);
            trace.note("receive", &far.receive_call(64).run()?);
            trace.note("send nothing", &near.send_call(b"").run()?);
            trace.note(
                "keepalive",
                &near.set_call(SO_KEEPALIVE, SOL_SOCKET, &[1, 0, 0, 0]).run()?,
            );
            trace.note("keepalive", &near.get_call(SO_KEEPALIVE, SOL_SOCKET, 4).run()?);
            trace.note(
                "disconnect with data",
                &near.call(Function::Disconnect).input(b"the end").run()?,
            );
            trace.note("the end", &far.receive_call(64).run()?);
            trace.note("end of stream", &far.receive_call(64).run()?);
            trace.note("send after disconnect", &near.send_call(b"x").run()?);
            trace.note("send against the end", &far.send_call(b"y").run()?);
            trace.note("receive", &near.receive_call(4).run()?);
            trace.note("abort", &far.call(Function::Disconnect).null_buffer().flag(1).run()?);
            let done = near.receive_call(4).run()?;
            trace.say(format!("receive after the abort fails: {}", done.result() < 0));
            Ok(())
        })?;
    }
    Ok(())
}

fn datagrams(context: &Context) -> Result<()> {
    for family in Family::BOTH {
        compare(&context.probe, |client, trace| {
            let (sender, from) = client.datagram(family)?;
            let (receiver, to) = client.datagram(family)?;
            for data in [b"".as_slice(), b"x", &[7; 1400]] {
                trace.note("send", &sender.send_to_call(data, to).run()?);
                let done = receiver.receive_from_call(2048).run()?;
                trace.note("receive", &done);
                trace.say(format!("from the sender: {}", done.address()? == from));
            }
            trace.note("in pieces", &sender.send_to_call(&[5; 100], to).pieces(3).run()?);
            trace.note("in pieces", &receiver.receive_from_call(100).pieces(4).run()?);
            trace.note("to nowhere", &sender.call(Function::SendTo).input(b"x").run()?);
            let (bytes, length) = to.bytes();
            let fixed = sender
                .ioctl_call(SIO_WSK_SET_REMOTE_ADDRESS)
                .input(&bytes[..length as usize])
                .run()?;
            trace.note("fixed remote", &fixed);
            trace.note(
                "to the fixed remote",
                &sender.call(Function::SendTo).input(b"fixed").run()?,
            );
            trace.note("arrived", &receiver.receive_from_call(16).run()?);
            trace.note("send", &sender.send_to_call(&[9; 100], to).run()?);
            trace.note("truncated", &receiver.receive_from_call(10).run()?);
            trace.note("after it", &sender.send_to_call(b"small", to).run()?);
            trace.note("after it", &receiver.receive_from_call(16).run()?);
            Ok(())
        })?;
    }
    Ok(())
}

fn flags_and_shapes(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        let (_listener, near, far) = client.pair(Family::V4)?;
        trace.note(
            "offset",
            &near.send_call(b"skipped data").offset(8).sized_input(4).run()?,
        );
        trace.note("receive", &far.receive_call(16).run()?);
        trace.note("pieces", &near.send_call(b"one two three").pieces(3).run()?);
        trace.note("pieces", &far.receive_call(13).pieces(2).flag(2).run()?);
        trace.note("no delay", &near.send_call(b"now").flag(2).run()?);
        trace.note("receive", &far.receive_call(16).run()?);
        trace.note("unknown flags", &near.send_call(b"?").flag(0x4000_0000).run()?);
        trace.note(
            "bind flags",
            &client
                .datagram_socket(Family::V4)?
                .bind_call(Family::V4.loopback(0))
                .flag(77)
                .run()?,
        );
        Ok(())
    })
}

fn client_controls(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        for code in [0, 1, 6, 8, 99] {
            trace.note(
                &format!("client control {code}"),
                &client.control(code).output(64).run()?,
            );
        }
        trace.note("static events, no input", &client.control(7).no_irp().run()?);
        let descriptor = [1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let handle = client.cache_sd(&descriptor)?;
        trace.note("release", &client.release_sd(handle)?);
        Ok(())
    })
}

fn sharing(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        let kinds = [
            ("none", None),
            ("reuse", Some(SO_REUSEADDR)),
            ("exclusive", Some(SO_EXCLUSIVEADDRUSE)),
        ];
        for category in [Category::Listen, Category::Datagram] {
            for (first, one) in kinds {
                for (second, two) in kinds {
                    sharing_row(client, trace, category, (first, one), (second, two))?;
                }
            }
        }
        Ok(())
    })
}

type Kind = (&'static str, Option<u32>);

fn sharing_row(client: &Client<'_>, trace: &mut Trace, category: Category, first: Kind, second: Kind) -> Result<()> {
    for wildcard in [false, true] {
        let holder = client.socket(category, Family::V4, Reactions::default())?;
        if let Some(option) = first.1 {
            holder.set(option, 1)?;
        }
        let port = holder.bind(Family::V4.loopback(0))?.local_address()?.port();
        let comer = client.socket(category, Family::V4, Reactions::default())?;
        if let Some(option) = second.1 {
            comer.set(option, 1)?;
        }
        let address = if wildcard {
            Family::V4.wildcard(port)
        } else {
            Family::V4.loopback(port)
        };
        let what = format!("{category:?} {} after {}, wildcard {wildcard}", second.0, first.0);
        trace.note(&what, &comer.bind_call(address).run()?);
        comer.close()?;
        holder.close()?;
    }
    Ok(())
}

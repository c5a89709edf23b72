//! Clients that break the contract where the system's provider would survive it: so does the filter, and works on.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use probe_protocol::probe::{Category, Function, Happening, Input, Reactions, Slots, Take};
use probe_protocol::verifier::flags;
use testkernel_check::verifier::{StopCode, Verifier, text};

use super::callbacks::{listener, pair};
use crate::check;
use crate::context::{Context, skip};
use crate::fidelity::compare;
use crate::guard::under;
use crate::probe::{CallBuilder, Client, Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::{Netio, wanted_stops};
use crate::wsk::{SO_BROADCAST, SO_RCVBUF, SO_REUSEADDR, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_RECEIVE};

tests! {
    "misuse";
    another_categorys_table, Filtered, "interposition", "a function called with a socket of another category refuses, and reads no table that is shorter";
    @60 garbage_options, Filtered, "WskControlSocket", "random levels, options, lengths and bytes, in every mode, on every category";
    null_addresses, Filtered, "WSK: functions", "NULL where an address is wanted: what the provider does";
    closed_twice, Filtered, "WSK: lifetime", "a second close while the first is pending fails, and the first succeeds";
    used_after_close, Filtered, "WSK: lifetime", "a socket is used after its close has completed: the verifier's stop names the client";
    calls_during_close, Filtered, "WSK: lifetime", "calls on a socket whose close is pending complete";
    failing_callbacks, Both, "WSK: event callbacks", "callbacks that return whatever status do no harm";
    callbacks_that_set, Both, "WSK: event callbacks", "a callback that sets and gets options on its own socket";
    callbacks_that_close, Filtered, "WSK: event callbacks", "a callback that closes its own socket";
    two_clients_mixed, Filtered, "WSK: client object", "a socket outlives the call that made it, whichever client of the driver uses it";
}

const CATEGORIES: [Category; 4] = [
    Category::Listen,
    Category::Connection,
    Category::Datagram,
    Category::Stream,
];

/// The calls that a category's table has beyond the basic one.
fn calls<'p>(category: Category, socket: &Socket<'p>) -> Vec<CallBuilder<'p>> {
    let address = Family::V4.loopback(0);
    let mut all = vec![socket.bind_call(address), socket.call(Function::GetLocalAddress)];
    if matches!(category, Category::Listen | Category::Stream) {
        all.push(socket.accept_call(Reactions::default()));
    }
    match category {
        Category::Listen => {
            let inspect = socket.call(Function::InspectComplete).numbers([1, 0, 0, 0]);
            all.push(inspect.input(&[0; 16]));
        }
        Category::Datagram => all.extend([
            socket.send_to_call(b"x", address),
            socket.receive_from_call(4),
            socket.call(Function::SendMessages).input(b"x").address(address),
        ]),
        _ => all.extend([
            socket.connect_call(address),
            socket.call(Function::ConnectEx).input(b"x").address(address),
            socket.call(Function::GetRemoteAddress),
            socket.send_call(b"x"),
            socket.receive_call(4),
            socket.call(Function::SendEx).input(b"x"),
            socket.call(Function::ReceiveEx).output(4),
            socket.call(Function::Disconnect).null_buffer(),
        ]),
    }
    if category == Category::Stream {
        all.push(socket.call(Function::Listen));
    }
    all
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

fn another_categorys_table(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for owner in CATEGORIES {
        let table = client.socket(owner, Family::V4, Reactions::default())?;
        for category in CATEGORIES.into_iter().filter(|category| *category != owner) {
            let socket = client.socket(category, Family::V4, Reactions::default())?;
            for call in calls(owner, &socket) {
                for call in [call.clone(), call.at_dispatch()] {
                    call.table_of(table.id).fails_with(status::NOT_SUPPORTED)?;
                }
            }
            // What every category has, every table has.
            socket
                .set_call(SO_REUSEADDR, SOL_SOCKET, &[0; 4])
                .table_of(table.id)
                .ok()?;
            socket.close_call().table_of(table.id).ok()?;
        }
    }
    works(&client)
}

/// A small generator: the same numbers in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

fn garbage_options(context: &Context) -> Result<()> {
    let options: Vec<u32> = wskguard_core::catalogue::OPTIONS.iter().map(|row| row.code).collect();
    let mut noise = Noise(20_260);
    for mode in ["off", "audit", "compat", "strict"] {
        under(context, mode, "", |_, client| {
            for category in CATEGORIES {
                let socket = client.socket(category, Family::V4, Reactions::default())?;
                for round in 0..60 {
                    let level = noise.pick(&[SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, 0, 6, 17, 41, 0xFFFF_FFFF]);
                    let random = noise.next();
                    // Options whose values are pointers in WSK are the client's to keep in order.
                    let code = Some(noise.pick(&options)).filter(|code| !matches!(code, 0x4001 | 0x4002));
                    let code = if round % 4 == 0 {
                        random
                    } else {
                        code.unwrap_or(SO_RCVBUF)
                    };
                    if (level, code) == (SOL_SOCKET, random) && matches!(random, 0x4001 | 0x4002) {
                        continue;
                    }
                    let bytes: Vec<u8> = (0..64).map(|_| noise.next() as u8).collect();
                    let length = noise.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 16, 63, 64]);
                    let set = socket.set_call(code, level, &bytes).sized_input(length).run()?;
                    set.check_rules()?;
                    let get = socket.get_call(code, level, 64).sized_output(length).run()?;
                    get.check_rules()?;
                }
                socket.close()?;
            }
            works(client)
        })?;
    }
    Ok(())
}

fn null_addresses(context: &Context) -> Result<()> {
    compare(&context.probe, |client, trace| {
        for category in [Category::Datagram, Category::Connection, Category::Listen] {
            let socket = client.socket(category, Family::V4, Reactions::default())?;
            let bind = socket.bind_call(Family::V4.loopback(0)).null_address().run()?;
            trace.note(&format!("{category:?} bind"), &bind);
            let address = socket.call(Function::GetLocalAddress).null_address().run()?;
            trace.note(&format!("{category:?} local address"), &address);
        }
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?;
        let connect = near.connect_call(Family::V4.loopback(9)).null_address().run()?;
        trace.note("connect", &connect);
        let both = client.call(Function::SocketConnect).numbers([0, 1, 6, 0]);
        trace.note(
            "socket connect",
            &both.null_address().address2(Family::V4.loopback(9)).run()?,
        );
        let set = near.control(0, SO_REUSEADDR, SOL_SOCKET).input_kind(Input::Null, &[]);
        trace.note("set of NULL with a length", &set.sized_input(4).run()?);
        Ok(())
    })
}

fn closed_twice(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let client = context.attach()?;
    for at_dispatch in [false, true] {
        let socket = client.datagram_socket(Family::V4)?;
        netio.hold_completion(Function::CloseSocket)?;
        let first = socket.close_call().start()?;
        check::holds("pending", first.is_pending()?)?;
        let second = socket.close_call().unchecked();
        let second = if at_dispatch { second.at_dispatch() } else { second };
        let second = second.run()?;
        check::status("the second", second.result(), status::INVALID_HANDLE)?;
        netio.release(Function::CloseSocket)?;
        check::status("the first", first.wait()?.result(), status::SUCCESS)?;
    }
    works(&client)
}

/// On Windows the machine would stop, so this is for the test kernel alone; it also wants the verifier's special pool.
fn used_after_close(context: &Context) -> Result<()> {
    let Ok(verifier) = Verifier::open() else {
        return skip("the machine would stop");
    };
    if verifier.info()?.flags & flags::SPECIAL_POOL == 0 {
        return skip("without special pool nobody notices");
    }
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    check::status("close", socket.close_call().run()?.result(), status::SUCCESS)?;
    // The table lets go of an endpoint when no reader can have it any more.
    let mut guard = context.guard()?;
    let freed = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(10));
        guard.status().is_ok_and(|status| status.endpoints == 0)
    });
    check::holds("freed", freed)?;
    let stops = wanted_stops(&verifier, || {
        // The verifier says so, and lets the client read on.
        context.probe.use_closed(socket.id).map(drop)
    })?;
    let named: Vec<_> = stops
        .iter()
        .map(|stop| (stop.code, text(&stop.frames[0].module)))
        .collect();
    let expected = vec![(StopCode::PoolUseAfterFree as u32, "probe.sys".to_owned())];
    check::equal("stops", named, expected)?;
    works(&client)
}

fn calls_during_close(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    let client = context.attach()?;
    let (socket, address) = client.datagram(Family::V4)?;
    netio.hold(Function::CloseSocket)?;
    let close = socket.close_call().start()?;
    check::holds("pending", close.is_pending()?)?;
    for call in [
        socket.set_call(SO_BROADCAST, SOL_SOCKET, &[1, 0, 0, 0]),
        socket.get_call(SO_BROADCAST, SOL_SOCKET, 4),
        socket.call(Function::GetLocalAddress),
        socket.send_to_call(b"x", address),
    ] {
        call.run()?.check_rules()?;
    }
    netio.release(Function::CloseSocket)?;
    check::status("close", close.wait()?.result(), status::SUCCESS)?;
    works(&client)
}

fn failing_callbacks(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let events = context.probe.events();
    for code in [
        status::INSUFFICIENT_RESOURCES,
        status::ACCESS_DENIED,
        status::REQUEST_NOT_ACCEPTED,
    ] {
        let reactions = Reactions {
            slots: Slots::ALL.0,
            accept_status: code,
            ..Reactions::default()
        };
        let (listening, address) = listener(&client, reactions)?;
        listening.enable(WSK_EVENT_ACCEPT)?;
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?.connect(address)?;
        events.wait_for(Happening::Returned, listening.id)?;
        near.close()?;
        listening.close()?;
    }
    works(&client)
}

/// A connection whose receive callback launches the request that `make` builds; how that ended.
fn launched_in_callback(
    context: &Context,
    client: &Client<'_>,
    make: impl for<'p> Fn(&Socket<'p>) -> CallBuilder<'p>,
) -> Result<i32> {
    let events = context.probe.events();
    let reactions = Reactions {
        slots: Slots::ALL.0,
        ..Reactions::default()
    };
    let (near, far) = pair(client, reactions)?;
    let request = make(&near).prepare()?;
    near.set_reactions(Reactions {
        launch: request.request,
        launch_on: Happening::Receive as u32,
        take: Take::All as u32,
        ..reactions
    })?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"go")?;
    events.wait_for(Happening::Returned, near.id)?;
    let done = request.wait()?;
    done.check_rules()?;
    far.close()?;
    Ok(done.result())
}

fn callbacks_that_set(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let results = [
        launched_in_callback(context, &client, |socket| {
            socket.set_call(SO_RCVBUF, SOL_SOCKET, &[0, 64, 0, 0])
        })?,
        launched_in_callback(context, &client, |socket| socket.get_call(SO_RCVBUF, SOL_SOCKET, 4))?,
        launched_in_callback(context, &client, |socket| socket.call(Function::GetLocalAddress))?,
        launched_in_callback(context, &client, |socket| socket.send_call(b"back"))?,
    ];
    check::equal("results", results, [0; 4])?;
    works(&client)
}

fn callbacks_that_close(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for _ in 0..5 {
        check::status(
            "close",
            launched_in_callback(context, &client, |socket| socket.close_call())?,
            status::SUCCESS,
        )?;
    }
    works(&client)
}

fn two_clients_mixed(context: &Context) -> Result<()> {
    let (first, second) = (context.attach()?, context.attach()?);
    let socket = first.datagram_socket(Family::V4)?;
    let other = second.listen_socket(Family::V4)?;
    // Tables are one for all clients, so each serves the other's sockets.
    let table = second.datagram_socket(Family::V4)?;
    socket.bind_call(Family::V4.loopback(0)).table_of(table.id).ok()?;
    second.datagram_socket(Family::V4)?.close()?;
    check::status("the second leaves", second.detach(300)?.status, status::TIMEOUT)?;
    for socket in [other, table] {
        socket.close()?;
    }
    check::status("the second leaves", second.detach(5000)?.status, status::SUCCESS)?;
    socket.set(SO_BROADCAST, 1)?;
    works(&first)
}

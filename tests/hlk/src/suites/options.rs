//! The semantics of the SOL_SOCKET options as clients of the filter see them, in the modes that the policy can ask for.

use anyhow::{Context as _, Result};
use probe_protocol::netio::{Action, RuleFlags};
use probe_protocol::probe::{Category, Function, Happening, Reactions, Slots};

use wskguard_abi::AuditEntry;

use super::callbacks::{listener, pair};
use crate::check;
use crate::context::Context;
use crate::guard::{Guard, under};
use crate::probe::{Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{
    SO_BROADCAST, SO_DEBUG, SO_DONTLINGER, SO_DONTROUTE, SO_EXCLUSIVEADDRUSE, SO_KEEPALIVE, SO_LINGER, SO_OOBINLINE,
    SO_RCVBUF, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_SNDTIMEO, SOL_SOCKET, WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT,
};

tests! {
    "options";
    linger_and_dontlinger, Filtered, "coupled options", "one state, and the previous time-out is reinstated";
    linger_on_datagram, Filtered, "SOL_SOCKET options", "linger is not for datagram sockets";
    dontroute, Filtered, "SOL_SOCKET options", "stored for AF_INET, refused for AF_INET6";
    debug_turns_on_verbose_audit, Filtered, "decisions and records", "SO_DEBUG reads back 1 and makes the endpoint's requests recorded";
    reuse_xor_exclusive, Filtered, "coupled options", "each excludes the other until it is cleared";
    reuse_after_bind, Filtered, "SOL_SOCKET options", "set after the bind: success, without effect";
    booleans_by_length, Filtered, "tested lengths", "class A in compat: any length, any non-zero byte";
    keepalive_by_length, Filtered, "tested lengths", "class B in compat: one byte is read and written";
    lengths_in_strict, Filtered, "LPWSPSetSockOpt", "strict: less than the type is a fault";
    unknown_option, Filtered, "LPWSPSetSockOpt", "strict: unknown is not supported";
    levels, Filtered, "LPWSPSetSockOpt", "strict: a level that no protocol has is invalid";
    buffers_are_granted, Filtered, "SOL_SOCKET options", "SO_RCVBUF and SO_SNDBUF read what was granted";
    lacking_options_are_answered, Filtered, "decisions and records", "what the provider lacks is answered from the record";
    pvd_config, Filtered, "decisions and records", "PVD_CONFIG is the endpoint's own configuration";
    group_priority, Filtered, "SOL_SOCKET options", "SO_GROUP_PRIORITY is reserved";
    inherited_by_accept, Filtered, "inheritance", "accepted sockets have the listener's options";
    off_forwards_everything, Filtered, "decisions and records", "off: not even a wrong request is refused";
    audit_refuses_nothing, Filtered, "decisions and records", "audit: forwarded, and recorded as a breach";
    endpoint_shows_options, Filtered, "decisions and records", "the endpoint's record lists options, port and address";
    accepted_shows_its_address, Filtered, "decisions and records", "an accepted connection is listed with its local port and address";
    linger_zero_resets, Filtered, "interposition", "linger {1,0}: the close resets";
    linger_waits, Filtered, "interposition", "linger {1,t}: the close disconnects first";
    linger_is_bounded, Filtered, "interposition", "linger {1,t}: a disconnect that hangs is cancelled after t, and the close goes on";
    linger_without_disconnect, Filtered, "interposition", "linger {1,t}: a disconnect that fails, with or without completing, does not keep the close";
    linger_inherited, Filtered, "inheritance", "an accepted connection lingers as its listener says";
    linger_by_mode, Filtered, "interposition", "linger at close in compat and strict only, and of connections only";
    linger_never_set, Filtered, "interposition", "without linger WSK's own close is left alone";
    keepalive_failure, Filtered, "interposition", "strict: after a keep-alive failure calls fail as not connected";
    other_failures_are_not_keepalive, Filtered, "interposition", "a reset is no keep-alive failure";
}

const ONE: [u8; 4] = [1, 0, 0, 0];

/// Audit records of this option since then.
fn records(guard: &mut Guard, code: u32) -> Result<Vec<AuditEntry>> {
    let mut all = guard.audited()?;
    all.retain(|record| record.code == code);
    Ok(all)
}

/// A struct linger.
fn linger(onoff: u16, seconds: u16) -> [u8; 4] {
    let [a, b] = onoff.to_le_bytes();
    let [c, d] = seconds.to_le_bytes();
    [a, b, c, d]
}

fn linger_of(socket: &Socket<'_>) -> Result<(u16, u16)> {
    let done = socket.get_call(SO_LINGER, SOL_SOCKET, 4).ok()?;
    let [a, b, c, d] = *done.output.first_chunk::<4>().context("four bytes")?;
    Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
}

fn linger_and_dontlinger(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.connection_socket(Family::V4)?;
        check::equal("SO_DONTLINGER at first", socket.get(SO_DONTLINGER)?, 1)?;
        socket.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 7)).ok()?;
        check::equal("SO_LINGER", linger_of(&socket)?, (1, 7))?;
        check::equal("SO_DONTLINGER", socket.get(SO_DONTLINGER)?, 0)?;
        check::equal("off", socket.set(SO_DONTLINGER, 1)?.get(SO_DONTLINGER)?, 1)?;
        check::equal("off", linger_of(&socket)?.0, 0)?;
        socket.set(SO_DONTLINGER, 0)?;
        check::equal("reinstated", linger_of(&socket)?, (1, 7))
    })
}

fn linger_on_datagram(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket
            .get_call(SO_LINGER, SOL_SOCKET, 4)
            .fails_with(status::NOT_SUPPORTED)?;
        Ok(())
    })
}

fn dontroute(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let inet = client.datagram_socket(Family::V4)?;
        check::equal("AF_INET", inet.set(SO_DONTROUTE, 1)?.get(SO_DONTROUTE)? & 0xFF, 1)?;
        let inet6 = client.datagram_socket(Family::V6)?;
        inet6
            .set_call(SO_DONTROUTE, SOL_SOCKET, &ONE)
            .fails_with(status::NOT_SUPPORTED)?;
        Ok(())
    })
}

fn debug_turns_on_verbose_audit(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    guard.load("schema = 1\nname = \"quiet\"\nsemantics = \"compat\"\naudit = \"marked\"\n")?;
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    guard.audit_from_now()?;
    socket.set(SO_BROADCAST, 1)?;
    let quiet = records(&mut guard, SO_BROADCAST)?.len();
    socket.set(SO_DEBUG, 2)?;
    let debug = socket.get(SO_DEBUG)?;
    guard.audit_from_now()?;
    socket.set(SO_BROADCAST, 0)?;
    let loud = records(&mut guard, SO_BROADCAST)?.len();
    guard.load(crate::guard::PERMISSIVE)?;
    check::equal("SO_DEBUG 2 reads back", debug, 1)?;
    check::equal("records before", quiet, 0)?;
    check::equal("records with SO_DEBUG", loud, 1)
}

fn reuse_xor_exclusive(context: &Context) -> Result<()> {
    for mode in ["compat", "strict"] {
        under(context, mode, "", |_, client| {
            for (one, other) in [(SO_REUSEADDR, SO_EXCLUSIVEADDRUSE), (SO_EXCLUSIVEADDRUSE, SO_REUSEADDR)] {
                let socket = client.listen_socket(Family::V4)?;
                socket.set(one, 1)?;
                socket
                    .set_call(other, SOL_SOCKET, &ONE)
                    .fails_with(status::INVALID_PARAMETER)?;
                check::equal("unchanged", (socket.get(one)?, socket.get(other)?), (1, 0))?;
                socket.set(one, 0)?.set(other, 1)?;
                check::equal("after clearing", (socket.get(one)?, socket.get(other)?), (0, 1))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn reuse_after_bind(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        let (holder, address) = client.datagram(Family::V4)?;
        let done = holder.set_call(SO_REUSEADDR, SOL_SOCKET, &ONE).run()?;
        check::status("late set", done.result(), status::SUCCESS)?;
        let comer = client.datagram_socket(Family::V4)?;
        comer.set(SO_REUSEADDR, 1)?;
        let done = comer.bind_call(address).run()?;
        check::holds("it had no effect", done.result() < 0)
    })
}

fn booleans_by_length(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        for (length, bytes) in [
            (1, [1, 0, 0, 0]),
            (2, [1, 0, 0, 0]),
            (4, [0, 1, 0, 0]),
            (4, [0, 0, 0, 0x80]),
        ] {
            let socket = client.datagram_socket(Family::V4)?;
            socket
                .set_call(SO_BROADCAST, SOL_SOCKET, &bytes)
                .sized_input(length)
                .ok()?;
            check::equal(&format!("{length} bytes of {bytes:?}"), socket.get(SO_BROADCAST)?, 1)?;
        }
        let socket = client.datagram_socket(Family::V4)?;
        socket.set(SO_BROADCAST, 1)?;
        let done = socket.get_call(SO_BROADCAST, SOL_SOCKET, 1).ok()?;
        check::equal("one byte", (done.information(), done.output), (1, vec![1]))
    })
}

fn keepalive_by_length(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        let socket = client.connection_socket(Family::V4)?;
        socket.set_call(SO_KEEPALIVE, SOL_SOCKET, &[0, 1, 0, 0]).ok()?;
        check::equal("0x100 is off", socket.get(SO_KEEPALIVE)? & 0xFF, 0)?;
        socket.set_call(SO_KEEPALIVE, SOL_SOCKET, &[1]).ok()?;
        let done = socket.get_call(SO_KEEPALIVE, SOL_SOCKET, 4).fill(0xEE).ok()?;
        check::equal(
            "one byte is written",
            (done.information(), done.output),
            (1, vec![1, 0xEE, 0xEE, 0xEE]),
        )
    })
}

fn lengths_in_strict(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        for option in [SO_BROADCAST, SO_REUSEADDR, SO_RCVBUF] {
            for length in [0, 1, 3] {
                let set = socket
                    .set_call(option, SOL_SOCKET, &[1, 0, 0, 0])
                    .sized_input(length)
                    .run()?;
                check::status(
                    &format!("set {option:#x} of {length}"),
                    set.result(),
                    status::BUFFER_TOO_SMALL,
                )?;
            }
        }
        Ok(())
    })
}

fn unknown_option(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket
            .set_call(crate::wsk::NO_SUCH_OPTION, SOL_SOCKET, &ONE)
            .fails_with(status::NOT_SUPPORTED)?;
        socket
            .get_call(crate::wsk::NO_SUCH_OPTION, SOL_SOCKET, 4)
            .fails_with(status::NOT_SUPPORTED)?;
        Ok(())
    })
}

fn levels(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        for level in [u32::MAX, 0x8000, 0x1234_FFFF] {
            socket
                .set_call(SO_BROADCAST, level, &ONE)
                .fails_with(status::INVALID_PARAMETER)?;
            socket
                .get_call(SO_BROADCAST, level, 4)
                .fails_with(status::INVALID_PARAMETER)?;
        }
        Ok(())
    })
}

fn buffers_are_granted(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        for option in [SO_RCVBUF, SO_SNDBUF] {
            let socket = client.connection_socket(Family::V4)?;
            for value in [4096, 0x123, 20_000] {
                check::equal(&format!("{option:#x}"), socket.set(option, value)?.get(option)?, value)?;
            }
        }
        Ok(())
    })
}

fn lacking_options_are_answered(context: &Context) -> Result<()> {
    /// Option, value set, and what the record then answers; `None` where only a provider can do what the value asks for.
    const ROWS: [(u32, u32, Option<u32>); 9] = [
        (SO_DONTROUTE, 1, Some(1)),
        (SO_DEBUG, 2, Some(1)),
        (SO_RCVTIMEO, 700, Some(700)),
        (SO_SNDTIMEO, 900, Some(900)),
        // WSK sends from the client's own buffers: nothing is granted.
        (SO_SNDBUF, 4096, Some(0)),
        (SO_LINGER, 0x0007_0001, Some(0x0007_0001)),
        (SO_DONTLINGER, 1, Some(1)),
        (SO_OOBINLINE, 0, Some(0)),
        (SO_OOBINLINE, 1, None),
    ];
    let netio = Netio::open()?;
    for mode in ["compat", "strict"] {
        under(context, mode, "", |guard, client| {
            for (option, value, expected) in ROWS {
                let what = format!("{mode} {option:#x} = {value:#x}");
                let socket = client.connection_socket(Family::V4)?;
                netio.fail(Function::ControlSocket, status::NOT_SUPPORTED)?;
                guard.audit_from_now()?;
                let set = socket.set_call(option, SOL_SOCKET, &value.to_le_bytes()).run()?;
                set.check_rules()?;
                let Some(expected) = expected else {
                    check::status(&what, set.result(), status::NOT_SUPPORTED)?;
                    netio.clear()?;
                    continue;
                };
                check::status(&what, set.result(), status::SUCCESS)?;
                let record = *records(guard, option)?.first().context("a record")?;
                check::equal(&what, record.action, wskguard_core::decide::Done::Answered as u8)?;
                netio.fail(Function::ControlSocket, status::NOT_SUPPORTED)?;
                let get = socket.get_call(option, SOL_SOCKET, 4).ok()?;
                netio.clear()?;
                let mut number = [0; 4];
                number[..get.written().len()].copy_from_slice(get.written());
                check::equal(&format!("{what} read back"), u32::from_le_bytes(number), expected)?;
                socket.close()?;
            }
            Ok(())
        })?;
    }
    // What the record cannot know is the provider's to refuse, and in audit mode everything is.
    under(context, "audit", "", |_, client| {
        let socket = client.connection_socket(Family::V4)?;
        netio.fail(Function::ControlSocket, status::NOT_SUPPORTED)?;
        socket
            .set_call(SO_DONTROUTE, SOL_SOCKET, &ONE)
            .fails_with(status::NOT_SUPPORTED)?;
        Ok(())
    })
}

fn pvd_config(context: &Context) -> Result<()> {
    const PVD_CONFIG: u32 = 0x3001;
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        let done = socket.get_call(PVD_CONFIG, SOL_SOCKET, 64).ok()?;
        let object = done.written().to_vec();
        check::holds("an object with a version and a size", object.len() >= 8)?;
        socket.set_call(PVD_CONFIG, SOL_SOCKET, &object).ok()?;
        socket
            .set_call(PVD_CONFIG, SOL_SOCKET, &[0xFF; 16])
            .fails_with(status::INVALID_PARAMETER)?;
        check::equal(
            "unchanged",
            socket.get_call(PVD_CONFIG, SOL_SOCKET, 64).ok()?.written().to_vec(),
            object,
        )
    })
}

fn group_priority(context: &Context) -> Result<()> {
    const SO_GROUP_PRIORITY: u32 = 0x2002;
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket
            .get_call(SO_GROUP_PRIORITY, SOL_SOCKET, 4)
            .fails_with(status::NOT_SUPPORTED)?;
        Ok(())
    })
}

fn inherited_by_accept(context: &Context) -> Result<()> {
    under(context, "compat", "", |_, client| {
        let listener = client.listen_socket(Family::V4)?;
        listener.set(SO_KEEPALIVE, 1)?.set(SO_RCVBUF, 5000)?;
        let address = listener.bind(Family::V4.loopback(0))?.local_address()?;
        let (_near, far) = client.pair_with(&listener, address)?;
        check::equal("SO_KEEPALIVE", far.get(SO_KEEPALIVE)? & 0xFF, 1)?;
        check::equal("SO_RCVBUF", far.get(SO_RCVBUF)?, 5000)?;
        check::equal("overridden", far.set(SO_KEEPALIVE, 0)?.get(SO_KEEPALIVE)? & 0xFF, 0)?;
        check::equal("the listener's own", listener.get(SO_KEEPALIVE)? & 0xFF, 1)
    })
}

fn off_forwards_everything(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "off", "", |guard, client| {
        let socket = client.datagram_socket(Family::V4)?;
        let before = guard.counters()?.values;
        // Whatever the provider says is what the client is told.
        for code in [status::NOT_IMPLEMENTED, status::DEVICE_NOT_READY] {
            netio.fail(Function::ControlSocket, code)?;
            socket
                .set_call(crate::wsk::NO_SUCH_OPTION, 0x8000, &[])
                .fails_with(code)?;
        }
        let after = guard.counters()?.values;
        let refused = wskguard_core::counters::Counter::RefusedBySemantics as usize;
        check::equal("refused by semantics", after.get(refused), before.get(refused))
    })
}

fn audit_refuses_nothing(context: &Context) -> Result<()> {
    under(context, "audit", "", |guard, client| {
        let socket = client.listen_socket(Family::V4)?;
        guard.audit_from_now()?;
        socket.set_call(SO_BROADCAST, SOL_SOCKET, &ONE).run()?;
        let record = *records(guard, SO_BROADCAST)?.first().context("a record")?;
        let reason = wskguard_core::status::Reason::from_u8(record.reason);
        check::equal("reason", reason, Some(wskguard_core::status::Reason::Category))?;
        let forwarded = wskguard_core::decide::Done::Forwarded as u8;
        check::equal("forwarded", record.action, forwarded)
    })
}

fn endpoint_shows_options(context: &Context) -> Result<()> {
    use wskguard_abi::option_bits;
    under(context, "compat", "", |guard, client| {
        let before: Vec<u64> = super::lifetime::list(guard)?
            .iter()
            .map(|endpoint| endpoint.id)
            .collect();
        let socket = client.datagram_socket(Family::V4)?;
        socket
            .set(SO_BROADCAST, 1)?
            .set(SO_REUSEADDR, 1)?
            .set(SO_RCVBUF, 7777)?;
        let address = socket.bind(Family::V4.loopback(0))?.local_address()?;
        let shown = super::lifetime::list(guard)?
            .into_iter()
            .find(|endpoint| !before.contains(&endpoint.id));
        let shown = shown.context("the endpoint is listed")?;
        check::equal(
            "options",
            shown.options,
            option_bits::BROADCAST | option_bits::REUSEADDR,
        )?;
        check::equal("SO_RCVBUF", shown.rcvbuf, 7777)?;
        check::equal("port", shown.port, address.port())?;
        check::equal("address", &shown.local[..4], [127, 0, 0, 1].as_slice())?;
        check::equal(
            "family, type, category",
            (shown.family, shown.socket_type, shown.category),
            (2, 2, 3),
        )
    })
}

/// Local addresses of the connections that are listed with this port.
fn at_port(guard: &mut Guard, port: u16) -> Result<Vec<[u8; 4]>> {
    let all = super::lifetime::list(guard)?.into_iter();
    let accepted = all.filter(|endpoint| endpoint.category == Category::Connection as u8 && endpoint.port == port);
    Ok(accepted
        .map(|endpoint| std::array::from_fn(|at| endpoint.local[at]))
        .collect())
}

fn accepted_shows_its_address(context: &Context) -> Result<()> {
    under(context, "compat", "", |guard, client| {
        let reactions = Reactions {
            slots: Slots::ALL.0,
            ..Reactions::default()
        };
        let (listener, address) = listener(client, reactions)?;
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?;
        let accept = listener.accept_call(Reactions::default()).start()?;
        near.connect(address)?;
        let _asked = listener.accepted(&accept.wait()?.checked_ok()?)?;
        check::equal("by WskAccept", at_port(guard, address.port())?, vec![[127, 0, 0, 1]])?;
        // A listener on all addresses: only the event knows which one.
        let everywhere = client.socket(Category::Listen, Family::V4, reactions)?;
        let port = everywhere.bind(Family::V4.wildcard(0))?.local_address()?.port();
        everywhere.enable(WSK_EVENT_ACCEPT)?;
        let other = client.connection_socket(Family::V4)?;
        other.bind(Family::V4.loopback(0))?.connect(Family::V4.loopback(port))?;
        let event = context.probe.events().wait_for(Happening::Accept, everywhere.id)?;
        let _told = everywhere.accepted_as(event.other);
        check::equal("by WskAcceptEvent", at_port(guard, port)?, vec![[127, 0, 0, 1]])
    })
}

/// Whether the far end sees a reset when the near end is closed with this linger (none: never set).
fn reset_at_close(context: &Context, linger_value: Option<[u8; 4]>) -> Result<bool> {
    let mut reset = false;
    under(context, "compat", "", |_, client| {
        let (near, far) = pair(
            client,
            Reactions {
                slots: Slots::ALL.0,
                ..Reactions::default()
            },
        )?;
        if let Some(value) = linger_value {
            near.set_call(SO_LINGER, SOL_SOCKET, &value).ok()?;
        }
        let events = context.probe.events();
        far.send(b"read by nobody").ok();
        near.receive(64)?;
        let receive = far.receive_call(16).start()?;
        near.close()?;
        let done = receive.wait()?;
        reset = done.result() == status::CONNECTION_RESET;
        check::holds(
            "reset or end of stream",
            reset || (done.result() == 0 && done.information() == 0),
        )?;
        events.none(Happening::Disconnect, near.id)
    })?;
    Ok(reset)
}

fn linger_zero_resets(context: &Context) -> Result<()> {
    check::holds("reset", reset_at_close(context, Some(linger(1, 0)))?)
}

fn linger_waits(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "compat", "", |_, client| {
        let (_listener, near, far) = client.pair(Family::V4)?;
        near.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 2)).ok()?;
        near.send(b"all of this")?;
        // WSK's own close resets, whatever came before: it is held to see what did.
        netio.hold(Function::CloseSocket)?;
        let close = near.close_call().start()?;
        check::equal("data", far.receive_all(11)?, b"all of this".to_vec())?;
        check::equal("end of stream", far.receive(16)?, Vec::new())?;
        check::holds("still closing", close.is_pending()?)?;
        netio.release(Function::CloseSocket)?;
        let done = close.wait()?;
        done.check_rules()?;
        check::status("close", done.result(), status::SUCCESS)
    })
}

/// How many closes have lingered.
fn lingered(guard: &mut Guard) -> Result<u64> {
    let index = wskguard_core::counters::Counter::LingerCloses as usize;
    guard.counters()?.values.get(index).copied().context("a counter")
}

fn linger_is_bounded(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "compat", "", |guard, client| {
        let (_listener, near, far) = client.pair(Family::V4)?;
        near.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 1)).ok()?;
        let before = lingered(guard)?;
        netio.hold(Function::Disconnect)?;
        let close = near.close_call().start()?;
        check::holds("waits for the disconnect", close.is_pending()?)?;
        check::equal("lingers", lingered(guard)?, before + 1)?;
        let done = close.wait()?;
        done.check_rules()?;
        check::status("close", done.result(), status::SUCCESS)?;
        check::status(
            "the peer",
            far.receive_call(4).run()?.result(),
            status::CONNECTION_RESET,
        )
    })
}

fn linger_without_disconnect(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    for (action, flags) in [
        (Action::Fail, RuleFlags(0)),
        (Action::Fail, RuleFlags::INLINE),
        (Action::Refuse, RuleFlags(0)),
        (Action::Delay, RuleFlags(0)),
        (Action::Perform, RuleFlags::INLINE),
    ] {
        under(context, "strict", "", |guard, client| {
            let (_listener, near, _far) = client.pair(Family::V4)?;
            near.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 3)).ok()?;
            let before = lingered(guard)?;
            netio.rule(Function::Disconnect, 1, action, status::CONNECTION_RESET, flags)?;
            let done = near.close()?;
            done.check_rules()?;
            check::equal(&format!("{action:?} lingers"), lingered(guard)?, before + 1)
        })?;
        netio.clear()?;
    }
    Ok(())
}

fn linger_inherited(context: &Context) -> Result<()> {
    under(context, "compat", "", |guard, client| {
        let listener = client.listen_socket(Family::V4)?;
        listener.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 2)).ok()?;
        let address = listener.bind(Family::V4.loopback(0))?.local_address()?;
        let (near, far) = client.pair_with(&listener, address)?;
        let before = lingered(guard)?;
        near.close()?;
        check::equal("the other end was never told to", lingered(guard)?, before)?;
        far.close()?;
        check::equal("accepted", lingered(guard)?, before + 1)?;
        listener.close()?;
        check::equal("a listener has nothing to disconnect", lingered(guard)?, before + 1)
    })
}

fn linger_by_mode(context: &Context) -> Result<()> {
    for (mode, expected) in [("off", 0), ("audit", 0), ("compat", 1), ("strict", 1)] {
        under(context, mode, "", |guard, client| {
            let (_listener, near, _far) = client.pair(Family::V4)?;
            near.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 2)).ok()?;
            let before = lingered(guard)?;
            near.close()?;
            check::equal(mode, lingered(guard)? - before, expected)?;
            let unconnected = client.connection_socket(Family::V4)?;
            unconnected.set_call(SO_LINGER, SOL_SOCKET, &linger(1, 2)).ok()?;
            let before = lingered(guard)?;
            unconnected.close()?;
            check::equal("unconnected", lingered(guard)?, before)
        })?;
    }
    Ok(())
}

fn linger_never_set(context: &Context) -> Result<()> {
    check::holds("as WSK does", reset_at_close(context, None)?)
}

fn keepalive_failure(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "strict", "", |_, client| {
        let (near, _far) = pair(
            client,
            Reactions {
                slots: Slots::ALL.0,
                ..Reactions::default()
            },
        )?;
        near.set(SO_KEEPALIVE, 1)?.enable(WSK_EVENT_DISCONNECT)?;
        let receive = near.receive_call(16).start()?;
        check::equal(
            "connections hit",
            netio.kill(near.local_address()?, status::IO_TIMEOUT, true)?,
            1,
        )?;
        let done = receive.wait()?;
        done.check_rules()?;
        check::status(
            "the call in progress keeps the provider's status",
            done.result(),
            status::IO_TIMEOUT,
        )?;
        near.set_call(SO_KEEPALIVE, SOL_SOCKET, &ONE)
            .fails_with(status::INVALID_CONNECTION)?;
        near.get_call(SO_RCVBUF, SOL_SOCKET, 4)
            .fails_with(status::INVALID_CONNECTION)?;
        near.close().map(drop)
    })
}

fn other_failures_are_not_keepalive(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    under(context, "strict", "", |_, client| {
        let (near, _far) = pair(
            client,
            Reactions {
                slots: Slots::ALL.0,
                ..Reactions::default()
            },
        )?;
        near.set(SO_KEEPALIVE, 1)?;
        let receive = near.receive_call(16).start()?;
        netio.kill(near.local_address()?, status::CONNECTION_RESET, true)?;
        check::status("receive", receive.wait()?.result(), status::CONNECTION_RESET)?;
        let done = near.get_call(SO_RCVBUF, SOL_SOCKET, 4).run()?;
        check::holds(
            "not told as a keep-alive failure",
            done.result() != status::INVALID_CONNECTION,
        )?;
        let other = client.socket(Category::Datagram, Family::V4, Reactions::default())?;
        other.set(SO_BROADCAST, 1).map(drop)
    })
}

//! Cancellation: `IoCancelIrp` at every moment of a request's life ends it once, as cancelled or as what it came to.

use anyhow::Result;
use probe_protocol::netio::{Action, RuleFlags};
use probe_protocol::probe::{Category, Function, Happening, Progress, Reactions, Slots, Take};
use wskguard_core::counters::Counter;

use crate::check;
use crate::context::Context;
use crate::probe::{Client, Done, Family, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_REUSEADDR, SOL_SOCKET, WSK_EVENT_RECEIVE};

tests! {
    "cancel";
    every_waiting_call, Both, "question A7", "accept, receive, receive-from and connect end as cancelled";
    before_the_call, Both, "interposition", "an IRP cancelled before the call completes once";
    at_dispatch_level, Both, "interposition", "IoCancelIrp at DISPATCH_LEVEL";
    again_and_again, Both, "interposition", "cancelling twice, and after the completion, does nothing more";
    while_the_provider_holds_it, Both, "interposition", "a cancellation reaches a request that the filter observes";
    against_a_deaf_provider, Both, "interposition", "a provider that ignores the cancellation completes as it likes";
    performed_and_held, Both, "interposition", "a cancellation after the work was done gives the work's result";
    racing_the_completion, Both, "interposition", "cancel against completion, many times: one completion each";
    cancelled_accept_leaves_the_listener, Both, "WSK: lifetime", "the listener accepts after a cancelled accept";
    cancelled_accept_with_events, Both, "WSK: event callbacks", "a cancelled accept falls back to the accept event";
    counted, Filtered, "counters", "cancellations before the call and during it are counted";
    from_a_callback, Both, "WSK: event callbacks", "a request launched in a callback can be cancelled after it";
}

fn is_cancelled(done: &Done) -> Result<()> {
    done.check_rules()?;
    check::status(&format!("{:?}", done.function), done.result(), status::CANCELLED)?;
    check::equal("Information", done.information(), 0)
}

fn every_waiting_call(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for family in Family::BOTH {
        let (listener, near, _far) = client.pair(family)?;
        let (datagram, _) = client.datagram(family)?;
        let calls = [
            listener.accept_call(Reactions::default()),
            near.receive_call(16),
            near.receive_call(16).flag(crate::wsk::WSK_FLAG_WAITALL),
            datagram.receive_from_call(16),
        ];
        for call in calls {
            let pending = call.start()?;
            check::holds(&format!("{:?} waits", pending.first.function), pending.is_pending()?)?;
            is_cancelled(&pending.cancel()?)?;
        }
    }
    Ok(())
}

fn before_the_call(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, near, _far) = client.pair(Family::V4)?;
    for call in [listener.accept_call(Reactions::default()), near.receive_call(16)] {
        is_cancelled(&call.cancel_first().run()?)?;
    }
    // What does not wait may be done or be cancelled, but only once.
    let socket = client.datagram_socket(Family::V4)?;
    let calls = [
        socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]),
        socket.bind_call(Family::V4.loopback(0)),
        client.create(Category::Datagram, Family::V4),
    ];
    for call in calls {
        let done = call.cancel_first().run()?;
        check::one_of(
            &format!("{:?}", done.function),
            done.result(),
            &[status::SUCCESS, status::CANCELLED],
        )?;
    }
    // A close cannot be undone: it is carried out.
    check::status(
        "close",
        socket.close_call().cancel_first().run()?.result(),
        status::SUCCESS,
    )
}

fn at_dispatch_level(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, near, _far) = client.pair(Family::V4)?;
    for call in [listener.accept_call(Reactions::default()), near.receive_call(16)] {
        let pending = call.start()?;
        pending.cancel_only(true)?;
        is_cancelled(&pending.wait()?)?;
    }
    Ok(())
}

fn again_and_again(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, _) = client.listener(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    for _ in 0..3 {
        is_cancelled(&accept.cancel()?)?;
    }
    let get = listener.get_call(SO_REUSEADDR, SOL_SOCKET, 4).start()?;
    let done = get.wait()?;
    check::equal("completions before", done.outcome.completions, 1)?;
    let done = get.cancel()?;
    check::equal("completions after", done.outcome.completions, 1)?;
    check::status("as it was", done.result(), status::SUCCESS)
}

/// Observed calls that a script can hold: each on a fresh socket.
fn held_calls(
    client: &Client<'_>,
    netio: &Netio,
    action: Action,
    flags: RuleFlags,
    mut each: impl FnMut(&crate::probe::Pending<'_>, Function) -> Result<()>,
) -> Result<()> {
    type Make = for<'s, 'p> fn(&'s Client<'p>, &'s Socket<'p>) -> crate::probe::CallBuilder<'p>;
    let calls: [(Function, Make); 3] = [
        (Function::ControlSocket, |_, socket| {
            socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])
        }),
        (Function::Bind, |_, socket| socket.bind_call(Family::V4.loopback(0))),
        (Function::Socket, |client, _| {
            client.create(Category::Datagram, Family::V4)
        }),
    ];
    for (function, make) in calls {
        let socket = client.datagram_socket(Family::V4)?;
        netio.rule(function, 1, action, 0, flags)?;
        let pending = make(client, &socket).start()?;
        check::holds(&format!("{function:?} is held"), pending.is_pending()?)?;
        each(&pending, function)?;
        netio.clear()?;
        netio.release(function)?;
        let done = pending.wait()?;
        done.check_rules()?;
        if function == Function::Socket && done.result() >= 0 {
            listening(client, &done)?.close()?;
        }
        socket.close()?;
    }
    Ok(())
}

fn listening<'p>(client: &Client<'p>, done: &Done) -> Result<Socket<'p>> {
    Socket::made(client.probe, *client, done, Category::Datagram, Family::V4)
}

fn while_the_provider_holds_it(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    held_calls(&client, &netio, Action::HoldStart, RuleFlags(0), |pending, _| {
        is_cancelled(&pending.cancel()?)
    })
}

fn counted(context: &Context) -> Result<()> {
    let (client, netio, mut guard) = (context.attach()?, Netio::open()?, context.guard()?);
    let socket = client.datagram_socket(Family::V4)?;
    let set = || socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]);
    let before = guard.counted(Counter::CancelledBeforeCall)?;
    is_cancelled(&set().cancel_first().run()?)?;
    let more = guard.counted(Counter::CancelledBeforeCall)? - before;
    check::equal("cancelled before the call", more, 1)?;
    let before = guard.counted(Counter::Cancellations)?;
    held_calls(&client, &netio, Action::HoldStart, RuleFlags(0), |pending, _| {
        is_cancelled(&pending.cancel()?)
    })?;
    let more = guard.counted(Counter::Cancellations)? - before;
    check::equal("cancelled while the provider had them", more, 3)
}

fn against_a_deaf_provider(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    held_calls(
        &client,
        &netio,
        Action::HoldStart,
        RuleFlags::DEAF,
        |pending, function| {
            pending.cancel_only(false)?;
            check::holds("still held", pending.is_pending()?)?;
            netio.release(function)?;
            let done = pending.wait()?;
            done.check_rules()?;
            check::one_of("result", done.result(), &[status::SUCCESS, status::CANCELLED])
        },
    )
}

fn performed_and_held(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    held_calls(
        &client,
        &netio,
        Action::HoldCompletion,
        RuleFlags(0),
        |pending, function| {
            pending.cancel_only(false)?;
            netio.release(function)?;
            let done = pending.wait()?;
            done.check_rules()?;
            check::one_of("result", done.result(), &[status::SUCCESS, status::CANCELLED])
        },
    )
}

fn racing_the_completion(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    let mut received = 0_usize;
    for round in 0..100 {
        let receive = near.receive_call(1).start()?;
        let send = far.send_call(b"r").start()?;
        let done = if round % 2 == 0 {
            receive.cancel()?
        } else {
            receive.wait()?
        };
        done.check_rules()?;
        check::one_of("receive", done.result(), &[status::SUCCESS, status::CANCELLED])?;
        received += usize::from(done.result() == status::SUCCESS);
        check::status("send", send.wait()?.result(), status::SUCCESS)?;
        receive.free()?;
        send.free()?;
    }
    // No byte was lost with a cancelled receive.
    near.receive_all(100 - received).map(drop)
}

fn cancelled_accept_leaves_the_listener(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    for _ in 0..3 {
        is_cancelled(&listener.accept_call(Reactions::default()).start()?.cancel()?)?;
    }
    let (near, far) = client.pair_with(&listener, address)?;
    near.send(b"works")?;
    check::equal("data", far.receive_all(5)?, b"works".to_vec())
}

fn cancelled_accept_with_events(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let reactions = Reactions {
        slots: Slots::ALL.0,
        ..Reactions::default()
    };
    let listener = client.socket(Category::Listen, Family::V4, reactions)?;
    let address = listener
        .bind(Family::V4.loopback(0))?
        .enable(crate::wsk::WSK_EVENT_ACCEPT)?
        .local_address()?;
    is_cancelled(&listener.accept_call(Reactions::default()).start()?.cancel()?)?;
    let events = context.probe.events();
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?.connect(address)?;
    let event = events.wait_for(Happening::Accept, listener.id)?;
    listener.accepted_as(event.other).remote_address().map(drop)
}

fn from_a_callback(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    let reactions = Reactions {
        slots: Slots::ALL.0,
        ..Reactions::default()
    };
    let near = client.socket(Category::Connection, Family::V4, reactions)?;
    near.bind(Family::V4.loopback(0))?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    near.connect(address)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    let receive = near.receive_call(16).flag(crate::wsk::WSK_FLAG_WAITALL).prepare()?;
    let launching = Reactions {
        launch: receive.request,
        launch_on: Happening::Receive as u32,
        take: Take::All as u32,
        ..reactions
    };
    near.set_reactions(launching)?;
    near.enable(WSK_EVENT_RECEIVE)?;
    far.send(b"go")?;
    let events = context.probe.events();
    events.wait_for(Happening::Returned, near.id)?;
    check::holds("called", receive.look()?.is(Progress::CALLED))?;
    check::holds("waiting", receive.is_pending()?)?;
    is_cancelled(&receive.cancel()?)
}

//! The rules of IRPs: who completes, when, and how often, for every way in which a client may hand one over.

use anyhow::Result;
use probe_protocol::netio::{Action, RuleFlags};
use probe_protocol::probe::{Category, Function, Progress, Reactions, Style};

use crate::check;
use crate::context::Context;
use crate::probe::{Client, Family};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{NO_SUCH_OPTION, SO_REUSEADDR, SOL_SOCKET};

tests! {
    "irp";
    client_style_waits_always, Both, "WSK: IRPs", "a client that always waits for the completion is served";
    client_style_waits_if_pending, Both, "WSK: functions", "a client that believes any other status than pending finds the IRP completed";
    client_style_woken_if_pending_returned, Both, "WSK: IRPs", "a client whose routine looks at PendingReturned is woken";
    reused_irp_works_again, Both, "WSK: IRPs", "IoReuseIrp and another call";
    deep_irp_is_not_overrun, Both, "WSK: IRPs", "an IRP with more stack locations than needed";
    passed_down_irp_completes_upwards, Both, "WSK: IRPs", "an IRP from above is completed with WSK's status and information";
    at_dispatch_level, Both, "WSK: functions", "every function that may be called at DISPATCH_LEVEL is";
    null_irp_is_refused, Both, "vectors WK-T-01, WK-*-IRP", "functions that need an IRP refuse without one, touching nothing";
    null_client_is_refused, Both, "vectors WK-T-01, WK-T-02", "a NULL client: INVALID_PARAMETER without, INVALID_HANDLE with an IRP";
    refusal_completes_inline, Filtered, "interposition", "what the filter refuses is completed with that status and returned unmarked";
    failed_calls_complete_once, Both, "WSK: functions", "the provider's failure reaches the client as its own, once";
    inline_success_completes_once, Both, "WSK: functions", "the provider's inline success reaches the client once";
    refused_without_completion, Both, "question A4", "a status without completion, as NULL parameters get, does not hang the client";
    late_completion_is_told, Both, "WSK: functions", "a completion long after the call reaches the client";
    completion_at_dispatch, Both, "WSK: IRPs", "completions at DISPATCH_LEVEL";
}

/// Every call that completes at once on fresh sockets, in the style given.
fn tour(client: &Client<'_>, style: Style) -> Result<()> {
    for category in [
        Category::Listen,
        Category::Connection,
        Category::Datagram,
        Category::Stream,
    ] {
        let done = client.create(category, Family::V4).style(style).ok()?;
        let socket = crate::probe::Socket::made(client.probe, *client, &done, category, Family::V4)?;
        socket
            .set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])
            .style(style)
            .ok()?;
        socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4).style(style).ok()?;
        socket.get_call(NO_SUCH_OPTION, SOL_SOCKET, 4).style(style).run()?;
        socket.call(Function::GetLocalAddress).style(style).run()?;
        socket.bind_call(Family::V4.loopback(0)).style(style).ok()?;
        socket.call(Function::GetLocalAddress).style(style).ok()?;
        socket.close_call().style(style).ok()?;
    }
    Ok(())
}

fn client_style_waits_always(context: &Context) -> Result<()> {
    tour(&context.attach()?, Style::AlwaysWaits)
}

fn client_style_waits_if_pending(context: &Context) -> Result<()> {
    tour(&context.attach()?, Style::WaitsIfPending)
}

fn client_style_woken_if_pending_returned(context: &Context) -> Result<()> {
    tour(&context.attach()?, Style::WokenIfPendingReturned)
}

fn reused_irp_works_again(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let get = socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4).prepare()?;
    for round in 0..3 {
        let done = get.launch()?.checked_ok()?;
        check::equal(&format!("round {round}"), done.information(), 4)?;
    }
    get.free()
}

fn deep_irp_is_not_overrun(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    socket
        .set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])
        .deep_irp()
        .ok()?;
    socket.bind_call(Family::V4.loopback(0)).deep_irp().ok()?;
    socket.close_call().deep_irp().ok()?;
    Ok(())
}

fn passed_down_irp_completes_upwards(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let set = socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]).prepare()?;
    let above = context.probe.pass_down(set.request)?;
    check::status("status above", above.status, status::SUCCESS)?;
    set.look()?.check_rules()?;
    let bind = socket.bind_call(Family::V4.loopback(0)).prepare()?;
    check::status(
        "bind above",
        context.probe.pass_down(bind.request)?.status,
        status::SUCCESS,
    )?;
    bind.look()?.check_rules()?;
    let get = socket.get_call(SO_REUSEADDR, SOL_SOCKET, 4).prepare()?;
    let above = context.probe.pass_down(get.request)?;
    check::status("get above", above.status, status::SUCCESS)?;
    check::equal("information above", above.information, 4)?;
    check::equal("value", get.look()?.value(), 1)?;
    let unbound = client.connection_socket(Family::V4)?;
    let connect = unbound.connect_call(Family::V4.loopback(9)).prepare()?;
    let above = context.probe.pass_down(connect.request)?;
    check::status("failure above", above.status, status::INVALID_DEVICE_STATE)
}

fn at_dispatch_level(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let family = Family::V4;
    let create = |category| -> Result<_> {
        let done = client.create(category, family).at_dispatch().ok()?;
        crate::probe::Socket::made(&context.probe, client, &done, category, family)
    };
    let listener = create(Category::Listen)?;
    listener
        .set_call(SO_REUSEADDR, SOL_SOCKET, &[0, 0, 0, 0])
        .at_dispatch()
        .ok()?;
    listener.get_call(SO_REUSEADDR, SOL_SOCKET, 4).at_dispatch().ok()?;
    listener.bind_call(family.loopback(0)).at_dispatch().ok()?;
    let address = listener.call(Function::GetLocalAddress).at_dispatch().ok()?.address()?;
    let near = create(Category::Connection)?;
    near.bind_call(family.loopback(0)).at_dispatch().ok()?;
    let accept = listener.accept_call(Reactions::default()).at_dispatch().start()?;
    near.connect_call(address).at_dispatch().ok()?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    far.call(Function::GetRemoteAddress).at_dispatch().ok()?;
    near.send_call(b"at dispatch").at_dispatch().ok()?;
    let done = far.receive_call(64).at_dispatch().ok()?;
    check::equal("data", done.written(), b"at dispatch".as_slice())?;
    near.call(Function::Disconnect).null_buffer().at_dispatch().ok()?;
    for socket in [near, far, listener] {
        socket.close_call().at_dispatch().ok()?;
    }
    Ok(())
}

fn null_irp_is_refused(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let none = client.create(Category::Datagram, Family::V4).no_irp().run()?;
    check::status("WskSocket", none.outcome.returned, status::INVALID_PARAMETER)?;
    let socket = client.datagram_socket(Family::V4)?;
    let calls = [
        socket.bind_call(Family::V4.loopback(0)),
        socket.call(Function::GetLocalAddress),
        socket.close_call(),
    ];
    for call in calls {
        let done = call.no_irp().run()?;
        check::status(
            &format!("{:?}", done.function),
            done.outcome.returned,
            status::INVALID_PARAMETER,
        )?;
    }
    // It did none of it: the socket still is unbound, and open.
    socket
        .call(Function::GetLocalAddress)
        .fails_with(status::INVALID_DEVICE_STATE)?;
    socket.bind(Family::V4.loopback(0))?;
    Ok(())
}

fn null_client_is_refused(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let create = client.create(Category::Listen, Family::V4).null_target();
    let done = create.clone().no_irp().run()?;
    check::status("without an IRP", done.outcome.returned, status::INVALID_PARAMETER)?;
    let done = create.unchecked().timeout(100).attempt()?;
    check::status("with an IRP", done.outcome.returned, status::INVALID_HANDLE)?;
    check::holds("the IRP is left alone", !done.is(Progress::COMPLETED))?;
    context.probe.abandon(done.outcome.request)
}

fn refusal_completes_inline(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    guard.load(
        "schema = 1\nname = \"refuse\"\n[[rule]]\nname = \"no\"\nrequest = \"set\"\noption = \"SO_REUSEADDR\"\naction = \"deny\"\n",
    )?;
    let result = refused(context);
    guard.load(crate::guard::PERMISSIVE)?;
    result
}

fn refused(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    for style in [Style::AlwaysWaits, Style::WaitsIfPending, Style::WokenIfPendingReturned] {
        let done = socket
            .set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])
            .style(style)
            .run()?;
        check::status("returned", done.outcome.returned, status::ACCESS_DENIED)?;
        check::status("completed", done.outcome.status, status::ACCESS_DENIED)?;
        check::holds("inline", done.is(Progress::COMPLETED_INLINE))?;
        check::holds("unmarked", !done.is(Progress::PENDING_RETURNED))?;
    }
    let done = socket
        .set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0])
        .at_dispatch()
        .run()?;
    check::status("at DISPATCH_LEVEL", done.outcome.returned, status::ACCESS_DENIED)?;
    check::equal("the provider's value", socket.get(SO_REUSEADDR)?, 0)
}

/// The functions that the filter observes, each with a call that would succeed.
fn observed_calls(
    client: &Client<'_>,
    mut each: impl FnMut(Function, &crate::probe::CallBuilder<'_>) -> Result<()>,
) -> Result<()> {
    let socket = client.datagram_socket(Family::V4)?;
    each(Function::Socket, &client.create(Category::Datagram, Family::V4))?;
    each(
        Function::ControlSocket,
        &socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]),
    )?;
    each(Function::GetLocalAddress, &socket.call(Function::GetLocalAddress))?;
    each(Function::Bind, &socket.bind_call(Family::V4.loopback(0)))
}

fn failed_calls_complete_once(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    for flags in [RuleFlags(0), RuleFlags::INLINE] {
        observed_calls(&client, |function, call| {
            netio.rule(function, 1, Action::Fail, status::INSUFFICIENT_RESOURCES, flags)?;
            call.fails_with(status::INSUFFICIENT_RESOURCES)?;
            Ok(())
        })?;
    }
    Ok(())
}

fn inline_success_completes_once(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    observed_calls(&client, |function, call| {
        netio.rule(function, 1, Action::Perform, 0, RuleFlags::INLINE)?;
        let done = call.run()?;
        check::holds("an answer", done.result() >= 0 || function == Function::GetLocalAddress)
    })
}

fn refused_without_completion(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    let socket = client.datagram_socket(Family::V4)?;
    netio.rule(
        Function::Bind,
        1,
        Action::Refuse,
        status::INVALID_PARAMETER,
        RuleFlags(0),
    )?;
    let done = socket
        .bind_call(Family::V4.loopback(0))
        .unchecked()
        .timeout(500)
        .attempt()?;
    // Through the filter, too, the client has the status, and its IRP either back or completed.
    check::status("returned", done.outcome.returned, status::INVALID_PARAMETER)?;
    if done.is(Progress::COMPLETED) {
        check::status("completed", done.outcome.status, status::INVALID_PARAMETER)?;
    } else {
        context.probe.abandon(done.outcome.request)?;
    }
    socket.bind(Family::V4.loopback(0))?;
    Ok(())
}

fn late_completion_is_told(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let netio = Netio::open()?;
    observed_calls(&client, |function, call| {
        netio.rule(function, 1, Action::Delay, 0, RuleFlags(0))?;
        call.run().map(drop)
    })
}

fn completion_at_dispatch(context: &Context) -> Result<()> {
    let netio = Netio::open()?;
    netio.at_dispatch()?;
    let client = context.attach()?;
    tour(&client, Style::AlwaysWaits)?;
    let (_listener, near, far) = client.pair(Family::V4)?;
    near.send(b"x")?;
    let done = far.receive_call(1).ok()?;
    check::equal("IRQL of the completion", done.outcome.irql, 2)
}

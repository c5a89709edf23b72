//! Every way in which a provider may answer, against every function that the filter observes, at both IRQLs, cancelled at every step:
//! each request completes once, by the rules, with a status that its story allows. One test for each function; the cases are made
//! from the lists below.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use probe_protocol::netio::{Action, RuleFlags};
use probe_protocol::probe::{Category, Function, Progress, Reactions};

use crate::check;
use crate::context::Context;
use crate::probe::{CallBuilder, Client, Done, Family, Pending, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{SO_REUSEADDR, SOL_SOCKET};

tests! {
    "matrix";
    @120 socket, Both, "load and faults", "WskSocket";
    @120 socket_connect, Both, "load and faults", "WskSocketConnect";
    @120 socket_connect_in_steps, Filtered, "load and faults", "WskSocketConnect carried out in steps";
    @120 control, Both, "load and faults", "WskControlSocket";
    @120 bind, Both, "load and faults", "WskBind";
    @120 bind_made_exclusive, Filtered, "load and faults", "WskBind of which a rule wants that it is exclusive";
    @120 connect, Both, "load and faults", "WskConnect";
    @120 connect_ex, Both, "load and faults", "WskConnectEx";
    @120 listen, Both, "load and faults", "WskListen";
    @120 accept, Both, "load and faults", "WskAccept";
    @120 disconnect, Both, "load and faults", "WskDisconnect";
    @120 close, Both, "load and faults", "WskCloseSocket";
}

/// How the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pended,
    Inline,
    /// Held before it begins, until it is released.
    Late,
    /// The same, and deaf to its cancellation.
    LateAndDeaf,
    /// Done, and completed when it is released.
    HeldBack,
    /// Done, and completed some time later.
    Delayed,
    Failed,
    FailedInline,
    /// A failure is returned, and the IRP is left alone.
    Refused,
}

const ANSWERS: [Answer; 9] = [
    Answer::Pended,
    Answer::Inline,
    Answer::Late,
    Answer::LateAndDeaf,
    Answer::HeldBack,
    Answer::Delayed,
    Answer::Failed,
    Answer::FailedInline,
    Answer::Refused,
];
/// Longest that a request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// What a provider fails with here.
const FAILURE: i32 = status::INSUFFICIENT_RESOURCES;

impl Answer {
    fn script(self, netio: &Netio, function: Function) -> Result<()> {
        let (action, flags) = match self {
            Self::Pended => return Ok(()),
            Self::Inline => (Action::Perform, RuleFlags::INLINE),
            Self::Late => (Action::HoldStart, RuleFlags(0)),
            Self::LateAndDeaf => (Action::HoldStart, RuleFlags::DEAF),
            Self::HeldBack => (Action::HoldCompletion, RuleFlags(0)),
            Self::Delayed => (Action::Delay, RuleFlags(0)),
            Self::Failed => (Action::Fail, RuleFlags(0)),
            Self::FailedInline => (Action::Fail, RuleFlags::INLINE),
            Self::Refused => (Action::Refuse, RuleFlags(0)),
        };
        netio.rule(function, 1, action, FAILURE, flags)
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::FailedInline | Self::Refused)
    }
}

/// When the client cancels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    Never,
    Before,
    /// As soon as the call has returned, whether it is complete or not.
    During,
    /// After the provider was let go on, in a race with the completion.
    Racing,
    After,
}

const CANCELS: [Cancel; 5] = [
    Cancel::Never,
    Cancel::Before,
    Cancel::During,
    Cancel::Racing,
    Cancel::After,
];

#[derive(Clone, Copy, Debug)]
struct Case {
    answer: Answer,
    cancel: Cancel,
    at_dispatch: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.at_dispatch { "DISPATCH" } else { "PASSIVE" };
        write!(f, "{:?}, cancelled {:?}, at {level}", self.answer, self.cancel)
    }
}

/// What a case works on: the call, and the sockets that exist before it.
struct Scene<'p> {
    call: CallBuilder<'p>,
    sockets: Vec<Socket<'p>>,
}

/// How a function is tried.
struct Plan<'f> {
    function: Function,
    /// The function of the provider that answers so.
    scripted: Function,
    category: Category,
    cancellable: bool,
    scene: &'f dyn for<'p> Fn(&Client<'p>) -> Result<Scene<'p>>,
}

fn run(context: &Context, plan: &Plan<'_>) -> Result<()> {
    let client = context.attach()?;
    run_for(context, &client, plan)
}

fn run_for(context: &Context, client: &Client<'_>, plan: &Plan<'_>) -> Result<()> {
    let netio = Netio::open()?;
    for at_dispatch in [false, true] {
        if at_dispatch {
            netio.at_dispatch()?;
        }
        for answer in ANSWERS {
            for cancel in CANCELS {
                let case = Case {
                    answer,
                    cancel,
                    at_dispatch,
                };
                one(context, client, &netio, plan, case).with_context(|| case.to_string())?;
            }
        }
    }
    check::equal("held by the provider", netio.statistics()?.held, 0)
}

fn one(context: &Context, client: &Client<'_>, netio: &Netio, plan: &Plan<'_>, case: Case) -> Result<()> {
    let scene = (plan.scene)(client)?;
    case.answer.script(netio, plan.scripted)?;
    let mut call = scene.call.clone().unchecked();
    if case.at_dispatch {
        call = call.at_dispatch();
    }
    if case.cancel == Cancel::Before {
        call = call.cancel_first();
    }
    let pending = call.start()?;
    if case.cancel == Cancel::During {
        pending.cancel_only(case.at_dispatch)?;
    }
    netio.release(plan.scripted)?;
    if case.cancel == Cancel::Racing {
        pending.cancel_only(case.at_dispatch)?;
    }
    let done = end(context, netio, plan, &pending, case)?;
    netio.clear()?;
    let made = judge(plan, &done, case)?;
    if case.cancel == Cancel::After && done.is(Progress::COMPLETED) {
        let again = pending.cancel()?;
        check::equal("completions after a late cancellation", again.outcome.completions, 1)?;
    }
    pending.free().ok();
    if made {
        Socket::made(client.probe, *client, &done, plan.category, Family::V4)?.close()?;
    }
    for socket in &scene.sockets {
        if plan.function != Function::CloseSocket || done.result() < 0 {
            socket.close()?;
        }
    }
    Ok(())
}

/// Waits for the end. A request that the provider refused without completing it may be the client's again as it came.
fn end(context: &Context, netio: &Netio, plan: &Plan<'_>, pending: &Pending<'_>, case: Case) -> Result<Done> {
    let first = &pending.first;
    let given_back =
        case.answer == Answer::Refused && first.outcome.returned != status::PENDING && !first.is(Progress::COMPLETED);
    if given_back {
        context.probe.abandon(pending.request)?;
        return Ok(first.clone());
    }
    let mut done = pending.wait_up_to(5)?;
    let begun = Instant::now();
    // What the script holds may have come to it after it was told to let go.
    while done.is(Progress::TIMED_OUT) {
        ensure!(begun.elapsed() < LIMIT, "{:?} did not complete", plan.function);
        netio.release(plan.scripted)?;
        done = pending.wait_up_to(20)?;
    }
    done.check_rules()?;
    Ok(done)
}

/// Whether the status fits the story. Returns whether a socket was made.
fn judge(plan: &Plan<'_>, done: &Done, case: Case) -> Result<bool> {
    let cancelled = plan.cancellable && matches!(case.cancel, Cancel::Before | Cancel::During | Cancel::Racing);
    let mut allowed = vec![if case.answer.is_failure() {
        FAILURE
    } else {
        status::SUCCESS
    }];
    if cancelled {
        allowed.push(status::CANCELLED);
    }
    // What was cancelled before it came so far as to be answered by the script, is answered by nobody; and the other way round.
    if cancelled && case.answer.is_failure() {
        allowed.push(status::SUCCESS);
    }
    check::one_of("result", done.result(), &allowed)?;
    let makes = matches!(
        plan.function,
        Function::Socket | Function::SocketConnect | Function::Accept
    );
    let made = makes && done.is(Progress::COMPLETED) && done.result() >= 0;
    if makes && !made && done.is(Progress::COMPLETED) {
        check::equal("no socket", done.information(), 0)?;
    }
    Ok(made)
}

fn plain(
    context: &Context,
    function: Function,
    scene: &dyn for<'p> Fn(&Client<'p>) -> Result<Scene<'p>>,
) -> Result<()> {
    run(
        context,
        &Plan {
            function,
            scripted: function,
            category: Category::Connection,
            cancellable: function != Function::CloseSocket,
            scene,
        },
    )
}

fn socket(context: &Context) -> Result<()> {
    let plan = Plan {
        function: Function::Socket,
        scripted: Function::Socket,
        category: Category::Datagram,
        cancellable: true,
        scene: &|client| {
            Ok(Scene {
                call: client.create(Category::Datagram, Family::V4),
                sockets: Vec::new(),
            })
        },
    };
    run(context, &plan)
}

fn connecting<'p>(client: &Client<'p>) -> Result<Scene<'p>> {
    let (listener, address) = client.listener(Family::V4)?;
    let call = client
        .call(Function::SocketConnect)
        .numbers([0, 1, 6, 0])
        .address(Family::V4.loopback(0))
        .address2(address);
    Ok(Scene {
        call,
        sockets: vec![listener],
    })
}

fn socket_connect(context: &Context) -> Result<()> {
    plain(context, Function::SocketConnect, &connecting)
}

fn socket_connect_in_steps(context: &Context) -> Result<()> {
    let initial = "[[initial]]\ncategory = \"connection\"\noption = \"SO_EXCLUSIVEADDRUSE\"\nvalue = 1\n";
    crate::guard::under(context, "off", initial, |_, client| {
        for scripted in [Function::Socket, Function::Bind, Function::Connect] {
            let plan = Plan {
                function: Function::SocketConnect,
                scripted,
                category: Category::Connection,
                cancellable: true,
                scene: &connecting,
            };
            run_for(context, client, &plan).with_context(|| format!("{scripted:?}"))?;
        }
        Ok(())
    })
}

fn control(context: &Context) -> Result<()> {
    plain(context, Function::ControlSocket, &|client| {
        let socket = client.datagram_socket(Family::V4)?;
        Ok(Scene {
            call: socket.set_call(SO_REUSEADDR, SOL_SOCKET, &[1, 0, 0, 0]),
            sockets: vec![socket],
        })
    })
}

fn binding<'p>(client: &Client<'p>) -> Result<Scene<'p>> {
    let socket = client.datagram_socket(Family::V4)?;
    Ok(Scene {
        call: socket.bind_call(Family::V4.loopback(0)),
        sockets: vec![socket],
    })
}

fn bind(context: &Context) -> Result<()> {
    plain(context, Function::Bind, &binding)
}

fn bind_made_exclusive(context: &Context) -> Result<()> {
    let rule = "[[rule]]\nname = \"own\"\nrequest = \"bind\"\naction = \"exclusive\"\n";
    crate::guard::under(context, "off", rule, |_, client| {
        for scripted in [Function::ControlSocket, Function::Bind] {
            let plan = Plan {
                function: Function::Bind,
                scripted,
                category: Category::Datagram,
                cancellable: true,
                scene: &binding,
            };
            run_for(context, client, &plan).with_context(|| format!("{scripted:?}"))?;
        }
        Ok(())
    })
}

fn bound<'p>(client: &Client<'p>, function: Function) -> Result<Scene<'p>> {
    let (listener, address) = client.listener(Family::V4)?;
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?;
    let call = near.call(function).address(address);
    let call = if function == Function::ConnectEx {
        call.input(b"first")
    } else {
        call
    };
    Ok(Scene {
        call,
        sockets: vec![near, listener],
    })
}

fn connect(context: &Context) -> Result<()> {
    plain(context, Function::Connect, &|client| bound(client, Function::Connect))
}

fn connect_ex(context: &Context) -> Result<()> {
    plain(context, Function::ConnectEx, &|client| {
        bound(client, Function::ConnectEx)
    })
}

fn listen(context: &Context) -> Result<()> {
    plain(context, Function::Listen, &|client| {
        let stream = client.stream_socket(Family::V4)?;
        stream.bind(Family::V4.loopback(0))?;
        Ok(Scene {
            call: stream.call(Function::Listen),
            sockets: vec![stream],
        })
    })
}

fn accept(context: &Context) -> Result<()> {
    plain(context, Function::Accept, &|client| {
        let (listener, address) = client.listener(Family::V4)?;
        let near = client.connection_socket(Family::V4)?;
        near.bind(Family::V4.loopback(0))?.connect(address)?;
        Ok(Scene {
            call: listener.accept_call(Reactions::default()),
            sockets: vec![near, listener],
        })
    })
}

fn disconnect(context: &Context) -> Result<()> {
    plain(context, Function::Disconnect, &|client| {
        let (listener, near, far) = client.pair(Family::V4)?;
        Ok(Scene {
            call: near.call(Function::Disconnect).null_buffer(),
            sockets: vec![near, far, listener],
        })
    })
}

fn close(context: &Context) -> Result<()> {
    plain(context, Function::CloseSocket, &|client| {
        let socket = client.datagram_socket(Family::V4)?;
        Ok(Scene {
            call: socket.close_call(),
            sockets: vec![socket],
        })
    })
}

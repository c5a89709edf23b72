//! What a loaded policy does to requests: each action for each kind of request, what a rule matches, and how policies are swapped.
//!
//! A policy cannot be unloaded, so each test ends with one that lets everything through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, bail};
use probe_protocol::probe::{Category, Function, Happening, Reactions, Slots};
use wskguard_abi::status_flags;
use wskguard_core::counters::Counter;
use wskguardctl::driver::Error;

use crate::check;
use crate::context::{Context, finish};
use crate::guard::{Guard, PERMISSIVE};
use crate::probe::{Client, Family, Npi, Socket};
use crate::runner::tests;
use crate::status;
use crate::testkernel::Netio;
use crate::wsk::{
    SIO_WSK_QUERY_RECEIVE_BACKLOG, SO_BROADCAST, SO_EXCLUSIVEADDRUSE, SO_KEEPALIVE, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF,
    SOL_SOCKET, WSK_EVENT_ACCEPT,
};

tests! {
    "policy";
    deny_set, Filtered, "POLICY.md deny", "a denied set completes once with the status, and the provider's option is as it was";
    deny_status, Filtered, "POLICY.md deny", "a rule names its status, by name or number";
    deny_get_and_ioctl, Filtered, "POLICY.md deny", "a get and an ioctl can be denied, and write nothing";
    default_deny, Filtered, "POLICY.md default", "what no rule matches gets the default; the first match wins";
    clamp_on_set, Filtered, "POLICY.md clamp", "the provider is given the nearest value of the range";
    force_on_set, Filtered, "POLICY.md force", "the provider is given the rule's value, also for what is no number";
    rewrite_on_set, Filtered, "POLICY.md rewrite", "values of the map are replaced, others pass";
    substitutes_on_get, Filtered, "POLICY.md What a rule does", "clamp, force and rewrite change what a get tells, not the option";
    succeed, Filtered, "POLICY.md succeed", "a set or ioctl succeeds without reaching the provider";
    deny_bind_by_port, Filtered, "POLICY.md port", "a bind to a port of the rule is denied before the provider sees it";
    deny_bind_by_sharing, Filtered, "POLICY.md sharing", "a bind is judged by the sharing options in force at the bind";
    deny_bind_by_address, Filtered, "POLICY.md address", "wildcard, loopback and ephemeral binds are told apart";
    deny_bind_of_socket_connect, Filtered, "POLICY.md request", "the bind inside WskSocketConnect is judged as well";
    exclusive_bind, Filtered, "POLICY.md exclusive", "the option reads back 1, and a second bind fails in spite of SO_REUSEADDR";
    exclusive_bind_of_each, Filtered, "POLICY.md exclusive", "a bind that is made exclusive, of every category that binds";
    initial_on_socket, Filtered, "POLICY.md Initial options", "a new socket has all initial options that match, and only those";
    initial_on_accept, Filtered, "POLICY.md Initial options", "a socket from WskAccept has them";
    initial_on_accept_event, Filtered, "POLICY.md Initial options", "a socket from WskAcceptEvent has them soon";
    audit_mode, Filtered, "POLICY.md mode", "a policy that only audits changes nothing, and counts what it would have done";
    counters, Filtered, "counters", "each decision moves the counters that stand for it, and no others";
    match_client, Filtered, "POLICY.md client", "a rule for one driver's image leaves another's requests alone";
    match_endpoint, Filtered, "POLICY.md What a rule matches", "category, family and protocol restrict a rule";
    match_values, Filtered, "POLICY.md old, new", "old and new values restrict a rule";
    hits, Filtered, "decisions and records", "every decision counts for its rule or for the default; a new generation begins at 0";
    corrupt_images, Filtered, "IOCTL.md SetPolicy", "no image with a flipped bit or a cut end is accepted, and the old policy stays";
    expected_generation, Filtered, "IOCTL.md SetPolicyRequest", "a load that expects another generation is refused";
    policy_reads_back, Filtered, "IOCTL.md GetPolicy", "the image in force is the one loaded, with its hash";
    get_in_flight_keeps_its_policy, Filtered, "decisions and records", "a get decided on one policy is not finished on another";
    @60 swapped_under_traffic, Filtered, "decisions and records", "while policies are swapped, each request sees the one or the other";
}

pub(super) fn compile(text: &str) -> Result<Vec<u8>> {
    match wskguard_policy::compile("test.toml", text) {
        Ok(compiled) => Ok(compiled.image),
        Err(diagnostics) => bail!("the test's policy is wrong: {diagnostics:?}"),
    }
}

/// A policy in force until the end of its test.
pub(super) struct InForce(pub(super) Guard);

impl InForce {
    /// Keys of the policy, then its tables.
    pub(super) fn load(keys: &str, tables: &str) -> Result<Self> {
        let mut policy = Self(Guard::open()?);
        policy.swap(keys, tables)?;
        Ok(policy)
    }

    fn swap(&mut self, keys: &str, tables: &str) -> Result<()> {
        self.0.load(&format!(
            "schema = 1\nname = \"test\"\nsemantics = \"audit\"\n{keys}\n{tables}"
        ))
    }

    /// Lets everything through again.
    fn lift(&mut self) -> Result<()> {
        self.0.load(PERMISSIVE)
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        let _ = self.0.load(PERMISSIVE);
    }
}

/// One rule without keys of the policy.
fn rule(text: &str) -> Result<InForce> {
    InForce::load("", &format!("[[rule]]\nname = \"the rule\"\n{text}"))
}

/// A client's sockets do what they are for.
pub(super) fn works(client: &Client<'_>) -> Result<()> {
    let (listener, near, far) = client.pair(Family::V4)?;
    near.send(b"works")?;
    check::equal("data", far.receive_all(5)?, b"works".to_vec())?;
    for socket in [near, far, listener] {
        socket.close()?;
    }
    Ok(())
}

fn denied(socket: &Socket<'_>, option: u32, value: u32, status: i32) -> Result<()> {
    let done = socket
        .set_call(option, SOL_SOCKET, &value.to_le_bytes())
        .fails_with(status)?;
    check::equal("completions", done.outcome.completions, 1)?;
    check::equal("Information", done.information(), 0)
}

fn deny_set(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let listener = client.listen_socket(Family::V4)?;
    let mut policy = rule(
        "request = \"set\"\noption = \"SO_REUSEADDR\"\ncategory = [\"listen\", \"stream\"]\nnew = 1\naction = \"deny\"\n",
    )?;
    denied(&listener, SO_REUSEADDR, 1, status::ACCESS_DENIED)?;
    let set = listener.set_call(SO_REUSEADDR, SOL_SOCKET, &1_u32.to_le_bytes());
    check::status(
        "at DISPATCH_LEVEL",
        set.clone().at_dispatch().run()?.result(),
        status::ACCESS_DENIED,
    )?;
    check::status("without an IRP", set.no_irp().run()?.result(), status::ACCESS_DENIED)?;
    check::equal("SO_REUSEADDR", listener.get(SO_REUSEADDR)?, 0)?;
    listener.set(SO_REUSEADDR, 0)?;
    check::equal(
        "of a datagram socket",
        client
            .datagram_socket(Family::V4)?
            .set(SO_REUSEADDR, 1)?
            .get(SO_REUSEADDR)?,
        1,
    )?;
    policy.lift()?;
    check::equal("SO_REUSEADDR, policy lifted", listener.get(SO_REUSEADDR)?, 0)?;
    check::equal("and set", listener.set(SO_REUSEADDR, 1)?.get(SO_REUSEADDR)?, 1)
}

fn deny_status(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    for (text, expected) in [
        ("\"STATUS_NOT_SUPPORTED\"", status::NOT_SUPPORTED),
        ("0xC000009A", status::INSUFFICIENT_RESOURCES),
    ] {
        let _policy = rule(&format!(
            "request = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\nstatus = {text}\n"
        ))?;
        denied(&socket, SO_BROADCAST, 1, expected)?;
    }
    check::equal("SO_BROADCAST", socket.get(SO_BROADCAST)?, 0)
}

fn deny_get_and_ioctl(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let (_listener, near, _far) = client.pair(Family::V4)?;
    let _policy = InForce::load(
        "",
        "[[rule]]\nname = \"get\"\nrequest = \"get\"\noption = \"SO_RCVBUF\"\naction = \"deny\"\n\
         [[rule]]\nname = \"ioctl\"\nrequest = \"ioctl\"\ncode = \"SIO_WSK_QUERY_RECEIVE_BACKLOG\"\naction = \"deny\"\n",
    )?;
    let done = socket
        .get_call(SO_RCVBUF, SOL_SOCKET, 4)
        .fill(0xA5)
        .fails_with(status::ACCESS_DENIED)?;
    check::equal("the buffer", (done.information(), done.output), (0, vec![0xA5; 4]))?;
    socket.set(SO_RCVBUF, 8192)?;
    let done = near
        .ioctl_call(SIO_WSK_QUERY_RECEIVE_BACKLOG)
        .output(8)
        .fill(0xA5)
        .fails_with(status::ACCESS_DENIED)?;
    check::equal("the buffer", (done.information(), done.output), (0, vec![0xA5; 8]))
}

fn default_deny(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let policy = InForce::load(
        "default = \"deny\"",
        "[[rule]]\nname = \"first\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"allow\"\n\
         [[rule]]\nname = \"second\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n",
    )?;
    socket.set(SO_BROADCAST, 1)?;
    denied(&socket, SO_RCVBUF, 8192, status::ACCESS_DENIED)?;
    socket
        .bind_call(Family::V4.loopback(0))
        .fails_with(status::ACCESS_DENIED)?;
    socket
        .get_call(SO_BROADCAST, SOL_SOCKET, 4)
        .fails_with(status::ACCESS_DENIED)?;
    drop(policy);
    check::equal("SO_BROADCAST", socket.get(SO_BROADCAST)?, 1)?;
    socket.bind(Family::V4.loopback(0)).map(drop)
}

fn clamp_on_set(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = rule("request = \"set\"\noption = \"SO_RCVBUF\"\naction = \"clamp\"\nmin = 8192\nmax = 65536\n")?;
    for (asked, given) in [
        (1, 8192),
        (8192, 8192),
        (30_000, 30_000),
        (65_536, 65_536),
        (1 << 20, 65_536),
        (u32::MAX, 65_536),
    ] {
        check::equal(
            &format!("asked for {asked}"),
            socket.set(SO_RCVBUF, asked)?.get(SO_RCVBUF)?,
            given,
        )?;
    }
    Ok(())
}

fn force_on_set(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = InForce::load(
        "",
        "[[rule]]\nname = \"on\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"force\"\nvalue = 1\n\
         [[rule]]\nname = \"size\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 16384\n",
    )?;
    check::equal("SO_BROADCAST", socket.set(SO_BROADCAST, 0)?.get(SO_BROADCAST)?, 1)?;
    check::equal("SO_RCVBUF", socket.set(SO_RCVBUF, 99)?.get(SO_RCVBUF)?, 16_384)?;
    let other = context.attach()?.datagram_socket(Family::V4)?;
    other.set_call(SO_RCVBUF, SOL_SOCKET, &[7, 7]).ok()?;
    check::equal("SO_RCVBUF of two bytes", other.get(SO_RCVBUF)?, 16_384)
}

fn rewrite_on_set(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = rule(
        "request = \"set\"\noption = \"SO_SNDBUF\"\naction = \"rewrite\"\nmap = { \"5000\" = 8192, \">65536\" = 65536 }\n",
    )?;
    for (asked, given) in [
        (5000, 8192),
        (5001, 5001),
        (65_536, 65_536),
        (65_537, 65_536),
        (1 << 24, 65_536),
    ] {
        check::equal(
            &format!("asked for {asked}"),
            socket.set(SO_SNDBUF, asked)?.get(SO_SNDBUF)?,
            given,
        )?;
    }
    Ok(())
}

fn substitutes_on_get(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    socket.set(SO_RCVBUF, 20_000)?;
    for (action, told) in [
        ("clamp\"\nmin = 0\nmax = 1000\n", 1000),
        ("clamp\"\nmin = 30000\nmax = 40000\n", 30_000),
        ("force\"\nvalue = 4711\n", 4711),
        ("rewrite\"\nmap = { \"20000\" = 3 }\n", 3),
        ("rewrite\"\nmap = { \"20001\" = 3 }\n", 20_000),
    ] {
        let mut policy = rule(&format!(
            "request = \"get\"\noption = \"SO_RCVBUF\"\naction = \"{action}"
        ))?;
        check::equal(action, socket.get(SO_RCVBUF)?, told)?;
        policy.lift()?;
        check::equal("the option itself", socket.get(SO_RCVBUF)?, 20_000)?;
    }
    Ok(())
}

fn succeed(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let (_listener, near, _far) = client.pair(Family::V4)?;
    let mut policy = InForce::load(
        "",
        "[[rule]]\nname = \"set\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"succeed\"\n\
         [[rule]]\nname = \"ioctl\"\nrequest = \"ioctl\"\ncode = \"SIO_WSK_QUERY_RECEIVE_BACKLOG\"\naction = \"succeed\"\n",
    )?;
    check::equal("a get", socket.set(SO_BROADCAST, 1)?.get(SO_BROADCAST)?, 0)?;
    let done = near
        .ioctl_call(SIO_WSK_QUERY_RECEIVE_BACKLOG)
        .output(8)
        .fill(0xA5)
        .ok()?;
    check::equal("nothing written", (done.information(), done.output), (0, vec![0xA5; 8]))?;
    policy.lift()?;
    check::equal("the provider's", socket.get(SO_BROADCAST)?, 0)
}

/// A port that was free a moment ago.
fn free_port(client: &Client<'_>) -> Result<u16> {
    let (socket, address) = client.datagram(Family::V4)?;
    socket.close()?;
    Ok(address.port())
}

fn deny_bind_by_port(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let port = free_port(&client)?;
    let mut policy = rule(&format!(
        "request = \"bind\"\nport = [\"1..=1023\", {port}]\naction = \"deny\"\n"
    ))?;
    let socket = client.datagram_socket(Family::V4)?;
    for port in [port, 1, 1023] {
        let done = socket
            .bind_call(Family::V4.loopback(port))
            .fails_with(status::ACCESS_DENIED)?;
        check::equal("completions", done.outcome.completions, 1)?;
    }
    socket.bind(Family::V4.loopback(0))?;
    // The port is still free, so the provider has seen none of this.
    policy.lift()?;
    client
        .datagram_socket(Family::V4)?
        .bind(Family::V4.loopback(port))
        .map(drop)
}

fn deny_bind_by_sharing(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let deny = |sharing: &str| {
        rule(&format!(
            "request = \"bind\"\nsharing = \"{sharing}\"\naction = \"deny\"\n"
        ))
    };
    let with = |option: Option<u32>| -> Result<Socket<'_>> {
        let socket = client.datagram_socket(Family::V4)?;
        if let Some(option) = option {
            socket.set(option, 1)?;
        }
        Ok(socket)
    };
    let options = [
        ("default", None),
        ("reuse", Some(SO_REUSEADDR)),
        ("exclusive", Some(SO_EXCLUSIVEADDRUSE)),
    ];
    for (denied, _) in options {
        let _policy = deny(denied)?;
        for (sharing, option) in options {
            let expected = if sharing == denied {
                status::ACCESS_DENIED
            } else {
                status::SUCCESS
            };
            let done = with(option)?.bind_call(Family::V4.loopback(0)).run()?;
            check::status(&format!("{sharing} where {denied} is denied"), done.result(), expected)?;
        }
    }
    Ok(())
}

fn deny_bind_by_address(context: &Context) -> Result<()> {
    let client = context.attach()?;
    for family in Family::BOTH {
        for (denied, text) in [
            ("wildcard", "address = \"wildcard\""),
            ("loopback", "address = \"loopback\""),
        ] {
            let _policy = rule(&format!(
                "request = \"bind\"\n{text}\nport = \"ephemeral\"\naction = \"deny\"\n"
            ))?;
            for (kind, address) in [("wildcard", family.wildcard(0)), ("loopback", family.loopback(0))] {
                let expected = if kind == denied {
                    status::ACCESS_DENIED
                } else {
                    status::SUCCESS
                };
                let done = client.datagram_socket(family)?.bind_call(address).run()?;
                check::status(
                    &format!("{family} {kind} where {denied} is denied"),
                    done.result(),
                    expected,
                )?;
            }
        }
    }
    Ok(())
}

fn deny_bind_of_socket_connect(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (_listener, address) = client.listener(Family::V4)?;
    let guard = context.guard()?;
    let mut policy = rule("request = \"bind\"\nport = \"ephemeral\"\ncategory = \"connection\"\naction = \"deny\"\n")?;
    drop(guard);
    let before = policy.0.status()?.endpoints;
    let call = client
        .call(Function::SocketConnect)
        .numbers([0, 1, 6, 0])
        .address(Family::V4.loopback(0))
        .address2(address);
    let done = call.fails_with(status::ACCESS_DENIED)?;
    check::equal("no socket", done.information(), 0)?;
    check::equal("endpoints", policy.0.status()?.endpoints, before)
}

fn exclusive_bind(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let policy = rule("request = \"bind\"\nsharing = [\"default\"]\naction = \"exclusive\"\n")?;
    let holder = client.datagram_socket(Family::V4)?;
    let address = holder.bind(Family::V4.wildcard(0))?.local_address()?;
    drop(policy);
    check::equal("SO_EXCLUSIVEADDRUSE", holder.get(SO_EXCLUSIVEADDRUSE)?, 1)?;
    let thief = client.datagram_socket(Family::V4)?;
    thief.set(SO_REUSEADDR, 1)?;
    let done = thief.bind_call(Family::V4.wildcard(address.port())).run()?;
    check::holds(
        &format!("the second bind fails: {}", status::name(done.result())),
        done.result() < 0,
    )?;
    let other = client.datagram_socket(Family::V4)?;
    other.bind(Family::V4.loopback(0))?;
    check::equal("without the rule", other.get(SO_EXCLUSIVEADDRUSE)?, 0)
}

fn exclusive_bind_of_each(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = rule("request = \"bind\"\naction = \"exclusive\"\n")?;
    for category in [Category::Listen, Category::Connection, Category::Stream] {
        let socket = client.socket(category, Family::V4, Reactions::default())?;
        socket.bind(Family::V4.loopback(0))?;
        check::equal(&format!("{category:?}"), socket.get(SO_EXCLUSIVEADDRUSE)?, 1)?;
    }
    Ok(())
}

fn initial_on_socket(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let policy = InForce::load(
        "",
        "[[initial]]\ncategory = \"listen\"\noption = \"SO_EXCLUSIVEADDRUSE\"\nvalue = 1\n\
         [[initial]]\ncategory = \"datagram\"\noption = \"SO_BROADCAST\"\nvalue = 1\n\
         [[initial]]\ncategory = \"datagram\"\nfamily = \"inet\"\noption = \"SO_RCVBUF\"\nvalue = 12345\n\
         [[initial]]\nclient = \"probe2.sys\"\noption = \"SO_SNDBUF\"\nvalue = 12345\n",
    )?;
    let (listener, datagram, six) = (
        client.listen_socket(Family::V4)?,
        client.datagram_socket(Family::V4)?,
        client.datagram_socket(Family::V6)?,
    );
    drop(policy);
    check::equal("SO_EXCLUSIVEADDRUSE", listener.get(SO_EXCLUSIVEADDRUSE)?, 1)?;
    check::equal(
        "SO_BROADCAST",
        (datagram.get(SO_BROADCAST)?, six.get(SO_BROADCAST)?),
        (1, 1),
    )?;
    check::equal("SO_RCVBUF", datagram.get(SO_RCVBUF)?, 12_345)?;
    check::holds("of IPv6 as it was", six.get(SO_RCVBUF)? != 12_345)?;
    check::holds("of another client", datagram.get(SO_SNDBUF)? != 12_345)?;
    check::equal(
        "the client may change it",
        datagram.set(SO_BROADCAST, 0)?.get(SO_BROADCAST)?,
        0,
    )
}

const KEEPALIVE: &str = "[[initial]]\ncategory = \"connection\"\noption = \"SO_KEEPALIVE\"\nvalue = 1\n";

fn initial_on_accept(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let (listener, address) = client.listener(Family::V4)?;
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?;
    let policy = InForce::load("", KEEPALIVE)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    near.connect(address)?;
    let far = listener.accepted(&accept.wait()?.checked_ok()?)?;
    drop(policy);
    check::equal("of the accepted", far.get(SO_KEEPALIVE)? & 0xFF, 1)?;
    check::equal("of the one made before", near.get(SO_KEEPALIVE)? & 0xFF, 0)
}

fn initial_on_accept_event(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let reactions = Reactions {
        slots: Slots::ALL.0,
        accepted_slots: Slots::ALL.0,
        ..Reactions::default()
    };
    let events = context.probe.events();
    let listener = client.socket(Category::Listen, Family::V4, reactions)?;
    let address = listener
        .bind(Family::V4.loopback(0))?
        .enable(WSK_EVENT_ACCEPT)?
        .local_address()?;
    let near = client.connection_socket(Family::V4)?;
    near.bind(Family::V4.loopback(0))?;
    let _policy = InForce::load("", KEEPALIVE)?;
    near.connect(address)?;
    let event = events.wait_for(Happening::Accept, listener.id)?;
    let far = listener.accepted_as(event.other);
    for _ in 0..50 {
        if far.get(SO_KEEPALIVE)? & 0xFF == 1 {
            return Ok(());
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
    bail!("SO_KEEPALIVE is still off after a second")
}

/// What is done with a request moves these counters of [`DECISIONS`] by one, and the others not.
fn counters(context: &Context) -> Result<()> {
    const SO_TYPE: u32 = 0x1008;
    const AUDIT: &str = "semantics = \"audit\"\n";
    const DECISIONS: [Counter; 8] = [
        Counter::RefusedByPolicy,
        Counter::RefusedBySemantics,
        Counter::Clamped,
        Counter::Forced,
        Counter::Rewritten,
        Counter::Answered,
        Counter::WouldRefuse,
        Counter::ContractBreaches,
    ];
    let rule = |action: &str| {
        format!("[[rule]]\nname = \"one\"\nrequest = \"set\"\noption = \"SO_SNDBUF\"\naction = {action}\n")
    };
    let cases: [(&str, String, u32, &[Counter]); 8] = [
        (AUDIT, rule("\"deny\""), SO_SNDBUF, &[Counter::RefusedByPolicy]),
        (
            AUDIT,
            rule("\"clamp\"\nmin = 1\nmax = 2"),
            SO_SNDBUF,
            &[Counter::Clamped],
        ),
        (AUDIT, rule("\"force\"\nvalue = 3"), SO_SNDBUF, &[Counter::Forced]),
        (
            "",
            rule("\"rewrite\"\nmap = { \"5000\" = 3 }"),
            SO_SNDBUF,
            &[Counter::Rewritten],
        ),
        (AUDIT, rule("\"succeed\""), SO_SNDBUF, &[Counter::Answered]),
        (
            "mode = \"audit\"\n",
            rule("\"deny\""),
            SO_SNDBUF,
            &[Counter::WouldRefuse],
        ),
        (
            "semantics = \"strict\"\n",
            String::new(),
            SO_TYPE,
            &[Counter::RefusedBySemantics, Counter::ContractBreaches],
        ),
        (
            AUDIT,
            String::new(),
            SO_TYPE,
            &[Counter::WouldRefuse, Counter::ContractBreaches],
        ),
    ];
    let client = context.attach()?;
    for (keys, rules, option, moved) in cases {
        let mut policy = InForce(Guard::open()?);
        policy.0.load(&format!("schema = 1\nname = \"test\"\n{keys}{rules}"))?;
        let socket = client.datagram_socket(Family::V4)?;
        let counted = |guard: &mut Guard| DECISIONS.map(|counter| guard.counted(counter).ok());
        let before = counted(&mut policy.0);
        socket.set_call(option, SOL_SOCKET, &5000_u32.to_le_bytes()).run()?;
        let after = counted(&mut policy.0);
        for ((counter, before), after) in DECISIONS.into_iter().zip(before).zip(after) {
            let more = u64::from(moved.contains(&counter));
            let what = format!("{counter:?} under {keys}{rules}");
            check::equal(&what, after, before.map(|before| before + more))?;
        }
        socket.close()?;
    }
    Ok(())
}

fn audit_mode(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let mut policy = InForce::load(
        "mode = \"audit\"",
        "[[rule]]\nname = \"set\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n\
         [[rule]]\nname = \"size\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 9999\n\
         [[rule]]\nname = \"get\"\nrequest = \"get\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 1\n\
         [[rule]]\nname = \"bind\"\nrequest = \"bind\"\naction = \"exclusive\"\n\
         [[initial]]\noption = \"SO_SNDBUF\"\nvalue = 9999\n",
    )?;
    let socket = client.datagram_socket(Family::V4)?;
    check::equal("SO_BROADCAST", socket.set(SO_BROADCAST, 1)?.get(SO_BROADCAST)?, 1)?;
    check::equal("SO_RCVBUF", socket.set(SO_RCVBUF, 20_000)?.get(SO_RCVBUF)?, 20_000)?;
    socket.bind(Family::V4.loopback(0))?;
    check::equal("SO_EXCLUSIVEADDRUSE", socket.get(SO_EXCLUSIVEADDRUSE)?, 0)?;
    check::holds("SO_SNDBUF", socket.get(SO_SNDBUF)? != 9999)?;
    let hits = policy.0.rule_counters()?.values;
    check::equal("hits of the rules", hits.get(..4), Some([1, 1, 1, 1].as_slice()))
}

fn match_client(context: &Context) -> Result<()> {
    let second = context.second_driver()?;
    let (ours, theirs) = (context.attach()?, second.attach(Npi::Wskguard)?);
    for (image, probe_denied) in [("probe.sys", true), ("PROBE2.SYS", false)] {
        let _policy = rule(&format!(
            "request = \"set\"\noption = \"SO_BROADCAST\"\nclient = \"{image}\"\naction = \"deny\"\n"
        ))?;
        for (client, is_probe) in [(&ours, true), (&theirs, false)] {
            let expected = if is_probe == probe_denied {
                status::ACCESS_DENIED
            } else {
                status::SUCCESS
            };
            let done = client
                .datagram_socket(Family::V4)?
                .set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes())
                .run()?;
            check::status(&format!("rule for {image}"), done.result(), expected)?;
        }
    }
    finish(&second)
}

fn match_endpoint(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let sockets = [
        ("datagram", "inet", "udp", client.datagram_socket(Family::V4)?),
        ("datagram", "inet6", "udp", client.datagram_socket(Family::V6)?),
        ("listen", "inet", "tcp", client.listen_socket(Family::V4)?),
        ("connection", "inet6", "tcp", client.connection_socket(Family::V6)?),
        ("stream", "inet", "tcp", client.stream_socket(Family::V4)?),
    ];
    for condition in [
        "category = \"datagram\"",
        "category = \"stream\"",
        "family = \"inet6\"",
        "protocol = \"tcp\"",
        "protocol = 17",
    ] {
        let _policy = rule(&format!(
            "request = \"set\"\noption = \"SO_REUSEADDR\"\n{condition}\naction = \"deny\"\n"
        ))?;
        for (category, family, protocol, socket) in &sockets {
            let matches = ["category", "family", "protocol"]
                .into_iter()
                .zip([category, family, protocol]);
            let named = matches
                .into_iter()
                .any(|(key, word)| condition == format!("{key} = \"{word}\""));
            let matched = named || (condition == "protocol = 17" && *protocol == "udp");
            let done = socket.set_call(SO_REUSEADDR, SOL_SOCKET, &1_u32.to_le_bytes()).run()?;
            let expected = if matched {
                status::ACCESS_DENIED
            } else {
                status::SUCCESS
            };
            check::status(
                &format!("{condition}: {category} {family} {protocol}"),
                done.result(),
                expected,
            )?;
        }
    }
    Ok(())
}

fn match_values(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let mut policy = rule("request = \"set\"\noption = \"SO_RCVBUF\"\nold = 8192\naction = \"deny\"\n")?;
    socket.set(SO_RCVBUF, 4096)?.set(SO_RCVBUF, 8192)?;
    denied(&socket, SO_RCVBUF, 4096, status::ACCESS_DENIED)?;
    policy.swap("", "[[rule]]\nname = \"new\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\nnew = [\"1..=10\", \">100000\"]\naction = \"deny\"\n")?;
    for (value, is_denied) in [
        (0, false),
        (1, true),
        (10, true),
        (11, false),
        (100_000, false),
        (100_001, true),
    ] {
        let done = socket.set_call(SO_RCVBUF, SOL_SOCKET, &u32::to_le_bytes(value)).run()?;
        check::equal(
            &format!("{value}: {}", status::name(done.result())),
            done.result() == status::ACCESS_DENIED,
            is_denied,
        )?;
    }
    Ok(())
}

fn hits(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let tables = "[[rule]]\nname = \"set\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n\
                  [[rule]]\nname = \"size\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"clamp\"\nmin = 1\nmax = 65536\n";
    let mut policy = InForce::load("", tables)?;
    check::equal("at first", policy.0.rule_counters()?.values, vec![0, 0, 0])?;
    for _ in 0..3 {
        denied(&socket, SO_BROADCAST, 1, status::ACCESS_DENIED)?;
    }
    for _ in 0..5 {
        socket.set(SO_RCVBUF, 1 << 20)?;
    }
    for _ in 0..7 {
        socket.get(SO_RCVBUF)?;
    }
    let hits = policy.0.rule_counters()?;
    check::equal("hits", hits.values, vec![3, 5, 7])?;
    check::equal("generation", hits.generation, policy.0.status()?.generation)?;
    policy.swap("", tables)?;
    check::equal(
        "of the next generation",
        policy.0.rule_counters()?.values,
        vec![0, 0, 0],
    )
}

fn status_of(error: &Error) -> i32 {
    if let Error::Status { status, .. } = error {
        status.cast_signed()
    } else {
        0
    }
}

fn corrupt_images(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let mut policy = rule("request = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n")?;
    let before = policy.0.status()?;
    let good = policy.0.policy_in_force()?.image;
    let invalid = (0xC000_007B_u32).cast_signed();
    for at in 0..good.len() {
        let mut image = good.clone();
        image[at] ^= 1 << (at % 8);
        match policy.0.set_policy(&image, None) {
            Ok(_) => bail!("an image with byte {at} changed was accepted"),
            Err(error) => check::status(&format!("byte {at} changed"), status_of(&error), invalid)?,
        }
    }
    for length in 0..good.len() {
        match policy.0.set_policy(&good[..length], None) {
            Ok(_) => bail!("{length} bytes of {} were accepted", good.len()),
            Err(error) => check::status(&format!("{length} bytes"), status_of(&error), invalid)?,
        }
    }
    check::equal("status", policy.0.status()?, before)?;
    denied(&socket, SO_BROADCAST, 1, status::ACCESS_DENIED)
}

fn expected_generation(_: &Context) -> Result<()> {
    let mut policy = rule("request = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n")?;
    let before = policy.0.status()?;
    let image = compile(PERMISSIVE)?;
    for expected in [before.generation - 1, before.generation + 1, 0, u64::MAX - 1] {
        match policy.0.set_policy(&image, Some(expected)) {
            Ok(_) => bail!("loaded although generation {expected} is not in force"),
            Err(error) => check::status(
                &format!("expecting {expected}"),
                status_of(&error),
                status::REQUEST_NOT_ACCEPTED,
            )?,
        }
    }
    check::equal("status", policy.0.status()?, before)?;
    let reply = policy.0.set_policy(&image, Some(before.generation))?;
    check::equal(
        "generation",
        (reply.generation, policy.0.status()?.generation),
        (before.generation + 1, before.generation + 1),
    )
}

fn policy_reads_back(_: &Context) -> Result<()> {
    // Larger than one reply of the companion holds.
    let rules: String = (0..3000)
        .map(|n| format!("[[rule]]\nname = \"rule {n} of a long policy\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\nnew = {n}\naction = \"deny\"\n"))
        .collect();
    let text = format!("schema = 1\nname = \"long\"\n{rules}");
    let mut policy = InForce(Guard::open()?);
    policy.0.load(&text)?;
    let (image, in_force) = (compile(&text)?, policy.0.policy_in_force()?);
    check::holds("the image is long", image.len() > 100_000)?;
    check::holds("the same image", image == in_force.image)?;
    let state = policy.0.status()?;
    check::equal(
        "status",
        (state.rules, state.generation, state.policy_hash),
        (3000, in_force.generation, in_force.hash),
    )?;
    check::equal("not built in", state.flags & status_flags::BUILT_IN_POLICY, 0)
}

fn get_in_flight_keeps_its_policy(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let netio = Netio::open()?;
    socket.set(SO_RCVBUF, 20_000)?;
    for (action, told) in [
        ("clamp\"\nmin = 0\nmax = 1000", 1000),
        ("force\"\nvalue = 77", 77),
        ("rewrite\"\nmap = { \"20000\" = 3 }", 3),
    ] {
        let mut policy = rule(&format!(
            "request = \"get\"\noption = \"SO_RCVBUF\"\naction = \"{action}\n"
        ))?;
        netio.hold_completion(Function::ControlSocket)?;
        let get = socket.get_call(SO_RCVBUF, SOL_SOCKET, 4).start()?;
        check::holds("held", get.is_pending()?)?;
        policy.lift()?;
        netio.release(Function::ControlSocket)?;
        let done = get.wait()?.checked_ok()?;
        check::equal(action, done.value(), told)?;
    }
    Ok(())
}

fn swapped_under_traffic(context: &Context) -> Result<()> {
    const SWAPS: usize = 200;
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let text = |status: &str, value: u32| {
        format!(
            "schema = 1\nname = \"one of two\"\n\
             [[rule]]\nname = \"set\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\nstatus = \"{status}\"\n\
             [[rule]]\nname = \"get\"\nrequest = \"get\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = {value}\n"
        )
    };
    let images = [
        compile(&text("STATUS_ACCESS_DENIED", 11_111))?,
        compile(&text("STATUS_NOT_SUPPORTED", 22_222))?,
    ];
    let mut policy = InForce(Guard::open()?);
    let first = policy.0.set_policy(&images[0], None)?.generation;
    let over = AtomicBool::new(false);
    let (swapped, seen) = thread::scope(|scope| {
        let swapper = scope.spawn(|| -> Result<u64> {
            let mut generation = first;
            for swap in 1..=SWAPS {
                generation = policy.0.set_policy(&images[swap % 2], Some(generation))?.generation;
            }
            over.store(true, Ordering::Relaxed);
            Ok(generation)
        });
        let traffic = || -> Result<[u32; 2]> {
            let mut seen = [0; 2];
            while !over.load(Ordering::Relaxed) && !swapper.is_finished() {
                let done = socket.set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes()).run()?;
                check::one_of("set", done.result(), &[status::ACCESS_DENIED, status::NOT_SUPPORTED])?;
                seen[usize::from(done.result() == status::NOT_SUPPORTED)] += 1;
                let value = socket.get(SO_RCVBUF)?;
                check::holds(
                    &format!("one of the two values: {value}"),
                    value == 11_111 || value == 22_222,
                )?;
            }
            Ok(seen)
        };
        let seen = traffic();
        (swapper.join(), seen)
    });
    let last = swapped.unwrap_or_else(|_| bail!("the swapping thread panicked"))?;
    let seen = seen?;
    check::equal("generations", last - first, SWAPS as u64)?;
    check::holds(
        &format!("both were seen: {seen:?}"),
        seen.iter().all(|count| *count > 0),
    )?;
    drop(policy);
    check::equal("SO_BROADCAST", socket.get(SO_BROADCAST)?, 0)
}

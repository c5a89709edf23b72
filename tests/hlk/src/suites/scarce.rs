//! Without memory: calls fail cleanly or do without, and what completes or closes needs none. On the test kernel the filter's own
//! calls are made to fail; on Windows the real verifier's low-resources simulation fails some, and the tests that need all of them to
//! fail are skipped.

use anyhow::{Result, ensure};
use probe_protocol::probe::{Category, Reactions};
use testkernel_check::verifier::{FaultMode, Verifier};

use crate::check;
use crate::context::{Context, skip};
use crate::guard::{PERMISSIVE, under};
use crate::probe::{Client, Done, Family, Npi};
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_LINGER, SO_RCVBUF, SOL_SOCKET};

tests! {
    "scarce";
    @60 some_calls_fail, Filtered, "load and faults", "one call of the filter in ten fails: requests succeed or end for want of resources, and nothing is left";
    close_needs_nothing, Filtered, "interposition", "sockets in every state close while every call of the filter fails";
    completion_needs_nothing, Filtered, "interposition", "pending requests complete, and an accept hands its socket out, while every call fails";
    control_fails_whole, Filtered, "interposition", "a set that cannot be carried out for want of resources changes nothing";
    policy_stays, Filtered, "decisions and records", "a policy that cannot be loaded for want of resources leaves the one of before in force";
}

const ALWAYS: u32 = 65536;

/// The filter's calls fail, until this is dropped.
struct Scarce(Option<Verifier>);

impl Scarce {
    /// With this probability out of 65536, where that can be asked for.
    fn begin(probability: u32) -> Result<Self> {
        let verifier = Verifier::open().ok();
        if let Some(verifier) = &verifier {
            verifier.arm(FaultMode::Random, |round| round.probability = probability)?;
        }
        Ok(Self(verifier))
    }

    /// All of them; skips the test where nobody can do that.
    fn all() -> Result<Self> {
        let scarce = Self::begin(ALWAYS)?;
        match scarce.0 {
            Some(_) => Ok(scarce),
            None => skip("only the test kernel lets every call fail"),
        }
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        if let Some(verifier) = &self.0 {
            // Calls that go on failing would show in every test after this one.
            let _ = verifier.arm(FaultMode::Off, |_| {});
        }
    }
}

/// Success, or the want of resources: whether it was the former.
fn done(done: &Done) -> Result<bool> {
    done.check_rules()?;
    check::one_of(
        &format!("{:?}", done.function),
        done.result(),
        &[status::SUCCESS, status::INSUFFICIENT_RESOURCES],
    )?;
    Ok(done.result() == status::SUCCESS)
}

/// A datagram socket's life, as far as it gets; how many of its calls failed.
fn life(client: &Client<'_>) -> Result<usize> {
    let made = client.create(Category::Datagram, Family::V4).run()?;
    if !done(&made)? {
        return Ok(1);
    }
    let socket = crate::probe::Socket::made(client.probe, *client, &made, Category::Datagram, Family::V4)?;
    let calls = [
        socket.set_call(SO_BROADCAST, SOL_SOCKET, &[1, 0, 0, 0]),
        socket.get_call(SO_RCVBUF, SOL_SOCKET, 4),
        socket.bind_call(Family::V4.loopback(0)),
    ];
    let mut failed = 0;
    for call in calls {
        failed += usize::from(!done(&call.run()?)?);
    }
    check::status("close", socket.close_call().run()?.result(), status::SUCCESS)?;
    Ok(failed)
}

fn some_calls_fail(context: &Context) -> Result<()> {
    under(context, "strict", "", |guard, client| {
        let endpoints = guard.status()?.endpoints;
        let mut failed = 0;
        let scarce = Scarce::begin(ALWAYS / 10)?;
        for _ in 0..100 {
            failed += life(client)?;
        }
        if scarce.0.is_some() {
            check::holds("some of them failed", failed > 0)?;
        }
        drop(scarce);
        check::equal("endpoints", guard.status()?.endpoints, endpoints)?;
        check::equal("failures afterwards", life(client)?, 0)
    })
}

fn close_needs_nothing(context: &Context) -> Result<()> {
    under(context, "compat", "", |guard, client| {
        let endpoints = guard.status()?.endpoints;
        let fresh = client.datagram_socket(Family::V4)?;
        let (bound, _) = client.datagram(Family::V4)?;
        let (listener, near, far) = client.pair(Family::V4)?;
        near.set(SO_LINGER, 0x0001_0001)?;
        let receive = far.receive_call(16).start()?;
        let accept = listener.accept_call(Reactions::default()).start()?;
        let scarce = Scarce::all()?;
        for socket in [fresh, bound, near, far, listener] {
            check::status("close", socket.close_call().run()?.result(), status::SUCCESS)?;
        }
        drop(scarce);
        for pending in [receive, accept] {
            pending.wait()?.check_rules()?;
        }
        check::equal("endpoints", guard.status()?.endpoints, endpoints)
    })
}

fn completion_needs_nothing(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let direct = context.probe.attach(Npi::System)?;
    let (listener, address) = client.listener(Family::V4)?;
    let (_other, near, far) = client.pair(Family::V4)?;
    let accept = listener.accept_call(Reactions::default()).start()?;
    let receive = near.receive_call(16).start()?;
    let caller = direct.connection_socket(Family::V4)?;
    caller.bind(Family::V4.loopback(0))?;
    let scarce = Scarce::all()?;
    caller.connect(address)?;
    far.send(b"received")?;
    let (accepted, received) = (accept.wait()?, receive.wait()?);
    drop(scarce);
    check::equal("data", received.checked_ok()?.written(), b"received".as_slice())?;
    let socket = listener.accepted(&accepted.checked_ok()?)?;
    caller.send(b"accepted")?;
    check::equal("data", socket.receive_all(8)?, b"accepted".to_vec())
}

fn control_fails_whole(context: &Context) -> Result<()> {
    under(context, "strict", "", |_, client| {
        let socket = client.datagram_socket(Family::V4)?;
        socket.set(SO_BROADCAST, 1)?;
        let scarce = Scarce::all()?;
        let set = socket.set_call(SO_BROADCAST, SOL_SOCKET, &[0; 4]).run()?;
        drop(scarce);
        let expected = u32::from(!done(&set)?);
        check::equal("SO_BROADCAST", socket.get(SO_BROADCAST)?, expected)
    })
}

fn policy_stays(context: &Context) -> Result<()> {
    let mut guard = context.guard()?;
    guard.load(PERMISSIVE)?;
    let before = guard.status()?;
    let Ok(other) = wskguard_policy::compile("other.toml", "schema = 1\nname = \"other\"\n") else {
        anyhow::bail!("the test's policy is wrong");
    };
    let scarce = Scarce::all()?;
    let refused = guard.set_policy(&other.image, None);
    drop(scarce);
    ensure!(refused.is_err(), "a policy was loaded without memory");
    let after = guard.status()?;
    check::equal("policy in force", after.policy_hash, before.policy_hash)?;
    check::equal("generation", after.generation, before.generation)?;
    let reply = guard.set_policy(&other.image, None)?;
    check::equal("hash of the policy in force", reply.hash, other.hash)?;
    guard.load(PERMISSIVE)
}

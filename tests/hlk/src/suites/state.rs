//! What outlives a restart of the filter, and what a start makes of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkernel_check::service::Service;
use wskguard_abi::{AuditEntry, audit_flags, status_flags};
use wskguard_core::audit::{Happened, Kind};
use wskguardctl::driver::Error;

use crate::check;
use crate::context::{Context, skip};
use crate::guard::{Guard, PERMISSIVE};
use crate::probe::Family;
use crate::registry::Key;
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_RCVBUF, SOL_SOCKET};

tests! {
    "state";
    @60 kept_over_restart, Filtered, "OPERATING.md Restarts", "the policy in force is in force again from the driver's start, before a client attaches";
    @60 only_the_last_is_kept, Filtered, "OPERATING.md Restarts", "of several policies loaded in turn the last is in force after the restart";
    @60 damaged_slot, Filtered, "OPERATING.md Restarts", "when what was stored last is damaged, the policy of before is in force, and the driver says so";
    @60 damaged_state, Filtered, "OPERATING.md Restarts", "when all that was stored is damaged, nothing is enforced, and the driver says so";
    @60 kill_switch, Filtered, "OPERATING.md Restarts", "Parameters\\Mode=off forwards everything and accepts no policy; without it the policy is back";
    @60 unhealthy_starts, Filtered, "OPERATING.md Restarts", "after three starts that were not healthy the driver is off until a policy is loaded";
    @60 healthy_start, Filtered, "OPERATING.md Restarts", "a start counts until the driver has run long enough";
    @60 orderly_stop_is_healthy, Filtered, "OPERATING.md Restarts", "an orderly stop marks the start as healthy";
}

const STOPPED: u32 = 1;
const RUNNING: u32 = 4;
const SLOTS: [&str; 2] = ["PolicyA", "PolicyB"];
const STARTS: &str = "UnhealthyStarts";

fn denies(option: &str) -> String {
    format!(
        "schema = 1\nname = \"kept\"\nsemantics = \"audit\"\n\
         [[rule]]\nname = \"kept rule\"\nrequest = \"set\"\noption = \"{option}\"\naction = \"deny\"\n"
    )
}

/// Stops the filter, lets `between` change what it will find, and starts it again.
fn restart(between: impl FnOnce(&Key, &Key) -> Result<()>) -> Result<()> {
    let drained = Guard::open()?.drain(true)?;
    check::equal("drained", drained.drained, 1)?;
    let service = Service::install(wskguard_abi::SERVICE_NAME, "wskguard.sys").context("the filter's service")?;
    service.stop().context("stop")?;
    service.wait_for(STOPPED).context("until it has stopped")?;
    let keys = (Key::open("Parameters")?, Key::open("PersistentState")?);
    let (Some(parameters), Some(state)) = keys else {
        service.start()?;
        return skip("the persistent state is kept elsewhere here");
    };
    let changed = between(&parameters, &state);
    service.start().context("start")?;
    service.wait_for(RUNNING).context("until it runs")?;
    changed
}

/// Stops and starts it with all that was stored damaged.
pub(super) fn restart_damaged() -> Result<()> {
    restart(|_, state| SLOTS.iter().try_for_each(|name| damage(state, name)))
}

/// Stops and starts it with the kill switch.
pub(super) fn restart_off() -> Result<()> {
    restart(|parameters, _| parameters.set_text("Mode", "Off"))
}

/// Stops and starts it without the kill switch.
pub(super) fn restart_on() -> Result<()> {
    restart(|parameters, _| {
        parameters.remove("Mode");
        Ok(())
    })
}

/// Stops and starts it without the kill switch, and with no start counted that was not healthy.
pub(crate) fn restart_healthy() -> Result<()> {
    restart(|parameters, state| {
        parameters.remove("Mode");
        state.set_number(STARTS, 0)
    })
}

/// Loads a policy and waits until it is stored; its hash.
fn load(policy: &str) -> Result<u64> {
    let mut guard = Guard::open()?;
    guard.load(policy)?;
    Ok(guard.status()?.policy_hash)
}

/// Puts things right after a test: no damage, no counted starts, a policy that lets everything through.
struct Tidy;

impl Drop for Tidy {
    fn drop(&mut self) {
        let _ = load(PERMISSIVE);
    }
}

/// The first record of the driver's own events of a kind, since its start.
fn recorded(guard: &mut Guard, event: Happened) -> Result<AuditEntry> {
    let entries = guard.read_audit(audit_flags::FROM_OLDEST, u32::MAX)?.entries;
    let wanted = |entry: &&AuditEntry| entry.kind == Kind::Lifecycle as u8 && entry.code == event as u32;
    entries
        .iter()
        .find(wanted)
        .copied()
        .with_context(|| format!("no record of {}", event.name()))
}

/// Whether a set of each option is denied.
fn denied(context: &Context, options: [(u32, bool); 2]) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    for (option, denied) in options {
        let set = socket.set_call(option, SOL_SOCKET, &1_u32.to_le_bytes());
        set.fails_with(if denied { status::ACCESS_DENIED } else { status::SUCCESS })?;
    }
    socket.close()?;
    client.detach(5000).map(drop)
}

fn kept_over_restart(context: &Context) -> Result<()> {
    let _tidy = Tidy;
    let hash = load(&denies("SO_BROADCAST"))?;
    restart(|_, _| Ok(()))?;
    let mut guard = Guard::open()?;
    let status = guard.status()?;
    check::equal("hash", (status.policy_hash, status.generation), (hash, 1))?;
    check::equal("flags", status.flags, 0)?;
    recorded(&mut guard, Happened::Started)?;
    drop(guard);
    denied(context, [(SO_BROADCAST, true), (SO_RCVBUF, false)])
}

fn only_the_last_is_kept(_: &Context) -> Result<()> {
    let _tidy = Tidy;
    let mut hash = 0;
    for option in ["SO_BROADCAST", "SO_RCVBUF", "SO_KEEPALIVE", "SO_SNDBUF", "SO_REUSEADDR"] {
        // Not waited for each: the writer may fall behind.
        hash = Guard::open()?
            .set_policy(&super::policy::compile(&denies(option))?, None)?
            .hash;
    }
    // Nor for the last: a stop waits for what is being written.
    restart(|_, _| Ok(()))?;
    check::equal("hash", Guard::open()?.status()?.policy_hash, hash)
}

/// The number of a slot: fixed part of `core::state::SlotHeader`.
fn sequence(slot: &[u8]) -> u64 {
    slot.get(16..24)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn damage(state: &Key, name: &str) -> Result<()> {
    let mut slot = state.get(name)?.with_context(|| format!("no value {name}"))?;
    if let Some(byte) = slot.last_mut() {
        *byte ^= 1;
    }
    state.set_binary(name, &slot)
}

fn damaged_slot(context: &Context) -> Result<()> {
    let _tidy = Tidy;
    let before = load(&denies("SO_BROADCAST"))?;
    load(&denies("SO_RCVBUF"))?;
    restart(|_, state| {
        let [a, b] = SLOTS.map(|name| state.get(name).ok().flatten().map_or(0, |slot| sequence(&slot)));
        check::holds("written in turn", a.abs_diff(b) == 1)?;
        damage(state, if a > b { SLOTS[0] } else { SLOTS[1] })
    })?;
    let mut guard = Guard::open()?;
    let status = guard.status()?;
    check::equal("hash", status.policy_hash, before)?;
    check::equal("flags", status.flags, status_flags::LAST_KNOWN_GOOD)?;
    recorded(&mut guard, Happened::LastKnownGood)?;
    drop(guard);
    denied(context, [(SO_BROADCAST, true), (SO_RCVBUF, false)])?;
    let again = load(&denies("SO_RCVBUF"))?;
    check::equal("flags", Guard::open()?.status()?.flags, 0)?;
    restart(|_, _| Ok(()))?;
    check::equal("hash", Guard::open()?.status()?.policy_hash, again)
}

fn damaged_state(context: &Context) -> Result<()> {
    let _tidy = Tidy;
    load(&denies("SO_BROADCAST"))?;
    load(&denies("SO_RCVBUF"))?;
    restart_damaged()?;
    let mut guard = Guard::open()?;
    let found = guard.status()?;
    check::equal(
        "flags",
        found.flags,
        status_flags::STORED_POLICY_BAD | status_flags::BUILT_IN_POLICY,
    )?;
    check::equal(
        "only audits",
        (found.policy_mode, found.semantics, found.generation),
        (1, 1, 0),
    )?;
    recorded(&mut guard, Happened::StoredPolicyBad)?;
    drop(guard);
    denied(context, [(SO_BROADCAST, false), (SO_RCVBUF, false)])
}

fn kill_switch(context: &Context) -> Result<()> {
    let _tidy = Tidy;
    let hash = load(&denies("SO_BROADCAST"))?;
    restart_off()?;
    let off = (|| {
        let mut guard = Guard::open()?;
        let status = guard.status()?;
        check::equal(
            "flags",
            status.flags,
            status_flags::KILL_SWITCH | status_flags::BUILT_IN_POLICY,
        )?;
        check::equal("semantics", status.semantics, 0)?;
        recorded(&mut guard, Happened::TurnedOff)?;
        let image = super::policy::compile(PERMISSIVE)?;
        let refused = guard.set_policy(&image, None);
        check::holds(
            "no policy is accepted",
            matches!(
                refused,
                Err(Error::Status {
                    status: 0xC000_00A3,
                    ..
                })
            ),
        )?;
        drop(guard);
        denied(context, [(SO_BROADCAST, false), (SO_RCVBUF, false)])?;
        let entries = Guard::open()?.read_audit(audit_flags::FROM_OLDEST, u32::MAX)?.entries;
        let decisions = entries.iter().filter(|entry| entry.kind == Kind::Decision as u8);
        check::equal("decisions recorded", decisions.count(), 0)
    })();
    restart_on()?;
    off?;
    check::equal("hash", Guard::open()?.status()?.policy_hash, hash)
}

fn starts(state: &Key) -> Result<u32> {
    let bytes = state.get(STARTS)?.context("no count of starts")?;
    Ok(bytes.as_slice().try_into().map_or(u32::MAX, u32::from_le_bytes))
}

fn state_key() -> Result<Key> {
    Key::open("PersistentState")?.context("the key was there before")
}

fn unhealthy_starts(context: &Context) -> Result<()> {
    let _tidy = Tidy;
    load(&denies("SO_BROADCAST"))?;
    // Twice started and never marked: this is the third, which is still allowed.
    restart(|_, state| state.set_number(STARTS, 2))?;
    check::equal("kept", starts(&state_key()?)?, 3)?;
    let third = Guard::open()?.status()?;
    check::equal("the third", (third.flags, third.unhealthy_starts), (0, 3))?;
    denied(context, [(SO_BROADCAST, true), (SO_RCVBUF, false)])?;
    restart(|_, state| state.set_number(STARTS, 3))?;
    let mut guard = Guard::open()?;
    let off = guard.status()?;
    check::equal(
        "the fourth",
        off.flags,
        status_flags::UNHEALTHY | status_flags::BUILT_IN_POLICY,
    )?;
    recorded(&mut guard, Happened::TurnedOffUnhealthy)?;
    drop(guard);
    denied(context, [(SO_BROADCAST, false), (SO_RCVBUF, false)])?;
    // It stays off over an orderly restart.
    restart(|_, _| Ok(()))?;
    check::equal("the fifth", Guard::open()?.status()?.flags, off.flags)?;
    load(&denies("SO_RCVBUF"))?;
    let lifted = Guard::open()?.status()?;
    check::equal("a policy lifts it", (lifted.flags, lifted.unhealthy_starts), (0, 1))?;
    check::equal("counted anew", starts(&state_key()?)?, 1)?;
    denied(context, [(SO_BROADCAST, false), (SO_RCVBUF, true)])
}

fn healthy_start(_: &Context) -> Result<()> {
    let _tidy = Tidy;
    restart(|parameters, state| {
        state.set_number(STARTS, 1)?;
        parameters.set_number("HealthyAfter", 1)
    })?;
    let counted = (|| {
        check::equal("at first", Guard::open()?.status()?.unhealthy_starts, 2)?;
        let (key, begin) = (state_key()?, Instant::now());
        while starts(&key)? != 0 {
            ensure!(
                begin.elapsed() < Duration::from_secs(10),
                "never healthy: {}",
                starts(&key)?
            );
            thread::sleep(Duration::from_millis(50));
        }
        check::equal("at last", Guard::open()?.status()?.unhealthy_starts, 0)
    })();
    if let Some(parameters) = Key::open("Parameters")? {
        parameters.remove("HealthyAfter");
    }
    counted
}

fn orderly_stop_is_healthy(_: &Context) -> Result<()> {
    let _tidy = Tidy;
    restart(|_, state| state.set_number(STARTS, 1))?;
    check::equal("counted", starts(&state_key()?)?, 2)?;
    restart(|_, state| check::equal("marked", starts(state)?, 0))?;
    check::equal("this one", starts(&state_key()?)?, 1)
}

//! Version, status, counters, draining.

use core::sync::atomic::Ordering;

use wdk_sys::{NTSTATUS, STATUS_MEDIA_WRITE_PROTECTED};
use wskguard_abi::{CountersReply, DrainReply, Header, RangeRequest, StatusReply, VersionReply, status_flags};
use wskguard_core::{
    Mode,
    policy::{Fallback, PolicyMode},
};
use zerocopy::IntoBytes;

use super::{Call, count_of, finish};
use crate::bypass;
use crate::guard::guard;

/// The driver's version: major, minor, patch, 0.
fn driver_version() -> [u16; 4] {
    let part = |text: &str| text.parse().unwrap_or(0);
    [
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
        0,
    ]
}

/// Answers whatever version asks.
pub fn query_version(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let reply = call.reply::<VersionReply>()?;
    finish(
        reply,
        &VersionReply {
            header: Header::of::<VersionReply>(),
            driver: driver_version(),
        },
    )
}

pub fn query_status(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let reply = call.reply::<StatusReply>()?;
    let guard = guard();
    let mut status = StatusReply {
        header: Header::of::<StatusReply>(),
        driver: driver_version(),
        policy_mode: PolicyMode::Audit as u8,
        semantics: Mode::Audit as u8,
        endpoints: guard.live.load(Ordering::Relaxed),
        endpoints_max: guard.endpoints_max,
        processors: count_of(guard.processors),
        started: guard.started,
        windows: guard.windows,
        flags: status_flags::BUILT_IN_POLICY,
        ..StatusReply::default()
    };
    if let Some(generation) = guard.policy.look() {
        let settings = generation.image.settings();
        status.policy_mode = settings.mode as u8;
        status.semantics = settings.semantics as u8;
        status.default_action = u8::from(settings.fallback == Fallback::Deny);
        if generation.number != 0 {
            status.flags = 0;
            status.generation = generation.number;
            status.policy_hash = generation.image.hash();
            status.rules = count_of(generation.hits.rules());
        }
    }
    let (flags, state_status, starts) = guard.state.report();
    status.flags |= flags;
    (status.state_status, status.unhealthy_starts) = (state_status, starts);
    // Before the clients are counted: the canary is one of them while it looks.
    let (transparent, why) = guard.transparent.state();
    status.flags |= transparent;
    status.transparent_status = why.cast_unsigned();
    status.bypassing = bypass::count();
    let clients = guard.clients.lock();
    status.clients = clients.count();
    if clients.draining() {
        status.flags |= status_flags::DRAINING;
    }
    drop(clients);
    if guard.policy.is_locked() {
        status.flags |= status_flags::LOCKED;
    }
    finish(reply, &status)
}

pub fn query_counters(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let mut reply = call.reply::<CountersReply>()?;
    let guard = guard();
    let sums = guard.counts();
    let generation = guard.policy.look().map_or(0, |generation| generation.number);
    let count = sums.iter().take_while(|sum| reply.push(sum.as_bytes())).count();
    finish(
        reply,
        &CountersReply {
            header: Header::of::<CountersReply>(),
            generation,
            count: count_of(count),
            total: count_of(sums.len()),
            ..CountersReply::default()
        },
    )
}

pub fn query_rule_counters(call: Call<'_>, request: RangeRequest) -> Result<usize, NTSTATUS> {
    let mut reply = call.reply::<CountersReply>()?;
    let mut fixed = CountersReply {
        header: Header::of::<CountersReply>(),
        first: request.first,
        ..CountersReply::default()
    };
    if let Some(generation) = guard().policy.look().filter(|generation| generation.number != 0) {
        let rules = generation.hits.rules();
        fixed.generation = generation.number;
        fixed.total = count_of(rules).saturating_add(1);
        let first = usize::try_from(request.first).unwrap_or(usize::MAX);
        for rule in (first..=rules).take(reply.fits(8, request.max)) {
            let sum = generation.hits.sum((rule < rules).then_some(rule));
            if reply.push(sum.as_bytes()) {
                fixed.count = fixed.count.saturating_add(1);
            }
        }
    }
    finish(reply, &fixed)
}

pub fn drain(call: Call<'_>, begin: bool) -> Result<usize, NTSTATUS> {
    let reply = call.reply::<DrainReply>()?;
    let guard = guard();
    if guard.policy.is_locked() {
        return Err(STATUS_MEDIA_WRITE_PROTECTED);
    }
    let mut clients = guard.clients.lock();
    let drained = clients.drain(begin);
    let count = clients.count();
    drop(clients);
    if drained {
        guard.waiters.abandon_all();
    }
    finish(
        reply,
        &DrainReply {
            header: Header::of::<DrainReply>(),
            clients: count,
            endpoints: guard.live.load(Ordering::Relaxed),
            drained: u32::from(drained),
            reserved: 0,
        },
    )
}

//! Version, status, counters, draining.

use core::sync::atomic::Ordering;

use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_MEDIA_WRITE_PROTECTED};
use wskguard_abi::{
    CountersReply, DrainReply, DrainRequest, Header, RangeRequest, StatusReply, VersionReply, status_flags,
};
use wskguard_core::{
    Mode,
    policy::{Fallback, PolicyMode},
};
use zerocopy::IntoBytes;

use super::{Call, count_of, zero};
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
    reply.finish(&VersionReply {
        header: Header::of::<VersionReply>(),
        driver: driver_version(),
    })
}

pub fn query_status(call: Call<'_>) -> Result<usize, NTSTATUS> {
    call.plain()?;
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
    if let Some(generation) = guard.policy.enter() {
        let settings = generation.image.settings();
        status.flags = 0;
        status.policy_mode = settings.mode as u8;
        status.semantics = settings.semantics as u8;
        status.default_action = u8::from(settings.fallback == Fallback::Deny);
        status.generation = generation.number;
        status.policy_hash = generation.image.hash();
        status.rules = count_of(generation.hits.rules());
    }
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
    reply.finish(&status)
}

pub fn query_counters(call: Call<'_>) -> Result<usize, NTSTATUS> {
    call.plain()?;
    let mut reply = call.reply::<CountersReply>()?;
    let guard = guard();
    let sums = guard.counters.sums();
    let generation = guard.policy.enter().map_or(0, |generation| generation.number);
    let count = sums.iter().take_while(|sum| reply.push(sum.as_bytes())).count();
    reply.finish(&CountersReply {
        header: Header::of::<CountersReply>(),
        generation,
        count: count_of(count),
        total: count_of(sums.len()),
        ..CountersReply::default()
    })
}

pub fn query_rule_counters(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<RangeRequest>(|_| 0)?;
    let mut reply = call.reply::<CountersReply>()?;
    let mut fixed = CountersReply {
        header: Header::of::<CountersReply>(),
        first: request.first,
        ..CountersReply::default()
    };
    if let Some(generation) = guard().policy.enter() {
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
    reply.finish(&fixed)
}

pub fn drain(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<DrainRequest>(|_| 0)?;
    zero(request.reserved)?;
    if request.begin > 1 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let reply = call.reply::<DrainReply>()?;
    let guard = guard();
    if guard.policy.is_locked() {
        return Err(STATUS_MEDIA_WRITE_PROTECTED);
    }
    let mut clients = guard.clients.lock();
    let drained = clients.drain(request.begin == 1);
    let count = clients.count();
    drop(clients);
    if drained {
        guard.waiters.abandon_all();
    }
    reply.finish(&DrainReply {
        header: Header::of::<DrainReply>(),
        clients: count,
        endpoints: guard.live.load(Ordering::Relaxed),
        drained: u32::from(drained),
        reserved: 0,
    })
}

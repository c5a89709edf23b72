//! Fault injection: allocations and other calls of verified drivers that are made to fail. Any IRQL.
//!
//! Systematically, each distinct call stack fails once: all of them as they are met, or one in each run of a workload; or by chance, with
//! a seed; or only the n-th. Call stacks are told apart by their frames in verified drivers: who called the driver makes no difference, and
//! neither does where the driver was loaded.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use probe_protocol::verifier::{ArmFaults, FRAMES, FaultMode, FaultSite, Frame, PageReply};
use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER};
use zerocopy::FromZeros;

use crate::modules;
use crate::stop;
use crate::sync::Lock;

/// Frames that tell call stacks apart, unless a round says otherwise.
const DEPTH: usize = 6;

/// What tells call sites apart.
type Key = [Frame; FRAMES];

struct Site {
    hits: u32,
    failed: u32,
    tag: u32,
    function: &'static str,
}

struct Round {
    mode: FaultMode,
    probability: u32,
    random: u32,
    left: u32,
    depth: usize,
    sites: BTreeMap<Key, Site>,
}

static ROUND: Lock<Round> = Lock::new(Round {
    mode: FaultMode::Off,
    probability: 0,
    random: 1,
    left: 0,
    depth: DEPTH,
    sites: BTreeMap::new(),
});
/// The mode, to be asked without the lock.
static MODE: AtomicU32 = AtomicU32::new(FaultMode::Off as u32);
static FAULTS: AtomicU64 = AtomicU64::new(0);

fn mode_of(mode: u32) -> Option<FaultMode> {
    [
        FaultMode::Off,
        FaultMode::Random,
        FaultMode::Systematic,
        FaultMode::Nth,
        FaultMode::Collect,
        FaultMode::Next,
    ]
    .into_iter()
    .find(|known| *known as u32 == mode)
}

/// Starts a round, or ends one.
pub(crate) fn arm(request: &ArmFaults) -> Result<(), NTSTATUS> {
    let mode = mode_of(request.mode).ok_or(STATUS_INVALID_PARAMETER)?;
    let depth = match request.depth as usize {
        0 => DEPTH,
        depth if depth <= FRAMES => depth,
        _ => return Err(STATUS_INVALID_PARAMETER),
    };
    let mut round = ROUND.lock();
    let goes_on = mode == FaultMode::Next && round.mode == FaultMode::Next;
    if mode != FaultMode::Off && !goes_on {
        round.sites.clear();
    }
    round.mode = mode;
    round.probability = request.probability;
    round.random = request.seed.max(1);
    round.left = if mode == FaultMode::Next { 1 } else { request.nth };
    round.depth = depth;
    MODE.store(mode as u32, Ordering::Release);
    Ok(())
}

fn decide(round: &mut Round, untried: bool) -> bool {
    match round.mode {
        FaultMode::Off | FaultMode::Collect => false,
        FaultMode::Systematic => untried,
        FaultMode::Next => untried && core::mem::take(&mut round.left) != 0,
        FaultMode::Random => {
            // Xorshift: the same seed gives the same failures.
            let mut value = round.random;
            value ^= value << 13;
            value ^= value >> 17;
            value ^= value << 5;
            round.random = value;
            value & 0xffff < round.probability
        }
        FaultMode::Nth => {
            let due = round.left == 1;
            round.left = round.left.saturating_sub(1);
            due
        }
    }
}

fn key(depth: usize) -> Key {
    let mut key = [Frame::default(); FRAMES];
    let stack = stop::call_stack();
    let frames = stack.iter().filter(|&&address| modules::is_target(address)).take(depth);
    key.iter_mut()
        .zip(frames)
        .for_each(|(slot, &address)| *slot = stop::frame(address));
    key
}

/// Whether this call of a verified driver is to fail.
pub(crate) fn fails(function: &'static str, tag: u32) -> bool {
    if MODE.load(Ordering::Acquire) == FaultMode::Off as u32 {
        return false;
    }
    let depth = ROUND.lock().depth;
    let key = key(depth);
    let mut round = ROUND.lock();
    let untried = round.sites.get(&key).is_none_or(|site| site.failed == 0);
    let fail = decide(&mut round, untried);
    let site = round.sites.entry(key).or_insert(Site {
        hits: 0,
        failed: 0,
        tag,
        function,
    });
    site.hits = site.hits.saturating_add(1);
    site.failed = site.failed.saturating_add(u32::from(fail));
    if fail {
        FAULTS.fetch_add(1, Ordering::Relaxed);
    }
    fail
}

/// Calls that were made to fail, all rounds.
pub(crate) fn faults() -> u64 {
    FAULTS.load(Ordering::Relaxed)
}

/// Copies the round's call stacks from the `first` on.
pub(crate) fn page(first: usize, room: &mut [FaultSite]) -> PageReply {
    let round = ROUND.lock();
    let sites = round.sites.iter().skip(first);
    let count = room
        .iter_mut()
        .zip(sites)
        .map(|(to, (key, site))| *to = site_of(key, site))
        .count();
    #[allow(clippy::cast_possible_truncation, reason = "a few thousand")]
    PageReply {
        total: round.sites.len() as u32,
        count: count as u32,
        dropped: 0,
        reserved: 0,
    }
}

fn site_of(key: &Key, site: &Site) -> FaultSite {
    let mut reply = FaultSite::new_zeroed();
    reply.hits = site.hits;
    reply.failed = site.failed;
    reply.tag = site.tag;
    reply
        .function
        .iter_mut()
        .zip(site.function.as_bytes())
        .for_each(|(to, from)| *to = *from);
    reply.frames = *key;
    let depth = key.iter().take_while(|frame| frame.offset != 0).count();
    reply.depth = u32::try_from(depth).unwrap_or(0);
    reply
}

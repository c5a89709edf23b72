//! System time by the processor's time stamp counter, as Windows has it: Wine's function asks the host, which takes as long as all that
//! a short request does. The counter's rate is measured over the first second; until then the host is asked.

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::user;

/// Units of 100 ns that the rate is measured over.
const SECOND: u64 = 10_000_000;
/// Binary places of the rate.
const PLACES: u32 = 40;

/// Count and time of the same moment; a count of 0 where the counter is no clock.
static COUNT: AtomicU64 = AtomicU64::new(0);
static TIME: AtomicU64 = AtomicU64::new(0);
/// Units in a count; 0 until it has been measured.
static RATE: AtomicU64 = AtomicU64::new(0);

fn count() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { _rdtsc() }
}

fn host() -> u64 {
    let mut time = 0;
    // SAFETY: a live local.
    unsafe { user::GetSystemTimePreciseAsFileTime(&raw mut time) };
    time.cast_unsigned()
}

/// A count and the time of that moment; `None` where the thread was held up between the two.
fn moment() -> Option<(u64, u64)> {
    const CLOSE: u64 = 20_000;
    let before = count();
    let time = host();
    (count().wrapping_sub(before) < CLOSE).then_some((before, time))
}

/// Begins to measure. Before any driver asks for the time; by one thread.
pub(crate) fn begin() {
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    if __cpuid(0x8000_0000).eax < POWER || __cpuid(POWER).edx & INVARIANT == 0 {
        return;
    }
    if let Some((count, time)) = (0..100).find_map(|_| moment()) {
        TIME.store(time, Ordering::Relaxed);
        COUNT.store(count, Ordering::Relaxed);
    }
}

/// Now.
pub(crate) fn now() -> i64 {
    let (from, since) = (COUNT.load(Ordering::Relaxed), TIME.load(Ordering::Relaxed));
    let time = match RATE.load(Ordering::Relaxed) {
        0 => measure(from, since),
        rate => {
            let counted = u128::from(count().wrapping_sub(from));
            #[allow(
                clippy::cast_possible_truncation,
                reason = "times fit for as long as those of Windows do"
            )]
            let units = (counted.wrapping_mul(u128::from(rate)) >> PLACES) as u64;
            since.wrapping_add(units)
        }
    };
    time.cast_signed()
}

/// The host's time, and the rate, if a second has gone.
#[cold]
fn measure(from: u64, since: u64) -> u64 {
    let Some((count, time)) = moment() else { return host() };
    let units = time.wrapping_sub(since);
    if from != 0 && units >= SECOND {
        let rate = (u128::from(units) << PLACES)
            .checked_div(u128::from(count.wrapping_sub(from)))
            .and_then(|rate| u64::try_from(rate).ok());
        // The first thread's counts: what is measured twice differs.
        let _ = RATE.compare_exchange(0, rate.unwrap_or(0), Ordering::Relaxed, Ordering::Relaxed);
    }
    time
}

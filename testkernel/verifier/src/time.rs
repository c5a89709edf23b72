//! Precise time, in units of 100 ns. Any IRQL.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::exports::exports;
use crate::user;

pub(crate) mod stamp;

fn counter() -> u64 {
    let mut count = 0;
    // SAFETY: a live local.
    unsafe { user::QueryPerformanceCounter(&raw mut count) };
    count.unsigned_abs()
}

fn frequency() -> u64 {
    static FREQUENCY: AtomicU64 = AtomicU64::new(0);
    let known = FREQUENCY.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let mut frequency = 0;
    // SAFETY: a live local.
    unsafe { user::QueryPerformanceFrequency(&raw mut frequency) };
    let frequency = frequency.unsigned_abs().max(1);
    FREQUENCY.store(frequency, Ordering::Relaxed);
    frequency
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the quotient of a 64-bit count fits for 50,000 years"
)]
fn units(count: u64, per_second: u64) -> u64 {
    (u128::from(count).wrapping_mul(u128::from(per_second)) / u128::from(frequency())) as u64
}

/// Milliseconds since the machine started.
pub(crate) fn milliseconds() -> u64 {
    units(counter(), 1000)
}

unsafe extern "system" fn system_time_precise(time: *mut i64) {
    // SAFETY: the driver's variable.
    unsafe { time.write(stamp::now()) };
}

unsafe extern "system" fn interrupt_time_precise(counted: *mut u64) -> u64 {
    let count = counter();
    if !counted.is_null() {
        // SAFETY: the driver's variable.
        unsafe { counted.write(count) };
    }
    units(count, 10_000_000)
}

exports! {
    KeQuerySystemTimePrecise => system_time_precise,
    KeQueryInterruptTimePrecise => interrupt_time_precise,
    KeQueryUnbiasedInterruptTimePrecise => interrupt_time_precise,
}

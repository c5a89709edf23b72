//! Delays by chance, where a verified driver calls the kernel: what may happen between two of its steps gets the time to. Any IRQL.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::thread::PASSIVE;
use crate::user;

/// One call in so many gives the processor away; one in so many of those, at `PASSIVE_LEVEL`, sleeps.
const YIELDS: u32 = 8;
const SLEEPS: u32 = 64;

/// Waits for a moment, or does not.
pub(crate) fn perhaps(irql: u8) {
    static SEED: AtomicU32 = AtomicU32::new(0x9e37_79b9);
    // Threads share the sequence, so which of them waits depends on how they run: no two runs are alike, which is what is wanted.
    let drawn = SEED.fetch_add(0x6d2b_79f5, Ordering::Relaxed);
    let mixed = (drawn ^ (drawn >> 15)).wrapping_mul(0x2c1b_3c6d);
    let chance = mixed ^ (mixed >> 12);
    if !chance.is_multiple_of(YIELDS) {
        return;
    }
    if irql == PASSIVE && (chance / YIELDS).is_multiple_of(SLEEPS) {
        // SAFETY: no preconditions.
        unsafe { user::Sleep(1) };
    } else {
        // SAFETY: no preconditions.
        unsafe { user::SwitchToThread() };
    }
}

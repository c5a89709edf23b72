//! Rundown protection, plain and cache-aware. IRQL <= DISPATCH_LEVEL; waiting for the release: <= APC_LEVEL.
//!
//! The word counts references in steps of two; bit 0 says that the object is, or is being, run down.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::exports::exports;
use crate::pool;
use crate::stop::{self, Code};
use crate::user;

const RUNDOWN: usize = 1;
const ONE: usize = 2;
/// Bytes of a cache-aware reference: one cache line.
const CACHE_AWARE: usize = 64;

unsafe fn word<'a>(reference: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the driver's reference is aligned and lives while it is used; only these functions touch it.
    unsafe { AtomicUsize::from_ptr(reference) }
}

unsafe extern "system" fn initialize(reference: *mut usize) {
    // SAFETY: the driver's reference.
    unsafe { word(reference) }.store(0, Ordering::Release);
}

unsafe extern "system" fn initialize_aware(reference: *mut usize, _bytes: usize) {
    // SAFETY: the driver's reference.
    unsafe { initialize(reference) };
}

unsafe extern "system" fn acquire_many(reference: *mut usize, count: u32) -> u8 {
    // SAFETY: the driver's reference.
    let word = unsafe { word(reference) };
    let step = ONE.wrapping_mul(count as usize);
    let taken = word.fetch_update(Ordering::Acquire, Ordering::Relaxed, |now| {
        (now & RUNDOWN == 0).then(|| now.wrapping_add(step))
    });
    u8::from(taken.is_ok())
}

unsafe extern "system" fn acquire(reference: *mut usize) -> u8 {
    // SAFETY: the driver's reference.
    unsafe { acquire_many(reference, 1) }
}

unsafe extern "system" fn release_many(reference: *mut usize, count: u32) {
    // SAFETY: the driver's reference.
    let word = unsafe { word(reference) };
    let step = ONE.wrapping_mul(count as usize);
    if word
        .fetch_update(Ordering::Release, Ordering::Relaxed, |now| now.checked_sub(step))
        .is_err()
    {
        stop::report(Code::RundownUnderflow, [reference.addr(), 0, 0, 0]);
        return;
    }
    user::wake_all(word);
}

unsafe extern "system" fn release(reference: *mut usize) {
    // SAFETY: the driver's reference.
    unsafe { release_many(reference, 1) };
}

unsafe extern "system" fn wait(reference: *mut usize) {
    // SAFETY: the driver's reference.
    let word = unsafe { word(reference) };
    word.fetch_or(RUNDOWN, Ordering::AcqRel);
    loop {
        match word.load(Ordering::Acquire) {
            RUNDOWN => return,
            // A time-out, for the reference may be on a page whose neighbours are woken instead.
            other => user::wait_on(word, other, 20),
        }
    }
}

unsafe extern "system" fn completed(reference: *mut usize) {
    // SAFETY: the driver's reference.
    unsafe { word(reference) }.store(RUNDOWN, Ordering::Release);
}

unsafe extern "system" fn size_aware() -> usize {
    CACHE_AWARE
}

unsafe extern "system" fn allocate_aware(kind: i32, tag: u32) -> *mut usize {
    let block: *mut usize = pool::allocate(pool::Kind::of_type(kind), CACHE_AWARE, tag, true).cast();
    if !block.is_null() {
        // SAFETY: fresh, and large enough.
        unsafe { initialize(block) };
    }
    block
}

unsafe extern "system" fn free_aware(reference: *mut usize) {
    // SAFETY: it came from `allocate_aware`.
    unsafe { pool::free(reference.cast(), 0) };
}

exports! {
    ExInitializeRundownProtection => initialize,
    ExReInitializeRundownProtection => initialize,
    ExAcquireRundownProtection => acquire,
    ExAcquireRundownProtectionEx => acquire_many,
    ExReleaseRundownProtection => release,
    ExReleaseRundownProtectionEx => release_many,
    ExWaitForRundownProtectionRelease => wait,
    ExRundownCompleted => completed,
    ExSizeOfRundownProtectionCacheAware => size_aware,
    ExAllocateCacheAwareRundownProtection => allocate_aware,
    ExFreeCacheAwareRundownProtection => free_aware,
    ExInitializeRundownProtectionCacheAware => initialize_aware,
    ExReInitializeRundownProtectionCacheAware => initialize,
    ExAcquireRundownProtectionCacheAware => acquire,
    ExAcquireRundownProtectionCacheAwareEx => acquire_many,
    ExReleaseRundownProtectionCacheAware => release,
    ExReleaseRundownProtectionCacheAwareEx => release_many,
    ExWaitForRundownProtectionReleaseCacheAware => wait,
    ExRundownCompletedCacheAware => completed,
}

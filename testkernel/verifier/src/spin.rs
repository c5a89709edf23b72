//! Spin locks: `KSPIN_LOCK`, the in-stack queued form of it, and `EX_SPIN_LOCK`. IRQL <= DISPATCH_LEVEL; while one is held, DISPATCH_LEVEL.
//!
//! The words keep their documented shape, zero when free. Waiting gives the processor away now and then: the holder may be a thread that
//! is not running. A request that could only hang is reported and let through without the lock.

use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use wdk_sys::KLOCK_QUEUE_HANDLE;

use crate::exports::exports;
use crate::irql;
use crate::order;
use crate::stop::{self, Code};
use crate::thread::{self, DISPATCH, Mode};
use crate::user;

/// Spins before the processor is given away.
const SPINS: u32 = 200;
/// How long, in milliseconds, a wait may last before it is reported.
const PATIENCE: u64 = 10_000;

/// Whoever holds an `EX_SPIN_LOCK` exclusively.
const EXCLUSIVE: i32 = i32::MIN;
/// Somebody waits to hold it exclusively: no new shared holders.
const WAITING: i32 = 0x4000_0000;

/// Waits until `attempt` succeeds.
fn wait(lock: usize, mut attempt: impl FnMut() -> bool) {
    let mut spins = 0u32;
    let mut since = None;
    loop {
        if attempt() {
            return;
        }
        spins = spins.wrapping_add(1);
        if !spins.is_multiple_of(SPINS) {
            core::hint::spin_loop();
            continue;
        }
        // SAFETY: no arguments.
        unsafe { user::SwitchToThread() };
        let now = crate::time::milliseconds();
        let start = *since.get_or_insert(now);
        if now.saturating_sub(start) > PATIENCE {
            stop::report(Code::SpinLockStuck, [lock, 0, 0, 0]);
            since = Some(u64::MAX);
        }
    }
}

/// Whether the lock may be taken: not if this thread has it, which could only hang.
fn admit(lock: usize, mode: Mode) -> bool {
    let thread = thread::current();
    match thread.holds(lock) {
        Some(Mode::Shared) if mode == Mode::Shared => true,
        Some(_) => {
            stop::report(Code::SpinLockRecursive, [lock, 0, 0, 0]);
            thread.hold(lock, Mode::Refused);
            false
        }
        None => {
            order::acquiring(thread, lock);
            true
        }
    }
}

/// Notes the release; whether the word has to be changed.
fn leave(lock: usize, mode: Mode) -> bool {
    match thread::current().release(lock) {
        Some((held, _)) if held == mode => true,
        Some((Mode::Refused, _)) => false,
        _ => {
            stop::report(Code::SpinLockNotHeld, [lock, 0, 0, 0]);
            false
        }
    }
}

fn at_dispatch(lock: usize) {
    if thread::current().irql.get() < DISPATCH {
        stop::report(
            Code::SpinLockBelowDispatch,
            [lock, usize::from(thread::current().irql.get()), 0, 0],
        );
    }
}

unsafe fn word<'a>(lock: *mut usize) -> &'a AtomicUsize {
    // SAFETY: the driver's lock is aligned and lives as long as it is used; nobody else touches the word but through here.
    unsafe { AtomicUsize::from_ptr(lock) }
}

/// Takes a spin lock at DISPATCH_LEVEL.
///
/// # Safety
/// `lock` is a `KSPIN_LOCK`.
pub(crate) unsafe fn take(lock: *mut usize) {
    let address = lock.addr();
    if !admit(address, Mode::Spin) {
        return;
    }
    // SAFETY: as the caller promises.
    let word = unsafe { word(lock) };
    wait(address, || {
        word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    });
    thread::current().hold(address, Mode::Spin);
}

/// Lets go of a spin lock.
///
/// # Safety
/// As [`take`].
pub(crate) unsafe fn drop_lock(lock: *mut usize) {
    if leave(lock.addr(), Mode::Spin) {
        // SAFETY: as the caller promises.
        unsafe { word(lock) }.store(0, Ordering::Release);
    }
}

unsafe extern "system" fn initialize(lock: *mut usize) {
    order::forget(lock.addr(), size_of::<usize>());
    // SAFETY: the driver's own lock, not yet used.
    unsafe { word(lock) }.store(0, Ordering::Release);
}

pub(crate) unsafe extern "system" fn acquire(lock: *mut usize) -> u8 {
    let old = irql::raise(DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { take(lock) };
    old
}

pub(crate) unsafe extern "system" fn release(lock: *mut usize, old: u8) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_lock(lock) };
    irql::lower(old);
}

unsafe extern "system" fn acquire_at_dispatch(lock: *mut usize) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { take(lock) };
}

unsafe extern "system" fn release_from_dispatch(lock: *mut usize) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_lock(lock) };
}

unsafe extern "system" fn try_acquire_at_dispatch(lock: *mut usize) -> u8 {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    let taken = unsafe { word(lock) }
        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_ok();
    if taken {
        thread::current().hold(lock.addr(), Mode::Spin);
    }
    u8::from(taken)
}

unsafe extern "system" fn test(lock: *mut usize) -> u8 {
    // SAFETY: the driver's lock.
    u8::from(unsafe { word(lock) }.load(Ordering::Relaxed) == 0)
}

unsafe extern "system" fn acquire_queued(lock: *mut usize, handle: *mut KLOCK_QUEUE_HANDLE) {
    // SAFETY: the driver's lock.
    let old = unsafe { acquire(lock) };
    // SAFETY: the driver's handle lives on its stack until the release.
    let handle = unsafe { &mut *handle };
    handle.LockQueue.Lock = lock.cast();
    handle.OldIrql = old;
}

unsafe extern "system" fn release_queued(handle: *mut KLOCK_QUEUE_HANDLE) {
    // SAFETY: filled by the acquisition.
    let handle = unsafe { &*handle };
    // SAFETY: the driver's lock.
    unsafe { release(handle.LockQueue.Lock.cast(), handle.OldIrql) };
}

unsafe extern "system" fn acquire_queued_at_dispatch(lock: *mut usize, handle: *mut KLOCK_QUEUE_HANDLE) {
    // SAFETY: the driver's lock.
    unsafe { acquire_at_dispatch(lock) };
    // SAFETY: the driver's handle lives on its stack until the release.
    unsafe { (*handle).LockQueue.Lock = lock.cast() };
}

unsafe extern "system" fn release_queued_from_dispatch(handle: *mut KLOCK_QUEUE_HANDLE) {
    // SAFETY: filled by the acquisition.
    unsafe { release_from_dispatch((*handle).LockQueue.Lock.cast()) };
}

unsafe fn ex_word<'a>(lock: *mut i32) -> &'a AtomicI32 {
    // SAFETY: as for `word`.
    unsafe { AtomicI32::from_ptr(lock) }
}

unsafe fn take_exclusive(lock: *mut i32) {
    let address = lock.addr();
    if !admit(address, Mode::Exclusive) {
        return;
    }
    // SAFETY: the driver's lock.
    let word = unsafe { ex_word(lock) };
    wait(address, || {
        if let free @ (0 | WAITING) = word.load(Ordering::Relaxed) {
            word.compare_exchange(free, EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        } else {
            word.fetch_or(WAITING, Ordering::Relaxed);
            false
        }
    });
    thread::current().hold(address, Mode::Exclusive);
}

unsafe fn drop_exclusive(lock: *mut i32) {
    if leave(lock.addr(), Mode::Exclusive) {
        // SAFETY: the driver's lock.
        unsafe { ex_word(lock) }.fetch_and(!EXCLUSIVE, Ordering::Release);
    }
}

unsafe fn take_shared(lock: *mut i32) {
    let address = lock.addr();
    if !admit(address, Mode::Shared) {
        return;
    }
    // SAFETY: the driver's lock.
    let word = unsafe { ex_word(lock) };
    let nested = thread::current().holds(address).is_some();
    wait(address, || {
        let now = word.load(Ordering::Relaxed);
        let free = now & EXCLUSIVE == 0 && (nested || now & WAITING == 0);
        free && word
            .compare_exchange(now, now.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    });
    thread::current().hold(address, Mode::Shared);
}

unsafe fn drop_shared(lock: *mut i32) {
    if leave(lock.addr(), Mode::Shared) {
        // SAFETY: the driver's lock.
        unsafe { ex_word(lock) }.fetch_sub(1, Ordering::Release);
    }
}

unsafe extern "system" fn ex_acquire_exclusive(lock: *mut i32) -> u8 {
    let old = irql::raise(DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { take_exclusive(lock) };
    old
}

unsafe extern "system" fn ex_release_exclusive(lock: *mut i32, old: u8) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_exclusive(lock) };
    irql::lower(old);
}

unsafe extern "system" fn ex_acquire_shared(lock: *mut i32) -> u8 {
    let old = irql::raise(DISPATCH);
    // SAFETY: the driver's lock.
    unsafe { take_shared(lock) };
    old
}

unsafe extern "system" fn ex_release_shared(lock: *mut i32, old: u8) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_shared(lock) };
    irql::lower(old);
}

unsafe extern "system" fn ex_acquire_exclusive_at_dispatch(lock: *mut i32) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { take_exclusive(lock) };
}

unsafe extern "system" fn ex_release_exclusive_from_dispatch(lock: *mut i32) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_exclusive(lock) };
}

unsafe extern "system" fn ex_acquire_shared_at_dispatch(lock: *mut i32) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { take_shared(lock) };
}

unsafe extern "system" fn ex_release_shared_from_dispatch(lock: *mut i32) {
    at_dispatch(lock.addr());
    // SAFETY: the driver's lock.
    unsafe { drop_shared(lock) };
}

/// The only shared holder becomes the exclusive one.
unsafe extern "system" fn ex_try_convert(lock: *mut i32) -> u32 {
    // SAFETY: the driver's lock.
    let word = unsafe { ex_word(lock) };
    let now = word.load(Ordering::Relaxed) & WAITING;
    let converted = word
        .compare_exchange(now | 1, now | EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed)
        .is_ok();
    if converted {
        let thread = thread::current();
        thread.release(lock.addr());
        thread.hold(lock.addr(), Mode::Exclusive);
    }
    u32::from(converted)
}

exports! {
    KeInitializeSpinLock => initialize,
    KeAcquireSpinLockRaiseToDpc => acquire,
    KeReleaseSpinLock => release,
    KeAcquireSpinLockAtDpcLevel => acquire_at_dispatch,
    KeReleaseSpinLockFromDpcLevel => release_from_dispatch,
    KeTryToAcquireSpinLockAtDpcLevel => try_acquire_at_dispatch,
    KeTestSpinLock => test,
    KeAcquireInStackQueuedSpinLock => acquire_queued,
    KeReleaseInStackQueuedSpinLock => release_queued,
    KeAcquireInStackQueuedSpinLockAtDpcLevel => acquire_queued_at_dispatch,
    KeReleaseInStackQueuedSpinLockFromDpcLevel => release_queued_from_dispatch,
    ExAcquireSpinLockExclusive => ex_acquire_exclusive,
    ExReleaseSpinLockExclusive => ex_release_exclusive,
    ExAcquireSpinLockShared => ex_acquire_shared,
    ExReleaseSpinLockShared => ex_release_shared,
    ExAcquireSpinLockExclusiveAtDpcLevel => ex_acquire_exclusive_at_dispatch,
    ExReleaseSpinLockExclusiveFromDpcLevel => ex_release_exclusive_from_dispatch,
    ExAcquireSpinLockSharedAtDpcLevel => ex_acquire_shared_at_dispatch,
    ExReleaseSpinLockSharedFromDpcLevel => ex_release_shared_from_dispatch,
    ExTryConvertSharedSpinLockExclusive => ex_try_convert,
}

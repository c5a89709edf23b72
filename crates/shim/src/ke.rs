//! Events and time. Waiting at `PASSIVE_LEVEL`, the rest at <= `DISPATCH_LEVEL`.

use core::cell::UnsafeCell;

use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, KEVENT, LARGE_INTEGER,
    ntddk::{
        KeClearEvent, KeGetCurrentIrql, KeInitializeEvent, KeQueryInterruptTimePrecise, KeQuerySystemTimePrecise,
        KeSetEvent, KeWaitForSingleObject,
    },
};

const KERNEL_MODE: i8 = 0;
const PER_MILLISECOND: u64 = 10_000;

/// A kernel event. Usable once initialised at its final address.
pub(crate) struct Event(UnsafeCell<KEVENT>);

// SAFETY: the kernel's routines synchronise themselves, and a zeroed event is plain memory.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

/// What a wait does to a set event.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// It stays set.
    Notification,
    /// It is cleared, and one waiter goes on.
    Synchronization,
}

impl Event {
    pub(crate) fn new() -> Self {
        // SAFETY: a KEVENT consists of numbers and pointers, for which zero is a value.
        Self(UnsafeCell::new(unsafe { core::mem::zeroed() }))
    }

    pub(crate) fn initialise(&self, kind: Kind, set: bool) {
        let kind = match kind {
            Kind::Notification => _EVENT_TYPE::NotificationEvent,
            Kind::Synchronization => _EVENT_TYPE::SynchronizationEvent,
        };
        // SAFETY: the memory is ours, nonpaged, and has its final address.
        unsafe { KeInitializeEvent(self.0.get(), kind, u8::from(set)) };
    }

    pub(crate) fn set(&self) {
        // SAFETY: initialised.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    pub(crate) fn clear(&self) {
        // SAFETY: initialised.
        unsafe { KeClearEvent(self.0.get()) };
    }

    /// Waits until it is set.
    pub(crate) fn wait(&self) {
        self.wait_for(core::ptr::null_mut());
    }

    /// Waits until it is set or `until` has come, in [`now`]'s time.
    pub(crate) fn wait_until(&self, until: u64) {
        let ticks = i64::try_from(until.saturating_sub(now())).unwrap_or(i64::MAX);
        let mut relative = LARGE_INTEGER {
            QuadPart: ticks.wrapping_neg(),
        };
        self.wait_for(&raw mut relative);
    }

    fn wait_for(&self, timeout: *mut LARGE_INTEGER) {
        let reason = _KWAIT_REASON::Executive;
        // SAFETY: initialised and borrowed for the wait; the time-out is NULL or on the caller's stack.
        let _ = unsafe { KeWaitForSingleObject(self.0.get().cast(), reason, KERNEL_MODE, 0, timeout) };
    }
}

/// A clock that only grows, 100 ns.
pub(crate) fn now() -> u64 {
    let mut counter = 0;
    // SAFETY: the out parameter is ours.
    unsafe { KeQueryInterruptTimePrecise(&raw mut counter) }
}

/// `milliseconds` in the clock's units.
pub(crate) fn ticks(milliseconds: u32) -> u64 {
    u64::from(milliseconds).saturating_mul(PER_MILLISECOND)
}

/// 100 ns since 1601.
pub(crate) fn system_time() -> u64 {
    let mut now = LARGE_INTEGER { QuadPart: 0 };
    // SAFETY: the out parameter is ours.
    unsafe { KeQuerySystemTimePrecise(&raw mut now) };
    // SAFETY: every bit pattern is a number.
    unsafe { now.QuadPart }.cast_unsigned()
}

pub(crate) fn is_passive() -> bool {
    // SAFETY: no precondition.
    unsafe { KeGetCurrentIrql() == 0 }
}

//! A spin lock that holds what it protects. IRQL <= DISPATCH_LEVEL; inside, DISPATCH_LEVEL.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use wdk_sys::{
    KIRQL, KSPIN_LOCK,
    ntddk::{KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock},
};

/// A `KSPIN_LOCK` and its data.
pub struct SpinLock<T> {
    lock: UnsafeCell<KSPIN_LOCK>,
    data: UnsafeCell<T>,
}

// SAFETY: the lock hands out one reference at a time, and moves it between threads as `T: Send` allows.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// An unlocked lock.
    pub const fn new(data: T) -> Self {
        Self {
            lock: UnsafeCell::new(0),
            data: UnsafeCell::new(data),
        }
    }

    /// Raises to DISPATCH_LEVEL and takes the lock; dropping the guard undoes both.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        // SAFETY: the lock word is ours, nonpaged as `self` is, and only ever handed to the spin lock routines.
        let irql = unsafe { KeAcquireSpinLockRaiseToDpc(self.lock.get()) };
        SpinGuard { lock: self, irql }
    }
}

/// Proof that the lock is held at DISPATCH_LEVEL.
pub struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    irql: KIRQL,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and `self` is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock and remembers the IRQL to return to.
        unsafe { KeReleaseSpinLock(self.lock.lock.get(), self.irql) };
    }
}

//! Locks and waits of the host: they may block, so they stand outside the kernel's own rules, as an operating system's do.
//!
//! No call-out to a client or provider is made while one is held, except an actor's own state (see [`crate::provider::socket`]).

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};

use crate::host::sys;

/// A mutual exclusion lock that holds what it protects.
pub(crate) struct Mutex<T> {
    lock: UnsafeCell<*mut c_void>,
    data: UnsafeCell<T>,
}

// SAFETY: the lock hands out one reference at a time, and moves the data between threads as `T: Send` allows.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: the lock word is only an address-free state while unlocked, and moving needs exclusive access.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(data: T) -> Self {
        Self {
            lock: UnsafeCell::new(core::ptr::null_mut()),
            data: UnsafeCell::new(data),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the word is a slim lock that only these routines touch.
        unsafe { sys::AcquireSRWLockExclusive(self.lock.get()) };
        Guard { mutex: self }
    }

    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        // SAFETY: as above.
        let taken = unsafe { sys::TryAcquireSRWLockExclusive(self.lock.get()) };
        (taken != 0).then_some(Guard { mutex: self })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Proof that the lock is held.
pub(crate) struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held and the guard borrowed mutably.
        unsafe { &mut *self.mutex.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock.
        unsafe { sys::ReleaseSRWLockExclusive(self.mutex.lock.get()) };
    }
}

/// A condition variable.
#[derive(Default)]
pub(crate) struct Condvar(UnsafeCell<usize>);

// SAFETY: the word is only touched by the host's condition variable routines.
unsafe impl Sync for Condvar {}
// SAFETY: as above.
unsafe impl Send for Condvar {}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Waits up to `milliseconds` (`u32::MAX`: for ever); false when the time is over.
    pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>, milliseconds: u32) -> bool {
        // SAFETY: the guard's lock is held by this thread, and held again when this returns.
        unsafe { sys::SleepConditionVariableSRW(self.0.get().cast(), guard.mutex.lock.get(), milliseconds, 0) != 0 }
    }

    pub(crate) fn wake_all(&self) {
        // SAFETY: the word is a condition variable.
        unsafe { sys::WakeAllConditionVariable(self.0.get().cast()) };
    }
}

/// A wait without end.
pub(crate) const FOREVER: u32 = u32::MAX;

/// Milliseconds since the machine started.
pub(crate) fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { sys::GetTickCount64() }
}

/// Lets `milliseconds` pass.
pub(crate) fn sleep(milliseconds: u32) {
    // SAFETY: no preconditions.
    unsafe { sys::Sleep(milliseconds) };
}

/// The calling thread.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { sys::GetCurrentThreadId() }
}

/// Starts a thread that lasts as long as the process.
pub(crate) fn spawn(body: extern "system" fn(*mut c_void) -> u32, context: *mut c_void) -> bool {
    // SAFETY: the module is pinned, so the body stays mapped; the context is the body's business.
    let thread = unsafe { sys::CreateThread(core::ptr::null(), 0, body, context, 0, core::ptr::null_mut()) };
    if thread.is_null() {
        return false;
    }
    // SAFETY: the handle is ours and not used again; the thread runs on.
    unsafe { sys::CloseHandle(thread) };
    true
}

//! The kernel services that the probe needs, behind small safe types: events, threads, IRQL, time, order. Each says at which IRQL
//! it may be used; what waits wants `PASSIVE_LEVEL`.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_sys::{
    _EVENT_TYPE, _KWAIT_REASON, _MODE, HANDLE, KEVENT, KIRQL, KSEMAPHORE, LARGE_INTEGER, NTSTATUS, PVOID,
    STATUS_SUCCESS, STATUS_TIMEOUT, THREAD_ALL_ACCESS,
    ntddk::{
        KeClearEvent, KeDelayExecutionThread, KeGetCurrentIrql, KeGetCurrentProcessorNumberEx, KeInitializeEvent,
        KeInitializeSemaphore, KeLowerIrql, KeQueryPerformanceCounter, KeQuerySystemTimePrecise, KeReleaseSemaphore,
        KeSetEvent, KeWaitForSingleObject, KfRaiseIrql, ObReferenceObjectByHandle, ObfDereferenceObject,
        PsCreateSystemThread, PsTerminateSystemThread, ZwClose,
    },
};

use crate::shared::Shared;

/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH_LEVEL: KIRQL = 2;
/// `KernelMode`.
pub(crate) const KERNEL_MODE: i8 = 0;
const _: () = assert!(_MODE::KernelMode == 0);

static ORDER: AtomicU64 = AtomicU64::new(1);

/// The next place in the order of all that the driver notes. Any IRQL.
pub(crate) fn next_in_order() -> u64 {
    ORDER.fetch_add(1, Ordering::AcqRel)
}

/// Milliseconds as the kernel's relative times.
fn relative(ms: u32) -> LARGE_INTEGER {
    LARGE_INTEGER {
        QuadPart: i64::from(ms).wrapping_mul(-10_000),
    }
}

/// Waits for a dispatcher object. `false`: the time ran out.
///
/// # Safety
/// `object` is an initialised dispatcher object that outlives the wait.
unsafe fn wait_object(object: PVOID, ms: u32) -> bool {
    let mut timeout = relative(ms);
    // SAFETY: the caller vouches for the object; the time-out lives on this stack.
    let status = unsafe { KeWaitForSingleObject(object, _KWAIT_REASON::Executive, KERNEL_MODE, 0, &raw mut timeout) };
    status != STATUS_TIMEOUT
}

/// A notification event. [`Self::init`] must be called once it has its final address.
pub(crate) struct Event(UnsafeCell<KEVENT>);

// SAFETY: the kernel's routines synchronise themselves.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Not usable before [`Self::init`].
    pub(crate) fn uninitialised() -> Self {
        // SAFETY: a KEVENT consists of numbers and pointers, for which zero is a value.
        Self(UnsafeCell::new(unsafe { core::mem::zeroed() }))
    }

    pub(crate) fn init(&self) {
        // SAFETY: the memory is ours and has its final address.
        unsafe { KeInitializeEvent(self.0.get(), _EVENT_TYPE::NotificationEvent, 0) };
    }

    /// <= `DISPATCH_LEVEL`.
    pub(crate) fn set(&self) {
        // SAFETY: the event is initialised.
        unsafe { KeSetEvent(self.0.get(), 0, 0) };
    }

    pub(crate) fn clear(&self) {
        // SAFETY: the event is initialised.
        unsafe { KeClearEvent(self.0.get()) };
    }

    /// Waits up to `ms`; `false`: the time ran out. `PASSIVE_LEVEL`.
    pub(crate) fn wait(&self, ms: u32) -> bool {
        // SAFETY: the event is initialised and borrowed for the wait.
        unsafe { wait_object(self.0.get().cast(), ms) }
    }
}

/// A counting semaphore, with the same rule as [`Event`].
pub(crate) struct Semaphore(UnsafeCell<KSEMAPHORE>);

// SAFETY: the kernel's routines synchronise themselves.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    pub(crate) const fn uninitialised() -> Self {
        // SAFETY: a KSEMAPHORE consists of numbers and pointers, for which zero is a value.
        Self(UnsafeCell::new(unsafe { core::mem::zeroed() }))
    }

    pub(crate) fn init(&self) {
        // SAFETY: the memory is ours and has its final address.
        unsafe { KeInitializeSemaphore(self.0.get(), 0, i32::MAX) };
    }

    pub(crate) fn release(&self) {
        // SAFETY: the semaphore is initialised.
        unsafe { KeReleaseSemaphore(self.0.get(), 0, 1, 0) };
    }

    pub(crate) fn wait(&self, ms: u32) -> bool {
        // SAFETY: the semaphore is initialised and borrowed for the wait.
        unsafe { wait_object(self.0.get().cast(), ms) }
    }
}

/// The processor, as its index.
pub(crate) fn processor() -> u32 {
    // SAFETY: NULL is allowed.
    unsafe { KeGetCurrentProcessorNumberEx(null_mut()) }
}

/// The system time, precisely.
pub(crate) fn system_time() -> i64 {
    let mut time = LARGE_INTEGER::default();
    // SAFETY: a live local.
    unsafe { KeQuerySystemTimePrecise(&raw mut time) };
    // SAFETY: every bit pattern is a number.
    unsafe { time.QuadPart }
}

/// The current IRQL.
pub(crate) fn irql() -> KIRQL {
    // SAFETY: reading the IRQL is always allowed.
    unsafe { KeGetCurrentIrql() }
}

/// Runs `work` at `DISPATCH_LEVEL` when `raise`, else where it is.
pub(crate) fn at_irql<R>(raise: bool, work: impl FnOnce() -> R) -> R {
    if !raise {
        return work();
    }
    // SAFETY: the thread is at or below DISPATCH_LEVEL, and what runs there is nonpaged.
    let old = unsafe { KfRaiseIrql(DISPATCH_LEVEL) };
    let result = work();
    // SAFETY: `old` is what the IRQL was.
    unsafe { KeLowerIrql(old) };
    result
}

/// Sleeps. `PASSIVE_LEVEL`.
pub(crate) fn sleep(ms: u32) {
    let mut interval = relative(ms);
    // SAFETY: the interval lives on this stack.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
}

/// The performance counter. Any IRQL.
pub(crate) fn ticks() -> u64 {
    // SAFETY: a NULL frequency is allowed.
    let now = unsafe { KeQueryPerformanceCounter(null_mut()) };
    // SAFETY: both members of the union are the same eight bytes.
    unsafe { now.QuadPart }.cast_unsigned()
}

/// Its ticks per second.
pub(crate) fn ticks_per_second() -> u64 {
    let mut frequency = LARGE_INTEGER { QuadPart: 0 };
    // SAFETY: the frequency is written to this stack.
    let _ = unsafe { KeQueryPerformanceCounter(&raw mut frequency) };
    // SAFETY: both members of the union are the same eight bytes.
    unsafe { frequency.QuadPart }.cast_unsigned().max(1)
}

/// Keeps the processor busy. Any IRQL.
pub(crate) fn stall(microseconds: u32) {
    let wanted = u64::from(microseconds)
        .saturating_mul(ticks_per_second())
        .wrapping_div(1_000_000);
    let start = ticks();
    while ticks().wrapping_sub(start) < wanted {
        core::hint::spin_loop();
    }
}

/// A deadline, for several waits under one time-out. `PASSIVE_LEVEL` to wait, any to ask.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn after(ms: u32) -> Self {
        let span = u64::from(ms).saturating_mul(ticks_per_second()).wrapping_div(1000);
        Self(ticks().saturating_add(span))
    }

    /// Milliseconds left.
    pub(crate) fn left(self) -> u32 {
        let ticks = self.0.saturating_sub(ticks());
        let ms = ticks.saturating_mul(1000).div_ceil(ticks_per_second());
        u32::try_from(ms).unwrap_or(u32::MAX)
    }
}

static THREADS: AtomicU32 = AtomicU32::new(0);

/// Threads that have not been joined.
pub(crate) fn threads_alive() -> u32 {
    THREADS.load(Ordering::Acquire)
}

/// A system thread. Its code is the driver's: it must be joined before the driver unloads.
pub(crate) struct Thread(PVOID);

// SAFETY: a reference to a thread object may be used and dropped on any thread.
unsafe impl Send for Thread {}

struct Start<C> {
    body: fn(&C),
    context: Shared<C>,
}

unsafe extern "C" fn run<C: Send + Sync>(context: PVOID) {
    {
        // SAFETY: `spawn` made the reference for this thread.
        let start = unsafe { Shared::<Start<C>>::from_raw(context) };
        (start.body)(&start.context);
    }
    // SAFETY: this is a system thread, which ends itself so.
    let _ = unsafe { PsTerminateSystemThread(STATUS_SUCCESS) };
}

impl Thread {
    /// Starts a thread that runs `body`. `PASSIVE_LEVEL`.
    pub(crate) fn spawn<C: Send + Sync>(body: fn(&C), context: Shared<C>) -> Option<Self> {
        let raw = Shared::try_new(Start { body, context })?.into_raw();
        let mut handle: HANDLE = null_mut();
        // SAFETY: all optional arguments are NULL, and the context is a reference that the thread takes over.
        let status = unsafe {
            PsCreateSystemThread(
                &raw mut handle,
                THREAD_ALL_ACCESS,
                null_mut(),
                null_mut(),
                null_mut(),
                Some(run::<C>),
                raw,
            )
        };
        if status < 0 {
            // SAFETY: there is no thread to take the reference over.
            drop(unsafe { Shared::<Start<C>>::from_raw(raw) });
            return None;
        }
        THREADS.fetch_add(1, Ordering::AcqRel);
        Some(Self(object_of(handle)))
    }

    /// Waits up to `ms` for its end.
    pub(crate) fn join(self, ms: u32) -> Result<(), Self> {
        // SAFETY: the object is referenced.
        if !unsafe { wait_object(self.0, ms) } {
            return Err(self);
        }
        // SAFETY: `spawn` took the reference.
        unsafe { ObfDereferenceObject(self.0) };
        THREADS.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }
}

/// Trades a thread's handle for a reference to its object.
fn object_of(handle: HANDLE) -> PVOID {
    let mut object: PVOID = null_mut();
    // SAFETY: the handle is a kernel handle that was just made; a NULL type accepts any.
    let _: NTSTATUS = unsafe {
        ObReferenceObjectByHandle(
            handle,
            THREAD_ALL_ACCESS,
            null_mut(),
            KERNEL_MODE,
            &raw mut object,
            null_mut(),
        )
    };
    // SAFETY: the handle is ours.
    let _ = unsafe { ZwClose(handle) };
    object
}

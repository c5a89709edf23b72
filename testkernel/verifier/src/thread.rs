//! What the test kernel knows of each thread: its virtual IRQL and the spin locks it holds. Kept in a fiber-local slot, made at a thread's
//! first use, freed when it ends.

extern crate alloc;

use alloc::boxed::Box;
use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::guard::Marks;
use crate::user;

/// `PASSIVE_LEVEL`.
pub(crate) const PASSIVE: u8 = 0;
/// `APC_LEVEL`.
pub(crate) const APC: u8 = 1;
/// `DISPATCH_LEVEL`.
pub(crate) const DISPATCH: u8 = 2;
/// `HIGH_LEVEL`.
pub(crate) const HIGH: u8 = 15;

/// How a spin lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A `KSPIN_LOCK`.
    Spin,
    /// An `EX_SPIN_LOCK`, shared.
    Shared,
    /// An `EX_SPIN_LOCK`, exclusive.
    Exclusive,
    /// Asked for while already held: reported, and not taken again.
    Refused,
}

/// A spin lock that a thread holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) lock: usize,
    pub(crate) mode: Mode,
}

/// Most locks that one thread may hold at a time.
const MOST: usize = 32;

/// A thread's state.
pub(crate) struct Thread {
    pub(crate) irql: Cell<u8>,
    /// In a DPC, or what counts as one.
    pub(crate) dpc: Cell<bool>,
    /// Where to go back to after a fault.
    pub(crate) marks: Marks,
    held: RefCell<([Held; MOST], usize)>,
}

impl Thread {
    fn new() -> Self {
        let none = Held {
            lock: 0,
            mode: Mode::Spin,
        };
        Self {
            irql: Cell::new(PASSIVE),
            dpc: Cell::new(false),
            marks: Marks::new(),
            held: RefCell::new(([none; MOST], 0)),
        }
    }

    /// Notes that a lock is now held.
    pub(crate) fn hold(&self, lock: usize, mode: Mode) {
        let mut held = self.held.borrow_mut();
        let (locks, count) = &mut *held;
        if let Some(slot) = locks.get_mut(*count) {
            *slot = Held { lock, mode };
            *count = count.saturating_add(1);
        }
    }

    /// Notes that a lock is released: how it was held, and whether it was the one taken last.
    pub(crate) fn release(&self, lock: usize) -> Option<(Mode, bool)> {
        let mut held = self.held.borrow_mut();
        let (locks, count) = &mut *held;
        let at = locks.iter().take(*count).rposition(|held| held.lock == lock)?;
        let mode = locks.get(at)?.mode;
        let last = at.saturating_add(1) == *count;
        locks.copy_within(at.saturating_add(1)..*count, at);
        *count = count.saturating_sub(1);
        Some((mode, last))
    }

    /// How a lock is held by this thread, if it is.
    pub(crate) fn holds(&self, lock: usize) -> Option<Mode> {
        let held = self.held.borrow();
        held.0
            .iter()
            .take(held.1)
            .rev()
            .find(|held| held.lock == lock)
            .map(|held| held.mode)
    }

    /// How many locks the thread holds.
    pub(crate) fn held_count(&self) -> usize {
        self.held.borrow().1
    }

    /// The lock taken last.
    pub(crate) fn innermost(&self) -> Option<Held> {
        let held = self.held.borrow();
        held.0.get(held.1.checked_sub(1)?).copied()
    }

    /// The locks held, oldest first.
    pub(crate) fn for_each_held(&self, mut visit: impl FnMut(Held)) {
        let (locks, count) = *self.held.borrow();
        locks.iter().take(count).for_each(|held| visit(*held));
    }

    /// Lets go of the notes about every lock above the first `count`.
    pub(crate) fn forget_locks(&self, count: usize) {
        let mut held = self.held.borrow_mut();
        held.1 = held.1.min(count);
    }
}

/// The slot that owns the state.
static SLOT: AtomicU32 = AtomicU32::new(u32::MAX);
/// A thread-local slot with the same, which is found by one load: the IRQL is asked for all the time.
static QUICK: AtomicU32 = AtomicU32::new(u32::MAX);
/// As many thread-local slots lie in the thread's environment block, from there on.
const QUICK_SLOTS: u32 = 64;
const QUICK_AT: u64 = 0x1480;

unsafe extern "system" fn ended(state: *mut c_void) {
    // SAFETY: the slot exists from DriverEntry on.
    unsafe { user::TlsSetValue(QUICK.load(Ordering::Relaxed), core::ptr::null()) };
    if !state.is_null() {
        // SAFETY: the slot only ever holds what `current` put there, and the thread is gone.
        drop(unsafe { Box::from_raw(state.cast::<Thread>()) });
    }
}

/// Makes the slots. Once, before anything else.
pub(crate) fn initialize() -> bool {
    // SAFETY: the routine takes what the slot holds.
    let slot = unsafe { user::FlsAlloc(Some(ended)) };
    // SAFETY: no preconditions.
    let quick = unsafe { user::TlsAlloc() };
    SLOT.store(slot, Ordering::Release);
    QUICK.store(quick, Ordering::Release);
    slot != u32::MAX && quick < QUICK_SLOTS
}

/// What the quick slot of the calling thread holds.
fn quick() -> *const Thread {
    let offset = QUICK_AT.wrapping_add(u64::from(QUICK.load(Ordering::Relaxed)) << 3);
    let value: *const Thread;
    // SAFETY: `gs` is the environment block's, in which `initialize` has got a slot; only the block is read.
    unsafe {
        core::arch::asm!("mov {}, gs:[{}]", out(reg) value, in(reg) offset, options(readonly, nostack, preserves_flags));
    };
    value
}

/// The calling thread's state. It lives as long as the thread, which is as long as the caller can use it.
#[inline]
pub(crate) fn current() -> &'static Thread {
    // SAFETY: NULL, or put there by `first`; only this thread uses it, and all its fields are cells.
    unsafe { quick().as_ref() }.unwrap_or_else(first)
}

#[cold]
fn first() -> &'static Thread {
    let state = Box::into_raw(Box::new(Thread::new()));
    // SAFETY: the slots exist from DriverEntry on.
    unsafe { user::FlsSetValue(SLOT.load(Ordering::Relaxed), state.cast()) };
    // SAFETY: as above.
    unsafe { user::TlsSetValue(QUICK.load(Ordering::Relaxed), state.cast()) };
    // SAFETY: fresh from the box.
    unsafe { &*state }
}

/// Runs `body` at `irql`, as the dispatcher does for DPCs, and puts the thread back as it was.
pub(crate) fn at<R>(irql: u8, dpc: bool, body: impl FnOnce() -> R) -> R {
    let thread = current();
    let before = (thread.irql.replace(irql), thread.dpc.replace(dpc));
    let result = body();
    thread.irql.set(before.0);
    thread.dpc.set(before.1);
    result
}

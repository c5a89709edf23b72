//! The verifier's own lock and allocator. They are those of the process that runs the test kernel: invisible to the virtual IRQL and to
//! every check, and usable at any IRQL. No lock of this kind is held while a driver's code is called.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ops::{Deref, DerefMut};

use crate::user;

/// A lock with its data. Not recursive.
pub(crate) struct Lock<T> {
    word: UnsafeCell<*mut c_void>,
    data: UnsafeCell<T>,
}

// SAFETY: one guard exists at a time; the data moves between threads as `T: Send` allows.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(data: T) -> Self {
        Self {
            word: UnsafeCell::new(core::ptr::null_mut()),
            data: UnsafeCell::new(data),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the word is a slim lock that only these two functions touch.
        unsafe { user::AcquireSRWLockExclusive(self.word.get()) };
        Guard { lock: self }
    }
}

/// The lock is held.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held and the guard borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this guard took the lock.
        unsafe { user::ReleaseSRWLockExclusive(self.lock.word.get()) };
    }
}

/// The process heap, for the verifier's own tables.
pub(crate) struct ProcessHeap;

// SAFETY: the heap is thread-safe, aligns to 16, and refuses greater alignments by failing.
unsafe impl GlobalAlloc for ProcessHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 16 {
            core::ptr::null_mut()
        } else {
            user::heap_allocate(layout.size())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block came from `alloc` above.
        unsafe { user::heap_free(block) };
    }
}

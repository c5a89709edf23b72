//! Reference-counted objects in nonpaged pool: the probe's objects are reached from scripts, IRPs and callbacks at once. Used and
//! freed at IRQL <= `DISPATCH_LEVEL`.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_rtl::nonpaged;

const TAG: u32 = u32::from_le_bytes(*b"WPrb");

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Objects alive in the whole driver.
pub(crate) fn alive() -> usize {
    ALIVE.load(Ordering::Acquire)
}

#[repr(C, align(16))]
struct Inner<T> {
    count: AtomicUsize,
    value: T,
}

/// One reference.
pub(crate) struct Shared<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<T>,
}

// SAFETY: as for alloc::sync::Arc.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as for alloc::sync::Arc.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

/// Types for which all bytes zero is a value.
///
/// # Safety
/// As the name says.
pub(crate) unsafe trait Zeroable {}

impl<T> Shared<T> {
    /// The first reference to `value`, or `None` without memory.
    pub(crate) fn try_new(value: T) -> Option<Self> {
        let inner = Self::allocate()?;
        // SAFETY: the block is fresh and large enough.
        unsafe {
            inner.write(Inner {
                count: AtomicUsize::new(1),
                value,
            });
        };
        Some(Self {
            inner,
            owns: PhantomData,
        })
    }

    /// The first reference to a zeroed value; for values too large to pass on a kernel stack.
    pub(crate) fn try_zeroed() -> Option<Self>
    where
        T: Zeroable,
    {
        let inner = Self::allocate()?;
        // SAFETY: the block is fresh; only its count is written, the rest is zero as the pool gives it.
        unsafe { (*inner.as_ptr()).count = AtomicUsize::new(1) };
        Some(Self {
            inner,
            owns: PhantomData,
        })
    }

    fn allocate() -> Option<NonNull<Inner<T>>> {
        const { assert!(align_of::<Inner<T>>() <= 16) };
        let block = nonpaged::allocate(size_of::<Inner<T>>(), TAG, false)?;
        ALIVE.fetch_add(1, Ordering::AcqRel);
        Some(block.cast())
    }

    /// Gives the reference to whoever will pass the address to [`Self::from_raw`].
    pub(crate) fn into_raw(self) -> *mut c_void {
        let value = self.as_ptr();
        core::mem::forget(self);
        value
    }

    /// The address of the value, which names the object to the kernel and to providers.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        // SAFETY: the object is alive; only an address inside it is made.
        unsafe { (&raw mut (*self.inner.as_ptr()).value).cast() }
    }

    /// Takes over a reference given away by [`Self::into_raw`].
    ///
    /// # Safety
    /// `value` came from [`Self::into_raw`] of this type, once.
    pub(crate) unsafe fn from_raw(value: *mut c_void) -> Self {
        let inner = value.wrapping_byte_sub(offset_of!(Inner<T>, value)).cast::<Inner<T>>();
        // SAFETY: the address is that of a live object's value, hence not NULL.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Self {
            inner,
            owns: PhantomData,
        }
    }

    /// Another reference, by address.
    ///
    /// # Safety
    /// `value` is [`Self::as_ptr`] of a live object of this type.
    pub(crate) unsafe fn from_address(value: *mut c_void) -> Self {
        // SAFETY: the reference that is made here is not the caller's to drop: it is forgotten below.
        let borrowed = unsafe { Self::from_raw(value) };
        let own = borrowed.clone();
        core::mem::forget(borrowed);
        own
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: the object is alive while `self` is.
        unsafe { self.inner.as_ref() }.count.fetch_add(1, Ordering::Relaxed);
        Self {
            inner: self.inner,
            owns: PhantomData,
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the object is alive while `self` is.
        &unsafe { self.inner.as_ref() }.value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the object is alive while `self` is.
        if unsafe { self.inner.as_ref() }.count.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        // SAFETY: this was the last reference.
        unsafe { self.inner.drop_in_place() };
        // SAFETY: the block came from `allocate` with this tag.
        unsafe { nonpaged::free(self.inner.cast(), TAG) };
        ALIVE.fetch_sub(1, Ordering::AcqRel);
    }
}

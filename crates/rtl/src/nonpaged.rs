//! Fallible nonpaged memory with a pool tag of its own. IRQL <= DISPATCH_LEVEL.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use wdk_sys::{
    POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED,
    ntddk::{ExAllocatePool2, ExFreePoolWithTag},
};

/// Allocates `bytes` zeroed bytes, aligned to 16, or to a cache line when `cache_aligned`.
#[must_use]
pub fn allocate(bytes: usize, tag: u32, cache_aligned: bool) -> Option<NonNull<u8>> {
    let flags = if cache_aligned {
        POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED
    } else {
        POOL_FLAG_NON_PAGED
    };
    // SAFETY: any size and tag is allowed; failure is NULL, since POOL_FLAG_RAISE_ON_FAILURE is not given.
    let block = unsafe { ExAllocatePool2(flags, bytes as _, tag) };
    NonNull::new(block.cast())
}

/// Frees a block of [`allocate`].
///
/// # Safety
/// `block` came from [`allocate`] with this tag, and nobody uses it any more.
pub unsafe fn free(block: NonNull<u8>, tag: u32) {
    // SAFETY: as the caller promises.
    unsafe { ExFreePoolWithTag(block.as_ptr().cast(), tag) };
}

/// A value in nonpaged pool, cache-aligned where `T` asks for more than 16.
pub struct NonpagedBox<T, const TAG: u32> {
    value: NonNull<T>,
}

// SAFETY: the box owns its value as `alloc::boxed::Box` does.
unsafe impl<T: Send, const TAG: u32> Send for NonpagedBox<T, TAG> {}
// SAFETY: as above.
unsafe impl<T: Sync, const TAG: u32> Sync for NonpagedBox<T, TAG> {}

impl<T, const TAG: u32> NonpagedBox<T, TAG> {
    const CACHE_ALIGNED: bool = align_of::<T>() > 16;
    const ALIGNMENT_OK: () = assert!(align_of::<T>() <= 64 && size_of::<T>() > 0);

    /// Moves `value` into the pool; hands it back when there is no memory.
    ///
    /// # Errors
    /// The value itself.
    pub fn try_new(value: T) -> Result<Self, T> {
        let () = Self::ALIGNMENT_OK;
        let Some(block) = allocate(size_of::<T>(), TAG, Self::CACHE_ALIGNED) else {
            return Err(value);
        };
        let block = block.cast::<T>();
        // SAFETY: the block is fresh, large enough and aligned: 16 is what the pool gives, a cache line covers the rest.
        unsafe { block.write(value) };
        Ok(Self { value: block })
    }

    /// Gives up ownership; [`Self::from_raw`] takes it back.
    #[must_use]
    pub fn into_raw(self) -> NonNull<T> {
        let value = self.value;
        core::mem::forget(self);
        value
    }

    /// Takes ownership back.
    ///
    /// # Safety
    /// `value` came from [`Self::into_raw`], once.
    #[must_use]
    pub unsafe fn from_raw(value: NonNull<T>) -> Self {
        Self { value }
    }
}

impl<T, const TAG: u32> Deref for NonpagedBox<T, TAG> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the box owns an initialised value.
        unsafe { self.value.as_ref() }
    }
}

impl<T, const TAG: u32> DerefMut for NonpagedBox<T, TAG> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box owns an initialised value and is borrowed mutably.
        unsafe { self.value.as_mut() }
    }
}

impl<T, const TAG: u32> Drop for NonpagedBox<T, TAG> {
    fn drop(&mut self) {
        // SAFETY: the value is initialised and dropped once.
        unsafe { self.value.drop_in_place() };
        // SAFETY: the block came from `allocate` with this tag.
        unsafe { free(self.value.cast(), TAG) };
    }
}

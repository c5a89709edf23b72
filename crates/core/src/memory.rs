//! Where the core's memory comes from, and the two containers made of it: a fixed array, and one padded value per processor.
//!
//! Creating and dropping them happens at the IRQL that the [`Memory`] asks for (nonpaged pool: <= `DISPATCH_LEVEL`); using them
//! at any IRQL.

use core::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// A source of zeroed memory that never pages out. In the driver: nonpaged pool.
///
/// # Safety
/// A block returned by `allocate` is zeroed, at least `bytes` long, aligned to `align`, and nobody else's until `free`.
pub unsafe trait Memory {
    /// A zeroed block, or `None` when there is none to be had. `bytes` is not 0; `align` is a power of two, at most 4096.
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>>;

    /// Gives a block back.
    ///
    /// # Safety
    /// `block` came from `allocate` of the same source with the same `bytes` and `align`, and is not used afterwards.
    unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize);
}

// SAFETY: every call is handed to `M`, which keeps the contract.
unsafe impl<M: Memory + ?Sized> Memory for &M {
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        (**self).allocate(bytes, align)
    }

    unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: the caller's promise, passed on.
        unsafe { (**self).free(block, bytes, align) }
    }
}

/// A fixed number of values in one block, never empty.
///
/// # Invariants
/// `items` points to a block of `capacity * size_of::<T>()` bytes of `memory`; the first `len` values are initialized, and
/// `0 < len <= capacity` for every array that the outside sees.
pub struct Array<T, M: Memory> {
    items: NonNull<T>,
    len: usize,
    capacity: usize,
    memory: M,
    owns: PhantomData<T>,
}

// SAFETY: the array owns its values; access goes through slices, which follow the rules of `T`.
unsafe impl<T: Send, M: Memory + Send> Send for Array<T, M> {}
// SAFETY: as above; `&Array` gives `&T` only.
unsafe impl<T: Sync, M: Memory + Sync> Sync for Array<T, M> {}

impl<T, M: Memory> Array<T, M> {
    /// `len` values, made by `make` from their index. `None` when `len` is 0, when there is no memory, or as soon as `make` says so.
    pub fn new(memory: M, len: usize, mut make: impl FnMut(usize) -> Option<T>) -> Option<Self> {
        let bytes = size_of::<T>().checked_mul(len).filter(|&bytes| bytes != 0)?;
        let items = memory.allocate(bytes, align_of::<T>())?.cast::<T>();
        let mut array = Self {
            items,
            len: 0,
            capacity: len,
            memory,
            owns: PhantomData,
        };
        for index in 0..len {
            let value = make(index)?;
            // SAFETY: `index < capacity`, so the address is inside the block.
            let place = unsafe { array.items.add(index) };
            // SAFETY: aligned for `T` as the block is, writable, and not initialized before.
            unsafe { place.write(value) };
            array.len = index.wrapping_add(1);
        }
        Some(array)
    }
}

impl<T, M: Memory> Deref for Array<T, M> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant the first `len` values are initialized and live as long as `self`.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }
}

impl<T, M: Memory> DerefMut for Array<T, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }
}

impl<T, M: Memory> Drop for Array<T, M> {
    fn drop(&mut self) {
        let values = core::ptr::slice_from_raw_parts_mut(self.items.as_ptr(), self.len);
        // SAFETY: the values are initialized, owned, and not used again.
        unsafe { values.drop_in_place() };
        let bytes = size_of::<T>().wrapping_mul(self.capacity);
        // SAFETY: the block of `new`, with the same size (which did not overflow there) and alignment.
        unsafe { self.memory.free(self.items.cast(), bytes, align_of::<T>()) };
    }
}

/// Keeps neighbours apart: two lines of 64 bytes, which x86 fetches in pairs, or one of the larger ones of ARM.
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// One value per processor, no two on one cache line.
///
/// A caller below `DISPATCH_LEVEL` may be moved to another processor at any time, so a value is only ever *mostly* one
/// processor's: it must be safe to use from all, and only the speed depends on the number being right.
pub struct PerCpu<T, M: Memory>(Array<Padded<T>, M>);

impl<T, M: Memory> PerCpu<T, M> {
    /// One value for each of `cpus` active processors of all groups. `None` when there is no memory or `cpus` is 0.
    pub fn new(memory: M, cpus: usize, mut make: impl FnMut(usize) -> Option<T>) -> Option<Self> {
        Some(Self(Array::new(memory, cpus, |cpu| make(cpu).map(Padded))?))
    }

    /// The value of processor `cpu` (`KeGetCurrentProcessorIndex`). One that was added after the start shares the first's.
    #[inline]
    pub fn get(&self, cpu: usize) -> &T {
        let index = if cpu < self.0.len { cpu } else { 0 };
        // SAFETY: an array is never empty, so 0 is inside it, and `cpu` was checked.
        &unsafe { self.0.get_unchecked(index) }.0
    }

    /// How many values there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// All values, in processor order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::sync::atomic::{AtomicIsize, Ordering};

    /// The host's heap, which counts what is out and fails beyond a limit.
    pub(crate) struct Heap {
        pub(crate) live: AtomicIsize,
        pub(crate) limit: isize,
    }

    impl Heap {
        pub(crate) const fn new(limit: isize) -> Self {
            Self {
                live: AtomicIsize::new(0),
                limit,
            }
        }
    }

    // SAFETY: the host's allocator, asked for zeroed memory of the given layout.
    unsafe impl Memory for Heap {
        fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
            if self.live.fetch_add(1, Ordering::Relaxed) >= self.limit {
                self.live.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            // SAFETY: the size is not 0 by contract.
            NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(bytes, align).ok()?) })
        }

        unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize) {
            self.live.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: the layout it was allocated with.
            unsafe { dealloc(block.as_ptr(), Layout::from_size_align(bytes, align).unwrap()) }
        }
    }

    #[test]
    fn an_array_gives_back_all_it_took() {
        let heap = Heap::new(isize::MAX);
        let array = Array::new(&heap, 5, |i| Some(Box::into_raw(Box::new(i)))).unwrap();
        assert_eq!(array.len(), 5);
        for (index, &value) in array.iter().enumerate() {
            // SAFETY: made above, taken back once.
            assert_eq!(*unsafe { Box::from_raw(value) }, index);
        }
        drop(array);
        assert_eq!(heap.live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_failed_array_drops_what_it_had() {
        struct Counted<'a>(&'a AtomicIsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let heap = Heap::new(isize::MAX);
        let count = AtomicIsize::new(0);
        let array = Array::new(&heap, 5, |i| {
            (i < 3).then(|| {
                count.fetch_add(1, Ordering::Relaxed);
                Counted(&count)
            })
        });
        assert!(array.is_none());
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert_eq!(heap.live.load(Ordering::Relaxed), 0);
        assert!(Array::new(&heap, 0, |_| Some(1u8)).is_none());
        assert!(Array::new(&heap, usize::MAX, |_| Some(1u64)).is_none());
        assert!(Array::new(&Heap::new(0), 1, |_| Some(1u64)).is_none());
    }

    #[test]
    fn a_late_processor_shares_the_first_value() {
        let heap = Heap::new(isize::MAX);
        let per_cpu = PerCpu::new(&heap, 3, Some).unwrap();
        assert_eq!((*per_cpu.get(2), *per_cpu.get(3), *per_cpu.get(usize::MAX)), (2, 0, 0));
        let distance = core::ptr::from_ref(per_cpu.get(1)).addr() - core::ptr::from_ref(per_cpu.get(0)).addr();
        assert!(distance >= 128);
    }
}

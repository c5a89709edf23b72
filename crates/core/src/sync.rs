//! Atomics, at any IRQL: the processor's own, or loom's when the concurrent parts are model-checked (`--cfg loom`).

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Between a sequentially consistent write and a sequentially consistent read of another location. The language already
/// orders the two; loom weakens such accesses to acquire and release, and knows the total order from fences only.
#[inline]
pub(crate) fn total_order() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

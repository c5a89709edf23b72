//! Atomics, at any IRQL: the processor's own, or loom's when the concurrent parts are model-checked:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p wskguard-core --lib interleavings`. The models are in `models/`.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use {
    checked::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize},
    loom::sync::atomic::{Ordering, fence},
};

/// Between a sequentially consistent write and a sequentially consistent read of another location. The language already
/// orders the two; loom weakens such accesses to acquire and release, and knows the total order from fences only.
#[inline]
pub(crate) fn total_order() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// loom's atomics, with every load preceded by a write elsewhere.
///
/// loom remembers only the last access to an atomic. Where a thread loads a value and then exchanges it, its own load hides the
/// loads of other threads before it, and the interleavings in which they come later are never tried. The write, which orders
/// nothing, is remembered in the load's place.
#[cfg(loom)]
mod checked {
    use core::ops::Deref;
    use loom::sync::atomic::{self, Ordering};

    macro_rules! checked {
        ($($name:ident $(<$param:ident>)?: $value:ty;)*) => {$(
            pub(crate) struct $name $(<$param>)? { value: atomic::$name $(<$param>)?, loads: atomic::AtomicUsize }

            impl $(<$param>)? $name $(<$param>)? {
                pub(crate) fn new(value: $value) -> Self {
                    Self { value: atomic::$name::new(value), loads: atomic::AtomicUsize::new(0) }
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.loads.fetch_add(0, Ordering::Relaxed);
                    self.value.load(order)
                }
            }

            impl $(<$param>)? Deref for $name $(<$param>)? {
                type Target = atomic::$name $(<$param>)?;

                fn deref(&self) -> &Self::Target {
                    &self.value
                }
            }
        )*};
    }

    checked! {
        AtomicU32: u32;
        AtomicU64: u64;
        AtomicUsize: usize;
        AtomicPtr<T>: *mut T;
    }

    impl Default for AtomicU64 {
        fn default() -> Self {
            Self::new(0)
        }
    }
}

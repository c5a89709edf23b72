//! Blocks that wait for the next request: one for each processor, so that a request at a time needs no allocation. What is in flight
//! beyond that is allocated and freed. IRQL <= `DISPATCH_LEVEL`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wskguard_core::memory::PerCpu;

use super::{Finish, Ready, Request};
use crate::guard::{Pool, TAG_REQUEST};

/// See the module.
///
/// # Invariants
/// Each is NULL or a pooled block, held by nobody, without a request in it.
pub struct Spares<F: Finish>(PerCpu<AtomicPtr<Request<F>>, Pool>);

impl<F: Finish> Spares<F> {
    /// No block yet. `None` when there is no memory.
    pub fn new(processors: usize) -> Option<Self> {
        PerCpu::new(Pool, processors, |_| Some(AtomicPtr::new(core::ptr::null_mut()))).map(Self)
    }

    /// The block kept on this processor, if there is one.
    pub fn take(&self, cpu: usize) -> Option<Ready<F>> {
        let block = NonNull::new(self.0.get(cpu).swap(core::ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: by the invariant a pooled block, which came from `into_raw`; nobody else has got it.
        Some(Ready(unsafe { NonpagedBox::<_, TAG_REQUEST>::from_raw(block) }))
    }

    /// Keeps a pooled block whose request is over; false when there is one already.
    pub fn keep(&self, cpu: usize, block: NonNull<Request<F>>) -> bool {
        self.0
            .get(cpu)
            .compare_exchange(
                core::ptr::null_mut(),
                block.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

impl<F: Finish> Drop for Spares<F> {
    fn drop(&mut self) {
        for spare in self.0.iter() {
            if let Some(block) = NonNull::new(spare.swap(core::ptr::null_mut(), Ordering::Acquire)) {
                // SAFETY: as in `take`.
                drop(unsafe { NonpagedBox::<_, TAG_REQUEST>::from_raw(block) });
            }
        }
    }
}

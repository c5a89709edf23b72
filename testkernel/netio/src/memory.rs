//! The heap: the host's, so that the verifier's books hold what drivers allocate and nothing of the operating system's.

use core::alloc::{GlobalAlloc, Layout};

use crate::host::sys;

/// What the heap aligns to.
const ALIGNMENT: usize = 16;

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: blocks are unique and aligned as asked for (more than the heap gives is refused), and freed to where they came from.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNMENT {
            return core::ptr::null_mut();
        }
        // SAFETY: the process has a heap, which takes any size.
        unsafe { sys::HeapAlloc(sys::GetProcessHeap(), 0, layout.size()).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block came from `alloc`.
        unsafe { sys::HeapFree(sys::GetProcessHeap(), 0, block.cast()) };
    }
}

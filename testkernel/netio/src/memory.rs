//! The heap: nonpaged pool through the oldest of the pool routines, so that netio.sys needs no export that the host lacks.

use core::alloc::{GlobalAlloc, Layout};

use core::ffi::c_void;

use wdk_sys::ntddk::ExFreePoolWithTag;

unsafe extern "C" {
    /// Superseded on Windows by `ExAllocatePool2`, which not every host has.
    fn ExAllocatePoolWithTag(kind: i32, bytes: usize, tag: u32) -> *mut c_void;
}

/// `NonPagedPool`.
const NON_PAGED_POOL: i32 = 0;

const TAG: u32 = u32::from_le_bytes(*b"tkNe");
/// What the pool aligns to.
const ALIGNMENT: usize = 16;

struct Pool;

#[global_allocator]
static POOL: Pool = Pool;

// SAFETY: blocks are unique and aligned as asked for (more than the pool gives is refused), and freed to where they came from.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGNMENT {
            return core::ptr::null_mut();
        }
        // SAFETY: any size and tag may be asked for.
        unsafe { ExAllocatePoolWithTag(NON_PAGED_POOL, layout.size(), TAG).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the block came from `alloc`.
        unsafe { ExFreePoolWithTag(block.cast(), TAG) };
    }
}

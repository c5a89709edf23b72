//! Memory handed to providers: a stretch of nonpaged pool between guard bytes, and the MDLs that describe it. A provider that writes
//! outside is noticed when the request is looked at.

use core::ptr::{NonNull, null_mut};

use wdk_rtl::nonpaged;
use wdk_sys::{
    _MEMORY_CACHING_TYPE, _MM_PAGE_PRIORITY, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_SOURCE_IS_NONPAGED_POOL, PMDL,
    ntddk::{IoAllocateMdl, IoFreeMdl, MmBuildMdlForNonPagedPool, MmMapLockedPagesSpecifyCache},
};

use crate::ke::KERNEL_MODE;

const TAG: u32 = u32::from_le_bytes(*b"WPbf");
const GUARD: usize = 16;
const GUARD_BYTE: u8 = 0xC7;

/// Guarded bytes. Shared with providers while a request is in progress, hence only read and written through raw pointers.
pub(crate) struct Buffer {
    block: NonNull<u8>,
    length: usize,
    mdl: PMDL,
}

// SAFETY: plain memory; who may touch it when is the request's business.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `length` bytes of `fill`.
    pub(crate) fn filled(length: usize, fill: u8) -> Option<Self> {
        let total = length.checked_add(GUARD.checked_mul(2)?)?;
        let block = nonpaged::allocate(total, TAG, false)?;
        // SAFETY: the block has `total` bytes.
        unsafe { block.write_bytes(GUARD_BYTE, total) };
        let buffer = Self {
            block,
            length,
            mdl: null_mut(),
        };
        // SAFETY: the data lies inside the block.
        unsafe { buffer.data().write_bytes(fill, length) };
        Some(buffer)
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let buffer = Self::filled(bytes.len(), 0)?;
        // SAFETY: the data has as many bytes and is not `bytes`.
        unsafe { buffer.data().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Some(buffer)
    }

    pub(crate) fn data(&self) -> *mut u8 {
        self.block.as_ptr().wrapping_add(GUARD)
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn mdl(&self) -> PMDL {
        self.mdl
    }

    /// The bytes as they are.
    ///
    /// # Safety
    /// Nobody writes them meanwhile.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the data lies inside the block, and the caller vouches for the rest.
        unsafe { core::slice::from_raw_parts(self.data(), self.length) }
    }

    /// Copies from `offset` on into `out`, byte by byte as it is now; returns how many.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut count = 0_usize;
        for (index, byte) in (offset..self.length).zip(out) {
            // SAFETY: the index is inside the data; a provider may be writing, so the read is volatile.
            *byte = unsafe { self.data().wrapping_add(index).read_volatile() };
            count = count.wrapping_add(1);
        }
        count
    }

    /// Whether the data still is `other`'s.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let byte = |buffer: &Self, index: usize| {
            // SAFETY: the index is inside both, see below.
            unsafe { buffer.data().wrapping_add(index).read_volatile() }
        };
        self.length == other.length && (0..self.length).all(|index| byte(self, index) == byte(other, index))
    }

    /// Whether the guard bytes are whole.
    pub(crate) fn is_intact(&self) -> bool {
        let whole = |start: *mut u8| {
            (0..GUARD).all(|index| {
                // SAFETY: both guards lie inside the block.
                unsafe { start.wrapping_add(index).read_volatile() == GUARD_BYTE }
            })
        };
        whole(self.block.as_ptr()) && whole(self.data().wrapping_add(self.length))
    }

    /// Describes the data with a chain of `pieces` MDLs.
    pub(crate) fn describe(&mut self, pieces: usize) -> Option<()> {
        if self.length == 0 {
            return Some(());
        }
        let piece = self.length.div_ceil(pieces.max(1));
        let mut link: *mut PMDL = &raw mut self.mdl;
        let mut offset = 0_usize;
        while offset < self.length {
            let bytes = piece.min(self.length.wrapping_sub(offset));
            let mdl = describe(self.data().wrapping_add(offset), bytes)?;
            // SAFETY: the link is our field or the `Next` of an MDL just made.
            unsafe { *link = mdl };
            // SAFETY: the MDL was just made.
            link = unsafe { &raw mut (*mdl).Next };
            offset = offset.checked_add(bytes)?;
        }
        Some(())
    }
}

/// An MDL for nonpaged memory.
fn describe(start: *mut u8, bytes: usize) -> Option<PMDL> {
    let bytes = u32::try_from(bytes).ok()?;
    // SAFETY: any range may be described; no IRP is involved.
    let mdl = unsafe { IoAllocateMdl(start.cast(), bytes, 0, 0, null_mut()) };
    if mdl.is_null() {
        return None;
    }
    // SAFETY: the range is nonpaged pool.
    unsafe { MmBuildMdlForNonPagedPool(mdl) };
    Some(mdl)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut mdl = self.mdl;
        while !mdl.is_null() {
            // SAFETY: the chain is ours.
            let next = unsafe { (*mdl).Next };
            // SAFETY: the MDL came from IoAllocateMdl and is in nobody's use.
            unsafe { IoFreeMdl(mdl) };
            mdl = next;
        }
        // SAFETY: the block came from `allocate` with this tag.
        unsafe { nonpaged::free(self.block, TAG) };
    }
}

/// `MmGetSystemAddressForMdlSafe`.
pub(crate) fn system_address(mdl: &mut MDL) -> *mut u8 {
    let mapped = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL;
    if u32::from(mdl.MdlFlags.cast_unsigned()) & mapped != 0 {
        return mdl.MappedSystemVa.cast();
    }
    // SAFETY: the MDL describes locked pages.
    let address = unsafe {
        MmMapLockedPagesSpecifyCache(
            mdl,
            KERNEL_MODE,
            _MEMORY_CACHING_TYPE::MmCached,
            null_mut(),
            0,
            _MM_PAGE_PRIORITY::NormalPagePriority,
        )
    };
    address.cast()
}

/// Calls `visit` with the stretches of memory that a `WSK_BUF` of `length` bytes from `offset` on covers.
///
/// # Safety
/// The chain is valid and nobody writes its memory meanwhile.
pub(crate) unsafe fn for_each_stretch(mut mdl: PMDL, offset: u32, length: usize, mut visit: impl FnMut(&[u8])) {
    let mut skip = offset as usize;
    let mut left = length;
    while left > 0 && !mdl.is_null() {
        // SAFETY: the chain is valid.
        let this = unsafe { &mut *mdl };
        let room = (this.ByteCount as usize).saturating_sub(skip);
        let bytes = room.min(left);
        let start = system_address(this);
        if start.is_null() {
            return;
        }
        // SAFETY: the MDL maps `ByteCount` bytes, of which these are the ones after `skip`.
        visit(unsafe { core::slice::from_raw_parts(start.wrapping_add(skip), bytes) });
        left = left.wrapping_sub(bytes);
        skip = 0;
        mdl = this.Next;
    }
}

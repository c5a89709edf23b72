//! Pool: the allocators of wdm.h over the heap of the process, with every block on record. IRQL <= DISPATCH_LEVEL; paged pool <= APC_LEVEL.
//!
//! What is freed here but not on record came from ntoskrnl's own functions and goes back to them.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use probe_protocol::verifier::PoolUse;
use wdk_sys::{
    POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE, POOL_FLAG_PAGED,
    POOL_FLAG_RAISE_ON_FAILURE, POOL_FLAG_UNINITIALIZED, STATUS_INSUFFICIENT_RESOURCES,
};

use crate::exports::{self, exports};
use crate::sync::Lock;
use crate::system;
use crate::user::{self, PAGE};

/// What uninitialised memory holds.
const GARBAGE: u8 = 0xcd;
/// What freed memory holds, for as long as it is nobody else's.
const FREED: u8 = 0xdd;
const CACHE_LINE: usize = 64;
const SHARDS: usize = 16;

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NonPaged,
    Paged,
}

impl Kind {
    /// Of a `POOL_TYPE`: its lowest bit says paged.
    pub(crate) const fn of_type(kind: i32) -> Self {
        if kind & 1 == 1 { Self::Paged } else { Self::NonPaged }
    }
}

/// A block on record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) size: usize,
    pub(crate) tag: u32,
    pub(crate) kind: Kind,
    raw: *mut u8,
}

// SAFETY: the record of a block; whoever removes it from the table owns the block.
unsafe impl Send for Block {}

static BLOCKS: [Lock<BTreeMap<usize, Block>>; SHARDS] = [const { Lock::new(BTreeMap::new()) }; SHARDS];
static TAGS: Lock<BTreeMap<u32, PoolUse>> = Lock::new(BTreeMap::new());

fn shard(address: usize) -> &'static Lock<BTreeMap<usize, Block>> {
    let [first, ..] = &BLOCKS;
    BLOCKS.get((address >> 4) % SHARDS).unwrap_or(first)
}

fn count(tag: u32, change: impl Fn(&mut PoolUse)) {
    let mut tags = TAGS.lock();
    change(tags.entry(tag).or_default());
    // All tags together are kept under tag zero.
    change(tags.entry(0).or_default());
}

/// Allocates, uninitialised; NULL when there is no memory.
pub(crate) fn allocate(kind: Kind, size: usize, tag: u32, cache_aligned: bool) -> *mut u8 {
    let alignment = match size {
        PAGE.. => PAGE,
        _ if cache_aligned => CACHE_LINE,
        _ => 16,
    };
    let Some(room) = size.max(1).checked_add(alignment) else {
        return core::ptr::null_mut();
    };
    let raw = user::heap_allocate(room);
    if raw.is_null() {
        return raw;
    }
    let block = raw.wrapping_add(raw.align_offset(alignment));
    // SAFETY: `room` covers the shift for the alignment and the size.
    unsafe { block.write_bytes(GARBAGE, size) };
    shard(block.addr())
        .lock()
        .insert(block.addr(), Block { size, tag, kind, raw });
    count(tag, |usage| {
        usage.blocks = usage.blocks.wrapping_add(1);
        usage.allocations = usage.allocations.wrapping_add(1);
        usage.bytes = usage.bytes.wrapping_add(size as u64);
        usage.peak_bytes = usage.peak_bytes.max(usage.bytes);
    });
    block
}

/// The block that begins at an address.
pub(crate) fn find(address: usize) -> Option<Block> {
    shard(address).lock().get(&address).copied()
}

/// Frees a block; one that is not on record goes to ntoskrnl's own function.
///
/// # Safety
/// The block is used no more.
pub(crate) unsafe fn free(address: *mut u8, tag: u32) {
    let Some(block) = shard(address.addr()).lock().remove(&address.addr()) else {
        // SAFETY: as the caller promises.
        unsafe { free_foreign(address, tag) };
        return;
    };
    count(block.tag, |usage| {
        usage.blocks = usage.blocks.wrapping_sub(1);
        usage.frees = usage.frees.wrapping_add(1);
        usage.bytes = usage.bytes.wrapping_sub(block.size as u64);
    });
    // SAFETY: this many bytes were allocated, and nobody uses them.
    unsafe { address.write_bytes(FREED, block.size) };
    // SAFETY: the record was in the table once, and this is the one that took it out.
    unsafe { user::heap_free(block.raw) };
}

unsafe fn free_foreign(address: *mut u8, tag: u32) {
    type Free = unsafe extern "system" fn(*mut c_void, u32);
    if let Some(original) = exports::original(c"ExFreePoolWithTag") {
        // SAFETY: that is its signature.
        let original = unsafe { core::mem::transmute::<core::ptr::NonNull<c_void>, Free>(original) };
        // SAFETY: as the caller promises.
        unsafe { original(address.cast(), tag) };
    }
}

/// Pool in use under a tag, or under all tags for zero.
pub(crate) fn usage(tag: u32) -> PoolUse {
    TAGS.lock().get(&tag).copied().unwrap_or_default()
}

fn of_flags(flags: u64) -> Option<Kind> {
    const KNOWN: u64 = POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED;
    match flags & KNOWN {
        POOL_FLAG_PAGED => Some(Kind::Paged),
        POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE => Some(Kind::NonPaged),
        _ => None,
    }
}

unsafe extern "system" fn allocate_pool2(flags: u64, size: usize, tag: u32) -> *mut u8 {
    let block = match of_flags(flags) {
        Some(kind) => allocate(kind, size, tag, flags & POOL_FLAG_CACHE_ALIGNED != 0),
        None => core::ptr::null_mut(),
    };
    if block.is_null() {
        if flags & POOL_FLAG_RAISE_ON_FAILURE != 0 {
            system::raise_status(STATUS_INSUFFICIENT_RESOURCES);
        }
    } else if flags & POOL_FLAG_UNINITIALIZED == 0 {
        // SAFETY: just allocated with this size.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

unsafe extern "system" fn allocate_pool3(
    flags: u64,
    size: usize,
    tag: u32,
    _extended: *const c_void,
    _count: u32,
) -> *mut u8 {
    // SAFETY: any arguments are allowed; the extended parameters ask for priorities and regions that this pool has not got.
    unsafe { allocate_pool2(flags, size, tag) }
}

unsafe extern "system" fn allocate_tag(kind: i32, size: usize, tag: u32) -> *mut u8 {
    const CACHE_ALIGNED: i32 = 4;
    allocate(Kind::of_type(kind), size, tag, kind & CACHE_ALIGNED != 0)
}

unsafe extern "system" fn allocate_plain(kind: i32, size: usize) -> *mut u8 {
    // SAFETY: any arguments are allowed.
    unsafe { allocate_tag(kind, size, u32::from_le_bytes(*b"None")) }
}

unsafe extern "system" fn allocate_quota(kind: i32, size: usize, tag: u32) -> *mut u8 {
    const QUOTA_FAIL_INSTEAD_OF_RAISE: i32 = 8;
    // SAFETY: any arguments are allowed.
    let block = unsafe { allocate_tag(kind, size, tag) };
    if block.is_null() && kind & QUOTA_FAIL_INSTEAD_OF_RAISE == 0 {
        system::raise_status(STATUS_INSUFFICIENT_RESOURCES);
    }
    block
}

unsafe extern "system" fn allocate_priority(kind: i32, size: usize, tag: u32, _priority: i32) -> *mut u8 {
    // SAFETY: any arguments are allowed.
    unsafe { allocate_tag(kind, size, tag) }
}

pub(crate) unsafe extern "system" fn free_tag(block: *mut u8, tag: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, tag) };
}

pub(crate) unsafe extern "system" fn free_plain(block: *mut u8) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, 0) };
}

unsafe extern "system" fn free_pool2(block: *mut u8, tag: u32, _extended: *const c_void, _count: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, tag) };
}

exports! {
    ExAllocatePool2 => allocate_pool2,
    ExAllocatePool3 => allocate_pool3,
    ExAllocatePool => allocate_plain,
    ExAllocatePoolWithTag => allocate_tag,
    ExAllocatePoolWithQuotaTag => allocate_quota,
    ExAllocatePoolWithTagPriority => allocate_priority,
    ExFreePool => free_plain,
    ExFreePoolWithTag => free_tag,
    ExFreePool2 => free_pool2,
}

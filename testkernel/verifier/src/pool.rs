//! Pool: the allocators of wdm.h over the heap of the process, with every block on record. IRQL <= DISPATCH_LEVEL; paged pool <= APC_LEVEL.
//!
//! What is freed here but not on record came from ntoskrnl's own functions and goes back to them.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ffi::{CStr, c_void};

use probe_protocol::verifier::{PoolUse, flags};
use wdk_sys::{
    POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE, POOL_FLAG_PAGED,
    POOL_FLAG_RAISE_ON_FAILURE, POOL_FLAG_UNINITIALIZED, STATUS_INSUFFICIENT_RESOURCES,
};

use crate::exports::{self, exports};
use crate::inuse;
use crate::lowres;
use crate::order;
use crate::settings;
use crate::special;
use crate::stop::{self, Code, Stack};
use crate::sync::Lock;
use crate::system;
use crate::thread::{self, APC};
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

/// Where a block lies.
enum Place {
    /// On the heap; what the heap gave.
    Heap(*mut u8),
    Special,
}

/// A block on record.
struct Block {
    size: usize,
    tag: u32,
    kind: Kind,
    place: Place,
    /// Where a verified driver allocated it.
    owner: Option<Box<Stack>>,
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

fn on_heap(size: usize, alignment: usize) -> Option<(*mut u8, Place)> {
    let raw = user::heap_allocate(size.max(1).checked_add(alignment)?);
    if raw.is_null() {
        return None;
    }
    let block = raw.wrapping_add(raw.align_offset(alignment));
    Some((block, Place::Heap(raw)))
}

fn obtain(kind: Kind, size: usize, tag: u32, cache_aligned: bool, special: bool, owner: Option<Box<Stack>>) -> *mut u8 {
    let alignment = match size {
        PAGE.. => PAGE,
        _ if cache_aligned => CACHE_LINE,
        _ => 16,
    };
    let in_special = if special {
        special::allocate(size, alignment, tag).map(|block| (block, Place::Special))
    } else {
        None
    };
    let Some((block, place)) = in_special.or_else(|| on_heap(size, alignment)) else {
        return core::ptr::null_mut();
    };
    // SAFETY: the block has this size.
    unsafe { block.write_bytes(GARBAGE, size) };
    shard(block.addr()).lock().insert(
        block.expose_provenance(),
        Block {
            size,
            tag,
            kind,
            place,
            owner,
        },
    );
    count(tag, |usage| {
        usage.blocks = usage.blocks.wrapping_add(1);
        usage.allocations = usage.allocations.wrapping_add(1);
        usage.bytes = usage.bytes.wrapping_add(size as u64);
        usage.peak_bytes = usage.peak_bytes.max(usage.bytes);
    });
    block
}

/// Allocates for a driver that is not verified, uninitialised; NULL when there is no memory.
pub(crate) fn allocate(kind: Kind, size: usize, tag: u32, cache_aligned: bool) -> *mut u8 {
    obtain(kind, size, tag, cache_aligned, false, None)
}

/// Allocates an object of the kernel that drivers work on, such as an IRP: in special pool while that is in force.
pub(crate) fn allocate_object(size: usize, tag: u32) -> *mut u8 {
    obtain(
        Kind::NonPaged,
        size,
        tag,
        false,
        settings::has(flags::SPECIAL_POOL),
        None,
    )
}

/// Allocates for a verified driver.
fn allocate_checked(function: &'static str, kind: Kind, size: usize, tag: u32, cache_aligned: bool) -> *mut u8 {
    let irql = thread::current().irql.get();
    if size == 0 || tag == 0 {
        stop::report_about(Code::PoolBadRequest, [size, tag as usize, 0, 0], function.as_bytes());
    }
    if kind == Kind::Paged && irql > APC && settings::has(flags::IRQL) {
        stop::report_about(
            Code::PoolPagedAtDispatch,
            [usize::from(irql), size, tag as usize, 0],
            function.as_bytes(),
        );
    }
    if lowres::fails(function, tag) {
        return core::ptr::null_mut();
    }
    let owner = settings::has(flags::POOL_TRACKING).then(|| Box::new(stop::call_stack()));
    obtain(
        kind,
        size,
        tag,
        cache_aligned,
        settings::has(flags::SPECIAL_POOL),
        owner,
    )
}

/// Whether a block begins at this address.
pub(crate) fn is_block(address: usize) -> bool {
    shard(address).lock().contains_key(&address)
}

/// Frees a block; one that is not on record goes to ntoskrnl's own function.
///
/// # Safety
/// The block is used no more.
pub(crate) unsafe fn free(address: *mut u8, tag: u32) {
    let removed = shard(address.addr()).lock().remove(&address.addr());
    match removed {
        // SAFETY: as the caller promises.
        Some(block) => unsafe { dispose(address, &block) },
        None => match special::freed(address.addr()) {
            Some((size, tag)) => stop::report(Code::PoolDoubleFree, [address.addr(), size, tag as usize, 0]),
            // SAFETY: as the caller promises.
            None => unsafe { free_foreign(address, tag) },
        },
    }
}

unsafe fn dispose(address: *mut u8, block: &Block) {
    count(block.tag, |usage| {
        usage.blocks = usage.blocks.wrapping_sub(1);
        usage.frees = usage.frees.wrapping_add(1);
        usage.bytes = usage.bytes.wrapping_sub(block.size as u64);
    });
    order::forget(address.addr(), block.size);
    match block.place {
        Place::Special => special::free(address.addr()),
        // SAFETY: this many bytes were allocated, and nobody uses them; the record was in the table once.
        Place::Heap(raw) => unsafe {
            address.write_bytes(FREED, block.size);
            user::heap_free(raw);
        },
    }
}

/// Frees for a verified driver, which may only free what is a block.
unsafe fn free_checked(address: *mut u8, tag: u32) {
    const PROTECTED: u32 = 0x8000_0000;
    let at = address.addr();
    let Some((size, own_tag, kind)) = shard(at)
        .lock()
        .get(&at)
        .map(|block| (block.size, block.tag, block.kind))
    else {
        match special::freed(at) {
            Some((size, tag)) => stop::report(Code::PoolDoubleFree, [at, size, tag as usize, 0]),
            None => stop::report(Code::PoolBadFree, [at, tag as usize, 0, 0]),
        }
        return;
    };
    if tag != 0 && (tag ^ own_tag) & !PROTECTED != 0 {
        stop::report(Code::PoolTagMismatch, [at, tag as usize, own_tag as usize, 0]);
    }
    let irql = thread::current().irql.get();
    if kind == Kind::Paged && irql > APC && settings::has(flags::IRQL) {
        stop::report(Code::PoolPagedAtDispatch, [usize::from(irql), at, own_tag as usize, 0]);
    }
    inuse::check(at, size);
    // SAFETY: a block on record, which the driver gives back.
    unsafe { free(address, tag) };
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

/// Blocks that a verified driver allocated: address, size, tag, where.
pub(crate) fn owned(mut visit: impl FnMut(usize, usize, u32, &Stack)) {
    for shard in &BLOCKS {
        for (address, block) in &*shard.lock() {
            if let Some(owner) = &block.owner {
                visit(*address, block.size, block.tag, owner);
            }
        }
    }
}

/// Every block: address, size.
pub(crate) fn all(mut visit: impl FnMut(usize, usize)) {
    for shard in &BLOCKS {
        for (address, block) in &*shard.lock() {
            visit(*address, block.size);
        }
    }
}

/// Takes a block off its owner's account: it has been reported.
pub(crate) fn disown(address: usize) {
    if let Some(block) = shard(address).lock().get_mut(&address) {
        block.owner = None;
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

/// What the functions with POOL_FLAGS have in common.
fn with_flags(flags: u64, size: usize, allocate: impl FnOnce(Kind, bool) -> *mut u8) -> *mut u8 {
    let block = of_flags(flags).map_or(core::ptr::null_mut(), |kind| {
        allocate(kind, flags & POOL_FLAG_CACHE_ALIGNED != 0)
    });
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

unsafe extern "system" fn allocate_pool2(flags: u64, size: usize, tag: u32) -> *mut u8 {
    with_flags(flags, size, |kind, aligned| allocate(kind, size, tag, aligned))
}

unsafe extern "system" fn checked_pool2(flags: u64, size: usize, tag: u32) -> *mut u8 {
    if of_flags(flags).is_none() {
        #[allow(clippy::cast_possible_truncation, reason = "printed")]
        stop::report(Code::PoolBadRequest, [size, tag as usize, flags as usize, 0]);
    }
    with_flags(flags, size, |kind, aligned| {
        allocate_checked("ExAllocatePool2", kind, size, tag, aligned)
    })
}

/// The extended parameters ask for priorities and regions that this pool has not got.
unsafe extern "system" fn allocate_pool3(
    flags: u64,
    size: usize,
    tag: u32,
    _extended: *const c_void,
    _count: u32,
) -> *mut u8 {
    with_flags(flags, size, |kind, aligned| allocate(kind, size, tag, aligned))
}

unsafe extern "system" fn checked_pool3(
    flags: u64,
    size: usize,
    tag: u32,
    _extended: *const c_void,
    _count: u32,
) -> *mut u8 {
    with_flags(flags, size, |kind, aligned| {
        allocate_checked("ExAllocatePool3", kind, size, tag, aligned)
    })
}

const TYPE_CACHE_ALIGNED: i32 = 4;

unsafe extern "system" fn allocate_tag(kind: i32, size: usize, tag: u32) -> *mut u8 {
    allocate(Kind::of_type(kind), size, tag, kind & TYPE_CACHE_ALIGNED != 0)
}

unsafe extern "system" fn checked_tag(kind: i32, size: usize, tag: u32) -> *mut u8 {
    allocate_checked(
        "ExAllocatePoolWithTag",
        Kind::of_type(kind),
        size,
        tag,
        kind & TYPE_CACHE_ALIGNED != 0,
    )
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

unsafe extern "system" fn free_tag(block: *mut u8, tag: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, tag) };
}

unsafe extern "system" fn free_plain(block: *mut u8) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, 0) };
}

unsafe extern "system" fn free_pool2(block: *mut u8, tag: u32, _extended: *const c_void, _count: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free(block, tag) };
}

unsafe extern "system" fn checked_free_tag(block: *mut u8, tag: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free_checked(block, tag) };
}

unsafe extern "system" fn checked_free(block: *mut u8) {
    // SAFETY: the driver gives its block back.
    unsafe { free_checked(block, 0) };
}

unsafe extern "system" fn checked_free_pool2(block: *mut u8, tag: u32, _extended: *const c_void, _count: u32) {
    // SAFETY: the driver gives its block back.
    unsafe { free_checked(block, tag) };
}

/// The form of a pool function that a verified driver gets.
pub(crate) fn checked(name: &CStr) -> Option<usize> {
    let function = match name.to_bytes() {
        b"ExAllocatePool2" => checked_pool2 as *const (),
        b"ExAllocatePool3" => checked_pool3 as *const (),
        b"ExAllocatePoolWithTag" => checked_tag as *const (),
        b"ExFreePool" => checked_free as *const (),
        b"ExFreePoolWithTag" => checked_free_tag as *const (),
        b"ExFreePool2" => checked_free_pool2 as *const (),
        _ => return None,
    };
    Some(function.expose_provenance())
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

//! Look-aside lists, with a depth of zero: every allocation goes to the pool, so that its checks see it. IRQL <= DISPATCH_LEVEL.
//!
//! The inline functions of wdm.h take from the list first, find it empty, and call the list's allocate routine; they give a block to the
//! free routine when the list is as deep as `Depth` says.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::c_void;

use wdk_sys::{GENERAL_LOOKASIDE, LOOKASIDE_LIST_EX, NTSTATUS, STATUS_SUCCESS};

use crate::exports::exports;
use crate::pool;
use crate::stop;
use crate::sync::Lock;

type AllocateEx = unsafe extern "C" fn(i32, u64, u32, *mut LOOKASIDE_LIST_EX) -> *mut c_void;
type FreeEx = unsafe extern "C" fn(*mut c_void, *mut LOOKASIDE_LIST_EX);
type Allocate = unsafe extern "C" fn(i32, u64, u32) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);

/// Lists that exist, and who made them.
static LISTS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

fn note(list: usize) {
    let owner = stop::caller();
    LISTS.lock().insert(list, owner);
}

/// Lists that exist: list, where it was made.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize)) {
    let lists = LISTS.lock().clone();
    for (list, owner) in lists {
        visit(list, owner);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "usize has 64 bits")]
unsafe extern "C" fn allocate(kind: i32, size: u64, tag: u32) -> *mut c_void {
    pool::allocate(pool::Kind::of_type(kind), size as usize, tag, false).cast()
}

unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the list's user gives its block back.
    unsafe { pool::free(block.cast(), 0) };
}

unsafe extern "C" fn allocate_ex(kind: i32, size: u64, tag: u32, _list: *mut LOOKASIDE_LIST_EX) -> *mut c_void {
    // SAFETY: any arguments are allowed.
    unsafe { allocate(kind, size, tag) }
}

unsafe extern "C" fn free_ex(block: *mut c_void, _list: *mut LOOKASIDE_LIST_EX) {
    // SAFETY: the list's user gives its block back.
    unsafe { free(block) };
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn initialize_ex(
    list: *mut LOOKASIDE_LIST_EX,
    allocate: Option<AllocateEx>,
    free: Option<FreeEx>,
    kind: i32,
    _flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) -> NTSTATUS {
    // SAFETY: the driver's storage, not yet in use.
    unsafe { list.write(core::mem::zeroed()) };
    // SAFETY: as above.
    let head = unsafe { &mut (*list).L };
    head.Type = kind;
    head.Tag = tag;
    head.Size = u32::try_from(size).unwrap_or(u32::MAX);
    head.MaximumDepth = 256;
    head.__bindgen_anon_4.AllocateEx = Some(allocate.unwrap_or(allocate_ex));
    head.__bindgen_anon_5.FreeEx = Some(free.unwrap_or(free_ex));
    note(list.addr());
    STATUS_SUCCESS
}

unsafe fn initialize(
    list: *mut GENERAL_LOOKASIDE,
    routines: (Option<Allocate>, Option<Free>),
    kind: i32,
    size: usize,
    tag: u32,
) {
    // SAFETY: the driver's storage, not yet in use.
    unsafe { list.write(core::mem::zeroed()) };
    // SAFETY: as above.
    let head = unsafe { &mut *list };
    head.Type = kind;
    head.Tag = tag;
    head.Size = u32::try_from(size).unwrap_or(u32::MAX);
    head.MaximumDepth = 256;
    head.__bindgen_anon_4.Allocate = Some(routines.0.unwrap_or(allocate));
    head.__bindgen_anon_5.Free = Some(routines.1.unwrap_or(free));
    note(list.addr());
}

unsafe extern "system" fn initialize_nonpaged(
    list: *mut GENERAL_LOOKASIDE,
    allocate: Option<Allocate>,
    free: Option<Free>,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    // SAFETY: the driver's list.
    unsafe { initialize(list, (allocate, free), flags.cast_signed(), size, tag) };
}

unsafe extern "system" fn initialize_paged(
    list: *mut GENERAL_LOOKASIDE,
    allocate: Option<Allocate>,
    free: Option<Free>,
    flags: u32,
    size: usize,
    tag: u32,
    _depth: u16,
) {
    // SAFETY: the driver's list.
    unsafe { initialize(list, (allocate, free), flags.cast_signed() | 1, size, tag) };
}

/// Nothing is ever on a list.
unsafe extern "system" fn delete(list: *mut c_void) {
    LISTS.lock().remove(&list.addr());
}

unsafe extern "system" fn flush_ex(_list: *mut LOOKASIDE_LIST_EX) {}

/// Forgets what was made by an owner that is chosen: it has been reported.
pub(crate) fn forget(mut chosen: impl FnMut(usize) -> bool) {
    LISTS.lock().retain(|_, owner| !chosen(*owner));
}

exports! {
    ExInitializeLookasideListEx => initialize_ex,
    ExDeleteLookasideListEx => delete,
    ExFlushLookasideListEx => flush_ex,
    ExInitializeNPagedLookasideList => initialize_nonpaged,
    ExInitializePagedLookasideList => initialize_paged,
    ExDeleteNPagedLookasideList => delete,
    ExDeletePagedLookasideList => delete,
}

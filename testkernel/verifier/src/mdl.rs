//! Memory descriptor lists. All memory of the test kernel is mapped where it is used, so a mapping is the address itself; what counts
//! is that flags and addresses are as documented. IRQL <= DISPATCH_LEVEL; probing and locking of paged memory <= APC_LEVEL.

use core::ffi::c_void;

use wdk_sys::{
    IRP, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL, MDL_PARTIAL_HAS_BEEN_MAPPED,
    MDL_SOURCE_IS_NONPAGED_POOL,
};

use crate::exports::exports;
use crate::pool;
use crate::user::PAGE;

const TAG: u32 = u32::from_le_bytes(*b"Mdl ");
/// `MDL_ALLOCATED_FIXED_SIZE`, which marks ours.
const OURS: i16 = 8;

#[allow(
    clippy::cast_possible_truncation,
    reason = "all but the highest flag fit in a CSHORT"
)]
const fn flag(flag: u32) -> i16 {
    flag as i16
}

fn pages(address: usize, length: usize) -> usize {
    (address % PAGE).wrapping_add(length).div_ceil(PAGE)
}

fn address(mdl: &MDL) -> *mut c_void {
    mdl.StartVa.wrapping_byte_add(mdl.ByteOffset as usize)
}

unsafe extern "system" fn size_of_mdl(base: *mut c_void, length: usize) -> usize {
    size_of::<MDL>().wrapping_add(pages(base.addr(), length).wrapping_mul(8))
}

/// `IoAllocateMdl`.
///
/// # Safety
/// `irp` is NULL or the caller's IRP.
pub(crate) unsafe extern "system" fn allocate(
    base: *mut c_void,
    length: u32,
    secondary: u8,
    _quota: u8,
    irp: *mut IRP,
) -> *mut MDL {
    // SAFETY: plain arithmetic.
    let bytes = unsafe { size_of_mdl(base, length as usize) };
    let mdl: *mut MDL = pool::allocate_object(bytes, TAG).cast();
    if mdl.is_null() {
        return mdl;
    }
    #[allow(clippy::cast_possible_truncation, reason = "less than a page")]
    let offset = (base.addr() % PAGE) as u32;
    let value = MDL {
        Size: i16::try_from(bytes).unwrap_or(i16::MAX),
        MdlFlags: OURS,
        StartVa: base.map_addr(|address| address & !(PAGE - 1)),
        ByteOffset: offset,
        ByteCount: length,
        ..MDL::default()
    };
    // SAFETY: fresh, and large enough.
    unsafe { mdl.write(value) };
    // SAFETY: the driver's IRP, if there is one.
    if let Some(irp) = unsafe { irp.as_mut() } {
        // SAFETY: `mdl` was just made; the IRP's list is made of MDLs.
        unsafe { link(irp, mdl, secondary != 0) };
    }
    mdl
}

unsafe fn link(irp: &mut IRP, mdl: *mut MDL, last: bool) {
    if !last || irp.MdlAddress.is_null() {
        // SAFETY: as the caller promises.
        unsafe { (*mdl).Next = if last { core::ptr::null_mut() } else { irp.MdlAddress } };
        irp.MdlAddress = mdl;
        return;
    }
    let mut at = irp.MdlAddress;
    // SAFETY: a list of MDLs that ends with NULL.
    unsafe {
        while !(*at).Next.is_null() {
            at = (*at).Next;
        }
        (*at).Next = mdl;
    }
}

/// `IoFreeMdl`.
///
/// # Safety
/// The MDL is used no more.
pub(crate) unsafe extern "system" fn free(mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    if unsafe { (*mdl).MdlFlags } & OURS != 0 && pool::is_block(mdl.addr()) {
        // SAFETY: it came from `allocate`.
        unsafe { pool::free(mdl.cast(), TAG) };
    } else {
        // SAFETY: one of Wine's own.
        unsafe { wdk_sys::ntddk::IoFreeMdl(mdl) };
    }
}

unsafe extern "system" fn build_for_nonpaged(mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    let mdl = unsafe { &mut *mdl };
    mdl.MdlFlags |= flag(MDL_SOURCE_IS_NONPAGED_POOL);
    mdl.MappedSystemVa = address(mdl);
    mdl.Process = core::ptr::null_mut();
}

unsafe extern "system" fn build_partial(source: *mut MDL, target: *mut MDL, base: *mut c_void, length: u32) {
    // SAFETY: the driver's MDLs.
    let (source, target) = unsafe { (&*source, &mut *target) };
    let end = address(source).addr().wrapping_add(source.ByteCount as usize);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "less than the source's byte count, or than a page"
    )]
    {
        target.ByteCount = if length == 0 {
            end.wrapping_sub(base.addr()) as u32
        } else {
            length
        };
        target.ByteOffset = (base.addr() % PAGE) as u32;
    }
    target.StartVa = base.map_addr(|address| address & !(PAGE - 1));
    target.Process = source.Process;
    let inherited = flag(MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA);
    target.MdlFlags = (target.MdlFlags & OURS) | flag(MDL_PARTIAL) | (source.MdlFlags & inherited);
    target.MappedSystemVa = base;
}

unsafe extern "system" fn probe_and_lock(mdl: *mut MDL, _mode: i8, _operation: i32) {
    // SAFETY: the driver's MDL.
    let mdl = unsafe { &mut *mdl };
    mdl.MdlFlags |= flag(MDL_PAGES_LOCKED);
}

unsafe extern "system" fn unlock(mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    let mdl = unsafe { &mut *mdl };
    mdl.MdlFlags &= !flag(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
}

unsafe extern "system" fn map(
    mdl: *mut MDL,
    _mode: i8,
    _cache: i32,
    _base: *mut c_void,
    _bug: u32,
    _priority: u32,
) -> *mut c_void {
    // SAFETY: the driver's MDL.
    let mdl = unsafe { &mut *mdl };
    mdl.MappedSystemVa = address(mdl);
    mdl.MdlFlags |= flag(MDL_MAPPED_TO_SYSTEM_VA);
    if mdl.MdlFlags & flag(MDL_PARTIAL) != 0 {
        mdl.MdlFlags |= flag(MDL_PARTIAL_HAS_BEEN_MAPPED);
    }
    mdl.MappedSystemVa
}

unsafe extern "system" fn map_plain(mdl: *mut MDL, mode: i8) -> *mut c_void {
    // SAFETY: the driver's MDL.
    unsafe { map(mdl, mode, 1, core::ptr::null_mut(), 1, 0) }
}

unsafe extern "system" fn unmap(_base: *mut c_void, mdl: *mut MDL) {
    // SAFETY: the driver's MDL.
    let mdl = unsafe { &mut *mdl };
    mdl.MdlFlags &= !flag(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
}

exports! {
    MmSizeOfMdl => size_of_mdl,
    IoAllocateMdl => allocate,
    IoFreeMdl => free,
    IoBuildPartialMdl => build_partial,
    MmBuildMdlForNonPagedPool => build_for_nonpaged,
    MmProbeAndLockPages => probe_and_lock,
    MmUnlockPages => unlock,
    MmMapLockedPagesSpecifyCache => map,
    MmMapLockedPages => map_plain,
    MmUnmapLockedPages => unmap,
}

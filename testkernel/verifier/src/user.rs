//! The user-mode services below the test kernel: what a kernel gets from the processor and the memory manager, this one gets from the
//! process that runs it. Bound from `kernelbase.dll`: an import of `ntdll.dll` or `kernel32.dll` would make the loader take the driver for
//! an ordinary DLL. Called at any virtual IRQL.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;

/// An unsigned 32-bit Win32 BOOL or DWORD.
type Dword = u32;
/// What a new thread runs.
pub(crate) type ThreadRoutine = unsafe extern "system" fn(*mut c_void) -> u32;
/// What runs when a thread with a value in a fiber-local slot ends.
pub(crate) type SlotRoutine = unsafe extern "system" fn(*mut c_void);
/// A vectored exception handler.
pub(crate) type VectoredHandler = unsafe extern "system" fn(*mut c_void) -> i32;

pub(crate) const MEM_COMMIT: u32 = 0x1000;
pub(crate) const MEM_RESERVE: u32 = 0x2000;
const MEM_DECOMMIT: u32 = 0x4000;
pub(crate) const MEM_RELEASE: u32 = 0x8000;
pub(crate) const PAGE_NOACCESS: u32 = 0x01;
pub(crate) const PAGE_READONLY: u32 = 0x02;
pub(crate) const PAGE_READWRITE: u32 = 0x04;
pub(crate) const PAGE_EXECUTE_READ: u32 = 0x20;
pub(crate) const PAGE_EXECUTE_READWRITE: u32 = 0x40;
pub(crate) const INFINITE: u32 = u32::MAX;
/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

#[link(name = "kernelbase", kind = "raw-dylib")]
unsafe extern "system" {
    pub(crate) fn AcquireSRWLockExclusive(lock: *mut *mut c_void);
    pub(crate) fn ReleaseSRWLockExclusive(lock: *mut *mut c_void);
    pub(crate) fn AddVectoredExceptionHandler(first: u32, handler: VectoredHandler) -> *mut c_void;
    pub(crate) fn CloseHandle(handle: *mut c_void) -> i32;
    pub(crate) fn CreateThread(
        attributes: *const c_void,
        stack: usize,
        routine: ThreadRoutine,
        argument: *mut c_void,
        flags: u32,
        id: *mut u32,
    ) -> *mut c_void;
    pub(crate) fn FlsAlloc(ends: Option<SlotRoutine>) -> Dword;
    pub(crate) fn FlsSetValue(slot: Dword, value: *const c_void) -> i32;
    pub(crate) fn TlsAlloc() -> Dword;
    pub(crate) fn TlsSetValue(slot: Dword, value: *const c_void) -> i32;
    pub(crate) fn GetCurrentProcessorNumberEx(number: *mut c_void);
    pub(crate) fn GetCurrentThreadId() -> Dword;
    fn GetModuleHandleW(name: *const u16) -> *mut c_void;
    fn GetProcAddress(module: *mut c_void, name: *const i8) -> *mut c_void;
    fn GetProcessHeap() -> *mut c_void;
    pub(crate) fn GetSystemTimePreciseAsFileTime(time: *mut i64);
    fn HeapAlloc(heap: *mut c_void, flags: u32, bytes: usize) -> *mut c_void;
    fn HeapFree(heap: *mut c_void, flags: u32, block: *mut c_void) -> i32;
    pub(crate) fn QueryPerformanceCounter(count: *mut i64) -> i32;
    pub(crate) fn QueryPerformanceFrequency(frequency: *mut i64) -> i32;
    pub(crate) fn FreeLibrary(module: *mut c_void) -> i32;
    pub(crate) fn Sleep(milliseconds: u32);
    pub(crate) fn SwitchToThread() -> i32;
    pub(crate) fn VirtualAlloc(address: *mut c_void, bytes: usize, kind: u32, protection: u32) -> *mut c_void;
    pub(crate) fn VirtualFree(address: *mut c_void, bytes: usize, kind: u32) -> i32;
    fn VirtualProtect(address: *mut c_void, bytes: usize, protection: u32, old: *mut u32) -> i32;
    fn WaitOnAddress(address: *const c_void, compare: *const c_void, bytes: usize, milliseconds: u32) -> i32;
    fn WakeByAddressAll(address: *const c_void);
}

/// Bytes from the process heap, aligned to 16.
pub(crate) fn heap_allocate(bytes: usize) -> *mut u8 {
    // SAFETY: the process heap always exists, and takes any size.
    unsafe { HeapAlloc(GetProcessHeap(), 0, bytes).cast() }
}

/// Gives back what [`heap_allocate`] gave.
///
/// # Safety
/// `block` came from [`heap_allocate`] and is used no more.
pub(crate) unsafe fn heap_free(block: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { HeapFree(GetProcessHeap(), 0, block.cast()) };
}

/// Changes the protection of pages; whether it worked, and what it was.
///
/// # Safety
/// Nobody relies on the old protection of these pages.
pub(crate) unsafe fn protect(address: *mut c_void, bytes: usize, protection: u32) -> Option<u32> {
    let mut old = 0;
    // SAFETY: as the caller promises; `old` is a live local.
    (unsafe { VirtualProtect(address, bytes, protection, &raw mut old) } != 0).then_some(old)
}

/// Writes `value` where the pages are not writable, and restores their protection.
///
/// # Safety
/// `place` is mapped, aligned, and read by nobody at this moment.
pub(crate) unsafe fn overwrite<T>(place: *mut T, value: T) -> bool {
    // SAFETY: as the caller promises; the protection is put back below.
    let Some(old) = (unsafe { protect(place.cast(), size_of::<T>(), PAGE_EXECUTE_READWRITE) }) else {
        return false;
    };
    // SAFETY: the place is mapped and now writable.
    unsafe { place.write_volatile(value) };
    // SAFETY: this is the protection the pages had.
    unsafe { protect(place.cast(), size_of::<T>(), old) };
    true
}

/// Makes pages inaccessible and gives their memory back, keeping their addresses.
///
/// # Safety
/// Nobody uses the pages.
pub(crate) unsafe fn discard(address: *mut c_void, bytes: usize) {
    // SAFETY: as the caller promises.
    unsafe { VirtualFree(address, bytes, MEM_DECOMMIT) };
}

/// Makes one page accessible.
///
/// # Safety
/// The page is reserved.
pub(crate) unsafe fn open_page(address: *mut c_void) -> bool {
    // SAFETY: as the caller promises.
    !unsafe { VirtualAlloc(address, PAGE, MEM_COMMIT, PAGE_READWRITE) }.is_null()
}

/// A module of this process by name (UTF-16, NUL-terminated).
pub(crate) fn module(name: &[u16]) -> Option<NonNull<u8>> {
    // SAFETY: every name in this crate ends with NUL.
    NonNull::new(unsafe { GetModuleHandleW(name.as_ptr()) }.cast())
}

/// An export of a module of this process.
pub(crate) fn procedure(module: NonNull<u8>, name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the module is loaded and stays so: this is used on system libraries.
    NonNull::new(unsafe { GetProcAddress(module.as_ptr().cast(), name.as_ptr().cast()) })
}

/// Sleeps until `*address` is no longer `value`, or a wake-up, or the time is over.
pub(crate) fn wait_on(address: &core::sync::atomic::AtomicUsize, value: usize, milliseconds: u32) {
    // SAFETY: both addresses are of live, pointer-sized integers.
    unsafe {
        WaitOnAddress(
            address.as_ptr().cast(),
            (&raw const value).cast(),
            size_of::<usize>(),
            milliseconds,
        )
    };
}

/// Wakes whoever sleeps in [`wait_on`] on this address.
pub(crate) fn wake_all(address: &core::sync::atomic::AtomicUsize) {
    // SAFETY: the address is only a key.
    unsafe { WakeByAddressAll(address.as_ptr().cast()) };
}

/// Starts a thread that is never waited for.
pub(crate) fn start_thread(routine: ThreadRoutine, argument: *mut c_void) -> bool {
    // SAFETY: the routine takes this argument, and the handle is closed once.
    unsafe {
        let handle = CreateThread(core::ptr::null(), 0, routine, argument, 0, core::ptr::null_mut());
        !handle.is_null() && CloseHandle(handle) != 0
    }
}

/// A name in UTF-16 with its NUL, at compile time.
pub(crate) const fn wide<const N: usize>(text: &str) -> [u16; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N);
    let mut wide = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        wide[at] = bytes[at] as u16;
        at += 1;
    }
    wide
}

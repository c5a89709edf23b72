//! Cases without a fault: the kernel functions that the test kernel adds do what their documentation says. Each returns 0, or the number
//! of the first expectation that was not met.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::verifier::faulty::Case;
use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, EX_RUNDOWN_REF, GUID, IRP, KDPC, KEVENT, KLOCK_QUEUE_HANDLE, KTIMER, LARGE_INTEGER,
    LOOKASIDE_LIST_EX, NTSTATUS, OSVERSIONINFOW, PIO_WORKITEM, POOL_FLAG_CACHE_ALIGNED, POOL_FLAG_NON_PAGED,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_SUCCESS,
    ntddk::{
        EtwProviderEnabled, EtwRegister, EtwUnregister, EtwWriteString, ExAcquireRundownProtection,
        ExAcquireRundownProtectionCacheAware, ExAcquireSpinLockExclusive, ExAcquireSpinLockShared,
        ExAllocateCacheAwareRundownProtection, ExAllocatePool2, ExDeleteLookasideListEx,
        ExFreeCacheAwareRundownProtection, ExFreePool, ExFreePoolWithTag, ExInitializeLookasideListEx,
        ExInitializeRundownProtection, ExReleaseRundownProtection, ExReleaseRundownProtectionCacheAware,
        ExReleaseSpinLockExclusive, ExReleaseSpinLockShared, ExWaitForRundownProtectionRelease,
        ExWaitForRundownProtectionReleaseCacheAware, IoAllocateIrp, IoAllocateMdl, IoAllocateWorkItem, IoFreeIrp,
        IoFreeMdl, IoFreeWorkItem, IoOpenDriverRegistryKey, IoQueueWorkItem, IoQueueWorkItemEx, IoReuseIrp,
        IofCallDriver, KeAcquireInStackQueuedSpinLock, KeAcquireSpinLockRaiseToDpc, KeCancelTimer,
        KeDelayExecutionThread, KeGetCurrentIrql, KeGetCurrentProcessorNumberEx, KeInitializeDpc, KeInitializeEvent,
        KeInitializeTimer, KeInsertQueueDpc, KeLowerIrql, KeQueryActiveProcessorCountEx,
        KeReleaseInStackQueuedSpinLock, KeReleaseSpinLock, KeSetEvent, KeSetTimer, KeWaitForSingleObject, KfRaiseIrql,
        MmBuildMdlForNonPagedPool, RtlGetVersion, ZwClose,
    },
};

use crate::kernel::{DISPATCH, KeFlushQueuedDpcs, KeQuerySystemTimePrecise};

const TAG: u32 = u32::from_le_bytes(*b"Flty");

macro_rules! expect {
    ($($number:literal: $condition:expr),* $(,)?) => {
        $(if !$condition { return $number; })*
    };
}

/// Runs a healthy case; `None` if it is another.
///
/// # Safety
/// `device` is this driver's device; the caller is at `PASSIVE_LEVEL`.
pub(crate) unsafe fn run(device: *mut DEVICE_OBJECT, case: Case) -> Option<u32> {
    // SAFETY: as the caller promises.
    unsafe {
        Some(match case {
            Case::HealthyPool => pool(),
            Case::HealthyLocks => locks(),
            Case::HealthyDpc => dpc(),
            Case::HealthyWork => work(device),
            Case::HealthyRundown => rundown(),
            Case::HealthyIrp => own_irp(device),
            Case::HealthyMdl => mdl(),
            Case::HealthySystem => system(device),
            Case::HealthyEtw => etw(),
            Case::HealthyAllocations => allocations(device),
            _ => return None,
        })
    }
}

unsafe fn pool() -> u32 {
    // SAFETY: every block is used within its size and freed once.
    unsafe {
        for size in [1, 15, 16, 17, 100, 4095, 4096, 4097, 70_000u64] {
            let block: *mut u8 = ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG).cast();
            expect!(1: !block.is_null(), 2: block.addr().is_multiple_of(16));
            let zeroed = (0..usize::try_from(size).unwrap_or(0)).all(|at| block.add(at).read() == 0);
            expect!(3: zeroed, 4: size < 4096 || block.addr().is_multiple_of(4096));
            block.write_bytes(0xa5, usize::try_from(size).unwrap_or(0));
            ExFreePoolWithTag(block.cast(), TAG);
        }
        let line: *mut u8 = ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED, 100, TAG).cast();
        expect!(5: line.addr().is_multiple_of(64));
        ExFreePool(line.cast());
        expect!(6: ExAllocatePool2(POOL_FLAG_NON_PAGED, u64::MAX / 2, TAG).is_null());
    }
    0
}

unsafe fn locks() -> u32 {
    let (mut spin, mut ex, mut handle) = (0u64, 0i32, KLOCK_QUEUE_HANDLE::default());
    // SAFETY: every lock is free at first, taken and released in pairs.
    unsafe {
        expect!(1: KeGetCurrentIrql() == 0);
        let old = KeAcquireSpinLockRaiseToDpc(&raw mut spin);
        expect!(2: old == 0, 3: KeGetCurrentIrql() == DISPATCH, 4: spin != 0);
        KeReleaseSpinLock(&raw mut spin, old);
        expect!(5: KeGetCurrentIrql() == 0, 6: spin == 0);
        let old = ExAcquireSpinLockShared(&raw mut ex);
        expect!(7: old == 0, 8: KeGetCurrentIrql() == DISPATCH, 9: ex == 1);
        ExReleaseSpinLockShared(&raw mut ex, old);
        let old = ExAcquireSpinLockExclusive(&raw mut ex);
        expect!(10: ex < 0, 11: KeGetCurrentIrql() == DISPATCH);
        ExReleaseSpinLockExclusive(&raw mut ex, old);
        expect!(12: ex == 0, 13: KeGetCurrentIrql() == 0);
        KeAcquireInStackQueuedSpinLock(&raw mut spin, &raw mut handle);
        expect!(14: KeGetCurrentIrql() == DISPATCH);
        KeReleaseInStackQueuedSpinLock(&raw mut handle);
        expect!(15: KeGetCurrentIrql() == 0);
        let old = KfRaiseIrql(DISPATCH);
        expect!(16: old == 0);
        KeLowerIrql(old);
        expect!(17: KeGetCurrentIrql() == 0);
    }
    0
}

static RUNS: AtomicU32 = AtomicU32::new(0);
static WRONG: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn deferred(_dpc: *mut KDPC, context: *mut c_void, first: *mut c_void, _second: *mut c_void) {
    // SAFETY: no preconditions.
    if unsafe { KeGetCurrentIrql() } != DISPATCH || context.addr() != 7 || !(first.addr() == 8 || first.is_null()) {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    RUNS.fetch_add(1, Ordering::Release);
}

fn wait_milliseconds(milliseconds: i64) {
    let mut time = LARGE_INTEGER {
        QuadPart: milliseconds.wrapping_mul(-10_000),
    };
    // SAFETY: a live local; PASSIVE_LEVEL.
    let _ = unsafe { KeDelayExecutionThread(0, 0, &raw mut time) };
}

unsafe fn dpc() -> u32 {
    let (mut dpc, mut timer) = (KDPC::default(), KTIMER::default());
    RUNS.store(0, Ordering::Relaxed);
    WRONG.store(0, Ordering::Relaxed);
    // SAFETY: DPC and timer stay until they have run or are cancelled.
    unsafe {
        KeInitializeDpc(&raw mut dpc, Some(deferred), core::ptr::without_provenance_mut(7));
        expect!(1: KeInsertQueueDpc(&raw mut dpc, core::ptr::without_provenance_mut(8), core::ptr::null_mut()) != 0);
        KeFlushQueuedDpcs();
        expect!(2: RUNS.load(Ordering::Acquire) == 1, 3: WRONG.load(Ordering::Relaxed) == 0);
        KeInitializeTimer(&raw mut timer);
        let due = LARGE_INTEGER { QuadPart: -200_000 };
        expect!(4: KeSetTimer(&raw mut timer, due, &raw mut dpc) == 0);
        wait_milliseconds(120);
        KeFlushQueuedDpcs();
        expect!(5: RUNS.load(Ordering::Acquire) == 2, 6: WRONG.load(Ordering::Relaxed) == 0, 7: KeCancelTimer(&raw mut timer) == 0);
        let far = LARGE_INTEGER { QuadPart: -100_000_000 };
        expect!(8: KeSetTimer(&raw mut timer, far, &raw mut dpc) == 0, 9: KeCancelTimer(&raw mut timer) != 0);
    }
    0
}

unsafe extern "C" fn simple(_device: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the context is the waiter's event.
    unsafe {
        if KeGetCurrentIrql() != 0 {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
        KeSetEvent(context.cast(), 0, 0);
    }
}

unsafe extern "C" fn extended(object: *mut c_void, context: *mut c_void, item: PIO_WORKITEM) {
    if item.is_null() {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: as for the simple one.
    unsafe { simple(object.cast(), context) };
}

unsafe fn wait(event: *mut KEVENT) -> bool {
    let mut limit = LARGE_INTEGER { QuadPart: -50_000_000 };
    // SAFETY: the caller's event; PASSIVE_LEVEL.
    unsafe { KeWaitForSingleObject(event.cast(), 0, 0, 0, &raw mut limit) == STATUS_SUCCESS }
}

unsafe fn work(device: *mut DEVICE_OBJECT) -> u32 {
    let mut event = KEVENT::default();
    WRONG.store(0, Ordering::Relaxed);
    // SAFETY: the item is freed after it has run; the event stays until then.
    unsafe {
        KeInitializeEvent(&raw mut event, 1, 0);
        let item = IoAllocateWorkItem(device);
        expect!(1: !item.is_null());
        IoQueueWorkItem(item, Some(simple), 1, (&raw mut event).cast());
        expect!(2: wait(&raw mut event));
        IoQueueWorkItemEx(item, Some(extended), 1, (&raw mut event).cast());
        expect!(3: wait(&raw mut event), 4: WRONG.load(Ordering::Relaxed) == 0);
        IoFreeWorkItem(item);
    }
    0
}

unsafe fn rundown() -> u32 {
    let mut plain = EX_RUNDOWN_REF::default();
    // SAFETY: the references are initialised, and freed after the wait.
    unsafe {
        ExInitializeRundownProtection(&raw mut plain);
        expect!(1: ExAcquireRundownProtection(&raw mut plain) != 0);
        ExReleaseRundownProtection(&raw mut plain);
        ExWaitForRundownProtectionRelease(&raw mut plain);
        expect!(2: ExAcquireRundownProtection(&raw mut plain) == 0);
        let aware = ExAllocateCacheAwareRundownProtection(512, TAG);
        expect!(3: !aware.is_null(), 4: ExAcquireRundownProtectionCacheAware(aware) != 0);
        ExReleaseRundownProtectionCacheAware(aware);
        ExWaitForRundownProtectionReleaseCacheAware(aware);
        expect!(5: ExAcquireRundownProtectionCacheAware(aware) == 0);
        ExFreeCacheAwareRundownProtection(aware);
    }
    0
}

unsafe extern "C" fn take_back(_device: *mut DEVICE_OBJECT, request: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the waiter's event, the IRP its own.
    unsafe {
        if irp::status(request).0 != STATUS_SUCCESS {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
        KeSetEvent(context.cast(), 0, 0);
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

unsafe fn own_irp(device: *mut DEVICE_OBJECT) -> u32 {
    const IRP_MJ_CREATE: u8 = 0;
    let mut event = KEVENT::default();
    WRONG.store(0, Ordering::Relaxed);
    // SAFETY: the IRP is this function's; it is freed after its completion routine has taken it back.
    unsafe {
        KeInitializeEvent(&raw mut event, 1, 0);
        let request = IoAllocateIrp((*device).StackSize, 0);
        expect!(1: !request.is_null());
        (*irp::next_location(request)).MajorFunction = IRP_MJ_CREATE;
        irp::set_completion_routine(request, take_back, (&raw mut event).cast());
        let status = IofCallDriver(device, request);
        expect!(2: status == STATUS_SUCCESS, 3: wait(&raw mut event), 4: WRONG.load(Ordering::Relaxed) == 0);
        IoReuseIrp(request, 0);
        IoFreeIrp(request);
    }
    0
}

unsafe fn mdl() -> u32 {
    const MAPPED: i16 = 1;
    const NONPAGED: i16 = 4;
    // SAFETY: the MDL describes this block, and goes first.
    unsafe {
        let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 5000, TAG);
        let list = IoAllocateMdl(block, 5000, 0, 0, core::ptr::null_mut());
        expect!(1: !list.is_null());
        MmBuildMdlForNonPagedPool(list);
        let flags = (*list).MdlFlags;
        expect!(2: flags & NONPAGED != 0, 3: flags & MAPPED == 0, 4: (*list).MappedSystemVa == block, 5: (*list).ByteCount == 5000);
        IoFreeMdl(list);
        ExFreePoolWithTag(block, TAG);
    }
    0
}

unsafe fn system(device: *mut DEVICE_OBJECT) -> u32 {
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: 276,
        ..OSVERSIONINFOW::default()
    };
    let mut list = LOOKASIDE_LIST_EX::default();
    let (mut now, mut key) = (0, core::ptr::null_mut());
    // SAFETY: every pointer is to a live local or to this driver's device.
    unsafe {
        expect!(1: RtlGetVersion(&raw mut version) == STATUS_SUCCESS, 2: version.dwMajorVersion == 10, 3: version.dwBuildNumber == 20348);
        expect!(4: ExInitializeLookasideListEx(&raw mut list, None, None, 512, 0, 48, TAG, 0) == STATUS_SUCCESS);
        let entry = match list.L.__bindgen_anon_4.AllocateEx {
            Some(allocate) => allocate(512, 48, TAG, &raw mut list),
            None => return 5,
        };
        expect!(6: !entry.is_null());
        if let Some(free) = list.L.__bindgen_anon_5.FreeEx {
            free(entry, &raw mut list);
        }
        ExDeleteLookasideListEx(&raw mut list);
        KeQuerySystemTimePrecise(&raw mut now);
        expect!(7: now > 133_000_000_000_000_000, 8: KeQueryActiveProcessorCountEx(0xffff) >= 1);
        expect!(9: KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) < KeQueryActiveProcessorCountEx(0xffff));
        expect!(10: IoOpenDriverRegistryKey((*device).DriverObject, 0, 0x2_001f, 0, &raw mut key) == STATUS_SUCCESS);
        expect!(11: ZwClose(key) == STATUS_SUCCESS);
    }
    0
}

unsafe fn etw() -> u32 {
    let id = GUID {
        Data1: 0x5d1f_2a3b,
        Data2: 1,
        Data3: 2,
        Data4: [1, 2, 3, 4, 5, 6, 7, 8],
    };
    let mut handle = 0;
    let text: [u16; 3] = [u16::from_le_bytes(*b"o\0"), u16::from_le_bytes(*b"k\0"), 0];
    // SAFETY: every pointer is to a live local.
    unsafe {
        expect!(1: EtwRegister(&raw const id, None, core::ptr::null_mut(), &raw mut handle) == STATUS_SUCCESS);
        expect!(2: EtwProviderEnabled(handle, 4, 1) != 0);
        expect!(3: EtwWriteString(handle, 4, 1, core::ptr::null(), text.as_ptr()) == STATUS_SUCCESS);
        expect!(4: EtwUnregister(handle) == STATUS_SUCCESS);
    }
    0
}

/// The pool block with its MDL. Frees what it got.
unsafe fn with_mdl() {
    // SAFETY: what was allocated is freed once.
    unsafe {
        let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 200, TAG);
        if block.is_null() {
            return;
        }
        let list = IoAllocateMdl(block, 200, 0, 0, core::ptr::null_mut());
        if !list.is_null() {
            MmBuildMdlForNonPagedPool(list);
            IoFreeMdl(list);
        }
        ExFreePoolWithTag(block, TAG);
    }
}

/// Never more than it can say: a failed allocation is no fault of the case.
unsafe fn allocations(device: *mut DEVICE_OBJECT) -> u32 {
    let mut list = LOOKASIDE_LIST_EX::default();
    // SAFETY: what was allocated is freed once.
    unsafe {
        with_mdl();
        let block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        let request = IoAllocateIrp(1, 0);
        let item = IoAllocateWorkItem(device);
        if ExInitializeLookasideListEx(&raw mut list, None, None, 512, 0, 48, TAG, 0) == STATUS_SUCCESS {
            ExDeleteLookasideListEx(&raw mut list);
        }
        if !item.is_null() {
            IoFreeWorkItem(item);
        }
        if !request.is_null() {
            IoFreeIrp(request);
        }
        if !block.is_null() {
            ExFreePoolWithTag(block, TAG);
        }
    }
    0
}

/// What [`Switch::LeakOnFailure`](probe_protocol::verifier::faulty::Switch::LeakOnFailure) asks for.
pub(crate) fn leak_on_failure() -> u32 {
    // SAFETY: what was allocated is freed once, or not at all.
    unsafe {
        let first = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        if first.is_null() {
            return 1;
        }
        let second = ExAllocatePool2(POOL_FLAG_NON_PAGED, 128, TAG);
        if second.is_null() {
            return 1;
        }
        ExFreePoolWithTag(second, TAG);
        ExFreePoolWithTag(first, TAG);
    }
    0
}

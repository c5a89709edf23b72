//! Bugs of one call: IRQL, spin locks, pool, and what is left behind at unload. Each returns to its caller, so that the verifier is seen to
//! contain what it has caught.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use probe_protocol::verifier::faulty::Case;
use wdk_sys::{
    DEVICE_OBJECT, EX_RUNDOWN_REF, GUID, KBUGCHECK_REASON_CALLBACK_RECORD, KDPC, KEVENT, KTIMER, LARGE_INTEGER,
    LOOKASIDE_LIST_EX, OSVERSIONINFOW, POOL_FLAG_NON_PAGED, POOL_FLAG_PAGED, UNICODE_STRING,
    ntddk::{
        EtwRegister, ExAllocatePool2, ExFreePool, ExFreePoolWithTag, ExInitializeLookasideListEx,
        ExInitializeRundownProtection, ExReleaseRundownProtection, IoAllocateWorkItem, IoCreateDevice,
        IoCreateSymbolicLink, IoFreeWorkItem, IoOpenDriverRegistryKey, IoQueueWorkItem, KeAcquireSpinLockAtDpcLevel,
        KeAcquireSpinLockRaiseToDpc, KeBugCheckEx, KeCancelTimer, KeDelayExecutionThread, KeInitializeDpc,
        KeInitializeEvent, KeInitializeTimer, KeInsertQueueDpc, KeLowerIrql, KeReleaseSpinLock,
        KeReleaseSpinLockFromDpcLevel, KeSetTimer, KeWaitForSingleObject, KfRaiseIrql, PsCreateSystemThread,
        PsTerminateSystemThread, RtlGetVersion, ZwClose,
    },
};

use crate::kernel::{DISPATCH, KeFlushQueuedDpcs, KeRegisterBugCheckReasonCallback};
use crate::names;

const TAG: u32 = u32::from_le_bytes(*b"Flty");

/// Storage that outlives the call that uses it.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: one case uses it, at one time.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
}

static FIRST: Shared<u64> = Shared::new(0);
static SECOND: Shared<u64> = Shared::new(0);
static THIRD: Shared<u64> = Shared::new(0);

fn wait_milliseconds(milliseconds: i64) {
    let mut time = LARGE_INTEGER {
        QuadPart: milliseconds.wrapping_mul(-10_000),
    };
    // SAFETY: a live local; PASSIVE_LEVEL.
    let _ = unsafe { KeDelayExecutionThread(0, 0, &raw mut time) };
}

fn block(size: u64) -> *mut u8 {
    // SAFETY: any size and tag is allowed.
    unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG) }.cast()
}

fn free(block: *mut u8) {
    // SAFETY: that it may not be so is the point of some cases.
    unsafe { ExFreePoolWithTag(block.cast(), TAG) };
}

/// Carries out a bug of this module; whether it is one.
///
/// # Safety
/// `device` is this driver's device; the caller is at `PASSIVE_LEVEL`. What follows breaks rules of the kernel, one at a time.
pub(crate) unsafe fn run(device: *mut DEVICE_OBJECT, case: Case) -> bool {
    // SAFETY: as the caller promises: the verifier contains each of them.
    unsafe { levels(case) || locks(case) || pool(case) || objects(device, case) }
}

unsafe fn levels(case: Case) -> bool {
    let mut version = OSVERSIONINFOW::default();
    // SAFETY: every pointer is to a live local; each case ends at PASSIVE_LEVEL, but for one.
    unsafe {
        match case {
            Case::IrqlTooHigh => {
                let old = KfRaiseIrql(DISPATCH);
                let _ = RtlGetVersion(&raw mut version);
                KeLowerIrql(old);
            }
            Case::IrqlRaiseToLower => {
                let old = KfRaiseIrql(DISPATCH);
                KfRaiseIrql(0);
                KeLowerIrql(old);
            }
            Case::IrqlLowerToHigher => KeLowerIrql(DISPATCH),
            Case::IrqlLoweredWithLock => {
                KeAcquireSpinLockRaiseToDpc(FIRST.0.get());
                KeLowerIrql(0);
                KfRaiseIrql(DISPATCH);
                KeReleaseSpinLock(FIRST.0.get(), 0);
            }
            Case::IrqlChangedByCallback => {
                KfRaiseIrql(DISPATCH);
            }
            Case::IrqlTooLow => {
                KeAcquireSpinLockAtDpcLevel(FIRST.0.get());
                KeReleaseSpinLockFromDpcLevel(FIRST.0.get());
            }
            Case::WaitAtDispatch => {
                let mut event = KEVENT::default();
                let mut time = LARGE_INTEGER { QuadPart: -10_000 };
                KeInitializeEvent(&raw mut event, 0, 0);
                let old = KfRaiseIrql(DISPATCH);
                let _ = KeWaitForSingleObject((&raw mut event).cast(), 0, 0, 0, &raw mut time);
                KeLowerIrql(old);
            }
            _ => return false,
        }
    }
    true
}

unsafe extern "C" fn keep_lock(_dpc: *mut KDPC, _context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {
    // SAFETY: a static lock; that it is not released is the bug.
    unsafe { KeAcquireSpinLockAtDpcLevel(SECOND.0.get()) };
}

unsafe fn nest(outer: &Shared<u64>, inner: &Shared<u64>) {
    // SAFETY: static locks, released in turn.
    unsafe {
        let old = KeAcquireSpinLockRaiseToDpc(outer.0.get());
        KeAcquireSpinLockAtDpcLevel(inner.0.get());
        KeReleaseSpinLockFromDpcLevel(inner.0.get());
        KeReleaseSpinLock(outer.0.get(), old);
    }
}

unsafe fn locks(case: Case) -> bool {
    // SAFETY: static locks, or ones in memory of the case's own.
    unsafe {
        match case {
            Case::LockRecursive => {
                let old = KeAcquireSpinLockRaiseToDpc(FIRST.0.get());
                let again = KeAcquireSpinLockRaiseToDpc(FIRST.0.get());
                KeReleaseSpinLock(FIRST.0.get(), again);
                KeReleaseSpinLock(FIRST.0.get(), old);
            }
            Case::LockNotHeld => {
                let old = KfRaiseIrql(DISPATCH);
                KeReleaseSpinLock(FIRST.0.get(), old);
            }
            Case::LockBelowDispatch => KeReleaseSpinLock(FIRST.0.get(), 0),
            Case::LockOrder => {
                nest(&FIRST, &SECOND);
                nest(&SECOND, &FIRST);
            }
            Case::LockOrderOfThree => {
                nest(&FIRST, &SECOND);
                nest(&SECOND, &THIRD);
                nest(&THIRD, &FIRST);
            }
            Case::LockHeldByCallback => {
                let mut dpc = KDPC::default();
                KeInitializeDpc(&raw mut dpc, Some(keep_lock), core::ptr::null_mut());
                KeInsertQueueDpc(&raw mut dpc, core::ptr::null_mut(), core::ptr::null_mut());
                KeFlushQueuedDpcs();
            }
            Case::LockFreedHeld => {
                let lock: *mut u64 = block(8).cast();
                let old = KeAcquireSpinLockRaiseToDpc(lock);
                free(lock.cast());
                KeReleaseSpinLock(FIRST.0.get(), old);
            }
            _ => return false,
        }
    }
    true
}

unsafe fn pool(case: Case) -> bool {
    // SAFETY: the blocks are real; what is done to them is the bug.
    unsafe {
        match case {
            Case::PoolOverrunRead => {
                let block = block(16);
                core::hint::black_box(block.add(16).read_volatile());
                free(block);
            }
            Case::PoolOverrunWrite => {
                let block = block(16);
                block.add(16).write_volatile(1);
                free(block);
            }
            Case::PoolUnderrun => {
                let block = block(16);
                block.sub(1).write_volatile(1);
                free(block);
            }
            Case::PoolUseAfterFree => {
                let block = block(16);
                free(block);
                block.write_volatile(1);
            }
            Case::PoolDoubleFree => {
                let block = block(16);
                free(block);
                free(block);
            }
            Case::PoolBadFree => {
                let block = block(64);
                free(block.add(16));
                free(block);
            }
            Case::PoolTagMismatch => ExFreePoolWithTag(block(16).cast(), u32::from_le_bytes(*b"Othr")),
            Case::PoolLeak => {
                core::hint::black_box(block(100));
            }
            Case::PoolSlack => {
                let block = block(5);
                block.add(5).write_volatile(1);
                free(block);
            }
            Case::PoolNoTag => ExFreePool(ExAllocatePool2(POOL_FLAG_NON_PAGED, 16, 0)),
            Case::PoolPagedAtDispatch => {
                let old = KfRaiseIrql(DISPATCH);
                let block = ExAllocatePool2(POOL_FLAG_PAGED, 16, TAG);
                KeLowerIrql(old);
                free(block.cast());
            }
            Case::PoolFreedTimer => {
                let timer: *mut KTIMER = block(size_of::<KTIMER>() as u64).cast();
                KeInitializeTimer(timer);
                KeInitializeDpc(DPC.0.get(), Some(nothing), core::ptr::null_mut());
                KeSetTimer(timer, LARGE_INTEGER { QuadPart: -50_000_000 }, DPC.0.get());
                free(timer.cast());
                KeCancelTimer(timer);
            }
            _ => return false,
        }
    }
    true
}

static DPC: Shared<KDPC> = Shared::new(KDPC {
    Type: 0,
    Importance: 0,
    Number: 0,
    DpcListEntry: wdk_sys::LIST_ENTRY {
        Flink: core::ptr::null_mut(),
        Blink: core::ptr::null_mut(),
    },
    DeferredRoutine: None,
    DeferredContext: core::ptr::null_mut(),
    SystemArgument1: core::ptr::null_mut(),
    SystemArgument2: core::ptr::null_mut(),
    DpcData: core::ptr::null_mut(),
});
static TIMER: Shared<[u64; 16]> = Shared::new([0; 16]);
static LIST: Shared<[u64; 32]> = Shared::new([0; 32]);
static RECORD: Shared<[u64; 16]> = Shared::new([0; 16]);
static ITEM: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

const _: () = assert!(size_of::<KTIMER>() <= 128 && size_of::<LOOKASIDE_LIST_EX>() <= 240);
const _: () = assert!(size_of::<KBUGCHECK_REASON_CALLBACK_RECORD>() <= 128);

unsafe extern "C" fn nothing(_dpc: *mut KDPC, _context: *mut c_void, _first: *mut c_void, _second: *mut c_void) {}

unsafe extern "C" fn slow_work(_device: *mut DEVICE_OBJECT, _context: *mut c_void) {
    wait_milliseconds(300);
}

unsafe extern "C" fn slow_thread(_context: *mut c_void) {
    wait_milliseconds(4_000);
    // SAFETY: ends this thread, which by then has no code: the verifier keeps the image until it has ended.
    let _ = unsafe { PsTerminateSystemThread(0) };
}

unsafe fn objects(device: *mut DEVICE_OBJECT, case: Case) -> bool {
    // SAFETY: this driver's device and driver object; static storage; that nothing is undone is the bug.
    unsafe {
        let driver = (*device).DriverObject;
        match case {
            Case::DeviceLeft => {
                let mut second = core::ptr::null_mut();
                let _ = IoCreateDevice(driver, 0, core::ptr::null_mut(), 0x22, 0, 0, &raw mut second);
            }
            Case::SymbolicLinkLeft => {
                let (mut link, mut name): (UNICODE_STRING, UNICODE_STRING) = (names::second_link(), names::device());
                let _ = IoCreateSymbolicLink(&raw mut link, &raw mut name);
            }
            Case::WorkItemLeft => ITEM.store(IoAllocateWorkItem(device).cast(), Ordering::Relaxed),
            Case::WorkItemFreedQueued => {
                let (busy, item) = (IoAllocateWorkItem(device), IoAllocateWorkItem(device));
                IoQueueWorkItem(busy, Some(slow_work), 1, core::ptr::null_mut());
                IoQueueWorkItem(item, Some(slow_work), 1, core::ptr::null_mut());
                IoFreeWorkItem(item);
                wait_milliseconds(700);
                IoFreeWorkItem(busy);
            }
            Case::TimerLeft => {
                KeInitializeDpc(DPC.0.get(), Some(nothing), core::ptr::null_mut());
                KeInitializeTimer(TIMER.0.get().cast());
                KeSetTimer(
                    TIMER.0.get().cast(),
                    LARGE_INTEGER { QuadPart: -600_000_000 },
                    DPC.0.get(),
                );
            }
            Case::ThreadLeft => {
                let mut handle = core::ptr::null_mut();
                let status = PsCreateSystemThread(
                    &raw mut handle,
                    0x1f_ffff,
                    core::ptr::null_mut(),
                    core::ptr::null_mut(),
                    core::ptr::null_mut(),
                    Some(slow_thread),
                    core::ptr::null_mut(),
                );
                if status == 0 {
                    let _ = ZwClose(handle);
                }
            }
            Case::RegistrationLeft => {
                let id = GUID {
                    Data1: 1,
                    Data2: 2,
                    Data3: 3,
                    Data4: [0; 8],
                };
                let mut handle = 0;
                let _ = EtwRegister(&raw const id, None, core::ptr::null_mut(), &raw mut handle);
            }
            Case::HandleLeft => {
                let mut key = core::ptr::null_mut();
                let _ = IoOpenDriverRegistryKey(driver, 0, 0x2_0019, 0, &raw mut key);
            }
            Case::LookasideLeft => {
                let _ = ExInitializeLookasideListEx(LIST.0.get().cast(), None, None, 512, 0, 48, TAG, 0);
            }
            Case::CallbackLeft => {
                KeRegisterBugCheckReasonCallback(RECORD.0.get().cast(), core::ptr::null(), 1, core::ptr::null());
            }
            Case::RundownUnderflow => {
                let mut reference = EX_RUNDOWN_REF::default();
                ExInitializeRundownProtection(&raw mut reference);
                ExReleaseRundownProtection(&raw mut reference);
            }
            Case::BugCheck => KeBugCheckEx(0xe2, 1, 2, 3, 4),
            Case::NullPointer => core::hint::black_box(core::ptr::without_provenance_mut::<u8>(8)).write_volatile(1),
            Case::MissingFunction => crate::kernel::TestKernelHasNoSuchFunction(),
            _ => return false,
        }
    }
    true
}

//! What there is once per loaded driver: the device, the endpoint table, counters, audit rings, policy, clients.
//!
//! Made at the end of DriverEntry's staged init, before the first client can attach, and taken down in DriverUnload, after the last
//! has gone. IRQL <= `DISPATCH_LEVEL` unless a function says otherwise.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_rtl::{
    lock::SpinLock,
    nonpaged::{self, NonpagedBox},
};
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
    ntddk::{
        KeFlushQueuedDpcs, KeGetCurrentProcessorNumberEx, KeQueryActiveProcessorCountEx, KeQueryInterruptTimePrecise,
        KeQuerySystemTimePrecise,
    },
};
use wskguard_core::{
    RequestKind,
    audit::{Books, Rings, Suppressed},
    counters::{COUNT, Counter, Counters},
    memory::Memory,
    table::Table,
};

use crate::client::Clients;
use crate::control::Observed;
use crate::endpoint::Endpoint;
use crate::ioctl::Waiters;
use crate::parameters::Parameters;
use crate::policy::PolicyInForce;
use crate::request::Spares;
use crate::state::State;
use crate::transparent::Transparent;

/// Pool tags, as they read in a dump.
pub const TAG_CLIENT: u32 = u32::from_le_bytes(*b"WsGc");
pub const TAG_ENDPOINT: u32 = u32::from_le_bytes(*b"WsGe");
pub const TAG_REQUEST: u32 = u32::from_le_bytes(*b"WsGr");
pub const TAG_CORE: u32 = u32::from_le_bytes(*b"WsGt");
pub const TAG_POLICY: u32 = u32::from_le_bytes(*b"WsGp");
pub const TAG_STATE: u32 = u32::from_le_bytes(*b"WsGs");

/// Nonpaged pool, for the core's containers.
#[derive(Clone, Copy)]
pub struct Pool;

// SAFETY: ExAllocatePool2 zeroes. It aligns to 16, to a cache line on request, and blocks of a page or more to a page.
unsafe impl Memory for Pool {
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        const PAGE: usize = 4096;
        let bytes = if align > 64 { bytes.max(PAGE) } else { bytes };
        nonpaged::allocate(bytes, TAG_CORE, align > 16)
    }

    unsafe fn free(&self, block: NonNull<u8>, _bytes: usize, _align: usize) {
        // SAFETY: the caller's block came from `allocate`.
        unsafe { nonpaged::free(block, TAG_CORE) };
    }
}

/// See the module.
pub struct Guard {
    pub table: Table<Endpoint, Pool>,
    pub counters: Counters<Pool>,
    pub rings: Rings<Pool>,
    pub policy: PolicyInForce,
    pub clients: SpinLock<Clients>,
    pub waiters: Waiters,
    pub transparent: Transparent,
    /// Blocks of control requests that have ended.
    pub spares: Spares<Observed>,
    pub state: State,
    /// Seconds after which a start counts as healthy.
    pub healthy_after: u32,
    /// Live endpoints, listed or not.
    pub live: AtomicU32,
    pub device: *mut DEVICE_OBJECT,
    driver: *mut DRIVER_OBJECT,
    pub processors: usize,
    pub started: u64,
    /// Endpoints that the table lists, at most.
    pub endpoints_max: u32,
    pub windows: [u32; 3],
}

// SAFETY: the device and driver objects may be used on any thread, and live as long as the driver is loaded.
unsafe impl Send for Guard {}
// SAFETY: as above; the rest synchronises itself.
unsafe impl Sync for Guard {}

static GUARD: AtomicPtr<Guard> = AtomicPtr::new(core::ptr::null_mut());

/// The one guard.
///
/// Called only where there is one: in what NMR, the I/O manager or WSK calls between [`Guard::create`] and [`Guard::destroy`].
pub fn guard() -> &'static Guard {
    // SAFETY: set before the first callback is registered, and freed after the last has been taken back.
    unsafe { &*GUARD.load(Ordering::Relaxed) }
}

impl Guard {
    /// Allocates everything, and puts in force the policy that was kept. `PASSIVE_LEVEL`.
    pub fn create(driver: *mut DRIVER_OBJECT, device: *mut DEVICE_OBJECT, windows: [u32; 3]) -> Result<(), NTSTATUS> {
        let parameters = Parameters::read(driver);
        let built = Self::build(driver, device, windows, parameters)
            .and_then(|guard| NonpagedBox::<_, TAG_STATE>::try_new(guard).ok())
            .ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        built.waiters.initialise();
        GUARD.store(built.into_raw().as_ptr(), Ordering::Release);
        guard().state.start(parameters).inspect_err(|_| Self::free())
    }

    fn build(
        driver: *mut DRIVER_OBJECT,
        device: *mut DEVICE_OBJECT,
        windows: [u32; 3],
        parameters: Parameters,
    ) -> Option<Self> {
        const ALL_PROCESSOR_GROUPS: u16 = 0xFFFF;
        // SAFETY: no precondition.
        let processors = unsafe { KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS) };
        let processors = usize::try_from(processors).ok()?.max(1);
        Some(Self {
            table: Table::new(Pool, processors, parameters.endpoints)?,
            counters: Counters::new(Pool, processors)?,
            rings: Rings::new(Pool, processors, usize::try_from(parameters.records).ok()?)?,
            policy: PolicyInForce::new(processors)?,
            clients: SpinLock::new(Clients::new()),
            waiters: Waiters::new(),
            transparent: Transparent::new(parameters.transparent),
            spares: Spares::new(processors)?,
            state: State::new(),
            healthy_after: parameters.healthy_after,
            live: AtomicU32::new(0),
            device,
            driver,
            processors,
            started: system_time(),
            endpoints_max: parameters.endpoints,
            windows,
        })
    }

    /// Frees everything. `PASSIVE_LEVEL`, after the upper edge was deregistered.
    pub fn destroy() {
        guard().state.stop();
        Self::free();
    }

    fn free() {
        let guard = GUARD.swap(core::ptr::null_mut(), Ordering::AcqRel);
        if let Some(guard) = NonNull::new(guard) {
            // SAFETY: no precondition, at PASSIVE_LEVEL: a DPC of ours may be queued still.
            unsafe { KeFlushQueuedDpcs() };
            // SAFETY: made by `create`; nobody can call us any more.
            drop(unsafe { NonpagedBox::<Self, TAG_STATE>::from_raw(guard) });
        }
    }

    /// The driver object.
    pub fn driver(&self) -> *mut DRIVER_OBJECT {
        self.driver
    }

    /// Counts one on this processor.
    pub fn count(&self, counter: Counter) {
        self.count_on(processor(), counter);
    }

    /// Counts one where the processor is known.
    #[inline]
    pub fn count_on(&self, cpu: usize, counter: Counter) {
        self.counters.count(cpu, counter);
    }

    /// All counters, in the order of [`wskguard_core::counters::COUNTERS`].
    pub fn counts(&self) -> [u64; COUNT] {
        let mut sums = self.counters.sums();
        for kind in [
            RequestKind::Set,
            RequestKind::Get,
            RequestKind::Ioctl,
            RequestKind::Bind,
        ] {
            if let Some(sum) = sums.get_mut(Counter::of(kind) as usize) {
                *sum = self.policy.begun(kind);
            }
        }
        sums
    }

    /// What became of the records of all decisions. A request that goes down untouched leaves none, and is counted as such only.
    pub fn books(&self) -> Books {
        let mut books = self.rings.books();
        if let Some(sum) = books.suppressed.get_mut(Suppressed::NotWanted as usize) {
            *sum = sum.wrapping_add(self.counters.sum(Counter::ForwardedUntouched));
        }
        books
    }

    /// Lets a stop succeed, or makes it fail at once with the device still usable. Under the lock of `clients`.
    pub fn allow_unload(&self, allowed: bool) {
        let unload = if allowed {
            Some(crate::entry::unload as unsafe extern "C" fn(*mut DRIVER_OBJECT))
        } else {
            None
        };
        // SAFETY: only the address of the field is taken.
        let field = unsafe { &raw mut (*self.driver).DriverUnload };
        // SAFETY: the driver object is ours and lives as long as the driver; the I/O manager reads this field when asked to stop.
        unsafe { field.write_volatile(unload) };
    }
}

/// Index of the processor this runs on; below `DISPATCH_LEVEL` it may be another one by the time it is used.
pub fn processor() -> usize {
    // SAFETY: NULL is allowed.
    let number = unsafe { KeGetCurrentProcessorNumberEx(core::ptr::null_mut()) };
    usize::try_from(number).unwrap_or(0)
}

/// Now, 100 ns since 1601 (UTC).
pub fn system_time() -> u64 {
    let mut now = wdk_sys::LARGE_INTEGER::default();
    // SAFETY: the out parameter is ours.
    unsafe { KeQuerySystemTimePrecise(&raw mut now) };
    // SAFETY: every bit pattern is a number.
    unsafe { now.QuadPart }.cast_unsigned()
}

/// A clock that only grows, 100 ns.
fn interrupt_time() -> u64 {
    let mut counter = 0;
    // SAFETY: the out parameter is ours.
    unsafe { KeQueryInterruptTimePrecise(&raw mut counter) }
}

/// The same in seconds.
pub fn seconds() -> u32 {
    const PER_SECOND: u64 = 10_000_000;
    u32::try_from(interrupt_time().wrapping_div(PER_SECOND) & u64::from(u32::MAX)).unwrap_or(0)
}

//! What outlives a restart: the policy in force, in two slots of the driver's persistent state key, and the count of starts that were not
//! healthy. What is made of them is `core::state`'s business.
//!
//! Read once, at `PASSIVE_LEVEL`, before the first client can attach. Written by one work item, which everybody may ask for at
//! <= `DISPATCH_LEVEL`, and which writes what is due when it runs.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use wdk_rtl::{lock::SpinLock, nonpaged};
use wdk_sys::{
    _IO_WORKITEM, _WORK_QUEUE_TYPE, DEVICE_OBJECT, KDPC, KTIMER, LARGE_INTEGER, NTSTATUS, PVOID,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS,
    ntddk::{
        IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem, KeCancelTimer, KeFlushQueuedDpcs, KeInitializeDpc,
        KeInitializeTimer, KeSetTimer,
    },
};
use wskguard_abi::{MAX_POLICY_IMAGE, status_flags};
use wskguard_core::{
    audit::Happened,
    policy::OFF,
    state::{self, Found, Place, SlotHeader},
};
use zerocopy::IntoBytes;

use crate::audit::event;
use crate::device::wide;
use crate::guard::{TAG_STATE, guard};
use crate::parameters::Parameters;
use crate::policy::{GenerationRef, pause};
use crate::registry::{Key, Value, Which};

static SLOT_A: [u16; 7] = wide("PolicyA");
static SLOT_B: [u16; 7] = wide("PolicyB");
static STARTS: [u16; 15] = wide("UnhealthyStarts");

/// [`State::starts_due`]: nothing to write.
const NOT_DUE: u32 = u32::MAX;

/// See the module.
pub struct State {
    /// Bits of [`status_flags`] that tell how the kept state is doing.
    flags: AtomicU32,
    /// Of the last read or write that failed; 0 when the last one did not.
    status: AtomicU32,
    /// Starts since the last healthy one, with this.
    starts: AtomicU32,
    /// The number of starts to write.
    starts_due: AtomicU32,
    place: SpinLock<Place>,
    /// Generation that was written last.
    stored: AtomicU64,
    /// Requests to write that have not been carried out. The work item is queued by the first.
    asked: AtomicU32,
    item: AtomicPtr<_IO_WORKITEM>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

// SAFETY: timer and DPC are the kernel's; the rest is atomic or locked.
unsafe impl Sync for State {}
// SAFETY: as above; it does not move once its timer is initialised.
unsafe impl Send for State {}

impl State {
    pub fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            status: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            starts_due: AtomicU32::new(NOT_DUE),
            place: SpinLock::new(Place::default()),
            stored: AtomicU64::new(0),
            asked: AtomicU32::new(0),
            item: AtomicPtr::new(core::ptr::null_mut()),
            timer: UnsafeCell::new(KTIMER::default()),
            dpc: UnsafeCell::new(KDPC::default()),
        }
    }

    /// Puts in force what was kept, or what stands for it. `PASSIVE_LEVEL`, once in its final place, before the first client.
    pub fn start(&self, parameters: Parameters) -> Result<(), NTSTATUS> {
        // SAFETY: the device lives as long as the driver is loaded.
        let item = unsafe { IoAllocateWorkItem(guard().device) };
        if item.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        self.item.store(item, Ordering::Release);
        // SAFETY: the object is ours, nonpaged, and stays where it is.
        unsafe { KeInitializeTimer(self.timer.get()) };
        // SAFETY: as above.
        unsafe { KeInitializeDpc(self.dpc.get(), Some(ran_long_enough), core::ptr::null_mut()) };
        let done = self.begin(parameters);
        if done.is_err() {
            self.stop();
        }
        done
    }

    fn begin(&self, parameters: Parameters) -> Result<(), NTSTATUS> {
        let kept = Kept::read();
        if let Err(status) = kept.status {
            self.status.store(status.cast_unsigned(), Ordering::Relaxed);
        }
        *self.place.lock() = kept.choice().place;
        if parameters.off {
            self.turn_off(status_flags::KILL_SWITCH, Happened::TurnedOff)?;
        } else if let Some(starts) = state::start(kept.starts) {
            self.starts.store(starts, Ordering::Relaxed);
            self.write_starts(starts);
            self.enforce(&kept)?;
            self.expect_health(parameters.healthy_after);
        } else {
            self.starts.store(kept.starts, Ordering::Relaxed);
            self.turn_off(status_flags::UNHEALTHY, Happened::TurnedOffUnhealthy)?;
        }
        event(Happened::Started, STATUS_SUCCESS, 0);
        Ok(())
    }

    fn turn_off(&self, flag: u32, what: Happened) -> Result<(), NTSTATUS> {
        guard().policy.begin_with(0, OFF)?;
        self.flags.fetch_or(flag, Ordering::Relaxed);
        event(what, STATUS_SUCCESS, 0);
        Ok(())
    }

    /// Puts the kept policy in force. Where it cannot be, the driver goes on with the built-in policy, which only audits.
    fn enforce(&self, kept: &Kept) -> Result<(), NTSTATUS> {
        let choice = kept.choice();
        if let Some(image) = choice.image {
            guard().policy.begin_with(1, image)?;
            self.stored.store(1, Ordering::Relaxed);
        }
        let (flag, what) = match (choice.found, kept.status) {
            (Found::LastKnownGood, _) => (status_flags::LAST_KNOWN_GOOD, Happened::LastKnownGood),
            (Found::Bad, _) | (Found::Nothing, Err(_)) => (status_flags::STORED_POLICY_BAD, Happened::StoredPolicyBad),
            (Found::Nothing | Found::Newest, _) => return Ok(()),
        };
        self.flags.fetch_or(flag, Ordering::Relaxed);
        event(
            what,
            kept.status.err().unwrap_or(STATUS_SUCCESS),
            choice.image.map_or(0, |_| 1),
        );
        Ok(())
    }

    /// Counts this start before anything of it can go wrong.
    fn write_starts(&self, starts: u32) {
        let written = Key::open(guard().driver(), Which::PersistentState, true).and_then(|key| {
            key.set_number(&STARTS, starts)?;
            key.flush();
            Ok(())
        });
        if let Err(status) = written {
            self.status.store(status.cast_unsigned(), Ordering::Relaxed);
        }
    }

    fn expect_health(&self, seconds: u32) {
        let due = LARGE_INTEGER {
            QuadPart: i64::from(seconds).saturating_mul(-10_000_000),
        };
        // SAFETY: initialised by `start`; both stay where they are until `stop`.
        unsafe { KeSetTimer(self.timer.get(), due, self.dpc.get()) };
    }

    /// Whether `Parameters\Mode=off` keeps policies out.
    pub fn is_killed(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & status_flags::KILL_SWITCH != 0
    }

    /// For the status: flags, last failure, starts.
    pub fn report(&self) -> (u32, u32, u32) {
        (
            self.flags.load(Ordering::Relaxed),
            self.status.load(Ordering::Relaxed),
            self.starts.load(Ordering::Relaxed),
        )
    }

    /// A policy was put in force: it will be kept. An administrator who loads one has seen what was wrong before.
    pub fn policy_changed(&self) {
        const PAST: u32 = status_flags::UNHEALTHY | status_flags::LAST_KNOWN_GOOD | status_flags::STORED_POLICY_BAD;
        self.flags.fetch_or(status_flags::NOT_STORED, Ordering::Relaxed);
        let before = self.flags.fetch_and(!PAST, Ordering::Relaxed);
        if before & status_flags::UNHEALTHY != 0 {
            self.starts.store(1, Ordering::Relaxed);
            self.starts_due.store(1, Ordering::Relaxed);
            self.expect_health(guard().healthy_after);
        }
        self.ask();
    }

    /// Has what is due written. <= `DISPATCH_LEVEL`.
    fn ask(&self) {
        if self.asked.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let item = self.item.load(Ordering::Acquire);
        // SAFETY: allocated by `start`, and not queued: only the first request queues it, and its routine takes all of them away last.
        unsafe {
            IoQueueWorkItem(
                item,
                Some(write),
                _WORK_QUEUE_TYPE::DelayedWorkQueue,
                core::ptr::null_mut(),
            );
        };
    }

    fn healthy(&self) {
        self.starts.store(0, Ordering::Relaxed);
        self.starts_due.store(0, Ordering::Relaxed);
        self.ask();
    }

    /// A start that ends in an orderly stop was healthy, unless it was spent turned off.
    pub fn stopping(&self) {
        if self.flags.load(Ordering::Relaxed) & (status_flags::UNHEALTHY | status_flags::KILL_SWITCH) == 0 {
            self.healthy();
        }
    }

    /// Waits until nothing is written any more. `PASSIVE_LEVEL`; the guard is there still, and nobody asks for a write.
    pub fn stop(&self) {
        // SAFETY: initialised by `start`.
        unsafe { KeCancelTimer(self.timer.get()) };
        // SAFETY: no precondition: the DPC may have been queued.
        unsafe { KeFlushQueuedDpcs() };
        while self.asked.load(Ordering::Acquire) != 0 {
            pause();
        }
        let item = self.item.swap(core::ptr::null_mut(), Ordering::AcqRel);
        if !item.is_null() {
            // SAFETY: allocated by `start`; its routine has run, and touches nothing after it has taken the last request away.
            unsafe { IoFreeWorkItem(item) };
        }
    }

    /// Writes what is due.
    fn write(&self) {
        let generation = guard()
            .policy
            .look()
            .filter(|now| now.number > self.stored.load(Ordering::Relaxed))
            .map(|now| now.keep());
        let starts = self.starts_due.swap(NOT_DUE, Ordering::Relaxed);
        if generation.is_none() && starts == NOT_DUE {
            return;
        }
        let written = Key::open(guard().driver(), Which::PersistentState, true).and_then(|key| {
            let policy = generation.as_ref().map_or(Ok(()), |now| self.write_policy(&key, now));
            let starts = if starts == NOT_DUE {
                Ok(())
            } else {
                key.set_number(&STARTS, starts)
            };
            key.flush();
            policy.and(starts)
        });
        let status = written.err().unwrap_or(STATUS_SUCCESS);
        self.status.store(status.cast_unsigned(), Ordering::Relaxed);
        let number = generation.as_ref().map_or(0, |now| now.number);
        match (written, &generation) {
            (Ok(()), Some(_)) => {
                self.stored.store(number, Ordering::Relaxed);
                // What came into force meanwhile has asked for a write of its own, and sets the flag before it asks.
                self.flags.fetch_and(!status_flags::NOT_STORED, Ordering::Relaxed);
                event(Happened::PolicyStored, STATUS_SUCCESS, number);
            }
            (Ok(()), None) => event(Happened::Healthy, STATUS_SUCCESS, 0),
            (Err(status), _) => event(Happened::PolicyNotStored, status, number),
        }
    }

    fn write_policy(&self, key: &Key, generation: &GenerationRef) -> Result<(), NTSTATUS> {
        let image = generation.bytes();
        let place = self.place.lock().next();
        let header = SlotHeader::new(place.sequence, image).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let whole = Slot::join(header.as_bytes(), image).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        key.set_binary(if place.slot == 0 { &SLOT_A } else { &SLOT_B }, whole.bytes())?;
        *self.place.lock() = place;
        Ok(())
    }
}

/// What the key held at start.
struct Kept {
    slots: [Option<Value>; 2],
    starts: u32,
    status: Result<(), NTSTATUS>,
}

impl Kept {
    fn read() -> Self {
        let mut kept = Self {
            slots: [None, None],
            starts: 0,
            status: Ok(()),
        };
        let key = match Key::open(guard().driver(), Which::PersistentState, true) {
            Ok(key) => key,
            Err(status) => {
                kept.status = Err(status);
                return kept;
            }
        };
        let most = usize::try_from(MAX_POLICY_IMAGE).unwrap_or(0);
        let most = most.saturating_add(size_of::<SlotHeader>());
        for (slot, name) in kept.slots.iter_mut().zip([&SLOT_A, &SLOT_B]) {
            match key.binary(name, most) {
                Ok(value) => *slot = value,
                Err(status) => kept.status = Err(status),
            }
        }
        kept.starts = key.number(&STARTS).unwrap_or(0);
        kept
    }

    fn choice(&self) -> state::Kept<'_> {
        let [a, b] = &self.slots;
        state::choose([a, b].map(|slot| slot.as_ref().map(Value::bytes)))
    }
}

/// A slot as it is written: header and image in one block.
struct Slot {
    block: core::ptr::NonNull<u8>,
    length: usize,
}

impl Slot {
    fn join(header: &[u8], image: &[u8]) -> Option<Self> {
        let length = header.len().checked_add(image.len())?;
        let block = nonpaged::allocate(length, TAG_STATE, false)?;
        // SAFETY: fresh, zeroed, that long, and ours.
        let bytes = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), length) };
        for (to, from) in bytes.iter_mut().zip(header.iter().chain(image)) {
            *to = *from;
        }
        Some(Self { block, length })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: filled by `join`.
        unsafe { core::slice::from_raw_parts(self.block.as_ptr(), self.length) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: allocated by `join`, and nobody reads it any more.
        unsafe { nonpaged::free(self.block, TAG_STATE) };
    }
}

/// DPC of the timer. `DISPATCH_LEVEL`.
unsafe extern "C" fn ran_long_enough(_: *mut KDPC, _: PVOID, _: PVOID, _: PVOID) {
    guard().state.healthy();
}

/// The work item. `PASSIVE_LEVEL`.
unsafe extern "C" fn write(_: *mut DEVICE_OBJECT, _: *mut c_void) {
    let state = &guard().state;
    let mut asked = state.asked.load(Ordering::Acquire);
    loop {
        state.write();
        // After the last request is taken away the guard may go.
        match state
            .asked
            .compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => return,
            Err(more) => asked = more,
        }
    }
}

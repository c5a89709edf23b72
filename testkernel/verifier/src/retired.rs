//! Counts the instructions that wskguard.sys executes, and what it calls. Any IRQL; on request only.
//!
//! Its code is made not executable. Entering it faults: it becomes executable, and the thread goes on with the trap flag set, so that every
//! instruction ends in an exception that is counted here. The first one outside of the code clears the flag and takes that back:
//! what others do runs at full speed. While one thread is inside, what another executes there is not seen.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use probe_protocol::verifier::{ImportUse, PageReply, Retired, VERSION};
use zerocopy::FromZeros;

use crate::image::Image;
use crate::modules;
use crate::system;
use crate::user;

const ACCESS_VIOLATION: u32 = 0xc000_0005;
const SINGLE_STEP: u32 = 0x8000_0004;
/// Places outside of the driver that it goes to, by calls and returns.
const PLACES: usize = 64;

/// Where instructions were executed next after those of the driver, and how often.
struct Place {
    address: AtomicUsize,
    times: AtomicU64,
}

static ON: AtomicBool = AtomicBool::new(false);
/// The driver, and where its code is.
static IMAGE: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static INSTRUCTIONS: AtomicU64 = AtomicU64::new(0);
static ENTRIES: AtomicU64 = AtomicU64::new(0);
static LEFT: [Place; PLACES] = [const {
    Place {
        address: AtomicUsize::new(0),
        times: AtomicU64::new(0),
    }
}; PLACES];

fn is_inside(address: usize) -> bool {
    address.wrapping_sub(CODE.load(Ordering::Relaxed)) < BYTES.load(Ordering::Relaxed)
}

fn protect(protection: u32) -> bool {
    let code = core::ptr::with_exposed_provenance_mut(CODE.load(Ordering::Relaxed));
    // SAFETY: the driver's code; whoever runs into the change comes back here.
    unsafe { user::protect(code, BYTES.load(Ordering::Relaxed), protection) }.is_some()
}

/// Begins from zero, or ends. False where there is nothing to count. `PASSIVE_LEVEL`.
pub(crate) fn set(on: bool) -> bool {
    if !on {
        return !ON.swap(false, Ordering::AcqRel) || protect(user::PAGE_EXECUTE_READ);
    }
    let Some(module) = modules::named(b"wskguard.sys\0\0\0\0\0\0\0\0\0\0\0\0") else {
        return false;
    };
    let Some((image, code, bytes)) = module.image().and_then(|image| {
        let (rva, bytes) = image.code()?;
        Some((image, image.rva::<u8>(rva), bytes))
    }) else {
        return false;
    };
    IMAGE.store(image.base(), Ordering::Relaxed);
    CODE.store(code.expose_provenance(), Ordering::Relaxed);
    BYTES.store(bytes, Ordering::Relaxed);
    INSTRUCTIONS.store(0, Ordering::Relaxed);
    ENTRIES.store(0, Ordering::Relaxed);
    for place in &LEFT {
        place.address.store(0, Ordering::Relaxed);
        place.times.store(0, Ordering::Relaxed);
    }
    ON.store(true, Ordering::Release);
    protect(user::PAGE_READONLY)
}

fn note(address: usize) {
    for place in &LEFT {
        let known = place
            .address
            .compare_exchange(0, address, Ordering::Relaxed, Ordering::Relaxed);
        if known.is_ok() || known == Err(address) {
            place.times.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Looks at an exception: whether it is one of ours, and execution goes on.
pub(crate) fn judge(code: u32, address: usize, touched: usize, context: *mut c_void) -> bool {
    match code {
        ACCESS_VIOLATION if ON.load(Ordering::Acquire) && is_inside(address) && is_inside(touched) => {
            ENTRIES.fetch_add(1, Ordering::Relaxed);
            system::step(context, true);
            protect(user::PAGE_EXECUTE_READ)
        }
        SINGLE_STEP => {
            let on = ON.load(Ordering::Acquire);
            let inside = is_inside(address);
            INSTRUCTIONS.fetch_add(u64::from(on), Ordering::Relaxed);
            system::step(context, on && inside);
            if on && !inside {
                note(address);
                protect(user::PAGE_READONLY);
            }
            true
        }
        _ => false,
    }
}

/// What was counted so far.
pub(crate) fn counted() -> Retired {
    Retired {
        version: VERSION,
        on: u32::from(ON.load(Ordering::Relaxed)),
        instructions: INSTRUCTIONS.load(Ordering::Relaxed),
        entries: ENTRIES.load(Ordering::Relaxed),
    }
}

/// Copies the places from the `first` on: the import's name, or only the module where it went by a pointer or a return.
pub(crate) fn page(first: usize, room: &mut [ImportUse]) -> PageReply {
    let image = core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(IMAGE.load(Ordering::Relaxed)));
    let used = || LEFT.iter().filter(|place| place.address.load(Ordering::Relaxed) != 0);
    let mut count = 0_u32;
    for (to, place) in room.iter_mut().zip(used().skip(first)) {
        let address = place.address.load(Ordering::Relaxed);
        *to = ImportUse::new_zeroed();
        to.calls = place.times.load(Ordering::Relaxed);
        to.module = modules::locate(address).0;
        if let Some(image) = image {
            Image::at(image).for_each_import(|import| {
                // SAFETY: a slot of the driver's import table, filled by the loader.
                if unsafe { import.slot.read() } == address {
                    name(to, import.name);
                }
            });
        }
        count = count.wrapping_add(1);
    }
    PageReply {
        total: u32::try_from(used().count()).unwrap_or(0),
        count,
        dropped: 0,
        reserved: 0,
    }
}

fn name(to: &mut ImportUse, from: &CStr) {
    to.name
        .iter_mut()
        .zip(from.to_bytes())
        .for_each(|(to, from)| *to = *from);
}

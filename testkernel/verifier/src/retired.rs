//! Counts the instructions that wskguard.sys executes, and what it calls, by the function of it that was called. Any IRQL; on request only.
//!
//! Its code is made not executable. Entering it faults: it becomes executable, and the thread goes on with the trap flag set, so that every
//! instruction ends in an exception that is counted here. The first one outside of the code clears the flag and takes that back:
//! what others do runs at full speed. While one thread is inside, what another executes there is not seen.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use probe_protocol::verifier::{Left, PageReply, Retired};
use zerocopy::FromZeros;

use crate::image::Image;
use crate::modules;
use crate::system;
use crate::user;

const ACCESS_VIOLATION: u32 = 0xc000_0005;
const SINGLE_STEP: u32 = 0x8000_0004;

/// A function that others call, or a place outside that such a function went to: its two addresses, and numbers.
struct Entry {
    key: [AtomicUsize; 2],
    times: AtomicU64,
    instructions: AtomicU64,
}

/// A table that only grows.
struct Entries<const N: usize>([Entry; N]);

impl<const N: usize> Entries<N> {
    const fn new() -> Self {
        Self(
            [const {
                Entry {
                    key: [AtomicUsize::new(0), AtomicUsize::new(0)],
                    times: AtomicU64::new(0),
                    instructions: AtomicU64::new(0),
                }
            }; N],
        )
    }

    fn clear(&self) {
        for entry in &self.0 {
            let [first, second] = &entry.key;
            first.store(0, Ordering::Relaxed);
            second.store(0, Ordering::Relaxed);
            entry.times.store(0, Ordering::Relaxed);
            entry.instructions.store(0, Ordering::Relaxed);
        }
    }

    /// The entry of this key; `None` when there is no room.
    fn of(&self, first: usize, second: usize) -> Option<&Entry> {
        let claim = |cell: &AtomicUsize, value| {
            let before = cell.compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed);
            before.is_ok() || before == Err(value)
        };
        self.0.iter().find(|entry| {
            let [one, other] = &entry.key;
            // A first key that was claimed for another second one leaves an entry behind that stays empty.
            claim(one, first) && claim(other, second)
        })
    }

    fn used(&self) -> impl Iterator<Item = (usize, usize, u64, u64)> + Clone {
        self.0.iter().filter_map(|entry| {
            let [first, second] = &entry.key;
            let times = entry.times.load(Ordering::Relaxed);
            let instructions = entry.instructions.load(Ordering::Relaxed);
            let (first, second) = (first.load(Ordering::Relaxed), second.load(Ordering::Relaxed));
            (times != 0).then_some((first, second, times, instructions))
        })
    }
}

/// A thread that is in one of the functions: which, and where the return address to its caller lies.
struct Inside {
    thread: AtomicUsize,
    function: AtomicUsize,
    stack: AtomicUsize,
}

static ON: AtomicBool = AtomicBool::new(false);
/// The driver, and where its code is.
static IMAGE: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static FUNCTIONS: Entries<64> = Entries::new();
/// By function and place.
static PLACES: Entries<512> = Entries::new();
static THREADS: [Inside; 64] = [const {
    Inside {
        thread: AtomicUsize::new(0),
        function: AtomicUsize::new(0),
        stack: AtomicUsize::new(0),
    }
}; 64];

fn is_inside(address: usize) -> bool {
    address.wrapping_sub(CODE.load(Ordering::Relaxed)) < BYTES.load(Ordering::Relaxed)
}

fn protect(protection: u32) -> bool {
    let code = core::ptr::with_exposed_provenance_mut(CODE.load(Ordering::Relaxed));
    // SAFETY: the driver's code; whoever runs into the change comes back here.
    unsafe { user::protect(code, BYTES.load(Ordering::Relaxed), protection) }.is_some()
}

/// Begins from zero after so many milliseconds, or ends (0). False where there is nothing to count. `PASSIVE_LEVEL`.
pub(crate) fn set(after_ms: u32) -> bool {
    if after_ms == 0 {
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
    FUNCTIONS.clear();
    PLACES.clear();
    for inside in &THREADS {
        inside.thread.store(0, Ordering::Relaxed);
        inside.function.store(0, Ordering::Relaxed);
    }
    user::start_thread(begin, core::ptr::without_provenance_mut(after_ms as usize))
}

unsafe extern "system" fn begin(after_ms: *mut c_void) -> u32 {
    // SAFETY: no preconditions.
    unsafe { user::Sleep(u32::try_from(after_ms.addr()).unwrap_or(0)) };
    ON.store(true, Ordering::Release);
    protect(user::PAGE_READONLY);
    0
}

/// The present thread's; `None` when there are too many.
fn this_thread() -> Option<&'static Inside> {
    // SAFETY: no preconditions.
    let thread = unsafe { user::GetCurrentThreadId() } as usize;
    THREADS.iter().find(|inside| {
        let before = inside
            .thread
            .compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed);
        before.is_ok() || before == Err(thread)
    })
}

/// The thread enters at `address`: by a call of a function, unless it only comes back from what the function called.
fn enter(address: usize, stack: usize) {
    let Some(inside) = this_thread() else { return };
    let back = inside.function.load(Ordering::Relaxed) != 0 && stack < inside.stack.load(Ordering::Relaxed);
    if back {
        return;
    }
    inside.function.store(address, Ordering::Relaxed);
    inside.stack.store(stack, Ordering::Relaxed);
    if let Some(function) = FUNCTIONS.of(address, address) {
        function.times.fetch_add(1, Ordering::Relaxed);
    }
}

/// An instruction was executed, and `address` is next.
fn executed(address: usize, stack: usize) {
    let Some(inside) = this_thread() else { return };
    let function = inside.function.load(Ordering::Relaxed);
    if let Some(function) = FUNCTIONS.of(function, function) {
        function.instructions.fetch_add(1, Ordering::Relaxed);
    }
    if is_inside(address) {
        return;
    }
    if let Some(place) = PLACES.of(function, address) {
        place.times.fetch_add(1, Ordering::Relaxed);
    }
    // It returned, or left its caller to another function.
    if stack >= inside.stack.load(Ordering::Relaxed) {
        inside.function.store(0, Ordering::Relaxed);
    }
}

/// Looks at an exception: whether it is one of ours, and execution goes on.
pub(crate) fn judge(code: u32, address: usize, touched: usize, context: *mut c_void) -> bool {
    match code {
        ACCESS_VIOLATION if ON.load(Ordering::Acquire) && is_inside(address) && is_inside(touched) => {
            enter(address, system::stack_of(context));
            system::step(context, true);
            protect(user::PAGE_EXECUTE_READ)
        }
        SINGLE_STEP => {
            let on = ON.load(Ordering::Acquire);
            let inside = is_inside(address);
            system::step(context, on && inside);
            if on {
                executed(address, system::stack_of(context));
            }
            if on && !inside {
                protect(user::PAGE_READONLY);
            }
            true
        }
        _ => false,
    }
}

fn offset(address: usize) -> u64 {
    address.wrapping_sub(IMAGE.load(Ordering::Relaxed)) as u64
}

/// Copies elements from the `first` on.
fn fill<T>(first: usize, room: &mut [T], elements: impl Iterator<Item = T> + Clone) -> PageReply {
    let total = elements.clone().count();
    let count = room
        .iter_mut()
        .zip(elements.skip(first))
        .map(|(to, from)| *to = from)
        .count();
    PageReply {
        total: u32::try_from(total).unwrap_or(0),
        count: u32::try_from(count).unwrap_or(0),
        dropped: 0,
        reserved: 0,
    }
}

/// What was counted.
pub(crate) fn counted(first: usize, room: &mut [Retired]) -> PageReply {
    let elements = FUNCTIONS.used().map(|(entry, _, calls, instructions)| Retired {
        entry: offset(entry),
        calls,
        instructions,
    });
    fill(first, room, elements)
}

/// Where it went.
pub(crate) fn left(first: usize, room: &mut [Left]) -> PageReply {
    let image = NonNull::new(core::ptr::with_exposed_provenance_mut(IMAGE.load(Ordering::Relaxed))).map(Image::at);
    let elements = PLACES.used().map(|(entry, address, times, _)| Left {
        entry: offset(entry),
        times,
        module: modules::locate(address).0,
        name: image.map_or([0; 64], |image| import_at(image, address)),
    });
    fill(first, room, elements)
}

/// Name of the import that has this address.
fn import_at(image: Image, address: usize) -> [u8; 64] {
    let mut name = <[u8; 64]>::new_zeroed();
    let mut keep = |from: &CStr| name.iter_mut().zip(from.to_bytes()).for_each(|(to, from)| *to = *from);
    image.for_each_import(|import| {
        // SAFETY: a slot of the driver's import table, filled by the loader.
        if unsafe { import.slot.read() } == address {
            keep(import.name);
        }
    });
    name
}

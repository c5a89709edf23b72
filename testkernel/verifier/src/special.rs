//! Special pool: blocks that end at a page that cannot be touched, or begin behind one; when freed they cannot be touched themselves.
//! What touches them all the same is reported with the code that did it, and let through, so that the session can go on. IRQL <= DISPATCH_LEVEL.
//!
//! Blocks are aligned as the pool aligns, so up to 15 bytes may lie between a block and its guard: they hold a pattern that is looked at
//! when the block is freed, as in the real one.

extern crate alloc;

use alloc::collections::{BTreeMap, VecDeque};
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use probe_protocol::verifier::flags;

use crate::coverage::{self, EXCEPTION_BREAKPOINT};
use crate::settings;
use crate::stop::{self, Code, Stack};
use crate::sync::Lock;
use crate::system;
use crate::user::{self, PAGE};

/// What the slack holds.
const SLACK: u8 = 0xa7;
/// Most blocks at a time, live and freed: each takes two mappings of the 65,530 that Linux gives a process.
const MOST: usize = 20_000;
/// Freed blocks that stay out of reach.
const QUARANTINE: usize = 6_000;
const EXCEPTION_ACCESS_VIOLATION: u32 = 0xc000_0005;
const CONTINUE_EXECUTION: i32 = -1;
const CONTINUE_SEARCH: i32 = 0;

/// A block and the pages around it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// First reserved page.
    base: usize,
    /// Pages reserved, one of them the guard.
    pages: usize,
    block: usize,
    size: usize,
    tag: u32,
    freed: bool,
}

impl Place {
    fn bytes(&self) -> usize {
        self.pages.saturating_mul(PAGE)
    }
}

struct State {
    places: BTreeMap<usize, Place>,
    freed: VecDeque<usize>,
}

static STATE: Lock<State> = Lock::new(State {
    places: BTreeMap::new(),
    freed: VecDeque::new(),
});
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn pointer(address: usize) -> *mut c_void {
    core::ptr::with_exposed_provenance_mut(address)
}

/// A block, if there is room for one more. Uninitialised.
pub(crate) fn allocate(size: usize, alignment: usize, tag: u32) -> Option<*mut u8> {
    if COUNT.fetch_add(1, Ordering::Relaxed) >= MOST {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let place = reserve(size, alignment, tag);
    if let Some(place) = place {
        STATE.lock().places.insert(place.base, place);
        Some(pointer(place.block).cast())
    } else {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

fn reserve(size: usize, alignment: usize, tag: u32) -> Option<Place> {
    let span = size.max(1).checked_next_multiple_of(alignment)?;
    let data = span.checked_next_multiple_of(PAGE)?;
    let bytes = data.checked_add(PAGE)?;
    // SAFETY: asks for fresh address space, and memory for all but the guard.
    let base = unsafe { user::VirtualAlloc(core::ptr::null_mut(), bytes, user::MEM_RESERVE, user::PAGE_NOACCESS) };
    if base.is_null() {
        return None;
    }
    let base = base.expose_provenance();
    let before = settings::has(flags::POOL_BEFORE);
    let first = if before { base.wrapping_add(PAGE) } else { base };
    // SAFETY: inside what was reserved above.
    if unsafe { user::VirtualAlloc(pointer(first), data, user::MEM_COMMIT, user::PAGE_READWRITE) }.is_null() {
        // SAFETY: reserved above, and nobody has it.
        unsafe { user::VirtualFree(pointer(base), 0, user::MEM_RELEASE) };
        return None;
    }
    let block = if before {
        first
    } else {
        first.wrapping_add(data.wrapping_sub(span))
    };
    let slack = if before { data } else { span }.wrapping_sub(size);
    // SAFETY: inside the committed pages, behind the block.
    unsafe { pointer(block.wrapping_add(size)).cast::<u8>().write_bytes(SLACK, slack) };
    Some(Place {
        base,
        pages: bytes / PAGE,
        block,
        size,
        tag,
        freed: false,
    })
}

/// Looks at the bytes behind a block; the offset of the first that was written.
fn slack_written(place: &Place) -> Option<usize> {
    let end = place.block.wrapping_add(place.size);
    let guard_first = place.block == place.base.wrapping_add(PAGE);
    let last = if guard_first {
        place.base.wrapping_add(place.bytes())
    } else {
        place.base.wrapping_add(place.bytes()).wrapping_sub(PAGE)
    };
    // SAFETY: committed pages of a block that is being freed.
    (0..last.wrapping_sub(end)).find(|at| unsafe { pointer(end.wrapping_add(*at)).cast::<u8>().read() } != SLACK)
}

/// Frees a block: from now on it cannot be touched.
pub(crate) fn free(block: usize) {
    let mut state = STATE.lock();
    let Some(place) = state
        .places
        .range(..=block)
        .next_back()
        .map(|(_, place)| *place)
        .filter(|place| place.block == block)
    else {
        return;
    };
    let written = slack_written(&place);
    if let Some(entry) = state.places.get_mut(&place.base) {
        entry.freed = true;
    }
    state.freed.push_back(place.base);
    let oldest = if state.freed.len() > QUARANTINE {
        state.freed.pop_front()
    } else {
        None
    };
    if let Some(oldest) = oldest {
        state.places.remove(&oldest);
    }
    // SAFETY: the block's own pages; its user has given it back. The oldest is on no list any more.
    unsafe {
        user::discard(pointer(place.base), place.bytes());
        if let Some(oldest) = oldest {
            user::VirtualFree(pointer(oldest), 0, user::MEM_RELEASE);
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }
    drop(state);
    if let Some(offset) = written {
        stop::report(
            Code::PoolSlackWritten,
            [block, place.size, place.tag as usize, place.size.wrapping_add(offset)],
        );
    }
}

/// A freed block that began at this address: its size and tag.
pub(crate) fn freed(block: usize) -> Option<(usize, u32)> {
    let state = STATE.lock();
    let (_, place) = state.places.range(..=block).next_back()?;
    (place.block == block && place.freed).then_some((place.size, place.tag))
}

fn judge(address: usize) -> Option<(Code, Place)> {
    let state = STATE.lock();
    let (_, place) = state.places.range(..=address).next_back()?;
    if address >= place.base.wrapping_add(place.bytes()) {
        return None;
    }
    let code = if place.freed {
        Code::PoolUseAfterFree
    } else if address < place.block {
        Code::PoolUnderrun
    } else {
        Code::PoolOverrun
    };
    Some((code, *place))
}

/// `EXCEPTION_RECORD`, as far as it matters here.
#[repr(C)]
struct Record {
    code: u32,
    flags: u32,
    next: *mut c_void,
    address: usize,
    count: u32,
    information: [usize; 2],
}

#[repr(C)]
struct Pointers {
    record: *const Record,
    context: *mut c_void,
}

unsafe extern "system" fn handler(pointers: *mut c_void) -> i32 {
    // SAFETY: the dispatcher's structures.
    let (record, context) = unsafe {
        let pointers = &*pointers.cast::<Pointers>();
        (&*pointers.record, pointers.context)
    };
    if record.code == EXCEPTION_BREAKPOINT && coverage::met(record.address, context) {
        return CONTINUE_EXECUTION;
    }
    let [access, address] = record.information;
    if crate::retired::judge(record.code, record.address, address, context) {
        return CONTINUE_EXECUTION;
    }
    let fault = if record.code == EXCEPTION_ACCESS_VIOLATION {
        judge(address)
    } else {
        None
    };
    let Some((code, place)) = fault else {
        let handled = crate::fault::judge(record.code, record.address, record.information, context);
        return if handled { CONTINUE_EXECUTION } else { CONTINUE_SEARCH };
    };
    let mut stack: Stack = [0; _];
    system::walk(context, &mut stack);
    let parameters = [address, place.block, place.size, place.tag as usize];
    let subject: &[u8] = if access == 0 { b"read" } else { b"write" };
    stop::report_at(code, parameters, subject, &stack);
    let page = pointer(address & !(PAGE - 1));
    // SAFETY: a page of special pool; what the driver does there from now on goes unseen, but does no harm.
    let opened = unsafe { user::open_page(page) };
    if opened { CONTINUE_EXECUTION } else { CONTINUE_SEARCH }
}

/// From now on, faults in special pool are reported.
pub(crate) fn watch() -> bool {
    // SAFETY: the handler has the documented signature, and stays.
    !unsafe { user::AddVectoredExceptionHandler(1, handler) }.is_null()
}

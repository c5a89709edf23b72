//! IRQL, where the test kernel keeps one: the verifier's exports, or nothing at all.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use wdk_sys::{DISPATCH_LEVEL, KIRQL, UNICODE_STRING, ntddk::MmGetSystemRoutineAddress};

use crate::report::misuse;
use crate::sync::Mutex;

/// Completions and callbacks happen at `DISPATCH_LEVEL`, and callbacks say so in their flags.
pub(crate) static AT_DISPATCH: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy)]
struct Routines {
    current: unsafe extern "system" fn() -> KIRQL,
    raise: unsafe extern "system" fn(KIRQL) -> KIRQL,
    lower: unsafe extern "system" fn(KIRQL),
}

/// What was found, once looked for.
enum Search {
    NotYet,
    Done(Option<Routines>),
}

static ROUTINES: Mutex<Search> = Mutex::new(Search::NotYet);

/// An export of the kernel, or NULL.
pub(crate) fn routine(name: &[u16]) -> *mut c_void {
    let bytes = u16::try_from(size_of_val(name)).unwrap_or(0);
    let mut name = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: name.as_ptr().cast_mut(),
    };
    // SAFETY: the name is a counted string that outlives the call.
    unsafe { MmGetSystemRoutineAddress(&raw mut name).cast() }
}

/// An ASCII literal as UTF-16.
macro_rules! utf16 {
    ($text:literal) => {{
        const LENGTH: usize = $text.len();
        const fn widen(text: &[u8]) -> [u16; LENGTH] {
            let mut wide = [0; LENGTH];
            let mut at = 0;
            #[allow(clippy::indexing_slicing, reason = "evaluated when this compiles")]
            while at < LENGTH {
                wide[at] = text[at] as u16;
                at += 1;
            }
            wide
        }
        const WIDE: [u16; LENGTH] = widen($text);
        &WIDE
    }};
}
pub(crate) use utf16;

fn routines() -> Option<Routines> {
    let mut search = ROUTINES.lock();
    if let Search::Done(found) = *search {
        return found;
    }
    let found = find();
    *search = Search::Done(found);
    found
}

fn find() -> Option<Routines> {
    let current = routine(utf16!(b"KeGetCurrentIrql"));
    let raise = routine(utf16!(b"KfRaiseIrql"));
    let lower = routine(utf16!(b"KeLowerIrql"));
    if current.is_null() || raise.is_null() || lower.is_null() {
        return None;
    }
    // SAFETY: the names have these signatures.
    Some(unsafe {
        Routines {
            current: core::mem::transmute::<*mut c_void, unsafe extern "system" fn() -> KIRQL>(current),
            raise: core::mem::transmute::<*mut c_void, unsafe extern "system" fn(KIRQL) -> KIRQL>(raise),
            lower: core::mem::transmute::<*mut c_void, unsafe extern "system" fn(KIRQL)>(lower),
        }
    })
}

/// The calling thread's IRQL; 0 where none is kept.
pub(crate) fn current() -> KIRQL {
    // SAFETY: no preconditions.
    routines().map_or(0, |routines| unsafe { (routines.current)() })
}

/// Reports a call of a `PASSIVE_LEVEL` function from above.
pub(crate) fn require_passive(function: &str) {
    let level = current();
    if level != 0 {
        misuse!("{function} at IRQL {level}");
    }
}

/// Calls out at `DISPATCH_LEVEL` when so configured, at the present level otherwise.
pub(crate) fn call_out<R>(body: impl FnOnce() -> R) -> R {
    let routines = if AT_DISPATCH.load(Ordering::Relaxed) {
        routines()
    } else {
        None
    };
    let Some(routines) = routines else { return body() };
    let dispatch = KIRQL::try_from(DISPATCH_LEVEL).unwrap_or(2);
    // SAFETY: no preconditions.
    if unsafe { (routines.current)() } >= dispatch {
        return body();
    }
    // SAFETY: the level rises.
    let old = unsafe { (routines.raise)(dispatch) };
    let result = body();
    // SAFETY: back to where it came from.
    unsafe { (routines.lower)(old) };
    result
}

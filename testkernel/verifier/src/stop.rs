//! Stops: rules that were found broken. Each is printed with its call stack and kept for user mode to read. Any IRQL.

extern crate alloc;

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::verifier::{FRAMES, Frame, PageReply, Stop, StopCode};
use wdk_sys::ntddk::DbgPrint;
use zerocopy::FromZeros;

use crate::modules;
use crate::sync::Lock;
use crate::system;
use crate::thread;
use crate::user;

pub(crate) use probe_protocol::verifier::StopCode as Code;

/// Most stops kept.
const MOST: usize = 512;
/// Frames looked at, ours among them.
const DEEPEST: usize = 40;

static COUNT: AtomicU32 = AtomicU32::new(0);
static STOPS: Lock<Vec<Stop>> = Lock::new(Vec::new());

/// Return addresses, innermost first.
pub(crate) type Stack = [usize; FRAMES];

/// Return addresses of the calling thread outside of this driver; unused entries are zero.
pub(crate) fn call_stack() -> Stack {
    let mut all = [core::ptr::null_mut::<c_void>(); DEEPEST];
    let captured = system::capture_stack(&mut all);
    let mut stack = [0; FRAMES];
    let outside = all
        .iter()
        .take(captured)
        .map(|frame| frame.addr())
        .filter(|&address| !modules::is_own(address));
    stack
        .iter_mut()
        .zip(outside)
        .for_each(|(slot, address)| *slot = address);
    stack
}

/// The innermost return address outside of this driver.
pub(crate) fn caller() -> usize {
    let mut near = [core::ptr::null_mut::<c_void>(); 10];
    let captured = system::capture_stack(&mut near);
    near.iter()
        .take(captured)
        .map(|frame| frame.addr())
        .find(|&address| !modules::is_own(address))
        .unwrap_or_default()
}

/// An address as module and offset.
pub(crate) fn frame(address: usize) -> Frame {
    let (module, offset) = modules::locate(address);
    Frame {
        module,
        offset: offset as u64,
    }
}

/// Reports a broken rule, without a subject.
pub(crate) fn report(code: StopCode, parameters: [usize; 4]) {
    report_about(code, parameters, b"");
}

/// Reports a broken rule about a named function or object.
pub(crate) fn report_about(code: StopCode, parameters: [usize; 4], subject: &[u8]) {
    report_at(code, parameters, subject, &call_stack());
}

/// Reports what a driver's routine did, when it has returned: the routine stands in for its frame.
pub(crate) fn report_of(code: StopCode, parameters: [usize; 4], subject: &[u8], routine: usize) {
    let mut stack: Stack = [0; _];
    let frames = core::iter::once(routine).chain(call_stack());
    stack.iter_mut().zip(frames).for_each(|(slot, address)| *slot = address);
    report_at(code, parameters, subject, &stack);
}

/// Reports a broken rule that was broken by this call stack.
pub(crate) fn report_at(code: StopCode, parameters: [usize; 4], subject: &[u8], stack: &Stack) {
    let mut stop = Stop::new_zeroed();
    stop.sequence = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    stop.code = code as u32;
    stop.parameters = parameters.map(|value| value as u64);
    // SAFETY: no arguments.
    stop.thread = unsafe { user::GetCurrentThreadId() };
    stop.irql = thread::current().irql.get();
    stop.target = u8::from(stack.iter().any(|&address| modules::is_target(address)));
    stop.subject.iter_mut().zip(subject).for_each(|(to, from)| *to = *from);
    for (slot, &address) in stop
        .frames
        .iter_mut()
        .zip(stack.iter().take_while(|&&address| address != 0))
    {
        *slot = frame(address);
        stop.depth = stop.depth.wrapping_add(1);
    }
    print(&stop, code);
    let mut stops = STOPS.lock();
    if stops.len() < MOST {
        stops.push(stop);
    }
}

fn print(stop: &Stop, code: StopCode) {
    let mut name = [0u8; 40];
    let _ = core::fmt::Write::write_fmt(&mut Text::new(&mut name), format_args!("{code:?}"));
    let [a, b, c, d] = stop.parameters;
    // SAFETY: every argument fits its conversion; the texts end with NUL, since their last byte is never written.
    unsafe {
        DbgPrint(
            c"verifier: STOP %u: 0x%02x %s (%.48s) %llx %llx %llx %llx irql=%u tid=%u\n".as_ptr(),
            stop.sequence,
            stop.code,
            name.as_ptr(),
            stop.subject.as_ptr(),
            a,
            b,
            c,
            d,
            u32::from(stop.irql),
            stop.thread,
        );
    }
    for frame in stop.frames.iter().take(usize::from(stop.depth)) {
        // SAFETY: as above.
        unsafe {
            DbgPrint(
                c"verifier:     %.24s+0x%llx\n".as_ptr(),
                frame.module.as_ptr(),
                frame.offset,
            )
        };
    }
}

/// Stops so far.
pub(crate) fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// Empties the list.
pub(crate) fn clear() {
    STOPS.lock().clear();
}

/// Copies stops from the `first` on.
pub(crate) fn page(first: usize, room: &mut [Stop]) -> PageReply {
    let stops = STOPS.lock();
    let from = stops.get(first..).unwrap_or_default();
    room.iter_mut().zip(from).for_each(|(to, stop)| *to = *stop);
    #[allow(clippy::cast_possible_truncation, reason = "at most MOST")]
    PageReply {
        total: stops.len() as u32,
        count: from.len().min(room.len()) as u32,
        dropped: 0,
        reserved: 0,
    }
}

/// Formats into a fixed buffer, cutting what does not fit; the last byte stays NUL.
pub(crate) struct Text<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Text<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0 }
    }
}

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let last = self.room.len().saturating_sub(1);
        for &byte in text.as_bytes() {
            if let Some(slot) = self.room.get_mut(..last).and_then(|room| room.get_mut(self.used)) {
                *slot = byte;
                self.used = self.used.wrapping_add(1);
            }
        }
        Ok(())
    }
}

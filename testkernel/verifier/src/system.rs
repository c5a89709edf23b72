//! Functions of ntdll that the test kernel itself needs, found at run time, and the kernel's questions about the system: version, loaded
//! modules, addresses of routines. `PASSIVE_LEVEL` unless said otherwise.

use core::ffi::{CStr, c_void};
use core::mem::transmute_copy;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::user;

/// A function of ntdll, looked up at its first call.
pub(crate) struct Native {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Native {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicUsize::new(0),
        }
    }

    /// The function, as a pointer of type `F`.
    ///
    /// # Safety
    /// `F` is the type of a pointer to this function.
    pub(crate) unsafe fn get<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        let mut address = self.address.load(Ordering::Relaxed);
        if address == 0 {
            address = user::procedure(ntdll()?, self.name)?.as_ptr().expose_provenance();
            self.address.store(address, Ordering::Relaxed);
        }
        // SAFETY: as the caller promises; the address is not zero.
        Some(unsafe { transmute_copy(&address) })
    }
}

fn ntdll() -> Option<NonNull<u8>> {
    const NAME: [u16; 16] = user::wide("ntdll.dll");
    user::module(&NAME)
}

/// Fills `frames` with return addresses, innermost first; how many. Any IRQL.
pub(crate) fn capture_stack(frames: &mut [*mut c_void]) -> usize {
    type Capture = unsafe extern "system" fn(u32, u32, *mut *mut c_void, *mut u32) -> u16;
    static CAPTURE: Native = Native::new(c"RtlCaptureStackBackTrace");
    // SAFETY: that is its signature.
    let Some(capture) = (unsafe { CAPTURE.get::<Capture>() }) else {
        return 0;
    };
    #[allow(clippy::cast_possible_truncation, reason = "a few dozen")]
    let most = frames.len() as u32;
    // SAFETY: the array has that many entries; no hash is asked for.
    usize::from(unsafe { capture(0, most, frames.as_mut_ptr(), core::ptr::null_mut()) })
}

/// Raises an exception with this status, as `ExRaiseStatus` does.
pub(crate) fn raise_status(status: i32) -> ! {
    type Raise = unsafe extern "system" fn(i32);
    static RAISE: Native = Native::new(c"RtlRaiseStatus");
    // SAFETY: that is its signature.
    if let Some(raise) = unsafe { RAISE.get::<Raise>() } {
        // SAFETY: any status may be raised.
        unsafe { raise(status) };
    }
    // SAFETY: any code and parameters are allowed.
    unsafe { wdk_sys::ntddk::KeBugCheckEx(0x1e, u64::from(status.cast_unsigned()), 0, 0, 0) }
}

/// Size of an x64 `CONTEXT`, and where it holds the stack and instruction pointers.
const CONTEXT: usize = 1232;
const CONTEXT_RAX: usize = 0x78;
const CONTEXT_RSP: usize = 0x98;
const CONTEXT_RIP: usize = 0xf8;

/// The stack pointer of a context.
pub(crate) fn stack_of(context: *const c_void) -> usize {
    // SAFETY: the dispatcher's context.
    unsafe { context.cast::<u8>().add(CONTEXT_RSP).cast::<usize>().read_unaligned() }
}

/// Has a context execute one instruction and come back, or go on.
pub(crate) fn step(context: *mut c_void, one: bool) {
    const CONTEXT_EFLAGS: usize = 0x44;
    const TRAP: u32 = 0x100;
    let flags = context.wrapping_byte_add(CONTEXT_EFLAGS).cast::<u32>();
    // SAFETY: the dispatcher's context, whose flags are 32 bits at an address aligned for them.
    let flags = unsafe { &mut *flags };
    *flags = if one { *flags | TRAP } else { *flags & !TRAP };
}

#[repr(C, align(16))]
struct Context([u8; CONTEXT]);

impl Context {
    fn word(&mut self, at: usize) -> *mut usize {
        self.0.as_mut_ptr().wrapping_add(at).cast()
    }
}

/// Fills `frames` with the instruction pointer of a context and the return addresses above it. Any IRQL.
pub(crate) fn walk(context: *const c_void, frames: &mut [usize]) {
    type Lookup = unsafe extern "system" fn(usize, *mut usize, *mut c_void) -> *mut c_void;
    type Unwind = unsafe extern "system" fn(
        u32,
        usize,
        usize,
        *mut c_void,
        *mut c_void,
        *mut *mut c_void,
        *mut usize,
        *mut c_void,
    ) -> *mut c_void;
    static LOOKUP: Native = Native::new(c"RtlLookupFunctionEntry");
    static UNWIND: Native = Native::new(c"RtlVirtualUnwind");
    // SAFETY: these are the functions' signatures; a whole context is copied, and the copy unwound.
    unsafe {
        let (Some(lookup), Some(unwind)) = (LOOKUP.get::<Lookup>(), UNWIND.get::<Unwind>()) else {
            return;
        };
        let mut copy = context.cast::<Context>().read();
        for frame in frames {
            let address = copy.word(CONTEXT_RIP).read();
            if address == 0 {
                return;
            }
            *frame = address;
            let mut base = 0;
            let function = lookup(address, &raw mut base, core::ptr::null_mut());
            if function.is_null() {
                let stack: *const usize = core::ptr::with_exposed_provenance(copy.word(CONTEXT_RSP).read());
                copy.word(CONTEXT_RIP).write(stack.read());
                copy.word(CONTEXT_RSP).write(stack.addr().wrapping_add(8));
                continue;
            }
            let (mut data, mut establisher) = (core::ptr::null_mut(), 0);
            unwind(
                0,
                base,
                address,
                function,
                (&raw mut copy).cast(),
                &raw mut data,
                &raw mut establisher,
                core::ptr::null_mut(),
            );
        }
    }
}

/// Makes an exception's context go on at this instruction.
pub(crate) fn set_instruction(context: *mut c_void, instruction: usize) {
    // SAFETY: the dispatcher's context, which it resumes from.
    let context = unsafe { &mut *context.cast::<Context>() };
    // SAFETY: a word of the context.
    unsafe { context.word(CONTEXT_RIP).write(instruction) };
}

/// Makes an exception's context go on elsewhere, with a value in the result register.
pub(crate) fn redirect(context: *mut c_void, stack: usize, instruction: usize, result: usize) {
    // SAFETY: the dispatcher's context, which it resumes from.
    let context = unsafe { &mut *context.cast::<Context>() };
    for (at, value) in [(CONTEXT_RSP, stack), (CONTEXT_RIP, instruction), (CONTEXT_RAX, result)] {
        // SAFETY: words of the context.
        unsafe { context.word(at).write(value) };
    }
}

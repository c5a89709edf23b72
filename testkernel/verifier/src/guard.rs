//! The way back from a fault: where the kernel calls a driver, it notes where it stood, so that a driver's access violation or bug check ends
//! that call and not the session. What the driver's code held stays held. Any IRQL.

use core::cell::Cell;
use core::ffi::c_void;

use crate::thread;

/// Where a guarded call stands: its stack pointer, and the code that goes on from there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    stack: usize,
    resume: usize,
}

/// The marks of the calls that a thread is in; the innermost is the one to go back to.
pub(crate) struct Marks(Cell<*const Mark>);

impl Marks {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(core::ptr::null()))
    }
}

type Body = unsafe extern "C" fn(*mut c_void);

/// Calls `body(data)`; 0 when it returns, 1 when it was ended by [`escape`]. Writes the mark before the call.
#[unsafe(naked)]
unsafe extern "C" fn guarded(body: Body, data: *mut c_void, mark: *mut Mark) -> u64 {
    core::arch::naked_asm!(
        ".seh_proc {this}",
        "push rbx",
        ".seh_pushreg rbx",
        "push rbp",
        ".seh_pushreg rbp",
        "push rdi",
        ".seh_pushreg rdi",
        "push rsi",
        ".seh_pushreg rsi",
        "push r12",
        ".seh_pushreg r12",
        "push r13",
        ".seh_pushreg r13",
        "push r14",
        ".seh_pushreg r14",
        "push r15",
        ".seh_pushreg r15",
        "sub rsp, 0xc8",
        ".seh_stackalloc 0xc8",
        ".seh_endprologue",
        "movaps [rsp + 0x20], xmm6",
        "movaps [rsp + 0x30], xmm7",
        "movaps [rsp + 0x40], xmm8",
        "movaps [rsp + 0x50], xmm9",
        "movaps [rsp + 0x60], xmm10",
        "movaps [rsp + 0x70], xmm11",
        "movaps [rsp + 0x80], xmm12",
        "movaps [rsp + 0x90], xmm13",
        "movaps [rsp + 0xa0], xmm14",
        "movaps [rsp + 0xb0], xmm15",
        "mov [r8], rsp",
        "lea rax, [rip + 2f]",
        "mov [r8 + 8], rax",
        "mov rax, rcx",
        "mov rcx, rdx",
        "call rax",
        "xor eax, eax",
        "2:",
        "movaps xmm6, [rsp + 0x20]",
        "movaps xmm7, [rsp + 0x30]",
        "movaps xmm8, [rsp + 0x40]",
        "movaps xmm9, [rsp + 0x50]",
        "movaps xmm10, [rsp + 0x60]",
        "movaps xmm11, [rsp + 0x70]",
        "movaps xmm12, [rsp + 0x80]",
        "movaps xmm13, [rsp + 0x90]",
        "movaps xmm14, [rsp + 0xa0]",
        "movaps xmm15, [rsp + 0xb0]",
        "add rsp, 0xc8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rsi",
        "pop rdi",
        "pop rbp",
        "pop rbx",
        "ret",
        ".seh_endproc",
        this = sym guarded,
    );
}

/// Goes back to a mark: the guarded call there returns 1.
#[unsafe(naked)]
unsafe extern "C" fn go_back(mark: *const Mark) -> ! {
    core::arch::naked_asm!("mov rsp, [rcx]", "mov rdx, [rcx + 8]", "mov eax, 1", "jmp rdx");
}

struct Call<F, R> {
    body: Option<F>,
    result: Option<R>,
}

unsafe extern "C" fn call<F: FnOnce() -> R, R>(data: *mut c_void) {
    // SAFETY: `run` passes its own structure.
    let call = unsafe { &mut *data.cast::<Call<F, R>>() };
    if let Some(body) = call.body.take() {
        call.result = Some(body());
    }
}

/// Runs `body`; `None` if a fault ended it.
pub(crate) fn run<F: FnOnce() -> R, R>(body: F) -> Option<R> {
    let marks = &thread::current().marks;
    let mut mark = Mark { stack: 0, resume: 0 };
    let mut data = Call {
        body: Some(body),
        result: None,
    };
    let outer = marks.0.replace(&raw const mark);
    // SAFETY: the mark and the structure live until the call has returned, one way or the other.
    unsafe { guarded(call::<F, R>, (&raw mut data).cast(), &raw mut mark) };
    marks.0.set(outer);
    data.result
}

/// Ends the innermost guarded call of this thread. Returns only if there is none.
pub(crate) fn escape() {
    let mark = thread::current().marks.0.get();
    if !mark.is_null() {
        // SAFETY: the innermost call has not returned, so its frame is there. The frames between are a driver's, which nobody will miss.
        unsafe { go_back(mark) };
    }
}

/// Where to go on, as stack and instruction pointers, for a fault's context; 1 goes into the result register.
pub(crate) fn resume() -> Option<(usize, usize)> {
    let mark = thread::current().marks.0.get();
    // SAFETY: as in `escape`.
    unsafe { mark.as_ref() }.map(|mark| (mark.stack, mark.resume))
}

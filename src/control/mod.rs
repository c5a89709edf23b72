//! WskControlSocket: the audit point. Captures the input once, lets the core decide, and does what it says. IRQL <= `DISPATCH_LEVEL`.

mod judge;
mod observed;
mod onget;

use core::ffi::c_void;
use core::mem::MaybeUninit;

use wdk_sys::{NTSTATUS, STATUS_FILE_FORCED_CLOSED, STATUS_NOT_SUPPORTED};
use wsk_sys::{
    PIRP, PWSK_SOCKET, SIO_WSK_SET_RECEIVE_EX_CALLBACK, SIZE_T, ULONG, WSK_CONTROL_SOCKET_TYPE, WskGetOption, WskIoctl,
    WskSetOption,
};
use wskguard_core::{
    Mode, RequestKind,
    counters::Counter,
    decide::{self, InForce},
    generation::Reading,
    policy::RuleRef,
    semantics::{self, Addresses, Answer, OptionState, Pointer, Request as OptionRequest},
};

use self::judge::Sent;
pub use self::observed::Observed;
use crate::endpoint::Endpoint;
use crate::guard::{guard, processor};
use crate::policy::Generation;
use crate::request::complete_here;
use crate::{audit, callback, upper};

/// Most bytes of input that are captured.
const INLINE: usize = 64;

/// A control request as the client made it.
#[derive(Clone, Copy)]
struct Arguments {
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: ULONG,
    level: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
}

/// The one copy of the input that is decided on and, where the completion is observed, given to the provider.
///
/// # Invariants
/// `length` is [`INLINE`] at most, and the first `length` bytes are written.
#[repr(C, align(16))]
struct Captured {
    bytes: MaybeUninit<[u8; INLINE]>,
    length: usize,
}

impl Captured {
    #[inline]
    fn new() -> Self {
        Self {
            bytes: MaybeUninit::uninit(),
            length: 0,
        }
    }

    /// Copies what is claimed, if that is not more than fits; otherwise what deciding needs.
    #[inline]
    unsafe fn capture(&mut self, arguments: &Arguments, kind: RequestKind) {
        if arguments.input.is_null() || kind == RequestKind::Get {
            return;
        }
        let claimed = arguments.input_size;
        let length = if claimed <= INLINE {
            claimed
        } else {
            semantics::capture_len(kind, arguments.level, arguments.code, claimed).min(INLINE)
        };
        // SAFETY: the client claims at least that many bytes, in nonpaged memory; `length` is no more than fits.
        unsafe { self.fill(arguments.input.cast(), length) };
    }

    /// # Safety
    /// `from` has `length` bytes, [`INLINE`] at most.
    #[inline]
    unsafe fn fill(&mut self, from: *const u8, length: usize) {
        let to = self.bytes.as_mut_ptr();
        if length == size_of::<u32>() {
            // What nearly all options are: one load and one store instead of a call.
            // SAFETY: as the caller promises.
            let four = unsafe { from.cast::<[u8; 4]>().read_unaligned() };
            // SAFETY: there is room for more.
            unsafe { to.cast::<[u8; 4]>().write_unaligned(four) };
        } else {
            // SAFETY: as the caller promises; the copy has room for them.
            unsafe { core::ptr::copy_nonoverlapping(from, to.cast(), length) };
        }
        self.length = length;
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        // SAFETY: by the invariant.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }

    /// Another one of the same bytes.
    #[inline]
    fn copied(&self) -> Self {
        let mut copy = Self::new();
        // SAFETY: by the invariant.
        unsafe { copy.fill(self.bytes.as_ptr().cast(), self.length) };
        copy
    }

    /// Takes other bytes instead, where there are any: a rule's value, or the address of a function.
    #[inline]
    fn substitute(&mut self, value: Option<semantics::Inline>, function: Option<u64>) -> bool {
        let value = value.map(|value| (value.bytes, value.len));
        let Some((bytes, length)) = function.map(|address| (address.to_le_bytes(), 8)).or(value) else {
            return false;
        };
        // SAFETY: eight bytes, of which an option's value has no more.
        unsafe { self.fill(bytes.as_ptr(), length.min(bytes.len())) };
        true
    }
}

/// The mode in force for an endpoint with these options.
pub fn mode_of(state: &OptionState) -> Mode {
    let reading = guard().policy.look();
    decide::mode(reading.as_ref().map(|generation| &generation.image), state)
}

/// The decision is made, by this rule: counts its hit. Returns the generation's number; 0 stands for the built-in policy.
#[inline]
pub fn end(reading: Option<Reading<'_, Generation>>, rule: Option<RuleRef>, cpu: usize) -> u64 {
    let Some(reading) = reading else { return 0 };
    let number = reading.number;
    reading.end(|generation| generation.hits.exit(cpu, rule?));
    number
}

pub unsafe extern "system" fn control_socket(
    socket: PWSK_SOCKET,
    kind: WSK_CONTROL_SOCKET_TYPE,
    code: ULONG,
    level: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: the client passes a socket of ours that is open.
    let endpoint = unsafe { Endpoint::from_socket(socket) };
    let arguments = Arguments {
        kind,
        code,
        level,
        input_size,
        input,
        output_size,
        output,
        returned,
    };
    let request = match kind {
        WskSetOption => RequestKind::Set,
        WskGetOption => RequestKind::Get,
        WskIoctl => RequestKind::Ioctl,
        // No request that we know: the provider is to say so.
        // SAFETY: the client's own arguments.
        _ => return unsafe { pass_on(endpoint, &arguments, irp) },
    };
    // Asked once; that the request may go on elsewhere is no harm.
    let cpu = processor();
    let reading = guard().policy.begin(cpu, request);
    if request != RequestKind::Ioctl {
        let asked = option_request(&arguments, request, &[], !irp.is_null());
        let policy = reading.as_deref().map_or_else(InForce::default, Generation::in_force);
        if let Some(rule) = decide::passes(policy, endpoint, &asked) {
            end(reading, rule, cpu);
            endpoint.decided(false);
            guard().count_on(cpu, Counter::ForwardedUntouched);
            // SAFETY: the client's own arguments.
            return unsafe { pass_on(endpoint, &arguments, irp) };
        }
    }
    let sent = Sent {
        endpoint,
        arguments: &arguments,
        kind: request,
        irp,
        cpu,
    };
    // SAFETY: the client's own arguments and IRP.
    unsafe { sent.judge(reading) }
}

#[inline]
fn option_request<'a>(
    arguments: &Arguments,
    kind: RequestKind,
    captured: &'a [u8],
    has_irp: bool,
) -> OptionRequest<'a> {
    let pointer = |address: *mut c_void| {
        if address.is_null() {
            Pointer::Null
        } else {
            Pointer::Valid
        }
    };
    OptionRequest {
        kind,
        level: arguments.level,
        code: arguments.code,
        input_pointer: pointer(arguments.input),
        input_len: arguments.input_size,
        input: captured,
        output_pointer: pointer(arguments.output),
        output_len: arguments.output_size,
        has_irp,
        wants_size: !arguments.returned.is_null(),
        at_dispatch: semantics::asks_irql(kind, arguments.code) && audit::at_dispatch(),
        now: if semantics::asks_time(kind, arguments.level, arguments.code) {
            crate::guard::seconds()
        } else {
            0
        },
    }
}

/// For `SIO_WSK_SET_RECEIVE_EX_CALLBACK`: the function that goes down in place of the client's, and what was installed before.
unsafe fn receive_ex_callback(endpoint: &Endpoint, arguments: &Arguments, kind: RequestKind) -> Option<(u64, usize)> {
    let pointer = size_of::<*mut c_void>();
    let code = arguments.code == SIO_WSK_SET_RECEIVE_EX_CALLBACK;
    if kind != RequestKind::Ioctl || !code || arguments.input.is_null() || arguments.input_size < pointer {
        return None;
    }
    // SAFETY: the client claims at least a pointer's size.
    let function = unsafe { arguments.input.cast::<*mut c_void>().read_unaligned() };
    let before = endpoint.receive_ex().map_or(0, |function| function as usize);
    if function.is_null() {
        return Some((0, before));
    }
    endpoint.set_receive_ex(function);
    Some((callback::receive_ex_event as *const () as u64, before))
}

/// Gives a request to the provider as it came.
unsafe fn pass_on(endpoint: &Endpoint, arguments: &Arguments, irp: PIRP) -> NTSTATUS {
    // SAFETY: the client's own arguments.
    unsafe { call(endpoint, arguments, arguments.input, arguments.input_size, irp) }
}

unsafe fn call(
    endpoint: &Endpoint,
    arguments: &Arguments,
    input: *mut c_void,
    input_size: usize,
    irp: PIRP,
) -> NTSTATUS {
    let Some(lower) = endpoint.lower() else {
        // SAFETY: the IRP, or NULL, which went nowhere.
        return unsafe { complete_here(irp, STATUS_FILE_FORCED_CLOSED, 0) };
    };
    // SAFETY: the provider's socket lives while ours is open.
    let Some(function) = (unsafe { upper::lower_control(lower) }) else {
        // SAFETY: the IRP, or NULL, which went nowhere.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    let Arguments {
        kind,
        code,
        level,
        output_size,
        output,
        returned,
        ..
    } = *arguments;
    // SAFETY: the client's arguments; the input is the client's or the copy that lasts as long as the request.
    unsafe {
        function(
            lower,
            kind,
            code,
            level,
            input_size,
            input,
            output_size,
            output,
            returned,
            irp,
        )
    }
}

unsafe fn write_answer(endpoint: &Endpoint, arguments: &Arguments, answer: &Answer) -> usize {
    if arguments.output.is_null() || answer.written == 0 {
        return 0;
    }
    let room = answer.written.min(arguments.output_size);
    // SAFETY: the client's output buffer has at least the bytes that an answer writes.
    let out = unsafe { core::slice::from_raw_parts_mut(arguments.output.cast::<u8>(), room) };
    let written = answer.write(&endpoint.facts, &Addresses::default(), out, arguments.output.addr());
    // SAFETY: the client's out parameter, or NULL.
    if let Some(returned) = unsafe { arguments.returned.as_mut() } {
        *returned = written;
    }
    written
}

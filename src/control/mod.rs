//! WskControlSocket: the audit point. Captures the input once, lets the core decide, and does what it says. IRQL <= `DISPATCH_LEVEL`.

mod decided;
mod observed;

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_FILE_FORCED_CLOSED, STATUS_NOT_SUPPORTED};
use wsk_sys::{
    PIRP, PWSK_SOCKET, SIO_WSK_SET_RECEIVE_EX_CALLBACK, SIZE_T, ULONG, WSK_CONTROL_SOCKET_TYPE, WskGetOption, WskIoctl,
    WskSetOption,
};
use wskguard_core::{
    Mode, RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, Subject},
    policy::{ProcessKey, RuleRef},
    semantics::{self, Addresses, Answer, OptionState, Pointer, Request as OptionRequest, Undo},
};

use self::decided::{Decided, Decision};
pub use self::observed::Observed;
use self::observed::Substitute;
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
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Captured {
    bytes: [u8; INLINE],
    length: usize,
}

impl Captured {
    /// Copies what is claimed, if that is not more than fits; otherwise what deciding needs.
    unsafe fn of(arguments: &Arguments, kind: RequestKind) -> Self {
        let mut captured = Self {
            bytes: [0; INLINE],
            length: 0,
        };
        if arguments.input.is_null() || kind == RequestKind::Get {
            return captured;
        }
        let claimed = arguments.input_size;
        // What nearly all options are: one load and one store instead of a call.
        if claimed == size_of::<u32>() {
            // SAFETY: the client claims four bytes, in nonpaged memory.
            let four = unsafe { arguments.input.cast::<[u8; 4]>().read_unaligned() };
            if let Some(first) = captured.bytes.first_chunk_mut() {
                *first = four;
            }
            captured.length = claimed;
            return captured;
        }
        let wanted = if claimed <= INLINE {
            claimed
        } else {
            semantics::capture_len(kind, arguments.level, arguments.code, claimed)
        };
        captured.length = wanted.min(INLINE);
        // SAFETY: the client claims at least that many bytes, in nonpaged memory; the copy has room for them.
        unsafe { core::ptr::copy_nonoverlapping(arguments.input.cast(), captured.bytes.as_mut_ptr(), captured.length) };
        captured
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    /// Takes other bytes instead.
    fn replace(&mut self, by: &[u8]) {
        self.length = 0;
        for (to, from) in self.bytes.iter_mut().zip(by) {
            *to = *from;
            self.length = self.length.saturating_add(1);
        }
    }
}

/// The mode in force for an endpoint with these options.
pub fn mode_of(state: &OptionState) -> Mode {
    let reading = guard().policy.enter();
    decide::mode(reading.as_ref().map(|generation| &generation.image), state)
}

/// What the core is told about who asks.
pub fn subject<'a>(endpoint: &'a Endpoint, state: &'a OptionState) -> Subject<'a> {
    let process = endpoint.process();
    Subject {
        facts: &endpoint.facts,
        state,
        phase: endpoint.phase(),
        client: endpoint.client().key(),
        process: (process != 0).then(|| ProcessKey::new(process, &[])),
    }
}

/// Counts a hit of the rule that decided. Returns the generation's number.
pub fn count_hit(generation: &Generation, rule: Option<RuleRef>, cpu: usize) -> u64 {
    let rule = rule
        .filter(|rule| *rule != RuleRef::DEFAULT)
        .and_then(|rule| usize::try_from(rule.0).ok());
    generation.hits.hit(cpu, rule);
    generation.number
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
    let (request, counter) = match kind {
        WskSetOption => (RequestKind::Set, Counter::Sets),
        WskGetOption => (RequestKind::Get, Counter::Gets),
        WskIoctl => (RequestKind::Ioctl, Counter::Ioctls),
        // No request that we know: the provider is to say so.
        // SAFETY: the client's own arguments.
        _ => return unsafe { forward(endpoint, &arguments, irp) },
    };
    // Asked once; that the request may go on elsewhere is no harm.
    let cpu = processor();
    guard().count_on(cpu, counter);
    // SAFETY: the client's input, as it claims it.
    let captured = unsafe { Captured::of(&arguments, request) };
    let asked = option_request(&arguments, request, &captured, !irp.is_null());
    let decided = Decided::on(endpoint, &asked, cpu);
    decided.count(endpoint, cpu);
    // SAFETY: the client's own arguments, and the decision on them.
    unsafe { carry_out(endpoint, &arguments, captured, request, decided, irp, cpu) }
}

fn option_request<'a>(
    arguments: &Arguments,
    kind: RequestKind,
    captured: &'a Captured,
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
        input: captured.as_slice(),
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

unsafe fn carry_out(
    endpoint: &Endpoint,
    arguments: &Arguments,
    captured: Captured,
    kind: RequestKind,
    decided: Decided,
    irp: PIRP,
    cpu: usize,
) -> NTSTATUS {
    match decided.decision {
        Decision::Refuse(refusal) => {
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            unsafe { tell(endpoint, decided.record, irp, refusal.status.0.cast_signed(), 0) }
        }
        // SAFETY: as above.
        Decision::Succeed => unsafe { tell(endpoint, decided.record, irp, 0, 0) },
        Decision::Answer(answer) => match endpoint.options.commit(answer.commit) {
            Ok(_) => {
                // SAFETY: the client's output buffer.
                let written = unsafe { write_answer(endpoint, arguments, &answer) };
                // SAFETY: as above.
                unsafe { tell(endpoint, decided.record, irp, 0, written) }
            }
            // SAFETY: as above.
            Err(refusal) => unsafe { tell(endpoint, decided.record, irp, refusal.status.0.cast_signed(), 0) },
        },
        Decision::Forward {
            commit,
            input,
            observe,
            on_get,
        } => {
            // SAFETY: the client's function, in place of which ours goes down.
            let callback = unsafe { receive_ex_callback(endpoint, arguments, kind) };
            if !observe && input.is_none() && callback.is_none() {
                guard().count_on(cpu, Counter::ForwardedUntouched);
                // SAFETY: the client's own arguments.
                return unsafe { forward(endpoint, arguments, irp) };
            }
            guard().count_on(cpu, Counter::Forwarded);
            let observed = Observed {
                endpoint: endpoint.reference(),
                arguments: *arguments,
                captured,
                kind,
                mode: decided.mode,
                commit,
                undo: Undo::None,
                on_get,
                callback: callback.map(|(_, restore)| restore),
                has_irp: !irp.is_null(),
                cpu,
                record: decided.record,
            };
            let input = input.map(|input| Substitute {
                bytes: input.bytes,
                length: input.len,
            });
            let input = callback.map_or(input, |(ours, _)| {
                Some(Substitute {
                    bytes: ours.to_le_bytes(),
                    length: 8,
                })
            });
            // SAFETY: the client's own arguments and IRP.
            unsafe { observed.send(input, irp) }
        }
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

/// Completes a request that did not go down.
unsafe fn tell(
    endpoint: &Endpoint,
    record: Option<AuditRecord>,
    irp: PIRP,
    status: NTSTATUS,
    information: usize,
) -> NTSTATUS {
    if let Some(record) = record {
        audit::write(endpoint, record, status);
    }
    // SAFETY: as the caller promises.
    unsafe { complete_here(irp, status, information) }
}

/// Gives a request to the provider as it came.
unsafe fn forward(endpoint: &Endpoint, arguments: &Arguments, irp: PIRP) -> NTSTATUS {
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

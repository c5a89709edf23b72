//! WskControlSocket: the audit point. Captures the input once, lets the core decide, and does what it says. IRQL <= `DISPATCH_LEVEL`.

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED};
use wsk_sys::{
    PIRP, PWSK_SOCKET, SIO_WSK_SET_RECEIVE_EX_CALLBACK, SIZE_T, ULONG, WSK_CONTROL_SOCKET_TYPE, WskGetOption, WskIoctl,
    WskSetOption,
};
use wskguard_core::{
    Mode, NtStatus, RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, Done, Outcome, Subject, Verdict},
    policy::{Action, ProcessKey, RuleRef},
    semantics::{self, Addresses, Answer, Change, OptionState, Pointer, Request as OptionRequest, Undo},
    status::Refusal,
};

use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::{guard, processor};
use crate::policy::{Generation, GenerationRef};
use crate::request::{Finish, Request, Told, complete_here};
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
pub fn count_hit(generation: &Generation, rule: Option<RuleRef>) -> u64 {
    let rule = rule
        .filter(|rule| *rule != RuleRef::DEFAULT)
        .and_then(|rule| usize::try_from(rule.0).ok());
    generation.hits.hit(processor(), rule);
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
    guard().count(counter);
    // SAFETY: the client's input, as it claims it.
    let captured = unsafe { Captured::of(&arguments, request) };
    let asked = option_request(&arguments, request, &captured, !irp.is_null());
    let decided = Decided::on(endpoint, &asked);
    decided.count(endpoint);
    // SAFETY: the client's own arguments, and the decision on them.
    unsafe { carry_out(endpoint, &arguments, captured, request, decided, irp) }
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
        at_dispatch: audit::at_dispatch(),
        now: crate::guard::seconds(),
    }
}

/// What to do with the number that a get returns.
enum OnGet {
    Clamp {
        min: u32,
        max: u32,
    },
    Force(u32),
    /// By the map of this rule of this generation, in force or not any more.
    Rewrite {
        generation: GenerationRef,
        rule: RuleRef,
    },
}

impl OnGet {
    fn of(action: Action<'_>, generation: &Generation, rule: Option<RuleRef>) -> Option<Self> {
        match action {
            Action::Clamp { min, max } => Some(Self::Clamp { min, max }),
            Action::Force(value) => Some(Self::Force(value)),
            Action::Rewrite(_) => rule.map(|rule| Self::Rewrite {
                generation: generation.keep(),
                rule,
            }),
            _ => None,
        }
    }

    /// The number that the client is given.
    fn apply(&self, value: u64) -> u64 {
        let applied = match self {
            Self::Clamp { min, max } => Action::Clamp { min: *min, max: *max }.apply(Some(value)),
            Self::Force(forced) => Action::Force(*forced).apply(Some(value)),
            Self::Rewrite { generation, rule } => usize::try_from(rule.0)
                .ok()
                .and_then(|index| generation.image.rule(index)?.action().apply(Some(value))),
        };
        applied.unwrap_or(value)
    }
}

/// What was decided, independent of the policy it was decided on.
enum Decision {
    Refuse(Refusal),
    Succeed,
    Answer(Answer),
    Forward {
        commit: Change,
        input: Option<semantics::Inline>,
        observe: bool,
        on_get: Option<OnGet>,
    },
}

struct Decided {
    decision: Decision,
    done: Done,
    breach: bool,
    enforced: bool,
    mode: Mode,
    record: Option<AuditRecord>,
}

impl Decided {
    /// Asks the core, on the generation now in force.
    fn on(endpoint: &Endpoint, request: &OptionRequest<'_>) -> Self {
        let state = endpoint.options.load();
        let reading = guard().policy.enter();
        let image = reading.as_ref().map(|generation| &generation.image);
        let verdict: Verdict<'_> = decide::control(image, &subject(endpoint, &state), request);
        let generation = reading
            .as_ref()
            .map_or(0, |generation| count_hit(generation, verdict.rule));
        let record = verdict
            .record
            .then(|| audit::control(endpoint, &verdict, generation, request));
        if record.is_none() {
            audit::not_wanted();
        }
        let decision = match verdict.outcome {
            Outcome::Refuse(refusal) => Decision::Refuse(refusal),
            Outcome::Succeed => Decision::Succeed,
            Outcome::Answer(answer) => Decision::Answer(answer),
            Outcome::Forward {
                commit,
                input,
                observe,
                on_get,
            } => Decision::Forward {
                commit,
                input,
                observe: observe || record.is_some(),
                on_get: on_get
                    .zip(reading.as_deref())
                    .and_then(|(action, generation)| OnGet::of(action, generation, verdict.rule)),
            },
        };
        Self {
            decision,
            done: verdict.done,
            breach: verdict.refusal.is_some(),
            enforced: verdict.enforced,
            mode: verdict.mode,
            record,
        }
    }

    fn count(&self, endpoint: &Endpoint) {
        let guard = guard();
        endpoint.decided(matches!(self.decision, Decision::Refuse(_)));
        let counter = match self.done {
            Done::Denied => Counter::RefusedByPolicy,
            Done::Refused => Counter::RefusedBySemantics,
            Done::Clamped => Counter::Clamped,
            Done::Forced => Counter::Forced,
            Done::Rewritten => Counter::Rewritten,
            Done::Answered | Done::Succeeded => Counter::Answered,
            Done::Forwarded | Done::MadeExclusive | Done::Initial => {
                if !self.breach {
                    return;
                }
                if self.enforced {
                    Counter::ContractBreaches
                } else {
                    Counter::WouldRefuse
                }
            }
        };
        guard.count(counter);
    }
}

unsafe fn carry_out(
    endpoint: &Endpoint,
    arguments: &Arguments,
    captured: Captured,
    kind: RequestKind,
    decided: Decided,
    irp: PIRP,
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
                guard().count(Counter::ForwardedUntouched);
                // SAFETY: the client's own arguments.
                return unsafe { forward(endpoint, arguments, irp) };
            }
            guard().count(Counter::Forwarded);
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

/// Bytes that the provider is given instead of the client's.
struct Substitute {
    bytes: [u8; 8],
    length: usize,
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
    let lower = endpoint.lower();
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

/// A request whose completion matters.
struct Observed {
    endpoint: EndpointRef,
    arguments: Arguments,
    captured: Captured,
    kind: RequestKind,
    mode: Mode,
    commit: Change,
    undo: Undo,
    on_get: Option<OnGet>,
    /// The client's receive-ex callback before this request.
    callback: Option<usize>,
    has_irp: bool,
    record: Option<AuditRecord>,
}

impl Observed {
    unsafe fn send(mut self, input: Option<Substitute>, irp: PIRP) -> NTSTATUS {
        if self.commit.commits_before() {
            match self.endpoint.options.commit(self.commit) {
                Ok(undo) => self.undo = undo,
                Err(refusal) => {
                    // Another request was faster: it is this one that breaks the coupling.
                    let status = refusal.status.0.cast_signed();
                    // SAFETY: the client's IRP, or NULL, which went nowhere.
                    return unsafe { tell(&self.endpoint, self.record, irp, status, 0) };
                }
            }
        }
        let copied =
            input.is_some() || (self.kind != RequestKind::Get && self.arguments.input_size == self.captured.length);
        if let Some(input) = input {
            self.captured
                .replace(input.bytes.get(..input.length).unwrap_or(&input.bytes));
        }
        if irp.is_null() {
            // SAFETY: the client's own arguments.
            return unsafe { self.inline(copied) };
        }
        let Some(request) = Request::<Self>::allocate() else {
            self.endpoint.options.undo(self.undo);
            guard().count(Counter::AllocationFailures);
            // SAFETY: as above.
            return unsafe { tell(&self.endpoint, self.record, irp, STATUS_INSUFFICIENT_RESOURCES, 0) };
        };
        let (endpoint, arguments, length) = (self.endpoint.clone(), self.arguments, self.captured.length);
        let call = |own, kept: *mut Self| {
            // SAFETY: the block keeps the copy until the provider completes our IRP.
            let copy = unsafe { &raw mut (*kept).captured.bytes }.cast();
            let (input, size) = if copied && length > 0 {
                (copy, length)
            } else {
                (arguments.input, arguments.input_size)
            };
            // SAFETY: the client's arguments, with the copy of the input and our IRP.
            unsafe { call(&endpoint, &arguments, input, size, own) }
        };
        // SAFETY: the client's IRP; the call above passes ours to one function.
        unsafe { request.send_with(irp, self, call) }
    }

    /// A request without an IRP is complete when the call returns: the copy can stay on the stack.
    unsafe fn inline(mut self, copied: bool) -> NTSTATUS {
        let (endpoint, arguments, length) = (self.endpoint.clone(), self.arguments, self.captured.length);
        let (input, size) = if copied && length > 0 {
            (self.captured.bytes.as_mut_ptr().cast(), length)
        } else {
            (arguments.input, arguments.input_size)
        };
        // SAFETY: the client's arguments, with the copy of the input.
        let status = unsafe { call(&endpoint, &arguments, input, size, core::ptr::null_mut()) };
        // SAFETY: the client's out parameter, or NULL.
        let information = unsafe { arguments.returned.as_ref() }.copied().unwrap_or(0);
        let (status, information) = self.conclude(status, information);
        // SAFETY: as above.
        if let Some(returned) = unsafe { arguments.returned.as_mut() } {
            *returned = information;
        }
        status
    }

    fn succeeded(&mut self, information: usize) {
        if !self.commit.commits_before() {
            // Reports what the provider did: nothing to refuse any more.
            let _ = self.endpoint.options.commit(Change::fact(self.commit.op));
        }
        if self.callback.is_some() && self.captured.as_slice().iter().all(|&byte| byte == 0) {
            self.endpoint.set_receive_ex(core::ptr::null_mut());
        }
        if let Some(on_get) = self.on_get.take() {
            self.replace_output(&on_get, information);
        }
    }

    /// Applies a rule to the number that the provider returned.
    fn replace_output(&mut self, on_get: &OnGet, information: usize) {
        let length = information.min(self.arguments.output_size);
        if self.arguments.output.is_null() || length == 0 || length > 4 {
            return;
        }
        let mut number = [0_u8; 8];
        // SAFETY: the client's output buffer, of which the provider has written that much.
        let out = unsafe { core::slice::from_raw_parts_mut(self.arguments.output.cast::<u8>(), length) };
        for (to, from) in number.iter_mut().zip(out.iter()) {
            *to = *from;
        }
        let number = on_get.apply(u64::from_le_bytes(number));
        for (to, from) in out.iter_mut().zip(number.to_le_bytes()) {
            *to = from;
        }
        if let Some(record) = &mut self.record {
            record.new_value = number;
            record.flags |= wskguard_core::audit::FLAG_HAS_NEW;
        }
    }

    /// The provider refused: takes back what was committed, and answers in its place where the contract lets the record do so.
    fn failed(&mut self, status: NTSTATUS) -> (NTSTATUS, usize) {
        self.endpoint.options.undo(self.undo);
        if let Some(before) = self.callback {
            self.endpoint
                .set_receive_ex(core::ptr::with_exposed_provenance_mut(before));
        }
        guard().count(Counter::LowerFailures);
        let endpoint = &self.endpoint;
        let request = option_request(&self.arguments, self.kind, &self.captured, self.has_irp);
        let state = endpoint.options.load();
        let provider = NtStatus(status.cast_unsigned());
        let answer = semantics::after_failure(&endpoint.facts, &state, endpoint.phase(), self.mode, &request, provider);
        let Some(answer) = answer.filter(|answer| endpoint.options.commit(answer.commit).is_ok()) else {
            return (status, 0);
        };
        guard().count(Counter::Answered);
        if let Some(record) = &mut self.record {
            record.action = Done::Answered as u8;
        }
        // SAFETY: the client's output buffer, whose request is not complete yet.
        (0, unsafe { write_answer(endpoint, &self.arguments, &answer) })
    }
}

impl Finish for Observed {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        let (status, information) = self.conclude(status, information);
        Told::Now(status, information)
    }
}

impl Observed {
    /// The provider has answered: what the client is told.
    fn conclude(&mut self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        let (status, information) = if status >= 0 {
            self.succeeded(information);
            (status, information)
        } else {
            match self.failed(status) {
                (failed, _) if failed < 0 => (status, information),
                answered => answered,
            }
        };
        if let Some(record) = self.record.take() {
            audit::write(&self.endpoint, record, status);
        }
        (status, information)
    }
}

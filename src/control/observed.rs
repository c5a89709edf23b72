//! A control request whose completion matters: the record follows it, a rule changed a value, or it is audited.

use core::ptr::NonNull;

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};
use wsk_sys::PIRP;
use wskguard_core::{
    Mode, NtStatus, RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::Done,
    semantics::{self, Change, Undo},
};

use super::decided::{Forward, OnGet};
use super::{Arguments, Captured, call, option_request, pass_on, receive_ex_callback, tell, write_answer};
use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::guard;
use crate::request::{Finish, Request, Told};
use crate::{audit, linger};

/// A request whose completion matters.
pub struct Observed {
    pub endpoint: EndpointRef,
    pub(super) arguments: Arguments,
    pub(super) captured: Captured,
    pub kind: RequestKind,
    pub mode: Mode,
    pub commit: Change,
    pub undo: Undo,
    pub on_get: Option<OnGet>,
    /// The client's receive-ex callback before this request.
    pub callback: Option<usize>,
    pub has_irp: bool,
    /// Where it began.
    pub cpu: usize,
    pub record: Option<AuditRecord>,
}

/// A request that goes to the provider.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    pub endpoint: &'a Endpoint,
    pub(super) arguments: &'a Arguments,
    pub kind: RequestKind,
    pub irp: PIRP,
    /// Where it began.
    pub cpu: usize,
}

impl Sent<'_> {
    /// Gives it to the provider, as it came where nothing of it matters.
    ///
    /// # Safety
    /// The client's own arguments and IRP, which went nowhere yet.
    #[inline]
    pub unsafe fn send(self, mut captured: Captured, forward: Forward, record: Option<AuditRecord>) -> NTSTATUS {
        let (endpoint, arguments) = (self.endpoint, self.arguments);
        // SAFETY: the client's function, in place of which ours goes down.
        let callback = unsafe { receive_ex_callback(endpoint, arguments, self.kind) };
        if !forward.observe && forward.input.is_none() && callback.is_none() {
            endpoint.decided(false);
            guard().count_on(self.cpu, Counter::ForwardedUntouched);
            // SAFETY: the client's own arguments.
            return unsafe { pass_on(endpoint, arguments, self.irp) };
        }
        guard().count_on(self.cpu, Counter::Forwarded);
        if record.is_none() {
            audit::not_wanted(self.cpu);
        }
        let refuse = |record, status| {
            endpoint.decided(false);
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            unsafe { tell(endpoint, record, self.irp, status, 0) }
        };
        if !linger::reserve_for(endpoint, forward.commit) {
            return refuse(record, STATUS_INSUFFICIENT_RESOURCES);
        }
        let mut undo = Undo::None;
        if forward.commit.commits_before() {
            match endpoint.options.commit(forward.commit) {
                Ok(made) => undo = made,
                // Another request was faster: it is this one that breaks the coupling.
                Err(refusal) => return refuse(record, refusal.status.0.cast_signed()),
            }
        }
        let copied = captured.substitute(forward.input, callback.map(|(ours, _)| ours))
            || (self.kind != RequestKind::Get && arguments.input_size == captured.length);
        let observed = |record| Observed {
            endpoint: endpoint.decided_and_referenced(),
            arguments: *arguments,
            captured: captured.copied(),
            kind: self.kind,
            mode: forward.mode,
            commit: forward.commit,
            undo,
            on_get: forward.on_get,
            callback: callback.map(|(_, restore)| restore),
            has_irp: !self.irp.is_null(),
            cpu: self.cpu,
            record,
        };
        if self.irp.is_null() {
            // SAFETY: the client's own arguments.
            return unsafe { observed(record).inline(copied) };
        }
        let Some(request) = guard().spares.take(self.cpu).or_else(Request::allocate) else {
            endpoint.options.undo(undo);
            guard().count(Counter::AllocationFailures);
            return refuse(record, STATUS_INSUFFICIENT_RESOURCES);
        };
        let call = |own, kept: *mut Observed| {
            // SAFETY: the block keeps the copy until the provider completes our IRP.
            let copy = unsafe { &raw mut (*kept).captured.bytes }.cast();
            let (input, size) = if copied && captured.length > 0 {
                (copy, captured.length)
            } else {
                (arguments.input, arguments.input_size)
            };
            // SAFETY: the client's arguments, with the copy of the input and our IRP. The client keeps the endpoint open meanwhile.
            unsafe { call(endpoint, arguments, input, size, own) }
        };
        // SAFETY: the client's IRP; the call above passes ours to one function.
        unsafe { request.send_with(self.irp, || observed(record), call) }
    }
}

impl Observed {
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
        let request = option_request(&self.arguments, self.kind, self.captured.as_slice(), self.has_irp);
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

    fn retire(self, block: NonNull<Request<Self>>) {
        // The endpoint's reference has to outlive the block's being kept: it keeps the driver.
        let Self {
            endpoint, on_get, cpu, ..
        } = self;
        if !guard().spares.keep(cpu, block) {
            // SAFETY: of this kind there are pooled blocks only, and this one's request is over.
            unsafe { Request::free(block) };
        }
        drop(on_get);
        drop(endpoint);
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
            audit::write_on(self.cpu, &self.endpoint, record, status);
        }
        (status, information)
    }
}

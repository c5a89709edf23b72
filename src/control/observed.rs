//! A control request whose completion matters: the record follows it, a rule changed a value, or it is audited.

use core::ptr::NonNull;

use wdk_sys::NTSTATUS;
use wskguard_core::{
    Mode, NtStatus, RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::Done,
    semantics::{self, Change, Undo},
};

use super::onget::OnGet;
use super::{Arguments, Captured, call, option_request, write_answer};
use crate::audit;
use crate::endpoint::EndpointRef;
use crate::guard::guard;
use crate::request::{Finish, Request, Told};

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

impl Observed {
    /// A request without an IRP is complete when the call returns: the copy can stay on the stack.
    ///
    /// # Safety
    /// The client's own arguments.
    pub unsafe fn inline(mut self, copied: bool) -> NTSTATUS {
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
            let _ = self.endpoint.options.commit(self.commit.as_fact());
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

    unsafe fn retire(block: NonNull<Request<Self>>) {
        // The endpoint's reference has to outlive the block's being kept: it keeps the driver. The rest needs no end.
        // SAFETY: as the caller promises.
        let Self {
            endpoint, on_get, cpu, ..
        } = unsafe { Request::take(block) };
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
        if let Some(record) = &mut self.record {
            audit::write_on(self.cpu, &self.endpoint, record, status);
        }
        (status, information)
    }
}

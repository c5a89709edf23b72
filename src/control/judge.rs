//! A control request that takes more than a look: the core decides, and what it says is carried out. The usual set goes all the way
//! without a call but the kernel's and the provider's, so that nothing of it is written to memory but its record and its block.

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};
use wsk_sys::PIRP;
use wskguard_core::{
    RequestKind,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, Done, InForce, Outcome, Verdict},
    generation::Reading,
    semantics::{Answer, Change, Undo},
    status::Reason,
};

use super::observed::Observed;
use super::onget::OnGet;
use super::{Arguments, Captured, call, end, option_request, pass_on, receive_ex_callback, write_answer};
use crate::endpoint::Endpoint;
use crate::guard::guard;
use crate::policy::Generation;
use crate::request::{Request, complete_here};
use crate::{audit, linger};

/// A request as the client sent it.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    pub endpoint: &'a Endpoint,
    pub(super) arguments: &'a Arguments,
    pub kind: RequestKind,
    pub irp: PIRP,
    /// Where it came.
    pub cpu: usize,
}

/// What was decided, and on which generation.
#[derive(Clone, Copy)]
struct Ruling<'a> {
    verdict: Verdict<'a>,
    generation: u64,
}

impl Sent<'_> {
    /// Decides on the generation that was entered for this request, and does what is decided.
    ///
    /// # Safety
    /// The client's own arguments and IRP, which went nowhere yet.
    #[inline(never)]
    pub unsafe fn judge(self, reading: Option<Reading<'_, Generation>>) -> NTSTATUS {
        let mut captured = Captured::new();
        // SAFETY: the client's input, as it claims it.
        unsafe { captured.capture(self.arguments, self.kind) };
        if self.kind == RequestKind::Set {
            let asked = option_request(self.arguments, self.kind, captured.as_slice(), !self.irp.is_null());
            let policy = reading.as_deref().map_or_else(InForce::default, Generation::in_force);
            if let Some(verdict) = decide::usual_set(policy, self.endpoint, &asked) {
                // SAFETY: as the caller promises.
                return unsafe { self.follow(verdict, &mut captured, reading) };
            }
        }
        // SAFETY: as the caller promises.
        unsafe { self.judge_at_length(&mut captured, reading) }
    }

    /// # Safety
    /// As [`Self::judge`].
    #[cold]
    #[inline(never)]
    unsafe fn judge_at_length(self, captured: &mut Captured, reading: Option<Reading<'_, Generation>>) -> NTSTATUS {
        let asked = option_request(self.arguments, self.kind, captured.as_slice(), !self.irp.is_null());
        let policy = reading.as_deref().map_or_else(InForce::default, Generation::in_force);
        let verdict = decide::control(policy, self.endpoint, &asked);
        // SAFETY: as the caller promises.
        unsafe { self.follow(verdict, captured, reading) }
    }

    /// Ends the reading, counts, and carries out. A rule's map may go with its generation, unless that is kept.
    ///
    /// # Safety
    /// As [`Self::judge`].
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the usual set's verdict is not to be put together")]
    unsafe fn follow(
        self,
        verdict: Verdict<'_>,
        captured: &mut Captured,
        reading: Option<Reading<'_, Generation>>,
    ) -> NTSTATUS {
        let on_get = match verdict.outcome {
            Outcome::Forward {
                on_get: Some(action), ..
            } => reading
                .as_deref()
                .and_then(|generation| OnGet::of(action, generation, verdict.rule)),
            _ => None,
        };
        let ruling = Ruling {
            verdict,
            generation: end(reading, verdict.rule, self.cpu),
        };
        if let Some(counter) = counter(verdict) {
            guard().count_on(self.cpu, counter);
        }
        if verdict.refusal.is_some_and(|refusal| refusal.reason != Reason::Policy) {
            guard().count_on(self.cpu, Counter::ContractBreaches);
        }
        if !verdict.record && !matches!(verdict.outcome, Outcome::Forward { .. }) {
            audit::not_wanted(self.cpu);
        }
        match verdict.outcome {
            Outcome::Refuse(refusal) => self.tell(ruling, refusal.status.0.cast_signed(), 0),
            Outcome::Succeed => self.tell(ruling, 0, 0),
            Outcome::Answer(answer) => self.answer(ruling, &answer),
            // SAFETY: as the caller promises.
            Outcome::Forward { .. } => unsafe { self.send(ruling, captured, on_get) },
        }
    }

    /// Answers from the record.
    fn answer(self, ruling: Ruling<'_>, answer: &Answer) -> NTSTATUS {
        match self.endpoint.options.commit(answer.commit) {
            Ok(_) => {
                // SAFETY: the client's output buffer.
                let written = unsafe { write_answer(self.endpoint, self.arguments, answer) };
                self.tell(ruling, 0, written)
            }
            Err(refusal) => self.tell(ruling, refusal.status.0.cast_signed(), 0),
        }
    }

    /// Completes a request that does not go down.
    #[cold]
    fn tell(self, ruling: Ruling<'_>, status: NTSTATUS, information: usize) -> NTSTATUS {
        self.endpoint
            .decided(matches!(ruling.verdict.outcome, Outcome::Refuse(_)));
        if let Some(mut record) = self.record(ruling) {
            audit::write_on(self.cpu, self.endpoint, &mut record, status);
        }
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        unsafe { complete_here(self.irp, status, information) }
    }

    /// What it leaves, where it leaves anything.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it is built where it is to lie")]
    fn record(self, ruling: Ruling<'_>) -> Option<AuditRecord> {
        let verdict = ruling.verdict;
        let arguments = self.arguments;
        let asked = audit::Asked {
            kind: self.kind,
            level: arguments.level,
            code: arguments.code,
            length: arguments.input_size,
        };
        verdict
            .record
            .then(|| audit::control(self.endpoint, verdict, ruling.generation, asked))
    }

    /// What is kept of it until the provider has answered.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it is built where it is to lie")]
    fn observed(
        self,
        ruling: Ruling<'_>,
        captured: &Captured,
        undo: Undo,
        on_get: Option<OnGet>,
        callback: Option<usize>,
    ) -> Observed {
        let commit = match ruling.verdict.outcome {
            Outcome::Forward { commit, .. } => commit,
            _ => Change::NONE,
        };
        Observed {
            endpoint: self.endpoint.decided_and_referenced(),
            arguments: *self.arguments,
            captured: captured.copied(),
            kind: self.kind,
            mode: ruling.verdict.mode,
            commit,
            undo,
            on_get,
            callback,
            has_irp: !self.irp.is_null(),
            cpu: self.cpu,
            record: self.record(ruling),
        }
    }

    /// Gives it to the provider, as it came where nobody looks at what comes of it.
    ///
    /// # Safety
    /// As [`Self::judge`].
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `follow`")]
    unsafe fn send(self, ruling: Ruling<'_>, captured: &mut Captured, on_get: Option<OnGet>) -> NTSTATUS {
        let (endpoint, arguments, verdict) = (self.endpoint, self.arguments, ruling.verdict);
        let Outcome::Forward {
            commit, input, observe, ..
        } = verdict.outcome
        else {
            return self.tell(ruling, STATUS_INSUFFICIENT_RESOURCES, 0);
        };
        // SAFETY: the client's function, in place of which ours goes down.
        let callback = unsafe { receive_ex_callback(endpoint, arguments, self.kind) };
        if !observe && !verdict.record && input.is_none() && callback.is_none() {
            endpoint.decided(false);
            guard().count_on(self.cpu, Counter::ForwardedUntouched);
            // SAFETY: the client's own arguments.
            return unsafe { pass_on(endpoint, arguments, self.irp) };
        }
        guard().count_on(self.cpu, Counter::Forwarded);
        if !verdict.record {
            audit::not_wanted(self.cpu);
        }
        if !linger::reserve_for(endpoint, commit) {
            return self.tell(ruling, STATUS_INSUFFICIENT_RESOURCES, 0);
        }
        let mut undo = Undo::None;
        if commit.commits_before() {
            match endpoint.options.commit(commit) {
                Ok(made) => undo = made,
                // Another request was faster: it is this one that breaks the coupling.
                Err(refusal) => return self.tell(ruling, refusal.status.0.cast_signed(), 0),
            }
        }
        let copied = captured.substitute(input, callback.map(|(ours, _)| ours))
            || (self.kind != RequestKind::Get && arguments.input_size == captured.length);
        let before = callback.map(|(_, before)| before);
        if self.irp.is_null() {
            let observed = self.observed(ruling, captured, undo, on_get, before);
            // SAFETY: the client's own arguments.
            return unsafe { observed.inline(copied) };
        }
        let Some(request) = guard().spares.take(self.cpu).or_else(Request::allocate) else {
            endpoint.options.undo(undo);
            guard().count(Counter::AllocationFailures);
            return self.tell(ruling, STATUS_INSUFFICIENT_RESOURCES, 0);
        };
        let length = captured.length;
        let call = |own, kept: *mut Observed| {
            // SAFETY: the block keeps the copy until the provider completes our IRP.
            let copy = unsafe { &raw mut (*kept).captured.bytes }.cast();
            let (input, size) = if copied && length > 0 {
                (copy, length)
            } else {
                (arguments.input, arguments.input_size)
            };
            // SAFETY: the client's arguments, with the copy of the input and our IRP. The client keeps the endpoint open meanwhile.
            unsafe { call(endpoint, arguments, input, size, own) }
        };
        let fill = |kept: *mut Observed| {
            let observed = self.observed(ruling, captured, undo, on_get, before);
            // SAFETY: called with the place for it in the block, which is ours.
            unsafe { kept.write(observed) };
        };
        // SAFETY: the client's IRP; the call above passes ours to one function.
        unsafe { request.send_with(self.irp, fill, call) }
    }
}

/// What counts the decision, beside the request's own counts.
#[inline]
fn counter(verdict: Verdict<'_>) -> Option<Counter> {
    Some(match verdict.done {
        Done::Denied => Counter::RefusedByPolicy,
        Done::Refused => Counter::RefusedBySemantics,
        Done::Clamped => Counter::Clamped,
        Done::Forced => Counter::Forced,
        Done::Rewritten => Counter::Rewritten,
        Done::Answered | Done::Succeeded => Counter::Answered,
        Done::Forwarded | Done::MadeExclusive | Done::Initial => {
            verdict.refusal?;
            Counter::WouldRefuse
        }
    })
}

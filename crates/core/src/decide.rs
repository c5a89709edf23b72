//! The decision on one request: policy first, then the option's contract, on the value that policy leaves. Pure; any IRQL.

use crate::catalogue::{self, Class, Kind, Row};
use crate::policy::{
    Action, BindInput, ClientKey, Decision, Image, InitialOption, MatchInput, PolicyMode, ProcessKey, RuleRef,
    Verbosity,
};
use crate::semantics::{self, Answer, Change, EndpointFacts, Flag, Inline, OptionState, Plan, Request, Usual};
use crate::status::{Reason, Refusal, to_wsa};
use crate::{Mode, NtStatus, Phase, RequestKind};

/// Who asks, of what.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The endpoint, as it was made.
    pub facts: &'a EndpointFacts,
    /// Its options.
    pub state: &'a OptionState,
    /// Where it is in its life.
    pub phase: Phase,
    /// The client that holds it.
    pub client: ClientKey<'a>,
    /// The process it was made for.
    pub process: Option<ProcessKey<'a>>,
}

/// What was done with a request: [`crate::audit::AuditRecord::action`]. Numbers and names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Done {
    /// Given to the provider as it came.
    Forwarded = 0,
    /// Refused by a rule.
    Denied = 1,
    /// Refused by the option's contract.
    Refused = 2,
    /// Answered with success, without the provider, by a rule.
    Succeeded = 3,
    /// Answered from the record.
    Answered = 4,
    /// Brought into a rule's range.
    Clamped = 5,
    /// Given a rule's value.
    Forced = 6,
    /// Replaced by a rule's map.
    Rewritten = 7,
    /// A bind made exclusive first.
    MadeExclusive = 8,
    /// Set by the driver at creation.
    Initial = 9,
}

impl Done {
    /// Every action with its stable name.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Forwarded, "forwarded"),
        (Self::Denied, "denied"),
        (Self::Refused, "refused"),
        (Self::Succeeded, "succeeded"),
        (Self::Answered, "answered"),
        (Self::Clamped, "clamped"),
        (Self::Forced, "forced"),
        (Self::Rewritten, "rewritten"),
        (Self::MadeExclusive, "made exclusive"),
        (Self::Initial, "initial"),
    ];
}

/// What to do with a control request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Complete it with the refusal's status.
    Refuse(Refusal),
    /// Complete it with success; nothing reaches the provider, nothing changes.
    Succeed,
    /// Complete it with this answer.
    Answer(Answer),
    /// Give it to the provider.
    Forward {
        /// See [`semantics::Forward::commit`].
        commit: Change,
        /// The provider's input instead of the client's.
        input: Option<Inline>,
        /// The completion must be seen.
        observe: bool,
        /// Of a get: to be applied to the provider's number ([`Action::apply`]).
        on_get: Option<Action<'a>>,
    },
}

/// A decision and its account.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// What to do.
    pub outcome: Outcome<'a>,
    /// What that is called.
    pub done: Done,
    /// The rule that decided; `None` without a policy.
    pub rule: Option<RuleRef>,
    /// Why it is, or in audit mode would be, refused.
    pub refusal: Option<Refusal>,
    /// False when `refusal` or the rule was not carried out: audit mode.
    pub enforced: bool,
    /// Mode in force.
    pub mode: Mode,
    /// Value on record.
    pub old: Option<u64>,
    /// Value the client asked for.
    pub asked: Option<u64>,
    /// Value the provider is given.
    pub new: Option<u64>,
    /// Whether it is to be audited.
    pub record: bool,
}

/// The mode in force for an endpoint: the policy's, tightened by the endpoint's own configuration. Without a policy, `audit`;
/// under a policy that only audits, never more than `audit`.
#[must_use]
#[inline]
pub fn mode(image: Option<&Image<'_>>, state: &OptionState) -> Mode {
    let Some(image) = image else {
        return semantics::effective_mode(Mode::Audit, state).min(Mode::Audit);
    };
    let settings = image.settings();
    let most = match settings.mode {
        PolicyMode::Enforce => Mode::Strict,
        PolicyMode::Audit => Mode::Audit,
    };
    semantics::effective_mode(settings.semantics, state).min(most)
}

/// Decides a set, get or IOCTL.
#[must_use]
#[inline]
pub fn control<'a>(image: Option<&Image<'a>>, subject: &Subject<'_>, request: &Request<'_>) -> Verdict<'a> {
    let mode = mode(image, subject.state);
    let case = Case::of(subject, request, mode);
    let (decision, looked_at) = match image {
        Some(image) => {
            let category = subject.facts.category;
            let (decision, looked_at) =
                image.decide(request.kind, request.level, request.code, category, || case.input());
            (Some(decision), looked_at)
        }
        None => (None, false),
    };
    let Some(Usually {
        commit,
        observe,
        substitute,
        on_get,
    }) = case.usual(mode, decision)
    else {
        return case.judged(mode, decision, looked_at);
    };
    let action = decision.map_or(Action::Allow, |decision| decision.action);
    let replaced = substitute.is_some() || on_get.is_some();
    let changes = replaced || action != Action::Allow;
    Verdict {
        outcome: Outcome::Forward {
            commit,
            input: substitute.map(number),
            observe,
            on_get,
        },
        done: if replaced { named(action) } else { Done::Forwarded },
        rule: decision.map(|decision| decision.rule),
        refusal: None,
        enforced: true,
        mode,
        old: case.old,
        asked: case.asked,
        new: substitute.or(case.asked),
        record: subject.state.verbose() || decision.map_or(changes, |decision| decision.records(changes)),
    }
}

/// What becomes of a usual request: it is forwarded.
struct Usually<'p> {
    commit: Change,
    observe: bool,
    substitute: Option<u64>,
    on_get: Option<Action<'p>>,
}

/// A request with what is known about it.
struct Case<'a> {
    subject: &'a Subject<'a>,
    request: &'a Request<'a>,
    row: Option<&'static Row>,
    usual: &'static Usual,
    /// The value of a set in the usual form.
    plain: Option<u32>,
    old: Option<u64>,
    asked: Option<u64>,
}

impl<'a> Case<'a> {
    #[inline]
    fn of(subject: &'a Subject<'a>, request: &'a Request<'a>, mode: Mode) -> Self {
        let row = row_of(request);
        let usual = row.map_or(Usual::FOREIGN, Usual::of);
        let set = request.kind == RequestKind::Set;
        let plain = if set { usual.plain(request) } else { None };
        let asked = match (plain, row) {
            (Some(value), _) => Some(u64::from(value)),
            (None, _) if !set => None,
            (None, Some(row)) => asked(row, mode, request),
            (None, None) => foreign(request),
        };
        Self {
            subject,
            request,
            row,
            usual,
            plain,
            old: usual.stored.value(subject.state),
            asked,
        }
    }

    fn input(&self) -> MatchInput<'a> {
        MatchInput {
            old_value: self.old,
            new_value: self.asked,
            ..input(self.subject, self.request.kind, self.request.level, self.request.code)
        }
    }

    /// The short way: no rule ends the request, and its form is the usual one. What it decides is what [`Case::judged`] does.
    #[inline]
    fn usual<'p>(&self, mode: Mode, decision: Option<Decision<'p>>) -> Option<Usually<'p>> {
        let (subject, row) = (self.subject, self.row?);
        let (facts, state, phase) = (subject.facts, subject.state, subject.phase);
        let action = decision.map_or(Action::Allow, |decision| decision.action);
        let substitution = action.is_substitution();
        let enforce = decision.is_none_or(|decision| decision.enforce);
        if action != Action::Allow && !(substitution && enforce) {
            return None;
        }
        match self.request.kind {
            RequestKind::Set if self.request.has_irp => {
                let substitute = self.substitute(action);
                let value = match substitute {
                    Some(substitute) => u32::try_from(substitute).ok()?,
                    None => self.plain?,
                };
                Some(Usually {
                    commit: self.usual.set(row, facts, state, phase, mode, value)?,
                    observe: true,
                    substitute,
                    on_get: None,
                })
            }
            RequestKind::Get => {
                let observe = self.usual.get(row, facts, state, phase, mode, self.request)?;
                Some(Usually {
                    commit: Change::NONE,
                    observe: observe || substitution,
                    substitute: None,
                    on_get: substitution.then_some(action),
                })
            }
            _ => None,
        }
    }

    /// What a set's value becomes; `None` where it stays.
    #[inline]
    fn substitute(&self, action: Action<'_>) -> Option<u64> {
        match (self.request.kind, action.is_substitution()) {
            (RequestKind::Set, true) => action.apply(self.asked).filter(|&new| Some(new) != self.asked),
            _ => None,
        }
    }

    /// The long way, for every request.
    #[cold]
    #[inline(never)]
    fn judged<'p>(&self, mode: Mode, decision: Option<Decision<'p>>, looked_at: bool) -> Verdict<'p> {
        let action = decision.map_or(Action::Allow, |decision| decision.action);
        let enforce = decision.is_none_or(|decision| decision.enforce);
        let mut verdict = Verdict {
            outcome: Outcome::Succeed,
            done: Done::Forwarded,
            rule: decision.map(|decision| decision.rule),
            refusal: None,
            enforced: enforce || action == Action::Allow,
            mode,
            old: self.old,
            asked: self.asked,
            new: self.asked,
            record: false,
        };
        match if enforce { action } else { Action::Allow } {
            Action::Deny(status) => verdict.refuse(denial(status), Done::Denied),
            Action::Succeed => verdict.done = Done::Succeeded,
            carried => verdict.follow(self, carried),
        }
        // A rule may have looked at the value: the provider has to be given the copy that it looked at.
        if let (RequestKind::Set, true, Outcome::Forward { observe, .. }) =
            (self.request.kind, looked_at, &mut verdict.outcome)
        {
            *observe = true;
        }
        if let (false, Action::Deny(status)) = (enforce, action) {
            verdict.refusal = Some(denial(status));
        }
        let changes = verdict.done != Done::Forwarded || action != Action::Allow || verdict.refusal.is_some();
        verdict.record = self.subject.state.verbose() || decision.map_or(changes, |decision| decision.records(changes));
        verdict
    }

    /// What the option's contract says of the request, whose value was replaced by these bytes.
    fn plan(&self, mode: Mode, bytes: Option<Inline>) -> Plan {
        let subject = self.subject;
        let row = self.row.filter(|_| self.request.kind != RequestKind::Ioctl);
        let plan =
            |request: &Request<'_>| semantics::plan_of(row, subject.facts, subject.state, subject.phase, mode, request);
        match bytes {
            Some(bytes) => plan(&Request {
                input: bytes.as_slice(),
                input_len: bytes.len,
                input_pointer: semantics::Pointer::Valid,
                ..*self.request
            }),
            None => plan(self.request),
        }
    }
}

impl<'a> Verdict<'a> {
    fn refuse(&mut self, refusal: Refusal, done: Done) {
        self.outcome = Outcome::Refuse(refusal);
        self.refusal = Some(refusal);
        self.done = done;
        self.new = None;
    }

    /// No rule ends the request: the option's contract goes on with the value that `action` leaves.
    fn follow(&mut self, case: &Case<'_>, action: Action<'a>) {
        let substitute = case.substitute(action);
        let bytes = substitute.map(number);
        let plan = case.plan(self.mode, bytes);
        if substitute.is_some() {
            self.done = named(action);
            self.new = substitute;
        }
        match plan {
            Plan::Refuse(refusal) => self.refuse(refusal, Done::Refused),
            Plan::Answer(answer) => {
                self.outcome = Outcome::Answer(answer);
                self.done = Done::Answered;
            }
            Plan::Forward(forward) => {
                if self.refusal.is_none() && forward.violation.is_some() {
                    self.refusal = forward.violation;
                    self.enforced = false;
                }
                let on_get = (case.request.kind == RequestKind::Get && action.is_substitution()).then_some(action);
                if on_get.is_some() {
                    self.done = named(action);
                }
                self.outcome = Outcome::Forward {
                    commit: forward.commit,
                    input: forward.input.or(bytes),
                    observe: forward.observe || bytes.is_some() || on_get.is_some(),
                    on_get,
                };
            }
        }
    }
}

/// What to do with a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// Give it to the provider.
    Forward,
    /// Set `SO_EXCLUSIVEADDRUSE` first, then give it to the provider; refuse when that fails.
    Exclusive,
    /// Complete it with the refusal's status.
    Refuse(Refusal),
    /// Complete it with success, without the provider.
    Succeed,
}

/// The decision on a bind, and its account.
#[derive(Clone, Copy, Debug)]
pub struct BindVerdict {
    /// What to do.
    pub outcome: BindOutcome,
    /// What that is called.
    pub done: Done,
    /// The rule that decided; `None` without a policy.
    pub rule: Option<RuleRef>,
    /// Why it is, or in audit mode would be, refused.
    pub refusal: Option<Refusal>,
    /// False when the rule was not carried out.
    pub enforced: bool,
    /// Mode in force.
    pub mode: Mode,
    /// Whether it is to be audited.
    pub record: bool,
}

/// Decides a bind.
#[must_use]
pub fn bind(image: Option<&Image<'_>>, subject: &Subject<'_>, bind: BindInput) -> BindVerdict {
    let decision = image.map(|image| {
        image.evaluate(&MatchInput {
            bind,
            ..input(subject, RequestKind::Bind, 0, 0)
        })
    });
    let action = decision.map_or(Action::Allow, |decision| decision.action);
    let enforce = decision.is_none_or(|decision| decision.enforce);
    let (outcome, done) = match action {
        Action::Deny(status) if enforce => (BindOutcome::Refuse(denial(status)), Done::Denied),
        Action::Succeed if enforce => (BindOutcome::Succeed, Done::Succeeded),
        Action::Exclusive if enforce && !bind.sharing.exclusive => (BindOutcome::Exclusive, Done::MadeExclusive),
        _ => (BindOutcome::Forward, Done::Forwarded),
    };
    let changes = action != Action::Allow;
    BindVerdict {
        outcome,
        done,
        rule: decision.map(|decision| decision.rule),
        refusal: if let Action::Deny(status) = action {
            Some(denial(status))
        } else {
            None
        },
        enforced: enforce || !changes,
        mode: mode(image, subject.state),
        record: subject.state.verbose() || decision.map_or(changes, |decision| decision.records(changes)),
    }
}

/// Whether an endpoint's coming and going is recorded: where everything is.
#[must_use]
pub fn records_life(image: Option<&Image<'_>>, state: &OptionState) -> bool {
    state.verbose() || image.is_some_and(|image| image.settings().verbosity == Verbosity::All)
}

/// Calls `each` for every option that the policy gives a new endpoint; for none under a policy that only audits.
pub fn initial(image: &Image<'_>, subject: &Subject<'_>, mut each: impl FnMut(InitialOption)) {
    if image.settings().mode == PolicyMode::Enforce {
        let input = input(subject, RequestKind::Set, crate::SOL_SOCKET, 0);
        image.initial_options(&input).for_each(&mut each);
    }
}

/// A policy's refusal with the status that its rule names.
#[inline]
fn denial(status: NtStatus) -> Refusal {
    Refusal {
        status,
        wsa: to_wsa(status),
        reason: Reason::Policy,
    }
}

fn named(action: Action<'_>) -> Done {
    match action {
        Action::Clamp { .. } => Done::Clamped,
        Action::Force(_) => Done::Forced,
        Action::Rewrite(_) => Done::Rewritten,
        _ => Done::Forwarded,
    }
}

#[inline]
fn input<'a>(subject: &Subject<'a>, request: RequestKind, level: u32, code: u32) -> MatchInput<'a> {
    MatchInput {
        family: subject.facts.family,
        protocol: subject.facts.protocol,
        client: subject.client,
        process: subject.process,
        ..MatchInput::new(request, level, code, subject.facts.category)
    }
}

#[inline]
fn row_of(request: &Request<'_>) -> Option<&'static Row> {
    match request.kind {
        RequestKind::Set | RequestKind::Get => catalogue::option(request.level, request.code),
        RequestKind::Ioctl => catalogue::ioctl(request.code),
        RequestKind::Bind => None,
    }
}

/// The number that a set asks for: a boolean as 0 or 1, everything else of four bytes as it stands. It is what the option becomes
/// when the provider succeeds, or a rule against TRUE could be passed by.
fn asked(row: &Row, mode: Mode, request: &Request<'_>) -> Option<u64> {
    let four = || {
        let (bytes, _) = request.input.split_first_chunk::<4>()?;
        matches!(row.kind, Kind::Int | Kind::Linger).then(|| u64::from(u32::from_le_bytes(*bytes)))
    };
    let boolean = row.kind == Kind::Bool || Flag::of(row.id).is_some();
    match row.class {
        // Windows reads the lowest byte; the documented contract, and so what strict gives the provider, is the number.
        Class::B if mode < Mode::Strict => request.input.first().map(|&byte| u64::from(byte != 0)),
        // A length of 0 succeeds, and what it sets is not known: a rule against TRUE has to count on it.
        Class::A if request.input.is_empty() => Some(1),
        _ if !boolean => four(),
        _ if request.input.is_empty() => None,
        _ => Some(u64::from(request.input.iter().take(4).any(|&byte| byte != 0))),
    }
}

/// The number that a set of an option outside the catalogue asks for: of what has four bytes, those.
fn foreign(request: &Request<'_>) -> Option<u64> {
    let bytes = request.input.first_chunk::<4>()?;
    (request.input_len == 4).then(|| u64::from(u32::from_le_bytes(*bytes)))
}

/// A rule's value as the provider takes it: a ULONG.
fn number(value: u64) -> Inline {
    let [a, b, c, d, ..] = value.to_le_bytes();
    Inline {
        bytes: [a, b, c, d, 0, 0, 0, 0],
        len: 4,
    }
}

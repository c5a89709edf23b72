//! The decision on a set, get or IOCTL. Any IRQL.
//!
//! A request goes one of two ways, which come to the same: the short one, where no rule ends the request and it is a usual one of its
//! option, and the long one, for every request. The short way is compiled into the caller.

#![allow(
    clippy::inline_always,
    reason = "a verdict that is not put together in memory costs a third less"
)]

use super::table::{GetEntry, SetEntry};
use super::{Done, InForce, Outcome, Subject, Verdict, denial, input, mode, named};
use crate::catalogue::{self, Class, Kind, Row};
use crate::policy::{Action, Decision, Image, MatchInput, RuleRef};
use crate::semantics::{self, Change, Flag, Inline, OptionState, Plan, Request, Stored};
use crate::status::Refusal;
use crate::{Mode, Phase, RequestKind};

/// Decides a set, get or IOCTL.
#[must_use]
#[inline]
pub fn control<'a>(policy: InForce<'_, 'a>, subject: &impl Subject, request: &Request<'_>) -> Verdict<'a> {
    usual(&policy, subject, request).unwrap_or_else(|| judged(policy, subject, request))
}

/// The rule by which a set or get goes down as it came, and is neither recorded nor looked at again, where that can be told at once and
/// without the input. What [`control`] says of it is just that.
#[must_use]
#[inline(always)]
pub fn passes(policy: InForce<'_, '_>, subject: &impl Subject, request: &Request<'_>) -> Option<Option<RuleRef>> {
    match (request.kind, catalogue::option(request.level, request.code)) {
        (RequestKind::Get, Some(row)) => {
            let entry = usual_entry(subject, policy.tables.gets(row, subject.facts().category))?;
            let observed = get_is_observed(entry, subject, request)?;
            (!observed && !entry.ending.record).then_some(entry.ending.rule)
        }
        (RequestKind::Set | RequestKind::Get, None) => {
            let default = policy.image.map(|_| RuleRef::DEFAULT);
            is_nobodys(policy, subject, request).then_some(default)
        }
        _ => None,
    }
}

/// Whether the same holds of an option that is not in the catalogue: it is the transport's, and only the policy can have something
/// against it.
#[inline]
fn is_nobodys(policy: InForce<'_, '_>, subject: &impl Subject, request: &Request<'_>) -> bool {
    let category = subject.facts().category;
    let indifferent = |image: &Image<'_>| image.is_indifferent(request.kind, request.level, request.code, category);
    subject.phase() != Phase::KeepAliveFailed && subject.options().is_ordinary() && policy.image.is_none_or(indifferent)
}

/// What [`control`] says of a set that is usual, where it is one.
#[must_use]
#[inline(always)]
pub fn usual_set<'a>(policy: InForce<'_, 'a>, subject: &impl Subject, request: &Request<'_>) -> Option<Verdict<'a>> {
    let row = catalogue::option(request.level, request.code)?;
    let entry = usual_entry(subject, policy.tables.sets(row, subject.facts().category))?;
    set_by(entry, subject, request)
}

/// What the tables say, of an endpoint that is like others.
#[inline(always)]
fn usual_entry<E>(subject: &impl Subject, entry: Option<E>) -> Option<E> {
    entry.filter(|_| subject.options().is_ordinary())
}

/// The short way: the tables say it.
#[inline]
fn usual<'a>(policy: &InForce<'_, 'a>, subject: &impl Subject, request: &Request<'_>) -> Option<Verdict<'a>> {
    match request.kind {
        RequestKind::Set => usual_set(*policy, subject, request),
        RequestKind::Get => {
            let row = catalogue::option(request.level, request.code)?;
            let entry = usual_entry(subject, policy.tables.gets(row, subject.facts().category))?;
            get_by(entry, subject, request)
        }
        RequestKind::Ioctl | RequestKind::Bind => None,
    }
}

#[inline(always)]
fn set_by<'a>(entry: &SetEntry, subject: &impl Subject, request: &Request<'_>) -> Option<Verdict<'a>> {
    let options = subject.options();
    let asked = entry.usual.value(request)?;
    let new = asked.max(entry.low).min(entry.high);
    let commit = entry.usual.change(subject.facts(), options, subject.phase(), new)?;
    let replaced = new != asked;
    Some(Verdict {
        outcome: Outcome::Forward {
            commit,
            input: replaced.then(|| number(new)),
            observe: true,
            on_get: None,
        },
        done: if replaced { entry.done } else { Done::Forwarded },
        rule: entry.ending.rule,
        refusal: None,
        enforced: true,
        mode: entry.ending.mode,
        old: entry.usual.stored.value(options),
        asked: Some(u64::from(asked)),
        new: Some(u64::from(new)),
        record: entry.ending.record,
    })
}

#[inline]
fn get_is_observed(entry: &GetEntry, subject: &impl Subject, request: &Request<'_>) -> Option<bool> {
    let (facts, options) = (subject.facts(), subject.options());
    entry.usual.observed(facts, options, subject.phase(), request)
}

#[inline]
fn get_by<'a>(entry: &GetEntry, subject: &impl Subject, request: &Request<'_>) -> Option<Verdict<'a>> {
    let options = subject.options();
    let observe = get_is_observed(entry, subject, request)?;
    Some(Verdict {
        outcome: Outcome::Forward {
            commit: Change::NONE,
            input: None,
            observe,
            on_get: None,
        },
        done: Done::Forwarded,
        rule: entry.ending.rule,
        refusal: None,
        enforced: true,
        mode: entry.ending.mode,
        old: entry.usual.stored.value(options),
        asked: None,
        new: None,
        record: entry.ending.record,
    })
}

/// The long way, for every request.
#[cold]
#[inline(never)]
pub(super) fn judged<'a>(policy: InForce<'_, 'a>, subject: &impl Subject, request: &Request<'_>) -> Verdict<'a> {
    let state = subject.options().load();
    Case::of(policy, subject, &state, request).judged()
}

/// A request with what is known about it.
struct Case<'s, 'a, S> {
    subject: &'s S,
    state: &'s OptionState,
    request: &'s Request<'s>,
    row: Option<&'static Row>,
    mode: Mode,
    /// The policy's, and whether a rule may have looked at the value.
    decision: Option<(Decision<'a>, bool)>,
    old: Option<u64>,
    asked: Option<u64>,
}

impl<'s, 'a, S: Subject> Case<'s, 'a, S> {
    fn of(policy: InForce<'_, 'a>, subject: &'s S, state: &'s OptionState, request: &'s Request<'s>) -> Self {
        let mode = mode(policy.image, state);
        let row = row_of(request);
        let asked = match (request.kind, row) {
            (RequestKind::Set, Some(row)) => asked(row, mode, request),
            (RequestKind::Set, None) => foreign(request),
            _ => None,
        };
        let old = row.and_then(|row| Stored::of(row.id).value_in(state));
        let seen = || MatchInput {
            old_value: old,
            new_value: asked,
            ..input(subject, request.kind, request.level, request.code)
        };
        let category = subject.facts().category;
        Self {
            subject,
            state,
            request,
            row,
            mode,
            decision: policy
                .image
                .map(|image| image.decide(request.kind, request.level, request.code, category, seen)),
            old,
            asked,
        }
    }

    fn action(&self) -> Action<'a> {
        self.decision.map_or(Action::Allow, |(decision, _)| decision.action)
    }

    /// What a set's value becomes; `None` where it stays.
    fn substitute(&self, action: Action<'_>) -> Option<u64> {
        match (self.request.kind, action.is_substitution()) {
            (RequestKind::Set, true) => action.apply(self.asked).filter(|&new| Some(new) != self.asked),
            _ => None,
        }
    }

    fn judged(&self) -> Verdict<'a> {
        let action = self.action();
        let enforce = self.decision.is_none_or(|(decision, _)| decision.enforce);
        let mut verdict = Verdict {
            outcome: Outcome::Succeed,
            done: Done::Forwarded,
            rule: self.decision.map(|(decision, _)| decision.rule),
            refusal: None,
            enforced: enforce || action == Action::Allow,
            mode: self.mode,
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
        let looked_at = self.decision.is_some_and(|(_, looked_at)| looked_at);
        if let (RequestKind::Set, true, Outcome::Forward { observe, .. }) =
            (self.request.kind, looked_at, &mut verdict.outcome)
        {
            *observe = true;
        }
        if let (false, Action::Deny(status)) = (enforce, action) {
            verdict.refusal = Some(denial(status));
        }
        let changes = verdict.done != Done::Forwarded || action != Action::Allow || verdict.refusal.is_some();
        verdict.record =
            self.state.verbose() || self.decision.map_or(changes, |(decision, _)| decision.records(changes));
        verdict
    }

    /// What the option's contract says of the request, whose value was replaced by these bytes.
    fn plan(&self, bytes: Option<Inline>) -> Plan {
        let (facts, phase) = (self.subject.facts(), self.subject.phase());
        let row = self.row.filter(|_| self.request.kind != RequestKind::Ioctl);
        let plan = |request: &Request<'_>| semantics::plan_of(row, facts, self.state, phase, self.mode, request);
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
    fn follow(&mut self, case: &Case<'_, '_, impl Subject>, action: Action<'a>) {
        let substitute = case.substitute(action);
        let bytes = substitute.map(|new| number(low_half(new)));
        let plan = case.plan(bytes);
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
#[inline]
fn number(value: u32) -> Inline {
    Inline {
        bytes: u64::from(value).to_le_bytes(),
        len: 4,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rules have values of 32 bits")]
const fn low_half(value: u64) -> u32 {
    value as u32
}

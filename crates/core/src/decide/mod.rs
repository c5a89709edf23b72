//! The decision on one request: policy first, then the option's contract, on the value that policy leaves. Pure; any IRQL.

mod control;
mod table;

pub use control::{control, passes, usual_set};
pub use table::{Tables, TablesRef};

use crate::policy::{
    Action, BindInput, ClientKey, Image, InitialOption, MatchInput, PolicyMode, ProcessKey, RuleRef, Verbosity,
};
use crate::semantics::{self, Answer, Change, EndpointFacts, Inline, OptionState, SharedOptions};
use crate::status::{Reason, Refusal, to_wsa};
use crate::{Mode, NtStatus, Phase, RequestKind};

/// Who asks, of what: an endpoint.
pub trait Subject {
    /// How it was made.
    fn facts(&self) -> &EndpointFacts;
    /// Its options.
    fn options(&self) -> &SharedOptions;
    /// Where it is in its life.
    fn phase(&self) -> Phase;
    /// The client that holds it.
    fn client(&self) -> ClientKey<'_>;
    /// The process it was made for.
    fn process(&self) -> Option<ProcessKey<'_>>;
}

/// The policy that a decision is made on.
#[derive(Clone, Copy, Default)]
pub struct InForce<'p, 'a> {
    /// `None`: there is no policy.
    pub image: Option<&'p Image<'a>>,
    /// Of that image.
    pub tables: TablesRef<'p>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    semantics::effective_mode(settings.semantics, state).min(most_of(settings.mode))
}

/// The strictest mode that a policy of this mode allows.
const fn most_of(mode: PolicyMode) -> Mode {
    match mode {
        PolicyMode::Enforce => Mode::Strict,
        PolicyMode::Audit => Mode::Audit,
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
pub fn bind(image: Option<&Image<'_>>, subject: &impl Subject, bind: BindInput) -> BindVerdict {
    let state = subject.options().load();
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
        mode: mode(image, &state),
        record: state.verbose() || decision.map_or(changes, |decision| decision.records(changes)),
    }
}

/// Whether an endpoint's coming and going is recorded: where everything is.
#[must_use]
pub fn records_life(image: Option<&Image<'_>>, state: &OptionState) -> bool {
    state.verbose() || image.is_some_and(|image| image.settings().verbosity == Verbosity::All)
}

/// Calls `each` for every option that the policy gives a new endpoint; for none under a policy that only audits.
pub fn initial(image: &Image<'_>, subject: &impl Subject, mut each: impl FnMut(InitialOption)) {
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

const fn named(action: Action<'_>) -> Done {
    match action {
        Action::Clamp { .. } => Done::Clamped,
        Action::Force(_) => Done::Forced,
        Action::Rewrite(_) => Done::Rewritten,
        _ => Done::Forwarded,
    }
}

fn input(subject: &impl Subject, request: RequestKind, level: u32, code: u32) -> MatchInput<'_> {
    let facts = subject.facts();
    MatchInput {
        family: facts.family,
        protocol: facts.protocol,
        client: subject.client(),
        process: subject.process(),
        ..MatchInput::new(request, level, code, facts.category)
    }
}

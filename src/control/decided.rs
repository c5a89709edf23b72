//! What was decided on a control request, kept beyond the policy generation it was decided on, and its counts.

use wskguard_core::{
    Mode,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, Done, InForce, Outcome, Verdict},
    generation::Reading,
    policy::{Action, RuleRef},
    semantics::{self, Answer, Change, Request as OptionRequest},
    status::Refusal,
};

use crate::endpoint::Endpoint;
use crate::guard::guard;
use crate::policy::{Generation, GenerationRef};
use crate::{audit, control};

/// What to do with the number that a get returns.
pub enum OnGet {
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
    pub fn apply(&self, value: u64) -> u64 {
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
pub enum Decision {
    Refuse(Refusal),
    Succeed,
    Answer(Answer),
    Forward(Forward),
}

/// What a request that is forwarded means to its endpoint.
pub struct Forward {
    pub commit: Change,
    pub input: Option<semantics::Inline>,
    pub on_get: Option<OnGet>,
    pub mode: Mode,
    /// The completion must be seen.
    pub observe: bool,
}

pub struct Decided {
    pub decision: Decision,
    pub record: Option<AuditRecord>,
}

impl Decided {
    /// Asks the core, on the generation that was entered for this request, and counts what it says.
    #[inline]
    pub fn on(
        reading: Option<Reading<'_, Generation>>,
        endpoint: &Endpoint,
        request: &OptionRequest<'_>,
        cpu: usize,
    ) -> Self {
        let generation = reading.as_deref();
        let policy = generation.map_or_else(InForce::default, Generation::in_force);
        let verdict = decide::control(policy, endpoint, request);
        let number = generation.map_or(0, |generation| generation.number);
        // A rule's map may go with its generation, unless that is kept.
        let decision = Decision::of(&verdict, generation);
        control::end(reading, verdict.rule, cpu);
        count(endpoint, &verdict, cpu);
        let record = verdict
            .record
            .then(|| audit::control(endpoint, &verdict, number, request));
        Self { decision, record }
    }
}

impl Decision {
    #[inline]
    fn of(verdict: &Verdict<'_>, generation: Option<&Generation>) -> Self {
        match verdict.outcome {
            Outcome::Refuse(refusal) => Self::Refuse(refusal),
            Outcome::Succeed => Self::Succeed,
            Outcome::Answer(answer) => Self::Answer(answer),
            Outcome::Forward {
                commit,
                input,
                observe,
                on_get,
            } => Self::Forward(Forward {
                commit,
                input,
                on_get: on_get
                    .zip(generation)
                    .and_then(|(action, generation)| OnGet::of(action, generation, verdict.rule)),
                mode: verdict.mode,
                observe: observe || verdict.record,
            }),
        }
    }
}

#[inline]
fn count(endpoint: &Endpoint, verdict: &Verdict<'_>, cpu: usize) {
    match verdict.outcome {
        // Counted with the reference that a request on its way holds.
        Outcome::Forward { .. } => {}
        outcome => endpoint.decided(matches!(outcome, Outcome::Refuse(_))),
    }
    let counter = match verdict.done {
        Done::Denied => Counter::RefusedByPolicy,
        Done::Refused => Counter::RefusedBySemantics,
        Done::Clamped => Counter::Clamped,
        Done::Forced => Counter::Forced,
        Done::Rewritten => Counter::Rewritten,
        Done::Answered | Done::Succeeded => Counter::Answered,
        Done::Forwarded | Done::MadeExclusive | Done::Initial => match (verdict.refusal, verdict.enforced) {
            (None, _) => return,
            (Some(_), true) => Counter::ContractBreaches,
            (Some(_), false) => Counter::WouldRefuse,
        },
    };
    guard().count_on(cpu, counter);
}

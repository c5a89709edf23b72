//! What was decided on a control request, kept beyond the policy generation it was decided on, and its counts.

use wskguard_core::{
    Mode,
    audit::AuditRecord,
    counters::Counter,
    decide::{self, Done, Outcome, Verdict},
    policy::{Action, RuleRef},
    semantics::{self, Answer, Change, Request as OptionRequest},
    status::Refusal,
};

use super::{count_hit, subject};
use crate::audit;
use crate::endpoint::Endpoint;
use crate::guard::guard;
use crate::policy::{Generation, GenerationRef};

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
    Forward {
        commit: Change,
        input: Option<semantics::Inline>,
        observe: bool,
        on_get: Option<OnGet>,
    },
}

pub struct Decided {
    pub decision: Decision,
    done: Done,
    breach: bool,
    enforced: bool,
    pub mode: Mode,
    pub record: Option<AuditRecord>,
}

impl Decided {
    /// Asks the core, on the generation now in force.
    pub fn on(endpoint: &Endpoint, request: &OptionRequest<'_>, cpu: usize) -> Self {
        let state = endpoint.options.load();
        let reading = guard().policy.enter_on(cpu);
        let image = reading.as_ref().map(|generation| &generation.image);
        let verdict: Verdict<'_> = decide::control(image, &subject(endpoint, &state), request);
        let generation = reading
            .as_ref()
            .map_or(0, |generation| count_hit(generation, verdict.rule, cpu));
        let record = verdict
            .record
            .then(|| audit::control(endpoint, &verdict, generation, request));
        if record.is_none() {
            audit::not_wanted(cpu);
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

    pub fn count(&self, endpoint: &Endpoint, cpu: usize) {
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
        guard().count_on(cpu, counter);
    }
}

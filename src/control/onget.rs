//! What a rule does to the number that a get returns, kept beyond the policy generation it was decided on.

use wskguard_core::policy::{Action, RuleRef};

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
    pub fn of(action: Action<'_>, generation: &Generation, rule: Option<RuleRef>) -> Option<Self> {
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

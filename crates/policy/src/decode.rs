//! Image to model.

use wskguard_core::policy::{self, Image, Pattern, layout};

use crate::model::{Action, Members, Policy, Principal, Rule, Scope};
use crate::ranges::Ranges;

/// The policy that `image` was compiled from, without its comments.
#[must_use]
pub fn decode(image: &Image<'_>) -> Policy {
    Policy {
        name: image.name().to_owned(),
        description: image.description().to_owned(),
        settings: image.settings(),
        keepalive: image.keepalive_statuses().collect(),
        initial: image.initial_rules().map(|rule| decode_rule(&rule)).collect(),
        rules: (0..image.rule_count())
            .filter_map(|index| image.rule(index))
            .map(|rule| decode_rule(&rule))
            .collect(),
    }
}

fn decode_rule(rule: &policy::Rule<'_>) -> Rule {
    let record = rule.record();
    let (level, code) = (record.level.get(), record.code.get());
    let is_ioctl = record.requests == 1 << wskguard_core::RequestKind::Ioctl as u8;
    Rule {
        name: rule.name().to_owned(),
        description: rule.description().to_owned(),
        requests: record.requests,
        scope: match record.scope {
            layout::SCOPE_ANY => Scope::Any,
            layout::SCOPE_LEVEL => Scope::Level(level),
            _ if is_ioctl => Scope::Ioctl(code),
            _ => Scope::Option { level, code },
        },
        categories: record.categories,
        addresses: record.addresses,
        sharing: record.sharing,
        conditions: rule
            .conditions()
            .map(|(field, members)| (field, decode_members(rule, members)))
            .collect(),
        action: decode_action(rule.action()),
        audit: record.flags & layout::FLAG_AUDIT != 0,
    }
}

fn decode_members(rule: &policy::Rule<'_>, members: policy::Members<'_>) -> Members {
    match members {
        policy::Members::Ranges(ranges) => Members::Ranges(Ranges::new(
            ranges.iter().map(|range| (range.low.get(), range.high.get())).collect(),
        )),
        policy::Members::Patterns(patterns) => {
            let principal = |pattern| match rule.pattern(pattern) {
                Pattern::Image(name) => Principal::Image(name.to_owned()),
                Pattern::Module(module) => Principal::Module(module),
                Pattern::Pid(pid) => Principal::Pid(pid),
                Pattern::NoProcess => Principal::NoProcess,
                Pattern::AnyProcess => Principal::AnyProcess,
            };
            Members::Principals(patterns.iter().map(principal).collect())
        }
    }
}

fn decode_action(action: policy::Action<'_>) -> Action {
    match action {
        policy::Action::Allow => Action::Allow,
        policy::Action::Deny(status) => Action::Deny(status.0),
        policy::Action::Succeed => Action::Succeed,
        policy::Action::Clamp { min, max } => Action::Clamp(min, max),
        policy::Action::Force(value) => Action::Force(value),
        policy::Action::Exclusive => Action::Exclusive,
        policy::Action::Rewrite(map) => Action::Rewrite(
            map.entries()
                .iter()
                .map(|entry| ((entry.from.low.get(), entry.from.high.get()), entry.to.get()))
                .collect(),
        ),
    }
}

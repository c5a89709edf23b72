//! What is wrong between rules: names used twice, rules that can never decide, options that nobody can set.

use std::collections::HashMap;

use wskguard_core::catalogue;
use wskguard_core::policy::layout;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::{Members, Policy, Principal, Rule, Scope};
use crate::read::{RuleSpans, Spans};

/// Pairs of rules that are compared at most; a policy of this many rules for one option is generated, not written.
const MOST_PAIRS: usize = 4_000_000;

pub(crate) fn policy(policy: &Policy, spans: &Spans, diagnostics: &mut Diagnostics) {
    names(policy, spans, diagnostics);
    shadows(policy, spans, diagnostics);
    for (rule, spans) in policy.rules.iter().zip(&spans.rules) {
        impossible(rule, spans, diagnostics);
    }
}

fn names(policy: &Policy, spans: &Spans, diagnostics: &mut Diagnostics) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        if let Some(&other) = first.get(rule.name.as_str()) {
            let error = Diagnostic::error(
                spans.rules[index].name.clone(),
                format!("two rules are named `{}`", rule.name),
            );
            let error = error
                .label("expected another name")
                .related(spans.rules[other].name.clone(), "first used here");
            diagnostics.push(error);
        } else {
            first.insert(&rule.name, index);
        }
    }
}

fn shadows(policy: &Policy, spans: &Spans, diagnostics: &mut Diagnostics) {
    let mut earlier: HashMap<Scope, Vec<usize>> = HashMap::new();
    let mut pairs = 0;
    for (index, rule) in policy.rules.iter().enumerate() {
        let lists = wider(rule.scope).into_iter().filter_map(|scope| earlier.get(&scope));
        let cover = lists
            .flatten()
            .copied()
            .filter(|&other| covers(&policy.rules[other], rule))
            .min();
        pairs += earlier.get(&rule.scope).map_or(0, Vec::len);
        if let Some(other) = cover {
            let by = &policy.rules[other].name;
            let warning = Diagnostic::warning(
                spans.rules[index].name.clone(),
                format!("`{}` never decides", rule.name),
            );
            let warning = warning.label(format!("every request it matches is decided by `{by}`"));
            diagnostics.push(warning.related(spans.rules[other].name.clone(), "which comes first"));
        }
        earlier.entry(rule.scope).or_default().push(index);
        if pairs > MOST_PAIRS {
            let span = spans.rules[index].name.clone();
            diagnostics.push(Diagnostic::warning(
                span,
                "too many rules for one option: from here on, none is checked for being reachable",
            ));
            return;
        }
    }
}

/// The scopes that include `scope`.
fn wider(scope: Scope) -> Vec<Scope> {
    match scope {
        Scope::Any => vec![scope],
        Scope::Level(_) | Scope::Ioctl(_) => vec![scope, Scope::Any],
        Scope::Option { level, .. } => vec![scope, Scope::Level(level), Scope::Any],
    }
}

/// Whether `first` matches every request that `second` does. Their scopes are known to nest.
fn covers(first: &Rule, second: &Rule) -> bool {
    let within = |inner: u8, outer: u8| inner & !outer == 0;
    within(second.requests, first.requests)
        && within(second.categories, first.categories)
        && within(second.addresses, first.addresses)
        && within(second.sharing, first.sharing)
        && first.conditions.iter().all(|(field, outer)| {
            second
                .conditions
                .iter()
                .any(|(other, inner)| other == field && includes(outer, inner))
        })
}

fn includes(outer: &Members, inner: &Members) -> bool {
    match (outer, inner) {
        (Members::Ranges(outer), Members::Ranges(inner)) => outer.includes(inner),
        (Members::Principals(outer), Members::Principals(inner)) => inner.iter().all(|principal| {
            let given = *principal != Principal::NoProcess && outer.contains(&Principal::AnyProcess);
            given || outer.contains(principal)
        }),
        _ => false,
    }
}

/// Questions requests that the catalogue says nobody can make.
fn impossible(rule: &Rule, spans: &RuleSpans, diagnostics: &mut Diagnostics) {
    let Scope::Option { level, code } = rule.scope else {
        return;
    };
    let Some(row) = catalogue::option(level, code) else {
        return;
    };
    let changes = !matches!(rule.action, crate::Action::Allow | crate::Action::Deny(_));
    if rule.requests == 1 && !row.settable && changes {
        let warning = Diagnostic::warning(spans.action.clone(), format!("{} cannot be set", row.name));
        diagnostics.push(warning.label("the provider refuses every set of it"));
    }
    if row.kind == catalogue::Kind::Bool {
        let never = rule.conditions.iter().any(|(field, members)| {
            let Members::Ranges(ranges) = members else { return false };
            matches!(*field, layout::FIELD_NEW | layout::FIELD_OLD) && !ranges.contains(0) && !ranges.contains(1)
        });
        if never {
            let warning = Diagnostic::warning(spans.values.clone(), format!("{} is a boolean", row.name));
            diagnostics.push(warning.label("never matches: its value is 0 or 1"));
        }
    }
}

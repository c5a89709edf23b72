//! Why a policy decides what it decides: each rule before the deciding one, with the first thing that kept it from matching.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;
use wskguard_core::policy::{Fallback, Field, Image, MatchInput, PolicyMode, RuleRef, layout};
use wskguard_core::{Category, RequestKind};

use crate::decode::decode;
use crate::model::{Members, Policy, Rule, Scope};
use crate::names;
use crate::show::{action_text, field_name, principal_text, scope_text};

/// A decision and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Index of the rule that decided; `None` is the default.
    pub rule: Option<u32>,
    /// Its name, or `default`.
    pub name: String,
    /// Its description; may be empty.
    pub description: String,
    /// What it does, as in the policy text.
    pub action: String,
    /// Whether that is carried out (`mode = "enforce"`).
    pub enforced: bool,
    /// The value the request goes on with, where there is one and the action changes it.
    pub value: Option<u64>,
    /// The rules before it, in order.
    pub passed: Vec<Passed>,
}

/// A rule that did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Passed {
    /// Index.
    pub rule: u32,
    /// Name.
    pub name: String,
    /// The key that is at odds with the request.
    pub key: &'static str,
    /// What the request has there.
    pub found: String,
    /// What the rule wants there.
    pub wanted: String,
}

/// Explains what `image` decides about `input`.
#[must_use]
pub fn explain(image: &Image<'_>, input: &MatchInput<'_>) -> Explanation {
    let policy = decode(image);
    let decision = image.evaluate(input);
    let deciding = (decision.rule != RuleRef::DEFAULT).then_some(decision.rule.0);
    let rule = deciding.and_then(|index| policy.rules.get(index as usize));
    let before = policy.rules.iter().zip(0..deciding.unwrap_or(u32::MAX));
    let changed = decision.action.apply(input.new_value);
    Explanation {
        rule: deciding,
        name: rule.map_or_else(|| "default".to_owned(), |rule| rule.name.clone()),
        description: rule.map(|rule| rule.description.clone()).unwrap_or_default(),
        action: rule.map_or_else(|| default_text(&policy), action_text),
        enforced: image.settings().mode == PolicyMode::Enforce,
        value: changed.filter(|_| changed != input.new_value && input.request == RequestKind::Set),
        passed: before
            .filter_map(|(rule, index)| passed(image, rule, index, input))
            .collect(),
    }
}

fn default_text(policy: &Policy) -> String {
    match policy.settings.fallback {
        Fallback::Allow => "allow".to_owned(),
        Fallback::Deny => "deny with STATUS_ACCESS_DENIED".to_owned(),
    }
}

fn passed(image: &Image<'_>, rule: &Rule, index: u32, input: &MatchInput<'_>) -> Option<Passed> {
    let field = image.mismatch(index as usize, input)?;
    let (key, found, wanted) = match field {
        Field::Request => (
            "request",
            word(names::REQUESTS, 1 << input.request as u8),
            words(names::REQUESTS, rule.requests),
        ),
        Field::Option => (scope_key(rule.scope), option_text(input), scope_text(rule.scope)),
        Field::Category => (
            "category",
            category_text(input.category),
            words(names::CATEGORIES, rule.categories),
        ),
        Field::Address => (
            "address",
            word(names::ADDRESSES, 1 << input.bind.address as u8),
            words(names::ADDRESSES, rule.addresses),
        ),
        Field::Sharing => (
            "sharing",
            words(names::SHARING, input.bind.sharing.bits()),
            words(names::SHARING, rule.sharing),
        ),
        Field::Condition(field) => (field_name(field), found_text(field, input), wanted_text(rule, field)),
    };
    Some(Passed {
        rule: index,
        name: rule.name.clone(),
        key,
        found,
        wanted,
    })
}

fn word(words: &names::Words, bit: u8) -> String {
    names::of_value(words, bit).to_owned()
}

fn words(words: &names::Words, mask: u8) -> String {
    names::of_mask(words, mask).join(", ")
}

fn category_text(category: Category) -> String {
    word(names::CATEGORIES, 1 << category as u8)
}

fn scope_key(scope: Scope) -> &'static str {
    match scope {
        Scope::Level(_) => "level",
        Scope::Ioctl(_) => "code",
        _ => "option",
    }
}

fn option_text(input: &MatchInput<'_>) -> String {
    scope_text(match input.request {
        RequestKind::Ioctl => Scope::Ioctl(input.code),
        _ => Scope::Option {
            level: input.level,
            code: input.code,
        },
    })
}

fn found_text(field: u8, input: &MatchInput<'_>) -> String {
    let value =
        |value: Option<u64>| value.map_or_else(|| "not a number, or not known".to_owned(), |value| value.to_string());
    let named = |words, number| names::of_number(words, number).map_or_else(|| number.to_string(), str::to_owned);
    let image = |image: &[u8]| match image {
        [] => "unknown image".to_owned(),
        name => String::from_utf8_lossy(name).into_owned(),
    };
    match field {
        layout::FIELD_NEW => value(input.new_value),
        layout::FIELD_OLD => value(input.old_value),
        layout::FIELD_PORT => named(names::PORTS, input.bind.port.into()),
        layout::FIELD_FAMILY => named(names::FAMILIES, input.family.0.into()),
        layout::FIELD_PROTOCOL => named(names::PROTOCOLS, input.protocol.into()),
        layout::FIELD_CLIENT => format!("{} {}", image(input.client.image), names::of_guid(input.client.module)),
        _ => input.process.map_or_else(
            || "none".to_owned(),
            |process| format!("{} {}", process.pid, image(process.image)),
        ),
    }
}

fn wanted_text(rule: &Rule, field: u8) -> String {
    match rule.conditions.iter().find(|(other, _)| *other == field) {
        Some((_, Members::Ranges(ranges))) => ranges.to_string(),
        Some((_, Members::Principals(principals))) => principals
            .iter()
            .map(principal_text)
            .collect::<Vec<_>>()
            .join(", ")
            .replace('"', ""),
        None => String::new(),
    }
}

impl Explanation {
    /// For people. Rules for other requests and options are counted, and named only when `all` is asked for.
    #[must_use]
    pub fn render(&self, all: bool) -> String {
        let mut out = String::new();
        let elsewhere = |passed: &&Passed| matches!(passed.key, "request" | "option" | "level" | "code");
        let skipped = self.passed.iter().filter(elsewhere).count();
        for passed in self.passed.iter().filter(|passed| all || !elsewhere(passed)) {
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "passed   {}: {} is {}, not {}",
                passed.name, passed.key, passed.found, passed.wanted
            );
        }
        if skipped != 0 && !all {
            let _ = writeln!(out, "passed   {skipped} for other requests or options");
        }
        let _ = writeln!(out, "decided  {}: {}", self.name, self.action);
        if !self.description.is_empty() {
            let _ = writeln!(out, "         {}", self.description);
        }
        if let Some(value) = self.value {
            let _ = writeln!(out, "         the provider is given {value}");
        }
        if !self.enforced {
            let _ = writeln!(out, "         recorded only: the policy's mode is audit");
        }
        out
    }
}

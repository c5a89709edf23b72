//! Text to model. Reads on after an error, so that one run reports all of them.

mod action;
mod condition;
mod rule;
mod table;

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use wskguard_core::Mode;
use wskguard_core::policy::{Fallback, PolicyMode, Settings, Verbosity, layout};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::{Policy, Rule};
use crate::names;
pub(crate) use rule::INITIAL_KEYS;
#[cfg(test)]
pub(crate) use rule::RULE_KEYS;
use table::{Reader, Table};

/// Where the parts of a policy stand in its text.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Of each rule: its name and its action.
    pub rules: Vec<RuleSpans>,
}

/// Where the parts of a rule stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleSpans {
    pub name: Range<usize>,
    pub action: Range<usize>,
    pub values: Range<usize>,
}

/// The keys of a policy, in the order in which `show` writes them.
pub(crate) const KEYS: &[&str] = &[
    "schema",
    "name",
    "description",
    "mode",
    "semantics",
    "default",
    "audit",
    "linger-max",
    "keepalive-failure",
    "initial",
    "rule",
];

/// The policy that `text` states, as far as it could be read; what is wrong with it goes to `diagnostics`.
pub(crate) fn policy(text: &str, diagnostics: &mut Diagnostics) -> Option<(Policy, Spans)> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        diagnostics.push(Diagnostic::error(
            span,
            format!("this is not TOML: {}", error.message()),
        ));
    }
    if !errors.is_empty() {
        return None;
    }
    let mut reader = Reader { diagnostics };
    let table = Table {
        fields: document.get_ref(),
        span: 0..0,
        what: "a policy",
    };
    reader.schema(&table)?;
    reader.only_known(&table, KEYS);
    let mut policy = Policy {
        name: reader.required_string(&table, "name", layout::MAX_NAME),
        description: reader
            .string(&table, "description", layout::MAX_DESCRIPTION)
            .unwrap_or_default(),
        settings: reader.settings(&table),
        keepalive: reader.keepalive(&table),
        ..Policy::default()
    };
    policy.initial = reader
        .tables(&table, "initial", "an initial option")
        .iter()
        .map(|t| reader.initial(t))
        .collect();
    let (rules, spans) = reader
        .tables(&table, "rule", "a rule")
        .iter()
        .map(|t| reader.rule(t))
        .unzip();
    policy.rules = rules;
    Some((policy, Spans { rules: spans }))
}

impl Reader<'_> {
    /// Reads no further when the schema is another one: every other finding would mislead.
    fn schema(&mut self, table: &Table<'_>) -> Option<()> {
        const HELP: &str = "this version reads `schema = 1`";
        let Some((_, value)) = table.get("schema") else {
            self.push(
                Diagnostic::error(0..0, "`schema` is missing")
                    .label("expected `schema = 1`")
                    .help(HELP),
            );
            return Some(());
        };
        match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 && number.as_str() == "1" => Some(()),
            _ => {
                self.push(
                    Diagnostic::error(value.span(), "unknown schema")
                        .label("expected `1`")
                        .help(HELP),
                );
                None
            }
        }
    }

    fn settings(&mut self, table: &Table<'_>) -> Settings {
        let default = Policy::default().settings;
        Settings {
            mode: match self.word(table, "mode", names::MODES) {
                Some(0) => PolicyMode::Enforce,
                Some(1) => PolicyMode::Audit,
                _ => default.mode,
            },
            semantics: match self.word(table, "semantics", names::SEMANTICS) {
                Some(0) => Mode::Off,
                Some(1) => Mode::Audit,
                Some(2) => Mode::Compat,
                Some(3) => Mode::Strict,
                _ => default.semantics,
            },
            fallback: match self.word(table, "default", names::DEFAULTS) {
                Some(0) => Fallback::Allow,
                Some(1) => Fallback::Deny,
                _ => default.fallback,
            },
            verbosity: match self.word(table, "audit", names::VERBOSITIES) {
                Some(0) => Verbosity::Marked,
                Some(1) => Verbosity::Changes,
                Some(2) => Verbosity::All,
                _ => default.verbosity,
            },
            linger_max: self
                .value(table, "linger-max")
                .map_or(default.linger_max, |(seconds, _)| seconds),
        }
    }

    fn keepalive(&mut self, table: &Table<'_>) -> Vec<u32> {
        let Some((_, value)) = table.get("keepalive-failure") else {
            return Policy::default().keepalive;
        };
        let mut statuses: Vec<_> = table::members(value)
            .iter()
            .filter_map(|member| self.status(member))
            .collect();
        statuses.sort_unstable();
        statuses.dedup();
        if statuses.len() > layout::MAX_KEEPALIVE_STATUSES {
            let most = format!("at most {}", layout::MAX_KEEPALIVE_STATUSES);
            self.push(Diagnostic::error(value.span(), "too many statuses").label(most));
        }
        statuses
    }

    /// An `[[initial]]`: a rule for no request, which forces one option.
    fn initial(&mut self, table: &Table<'_>) -> Rule {
        self.only_known(table, INITIAL_KEYS);
        let scope = self.option_scope(table);
        if table.get("option").is_none() {
            self.missing(table, "option", "an option name, or a number together with `level`");
        }
        self.numbers_make_sense(table, scope);
        let value = self.value(table, "value");
        match &value {
            Some((value, span)) => self.check_value(scope, *value, span),
            None if table.get("value").is_none() => self.missing(table, "value", "a number"),
            None => {}
        }
        Rule {
            description: self
                .string(table, "description", layout::MAX_DESCRIPTION)
                .unwrap_or_default(),
            requests: 0,
            scope: scope.unwrap_or(crate::model::Scope::Any),
            categories: self
                .mask(table, "category", names::CATEGORIES)
                .unwrap_or(layout::ALL_CATEGORIES),
            conditions: self.conditions(table),
            action: crate::model::Action::Force(value.map_or(0, |(value, _)| value)),
            ..Rule::default()
        }
    }
}

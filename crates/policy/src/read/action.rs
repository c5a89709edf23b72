//! What a rule does: the action, its operands, and whether its requests can have it.

use std::ops::Range;

use toml::de::DeValue;
use wskguard_core::policy::layout;

use super::rule::{BIND, GET, IOCTL, SET, article};
use super::table::{Reader, Table, Value};
use crate::diagnostic::Diagnostic;
use crate::model::{Action, Scope};
use crate::names;
use crate::ranges;

/// Keys that only some actions have.
const FOR_ACTIONS: &[(&str, &str)] = &[
    ("status", "deny"),
    ("min", "clamp"),
    ("max", "clamp"),
    ("value", "force"),
    ("map", "rewrite"),
];

/// Actions that only some requests have.
const ACTIONS_FOR: &[(&str, u8)] = &[
    ("succeed", SET | IOCTL),
    ("clamp", SET | GET),
    ("rewrite", SET | GET),
    ("force", SET | GET),
    ("exclusive", BIND),
];

impl Reader<'_> {
    /// The action, and whether it is `audit`.
    pub(super) fn action(&mut self, table: &Table<'_>, requests: u8, scope: Option<Scope>) -> (Action, bool) {
        let words = names::ACTIONS.iter().map(|(word, _)| *word);
        let Some((_, value)) = table.get("action") else {
            self.missing(table, "action", &names::one_of(words));
            return (Action::Allow, false);
        };
        if self.word(table, "action", names::ACTIONS).is_none() {
            return (Action::Allow, false);
        }
        let word = value.get_ref().as_str().unwrap_or_default();
        self.action_fits(table, value, word, requests);
        let action = match word {
            "deny" => {
                let status = table.get("status").and_then(|(_, value)| self.status(value));
                Action::Deny(status.unwrap_or(0xC000_0022))
            }
            "clamp" => self.clamp(table, value.span()),
            "force" => Action::Force(self.operand(table, "value", "force", scope)),
            "rewrite" => Action::Rewrite(self.map(table)),
            "succeed" => Action::Succeed,
            "exclusive" => Action::Exclusive,
            _ => Action::Allow,
        };
        (action, word == "audit")
    }

    fn action_fits(&mut self, table: &Table<'_>, value: &Value<'_>, word: &str, requests: u8) {
        for &(key, action) in FOR_ACTIONS.iter().filter(|(_, action)| *action != word) {
            if let Some((place, _)) = table.get(key) {
                let error = Diagnostic::error(place, format!("`{word}` takes no `{key}`"))
                    .label(format!("belongs to `{action}`"));
                let help =
                    (key == "value" && word == "rewrite").then(|| "a constant is `action = \"force\"`".to_owned());
                self.push(error.related(value.span(), "because of this").maybe_help(help));
            }
        }
        let allowed = ACTIONS_FOR
            .iter()
            .find(|(action, _)| *action == word)
            .map_or(layout::ALL_REQUESTS, |(_, mask)| *mask);
        if requests & !allowed != 0 {
            let of = names::one_of(names::of_mask(names::REQUESTS, requests & !allowed));
            let for_ = names::one_of(names::of_mask(names::REQUESTS, allowed));
            let error = Diagnostic::error(value.span(), format!("{} {of} rule cannot `{word}`", article(&of)))
                .label(format!("only {for_} rules can"));
            let help = (word == "succeed" && requests & GET != 0)
                .then(|| "a get must have an answer: `action = \"force\"` gives one".to_owned());
            self.push(error.maybe_help(help));
        }
    }

    fn clamp(&mut self, table: &Table<'_>, place: Range<usize>) -> Action {
        let (min, max) = (self.value(table, "min"), self.value(table, "max"));
        if table.get("min").is_none() && table.get("max").is_none() {
            self.push(Diagnostic::error(place, "`clamp` needs `min`, `max` or both"));
        }
        if let (Some((min, span)), Some((max, other))) = (&min, &max)
            && min > max
        {
            let error =
                Diagnostic::error(span.clone(), "`min` is above `max`").label(format!("expected at most {max}"));
            self.push(error.related(other.clone(), "`max` is this"));
        }
        Action::Clamp(min.map_or(0, |(min, _)| min), max.map_or(u32::MAX, |(max, _)| max))
    }

    fn operand(&mut self, table: &Table<'_>, key: &str, action: &str, scope: Option<Scope>) -> u32 {
        let value = self.value(table, key);
        match &value {
            Some((value, span)) => self.check_value(scope, *value, span),
            None if table.get(key).is_none() => {
                self.missing(table, key, &format!("a number, since the action is `{action}`"));
            }
            None => {}
        }
        value.map_or(0, |(value, _)| value)
    }

    /// The map of a rewrite.
    fn map(&mut self, table: &Table<'_>) -> Vec<((u64, u64), u32)> {
        const EXPECTED: &str = "a table such as `{ \"0\" = 8192, \">65536\" = 65536 }`";
        let Some((_, value)) = table.get("map") else {
            self.missing(table, "map", EXPECTED);
            return Vec::new();
        };
        let DeValue::Table(fields) = value.get_ref() else {
            self.wrong_type(value, EXPECTED);
            return Vec::new();
        };
        if fields.is_empty() {
            self.push(Diagnostic::error(value.span(), "the map is empty").label(format!("expected {EXPECTED}")));
        }
        let mut entries: Vec<((u64, u64), u32, Range<usize>)> = Vec::new();
        for (key, value) in fields {
            let from = ranges::parse(key.get_ref());
            if let Err(expected) = from {
                self.push(Diagnostic::error(key.span(), format!("`{}` is not a range", key.get_ref())).label(expected));
            }
            let to = self.one_value(value);
            entries.extend(
                from.unwrap_or_default()
                    .into_iter()
                    .zip(std::iter::repeat(to.unwrap_or(0)))
                    .map(|(from, to)| (from, to, key.span())),
            );
        }
        entries.sort_by_key(|(from, _, _)| *from);
        for pair in entries.windows(2) {
            if pair[0].0.1 >= pair[1].0.0 {
                let error = Diagnostic::error(pair[1].2.clone(), "the map has two answers for one value");
                self.push(error.label("overlaps the other").related(pair[0].2.clone(), "this one"));
            }
        }
        entries.into_iter().map(|(from, to, _)| (from, to)).collect()
    }
}

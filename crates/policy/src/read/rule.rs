//! One `[[rule]]`: its request, its options, its action, and whether they go together.

use std::ops::Range;

use toml::de::DeValue;
use wskguard_core::SOL_SOCKET;
use wskguard_core::catalogue::{self, Kind, Row, Space};
use wskguard_core::policy::layout;

use super::RuleSpans;
use super::table::{Reader, Table, Value, unsigned};
use crate::diagnostic::Diagnostic;
use crate::model::{Action, Rule, Scope};
use crate::names;
use crate::ranges;

const SET: u8 = 1;
const GET: u8 = 2;
const IOCTL: u8 = 4;
const BIND: u8 = 8;

/// The keys of a rule, in the order in which `show` writes them.
pub(crate) const RULE_KEYS: &[&str] = &[
    "name",
    "description",
    "request",
    "option",
    "level",
    "code",
    "category",
    "family",
    "protocol",
    "client",
    "process",
    "old",
    "new",
    "port",
    "address",
    "sharing",
    "action",
    "status",
    "min",
    "max",
    "value",
    "map",
    "audit",
];
/// The keys of an initial option.
pub(crate) const INITIAL_KEYS: &[&str] = &[
    "description",
    "category",
    "family",
    "protocol",
    "client",
    "process",
    "option",
    "level",
    "value",
];

/// Keys that only some requests have.
const FOR_REQUESTS: &[(&str, u8)] = &[
    ("option", SET | GET),
    ("level", SET | GET),
    ("code", IOCTL),
    ("old", SET | GET),
    ("new", SET),
    ("port", BIND),
    ("address", BIND),
    ("sharing", BIND),
];

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
    pub(super) fn rule(&mut self, table: &Table<'_>) -> (Rule, RuleSpans) {
        self.only_known(table, RULE_KEYS);
        if table.get("request").is_none() {
            self.missing(
                table,
                "request",
                &names::one_of(names::REQUESTS.iter().map(|(word, _)| *word)),
            );
        }
        let requests = self.mask(table, "request", names::REQUESTS).unwrap_or(0);
        self.keys_fit(table, requests);
        let scope = if requests == IOCTL {
            self.ioctl_scope(table)
        } else {
            self.option_scope(table)
        };
        let spans = RuleSpans {
            name: table.get("name").map_or(table.span.clone(), |(_, value)| value.span()),
            action: table
                .get("action")
                .map_or(table.span.clone(), |(_, value)| value.span()),
            values: ["new", "old"]
                .iter()
                .find_map(|key| table.get(key))
                .map_or(0..0, |(_, value)| value.span()),
        };
        let (action, marked) = self.action(table, requests, scope);
        let rule = Rule {
            name: self.required_string(table, "name", layout::MAX_NAME),
            description: self
                .string(table, "description", layout::MAX_DESCRIPTION)
                .unwrap_or_default(),
            requests,
            scope: scope.unwrap_or(Scope::Any),
            categories: self
                .mask(table, "category", names::CATEGORIES)
                .unwrap_or(layout::ALL_CATEGORIES),
            addresses: self
                .mask(table, "address", names::ADDRESSES)
                .unwrap_or(layout::ALL_ADDRESSES),
            sharing: self
                .mask(table, "sharing", names::SHARING)
                .unwrap_or(layout::ALL_SHARING),
            conditions: self.conditions(table),
            action,
            audit: self.boolean(table, "audit").unwrap_or(false) || marked,
        };
        self.numbers_make_sense(table, scope);
        (rule, spans)
    }

    /// Reports keys that the rule's requests do not have.
    fn keys_fit(&mut self, table: &Table<'_>, requests: u8) {
        for &(key, allowed) in FOR_REQUESTS {
            let Some((place, _)) = table.get(key).filter(|_| requests & !allowed != 0) else {
                continue;
            };
            let of = names::one_of(names::of_mask(names::REQUESTS, requests & !allowed));
            let for_ = names::one_of(names::of_mask(names::REQUESTS, allowed));
            let error = Diagnostic::error(place, format!("{} {of} rule has no `{key}`", article(&of)))
                .label(format!("belongs to {for_} rules"));
            let error = match table.get("request") {
                Some((_, value)) => error.related(value.span(), "because of this"),
                None => error,
            };
            self.push(error.maybe_help(misplaced(key, requests)));
        }
    }

    /// The options a set or get rule, or an initial option, is for. `None` also when it could not be read.
    pub(super) fn option_scope(&mut self, table: &Table<'_>) -> Option<Scope> {
        let level = table.get("level").map(|(_, value)| (self.level(value), value.span()));
        let Some((_, value)) = table.get("option") else {
            return level.and_then(|(level, _)| level).map(Scope::Level);
        };
        let named = value
            .get_ref()
            .as_str()
            .and_then(|name| names::entry(Space::Socket, name));
        if let Some(row) = named {
            if let Some((Some(other), span)) = level
                && other != SOL_SOCKET
            {
                let error = Diagnostic::error(span, "another level than the option's")
                    .label("expected `SOL_SOCKET`, or no `level`");
                self.push(error.related(value.span(), format!("{} is an option of SOL_SOCKET", row.name)));
            }
            return Some(Scope::Option {
                level: SOL_SOCKET,
                code: row.code,
            });
        }
        let code = self.code(
            value,
            Space::Socket,
            "an option name, or a number together with `level`",
        )?;
        if level.is_none() {
            let error = Diagnostic::error(value.span(), "an option number needs a `level`");
            self.push(
                error
                    .help("options of different levels have the same numbers: add `level = \"SOL_SOCKET\"` or another"),
            );
        }
        Some(Scope::Option { level: level?.0?, code })
    }

    fn ioctl_scope(&mut self, table: &Table<'_>) -> Option<Scope> {
        let (_, value) = table.get("code")?;
        self.code(value, Space::Ioctl, "an ioctl name or number")
            .map(Scope::Ioctl)
    }

    /// An option or ioctl, by name or number.
    fn code(&mut self, value: &Value<'_>, space: Space, expected: &str) -> Option<u32> {
        if let Some(name) = value.get_ref().as_str() {
            if let Some(row) = names::entry(space, name) {
                return Some(row.code);
            }
            if let Some(number) = ranges::number(name) {
                return self.code_number(value, Some(number), expected);
            }
            let what = if space == Space::Socket { "option" } else { "ioctl" };
            self.wrong_word(value, what, name, names::entries(space));
            return None;
        }
        self.code_number(value, unsigned(value.get_ref()), expected)
    }

    fn code_number(&mut self, value: &Value<'_>, number: Option<u64>, expected: &str) -> Option<u32> {
        let code = number.and_then(|number| u32::try_from(number).ok());
        if code.is_none() {
            self.wrong_type(value, expected);
        }
        code
    }

    fn level(&mut self, value: &Value<'_>) -> Option<u32> {
        let number = match value.get_ref().as_str() {
            Some(name) => {
                let number = names::LEVELS
                    .iter()
                    .find(|(word, _)| *word == name)
                    .map(|(_, number)| *number);
                if number.is_none() {
                    self.wrong_word(value, "level", name, names::LEVELS.iter().map(|(word, _)| *word));
                }
                number?
            }
            None => unsigned(value.get_ref()).unwrap_or(u64::MAX),
        };
        self.code_number(value, Some(number), "the name or number of a level")
    }

    /// The action, and whether it is `audit`.
    fn action(&mut self, table: &Table<'_>, requests: u8, scope: Option<Scope>) -> (Action, bool) {
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

    /// Reports numbers on an option whose value is none.
    pub(super) fn numbers_make_sense(&mut self, table: &Table<'_>, scope: Option<Scope>) {
        let Some(row) = scope.and_then(row) else { return };
        if !is_number(row) {
            for key in ["new", "old", "min", "max", "value", "map"] {
                if let Some((place, _)) = table.get(key) {
                    let error = Diagnostic::error(place, format!("the value of {} is not a number", row.name));
                    self.push(error.label(format!("`{key}` compares numbers")));
                }
            }
        }
    }

    /// Questions a value that the option cannot have.
    pub(super) fn check_value(&mut self, scope: Option<Scope>, value: u32, span: &Range<usize>) {
        let Some(row) = scope.and_then(row) else { return };
        if row.kind == Kind::Bool && value > 1 {
            let warning = Diagnostic::warning(span.clone(), format!("{} is a boolean", row.name));
            self.push(warning.label("expected `0` or `1`"));
        }
    }
}

/// The catalogue's row of a rule's option.
fn row(scope: Scope) -> Option<&'static Row> {
    match scope {
        Scope::Option { level, code } => catalogue::option(level, code),
        _ => None,
    }
}

/// Whether wskguard reads its value as a number.
fn is_number(row: &Row) -> bool {
    matches!(row.kind, Kind::Bool | Kind::Int | Kind::Linger)
}

/// The article for a word in quotes.
fn article(quoted: &str) -> &'static str {
    if quoted.starts_with("`i") { "an" } else { "a" }
}

/// Where a key that the request does not have belongs.
fn misplaced(key: &str, requests: u8) -> Option<String> {
    let help = match key {
        "port" | "address" if requests & SET != 0 => {
            "options are set before the bind, when no address is known: use `request = \"bind\"`, with `sharing = \"reuse\"` for SO_REUSEADDR"
        }
        "option" if requests == BIND => "a bind sees the sharing options together, as `sharing`",
        "option" | "level" if requests & IOCTL != 0 => "an ioctl has no level; name it with `code`",
        "code" => "an option is named with `option`",
        "new" if requests & GET != 0 => "a get asks for no value; `old` is the value on record",
        _ => return None,
    };
    Some(help.to_owned())
}

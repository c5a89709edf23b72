//! One `[[rule]]`: its request, its options, its action, and whether they go together.

use std::ops::Range;

use wskguard_core::SOL_SOCKET;
use wskguard_core::catalogue::{self, Kind, Opt, Row, Space};
use wskguard_core::policy::layout;
use wskguard_core::semantics::{Flag, Number};

use super::RuleSpans;
use super::table::{Reader, Table, Value, unsigned};
use crate::diagnostic::Diagnostic;
use crate::model::{Rule, Scope};
use crate::names;
use crate::ranges;

pub(super) const SET: u8 = 1;
pub(super) const GET: u8 = 2;
pub(super) const IOCTL: u8 = 4;
pub(super) const BIND: u8 = 8;

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

    /// Reports numbers on an option whose value is none, and questions those that wskguard does not know.
    pub(super) fn numbers_make_sense(&mut self, table: &Table<'_>, scope: Option<Scope>) {
        match scope {
            None | Some(Scope::Any | Scope::Ioctl(_) | Scope::Level(SOL_SOCKET)) => {}
            Some(scope) => match row(scope) {
                Some(row) if !is_number(row) => self.no_number(table, row),
                Some(row) if !is_recorded(row) => {
                    self.unknown(table, &["old"], "wskguard keeps no record of this option");
                }
                Some(_) => {}
                None => self.unknown(
                    table,
                    &["new", "old", "min", "max", "map"],
                    "wskguard reads only the values of SOL_SOCKET options",
                ),
            },
        }
    }

    fn no_number(&mut self, table: &Table<'_>, row: &Row) {
        for key in ["new", "old", "min", "max", "value", "map"] {
            if let Some((place, _)) = table.get(key) {
                let error = Diagnostic::error(place, format!("the value of {} is not a number", row.name));
                self.push(error.label(format!("`{key}` compares numbers")));
            }
        }
    }

    fn unknown(&mut self, table: &Table<'_>, keys: &[&str], why: &str) {
        for (key, (place, _)) in keys.iter().filter_map(|key| Some((key, table.get(key)?))) {
            self.push(Diagnostic::warning(place, format!("`{key}` has no effect here")).label(why));
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

/// Whether wskguard knows the value that an endpoint has.
fn is_recorded(row: &Row) -> bool {
    matches!(row.id, Opt::Linger | Opt::DontLinger) || Flag::of(row.id).is_some() || Number::of(row.id).is_some()
}

/// Whether wskguard reads its value as a number.
fn is_number(row: &Row) -> bool {
    matches!(row.kind, Kind::Bool | Kind::Int | Kind::Linger)
}

/// The article for a word in quotes.
pub(super) fn article(quoted: &str) -> &'static str {
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

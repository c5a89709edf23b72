//! Model to text: what [`crate::compile`] reads back as the same policy.

use std::fmt::Write;

use wskguard_core::catalogue;
use wskguard_core::policy::{Image, layout};

use crate::decode::decode;
use crate::model::{Action, Members, Policy, Principal, Rule, Scope};
use crate::names::{self, Numbers, Words};
use crate::ranges::{Ranges, notation};

/// The text of a compiled policy: it compiles to the same image. Comments are gone; names and descriptions are not.
#[must_use]
pub fn show(image: &Image<'_>) -> String {
    text(&decode(image))
}

/// A key and its value, as the text has them.
pub(crate) type Lines = Vec<(&'static str, String)>;

/// The text of a policy.
fn text(policy: &Policy) -> String {
    let mut out = policy_head(policy);
    for initial in &policy.initial {
        let _ = write!(out, "\n[[initial]]\n{}", written(&initial_lines(initial)));
    }
    for rule in &policy.rules {
        let _ = write!(out, "\n[[rule]]\n{}", rule_text(rule));
    }
    out
}

/// What stands above the first rule.
pub(crate) fn policy_head(policy: &Policy) -> String {
    written(&setting_lines(policy))
}

/// The lines of one rule, under its `[[rule]]`.
pub(crate) fn rule_text(rule: &Rule) -> String {
    written(&rule_lines(rule))
}

/// Writing to a string does not fail, here and above.
fn written(lines: &Lines) -> String {
    lines.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key} = {value}");
        out
    })
}

pub(crate) fn setting_lines(policy: &Policy) -> Lines {
    let settings = &policy.settings;
    let statuses: Vec<_> = policy
        .keepalive
        .iter()
        .map(|&status| quote(&names::of_status(status)))
        .collect();
    let mut out = Writer(vec![("schema", "1".to_owned()), ("name", quote(&policy.name))]);
    out.description(&policy.description);
    out.word("mode", names::MODES, settings.mode as u8);
    out.word("semantics", names::SEMANTICS, settings.semantics as u8);
    out.word("default", names::DEFAULTS, settings.fallback as u8);
    out.word("audit", names::VERBOSITIES, settings.verbosity as u8);
    out.line("linger-max", settings.linger_max.to_string());
    out.line("keepalive-failure", format!("[{}]", statuses.join(", ")));
    out.0
}

pub(crate) fn initial_lines(initial: &Rule) -> Lines {
    let mut out = Writer(Vec::new());
    out.description(&initial.description);
    out.mask(
        "category",
        names::CATEGORIES,
        initial.categories,
        layout::ALL_CATEGORIES,
    );
    out.conditions(initial);
    out.scope(initial.scope);
    out.operands(&initial.action);
    out.0
}

pub(crate) fn rule_lines(rule: &Rule) -> Lines {
    let mut out = Writer(vec![("name", quote(&rule.name))]);
    out.description(&rule.description);
    out.mask("request", names::REQUESTS, rule.requests, 0);
    out.scope(rule.scope);
    out.mask("category", names::CATEGORIES, rule.categories, layout::ALL_CATEGORIES);
    out.conditions(rule);
    out.mask("address", names::ADDRESSES, rule.addresses, layout::ALL_ADDRESSES);
    out.mask("sharing", names::SHARING, rule.sharing, layout::ALL_SHARING);
    out.line("action", quote(action_word(rule)));
    out.operands(&rule.action);
    if rule.audit && rule.action != Action::Allow {
        out.line("audit", "true".to_owned());
    }
    out.0
}

/// What a rule does, in one line.
pub(crate) fn action_text(rule: &Rule) -> String {
    let word = action_word(rule);
    let operands = match &rule.action {
        Action::Deny(status) => format!(" with {}", names::of_status(*status)),
        Action::Clamp(min, max) => format!(" to {}", notation((u64::from(*min), u64::from(*max)))),
        Action::Force(value) => format!(" {value}"),
        Action::Rewrite(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(from, to)| format!("{} to {to}", notation(*from)))
                .collect();
            format!(" {}", entries.join(", "))
        }
        Action::Allow | Action::Succeed | Action::Exclusive => String::new(),
    };
    word.to_owned() + &operands
}

/// The options of a scope, for people.
pub(crate) fn scope_text(scope: Scope) -> String {
    let mut out = Writer(Vec::new());
    out.scope(scope);
    let values: Vec<_> = out.0.iter().map(|(_, value)| value.replace('"', "")).collect();
    if values.is_empty() {
        "any".to_owned()
    } else {
        values.join(" ")
    }
}

fn action_word(rule: &Rule) -> &'static str {
    match &rule.action {
        Action::Allow if rule.audit => "audit",
        Action::Allow => "allow",
        Action::Deny(_) => "deny",
        Action::Succeed => "succeed",
        Action::Clamp(..) => "clamp",
        Action::Force(_) => "force",
        Action::Rewrite(_) => "rewrite",
        Action::Exclusive => "exclusive",
    }
}

struct Writer(Lines);

impl Writer {
    fn line(&mut self, key: &'static str, value: String) {
        self.0.push((key, value));
    }

    fn word(&mut self, key: &'static str, words: &Words, value: u8) {
        self.line(key, quote(names::of_value(words, value)));
    }

    fn description(&mut self, description: &str) {
        if !description.is_empty() {
            self.line("description", quote(description));
        }
    }

    fn scope(&mut self, scope: Scope) {
        match scope {
            Scope::Any => {}
            Scope::Level(level) => self.line("level", level_text(level)),
            Scope::Ioctl(code) => self.line("code", ioctl_text(code)),
            Scope::Option { level, code } => {
                if let Some(row) = catalogue::option(level, code) {
                    self.line("option", quote(row.name));
                } else {
                    self.line("level", level_text(level));
                    self.line("option", format!("{code:#x}"));
                }
            }
        }
    }

    fn mask(&mut self, key: &'static str, words: &Words, mask: u8, all: u8) {
        if mask != all {
            self.list(
                key,
                &names::of_mask(words, mask).into_iter().map(quote).collect::<Vec<_>>(),
            );
        }
    }

    fn conditions(&mut self, rule: &Rule) {
        for (field, members) in &rule.conditions {
            let words: &Numbers = match *field {
                layout::FIELD_PORT => names::PORTS,
                layout::FIELD_FAMILY => names::FAMILIES,
                layout::FIELD_PROTOCOL => names::PROTOCOLS,
                _ => &[],
            };
            let items = match members {
                Members::Ranges(ranges) => number_texts(ranges, words),
                Members::Principals(principals) => principals.iter().map(principal_text).collect(),
            };
            self.list(field_name(*field), &items);
        }
    }

    fn list(&mut self, key: &'static str, items: &[String]) {
        match items {
            [one] => self.line(key, one.clone()),
            _ => self.line(key, format!("[{}]", items.join(", "))),
        }
    }

    fn operands(&mut self, action: &Action) {
        match action {
            Action::Deny(status) => self.line("status", quote(&names::of_status(*status))),
            Action::Clamp(min, max) => {
                if *min != 0 || *max == u32::MAX {
                    self.line("min", min.to_string());
                }
                if *max != u32::MAX {
                    self.line("max", max.to_string());
                }
            }
            Action::Force(value) => self.line("value", value.to_string()),
            Action::Rewrite(map) => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(from, to)| format!("{} = {to}", quote(&notation(*from))))
                    .collect();
                self.line("map", format!("{{ {} }}", entries.join(", ")));
            }
            Action::Allow | Action::Succeed | Action::Exclusive => {}
        }
    }
}

/// The key of a condition.
pub(crate) fn field_name(field: u8) -> &'static str {
    match field {
        layout::FIELD_NEW => "new",
        layout::FIELD_OLD => "old",
        layout::FIELD_PORT => "port",
        layout::FIELD_FAMILY => "family",
        layout::FIELD_PROTOCOL => "protocol",
        layout::FIELD_CLIENT => "client",
        _ => "process",
    }
}

fn number_texts(ranges: &Ranges, words: &Numbers) -> Vec<String> {
    let text = |&(low, high): &(u64, u64)| {
        if low != high {
            return quote(&notation((low, high)));
        }
        match names::of_number(words, low) {
            Some(word) => quote(word),
            // TOML integers are signed.
            None if low > i64::MAX.cast_unsigned() => quote(&low.to_string()),
            None => low.to_string(),
        }
    };
    ranges.as_slice().iter().map(text).collect()
}

pub(crate) fn principal_text(principal: &Principal) -> String {
    match principal {
        Principal::Image(name) => quote(name),
        Principal::Module(module) => quote(&names::of_guid(*module)),
        Principal::Pid(pid) => pid.to_string(),
        Principal::NoProcess => quote("none"),
        Principal::AnyProcess => quote("given"),
    }
}

fn level_text(level: u32) -> String {
    names::of_number(names::LEVELS, level.into()).map_or_else(|| level.to_string(), quote)
}

fn ioctl_text(code: u32) -> String {
    catalogue::ioctl(code).map_or_else(|| format!("{code:#x}"), |row| quote(row.name))
}

/// A TOML basic string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

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

/// The text of a policy.
pub(crate) fn text(policy: &Policy) -> String {
    let settings = &policy.settings;
    let mut out = Writer(String::new());
    out.line("schema", "1");
    out.line("name", &quote(&policy.name));
    out.description(&policy.description);
    out.line("mode", &quote(names::of_value(names::MODES, settings.mode as u8)));
    out.line(
        "semantics",
        &quote(names::of_value(names::SEMANTICS, settings.semantics as u8)),
    );
    out.line(
        "default",
        &quote(names::of_value(names::DEFAULTS, settings.fallback as u8)),
    );
    out.line(
        "audit",
        &quote(names::of_value(names::VERBOSITIES, settings.verbosity as u8)),
    );
    out.line("linger-max", &settings.linger_max.to_string());
    let statuses = policy.keepalive.iter().map(|&status| quote(&names::of_status(status)));
    out.line(
        "keepalive-failure",
        &format!("[{}]", statuses.collect::<Vec<_>>().join(", ")),
    );
    for initial in &policy.initial {
        out.0.push_str("\n[[initial]]\n");
        out.initial(initial);
    }
    for rule in &policy.rules {
        out.0.push_str("\n[[rule]]\n");
        out.rule(rule);
    }
    out.0
}

/// One rule, as the lines under its `[[rule]]`.
pub(crate) fn rule_text(rule: &Rule) -> String {
    let mut out = Writer(String::new());
    if rule.requests == 0 {
        out.initial(rule)
    } else {
        out.rule(rule)
    }
    out.0
}

struct Writer(String);

impl Writer {
    fn line(&mut self, key: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn description(&mut self, description: &str) {
        if !description.is_empty() {
            self.line("description", &quote(description));
        }
    }

    fn initial(&mut self, initial: &Rule) {
        self.description(&initial.description);
        self.mask(
            "category",
            names::CATEGORIES,
            initial.categories,
            layout::ALL_CATEGORIES,
        );
        self.conditions(initial);
        self.scope(initial.scope);
        if let Action::Force(value) = initial.action {
            self.line("value", &value.to_string());
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.line("name", &quote(&rule.name));
        self.description(&rule.description);
        self.mask("request", names::REQUESTS, rule.requests, 0);
        self.scope(rule.scope);
        self.mask("category", names::CATEGORIES, rule.categories, layout::ALL_CATEGORIES);
        self.conditions(rule);
        self.mask("address", names::ADDRESSES, rule.addresses, layout::ALL_ADDRESSES);
        self.mask("sharing", names::SHARING, rule.sharing, layout::ALL_SHARING);
        self.action(rule);
    }

    fn scope(&mut self, scope: Scope) {
        match scope {
            Scope::Any => {}
            Scope::Level(level) => self.line("level", &level_text(level)),
            Scope::Ioctl(code) => self.line("code", &ioctl_text(code)),
            Scope::Option { level, code } => match catalogue::option(level, code) {
                Some(row) => self.line("option", &quote(row.name)),
                None => {
                    self.line("level", &level_text(level));
                    self.line("option", &format!("{code:#x}"));
                }
            },
        }
    }

    fn mask(&mut self, key: &str, words: &Words, mask: u8, all: u8) {
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

    fn list(&mut self, key: &str, items: &[String]) {
        match items {
            [one] => self.line(key, one),
            _ => self.line(key, &format!("[{}]", items.join(", "))),
        }
    }

    fn action(&mut self, rule: &Rule) {
        let mut audit = rule.audit;
        let word = match &rule.action {
            Action::Allow if audit => {
                audit = false;
                "audit"
            }
            Action::Allow => "allow",
            Action::Deny(_) => "deny",
            Action::Succeed => "succeed",
            Action::Clamp(..) => "clamp",
            Action::Force(_) => "force",
            Action::Rewrite(_) => "rewrite",
            Action::Exclusive => "exclusive",
        };
        self.line("action", &quote(word));
        match &rule.action {
            Action::Deny(status) => self.line("status", &quote(&names::of_status(*status))),
            Action::Clamp(min, max) => {
                if *min != 0 || *max == u32::MAX {
                    self.line("min", &min.to_string());
                }
                if *max != u32::MAX {
                    self.line("max", &max.to_string());
                }
            }
            Action::Force(value) => self.line("value", &value.to_string()),
            Action::Rewrite(map) => {
                let entries = map
                    .iter()
                    .map(|(from, to)| format!("{} = {to}", quote(&notation(*from))));
                self.line("map", &format!("{{ {} }}", entries.collect::<Vec<_>>().join(", ")));
            }
            Action::Allow | Action::Succeed | Action::Exclusive => {}
        }
        if audit {
            self.line("audit", "true");
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

//! What a rule matches besides its request and option: numbers, clients and processes.

use toml::de::DeValue;
use wskguard_core::policy::{ImageName, layout};

use super::table::{Reader, Table, Value, members, unsigned};
use crate::diagnostic::Diagnostic;
use crate::model::{Members, Principal};
use crate::names::{self, Numbers};
use crate::ranges::{self, Ranges};

/// The keys that are sets of numbers: field, words, largest.
const NUMBERS: &[(&str, u8, &Numbers, u64)] = &[
    ("new", layout::FIELD_NEW, &[], u64::MAX),
    ("old", layout::FIELD_OLD, &[], u64::MAX),
    ("port", layout::FIELD_PORT, names::PORTS, 0xFFFF),
    ("family", layout::FIELD_FAMILY, names::FAMILIES, 0xFFFF),
    ("protocol", layout::FIELD_PROTOCOL, names::PROTOCOLS, 0xFFFF_FFFF),
];

impl Reader<'_> {
    /// All conditions of a table, ascending by field.
    pub(super) fn conditions(&mut self, table: &Table<'_>) -> Vec<(u8, Members)> {
        let mut conditions = Vec::new();
        for &(key, field, words, largest) in NUMBERS {
            if let Some((_, value)) = table.get(key) {
                conditions.push((field, Members::Ranges(self.numbers(value, words, largest))));
            }
        }
        for (key, field) in [("client", layout::FIELD_CLIENT), ("process", layout::FIELD_PROCESS)] {
            if let Some((_, value)) = table.get(key) {
                conditions.push((field, Members::Principals(self.principals(value, field))));
            }
        }
        conditions.sort_by_key(|(field, _)| *field);
        conditions
    }

    /// A number, word or range, or a list of them.
    fn numbers(&mut self, value: &Value<'_>, words: &'static Numbers, largest: u64) -> Ranges {
        let members = members(value);
        if members.is_empty() {
            self.empty_list(value);
        }
        Ranges::new(
            members
                .into_iter()
                .flat_map(|member| self.range(member, words, largest))
                .collect(),
        )
    }

    fn range(&mut self, value: &Value<'_>, words: &'static Numbers, largest: u64) -> Vec<(u64, u64)> {
        let ranges = match value.get_ref() {
            DeValue::Boolean(boolean) if words.is_empty() => vec![(u64::from(*boolean), u64::from(*boolean))],
            DeValue::String(text) => match words.iter().find(|(word, _)| word == text) {
                Some((_, number)) => vec![(*number, *number)],
                None => self.range_expression(value, text, words),
            },
            integer => {
                if let Some(number) = unsigned(integer) {
                    vec![(number, number)]
                } else {
                    self.not_a_value(value, "a number or a range");
                    Vec::new()
                }
            }
        };
        if ranges.iter().any(|(low, _)| *low > largest) {
            self.push(
                Diagnostic::error(value.span(), "the number is too large").label(format!("expected at most {largest}")),
            );
        }
        // `>0` has no upper end of its own.
        ranges.into_iter().map(|(low, high)| (low, high.min(largest))).collect()
    }

    fn range_expression(&mut self, value: &Value<'_>, text: &str, words: &'static Numbers) -> Vec<(u64, u64)> {
        ranges::parse(text).unwrap_or_else(|expected| {
            let known = words.iter().map(|(word, _)| *word);
            if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !words.is_empty() {
                self.wrong_word(value, "word", text, known);
            } else {
                self.push(Diagnostic::error(value.span(), format!("`{text}` is not a range")).label(expected));
            }
            Vec::new()
        })
    }

    /// Clients or processes, or a list of them.
    fn principals(&mut self, value: &Value<'_>, field: u8) -> Vec<Principal> {
        let members = members(value);
        if members.is_empty() {
            self.empty_list(value);
        }
        let mut principals: Vec<_> = members
            .into_iter()
            .filter_map(|member| self.principal(member, field))
            .collect();
        principals.sort();
        principals.dedup();
        principals
    }

    fn principal(&mut self, value: &Value<'_>, field: u8) -> Option<Principal> {
        let client = field == layout::FIELD_CLIENT;
        let expected = if client {
            "the file name of a driver, such as \"msquic.sys\", or a module id, \"{…}\""
        } else {
            "a process id, the file name of an image, `none` or `given`"
        };
        match value.get_ref() {
            DeValue::String(text) => match text.as_ref() {
                "none" if !client => Some(Principal::NoProcess),
                "given" if !client => Some(Principal::AnyProcess),
                guid if client && guid.starts_with('{') => self.module(value, guid),
                name => self.image(value, name, expected),
            },
            integer if !client => {
                let pid = unsigned(integer).map(Principal::Pid);
                if pid.is_none() {
                    self.wrong_type(value, expected);
                }
                pid
            }
            _ => {
                self.wrong_type(value, expected);
                None
            }
        }
    }

    fn module(&mut self, value: &Value<'_>, text: &str) -> Option<Principal> {
        let module = names::guid(text).filter(|module| *module != [0; 16]);
        if module.is_none() {
            let error = Diagnostic::error(value.span(), format!("`{text}` is not a module id"));
            self.push(error.label("expected a GUID, {01234567-89AB-CDEF-0123-456789ABCDEF}, not all zero"));
        }
        module.map(Principal::Module)
    }

    fn image(&mut self, value: &Value<'_>, text: &str, expected: &str) -> Option<Principal> {
        if text.contains(['\\', '/']) {
            let error = Diagnostic::error(value.span(), "a path").label(format!("expected {expected}"));
            self.push(error.help("images are known by their file name only"));
            return None;
        }
        if text.is_empty() || text.len() > ImageName::LONGEST {
            let label = format!("expected {expected}, at most {} bytes", ImageName::LONGEST);
            self.push(Diagnostic::error(value.span(), "not a file name").label(label));
            return None;
        }
        Some(Principal::Image(text.to_ascii_lowercase()))
    }
}

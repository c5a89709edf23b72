//! A TOML table with the means to say what is wrong in it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::names::{self, Words};
use crate::ranges;

/// A value and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A table of the text.
pub(super) struct Table<'t> {
    pub(super) fields: &'t DeTable<'t>,
    pub(super) span: Range<usize>,
    /// What it is, with its article.
    pub(super) what: &'static str,
}

impl<'t> Table<'t> {
    /// The key's place, and its value.
    pub(super) fn get(&self, key: &str) -> Option<(Range<usize>, &'t Value<'t>)> {
        self.fields.get_key_value(key).map(|(key, value)| (key.span(), value))
    }
}

/// The members of a list; a single value is a list of one.
pub(super) fn members<'t>(value: &'t Value<'t>) -> Vec<&'t Value<'t>> {
    match value.get_ref() {
        DeValue::Array(array) => array.iter().collect(),
        _ => vec![value],
    }
}

/// The number of an integer, when it is not negative and fits.
pub(super) fn unsigned(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Collects findings while tables are read.
pub(super) struct Reader<'d> {
    pub(super) diagnostics: &'d mut Diagnostics,
}

impl Reader<'_> {
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports keys that `table` cannot have.
    pub(super) fn only_known(&mut self, table: &Table<'_>, known: &[&'static str]) {
        for key in table
            .fields
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let name = key.get_ref();
            let help = match names::near(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{} can have {}", table.what, names::one_of(known.iter().copied())),
            };
            let message = format!("{} has no key `{name}`", table.what);
            self.push(Diagnostic::error(key.span(), message).label("unknown key").help(help));
        }
    }

    pub(super) fn missing(&mut self, table: &Table<'_>, key: &str, expected: &str) {
        let message = format!("{} needs `{key}`", table.what);
        self.push(Diagnostic::error(table.span.clone(), message).label(format!("expected `{key}`: {expected}")));
    }

    /// Reports a value of the wrong type.
    pub(super) fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
        let found = value.get_ref().type_str();
        self.push(Diagnostic::error(value.span(), format!("unexpected {found}")).label(format!("expected {expected}")));
    }

    /// Reports a word, of the kind `what`, that is none of `words`.
    pub(super) fn wrong_word<'w>(
        &mut self,
        value: &Value<'_>,
        what: &str,
        word: &str,
        words: impl Iterator<Item = &'w str> + Clone,
    ) {
        let help = names::near(word, words.clone()).map(|near| format!("did you mean `{near}`?"));
        let few = words.clone().take(11).count() <= 10;
        let label = if few {
            format!("expected {}", names::one_of(words))
        } else {
            format!("not the name of an {what}")
        };
        self.push(
            Diagnostic::error(value.span(), format!("unknown {what} `{word}`"))
                .label(label)
                .maybe_help(help),
        );
    }

    /// The tables of an array of tables.
    pub(super) fn tables<'t>(&mut self, table: &Table<'t>, key: &str, what: &'static str) -> Vec<Table<'t>> {
        let Some((_, value)) = table.get(key) else {
            return Vec::new();
        };
        let expected = format!("tables: each begins with `[[{key}]]`");
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type(value, &expected);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for member in array {
            match member.get_ref() {
                DeValue::Table(fields) => tables.push(Table {
                    fields,
                    span: member.span(),
                    what,
                }),
                _ => self.wrong_type(member, &expected),
            }
        }
        tables
    }

    /// A string of at most `longest` bytes.
    pub(super) fn string(&mut self, table: &Table<'_>, key: &str, longest: usize) -> Option<String> {
        let (_, value) = table.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, "a string");
            return None;
        };
        if text.len() > longest {
            let message = format!("{} bytes, more than the limit", text.len());
            self.push(Diagnostic::error(value.span(), message).label(format!("expected at most {longest} bytes")));
        }
        Some(text.to_owned())
    }

    pub(super) fn required_string(&mut self, table: &Table<'_>, key: &str, longest: usize) -> String {
        if table.get(key).is_none() {
            self.missing(table, key, "a string");
        }
        let text = self.string(table, key, longest);
        if let (Some(""), Some((_, value))) = (text.as_deref(), table.get(key)) {
            self.push(Diagnostic::error(value.span(), format!("`{key}` is empty")));
        }
        text.unwrap_or_default()
    }

    pub(super) fn boolean(&mut self, table: &Table<'_>, key: &str) -> Option<bool> {
        let (_, value) = table.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(value, "`true` or `false`");
        }
        boolean
    }

    /// One of `words`.
    pub(super) fn word(&mut self, table: &Table<'_>, key: &str, words: &'static Words) -> Option<u8> {
        let (_, value) = table.get(key)?;
        self.one_word(value, words)
    }

    /// The union of some of `words`. Not `None` for an empty list: that matches nothing, and is an error.
    pub(super) fn mask(&mut self, table: &Table<'_>, key: &str, words: &'static Words) -> Option<u8> {
        let (_, value) = table.get(key)?;
        let members = members(value);
        if members.is_empty() {
            self.empty_list(value);
        }
        Some(
            members
                .into_iter()
                .filter_map(|member| self.one_word(member, words))
                .fold(0, |mask, bit| mask | bit),
        )
    }

    fn one_word(&mut self, value: &Value<'_>, words: &'static Words) -> Option<u8> {
        let names = words.iter().map(|(word, _)| *word);
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, &names::one_of(names));
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, bit)| *bit);
        if found.is_none() {
            self.wrong_word(value, "word", text, names);
        }
        found
    }

    pub(super) fn empty_list(&mut self, value: &Value<'_>) {
        let help = "leave the key out to allow anything";
        self.push(Diagnostic::error(value.span(), "an empty list matches nothing").help(help));
    }

    /// A value for the provider: a number of 32 bits, or a boolean.
    pub(super) fn value(&mut self, table: &Table<'_>, key: &str) -> Option<(u32, Range<usize>)> {
        let (_, value) = table.get(key)?;
        self.one_value(value).map(|number| (number, value.span()))
    }

    pub(super) fn one_value(&mut self, value: &Value<'_>) -> Option<u32> {
        let number = match value.get_ref() {
            DeValue::Boolean(boolean) => Some(u32::from(*boolean)),
            DeValue::String(text) => ranges::number(text).and_then(|number| u32::try_from(number).ok()),
            integer => unsigned(integer).and_then(|number| u32::try_from(number).ok()),
        };
        if number.is_none() {
            self.not_a_value(value, "a number from 0 to 4294967295");
        }
        number
    }

    /// Reports what is no number, or is a negative one.
    pub(super) fn not_a_value(&mut self, value: &Value<'_>, expected: &str) {
        match value
            .get_ref()
            .as_integer()
            .and_then(|integer| integer.as_str().parse::<i64>().ok())
        {
            Some(negative @ i64::MIN..0) => {
                let error =
                    Diagnostic::error(value.span(), "values are unsigned").label(format!("expected {expected}"));
                let help = i32::try_from(negative)
                    .ok()
                    .map(|negative| format!("as 32 bits, {negative} is {}", negative.cast_unsigned()));
                self.push(error.maybe_help(help));
            }
            _ => self.wrong_type(value, expected),
        }
    }

    /// An NTSTATUS of severity error, by name or number.
    pub(super) fn status(&mut self, value: &Value<'_>) -> Option<u32> {
        let status = match value.get_ref() {
            DeValue::String(text) if text.starts_with("WSA") => {
                let error = Diagnostic::error(value.span(), format!("`{text}` is a Winsock error"));
                self.push(error.label("expected an NTSTATUS, such as `STATUS_ACCESS_DENIED`"));
                return None;
            }
            DeValue::String(text) => {
                let number =
                    names::status(text).or_else(|| ranges::number(text).and_then(|number| number.try_into().ok()));
                if number.is_none() {
                    let mut names: Vec<_> = names::error_statuses().collect();
                    names.sort_unstable();
                    self.wrong_word(value, "error status", text, names.into_iter());
                }
                number?
            }
            _ => {
                if let Some(number) = unsigned(value.get_ref()).and_then(|number| u32::try_from(number).ok()) {
                    number
                } else {
                    self.wrong_type(value, "the name or number of an NTSTATUS");
                    return None;
                }
            }
        };
        if status < 0xC000_0000 {
            let error = Diagnostic::error(value.span(), "not an error status").label("expected 0xC0000000 or above");
            self.push(error.help("`action = \"succeed\"` completes a request with STATUS_SUCCESS"));
            return None;
        }
        Some(status)
    }
}

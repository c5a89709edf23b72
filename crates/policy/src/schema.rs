//! The JSON Schema of the policy format, for editors. The compiler does not use it; tests hold the two together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use wskguard_core::catalogue::Space;

use crate::names;

/// The schema, as it stands in docs/policy.schema.json.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = schemars::schema_for!(Document).to_value();
    without_null(&mut schema);
    // A schema is a JSON value: printing it does not fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// TOML has no null: a key is left out instead.
fn without_null(schema: &mut Value) {
    let is_null = |member: &Value| member.is_null() || *member == json!("null") || *member == json!({ "type": "null" });
    match schema {
        Value::Array(members) => {
            members.retain(|member| !is_null(member));
            members.iter_mut().for_each(without_null);
        }
        Value::Object(keywords) => keywords.values_mut().for_each(without_null),
        _ => {}
    }
    // What is left of a choice between one thing and null is that thing.
    for choice in ["anyOf", "type"] {
        let Some(keywords) = schema.as_object_mut() else { return };
        let Some(Value::Array(members)) = keywords
            .get_mut(choice)
            .filter(|members| members.as_array().is_some_and(|m| m.len() == 1))
        else {
            continue;
        };
        match members.remove(0) {
            Value::Object(only) => {
                keywords.remove(choice);
                keywords.extend(only.into_iter().filter(|(key, _)| key != "description"));
            }
            only => drop(keywords.insert(choice.to_owned(), only)),
        }
    }
}

/// A wskguard policy.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(title = "wskguard policy", deny_unknown_fields, rename_all = "kebab-case")]
#[cfg_attr(test, serde(deny_unknown_fields, rename_all = "kebab-case"))]
#[expect(dead_code, reason = "describes the format, is never filled in")]
struct Document {
    /// Version of the format.
    #[schemars(range(min = 1, max = 1))]
    schema: u32,
    /// Name of the policy.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Free text.
    description: Option<String>,
    /// Carry decisions out, or only record them.
    mode: Option<PolicyMode>,
    /// How option semantics are applied.
    semantics: Option<Semantics>,
    /// What happens where no rule matches.
    default: Option<Fallback>,
    /// Which decisions are recorded: those of rules with `audit`; also those that refuse or change something; all.
    audit: Option<Verbosity>,
    /// Longest graceful close, seconds.
    linger_max: Option<u32>,
    /// Completions that count as a keep-alive failure.
    keepalive_failure: Option<OneOrMore<Status>>,
    /// Options set on new endpoints.
    initial: Option<Vec<Initial>>,
    /// Rules: the first that matches decides.
    rule: Option<Vec<Rule>>,
}

/// A rule.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(deny_unknown_fields)]
#[cfg_attr(test, serde(deny_unknown_fields))]
#[expect(dead_code, reason = "describes the format, is never filled in")]
struct Rule {
    /// Unique name.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Free text that `explain` shows.
    description: Option<String>,
    /// Request kinds.
    request: OneOrMore<Request>,
    /// Set, get: option name, or number together with `level`.
    option: Option<OptionName>,
    /// Set, get: level; alone, every option of it.
    level: Option<Level>,
    /// Ioctl: name or number.
    code: Option<IoctlName>,
    /// Categories of endpoints.
    category: Option<OneOrMore<Category>>,
    /// Address families: `inet`, `inet6` or numbers.
    family: Option<OneOrMore<Numbers>>,
    /// Protocols: `tcp`, `udp` or numbers.
    protocol: Option<OneOrMore<Numbers>>,
    /// Client drivers: file names or module ids.
    client: Option<OneOrMore<String>>,
    /// Owning processes: ids, image names, `none` or `given`.
    process: Option<OneOrMore<Process>>,
    /// Set, get: the value on record.
    old: Option<OneOrMore<Numbers>>,
    /// Set: the value asked for.
    new: Option<OneOrMore<Numbers>>,
    /// Bind: ports, `ephemeral` is 0.
    port: Option<OneOrMore<Numbers>>,
    /// Bind: kind of address.
    address: Option<OneOrMore<Address>>,
    /// Bind: sharing options in force.
    sharing: Option<OneOrMore<Sharing>>,
    /// What the rule does.
    action: Action,
    /// Deny: the NTSTATUS; `STATUS_ACCESS_DENIED` when left out.
    status: Option<Status>,
    /// Clamp: lowest value.
    min: Option<Operand>,
    /// Clamp: highest value.
    max: Option<Operand>,
    /// Force: the value.
    value: Option<Operand>,
    /// Rewrite: values and ranges, and what replaces them.
    map: Option<BTreeMap<String, Operand>>,
    /// Record request, values and outcome.
    audit: Option<bool>,
}

/// An option set on new endpoints.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(deny_unknown_fields)]
#[cfg_attr(test, serde(deny_unknown_fields))]
#[expect(dead_code, reason = "describes the format, is never filled in")]
struct Initial {
    /// Free text.
    description: Option<String>,
    /// Categories of endpoints.
    category: Option<OneOrMore<Category>>,
    /// Address families: `inet`, `inet6` or numbers.
    family: Option<OneOrMore<Numbers>>,
    /// Protocols: `tcp`, `udp` or numbers.
    protocol: Option<OneOrMore<Numbers>>,
    /// Client drivers: file names or module ids.
    client: Option<OneOrMore<String>>,
    /// Owning processes: ids, image names, `none` or `given`.
    process: Option<OneOrMore<Process>>,
    /// Option name, or number together with `level`.
    option: OptionName,
    /// Level of an option number.
    level: Option<Level>,
    /// Value.
    value: Operand,
}

#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(untagged, inline)]
#[cfg_attr(test, serde(untagged))]
#[expect(dead_code, reason = "describes the format, is never filled in")]
enum OneOrMore<T> {
    One(T),
    More(#[schemars(length(min = 1))] Vec<T>),
}

#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(untagged, inline)]
#[cfg_attr(test, serde(untagged))]
#[expect(dead_code, reason = "describes the format, is never filled in")]
enum Process {
    Pid(u64),
    Name(String),
}

/// A closed set of words.
macro_rules! words {
    ($($name:ident = $words:path;)*) => {$(
        #[cfg_attr(test, derive(serde::Deserialize))]
        #[cfg_attr(test, serde(transparent))]
        #[expect(dead_code, reason = "describes the format, is never filled in")]
        struct $name(String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words: Vec<_> = $words.iter().map(|(word, _)| *word).collect();
                json_schema!({ "enum": words })
            }
        }
    )*};
}

words! {
    PolicyMode = names::MODES;
    Semantics = names::SEMANTICS;
    Fallback = names::DEFAULTS;
    Verbosity = names::VERBOSITIES;
    Request = names::REQUESTS;
    Category = names::CATEGORIES;
    Address = names::ADDRESSES;
    Sharing = names::SHARING;
    Action = names::ACTIONS;
}

/// A number, or one of many words, or a string of another form.
macro_rules! scalars {
    ($($name:ident: $text:literal = $schema:expr;)*) => {$(
        #[doc = $text]
        #[cfg_attr(test, derive(serde::Deserialize))]
        #[cfg_attr(test, serde(untagged))]
        #[expect(dead_code, reason = "describes the format, is never filled in")]
        enum $name {
            Number(u64),
            Boolean(bool),
            Text(String),
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema: Schema = $schema;
                schema.insert("description".to_owned(), $text.into());
                schema
            }
        }
    )*};
}

const NUMBER: &str = r"^\s*(0[xX][0-9a-fA-F_]+|[0-9_]+)\s*$";

scalars! {
    OptionName: "An option name, or a number together with `level`" = named(names::entries(Space::Socket));
    IoctlName: "An ioctl name or number" = named(names::entries(Space::Ioctl));
    Level: "The name or number of a level" = named(names::LEVELS.iter().map(|(word, _)| *word));
    Status: "The name or number of an error NTSTATUS" = named({
        let mut statuses: Vec<_> = names::error_statuses().collect();
        statuses.sort_unstable();
        statuses.into_iter()
    });
    Operand: "An unsigned 32-bit value, or a boolean" = json_schema!({
        "anyOf": [{ "type": "integer", "minimum": 0, "maximum": u32::MAX }, { "type": "boolean" }, { "type": "string", "pattern": NUMBER }]
    });
    Numbers: "A number, a boolean, a word, or a range such as \"1..=5\", \"1..\", \"..=5\", \">0\", \"<=9\" or \"!=0\"" = json_schema!({
        "type": ["integer", "boolean", "string"], "minimum": 0
    });
}

fn named(words: impl Iterator<Item = &'static str>) -> Schema {
    let words: Vec<_> = words.collect();
    json_schema!({
        "anyOf": [{ "enum": words }, { "type": "integer", "minimum": 0, "maximum": u32::MAX }, { "type": "string", "pattern": NUMBER }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{INITIAL_KEYS, KEYS, RULE_KEYS};

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    /// `WSKGUARD_BLESS=1 cargo test -p wskguard-policy schema` writes the file anew.
    #[test]
    fn the_published_schema_is_current() {
        let path = format!("{ROOT}/docs/policy.schema.json");
        if std::env::var_os("WSKGUARD_BLESS").is_some() {
            std::fs::write(&path, json_schema()).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap();
        assert!(published == json_schema(), "docs/policy.schema.json is out of date");
    }

    #[test]
    fn schema_and_compiler_have_the_same_keys() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        let keys = |object: &Value| -> Vec<String> {
            let mut keys: Vec<_> = object["properties"].as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let sorted = |keys: &[&str]| -> Vec<String> {
            let mut keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&schema), sorted(KEYS));
        assert_eq!(keys(&schema["$defs"]["Rule"]), sorted(RULE_KEYS));
        assert_eq!(keys(&schema["$defs"]["Initial"]), sorted(INITIAL_KEYS));
    }

    /// What the schema's types describe is what the ready-made policies are written in.
    #[test]
    fn ready_made_policies_are_of_the_types_the_schema_describes() {
        for entry in std::fs::read_dir(format!("{ROOT}/policies")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let document: Result<Document, _> = toml::from_str(&text);
            assert!(document.is_ok(), "{}: {}", path.display(), document.err().unwrap());
        }
    }
}

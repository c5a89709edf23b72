//! Every JSON line of the snapshots is what docs/wskguardctl.schema.json says of that command. The schema is read here, not the types that
//! it was made from.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

/// What a command's line is in the schema: the longest of these that it begins with.
const COMMANDS: [(&str, &str); 15] = [
    ("status", "status"),
    ("clients", "clients"),
    ("endpoints", "endpoints"),
    ("endpoints show", "endpoints"),
    ("endpoints watch", "endpoints-watch"),
    ("audit tail", "audit"),
    ("counters", "counters"),
    ("policy check", "policy-check"),
    ("policy load", "policy-load"),
    ("policy show", "policy-show"),
    ("policy diff", "policy-diff"),
    ("policy explain", "policy-explain"),
    ("policy learn", "policy-learn"),
    ("policy lock", "policy-lock"),
    ("stop", "stop"),
];

fn schema() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wskguardctl.schema.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// What is wrong with `value`, or nothing. Panics at a keyword that it does not know, so that none is passed over.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Object(keywords) => keywords,
        other => panic!("no schema: {other}"),
    };
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        faults(root, schema, value, at, &mut found);
        found.is_empty()
    };
    for (keyword, said) in keywords {
        let right = match keyword.as_str() {
            "description" | "title" | "default" | "format" | "$schema" | "$defs" => true,
            "$ref" => {
                let path = said.as_str().unwrap().strip_prefix('#').unwrap();
                faults(root, root.pointer(path).unwrap(), value, at, found);
                true
            }
            "type" => match said {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap(), value)),
                kind => is(kind.as_str().unwrap(), value),
            },
            "const" => said == value,
            "enum" => said.as_array().unwrap().contains(value),
            "anyOf" => said.as_array().unwrap().iter().any(fits),
            "oneOf" => said.as_array().unwrap().iter().filter(|one| fits(one)).count() == 1,
            "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= said.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= said.as_u64().unwrap()),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    faults(root, said, item, &format!("{at}[]"), found);
                }
                true
            }
            "required" => value.as_object().is_none_or(|fields| {
                let mut names = said.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                names.all(|name| fields.contains_key(name))
            }),
            "properties" => {
                let known = said.as_object().unwrap();
                for (name, field) in value.as_object().into_iter().flatten() {
                    match known.get(name) {
                        Some(schema) => faults(root, schema, field, &format!("{at}.{name}"), found),
                        None => found.push(format!("{at}.{name}: not in the schema")),
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (name, field) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) && said != &Value::Bool(false) {
                        faults(root, said, field, &format!("{at}.{name}"), found);
                    }
                }
                true
            }
            other => panic!("{at}: this test does not know {other:?}"),
        };
        if !right {
            found.push(format!("{at}: {keyword} {said}, not {value}"));
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no type: {other}"),
    }
}

fn output(command: &str) -> Option<&'static str> {
    let named = COMMANDS.iter().filter(|(name, _)| command.starts_with(name));
    named.max_by_key(|(name, _)| name.len()).map(|(_, output)| *output)
}

/// Runs with `--json` in a snapshot: command line, stdout, stderr.
fn runs(snapshot: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    snapshot.split("$ wskguardctl ").skip(1).filter_map(|run| {
        let (command, rest) = run.split_once('\n')?;
        let (stdout, rest) = rest.split_once("--- stderr\n")?;
        let (stderr, _) = rest.split_once("--- exit")?;
        command.contains("--json").then_some((command, stdout, stderr))
    })
}

/// JSON texts one after the other: a line each, or a document over several.
fn texts(text: &str) -> Vec<Value> {
    let read: Result<Vec<_>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    read.unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_snapshot_is_what_the_schema_says() {
    let schema = schema();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let snapshot = fs::read_to_string(entry.unwrap().path()).unwrap();
        for (command, stdout, stderr) in runs(&snapshot) {
            let failures = stderr.lines().filter(|line| line.starts_with('{')).flat_map(texts);
            let mut lines: Vec<_> = failures.map(|line| ("failure", line)).collect();
            for line in texts(stdout) {
                let output = output(command).unwrap_or_else(|| panic!("{command} prints what is in no schema"));
                lines.push((output, line));
            }
            for (output, line) in lines {
                let mut found = Vec::new();
                faults(&schema, &schema["properties"][output], &line, output, &mut found);
                assert!(found.is_empty(), "{command}: {found:#?}");
                seen.insert(output);
            }
        }
    }
    let all: BTreeSet<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(seen, all, "each output is in a snapshot");
}

#[test]
fn what_the_schema_does_not_say_is_found() {
    let schema = schema();
    for wrong in [r#"{"id":1}"#, r#"{"nothing":1}"#, "1"] {
        let value = serde_json::from_str(wrong).unwrap();
        let mut found = Vec::new();
        faults(&schema, &schema["properties"]["clients"], &value, "clients", &mut found);
        assert!(!found.is_empty(), "{wrong}");
    }
}

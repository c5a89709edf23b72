//! The runner on the given vectors: what must pass passes, what is spoilt fails, and names are of no account.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use wskguard_vectors::{Backend, Layer, Record, Report, Selection, Vector, Verdict, format, run, run_vectors};

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/vectors.jsonl")
}

fn text() -> String {
    std::fs::read_to_string(file()).unwrap()
}

fn decided_here(layer: Layer) -> bool {
    Record.refuses(layer).is_none()
}

fn record(vectors: Vec<Vector>) -> Report {
    run_vectors(vectors, &Selection::default(), &mut Record)
}

#[test]
fn every_row_of_the_four_layers_passes() {
    let report = run(&file(), &Selection::default(), &mut Record).unwrap();
    for row in report.rows.iter().filter(|row| decided_here(row.layer)) {
        assert_eq!(row.verdict, Verdict::Pass, "{}", row.id);
    }
    let (passed, failed, _) = report.counts();
    assert!(passed >= 367 && failed == 0, "{passed} passed, {failed} failed");
}

#[test]
fn ids_and_order_do_not_matter() {
    let plain = record(format::read(&file()).unwrap());
    let mut renamed = format::read(&file()).unwrap();
    for (number, vector) in renamed.iter_mut().enumerate() {
        vector.id = format!("row {number}");
    }
    let shuffled = run_vectors(
        renamed,
        &Selection {
            shuffle: Some(7),
            ..Selection::default()
        },
        &mut Record,
    );
    assert_eq!(plain.counts(), shuffled.counts());
    let order = |report: &Report| report.rows.iter().map(|row| row.layer).collect::<Vec<_>>();
    assert_ne!(order(&plain), order(&shuffled), "the order did change");
}

/// Every number, word and truth of every expectation, changed one at a time.
fn spoilt(expect: &Map<String, Value>) -> Vec<Map<String, Value>> {
    // Codes that are not compared, and words that stand for any value.
    const LOOSE: [&str; 3] = ["wsa_older", "wsa_documented", "irp_status_older"];
    let mut all = Vec::new();
    for (key, value) in expect.iter().filter(|(key, _)| !LOOSE.contains(&key.as_str())) {
        for other in other_than(key, value) {
            let mut copy = expect.clone();
            copy.insert(key.clone(), other);
            all.push(copy);
        }
    }
    all
}

fn other_than(key: &str, value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) if matches!(key, "value_not_onoff_of" | "step" | "count") => {
            vec![json!(number.as_i64().unwrap() + 1000)]
        }
        Value::Number(number) => vec![json!(number.as_i64().unwrap() + 1)],
        Value::String(hex) if key == "bytes" => {
            vec![json!(format!(
                "{}{}",
                if hex.starts_with('A') { 'B' } else { 'A' },
                &hex[1..]
            ))]
        }
        Value::String(word) if matches!(word.as_str(), "any" | "transport") => Vec::new(),
        Value::String(word) => match word.as_str() {
            "none" => vec![json!("present")],
            "present" => vec![json!("none")],
            "granted" => vec![json!("denied")],
            "denied" => vec![json!("granted")],
            "nonzero" => vec![json!(0)],
            _ => vec![json!(format!("{word}X"))],
        },
        Value::Array(list) if list.is_empty() => vec![json!([1])],
        Value::Array(_) => vec![json!([])],
        Value::Object(map) => spoilt(map).into_iter().map(Value::Object).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_changed_expectation_fails() {
    let mut spoilt_ones = 0;
    for line in text().lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        if !decided_here(format::parse(line).unwrap().layer) {
            continue;
        }
        for (index, step) in vector["steps"].as_array().unwrap().iter().enumerate() {
            let Some(expect) = step.get("expect").and_then(Value::as_object) else {
                continue;
            };
            for copy in spoilt(expect) {
                let mut changed = vector.clone();
                changed["steps"][index]["expect"] = Value::Object(copy);
                let Ok(parsed) = format::parse(&changed.to_string()) else {
                    continue;
                };
                spoilt_ones += 1;
                let report = record(vec![parsed]);
                assert!(
                    matches!(report.rows[0].verdict, Verdict::Fail(_)),
                    "passes when spoilt: {changed}"
                );
            }
        }
    }
    assert!(spoilt_ones > 600, "{spoilt_ones}");
}

#[test]
fn what_the_format_does_not_know_is_an_error() {
    let line = text()
        .lines()
        .find(|line| line.contains("\"LEN-RB-10\""))
        .unwrap()
        .to_owned();
    assert!(format::parse(&line).is_ok());
    for (from, to) in [
        ("\"layer\"", "\"lair\""),
        ("\"layer\":\"core\"", "\"layer\":\"core\",\"extra\":1"),
        ("\"layer\":\"core\"", "\"layer\":\"core\",\"layer\":\"core\""),
        ("\"op\":\"set\"", "\"op\":\"set\",\"extra\":1"),
        ("\"op\":\"set\"", "\"op\":\"sett\""),
        ("\"op\":\"set\"", "\"op\":\"set\",\"op\":\"set\""),
        ("\"wsa\":0", "\"wsa\":0,\"wsaa\":0"),
        ("\"wsa\":0", "\"wsa\":0.5"),
        ("\"wsa\":0", "\"wsa\":-1"),
        ("\"family\":[\"inet\"]", "\"family\":[\"inet5\"]"),
        ("EFBEADDE", "efbeadde"),
        ("EFBEADDE", "EFBEADD"),
        ("\"cap\":2,", ""),
        ("\"cap\":2", "\"cap\":{\"sizeof\":\"SOCKET\",\"minus\":1}"),
        ("\"grade\":\"tested\"", "\"grade\":\"sure\""),
        ("\"layer\":\"core\"", "\"layer\":\"note\",\"text\":\"x\""),
    ] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line, "{from}");
        assert!(format::parse(&changed).is_err(), "taken: {changed}");
    }
    assert!(format::parse("").is_err());
}

#[test]
fn preparation_that_fails_fails_the_vector() {
    let line = r#"{"id":"x","layer":"core","grade":"tested","source":"","where":{"family":["inet"],"type":["stream"],"category":null},
        "steps":[{"n":1,"op":"set","sock":"A","level":"SOL_SOCKET","opt":"SO_RCVBUF","ptr":"valid","len":2,"bytes":"0100"}]}"#;
    let report = record(vec![format::parse(line).unwrap()]);
    assert!(matches!(&report.rows[0].verdict, Verdict::Fail(why) if why.contains("preparation")));
}

/// The rows of layer `wsk` need the driver; the rule that a malformed request breaks does not.
#[test]
fn violations_of_the_wsk_form_are_recognised() {
    let mut seen = 0;
    for line in text().lines().filter(|line| line.contains("\"violation\"")) {
        let mut vector = format::parse(line).unwrap();
        // What only a driver can prepare or see is taken out.
        vector.layer = Layer::Core;
        for step in &mut vector.steps {
            if let Some(expect) = &mut step.expect {
                expect.no_effect = None;
            }
        }
        let id = vector.id.clone();
        let report = record(vec![vector]);
        match &report.rows[0].verdict {
            Verdict::Pass => seen += 1,
            Verdict::Unsupported(_) => {}
            Verdict::Fail(why) => panic!("{id}: {why}"),
        }
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn the_report_ends_with_its_counts() {
    let report = run(
        &file(),
        &Selection {
            layers: vec![Layer::Status],
            shuffle: None,
        },
        &mut Record,
    )
    .unwrap();
    let mut out = Vec::new();
    report.print(&mut out, false).unwrap();
    let out = String::from_utf8(out).unwrap();
    let (passed, failed, unsupported) = report.counts();
    assert_eq!(
        out.lines().last(),
        Some(format!("{passed} passed, {failed} failed, {unsupported} unsupported").as_str())
    );
}

/// Every step that the format's own page shows can be read.
#[test]
fn the_examples_of_the_format_are_understood() {
    let page = include_str!("../FORMAT.md");
    let mut seen = 0;
    for step in page
        .split('`')
        .filter(|code| code.starts_with("{\"n\":") && code.contains("\"op\""))
    {
        let line = format!(
            r#"{{"id":"x","layer":"core","grade":"tested","source":"","where":{{"family":["inet"],"type":["stream"],"category":null}},"steps":[{step}]}}"#
        );
        if step.contains("..") {
            continue;
        }
        format::parse(&line).unwrap_or_else(|error| panic!("{step}: {error:#}"));
        seen += 1;
    }
    assert!(seen > 90, "{seen}");
}

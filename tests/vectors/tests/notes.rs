//! Rows of the layer `note`: each is in docs/TESTING.md, with tests that exist or as open.

use std::{fs, path::Path};

use wskguard_vectors::format::{self, Layer};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).expect(path)
}

#[test]
fn each_note_has_tests_or_is_open() {
    let document = read("docs/TESTING.md");
    let core = read("crates/core/src/semantics/tests/notes.rs");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/vectors.jsonl");
    let notes = format::read(&fixture).expect("the vectors");
    let mut seen = 0;
    for note in notes.iter().filter(|vector| vector.layer == Layer::Note) {
        seen += 1;
        let start = format!("| {} |", note.id);
        let line = document.lines().find(|line| line.starts_with(&start));
        let shown = line.and_then(|line| line.split('|').nth(3)).map(str::trim);
        let shown = shown.unwrap_or_else(|| panic!("{} is not in the table", note.id));
        if shown.starts_with("open: ") {
            continue;
        }
        let tests: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{}: {shown}", note.id);
        for test in tests {
            match test.split_once("::") {
                Some((suite, name)) => {
                    let suite = read(&format!("tests/hlk/src/suites/{suite}.rs"));
                    assert!(suite.contains(&format!(" {name}, ")), "{}: no test {test}", note.id);
                }
                None if shown.starts_with("core, ") && core.contains(&format!("fn {test}()")) => {}
                None => {
                    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../hlk/src/suites/{test}.rs"));
                    assert!(suite.is_file(), "{}: no test {test}", note.id);
                }
            }
        }
    }
    assert!(seen > 0, "the vectors have notes");
}

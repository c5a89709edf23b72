//! The PowerShell scripts parse. There is no PowerShell on the machines that the rest is tested on; Windows' own parser
//! looks at them in the workflow for Windows.

use std::{fs, path::Path};

use tree_sitter::{Node, Parser};

/// Where the text is not PowerShell, or is cut short: line and column, counted from 1.
fn faults(text: &str) -> Vec<(usize, usize)> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    let tree = parser.parse(text, None).unwrap();
    let mut faults = Vec::new();
    collect(tree.root_node(), &mut faults);
    faults
}

fn collect(node: Node<'_>, faults: &mut Vec<(usize, usize)>) {
    if node.is_error() || node.is_missing() {
        faults.push((node.start_position().row + 1, node.start_position().column + 1));
    } else if node.has_error() {
        let mut cursor = node.walk();
        for child in node.children(&mut cursor) {
            collect(child, faults);
        }
    }
}

/// All .ps1 files of the repository.
fn scripts(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let skipped = path.file_name().is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !skipped {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "ps1") {
            found.push(path);
        }
    }
}

#[test]
fn every_script_of_the_repository_parses() {
    let mut found = Vec::new();
    scripts(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), &mut found);
    assert!(found.len() >= 5, "{found:?}");
    for script in found {
        assert_eq!(
            faults(&fs::read_to_string(&script).unwrap()),
            [],
            "{}",
            script.display()
        );
    }
}

#[test]
fn what_is_no_powershell_is_found() {
    for text in [
        "if ($a -eq 1) {\n    'x'\n",
        "function f { param([string $x) }",
        "'open\n",
        "foreach ($a in) { }",
    ] {
        assert_ne!(faults(text), [], "{text:?}");
    }
    assert_eq!(faults("if ($a -eq 1) {\n    'x'\n}\n"), []);
}

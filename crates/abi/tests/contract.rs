//! The contract cannot change unnoticed: its declarations, without comments, are hashed, and the hash of every version is on record.
//! A change of a layout, a code or a constant therefore means: raise `ABI_VERSION`, add a line to contract.lock, bring
//! docs/IOCTL.md and the golden bytes up to date. A line that a release has carried is never edited.

use std::{fmt::Write as _, fs, path::Path};

use wskguard_abi::{ABI_VERSION, Code};

/// What makes the contract, from one source file: structures, fields, constants and codes, one a line.
fn declarations(source: &str) -> impl Iterator<Item = String> + '_ {
    let contract = |line: &&str| {
        let field_or_constant = line.starts_with("pub ") && !line.starts_with("pub use") && !line.contains(" fn ");
        let code = line.ends_with("_ACCESS;") && !line.starts_with("const");
        field_or_constant || code || line.starts_with("#[repr")
    };
    source
        .lines()
        .map(str::trim)
        .filter(contract)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn contract() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // How bytes become requests, not what they are.
        .filter(|path| !path.ends_with("parse.rs"))
        .collect();
    files.sort();
    let mut text = String::new();
    for file in files {
        for line in declarations(&fs::read_to_string(file).unwrap()) {
            // The version number itself is not part of what it numbers.
            if !line.starts_with("pub const ABI_VERSION") {
                writeln!(text, "{line}").unwrap();
            }
        }
    }
    for &code in Code::ALL {
        writeln!(text, "{code:?} = {:#010x}", code as u32).unwrap();
    }
    text
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[test]
fn a_change_needs_a_new_version() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contract.lock")).unwrap();
    let versions: Vec<(u32, u64)> = lock
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (version, hash) = line.split_once(' ').expect("version and hash");
            (version.parse().unwrap(), u64::from_str_radix(hash, 16).unwrap())
        })
        .collect();
    assert!(
        versions.iter().zip(1..).all(|(&(version, _), line)| version == line),
        "one line a version, in order"
    );
    let contract = contract();
    assert_eq!(
        versions.last().copied(),
        Some((ABI_VERSION, fnv(&contract))),
        "the contract is not what contract.lock has for this version: raise ABI_VERSION and add \"{} {:016x}\"\n{contract}",
        ABI_VERSION + 1,
        fnv(&contract),
    );
}

#[test]
fn declarations_are_found() {
    let source = "/// Doc\n#[repr(C)]\n#[derive(X)]\npub struct A {\n    /// f\n    pub a:  u32,\n}\npub const fn new() {}\nQuery = 1, FILE_READ_ACCESS;\n";
    let found: Vec<_> = declarations(source).collect();
    assert_eq!(
        found,
        [
            "#[repr(C)]",
            "pub struct A {",
            "pub a: u32,",
            "Query = 1, FILE_READ_ACCESS;"
        ]
    );
}

#[test]
fn the_page_names_everything() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../../docs/IOCTL.md")).unwrap();
    for &code in Code::ALL {
        let row = format!("| `{code:?}` | `{:#010X}` |", code as u32).replace("0X", "0x");
        assert!(page.contains(&row), "docs/IOCTL.md lacks {row}");
    }
    assert!(page.contains(&format!("**Version {ABI_VERSION}.**")));
    for line in contract().lines() {
        // Structures, their fields, and the constants of flags; names of devices and GUIDs are elsewhere.
        let name = match line
            .strip_prefix("pub ")
            .map(|rest| rest.split([':', ' ', '{', '<']).collect::<Vec<_>>())
        {
            Some(words) if words[0] == "struct" && words[1] != "AuditRecord" => words[1].to_owned(),
            Some(words) if !["struct", "enum", "mod", "const", "type"].contains(&words[0]) => words[0].to_owned(),
            Some(words) if words[0] == "const" && line.contains(": u32 = ") && !line.contains("RULE") => {
                words[1].to_owned()
            }
            _ => continue,
        };
        let known = page.contains(&format!("`{name}`")) || name == "DEVICE_TYPE" || name == "ABI_VERSION";
        assert!(known, "docs/IOCTL.md does not name `{name}` ({line})");
    }
}

#[test]
fn codes_are_distinct_and_round_trip() {
    for &code in Code::ALL {
        assert_eq!(Code::from_u32(code as u32), Some(code));
        let access = (code as u32 >> 14) & 3;
        assert!(access == 1 || access == 2, "{code:?}: read or write");
        assert_eq!(code as u32 & 3, 0, "{code:?}: METHOD_BUFFERED");
        assert_eq!(Code::ALL.iter().filter(|&&other| other == code).count(), 1);
    }
    for foreign in [0, 0x9A1C_6001, 0x9A1C_2000, u32::MAX] {
        assert_eq!(Code::from_u32(foreign), None);
    }
}

//! The layouts that `src/layout.rs` asserts, against bindgen's view of a `wsk.h`, where the machine has one: that of Wine's development
//! package, or the one in `WSK_H_INCLUDE`, a list of include folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ASSERTED: &str = include_str!("../src/layout.rs");
const WINE: &str = "/usr/include/wine/wine";
const HEADERS: &str = "
#include <stdarg.h>
#include <windef.h>
#include <winbase.h>
#include <winternl.h>
#include <winsock2.h>
#include <ws2ipdef.h>
#include <ddk/wdm.h>
#include <ddk/wsk.h>
";

/// Size, and the offsets of fields by name.
type Layouts = BTreeMap<String, (usize, BTreeMap<String, usize>)>;

fn folders() -> Option<Vec<PathBuf>> {
    let folders = match std::env::var_os("WSK_H_INCLUDE") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => vec![Path::new(WINE).join("msvcrt"), Path::new(WINE).join("windows")],
    };
    let found = folders.iter().any(|folder: &PathBuf| folder.join("ddk/wsk.h").exists());
    found.then_some(folders)
}

/// `NAME: size, align { field @ offset, … }`, a line each.
fn asserted() -> Layouts {
    let entries = ASSERTED.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(": ")?;
        let (numbers, fields) = rest.split_once('{')?;
        let size = numbers.split(',').next()?.trim().parse().ok()?;
        let fields = fields.trim_end_matches('}').split(',').filter_map(|field| {
            let (name, offset) = field.split_once(" @ ")?;
            Some((name.trim().to_owned(), offset.trim().parse().ok()?))
        });
        Some((name.to_owned(), (size, fields.collect())))
    });
    entries.collect()
}

/// What bindgen asserts: `["Size of NAME"][::std::mem::size_of::<NAME>() - 8usize]`, and so on.
fn seen(bindings: &str) -> Layouts {
    let mut layouts = Layouts::new();
    let text = bindings.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in text.split("[\"").skip(1) {
        let Some((what, rest)) = part.split_once("\"]") else {
            continue;
        };
        let Some(number) = rest.split("usize]").next().and_then(|text| text.rsplit("- ").next()) else {
            continue;
        };
        let Ok(number) = number.trim().parse::<usize>() else {
            continue;
        };
        if let Some(name) = what.strip_prefix("Size of ") {
            layouts.entry(name.trim_start_matches('_').to_owned()).or_default().0 = number;
        } else if let Some((name, field)) = what.strip_prefix("Offset of field: ").and_then(|n| n.split_once("::")) {
            let name = name.trim_start_matches('_').to_owned();
            layouts.entry(name).or_default().1.insert(field.to_owned(), number);
        }
    }
    layouts
}

#[test]
fn layouts_are_those_of_the_header() {
    let Some(folders) = folders() else {
        println!("no wsk.h on this machine: nothing to compare with");
        return;
    };
    let include = folders.iter().map(|folder| format!("-I{}", folder.display()));
    let bindings = bindgen::Builder::default()
        .header_contents("all.h", HEADERS)
        .clang_args([
            "-target",
            "x86_64-pc-windows-msvc",
            "-fms-extensions",
            "-Wno-everything",
        ])
        .clang_args(include)
        .allowlist_type(".*(WSK|SOCKADDR|sockaddr|CMSGHDR|NPI).*")
        .generate()
        .expect("libclang reads wsk.h");
    let (asserted, seen) = (asserted(), seen(&bindings.to_string()));
    let mut compared = 0;
    for (name, (size, fields)) in &seen {
        // Older headers end tables early, and name a nested structure's fields apart.
        let Some((our_size, our_fields)) = asserted.get(name) else {
            continue;
        };
        let grown = name.ends_with("DISPATCH");
        assert!(
            our_size == size || grown && our_size > size,
            "{name}: {our_size} bytes, {size} in the header"
        );
        for (field, offset) in fields {
            if let Some(ours) = our_fields.get(field) {
                assert_eq!(ours, offset, "{name}.{field}");
                compared += 1;
            }
        }
    }
    println!("{compared} fields of {} structures compared", seen.len());
    assert!(compared >= 60, "only {compared} fields in common with the header");
}

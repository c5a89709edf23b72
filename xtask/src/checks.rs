//! Tests on the drivers' files: what Windows will let in, and what must not be in a kernel.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use object::pe::{
    IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE, IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY, IMAGE_DLLCHARACTERISTICS_GUARD_CF,
    IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA, IMAGE_DLLCHARACTERISTICS_NX_COMPAT, IMAGE_SUBSYSTEM_NATIVE,
};

use crate::{
    build::{DRIVERS, Product},
    callers,
    image::{Image, Imports},
    layout::Layout,
    report::Report,
    reproducible, shim,
};

/// In bytes.
const PAGE: u32 = 4096;

/// The first build that the INF admits: Windows 10 2004.
const OLDEST_BUILD: u32 = 19041;

/// Parts of symbols that mean a way to panic, to fail an allocation for good, or to need a larger stack than a kernel has.
const FORBIDDEN_SYMBOLS: [&str; 9] = [
    "9panicking",
    "rust_begin_unwind",
    "rust_panic",
    "panic_fmt",
    "handle_alloc_error",
    "alloc_error_handler",
    "capacity_overflow",
    "len_mismatch_fail",
    "__chkstk",
];

#[derive(Args, Debug)]
pub(crate) struct CheckCommand {
    /// Also build wskguard.sys from nothing in another folder, and compare
    #[arg(long)]
    second_build: bool,
}

/// `cargo xtask check`: the checks alone.
pub(crate) fn run_command(layout: &Layout, command: &CheckCommand) -> Result<()> {
    let mut report = Report::default();
    run(layout, &mut report);
    if command.second_build {
        reproducible::test(layout, &mut report);
    }
    report.close()
}

/// Runs all checks on the drivers in the out folder.
pub(crate) fn run(layout: &Layout, report: &mut Report) {
    for driver in DRIVERS {
        check_driver(layout, &driver, report);
    }
    let product = layout.out().join("wskguard.sys");
    report.test("wskguard.sys imports documented Windows exports only", || {
        check_imports(&Image::read(&product)?.imports, &documented_exports(layout)?)
    });
    report.test("wskguard.sys can be moved", || {
        let relocations = Image::read(&product)?.relocations.context("relocations are stripped")?;
        ensure!(relocations > 0, "no relocation: a driver with dispatch tables has some");
        Ok(())
    });
    report.test(
        "wskguard.sys is built for memory integrity, control flow guard and shadow stacks",
        || check_hardening(&Image::read(&product)?),
    );
    shim::test(layout, report);
    report.test("wskguard.sys cannot panic", || {
        check_symbols(&product)?;
        ensure!(
            !imports_name(&Image::read(&product)?.imports, "KeBugCheckEx"),
            "it imports KeBugCheckEx"
        );
        Ok(())
    });
}

fn check_driver(layout: &Layout, driver: &Product, report: &mut Report) {
    report.test(&format!("{} is an image that Windows loads", driver.file), || {
        let image = Image::read(&layout.out().join(driver.file))?;
        ensure!(
            image.subsystem == IMAGE_SUBSYSTEM_NATIVE.0,
            "subsystem {}",
            image.subsystem
        );
        for (name, flag) in [
            ("DYNAMIC_BASE", IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE.0),
            ("NX_COMPAT", IMAGE_DLLCHARACTERISTICS_NX_COMPAT.0),
            ("FORCE_INTEGRITY", IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY.0),
        ] {
            ensure!(image.dll_characteristics & flag != 0, "{name} is not set");
        }
        ensure!(image.relocations.is_some(), "relocations are stripped");
        ensure!(
            image.writable_code.is_empty(),
            "writable and executable: {}",
            image.writable_code.join(", ")
        );
        let (stated, real) = image.checksums;
        ensure!(stated == real, "the checksum is {real:#x}, the header says {stated:#x}");
        Ok(())
    });
}

/// What Windows wants of a driver before it turns its protections on. Sections that are writable and executable are looked
/// for in every driver.
fn check_hardening(image: &Image) -> Result<()> {
    ensure!(
        image.section_alignment.is_multiple_of(PAGE),
        "sections share pages: they are aligned to {}",
        image.section_alignment
    );
    ensure!(
        image.imports_read_only,
        "the import addresses can be written or executed"
    );
    for (name, flag) in [
        ("HIGH_ENTROPY_VA", IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA.0),
        ("GUARD_CF", IMAGE_DLLCHARACTERISTICS_GUARD_CF.0),
    ] {
        ensure!(image.dll_characteristics & flag != 0, "{name} is not set");
    }
    let targets = image
        .guarded_targets
        .context("no load configuration for control flow guard")?;
    ensure!(
        targets > 0,
        "control flow guard knows no target: a driver with dispatch tables has some"
    );
    ensure!(image.shadow_stack, "not marked as compatible with shadow stacks");
    Ok(())
}

/// Each name of `kernel-exports.txt` with its module, and the first build that has it where the list says so.
type Exports = BTreeMap<(String, String), u32>;

fn documented_exports(layout: &Layout) -> Result<Exports> {
    let path = layout.root.join("xtask/checks/kernel-exports.txt");
    parse_exports(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)
}

fn parse_exports(text: &str) -> Result<Exports> {
    let mut exports = Exports::new();
    let mut module = String::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut module);
            continue;
        }
        let (name, build) = line.split_once(' ').unwrap_or((line, "0"));
        let previous = exports.insert(
            (module.clone(), name.to_owned()),
            build.parse().context(line.to_owned())?,
        );
        ensure!(previous.is_none(), "{name} is listed twice");
    }
    Ok(exports)
}

fn check_imports(imports: &Imports, documented: &Exports) -> Result<()> {
    let mut wrong = Vec::new();
    for (module, names) in imports {
        for name in names {
            match documented.get(&(module.clone(), name.clone())) {
                None => wrong.push(format!("{module}!{name} is not in kernel-exports.txt")),
                Some(build) if *build > OLDEST_BUILD => wrong.push(format!("{module}!{name} is of build {build}")),
                Some(_) => {}
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn imports_name(imports: &Imports, name: &str) -> bool {
    imports.values().flatten().any(|import| import == name)
}

fn check_symbols(driver: &Path) -> Result<()> {
    let map = driver.with_extension("map");
    let text = fs::read_to_string(&map).with_context(|| map.display().to_string())?;
    ensure!(text.contains("DriverEntry"), "{} is no map of a driver", map.display());
    let found = forbidden_symbols(&text);
    if found.is_empty() {
        return Ok(());
    }
    let targets = found
        .iter()
        .filter_map(|line| callers::address(line))
        .collect::<Vec<_>>();
    bail!(
        "the image contains\n{}\ncalled from\n{}",
        found.join("\n"),
        callers::of(driver, &targets)?
    )
}

fn forbidden_symbols(map: &str) -> Vec<&str> {
    map.lines()
        .filter(|line| FORBIDDEN_SYMBOLS.iter().any(|symbol| line.contains(symbol)))
        .map(str::trim)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_judged_by_module_name_and_build() {
        let documented = parse_exports("# c\n[ntoskrnl.exe]\nDbgPrint\nExLater 22000\n[hal.dll]\nKeStall\n").unwrap();
        let judge = |module: &str, name: &str| {
            check_imports(
                &Imports::from([(module.to_owned(), vec![name.to_owned()])]),
                &documented,
            )
            .is_ok()
        };
        assert!(judge("ntoskrnl.exe", "DbgPrint"));
        assert!(!judge("ntoskrnl.exe", "KeStall"), "another module's");
        assert!(!judge("ntoskrnl.exe", "ExLater"), "later than the oldest Windows");
        assert!(!judge("ntoskrnl.exe", "KiUndocumented"));
    }

    #[test]
    fn panicking_symbols_are_found_in_both_manglings() {
        let map = " 0001:00000000 _ZN4core9panicking18panic_bounds_check17h0123456789abcdefE 1 a.o
 0001:00000010 _RNvNtCs1234_4core9panicking5panic 2 a.o
 0001:00000020 DriverEntry 3 a.o";
        assert_eq!(forbidden_symbols(map).len(), 2);
    }
}

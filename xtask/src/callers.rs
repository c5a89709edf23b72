//! Who calls a function that should not be in a driver: the calls in its code, by the symbol file's lines.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use object::{LittleEndian as LE, pe::IMAGE_SCN_MEM_EXECUTE, read::pe::PeFile64};

use crate::{command, wdk::llvm::Llvm};

/// The chains of inlined functions around each call of one of `targets` (addresses as in the map), or nothing where no LLVM
/// is at hand to read the symbols.
pub(crate) fn of(driver: &Path, targets: &[u64]) -> Result<String> {
    let Ok(llvm) = Llvm::find() else {
        return Ok(String::new());
    };
    let calls = calls(&fs::read(driver)?, targets)?;
    let mut text = String::new();
    for call in calls {
        let mut symbolizer = Command::new(llvm.symbolizer());
        symbolizer
            .arg("--obj")
            .arg(driver)
            .args(["--pretty-print", &format!("{call:#x}")]);
        text += &command::output(&mut symbolizer)?;
    }
    Ok(text)
}

/// Addresses of the near calls and jumps that lead to one of `targets`. Every byte is looked at as if an instruction
/// began there; the target's being right makes a chance hit unlikely.
fn calls(image: &[u8], targets: &[u64]) -> Result<Vec<u64>> {
    let file = PeFile64::parse(image)?;
    let base = file.nt_headers().optional_header.image_base.get(LE);
    let mut calls = Vec::new();
    for section in file
        .section_table()
        .iter()
        .filter(|s| s.characteristics.get(LE).0 & IMAGE_SCN_MEM_EXECUTE.0 != 0)
    {
        let code = section.pe_data(image).ok().context("a section lies outside the file")?;
        let start = base + u64::from(section.virtual_address.get(LE));
        for (offset, window) in code.windows(5).enumerate() {
            let [0xE8 | 0xE9, distance @ ..] = window else { continue };
            let distance = i32::from_le_bytes(distance.try_into()?);
            let address = start + offset as u64;
            if targets.contains(&(address + 5).wrapping_add_signed(i64::from(distance))) {
                calls.push(address);
            }
        }
    }
    Ok(calls)
}

/// The address that a line of the map gives a symbol.
pub(crate) fn address(map_line: &str) -> Option<u64> {
    u64::from_str_radix(map_line.split_whitespace().nth(2)?, 16).ok()
}

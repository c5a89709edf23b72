//! Where a driver calls functions that can fail: the calls in its code, to be held against those that fault injection has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use object::{
    LittleEndian as LE,
    pe::{IMAGE_SCN_MEM_EXECUTE, ImageNtHeaders64},
    read::pe::PeFile64,
};

use crate::{command, wdk::llvm::Llvm};

/// A call of an imported function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallSite {
    /// Where it returns to, from the image's start.
    pub(crate) returns: u64,
    pub(crate) function: String,
}

/// The calls of `functions` in a driver's code: through the import slot, or through the linker's jump to it. Every byte is looked
/// at as if an instruction began there; the target's being right makes a chance hit unlikely.
pub(crate) fn of(driver: &Path, functions: &BTreeSet<String>) -> Result<Vec<CallSite>> {
    let image = fs::read(driver).with_context(|| driver.display().to_string())?;
    let file = PeFile64::parse(&*image)?;
    let slots = slots(&file)?;
    let mut code = Vec::new();
    for section in file.section_table().iter() {
        if section.characteristics.get(LE).0 & IMAGE_SCN_MEM_EXECUTE.0 != 0 {
            let bytes = section
                .pe_data(&*image)
                .ok()
                .context("a section lies outside the file")?;
            code.push((u64::from(section.virtual_address.get(LE)), bytes));
        }
    }
    let slot_calls = |opcode: [u8; 2]| {
        code.iter().flat_map(move |(start, bytes)| {
            bytes.windows(6).enumerate().filter_map(move |(offset, window)| {
                let end = start + offset as u64 + 6;
                (window[..2] == opcode).then(|| (end, target(end, &window[2..])))
            })
        })
    };
    let mut sites = BTreeSet::new();
    let mut add = |returns, function: &String| {
        if functions.contains(function) {
            let function = function.clone();
            sites.insert(CallSite { returns, function });
        }
    };
    for (end, target) in slot_calls([0xFF, 0x15]) {
        slots.get(&target).into_iter().for_each(|function| add(end, function));
    }
    let jumps: BTreeMap<u64, &String> = slot_calls([0xFF, 0x25])
        .filter_map(|(end, target)| Some((end - 6, slots.get(&target)?)))
        .collect();
    for (start, bytes) in &code {
        for (offset, window) in bytes.windows(5).enumerate() {
            let end = start + offset as u64 + 5;
            if window[0] == 0xE8
                && let Some(function) = jumps.get(&target(end, &window[1..]))
            {
                add(end, function);
            }
        }
    }
    Ok(sites.into_iter().collect())
}

/// Where a distance from `end` leads.
fn target(end: u64, distance: &[u8]) -> u64 {
    let distance = distance.try_into().map_or(0, i32::from_le_bytes);
    end.wrapping_add_signed(distance.into())
}

/// The import slots: what the loader puts there.
fn slots(file: &PeFile64<'_>) -> Result<BTreeMap<u64, String>> {
    let mut slots = BTreeMap::new();
    let table = file.import_table()?.context("no imports")?;
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        let mut slot = u64::from(descriptor.first_thunk.get(LE));
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
            let value = thunk.0.get(LE);
            if value >> 63 == 0 {
                let (_, name) = table.hint_name(u32::try_from(value)?)?;
                slots.insert(slot, String::from_utf8_lossy(name).into_owned());
            }
            slot += 8;
        }
    }
    Ok(slots)
}

/// A call site as the functions around it, innermost first, or as its offset where no LLVM is at hand to read the symbols.
pub(crate) fn place(driver: &Path, site: &CallSite) -> String {
    let symbols = || -> Result<String> {
        let mut symbolizer = Command::new(Llvm::find()?.symbolizer());
        let address = format!("{:#x}", site.returns - 1);
        symbolizer
            .args(["--relative-address", "--pretty-print", "--obj"])
            .arg(driver)
            .arg(address);
        command::output(&mut symbolizer)
    };
    let text = symbols().unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{} at +{:#x}\n  {}", site.function, site.returns, lines.join("\n  "))
}

//! What an endpoint takes, as the driver was linked: read from its symbols.

use std::process::Command;

use anyhow::{Context, Result};

use super::Row;
use crate::{command, layout::Layout, wdk::llvm::Llvm};

const ENDPOINT: &str = "`wskguard::endpoint::Endpoint`";
const SLOT: &str = "`wskguard_core::table::Slot<wskguard::endpoint::Endpoint>`";
/// The first field that only callbacks and the endpoint's end look at.
const FIRST_COLD: &str = "context";

pub(super) fn rows(layout: &Layout) -> Result<Vec<Row>> {
    let mut tool = Command::new(Llvm::find()?.tool("llvm-pdbutil"));
    tool.args(["dump", "--types"]).arg(layout.out().join("wskguard.pdb"));
    let types = command::output(&mut tool)?;
    let row = |name: &str, bytes: u32, most: u32| Row {
        name: format!("memory/{name}"),
        value: bytes.into(),
        unit: "bytes".to_owned(),
        target: Some(most.into()),
        met: Some(bytes <= most),
    };
    let hot = offset(&types, ENDPOINT, FIRST_COLD).context("the endpoint's hot part")?;
    let whole = size(&types, ENDPOINT).context("the endpoint's size")?;
    let slot = size(&types, SLOT).context("the size of the table's slot")?;
    Ok(vec![
        row("hot-part", hot, 128),
        row("index", slot, 32),
        row("whole-with-close-irp", whole, 640),
    ])
}

/// The lines of the structure's definition, of which there is one; declarations have no size.
fn definition<'a>(types: &'a str, name: &str) -> Option<(&'a str, u32)> {
    types.split("\n   0x").find_map(|entry| {
        let (head, options) = entry.split_once("options: ")?;
        let size = options
            .split_once("sizeof ")?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        let ours = head.contains("LF_STRUCTURE") && head.lines().next()?.ends_with(name);
        (ours && size != 0).then_some((head, size))
    })
}

fn size(types: &str, name: &str) -> Option<u32> {
    definition(types, name).map(|(_, size)| size)
}

fn offset(types: &str, name: &str, field: &str) -> Option<u32> {
    let (head, _) = definition(types, name)?;
    let list = head.split_once("field list: 0x")?.1.split_whitespace().next()?;
    let fields = types
        .split("\n   0x")
        .find(|entry| entry.split_whitespace().next() == Some(list))?;
    let member = fields.split_once(&format!("name = `{field}`,"))?.1;
    member
        .split_once("offset = ")?
        .1
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &str = "\
   0x1000 | LF_STRUCTURE [size = 84] `wskguard::endpoint::Endpoint`
            vtable: <no type>, base list: <no type>, field list: <no type>
            options: forward ref (-> 0x1002) | has unique name, sizeof 0
   0x1001 | LF_FIELDLIST [size = 364]
            - LF_MEMBER [name = `socket`, Type = 0x1795, offset = 0, attrs = private]
            - LF_MEMBER [name = `context`, Type = 0x1605, offset = 120, attrs = private]
   0x1002 | LF_STRUCTURE [size = 84] `wskguard::endpoint::Endpoint`
            vtable: <no type>, base list: <no type>, field list: 0x1001
            options: has unique name, sizeof 576
";

    #[test]
    fn definitions_are_read() {
        assert_eq!(size(TYPES, ENDPOINT), Some(576));
        assert_eq!(offset(TYPES, ENDPOINT, FIRST_COLD), Some(120));
        assert_eq!(offset(TYPES, ENDPOINT, "close"), None);
        assert_eq!(size(TYPES, SLOT), None);
    }
}

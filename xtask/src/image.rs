//! What a driver's image file says about itself.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use object::{
    LittleEndian as LE,
    pe::{
        IMAGE_DEBUG_TYPE_EX_DLLCHARACTERISTICS, IMAGE_DIRECTORY_ENTRY_DEBUG, IMAGE_DIRECTORY_ENTRY_IAT,
        IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG, IMAGE_FILE_RELOCS_STRIPPED, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_WRITE,
        ImageDebugDirectory, ImageNtHeaders64,
    },
    read::pe::{ImageThunkData as _, ImportTable, PeFile64},
};

/// Names imported from a module, by the module's name in lower case.
pub(crate) type Imports = BTreeMap<String, Vec<String>>;

/// The facts that the checks are about.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) subsystem: u16,
    pub(crate) dll_characteristics: u16,
    pub(crate) imports: Imports,
    /// Addresses that the loader puts right; `None` if the image cannot be moved.
    pub(crate) relocations: Option<usize>,
    /// Sections that are both writable and executable.
    pub(crate) writable_code: Vec<String>,
    /// In bytes: what is protected differently must not share a page.
    pub(crate) section_alignment: u32,
    /// Whether the import addresses, which the loader writes, lie where nothing can write or execute afterwards.
    pub(crate) imports_read_only: bool,
    /// Targets that control flow guard lets indirect calls go to; `None` without a load configuration that says so.
    pub(crate) guarded_targets: Option<u64>,
    /// Whether the image says that it leaves shadow stacks alone.
    pub(crate) shadow_stack: bool,
    /// The checksum that the header states, and the one that the file has.
    pub(crate) checksums: (u32, u32),
}

impl Image {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let file = PeFile64::parse(bytes)?;
        let optional = &file.nt_headers().optional_header;
        let sections = file.section_table();
        let both = IMAGE_SCN_MEM_WRITE.0 | IMAGE_SCN_MEM_EXECUTE.0;
        let writable_code = sections
            .iter()
            .filter(|section| section.characteristics.get(LE).0 & both == both)
            .map(|section| String::from_utf8_lossy(section.raw_name()).into_owned());
        Ok(Self {
            subsystem: optional.subsystem.get(LE).0,
            dll_characteristics: optional.dll_characteristics.get(LE).0,
            imports: imports(&file)?,
            relocations: relocations(&file)?,
            writable_code: writable_code.collect(),
            section_alignment: optional.section_alignment.get(LE),
            imports_read_only: imports_read_only(&file),
            guarded_targets: guarded_targets(&file),
            shadow_stack: shadow_stack(&file),
            checksums: (optional.check_sum.get(LE), checksum(bytes)?),
        })
    }
}

fn imports_read_only(file: &PeFile64<'_>) -> bool {
    let Some(table) = file.data_directory(IMAGE_DIRECTORY_ENTRY_IAT) else {
        return false;
    };
    let address = table.virtual_address.get(LE);
    let sections = file.section_table();
    let section = sections.iter().find(|section| section.contains_rva(address));
    section.is_some_and(|section| {
        section.characteristics.get(LE).0 & (IMAGE_SCN_MEM_WRITE.0 | IMAGE_SCN_MEM_EXECUTE.0) == 0
    })
}

/// `IMAGE_LOAD_CONFIG_DIRECTORY64`: the pointer for guarded calls at 120, the number of targets at 136, flags at 144, of
/// which these say that calls are guarded and that there is a table.
fn guarded_targets(file: &PeFile64<'_>) -> Option<u64> {
    const INSTRUMENTED_AND_TABLE: u64 = 0x100 | 0x400;
    let directory = file.data_directory(IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG)?;
    let configuration = directory.data(file.data(), &file.section_table()).ok()?;
    let number = |offset: usize| {
        Some(u64::from_le_bytes(
            configuration.get(offset..offset + 8)?.try_into().ok()?,
        ))
    };
    let guards = number(120)? != 0 && number(144)? & INSTRUMENTED_AND_TABLE == INSTRUMENTED_AND_TABLE;
    if guards { number(136) } else { None }
}

fn shadow_stack(file: &PeFile64<'_>) -> bool {
    const CET_COMPAT: u8 = 1;
    let sections = file.section_table();
    let entries = file
        .data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG)
        .and_then(|directory| directory.data(file.data(), &sections).ok())
        .and_then(|data| {
            object::pod::slice_from_bytes::<ImageDebugDirectory>(data, data.len() / size_of::<ImageDebugDirectory>())
                .ok()
        });
    entries.is_some_and(|(entries, _)| {
        entries
            .iter()
            .filter(|entry| entry.typ.get(LE) == IMAGE_DEBUG_TYPE_EX_DLLCHARACTERISTICS)
            .any(|entry| {
                let at = entry.pointer_to_raw_data.get(LE) as usize;
                file.data().get(at).is_some_and(|flags| flags & CET_COMPAT != 0)
            })
    })
}

fn imports(file: &PeFile64<'_>) -> Result<Imports> {
    let mut imports = Imports::new();
    let Some(table) = file.import_table()? else {
        return Ok(imports);
    };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = String::from_utf8(table.name(descriptor.name.get(LE))?.to_vec())?.to_lowercase();
        let names = thunk_names(&table, descriptor.original_first_thunk.get(LE))?;
        imports.entry(module).or_default().extend(names);
    }
    Ok(imports)
}

fn thunk_names(table: &ImportTable<'_>, address: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut thunks = table.thunks(address)?;
    while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
        names.push(if thunk.is_ordinal() {
            format!("#{}", thunk.ordinal())
        } else {
            String::from_utf8(table.hint_name(thunk.address())?.1.to_vec())?
        });
    }
    Ok(names)
}

fn relocations(file: &PeFile64<'_>) -> Result<Option<usize>> {
    let characteristics = file.nt_headers().file_header.characteristics.get(LE).0;
    if characteristics & IMAGE_FILE_RELOCS_STRIPPED.0 != 0 {
        return Ok(None);
    }
    let Some(mut blocks) = file
        .data_directories()
        .relocation_blocks(file.data(), &file.section_table())?
    else {
        return Ok(Some(0));
    };
    let mut count = 0;
    while let Some(block) = blocks.next()? {
        count += block.count();
    }
    Ok(Some(count))
}

/// The offset in the file of the header's checksum.
pub(crate) fn checksum_offset(bytes: &[u8]) -> Result<usize> {
    // Signature and file header come before the optional header, in which it lies at 64.
    let headers = PeFile64::parse(bytes)?.dos_header().nt_headers_offset() as usize;
    Ok(headers + 4 + 20 + 64)
}

/// The image's checksum: the 16-bit one's complement sum of the file without the checksum field, plus the file's length.
pub(crate) fn checksum(bytes: &[u8]) -> Result<u32> {
    let field = checksum_offset(bytes)?;
    let mut sum = 0_u32;
    for (index, pair) in bytes.chunks(2).enumerate() {
        if !(field..field + 4).contains(&(index * 2)) {
            let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
    }
    Ok(sum + u32::try_from(bytes.len()).context("an image of 4 GiB")?)
}

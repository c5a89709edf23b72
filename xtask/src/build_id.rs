//! Makes a driver's identity depend on its content only.
//!
//! The linker puts the symbol file's identity into the image, and a symbol file names the folders and temporary files of
//! its build. So after linking both are given a new identity, the hash of the image without any: the same sources give the
//! same image in any folder, and a debugger still finds the symbols that belong to it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use object::{
    LittleEndian as LE,
    pe::{
        IMAGE_DEBUG_TYPE_CODEVIEW, IMAGE_DEBUG_TYPE_REPRO, IMAGE_DIRECTORY_ENTRY_DEBUG, IMAGE_DIRECTORY_ENTRY_EXPORT,
        ImageDebugDirectory,
    },
    read::pe::PeFile64,
};

use crate::{hashing, image};

/// Gives `image` and its `symbols` their identity.
pub(crate) fn stamp(image_path: &Path, symbols_path: &Path) -> Result<()> {
    let mut image = fs::read(image_path).with_context(|| image_path.display().to_string())?;
    let mut symbols = fs::read(symbols_path).with_context(|| symbols_path.display().to_string())?;
    let places = Places::find(&image).with_context(|| image_path.display().to_string())?;
    let symbols_guid = guid_offset(&symbols).with_context(|| symbols_path.display().to_string())?;
    ensure!(
        image[places.guid..][..GUID] == symbols[symbols_guid..][..GUID],
        "{} are not the symbols of {}",
        symbols_path.display(),
        image_path.display()
    );

    for (offset, length) in places.all() {
        image[offset..][..length].fill(0);
    }
    let identity = hashing::sha256_bytes(&image);
    for (offset, length) in places.all() {
        image[offset..][..length].copy_from_slice(&identity[..length]);
    }
    let checksum = image::checksum(&image)?;
    image[places.checksum..][..4].copy_from_slice(&checksum.to_le_bytes());
    symbols[symbols_guid..][..GUID].copy_from_slice(&identity[..GUID]);
    fs::write(image_path, image)?;
    fs::write(symbols_path, symbols)?;
    Ok(())
}

const GUID: usize = 16;
const TIME: usize = 4;

/// Offsets in an image file.
#[derive(Debug)]
struct Places {
    checksum: usize,
    guid: usize,
    /// What /Brepro uses for times: they are hashes.
    times: Vec<usize>,
    /// The hash of the reproducibility entry, and its length.
    hash: Option<(usize, usize)>,
}

impl Places {
    fn all(&self) -> impl Iterator<Item = (usize, usize)> {
        let times = self.times.iter().map(|time| (*time, TIME));
        times.chain([(self.guid, GUID), (self.checksum, 4)]).chain(self.hash)
    }

    fn find(image: &[u8]) -> Result<Self> {
        let file = PeFile64::parse(image)?;
        let sections = file.section_table();
        let headers = file.dos_header().nt_headers_offset() as usize;
        // The file header's time lies behind the signature, the machine and the number of sections.
        let mut times = vec![headers + 4 + 4];
        if let Some(exports) = file.data_directory(IMAGE_DIRECTORY_ENTRY_EXPORT) {
            times.push(exports.file_range(&sections)?.0 as usize + 4);
        }
        let directory = file
            .data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG)
            .context("no debug directory")?;
        let (start, length) = directory.file_range(&sections)?;
        let (mut guid, mut hash) = (None, None);
        for index in 0..length as usize / size_of::<ImageDebugDirectory>() {
            let offset = start as usize + index * size_of::<ImageDebugDirectory>();
            let (entry, _) = object::pod::from_bytes::<ImageDebugDirectory>(&image[offset..])
                .map_err(|()| anyhow::anyhow!("the debug directory is cut off"))?;
            times.push(offset + 4);
            let data = entry.pointer_to_raw_data.get(LE) as usize;
            match entry.typ.get(LE) {
                IMAGE_DEBUG_TYPE_CODEVIEW => {
                    ensure!(image[data..].starts_with(b"RSDS"), "symbols of an unknown kind");
                    guid = Some(data + 4);
                }
                // A length of four bytes, then the hash.
                IMAGE_DEBUG_TYPE_REPRO if entry.size_of_data.get(LE) > 4 => {
                    hash = Some((data + 4, (entry.size_of_data.get(LE) as usize - 4).min(32)));
                }
                _ => {}
            }
        }
        Ok(Self {
            checksum: image::checksum_offset(image)?,
            guid: guid.context("no symbols")?,
            times,
            hash,
        })
    }
}

/// Where a PDB file has its GUID: in the second stream, behind version, time and age. A PDB is cut into blocks; the
/// superblock names the block that lists the blocks of the directory, which lists the blocks of each stream.
fn guid_offset(pdb: &[u8]) -> Result<usize> {
    ensure!(
        pdb.starts_with(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"),
        "no PDB file"
    );
    let number = |offset: usize| -> Result<usize> {
        let bytes = pdb.get(offset..offset + 4).context("the PDB file is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let block_size = number(32)?;
    let directory_bytes = number(44)?;
    let block_map = number(52)? * block_size;
    let mut directory = Vec::new();
    for index in 0..directory_bytes.div_ceil(block_size) {
        let block = number(block_map + 4 * index)? * block_size;
        directory.extend_from_slice(pdb.get(block..block + block_size).context("the PDB file is cut off")?);
    }
    let entry = |index: usize| -> Result<usize> {
        let bytes = directory
            .get(4 * index..4 * index + 4)
            .context("the PDB's directory is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    // The number of streams, their lengths, then the blocks of the first, of the second, and so on.
    let streams = entry(0)?;
    let first_stream_blocks = entry(1)?.div_ceil(block_size);
    let info = entry(1 + streams + first_stream_blocks)? * block_size;
    Ok(info + 12)
}

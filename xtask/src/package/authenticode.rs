//! The part of an image that a signature speaks for: everything but the checksum, the place that says where the signatures
//! are, and the signatures themselves, which come last.

use anyhow::{Context, Result, ensure};
use object::{LittleEndian as LE, pe::IMAGE_DIRECTORY_ENTRY_SECURITY, read::pe::PeFile64};

use crate::{hashing, image};

/// Signatures begin at a multiple of this; signing fills up with zeros.
const ALIGNMENT: usize = 8;
/// From the header's checksum to the directory entry of the signatures: 64 and 144 bytes into the optional header.
const CHECKSUM_TO_ENTRY: usize = 80;

/// The signed part of `image`, signed or not: two files with the same differ in their signatures at most.
pub(super) fn content(image: &[u8]) -> Result<Vec<u8>> {
    let file = PeFile64::parse(image)?;
    let signatures = file
        .data_directory(IMAGE_DIRECTORY_ENTRY_SECURITY)
        .map_or(0, |entry| entry.virtual_address.get(LE) as usize);
    let end = if signatures == 0 { image.len() } else { signatures };
    let checksum = image::checksum_offset(image)?;
    let entry = checksum + CHECKSUM_TO_ENTRY;
    let part = |range: std::ops::Range<usize>| image.get(range).context("the signatures lie outside the file");
    let mut content = part(0..checksum)?.to_vec();
    content.extend_from_slice(part(checksum + 4..entry)?);
    content.extend_from_slice(part(entry + 8..end)?);
    let filled_up = end.next_multiple_of(ALIGNMENT) - end;
    content.resize(content.len() + filled_up, 0);
    Ok(content)
}

/// What a signature signs of `image`: the SHA-256 of its content.
pub(super) fn sha256(image: &[u8]) -> Result<[u8; 32]> {
    Ok(hashing::sha256_bytes(&content(image)?))
}

/// An error unless `signed` is `built` with a signature.
pub(super) fn ensure_same(built: &[u8], signed: &[u8]) -> Result<()> {
    ensure!(built.len() < signed.len(), "nothing was added to the image");
    ensure!(
        content(built)? == content(signed)?,
        "the signed image differs from the built one in more than its signature"
    );
    Ok(())
}

//! Content hashes: they decide whether a generated folder is still good.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`.
pub(crate) fn sha256_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&sha256_bytes(bytes))
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a file's content.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    Ok(sha256(&fs::read(path).with_context(|| path.display().to_string())?))
}

/// A folder made from `key`: `make` runs only when the folder was last made from another key, or never finished.
pub(crate) fn once_per_key(folder: &Path, key: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // Held to the end of the function: another xtask waits and then finds the folder made.
    let lock = File::create(folder.join(".lock"))?;
    lock.lock()?;
    let stamp = folder.join(".made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == key) {
        return Ok(());
    }
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    make()?;
    fs::write(&stamp, key).with_context(|| stamp.display().to_string())
}

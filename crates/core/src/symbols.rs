//! The name that a loaded image carries in itself: the file of its debugging symbols, as its debug directory has it.
//!
//! For an image whose file name nobody told. The format is that of the PE/COFF specification; whatever does not follow it has no name.

use crate::policy::ImageName;

/// Bytes of headers that a loaded image has at least.
const HEADERS: u32 = 4096;
const LONGEST_PATH: u32 = 260;
const MOST_SECTIONS: u32 = 96;
const MOST_ENTRIES: u32 = 16;
const CODEVIEW: u32 = 2;
const RSDS: u32 = u32::from_le_bytes(*b"RSDS");
const DISCARDABLE: u32 = 0x0200_0000;

/// Reads a loaded image: what stays in memory of it, and nothing else.
struct Image<F> {
    byte: F,
    sections: u32,
    section_count: u32,
}

impl<F: Fn(u32) -> u8> Image<F> {
    fn u16(&self, at: u32) -> u32 {
        u32::from(u16::from_le_bytes([(self.byte)(at), (self.byte)(at.wrapping_add(1))]))
    }

    fn u32(&self, at: u32) -> u32 {
        self.u16(at) | self.u16(at.wrapping_add(2)).wrapping_shl(16)
    }

    /// Whether one section that is not discarded after the start has all of `at..at + length`.
    fn stays(&self, at: u32, length: u32) -> bool {
        let Some(end) = at.checked_add(length) else {
            return false;
        };
        (0..self.section_count).any(|index| {
            let header = self.sections.wrapping_add(index.wrapping_mul(40));
            let (size, start) = (self.u32(header.wrapping_add(8)), self.u32(header.wrapping_add(12)));
            let kept = self.u32(header.wrapping_add(36)) & DISCARDABLE == 0;
            kept && start >= HEADERS && at >= start && start.checked_add(size).is_some_and(|stop| end <= stop)
        })
    }
}

/// The file name of a 64-bit image's symbols, such as `probe.pdb`; `None` if it names none.
///
/// `byte` is asked for offsets from the image's base: of the first 4096 bytes, and of sections that are not discarded.
pub fn symbol_file(byte: impl Fn(u32) -> u8) -> Option<ImageName> {
    const MZ: u32 = 0x5A4D;
    const PE: u32 = 0x4550;
    const PE32_PLUS: u32 = 0x20B;
    const DEBUG_DIRECTORY: u32 = 6;
    let mut image = Image {
        byte,
        sections: 0,
        section_count: 0,
    };
    let headers = (image.u16(0) == MZ).then(|| image.u32(0x3C))?;
    // Signature, file header, optional header with all its directories.
    let optional = headers.checked_add(24)?;
    if optional.checked_add(240)? > HEADERS || image.u32(headers) != PE || image.u16(optional) != PE32_PLUS {
        return None;
    }
    if image.u32(optional.wrapping_add(108)) <= DEBUG_DIRECTORY {
        return None;
    }
    let directory = optional.wrapping_add(112).wrapping_add(DEBUG_DIRECTORY.wrapping_mul(8));
    let (entries, bytes) = (image.u32(directory), image.u32(directory.wrapping_add(4)));
    image.section_count = image.u16(headers.wrapping_add(6));
    image.sections = optional.checked_add(image.u16(headers.wrapping_add(20)))?;
    let sections_end = image.sections.checked_add(image.section_count.wrapping_mul(40))?;
    if image.section_count > MOST_SECTIONS || sections_end > HEADERS || !image.stays(entries, bytes) {
        return None;
    }
    (0..(bytes / 28).min(MOST_ENTRIES)).find_map(|index| {
        let entry = entries.wrapping_add(index.wrapping_mul(28));
        let (size, data) = (image.u32(entry.wrapping_add(16)), image.u32(entry.wrapping_add(20)));
        let codeview = image.u32(entry.wrapping_add(12)) == CODEVIEW && size > 24 && image.stays(data, size);
        (codeview && image.u32(data) == RSDS).then(|| path(&image, data.wrapping_add(24), size.wrapping_sub(24)))?
    })
}

/// The zero-terminated path at `at`, without its folders.
fn path(image: &Image<impl Fn(u32) -> u8>, at: u32, room: u32) -> Option<ImageName> {
    let bytes = (0..room.min(LONGEST_PATH)).map(|index| (image.byte)(at.wrapping_add(index)));
    // Symbol files have ASCII names as a rule; other bytes stay distinct characters.
    let name = ImageName::from_chars(bytes.take_while(|byte| *byte != 0).map(char::from));
    (!name.as_bytes().is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small image: headers, a section of data, and a section that is discarded.
    fn image(path: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x3000];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3C, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &2_u16.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20B_u16.to_le_bytes());
        put(0x98 + 108, &16_u32.to_le_bytes());
        put(0x98 + 160, &0x1100_u32.to_le_bytes());
        put(0x98 + 164, &28_u32.to_le_bytes());
        for (index, (start, flags)) in [(0x1000_u32, 0x4000_0040_u32), (0x2000, 0x4200_0040)]
            .into_iter()
            .enumerate()
        {
            let header = 0x98 + 240 + index * 40;
            put(header + 8, &0x1000_u32.to_le_bytes());
            put(header + 12, &start.to_le_bytes());
            put(header + 36, &flags.to_le_bytes());
        }
        put(0x1100 + 12, &2_u32.to_le_bytes());
        put(0x1100 + 16, &u32::try_from(25 + path.len()).unwrap().to_le_bytes());
        put(0x1100 + 20, &0x1200_u32.to_le_bytes());
        put(0x1200, b"RSDS");
        put(0x1200 + 24, path.as_bytes());
        bytes
    }

    fn name(bytes: &[u8]) -> Option<String> {
        let found = symbol_file(|at| bytes[usize::try_from(at).unwrap()])?;
        Some(String::from_utf8(found.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_file_is_named_without_its_folders() {
        assert_eq!(name(&image(r"d:\build\x64\Client.pdb")).as_deref(), Some("client.pdb"));
        assert_eq!(name(&image("client.pdb")).as_deref(), Some("client.pdb"));
    }

    #[test]
    fn what_names_nothing_has_no_name() {
        assert_eq!(name(&image("")), None);
        assert_eq!(name(&image(r"d:\")), None);
    }

    /// Another signature, a 32-bit header, a directory without room for an entry.
    #[test]
    fn what_is_no_image_has_no_name() {
        for (at, byte) in [
            (0, b'N'),
            (0x80, b'Q'),
            (0x98, 0),
            (0x99, 1),
            (0x98 + 164, 27),
            (0x98 + 108, 6),
        ] {
            let mut bytes = image("client.pdb");
            bytes[at] = byte;
            assert_eq!(name(&bytes), None, "{at:#x}");
        }
        let mut bytes = image("client.pdb");
        bytes[0x98 + 108] = 7;
        assert_eq!(name(&bytes).as_deref(), Some("client.pdb"));
    }

    #[test]
    fn what_is_discarded_is_not_read() {
        let mut bytes = image("client.pdb");
        bytes[0x1100 + 20..0x1100 + 24].copy_from_slice(&0x2200_u32.to_le_bytes());
        bytes[0x2200..0x2204].copy_from_slice(b"RSDS");
        bytes[0x2218..0x2222].copy_from_slice(b"client.pdb");
        assert_eq!(name(&bytes), None);
    }

    #[test]
    fn no_damage_leads_outside() {
        let whole = image(r"d:\build\client.pdb");
        for at in (0..0x200).chain(0x1100..0x1230) {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // Reading outside the headers and the kept section would be caught here.
                let _ = symbol_file(|at| {
                    assert!(at < 0x2000, "{at:#x}");
                    bytes[usize::try_from(at).unwrap()]
                });
            }
        }
    }
}

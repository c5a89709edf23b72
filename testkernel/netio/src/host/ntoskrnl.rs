//! Functions of the host's ntoskrnl.exe as it came from disk, also when the verifier has put others before them.
//!
//! The verifier leaves the old export directory where it was, in the section that holds nothing else.

use core::ffi::{CStr, c_char, c_void};

use super::sys;

/// Where the section headers begin, and how they are laid out (PE32+).
const NEW_HEADER: usize = 0x3C;
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL: usize = 24;
const SECTION: usize = 40;
const SECTION_RVA: usize = 12;
/// Offsets in an export directory.
const NAME_COUNT: usize = 24;
const FUNCTIONS: usize = 28;
const NAMES: usize = 32;
const ORDINALS: usize = 36;

/// A mapped image.
#[derive(Clone, Copy)]
struct Image(*const u8);

impl Image {
    /// # Safety
    /// The offset lies in the image.
    unsafe fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: as the caller promises.
        unsafe { self.0.wrapping_add(offset).cast::<T>().read_unaligned() }
    }

    /// # Safety
    /// The image is a mapped PE32+ file.
    unsafe fn section(self, name: [u8; 8]) -> Option<usize> {
        // SAFETY: the headers of a mapped file are mapped.
        unsafe {
            let header = self.read::<u32>(NEW_HEADER) as usize;
            let count = usize::from(self.read::<u16>(header + SECTION_COUNT));
            let first = header + OPTIONAL + usize::from(self.read::<u16>(header + OPTIONAL_SIZE));
            let section = (0..count).map(|index| first + index * SECTION);
            let found = section.into_iter().find(|at| self.read::<[u8; 8]>(*at) == name)?;
            Some(self.read::<u32>(found + SECTION_RVA) as usize)
        }
    }

    /// # Safety
    /// An export directory is at `directory`.
    unsafe fn export(self, directory: usize, wanted: &CStr) -> Option<*const c_void> {
        // SAFETY: the directory and what it names are mapped.
        unsafe {
            let table = |offset: usize| self.read::<u32>(directory + offset) as usize;
            let name_of = |index: usize| {
                let name = self.read::<u32>(table(NAMES) + index * 4) as usize;
                CStr::from_ptr(self.0.wrapping_add(name).cast::<c_char>())
            };
            let index = (0..table(NAME_COUNT)).find(|index| name_of(*index) == wanted)?;
            let ordinal = usize::from(self.read::<u16>(table(ORDINALS) + index * 2));
            let function = self.read::<u32>(table(FUNCTIONS) + ordinal * 4) as usize;
            Some(self.0.wrapping_add(function).cast())
        }
    }
}

/// The host's own function of that name.
pub(crate) fn original(name: &CStr) -> Option<*const c_void> {
    let module: [u16; 13] = *crate::level::utf16!(b"ntoskrnl.exe\0");
    // SAFETY: the name is terminated.
    let base = unsafe { sys::GetModuleHandleW(module.as_ptr()) };
    if base.is_null() {
        return None;
    }
    let image = Image(base.cast_const().cast());
    // SAFETY: a loaded module is a mapped PE32+ file, and Wine's have their export directory in a section of that name.
    unsafe { image.export(image.section(*b".edata\0\0")?, name) }
}

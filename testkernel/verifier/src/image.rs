//! Reading and changing images that are loaded: headers, exports, import slots, entry point. `PASSIVE_LEVEL`.
//!
//! The images are those that the loader of the process has mapped and checked, so their tables are trusted to lie inside them.

use core::ffi::CStr;
use core::ptr::NonNull;

use crate::user::{self, PAGE};

const DIRECTORY_EXPORT: usize = 0;
const DIRECTORY_IMPORT: usize = 1;

/// `IMAGE_EXPORT_DIRECTORY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExportDirectory {
    pub(crate) characteristics: u32,
    pub(crate) time: u32,
    pub(crate) version: u32,
    pub(crate) name: u32,
    pub(crate) base: u32,
    pub(crate) functions: u32,
    pub(crate) names: u32,
    pub(crate) address_of_functions: u32,
    pub(crate) address_of_names: u32,
    pub(crate) address_of_ordinals: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ImportDescriptor {
    lookup: u32,
    time: u32,
    forwarder: u32,
    name: u32,
    slots: u32,
}

/// A loaded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image(NonNull<u8>);

// SAFETY: only an address; what is done with it is for its user to prove.
unsafe impl Send for Image {}

/// One import of an image.
pub(crate) struct Import<'a> {
    pub(crate) name: &'a CStr,
    pub(crate) slot: *mut usize,
}

impl Image {
    pub(crate) const fn at(base: NonNull<u8>) -> Self {
        Self(base)
    }

    pub(crate) fn base(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The address of what lies at an RVA.
    pub(crate) fn rva<T>(self, rva: u32) -> *mut T {
        self.0.as_ptr().wrapping_add(rva as usize).cast()
    }

    fn read<T: Copy>(self, rva: u32) -> T {
        // SAFETY: the loader has checked that the image's tables lie inside it, and mapped them readable.
        unsafe { self.rva::<T>(rva).read_unaligned() }
    }

    fn text<'a>(self, rva: u32) -> &'a CStr {
        // SAFETY: names in an image's tables end with NUL, and stay as long as the image.
        unsafe { CStr::from_ptr(self.rva(rva)) }
    }

    fn optional_header(self) -> u32 {
        self.read::<u32>(0x3c).wrapping_add(24)
    }

    /// Bytes that the image takes in memory.
    pub(crate) fn size(self) -> usize {
        self.read::<u32>(self.optional_header().wrapping_add(56)) as usize
    }

    /// Whether the image is a native one: a driver or an export driver.
    pub(crate) fn is_native(self) -> bool {
        self.read::<u16>(self.optional_header().wrapping_add(68)) == 1
    }

    /// The RVA of the entry point, 0 if there is none.
    pub(crate) fn entry(self) -> u32 {
        self.read(self.optional_header().wrapping_add(16))
    }

    /// Makes another function the entry point.
    pub(crate) fn set_entry(self, rva: u32) -> bool {
        // SAFETY: the field is mapped; the loader lock is held by the caller, so nobody reads it now.
        unsafe { user::overwrite(self.rva(self.optional_header().wrapping_add(16)), rva) }
    }

    /// RVA and bytes of the first section with code.
    pub(crate) fn code(self) -> Option<(u32, usize)> {
        const EXECUTE: u32 = 0x2000_0000;
        const SECTION: u32 = 40;
        let header = self.read::<u32>(0x3c);
        let count: u16 = self.read(header.wrapping_add(6));
        let optional: u16 = self.read(header.wrapping_add(20));
        let first = self.optional_header().wrapping_add(optional.into());
        (0..u32::from(count)).find_map(|index| {
            let section = first.wrapping_add(index.wrapping_mul(SECTION));
            let [bytes, rva]: [u32; 2] = self.read(section.wrapping_add(8));
            let flags: u32 = self.read(section.wrapping_add(36));
            (flags & EXECUTE != 0).then_some((rva, bytes as usize))
        })
    }

    fn directory_field(self, index: usize) -> u32 {
        #[allow(clippy::cast_possible_truncation, reason = "the index is 0 or 1")]
        self.optional_header().wrapping_add(112).wrapping_add(8 * index as u32)
    }

    fn directory(self, index: usize) -> (u32, u32) {
        self.read(self.directory_field(index))
    }

    /// Where the export directory is, and its length.
    pub(crate) fn export_range(self) -> (u32, u32) {
        self.directory(DIRECTORY_EXPORT)
    }

    /// Makes another export directory the one that the loader reads.
    pub(crate) fn set_export_range(self, rva: u32, bytes: u32) -> bool {
        // SAFETY: the field is mapped; no driver is being loaded now, since this runs inside the loading of the verifier.
        unsafe { user::overwrite(self.rva(self.directory_field(DIRECTORY_EXPORT)), (rva, bytes)) }
    }

    pub(crate) fn exports(self) -> ExportDirectory {
        self.read(self.export_range().0)
    }

    /// Name and RVA of every export, in the table's order.
    pub(crate) fn for_each_export(self, mut visit: impl FnMut(&'static CStr, u32)) {
        let directory = self.exports();
        for index in 0..directory.names {
            let name: u32 = self.read(directory.address_of_names.wrapping_add(index.wrapping_mul(4)));
            let ordinal: u16 = self.read(directory.address_of_ordinals.wrapping_add(index.wrapping_mul(2)));
            let function = directory
                .address_of_functions
                .wrapping_add(u32::from(ordinal).wrapping_mul(4));
            visit(self.text(name), self.read(function));
        }
    }

    /// Every import by name.
    pub(crate) fn for_each_import(self, mut visit: impl FnMut(&Import<'_>)) {
        let (mut at, bytes) = self.directory(DIRECTORY_IMPORT);
        if bytes == 0 {
            return;
        }
        loop {
            let descriptor: ImportDescriptor = self.read(at);
            if descriptor.slots == 0 {
                return;
            }
            let lookup = if descriptor.lookup == 0 {
                descriptor.slots
            } else {
                descriptor.lookup
            };
            for index in 0u32.. {
                let entry: u64 = self.read(lookup.wrapping_add(index.wrapping_mul(8)));
                if entry == 0 {
                    break;
                }
                if entry >> 63 == 0 {
                    #[allow(clippy::cast_possible_truncation, reason = "the low 31 bits are an RVA")]
                    let name = self.text((entry as u32).wrapping_add(2));
                    let slot = self.rva(descriptor.slots.wrapping_add(index.wrapping_mul(8)));
                    visit(&Import { name, slot });
                }
            }
            at = at.wrapping_add(20);
        }
    }

    /// Writable, executable memory that an RVA of this image can reach.
    pub(crate) fn allocate_near(self, bytes: usize) -> Option<NonNull<u8>> {
        const STEP: usize = 0x1_0000;
        const REACH: usize = 0x7000_0000;
        let first = self.base().wrapping_add(self.size()).next_multiple_of(STEP);
        let bytes = bytes.next_multiple_of(PAGE);
        (0..REACH / STEP).find_map(|step| {
            let wanted = core::ptr::with_exposed_provenance_mut(first.wrapping_add(step.wrapping_mul(STEP)));
            // SAFETY: asks for free address space; where some of it is taken, the call fails.
            let block = unsafe {
                user::VirtualAlloc(
                    wanted,
                    bytes,
                    user::MEM_RESERVE | user::MEM_COMMIT,
                    user::PAGE_EXECUTE_READWRITE,
                )
            };
            NonNull::new(block.cast())
        })
    }
}

//! ntoskrnl's export table, rebuilt: the functions that drivers loaded later bind to. `PASSIVE_LEVEL`, once, before any other driver is
//! loaded.
//!
//! The table lies behind ntoskrnl's image, where its RVAs can reach: first the directory with its names and forwarders, then one
//! jump for each function of ours. The old functions keep their RVAs.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::ffi::{CStr, c_void};
use core::ptr::NonNull;

use crate::image::{ExportDirectory, Image};
use crate::sync::Lock;

/// A function under the name that drivers import.
pub(crate) struct Export {
    pub(crate) name: &'static CStr,
    pub(crate) function: *const (),
}

// SAFETY: the address of a function.
unsafe impl Sync for Export {}

/// Names and functions, as a table of exports.
macro_rules! exports {
    ($($name:ident => $function:path),* $(,)?) => {
        pub(crate) static EXPORTS: &[$crate::exports::Export] = &[$(
            $crate::exports::Export {
                name: match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                },
                function: $function as *const (),
            },
        )*];
    };
}
pub(crate) use exports;

/// Where ntoskrnl's own functions were before the table was rebuilt.
static ORIGINALS: Lock<BTreeMap<&'static CStr, usize>> = Lock::new(BTreeMap::new());

/// Where they are now.
static PRESENT: Lock<BTreeMap<&'static CStr, usize>> = Lock::new(BTreeMap::new());

/// ntoskrnl's own function of that name.
pub(crate) fn original(name: &CStr) -> Option<NonNull<c_void>> {
    let address = ORIGINALS.lock().get(name).copied()?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// The function that drivers find under a name now: ours, or ntoskrnl's own.
pub(crate) fn present(name: &CStr) -> Option<usize> {
    PRESENT.lock().get(name).copied()
}

/// Bytes of a jump to any address.
const JUMP: usize = 16;

/// Writes `jmp [rip+0]` and the address.
///
/// # Safety
/// `at` points to [`JUMP`] writable bytes.
pub(crate) unsafe fn write_jump(at: *mut u8, target: usize) {
    let code: [u8; 8] = [0xff, 0x25, 0x02, 0, 0, 0, 0xcc, 0xcc];
    // SAFETY: as the caller promises: the code takes 8 bytes, the address the next 8.
    unsafe {
        at.cast::<[u8; 8]>().write_unaligned(code);
        at.add(8).cast::<usize>().write_unaligned(target);
    }
}

enum Function {
    /// Stays where it is.
    Old(u32),
    /// A forwarder's text.
    Forwarder(&'static CStr),
    /// One of ours.
    New(usize),
}

fn collect(image: Image, tables: &[&'static [Export]]) -> BTreeMap<&'static CStr, Function> {
    let (directory, bytes) = image.export_range();
    let mut all = BTreeMap::new();
    let mut originals = ORIGINALS.lock();
    image.for_each_export(|name, rva| {
        let forwarder = rva.wrapping_sub(directory) < bytes;
        // SAFETY: a forwarder's RVA is that of its text, which stays as long as ntoskrnl does.
        let function = if forwarder {
            // SAFETY: as above.
            Function::Forwarder(unsafe { CStr::from_ptr(image.rva(rva)) })
        } else {
            Function::Old(rva)
        };
        if !forwarder {
            originals.insert(name, image.rva::<u8>(rva).addr());
        }
        all.insert(name, function);
    });
    let mut present = PRESENT.lock();
    present.clone_from(&originals);
    for export in tables.iter().copied().flatten() {
        present.insert(export.name, export.function.expose_provenance());
        all.insert(export.name, Function::New(export.function.expose_provenance()));
    }
    all
}

/// A cursor over the new table.
struct Writer {
    image: Image,
    at: NonNull<u8>,
}

impl Writer {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the block was allocated within reach of an RVA"
    )]
    fn rva(&self) -> u32 {
        self.at.as_ptr().addr().wrapping_sub(self.image.base()) as u32
    }

    /// Writes a value; its RVA.
    ///
    /// # Safety
    /// The block has room for it.
    unsafe fn put<T>(&mut self, value: T) -> u32 {
        let rva = self.rva();
        // SAFETY: as the caller promises.
        unsafe { self.at.cast::<T>().write_unaligned(value) };
        // SAFETY: likewise: at most one past the block's end.
        self.at = unsafe { self.at.add(size_of::<T>()) };
        rva
    }

    /// Writes a text with its NUL; its RVA.
    ///
    /// # Safety
    /// As [`Self::put`].
    unsafe fn put_text(&mut self, text: &CStr) -> u32 {
        let rva = self.rva();
        for &byte in text.to_bytes_with_nul() {
            // SAFETY: as the caller promises.
            unsafe { self.put(byte) };
        }
        rva
    }
}

/// Rebuilds the table with the functions of `tables` added to it, or put in place of the old ones.
pub(crate) fn install(image: Image, tables: &[&'static [Export]]) -> bool {
    let all = collect(image, tables);
    let count = all.len();
    let text = |function: &Function| match function {
        Function::Forwarder(text) => text.count_bytes().wrapping_add(1),
        _ => 0,
    };
    let texts: usize = all
        .iter()
        .map(|(name, function)| name.count_bytes().wrapping_add(1).wrapping_add(text(function)))
        .sum();
    let jumps = all
        .values()
        .filter(|function| matches!(function, Function::New(_)))
        .count();
    let directory_bytes = size_of::<ExportDirectory>()
        .wrapping_add(count.wrapping_mul(10))
        .wrapping_add(texts)
        .next_multiple_of(JUMP);
    let Some(block) = image.allocate_near(directory_bytes.wrapping_add(jumps.wrapping_mul(JUMP))) else {
        return false;
    };

    // SAFETY (of the writes below): `block` has room for the directory, `count` entries of 4 + 4 + 2 bytes, the texts, and the jumps.
    let writer = |offset: usize| Writer {
        image,
        // SAFETY: an offset inside the block.
        at: unsafe { block.add(offset) },
    };
    let functions_at = size_of::<ExportDirectory>();
    let names_at = functions_at.wrapping_add(count.wrapping_mul(4));
    let ordinals_at = names_at.wrapping_add(count.wrapping_mul(4));
    let (mut functions, mut names, mut ordinals) = (writer(functions_at), writer(names_at), writer(ordinals_at));
    let mut strings = writer(ordinals_at.wrapping_add(count.wrapping_mul(2)));
    let mut code = writer(directory_bytes);

    let mut directory = image.exports();
    directory.base = 1;
    #[allow(clippy::cast_possible_truncation, reason = "some two thousand names")]
    {
        directory.functions = count as u32;
        directory.names = count as u32;
    }
    directory.address_of_functions = functions.rva();
    directory.address_of_names = names.rva();
    directory.address_of_ordinals = ordinals.rva();
    for (index, (name, function)) in (0u16..).zip(&all) {
        // SAFETY: see above.
        unsafe {
            let rva = match *function {
                Function::Old(rva) => rva,
                Function::Forwarder(text) => strings.put_text(text),
                Function::New(target) => {
                    let rva = code.rva();
                    write_jump(code.at.as_ptr(), target);
                    code.at = code.at.add(JUMP);
                    rva
                }
            };
            functions.put(rva);
            names.put(strings.put_text(name));
            ordinals.put(index);
        }
    }
    // SAFETY: see above.
    let directory_rva = unsafe { writer(0).put(directory) };
    #[allow(clippy::cast_possible_truncation, reason = "well under 4 GiB")]
    image.set_export_range(directory_rva, directory_bytes as u32)
}

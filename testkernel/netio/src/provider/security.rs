//! Whether a security descriptor grants access to the kernel's own security context: all that address sharing asks of one.

use core::ffi::c_void;

use super::client::Descriptor;

const SE_DACL_PRESENT: u16 = 0x4;
const SE_SELF_RELATIVE: u16 = 0x8000;
const ACCESS_ALLOWED_ACE: u8 = 0;
const ACCESS_DENIED_ACE: u8 = 1;

/// Everyone, LocalSystem and Administrators: revision, count, authority, and the sub-authorities.
const OURS: [&[u8]; 3] = [
    &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
    &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0],
    &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0],
];

/// Reads what matters of a descriptor.
///
/// # Safety
/// `descriptor` is a valid security descriptor of either form.
pub(super) unsafe fn read(descriptor: *const c_void) -> Descriptor {
    let bytes = descriptor.cast::<u8>();
    // SAFETY: both forms begin with revision, padding and the control word.
    let control = unsafe { bytes.add(2).cast::<u16>().read_unaligned() };
    if control & SE_DACL_PRESENT == 0 {
        return Descriptor { grants: true };
    }
    let dacl = if control & SE_SELF_RELATIVE != 0 {
        // SAFETY: the self-relative form has four offsets behind the control word, the last that of the DACL.
        let offset = unsafe { bytes.add(16).cast::<u32>().read_unaligned() } as usize;
        if offset == 0 {
            core::ptr::null()
        } else {
            bytes.wrapping_add(offset)
        }
    } else {
        // SAFETY: the absolute form has four pointers behind the control word, the last that of the DACL.
        unsafe { bytes.add(32).cast::<*const u8>().read_unaligned() }
    };
    // SAFETY: a present DACL is NULL or valid.
    let grants = dacl.is_null() || unsafe { first_ace_allows(dacl) };
    Descriptor { grants }
}

/// The first entry that speaks of us decides; none denies.
///
/// # Safety
/// `dacl` is a valid ACL.
unsafe fn first_ace_allows(dacl: *const u8) -> bool {
    // SAFETY: an ACL has revision, padding, size and count of entries.
    let (size, count) = unsafe {
        (
            dacl.add(2).cast::<u16>().read_unaligned(),
            dacl.add(4).cast::<u16>().read_unaligned(),
        )
    };
    // SAFETY: the ACL is as long as it says.
    let mut rest = unsafe { core::slice::from_raw_parts(dacl, size.into()) }
        .get(8..)
        .unwrap_or(&[]);
    for _ in 0..count {
        let &[kind, _, low, high, ..] = rest else { return false };
        let length = usize::from(u16::from_le_bytes([low, high]));
        let Some((entry, others)) = rest.split_at_checked(length.max(8)) else {
            return false;
        };
        rest = others;
        let sid = entry.get(8..).unwrap_or(&[]);
        if matches!(kind, ACCESS_ALLOWED_ACE | ACCESS_DENIED_ACE) && OURS.iter().any(|ours| sid.starts_with(ours)) {
            return kind == ACCESS_ALLOWED_ACE;
        }
    }
    false
}

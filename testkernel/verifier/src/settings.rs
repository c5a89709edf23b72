//! What is verified, and how: values of the service's registry key, read once, and what user mode sets later. Any IRQL.

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::verifier::FLAGS_VALUE;
use probe_protocol::verifier::flags::{IMMEDIATE, STANDARD};
use wdk_sys::{
    OBJ_CASE_INSENSITIVE, OBJECT_ATTRIBUTES, STATUS_SUCCESS, UNICODE_STRING,
    ntddk::{ZwClose, ZwOpenKey, ZwQueryValueKey},
};

use crate::user;

/// Drivers under verification.
const TARGETS: [&[u8]; 2] = [b"wskguard.sys", b"faulty.sys"];

static FLAGS: AtomicU32 = AtomicU32::new(STANDARD);

/// The flags in force.
pub(crate) fn flags() -> u32 {
    FLAGS.load(Ordering::Relaxed)
}

/// Whether any of these flags is in force.
pub(crate) fn has(flag: u32) -> bool {
    flags() & flag != 0
}

/// Whether nothing is checked: then what is called often does no more than it must.
pub(crate) fn nothing() -> bool {
    flags() == 0
}

/// Sets flags: all of them for drivers loaded later, the immediate ones for everybody.
pub(crate) fn set(flags: u32) {
    let known = STANDARD | IMMEDIATE;
    FLAGS.store(flags & known, Ordering::Relaxed);
}

/// Takes the flags from the service's `Parameters` key, if it has them. `PASSIVE_LEVEL`, once.
pub(crate) fn load(path: &UNICODE_STRING) {
    const NAME: [u16; 6] = user::wide(FLAGS_VALUE);
    const SUBKEY: [u16; 12] = user::wide("\\Parameters");
    const KEY_READ: u32 = 0x2_0019;
    const PARTIAL_INFORMATION: i32 = 2;
    const REG_DWORD: u32 = 4;
    // SAFETY: a counted string.
    let service = unsafe { core::slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    let key: Vec<u16> = service.iter().chain(SUBKEY.iter().take(11)).copied().collect();
    let string = |text: &[u16]| {
        let bytes = u16::try_from(text.len().saturating_mul(2)).unwrap_or(0);
        UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: text.as_ptr().cast_mut(),
        }
    };
    let (mut key, mut name) = (string(&key), string(NAME.get(..5).unwrap_or_default()));
    let mut attributes = OBJECT_ATTRIBUTES {
        Length: 48,
        ObjectName: &raw mut key,
        Attributes: OBJ_CASE_INSENSITIVE,
        ..OBJECT_ATTRIBUTES::default()
    };
    // KEY_VALUE_PARTIAL_INFORMATION: title, type, length, data.
    let (mut value, mut needed) = ([0u32; 8], 0);
    let mut handle = core::ptr::null_mut();
    // SAFETY: every pointer is to a live local.
    let status = unsafe {
        if ZwOpenKey(&raw mut handle, KEY_READ, &raw mut attributes) != STATUS_SUCCESS {
            return;
        }
        let room = u32::try_from(size_of_val(&value)).unwrap_or(0);
        let status = ZwQueryValueKey(
            handle,
            &raw mut name,
            PARTIAL_INFORMATION,
            value.as_mut_ptr().cast(),
            room,
            &raw mut needed,
        );
        let _ = ZwClose(handle);
        status
    };
    if let [_, REG_DWORD, 4, flags, ..] = value
        && status == STATUS_SUCCESS
    {
        set(flags);
    }
}

/// Whether a driver with this file name is to be verified.
pub(crate) fn is_target(name: &[u8]) -> bool {
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    TARGETS.contains(&name)
}

//! What is verified, and how: values of the service's registry key, read once, and what user mode sets later. Any IRQL.

use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::verifier::flags::{IMMEDIATE, STANDARD};

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

/// Sets flags: all of them for drivers loaded later, the immediate ones for everybody.
pub(crate) fn set(flags: u32) {
    let known = STANDARD | IMMEDIATE;
    FLAGS.store(flags & known, Ordering::Relaxed);
}

/// Whether a driver with this file name is to be verified.
pub(crate) fn is_target(name: &[u8]) -> bool {
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    TARGETS.contains(&name)
}

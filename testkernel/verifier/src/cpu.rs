//! Processors: one group, as many as the machine has. Any IRQL.

use core::sync::atomic::{AtomicU32, Ordering};

use wdk_sys::{NTSTATUS, PROCESSOR_NUMBER, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use crate::exports::exports;
use crate::user;

const ALL_GROUPS: u16 = 0xffff;

fn processors() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Wine asks its host each time.
    match COUNT.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: no preconditions.
            let count = unsafe { wdk_sys::ntddk::KeQueryActiveProcessorCount(core::ptr::null_mut()) }.max(1);
            COUNT.store(count, Ordering::Relaxed);
            count
        }
        count => count,
    }
}

/// Whether the processor itself says which it is, as Linux sets it up, in an instruction or two: Wine's function asks the host.
fn says_itself() -> bool {
    static KNOWN: AtomicU32 = AtomicU32::new(0);
    const YES: u32 = 1;
    const NO: u32 = 2;
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            const RDPID: u32 = 1 << 22;
            let yes = core::arch::x86_64::__cpuid_count(7, 0).ecx & RDPID != 0;
            KNOWN.store(if yes { YES } else { NO }, Ordering::Relaxed);
            yes
        }
        known => known == YES,
    }
}

fn present() -> u32 {
    /// What of the register is the processor's number; the rest is its node's.
    const NUMBER: u32 = 0xfff;
    if says_itself() {
        let register: u64;
        // SAFETY: the processor has the instruction, which only reads a register of its own.
        unsafe { core::arch::asm!("rdpid {}", out(reg) register, options(nomem, nostack, preserves_flags)) };
        #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let number = register as u32 & NUMBER;
        // A division takes longer than all else here.
        return if number < processors() {
            number
        } else {
            number % processors()
        };
    }
    let mut number = PROCESSOR_NUMBER::default();
    // SAFETY: a live local.
    unsafe { user::GetCurrentProcessorNumberEx((&raw mut number).cast()) };
    u32::from(number.Number) % processors()
}

unsafe extern "system" fn current(number: *mut PROCESSOR_NUMBER) -> u32 {
    let index = present();
    if !number.is_null() {
        let value = PROCESSOR_NUMBER {
            Group: 0,
            Number: u8::try_from(index).unwrap_or(0),
            Reserved: 0,
        };
        // SAFETY: the driver's variable.
        unsafe { number.write(value) };
    }
    index
}

unsafe extern "system" fn count(group: u16) -> u32 {
    if group == 0 || group == ALL_GROUPS {
        processors()
    } else {
        0
    }
}

unsafe extern "system" fn count_all(affinity: *mut u64) -> u32 {
    let count = processors();
    if !affinity.is_null() {
        let mask = u64::MAX.checked_shr(64u32.saturating_sub(count)).unwrap_or(u64::MAX);
        // SAFETY: the driver's variable.
        unsafe { affinity.write(mask) };
    }
    count
}

unsafe extern "system" fn maximum() -> u32 {
    processors()
}

unsafe extern "system" fn groups() -> u16 {
    1
}

unsafe extern "system" fn index_of(number: *const PROCESSOR_NUMBER) -> u32 {
    // SAFETY: the driver's variable.
    let number = unsafe { &*number };
    if number.Group == 0 && u32::from(number.Number) < processors() {
        u32::from(number.Number)
    } else {
        u32::MAX
    }
}

unsafe extern "system" fn number_of(index: u32, number: *mut PROCESSOR_NUMBER) -> NTSTATUS {
    let Some(value) = u8::try_from(index).ok().filter(|_| index < processors()) else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: the driver's variable.
    unsafe {
        number.write(PROCESSOR_NUMBER {
            Group: 0,
            Number: value,
            Reserved: 0,
        });
    };
    STATUS_SUCCESS
}

exports! {
    KeGetCurrentProcessorNumberEx => current,
    KeQueryActiveProcessorCountEx => count,
    KeQueryActiveProcessorCount => count_all,
    KeQueryMaximumProcessorCountEx => count,
    KeQueryMaximumProcessorCount => maximum,
    KeQueryActiveGroupCount => groups,
    KeQueryMaximumGroupCount => groups,
    KeGetProcessorIndexFromNumber => index_of,
    KeGetProcessorNumberFromIndex => number_of,
}

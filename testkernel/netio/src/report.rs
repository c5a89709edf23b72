//! What netio.sys says: lines of the debugger, and the count of broken contracts.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use wdk_sys::ntddk::DbgPrint;

/// Contracts that callers broke since the start.
pub(crate) static MISUSES: AtomicU64 = AtomicU64::new(0);

struct Line {
    text: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays zero: the line is handed over as a C string.
        for byte in text.bytes().take(self.text.len().saturating_sub(self.length + 1)) {
            if let Some(slot) = self.text.get_mut(self.length) {
                *slot = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// Prints one line to the debugger.
pub(crate) fn print(arguments: fmt::Arguments<'_>) {
    let mut line = Line {
        text: [0; 256],
        length: 0,
    };
    if line.write_fmt(arguments).is_ok() {
        // SAFETY: the format names one string, and the line ends with a zero.
        unsafe { DbgPrint(c"netio: %s\n".as_ptr(), line.text.as_ptr()) };
    }
}

/// Prints and counts a broken contract.
pub(crate) fn count_misuse(arguments: fmt::Arguments<'_>) {
    MISUSES.fetch_add(1, Ordering::Relaxed);
    print(format_args!("MISUSE: {arguments}"));
}

/// Reports a broken contract.
macro_rules! misuse {
    ($($argument:tt)*) => { $crate::report::count_misuse(format_args!($($argument)*)) };
}
pub(crate) use misuse;

#[panic_handler]
fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
    print(format_args!("PANIC: {information}"));
    loop {
        // SAFETY: an illegal instruction ends the process, which is what is wanted.
        unsafe { core::arch::asm!("ud2") };
    }
}

//! Whether colours are wanted, and the console told to show them.

use std::io::IsTerminal;

use crate::cli::ColorWhen;

/// Whether a stream gets colours. `NO_COLOR` of any content but none turns them off, unless the command line asks for them.
#[must_use]
pub fn wants_color(when: ColorWhen, stream: &impl IsTerminal) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            !refused && stream.is_terminal() && console_understands()
        }
    }
}

#[cfg(not(windows))]
fn console_understands() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Consoles show escape sequences only when asked to.
#[cfg(windows)]
#[allow(unsafe_code, reason = "calls the operating system")]
fn console_understands() -> bool {
    use windows_sys::Win32::System::Console::{
        ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode, GetStdHandle, STD_ERROR_HANDLE, STD_OUTPUT_HANDLE,
        SetConsoleMode,
    };
    let mut understands = true;
    for stream in [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: no requirements.
        let handle = unsafe { GetStdHandle(stream) };
        let mut mode = 0;
        // SAFETY: the handle is the process's own, or invalid, which the call reports; the mode is ours.
        if unsafe { GetConsoleMode(handle, &raw mut mode) } != 0 {
            // SAFETY: as above.
            understands &= unsafe { SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) } != 0;
        }
    }
    understands
}

//! Faults that are not special pool's: an access violation in a verified driver is reported before it ends the session.

use core::ffi::c_void;

use crate::modules;
use crate::stop::{self, Code, Stack};
use crate::system;

/// Reports a fault of a verified driver.
pub(crate) fn unhandled(code: u32, address: usize, access: usize, data: usize, context: *mut c_void) {
    if !modules::is_target(address) {
        return;
    }
    let mut stack: Stack = [0; _];
    system::walk(context, &mut stack);
    stop::report_at(Code::Exception, [code as usize, address, access, data], b"", &stack);
}

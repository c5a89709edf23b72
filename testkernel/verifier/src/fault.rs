//! Faults that are not special pool's: an access violation of a verified driver, or its call of a function that nobody has, is reported and
//! ends the call that the kernel made into the driver. Any IRQL.

use core::ffi::{CStr, c_char, c_void};

use crate::guard;
use crate::modules;
use crate::stop::{self, Code, Stack};
use crate::system;

const ACCESS_VIOLATION: u32 = 0xc000_0005;
const ILLEGAL_INSTRUCTION: u32 = 0xc000_001d;
const INTEGER_DIVIDE_BY_ZERO: u32 = 0xc000_0094;
const STACK_OVERFLOW: u32 = 0xc000_00fd;
const FAST_FAIL: u32 = 0xc000_0409;
/// What Wine raises when a function is called that is only a name.
const WINE_STUB: u32 = 0x8000_0100;

/// Looks at an exception; whether execution goes on, with the context changed.
pub(crate) fn judge(code: u32, address: usize, information: [usize; 2], context: *mut c_void) -> bool {
    let mut stack: Stack = [0; _];
    system::walk(context, &mut stack);
    let [first, second] = information;
    match code {
        WINE_STUB if stack.iter().any(|&frame| modules::is_target(frame)) => {
            let name: *const c_char = core::ptr::with_exposed_provenance(second);
            // SAFETY: Wine gives the function's name, or a small ordinal.
            let name = if second < 0x1_0000 {
                c""
            } else {
                // SAFETY: as above.
                unsafe { CStr::from_ptr(name) }
            };
            stop::report_at(Code::MissingFunction, [first, second, 0, 0], name.to_bytes(), &stack);
        }
        ACCESS_VIOLATION | ILLEGAL_INSTRUCTION | INTEGER_DIVIDE_BY_ZERO | STACK_OVERFLOW | FAST_FAIL
            if modules::is_target(address) || stack.iter().take(4).any(|&frame| modules::is_target(frame)) =>
        {
            stop::report_at(Code::Exception, [code as usize, address, first, second], b"", &stack);
        }
        _ => return false,
    }
    match guard::resume() {
        Some((stack, instruction)) => {
            system::redirect(context, stack, instruction, 1);
            true
        }
        None => false,
    }
}

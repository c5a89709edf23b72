//! Functions of ntdll that the test kernel itself needs, found at run time, and the kernel's questions about the system: version, loaded
//! modules, addresses of routines. `PASSIVE_LEVEL` unless said otherwise.

use core::ffi::{CStr, c_void};
use core::mem::transmute_copy;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::user;

/// A function of ntdll, looked up at its first call.
pub(crate) struct Native {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Native {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicUsize::new(0),
        }
    }

    /// The function, as a pointer of type `F`.
    ///
    /// # Safety
    /// `F` is the type of a pointer to this function.
    pub(crate) unsafe fn get<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<usize>()) };
        let mut address = self.address.load(Ordering::Relaxed);
        if address == 0 {
            address = user::procedure(ntdll()?, self.name)?.as_ptr().expose_provenance();
            self.address.store(address, Ordering::Relaxed);
        }
        // SAFETY: as the caller promises; the address is not zero.
        Some(unsafe { transmute_copy(&address) })
    }
}

fn ntdll() -> Option<NonNull<u8>> {
    const NAME: [u16; 16] = user::wide("ntdll.dll");
    user::module(&NAME)
}

/// Fills `frames` with return addresses, innermost first; how many. Any IRQL.
pub(crate) fn capture_stack(frames: &mut [*mut c_void]) -> usize {
    type Capture = unsafe extern "system" fn(u32, u32, *mut *mut c_void, *mut u32) -> u16;
    static CAPTURE: Native = Native::new(c"RtlCaptureStackBackTrace");
    // SAFETY: that is its signature.
    let Some(capture) = (unsafe { CAPTURE.get::<Capture>() }) else {
        return 0;
    };
    #[allow(clippy::cast_possible_truncation, reason = "a few dozen")]
    let most = frames.len() as u32;
    // SAFETY: the array has that many entries; no hash is asked for.
    usize::from(unsafe { capture(0, most, frames.as_mut_ptr(), core::ptr::null_mut()) })
}

/// Raises an exception with this status, as `ExRaiseStatus` does.
pub(crate) fn raise_status(status: i32) -> ! {
    type Raise = unsafe extern "system" fn(i32);
    static RAISE: Native = Native::new(c"RtlRaiseStatus");
    // SAFETY: that is its signature.
    if let Some(raise) = unsafe { RAISE.get::<Raise>() } {
        // SAFETY: any status may be raised.
        unsafe { raise(status) };
    }
    // SAFETY: any code and parameters are allowed.
    unsafe { wdk_sys::ntddk::KeBugCheckEx(0x1e, u64::from(status.cast_unsigned()), 0, 0, 0) }
}

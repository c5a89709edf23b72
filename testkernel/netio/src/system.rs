//! Start of everything, at the first call of any export.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::host::sys;
use crate::{device, engine, provider, report, sync};

const STOPPED: u8 = 0;
const STARTING: u8 = 1;
const STARTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(STOPPED);

/// Starts the host's sockets, the threads, the system's WSK provider and the control device, once.
pub(crate) fn start() {
    match STATE.compare_exchange(STOPPED, STARTING, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            pin();
            start_winsock();
            engine::start();
            device::create();
            provider::register();
            STATE.store(STARTED, Ordering::Release);
        }
        Err(STARTING) => {
            while STATE.load(Ordering::Acquire) == STARTING {
                sync::sleep(1);
            }
        }
        Err(_) => {}
    }
}

/// Keeps the module mapped: its threads outlive the drivers that imported it.
fn pin() {
    let mut module = core::ptr::null_mut();
    let flags = sys::GET_MODULE_HANDLE_EX_FLAG_PIN | sys::GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
    // SAFETY: the address is one of this module.
    if unsafe { sys::GetModuleHandleExW(flags, (pin as fn()) as *const c_void, &raw mut module) } == 0 {
        report::print(format_args!("the module could not be pinned"));
    }
}

fn start_winsock() {
    let mut data = [0_u64; 64];
    // SAFETY: 512 bytes hold WSADATA (408 on 64-bit).
    let error = unsafe { sys::WSAStartup(0x0202, data.as_mut_ptr().cast()) };
    if error != 0 {
        report::print(format_args!("WSAStartup failed: {error}"));
    }
}

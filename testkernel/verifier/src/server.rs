//! What Wine's kernel says to its server. The main loop fetches requests with one call; here that call is listened to: create requests
//! carry the access that was asked for, which Wine keeps to itself, and cancel requests are carried out by [`cancel`](crate::cancel).
//! On the thread of the main loop.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::cancel;
use crate::image::Image;
use crate::system::Native;
use crate::user;

type Call = unsafe extern "C" fn(*mut Exchange) -> u32;

/// Number of the request, in the protocol of Wine 8.0.
const GET_NEXT_DEVICE_REQUEST: u32 = 239;
const CREATE: u32 = 1;
const CANCEL: u32 = 9;

/// Request and reply share their place; this is what they look like for `get_next_device_request`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ask {
    number: u32,
    request_size: u32,
    reply_size: u32,
    manager: u32,
    previous: u32,
    status: u32,
    user_pointer: u64,
    pending: u32,
    iosb_status: u32,
    result: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Answer {
    error: u32,
    reply_size: u32,
    kind: u32,
    access: u32,
    sharing: u32,
    options: u32,
    device: u64,
    file: u32,
    padding: u32,
    next: u32,
    client_thread_id: u32,
    client_thread: u64,
    input_size: u32,
}

#[repr(C)]
union Message {
    ask: Ask,
    answer: Answer,
    room: [u32; 16],
}

/// `struct __server_request_info`.
#[repr(C)]
struct Exchange {
    message: Message,
    data_count: u32,
    reply_data: *mut c_void,
}

static ACCESS: AtomicU32 = AtomicU32::new(0);
static CLIENT: AtomicU32 = AtomicU32::new(0);
static CALL: Native = Native::new(c"wine_server_call");

/// What a create request asks for, and who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CreateRequest {
    /// Access mask, with generic rights mapped.
    pub(crate) access: u32,
    /// Id of the thread.
    pub(crate) thread: u32,
}

/// The create request that the main loop fetched last.
pub(crate) fn create_request() -> CreateRequest {
    CreateRequest {
        access: ACCESS.load(Ordering::Relaxed),
        thread: CLIENT.load(Ordering::Relaxed),
    }
}

unsafe extern "C" fn listen(exchange: *mut Exchange) -> u32 {
    // SAFETY: ntdll's function has this signature.
    let Some(call) = (unsafe { CALL.get::<Call>() }) else {
        return wdk_sys::STATUS_UNSUCCESSFUL.cast_unsigned();
    };
    // SAFETY: the kernel's request; every member of the union is plain integers.
    let ask = unsafe { (*exchange).message.ask };
    // SAFETY: what the kernel wanted to call.
    let mut status = unsafe { call(exchange) };
    if ask.number != GET_NEXT_DEVICE_REQUEST {
        return status;
    }
    while status == 0 {
        // SAFETY: the call succeeded, so this is its reply.
        let answer = unsafe { (*exchange).message.answer };
        match answer.kind {
            CREATE => {
                ACCESS.store(answer.access, Ordering::Relaxed);
                CLIENT.store(answer.client_thread_id, Ordering::Relaxed);
                return status;
            }
            CANCEL => {
                // The IRP's address stands where a create request has sharing and options.
                let irp = u64::from(answer.sharing) | u64::from(answer.options) << 32;
                #[allow(clippy::cast_possible_truncation, reason = "an address of this process")]
                cancel::request(irp as usize);
                // A cancel request has no result: the next one is asked for in the kernel's place.
                let again = Ask {
                    request_size: 0,
                    previous: 0,
                    status: 0,
                    user_pointer: 0,
                    pending: 0,
                    ..ask
                };
                // SAFETY: the kernel's own structure, filled as it was before, without data.
                unsafe {
                    (*exchange).message.room = [0; 16];
                    (*exchange).message.ask = again;
                    (*exchange).data_count = 0;
                    status = call(exchange);
                }
            }
            _ => return status,
        }
    }
    status
}

/// Puts the listener into ntoskrnl's import slot. Only for the protocol that this file knows.
pub(crate) fn install(kernel: Image) -> bool {
    type Version = unsafe extern "C" fn() -> *const core::ffi::c_char;
    static VERSION: Native = Native::new(c"wine_get_version");
    // SAFETY: that is its signature, and what it returns is a static text.
    let known = unsafe {
        VERSION
            .get::<Version>()
            .is_some_and(|version| core::ffi::CStr::from_ptr(version()) == c"8.0")
    };
    let mut done = false;
    if known {
        kernel.for_each_import(|import| {
            if import.name == c"wine_server_call" {
                // SAFETY: an import slot; the main loop may read it at this moment, and finds the old or the new function.
                done = unsafe { user::overwrite(import.slot, (listen as *const ()).expose_provenance()) };
            }
        });
    }
    done
}

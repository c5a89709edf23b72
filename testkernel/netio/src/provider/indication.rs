//! Indications: lists of our data that callbacks see, and that a client may keep until it releases them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wsk_sys::{
    MDL, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, WSK_BUF, WSK_DATA_INDICATION, WSK_DATAGRAM_INDICATION,
    WSK_EVENT_RECEIVE,
};

use super::accept::level_flag;
use super::socket::Socket;
use crate::buffer;
use crate::host::Address;
use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_DATA_NOT_ACCEPTED, STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS, is_success,
};
use crate::sync::Mutex;

/// Lists that clients have, in a callback or retained: socket and first element, by address.
static LISTS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Indications that clients retain.
pub(crate) fn retained() -> usize {
    LISTS.lock().len()
}

/// Bytes in one element: more come as several, so that clients meet lists.
const PIECE: usize = 16 * 1024;

/// One element of a data indication list.
#[repr(C)]
struct Data {
    indication: WSK_DATA_INDICATION,
    mdl: MDL,
    bytes: Vec<u8>,
}

/// One element of a datagram indication list.
#[repr(C)]
struct Datagram {
    indication: WSK_DATAGRAM_INDICATION,
    mdl: MDL,
    bytes: Vec<u8>,
    from: Address,
}

/// What a client did with an indication.
pub(crate) enum Verdict {
    /// It has these bytes (or datagrams) now.
    Accepted(usize),
    /// The event was off.
    Off,
}

/// Whether received data is to be indicated.
pub(crate) fn wanted(socket: &Socket) -> bool {
    socket.shared.lock().receive_ex.is_some() || socket.is_enabled(WSK_EVENT_RECEIVE)
}

fn data_list(bytes: &[u8]) -> PWSK_DATA_INDICATION {
    let mut first: PWSK_DATA_INDICATION = core::ptr::null_mut();
    for piece in bytes.chunks(PIECE).rev() {
        let mut bytes = piece.to_vec();
        let mdl = buffer::describe(&mut bytes);
        let buffer = WSK_BUF {
            Mdl: core::ptr::null_mut(),
            Offset: 0,
            Length: bytes.len(),
        };
        let element = Box::new(Data {
            indication: WSK_DATA_INDICATION {
                Next: first,
                Buffer: buffer,
            },
            mdl,
            bytes,
        });
        let element = Box::into_raw(element);
        // SAFETY: the element was just made.
        unsafe { (*element).indication.Buffer.Mdl = &raw mut (*element).mdl };
        first = element.cast();
    }
    first
}

/// # Safety
/// The list is one of [`data_list`], and nobody else's any more.
unsafe fn free_data(mut list: PWSK_DATA_INDICATION) {
    while !list.is_null() {
        // SAFETY: as the caller promises.
        let element = unsafe { Box::from_raw(list.cast::<Data>()) };
        list = element.indication.Next;
        drop(element.bytes);
    }
}

/// Indicates stream data.
pub(crate) fn indicate(socket: &Arc<Socket>, bytes: &[u8]) -> Verdict {
    let list = data_list(bytes);
    lend(socket, list.addr());
    let receive_ex = socket.shared.lock().receive_ex;
    let event = if receive_ex.is_some() { 0 } else { WSK_EVENT_RECEIVE };
    let mut accepted = bytes.len();
    let status = socket.call_back(event, |callbacks| {
        let (context, flags, length) = (callbacks.context, level_flag(), bytes.len());
        if let Some(receive_ex) = receive_ex {
            // SAFETY: the client's callback, with its context.
            return unsafe {
                receive_ex(
                    context,
                    flags,
                    list,
                    core::ptr::null_mut(),
                    0,
                    length,
                    &raw mut accepted,
                )
            };
        }
        // SAFETY: as above.
        callbacks
            .connection
            .WskReceiveEvent
            .map_or(STATUS_DATA_NOT_ACCEPTED, |receive| unsafe {
                receive(context, flags, list, length, &raw mut accepted)
            })
    });
    let (keep, verdict) = match status {
        None => (false, Verdict::Off),
        Some(STATUS_PENDING) => (true, Verdict::Accepted(bytes.len())),
        Some(STATUS_SUCCESS) => (false, Verdict::Accepted(accepted)),
        Some(status) => {
            if is_success(status) {
                misuse!("WskReceiveEvent returned {status:#010x}");
            }
            (false, Verdict::Accepted(0))
        }
    };
    if !keep && give_back(socket, list.addr()) {
        // SAFETY: the client does not keep it.
        unsafe { free_data(list) };
    }
    verdict
}

/// Indicates datagrams; `None` when the event was off, else the client's status.
pub(crate) fn indicate_datagrams(
    socket: &Arc<Socket>,
    event: u32,
    datagrams: &[(Vec<u8>, Address)],
) -> Option<NTSTATUS> {
    let mut first: PWSK_DATAGRAM_INDICATION = core::ptr::null_mut();
    for (bytes, from) in datagrams.iter().rev() {
        let mut bytes = bytes.clone();
        let mdl = buffer::describe(&mut bytes);
        let element = Box::into_raw(Box::new(Datagram {
            indication: WSK_DATAGRAM_INDICATION {
                Next: first,
                Buffer: WSK_BUF {
                    Mdl: core::ptr::null_mut(),
                    Offset: 0,
                    Length: bytes.len(),
                },
                ControlInfo: core::ptr::null_mut(),
                ControlInfoLength: 0,
                RemoteAddress: core::ptr::null_mut(),
            },
            mdl,
            bytes,
            from: *from,
        }));
        // SAFETY: the element was just made.
        unsafe {
            (*element).indication.Buffer.Mdl = &raw mut (*element).mdl;
            (*element).indication.RemoteAddress = (*element).from.as_mut_ptr();
        }
        first = element.cast();
    }
    lend(socket, first.addr());
    let status = socket.call_back(event, |callbacks| {
        // SAFETY: the client's callback, with its context.
        callbacks
            .datagram
            .WskReceiveFromEvent
            .map_or(STATUS_DATA_NOT_ACCEPTED, |receive| unsafe {
                receive(callbacks.context, level_flag(), first)
            })
    });
    if status != Some(STATUS_PENDING) && give_back(socket, first.addr()) {
        // SAFETY: the client does not keep it.
        unsafe { free_datagrams(first) };
    }
    status
}

/// # Safety
/// The list is one of [`indicate_datagrams`], and nobody else's any more.
unsafe fn free_datagrams(mut list: PWSK_DATAGRAM_INDICATION) {
    while !list.is_null() {
        // SAFETY: as the caller promises.
        let element = unsafe { Box::from_raw(list.cast::<Datagram>()) };
        list = element.indication.Next;
        drop(element.bytes);
    }
}

/// Before the callback: the client may release the list before it returns.
fn lend(socket: &Arc<Socket>, list: usize) {
    LISTS.lock().push((Arc::as_ptr(socket).addr(), list));
}

fn give_back(socket: &Arc<Socket>, list: usize) -> bool {
    let mut lists = LISTS.lock();
    let Some(index) = lists
        .iter()
        .position(|kept| *kept == (Arc::as_ptr(socket).addr(), list))
    else {
        drop(lists);
        misuse!("release of a list that the socket's client does not have");
        return false;
    };
    lists.swap_remove(index);
    true
}

/// `WskRelease` of stream data.
///
/// # Safety
/// The client gives the list up.
pub(crate) unsafe fn release_data(socket: &Arc<Socket>, list: PWSK_DATA_INDICATION) -> NTSTATUS {
    if !give_back(socket, list.addr()) {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: it was retained, and is not any more.
    unsafe { free_data(list) };
    STATUS_SUCCESS
}

/// `WskRelease` of datagrams.
///
/// # Safety
/// The client gives the list up.
pub(crate) unsafe fn release_datagrams(socket: &Arc<Socket>, list: PWSK_DATAGRAM_INDICATION) -> NTSTATUS {
    if !give_back(socket, list.addr()) {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: it was retained, and is not any more.
    unsafe { free_datagrams(list) };
    STATUS_SUCCESS
}

/// Close: retained lists should have been released before.
pub(crate) fn forget_retained(socket: &Arc<Socket>) {
    let address = Arc::as_ptr(socket).addr();
    let mut lists = LISTS.lock();
    let before = lists.len();
    lists.retain(|(owner, _)| *owner != address);
    let left = before - lists.len();
    drop(lists);
    if left != 0 {
        misuse!("a socket was closed with {left} indications retained; they leak");
    }
}

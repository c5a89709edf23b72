//! Sockets of the host, overlapped and bound to the engine's completion port. They may only be used by the engine's threads: a
//! request dies with the thread that made it.

pub(crate) mod ntoskrnl;
pub(crate) mod sys;

mod address;

use core::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use address::Address;
use sys::{ACCEPTEX, CONNECTEX, OVERLAPPED, SOCKET, WSABUF};
use wsk_sys::{GUID, SOL_SOCKET};

use crate::status::{self, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED};

/// `SO_LINGER` of winsock2.h.
const SO_LINGER: i32 = 0x80;

const WSAID_ACCEPTEX: GUID = GUID {
    Data1: 0xB536_7DF1,
    Data2: 0xCBAC,
    Data3: 0x11CF,
    Data4: [0x95, 0xCA, 0x00, 0x80, 0x5F, 0x48, 0xA1, 0x92],
};
const WSAID_CONNECTEX: GUID = GUID {
    Data1: 0x25A2_07B9,
    Data2: 0xDDF3,
    Data3: 0x4660,
    Data4: [0x8E, 0xE9, 0x76, 0xE5, 0x8C, 0x74, 0x06, 0x3E],
};

static ACCEPT_EX: AtomicUsize = AtomicUsize::new(0);
static CONNECT_EX: AtomicUsize = AtomicUsize::new(0);

/// Host sockets that are open.
pub(crate) static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A socket of the host, closed when dropped.
#[derive(Debug)]
pub(crate) struct HostSocket(SOCKET);

type Result<T> = core::result::Result<T, NTSTATUS>;

fn last_error() -> NTSTATUS {
    // SAFETY: no preconditions.
    status::of_winsock(unsafe { sys::WSAGetLastError() })
}

fn check(result: i32) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The outcome of starting an overlapped request. What ended at once is queued to the port, too, unless it ended with an error; that
/// a datagram was longer than its buffer is a warning.
fn started(ok: bool) -> Result<()> {
    // SAFETY: no preconditions.
    let error = if ok { 0 } else { unsafe { sys::WSAGetLastError() } };
    match error {
        0 | sys::WSA_IO_PENDING | sys::WSAEMSGSIZE => Ok(()),
        error => Err(status::of_winsock(error)),
    }
}

impl HostSocket {
    pub(crate) fn open(family: u16, kind: u16, protocol: u32) -> Result<Self> {
        // SAFETY: no pointers but a NULL that is allowed.
        let socket = unsafe {
            let protocol = i32::from_ne_bytes(protocol.to_ne_bytes());
            let flags = sys::WSA_FLAG_OVERLAPPED;
            sys::WSASocketW(family.into(), kind.into(), protocol, core::ptr::null(), 0, flags)
        };
        if socket == sys::INVALID_SOCKET {
            return Err(last_error());
        }
        OPEN.fetch_add(1, Ordering::Relaxed);
        let socket = Self(socket);
        if crate::engine::associate(socket.0) {
            Ok(socket)
        } else {
            Err(STATUS_INSUFFICIENT_RESOURCES)
        }
    }

    pub(crate) fn bind(&self, address: &Address) -> Result<()> {
        // SAFETY: the address is as long as it says.
        check(unsafe { sys::bind(self.0, address.as_ptr(), address.length()) })
    }

    pub(crate) fn listen(&self) -> Result<()> {
        // SAFETY: no pointers.
        check(unsafe { sys::listen(self.0, 200) })
    }

    pub(crate) fn shutdown_send(&self) -> Result<()> {
        // SAFETY: no pointers.
        check(unsafe { sys::shutdown(self.0, sys::SD_SEND) })
    }

    pub(crate) fn local(&self) -> Result<Address> {
        // SAFETY: the callee gets a buffer and its length.
        Address::filled(|name, length| check(unsafe { sys::getsockname(self.0, name, length) }))
    }

    pub(crate) fn remote(&self) -> Result<Address> {
        // SAFETY: the callee gets a buffer and its length.
        Address::filled(|name, length| check(unsafe { sys::getpeername(self.0, name, length) }))
    }

    pub(crate) fn set(&self, level: u32, option: u32, value: &[u8]) -> Result<()> {
        let Ok(length) = i32::try_from(value.len()) else {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        };
        // SAFETY: the value is as long as it says.
        check(unsafe { sys::setsockopt(self.0, as_i32(level), as_i32(option), value.as_ptr(), length) })
    }

    /// Reads an option into `value`; the bytes that the host says it wrote.
    pub(crate) fn get(&self, level: u32, option: u32, value: &mut [u8]) -> Result<usize> {
        let mut length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        // SAFETY: the value is at least as long as said.
        let result = unsafe {
            sys::getsockopt(
                self.0,
                as_i32(level),
                as_i32(option),
                value.as_mut_ptr(),
                &raw mut length,
            )
        };
        check(result).map(|()| usize::try_from(length).unwrap_or(0).min(value.len()))
    }

    pub(crate) fn ioctl(&self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize> {
        let mut returned = 0;
        // SAFETY: both buffers are as long as said; the call is synchronous.
        let result = unsafe {
            sys::WSAIoctl(
                self.0,
                code,
                input.as_ptr().cast(),
                u32::try_from(input.len()).unwrap_or(u32::MAX),
                output.as_mut_ptr().cast(),
                u32::try_from(output.len()).unwrap_or(u32::MAX),
                &raw mut returned,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        };
        check(result).map(|()| returned as usize)
    }

    /// Makes the next close a reset.
    pub(crate) fn reset_on_close(&self) {
        let on_without_time = [1, 0, 0, 0];
        let _ = self.set(SOL_SOCKET, as_u32(SO_LINGER), &on_without_time);
    }

    /// Makes the next close an ordinary one, whatever linger the client set.
    pub(crate) fn no_linger(&self) {
        let _ = self.set(SOL_SOCKET, as_u32(SO_LINGER), &[0; 4]);
    }

    /// What the accepted socket `accepted` takes over from the listener `self`.
    pub(crate) fn update_accept_context(&self, accepted: &Self) -> Result<()> {
        accepted.set(SOL_SOCKET, as_u32(sys::SO_UPDATE_ACCEPT_CONTEXT), &self.0.to_ne_bytes())
    }

    pub(crate) fn update_connect_context(&self) -> Result<()> {
        self.set(SOL_SOCKET, as_u32(sys::SO_UPDATE_CONNECT_CONTEXT), &[])
    }

    /// Cancels `overlapped`, or every request when it is NULL.
    pub(crate) fn cancel(&self, overlapped: *mut OVERLAPPED) {
        // SAFETY: the host compares the pointer; it does not follow it.
        unsafe { sys::CancelIoEx(core::ptr::without_provenance_mut(self.0), overlapped) };
    }
}

/// Overlapped requests. Each is complete when the engine takes its block from the port.
///
/// # Safety
/// Everything handed over, the overlapped block above all, stays valid and in place until then.
impl HostSocket {
    pub(crate) unsafe fn accept(&self, into: &Self, buffer: &mut [u8], overlapped: *mut OVERLAPPED) -> Result<()> {
        let accept_ex: ACCEPTEX = {
            let function = self.extension(&ACCEPT_EX, &WSAID_ACCEPTEX)?;
            // SAFETY: the host gave the function for this id.
            unsafe { core::mem::transmute::<usize, ACCEPTEX>(function) }
        };
        let half = u32::try_from(buffer.len() / 2).unwrap_or(0);
        let mut received = 0;
        // SAFETY: as the caller promises.
        let ok = unsafe {
            let buffer = buffer.as_mut_ptr();
            accept_ex(self.0, into.0, buffer, 0, half, half, &raw mut received, overlapped)
        };
        started(ok != 0)
    }

    pub(crate) unsafe fn connect(&self, to: &Address, overlapped: *mut OVERLAPPED) -> Result<()> {
        let connect_ex: CONNECTEX = {
            let function = self.extension(&CONNECT_EX, &WSAID_CONNECTEX)?;
            // SAFETY: the host gave the function for this id.
            unsafe { core::mem::transmute::<usize, CONNECTEX>(function) }
        };
        let mut sent = 0;
        // SAFETY: as the caller promises.
        let ok = unsafe {
            connect_ex(
                self.0,
                to.as_ptr(),
                to.length(),
                core::ptr::null(),
                0,
                &raw mut sent,
                overlapped,
            )
        };
        started(ok != 0)
    }

    pub(crate) unsafe fn send(&self, buffers: &[WSABUF], flags: u32, overlapped: *mut OVERLAPPED) -> Result<()> {
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let (sent, completion) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: as the caller promises.
        started(unsafe { sys::WSASend(self.0, buffers.as_ptr(), count, sent, flags, overlapped, completion) } == 0)
    }

    pub(crate) unsafe fn receive(
        &self,
        buffers: &[WSABUF],
        flags: &mut u32,
        overlapped: *mut OVERLAPPED,
    ) -> Result<()> {
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let (received, completion) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: as the caller promises.
        started(unsafe { sys::WSARecv(self.0, buffers.as_ptr(), count, received, flags, overlapped, completion) } == 0)
    }

    pub(crate) unsafe fn send_to(&self, buffers: &[WSABUF], to: &Address, overlapped: *mut OVERLAPPED) -> Result<()> {
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let (sent, completion) = (core::ptr::null_mut(), core::ptr::null_mut());
        // SAFETY: as the caller promises.
        let result = unsafe {
            let (name, length) = (to.as_ptr(), to.length());
            sys::WSASendTo(
                self.0,
                buffers.as_ptr(),
                count,
                sent,
                0,
                name,
                length,
                overlapped,
                completion,
            )
        };
        started(result == 0)
    }

    pub(crate) unsafe fn receive_from(
        &self,
        buffers: &[WSABUF],
        flags: &mut u32,
        from: &mut Address,
        overlapped: *mut OVERLAPPED,
    ) -> Result<()> {
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let (received, completion) = (core::ptr::null_mut(), core::ptr::null_mut());
        let (name, length) = from.room();
        // SAFETY: as the caller promises.
        let result = unsafe {
            sys::WSARecvFrom(
                self.0,
                buffers.as_ptr(),
                count,
                received,
                flags,
                name,
                length,
                overlapped,
                completion,
            )
        };
        started(result == 0)
    }

    fn extension(&self, slot: &AtomicUsize, id: &GUID) -> Result<usize> {
        let known = slot.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(known);
        }
        let mut function = 0_usize;
        let mut returned = 0;
        // SAFETY: the id goes in and a pointer comes out; the call is synchronous.
        let result = unsafe {
            sys::WSAIoctl(
                self.0,
                sys::SIO_GET_EXTENSION_FUNCTION_POINTER,
                core::ptr::from_ref(id).cast(),
                16,
                (&raw mut function).cast(),
                8,
                &raw mut returned,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        };
        check(result)?;
        if function == 0 {
            return Err(STATUS_NOT_SUPPORTED);
        }
        slot.store(function, Ordering::Relaxed);
        Ok(function)
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the socket is ours and closed once.
        unsafe { sys::closesocket(self.0) };
    }
}

/// Levels and options are full 32-bit values; the host takes them signed.
pub(crate) const fn as_i32(value: u32) -> i32 {
    i32::from_ne_bytes(value.to_ne_bytes())
}

pub(crate) const fn as_u32(value: i32) -> u32 {
    u32::from_ne_bytes(value.to_ne_bytes())
}

//! What the host offers: sockets of ws2_32.dll, threads, locks and completion ports of kernelbase.dll.
//!
//! kernelbase.dll, never kernel32.dll or ntdll.dll: with those the loader would take the driver for a program's DLL and call its
//! entry point as one.
#![allow(non_snake_case, non_camel_case_types, clippy::upper_case_acronyms)]

use core::ffi::c_void;

use wsk_sys::{PADDRINFOEXW, SOCKADDR};

pub(crate) type SOCKET = usize;
pub(crate) type HANDLE = *mut c_void;
pub(crate) type BOOL = i32;

pub(crate) const INVALID_SOCKET: SOCKET = usize::MAX;
pub(crate) const WSA_IO_PENDING: u32 = 997;
pub(crate) const WSAEMSGSIZE: u32 = 10040;
pub(crate) const WSA_FLAG_OVERLAPPED: u32 = 1;
pub(crate) const INFINITE: u32 = u32::MAX;
pub(crate) const SD_SEND: i32 = 1;
pub(crate) const SIO_GET_EXTENSION_FUNCTION_POINTER: u32 = 0xC800_0006;
pub(crate) const SO_UPDATE_ACCEPT_CONTEXT: i32 = 0x700B;
pub(crate) const SO_UPDATE_CONNECT_CONTEXT: i32 = 0x7010;
pub(crate) const MSG_OOB: u32 = 1;
pub(crate) const GET_MODULE_HANDLE_EX_FLAG_PIN: u32 = 1;
pub(crate) const GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct OVERLAPPED {
    /// The NTSTATUS, once complete.
    pub(crate) Internal: usize,
    /// The bytes, once complete.
    pub(crate) InternalHigh: usize,
    pub(crate) Offset: u64,
    pub(crate) Event: usize,
}

impl OVERLAPPED {
    /// The NTSTATUS, once complete.
    pub(crate) fn status(&self) -> i32 {
        let [a, b, c, d, ..] = self.Internal.to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WSABUF {
    pub(crate) len: u32,
    pub(crate) buf: *mut u8,
}

pub(crate) type ACCEPTEX = unsafe extern "system" fn(
    Listen: SOCKET,
    Accept: SOCKET,
    Buffer: *mut u8,
    ReceiveLength: u32,
    LocalLength: u32,
    RemoteLength: u32,
    Received: *mut u32,
    Overlapped: *mut OVERLAPPED,
) -> BOOL;
pub(crate) type CONNECTEX = unsafe extern "system" fn(
    Socket: SOCKET,
    Name: *const SOCKADDR,
    NameLength: i32,
    Buffer: *const u8,
    Length: u32,
    Sent: *mut u32,
    Overlapped: *mut OVERLAPPED,
) -> BOOL;

#[link(name = "ws2_32", kind = "raw-dylib")]
unsafe extern "system" {
    pub(crate) fn WSAStartup(version: u16, data: *mut c_void) -> i32;
    pub(crate) fn WSAGetLastError() -> u32;
    pub(crate) fn WSASocketW(
        family: i32,
        kind: i32,
        protocol: i32,
        info: *const c_void,
        group: u32,
        flags: u32,
    ) -> SOCKET;
    pub(crate) fn closesocket(socket: SOCKET) -> i32;
    pub(crate) fn bind(socket: SOCKET, name: *const SOCKADDR, length: i32) -> i32;
    pub(crate) fn listen(socket: SOCKET, backlog: i32) -> i32;
    pub(crate) fn shutdown(socket: SOCKET, how: i32) -> i32;
    pub(crate) fn getsockname(socket: SOCKET, name: *mut SOCKADDR, length: *mut i32) -> i32;
    pub(crate) fn getpeername(socket: SOCKET, name: *mut SOCKADDR, length: *mut i32) -> i32;
    pub(crate) fn setsockopt(socket: SOCKET, level: i32, option: i32, value: *const u8, length: i32) -> i32;
    pub(crate) fn getsockopt(socket: SOCKET, level: i32, option: i32, value: *mut u8, length: *mut i32) -> i32;
    pub(crate) fn WSAIoctl(
        socket: SOCKET,
        code: u32,
        input: *const c_void,
        input_length: u32,
        output: *mut c_void,
        output_length: u32,
        returned: *mut u32,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
    ) -> i32;
    pub(crate) fn WSASend(
        socket: SOCKET,
        buffers: *const WSABUF,
        count: u32,
        sent: *mut u32,
        flags: u32,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
    ) -> i32;
    pub(crate) fn WSARecv(
        socket: SOCKET,
        buffers: *const WSABUF,
        count: u32,
        received: *mut u32,
        flags: *mut u32,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
    ) -> i32;
    pub(crate) fn WSASendTo(
        socket: SOCKET,
        buffers: *const WSABUF,
        count: u32,
        sent: *mut u32,
        flags: u32,
        to: *const SOCKADDR,
        to_length: i32,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
    ) -> i32;
    pub(crate) fn WSARecvFrom(
        socket: SOCKET,
        buffers: *const WSABUF,
        count: u32,
        received: *mut u32,
        flags: *mut u32,
        from: *mut SOCKADDR,
        from_length: *mut i32,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
    ) -> i32;
    pub(crate) fn GetAddrInfoExW(
        name: *const u16,
        service: *const u16,
        namespace: u32,
        provider: *const c_void,
        hints: PADDRINFOEXW,
        result: *mut PADDRINFOEXW,
        timeout: *const c_void,
        overlapped: *mut OVERLAPPED,
        completion: *mut c_void,
        handle: *mut HANDLE,
    ) -> i32;
    pub(crate) fn FreeAddrInfoExW(info: PADDRINFOEXW);
    pub(crate) fn GetNameInfoW(
        address: *const SOCKADDR,
        length: i32,
        node: *mut u16,
        node_length: u32,
        service: *mut u16,
        service_length: u32,
        flags: i32,
    ) -> i32;
}

#[link(name = "kernelbase", kind = "raw-dylib")]
unsafe extern "system" {
    pub(crate) fn AcquireSRWLockExclusive(lock: *mut *mut c_void);
    pub(crate) fn TryAcquireSRWLockExclusive(lock: *mut *mut c_void) -> u8;
    pub(crate) fn ReleaseSRWLockExclusive(lock: *mut *mut c_void);
    pub(crate) fn SleepConditionVariableSRW(
        variable: *mut c_void,
        lock: *mut *mut c_void,
        milliseconds: u32,
        flags: u32,
    ) -> BOOL;
    pub(crate) fn WakeAllConditionVariable(variable: *mut c_void);
    pub(crate) fn Sleep(milliseconds: u32);
    pub(crate) fn GetTickCount64() -> u64;
    pub(crate) fn GetCurrentThreadId() -> u32;
    pub(crate) fn CreateThread(
        attributes: *const c_void,
        stack: usize,
        body: extern "system" fn(*mut c_void) -> u32,
        context: *mut c_void,
        flags: u32,
        id: *mut u32,
    ) -> HANDLE;
    pub(crate) fn CloseHandle(handle: HANDLE) -> BOOL;
    pub(crate) fn CreateIoCompletionPort(file: HANDLE, port: HANDLE, key: usize, threads: u32) -> HANDLE;
    pub(crate) fn GetQueuedCompletionStatus(
        port: HANDLE,
        bytes: *mut u32,
        key: *mut usize,
        overlapped: *mut *mut OVERLAPPED,
        milliseconds: u32,
    ) -> BOOL;
    pub(crate) fn PostQueuedCompletionStatus(port: HANDLE, bytes: u32, key: usize, overlapped: *mut c_void) -> BOOL;
    pub(crate) fn CancelIoEx(file: HANDLE, overlapped: *mut OVERLAPPED) -> BOOL;
    pub(crate) fn GetProcessHeap() -> HANDLE;
    pub(crate) fn HeapAlloc(heap: HANDLE, flags: u32, bytes: usize) -> *mut c_void;
    pub(crate) fn HeapFree(heap: HANDLE, flags: u32, block: *mut c_void) -> BOOL;
    pub(crate) fn GetModuleHandleW(name: *const u16) -> HANDLE;
    pub(crate) fn GetModuleHandleExW(flags: u32, name: *const c_void, module: *mut HANDLE) -> BOOL;
}

const _: () = assert!(size_of::<OVERLAPPED>() == 32);
const _: () = assert!(size_of::<WSABUF>() == 16);

//! Name look-ups, by the host's resolver. `PASSIVE_LEVEL`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use probe_protocol::probe::Function;
use wsk_sys::{
    GUID, PADDRINFOEXW, PEPROCESS, PETHREAD, PIRP, PSOCKADDR, PUNICODE_STRING, PWSK_CLIENT, ULONG, UNICODE_STRING,
};

use super::client::Client;
use super::request::{Op, Request};
use crate::host::{as_i32, sys};
use crate::status::{
    self, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_PENDING,
    STATUS_SUCCESS,
};
use crate::{engine, level, script};

/// A counted string as a terminated one; `None` for NULL.
///
/// # Safety
/// The string is NULL or valid.
unsafe fn terminated(string: *const UNICODE_STRING) -> Option<Vec<u16>> {
    // SAFETY: as the caller promises.
    let string = unsafe { string.as_ref() }?;
    let length = usize::from(string.Length / 2);
    let mut text = Vec::with_capacity(length + 1);
    if !string.Buffer.is_null() {
        // SAFETY: as the caller promises.
        text.extend_from_slice(unsafe { core::slice::from_raw_parts(string.Buffer, length) });
    }
    text.push(0);
    Some(text)
}

fn pointer(text: Option<&Vec<u16>>) -> *const u16 {
    text.map_or(core::ptr::null(), Vec::as_ptr)
}

/// Pointers of the client that a job follows before its IRP is completed.
struct Lookup {
    request: Request,
    names: (PUNICODE_STRING, PUNICODE_STRING),
    namespace: ULONG,
    hints: PADDRINFOEXW,
    result: *mut PADDRINFOEXW,
    address: (PSOCKADDR, ULONG),
    flags: ULONG,
}

// SAFETY: the pointers are the client's, good until its IRP is completed, wherever that happens.
unsafe impl Send for Lookup {}

impl Lookup {
    fn address_info(self) {
        let mut found = core::ptr::null_mut();
        // SAFETY: names and hints are the client's, good until its IRP is completed; the call is synchronous.
        let error = unsafe {
            let (node, service) = (terminated(self.names.0), terminated(self.names.1));
            sys::GetAddrInfoExW(
                pointer(node.as_ref()),
                pointer(service.as_ref()),
                self.namespace,
                core::ptr::null(),
                self.hints,
                &raw mut found,
                core::ptr::null(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        };
        if error != 0 {
            let status = status::of_winsock(u32::try_from(error).unwrap_or(0));
            return self.request.complete(status, 0);
        }
        // SAFETY: the client's pointer is good until its IRP is completed.
        unsafe { *self.result = found.cast() };
        self.request.complete(STATUS_SUCCESS, 0);
    }

    fn name_info(self) {
        let (mut node, mut service) = (vec![0_u16; 1025], vec![0_u16; 32]);
        // SAFETY: the address is the client's; the buffers are ours.
        let error = unsafe {
            let length = i32::try_from(self.address.1).unwrap_or(0);
            let (node, service) = (node.as_mut_ptr(), service.as_mut_ptr());
            sys::GetNameInfoW(self.address.0, length, node, 1025, service, 32, as_i32(self.flags))
        };
        let status = if error == 0 {
            // SAFETY: the strings are the client's, good until its IRP is completed.
            let copied = unsafe { give(&node, self.names.0) && give(&service, self.names.1) };
            if copied {
                STATUS_SUCCESS
            } else {
                STATUS_BUFFER_TOO_SMALL
            }
        } else {
            status::of_winsock(u32::try_from(error).unwrap_or(0))
        };
        self.request.complete(status, 0);
    }
}

/// Copies terminated text to a client's string; false when it does not fit.
///
/// # Safety
/// The string is NULL or valid.
unsafe fn give(text: &[u16], string: PUNICODE_STRING) -> bool {
    // SAFETY: as the caller promises.
    let Some(string) = (unsafe { string.as_mut() }) else {
        return true;
    };
    let text = text.split(|unit| *unit == 0).next().unwrap_or(&[]);
    let bytes = size_of_val(text);
    if bytes > usize::from(string.MaximumLength) {
        return false;
    }
    // SAFETY: the client's buffer is that long.
    unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), string.Buffer, text.len()) };
    string.Length = u16::try_from(bytes).unwrap_or(0);
    true
}

/// Checks, and hands the look-up to the engine.
///
/// # Safety
/// The IRP is NULL or the client's to give.
unsafe fn start(
    client: PWSK_CLIENT,
    irp: PIRP,
    function: Function,
    fill: impl FnOnce(Request) -> Lookup,
    run: fn(Lookup),
) -> NTSTATUS {
    let name = super::entry::function_name(function);
    level::require_passive(name);
    if irp.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    if unsafe { Client::find(client, name) }.is_none() {
        return STATUS_INVALID_HANDLE;
    }
    let plan = script::plan(function);
    if let Some(status) = plan.refuse {
        return status;
    }
    // SAFETY: as the caller promises.
    let request = unsafe { Request::take(irp, function, Op::Create, plan) };
    request.mark_pending();
    let fail = plan.fail;
    let lookup = fill(request);
    engine::run(Box::new(move || match fail {
        Some(status) => lookup.request.complete(status, 0),
        None => run(lookup),
    }));
    STATUS_PENDING
}

/// `WskGetAddressInfo`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn get_address_info(
    client: PWSK_CLIENT,
    node: PUNICODE_STRING,
    service: PUNICODE_STRING,
    namespace: ULONG,
    _provider: *mut GUID,
    hints: PADDRINFOEXW,
    result: *mut PADDRINFOEXW,
    _process: PEPROCESS,
    _thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    let fill = |request| Lookup {
        request,
        names: (node, service),
        namespace,
        hints,
        result,
        address: (core::ptr::null_mut(), 0),
        flags: 0,
    };
    // SAFETY: as the caller promises.
    unsafe { start(client, irp, Function::GetAddressInfo, fill, Lookup::address_info) }
}

/// `WskFreeAddressInfo`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn free_address_info(client: PWSK_CLIENT, info: PADDRINFOEXW) {
    level::require_passive("WskFreeAddressInfo");
    // SAFETY: as the caller promises.
    if unsafe { Client::find(client, "WskFreeAddressInfo") }.is_some() && !info.is_null() {
        // SAFETY: it came from `get_address_info`.
        unsafe { sys::FreeAddrInfoExW(info) };
    }
}

/// `WskGetNameInfo`.
///
/// # Safety
/// See wsk.h.
pub(super) unsafe extern "system" fn get_name_info(
    client: PWSK_CLIENT,
    address: PSOCKADDR,
    length: ULONG,
    node: PUNICODE_STRING,
    service: PUNICODE_STRING,
    flags: ULONG,
    _process: PEPROCESS,
    _thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    let fill = |request| Lookup {
        request,
        names: (node, service),
        namespace: 0,
        hints: core::ptr::null_mut(),
        result: core::ptr::null_mut(),
        address: (address, length),
        flags,
    };
    // SAFETY: as the caller promises.
    unsafe { start(client, irp, Function::GetNameInfo, fill, Lookup::name_info) }
}

//! What a client asks of its provider as a whole: WskControlClient, <= `DISPATCH_LEVEL`, and the name functions, `PASSIVE_LEVEL`.

use core::ffi::c_void;

use wdk_sys::{GUID, NTSTATUS, STATUS_INVALID_HANDLE, STATUS_NOT_SUPPORTED, UNICODE_STRING};
use wsk_sys::{PADDRINFOEXW, PEPROCESS, PETHREAD, PIRP, PSOCKADDR, PWSK_CLIENT, SIZE_T, ULONG};

use super::create::client_of;
use crate::client::Client;
use crate::request::complete_here;

pub unsafe extern "system" fn control_client(
    client: PWSK_CLIENT,
    code: ULONG,
    input_size: SIZE_T,
    input: *mut c_void,
    output_size: SIZE_T,
    output: *mut c_void,
    returned: *mut SIZE_T,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    let lower = match client.lower() {
        Ok(lower) => lower,
        // SAFETY: the client's IRP, or NULL, which went nowhere.
        Err(status) => return unsafe { complete_here(irp, status, 0) },
    };
    let Some(function) = lower.table.WskControlClient else {
        // SAFETY: as above.
        return unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) };
    };
    // SAFETY: the client's control structure, if it is one.
    let events = unsafe { Client::static_events_in(code, input_size, input) };
    // SAFETY: the client's own arguments; the provider knows the client by another name.
    let status = unsafe { function(lower.name, code, input_size, input, output_size, output, returned, irp) };
    if status == 0
        && let Some(events) = events
    {
        client.add_static_events(events);
    }
    status
}

pub unsafe extern "system" fn get_address_info(
    client: PWSK_CLIENT,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    name_space: ULONG,
    provider: *mut GUID,
    hints: PADDRINFOEXW,
    result: *mut PADDRINFOEXW,
    process: PEPROCESS,
    thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    match client.lower() {
        Ok(lower) => match lower.table.WskGetAddressInfo {
            // SAFETY: the client's own arguments.
            Some(function) => unsafe {
                function(
                    lower.name, node, service, name_space, provider, hints, result, process, thread, irp,
                )
            },
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            None => unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) },
        },
        // SAFETY: as above.
        Err(status) => unsafe { complete_here(irp, status, 0) },
    }
}

pub unsafe extern "system" fn free_address_info(client: PWSK_CLIENT, info: PADDRINFOEXW) {
    // SAFETY: WSK's contract.
    let lower = unsafe { client_of(client) }.and_then(|client| client.lower().ok());
    if let Some(lower) = lower
        && let Some(function) = lower.table.WskFreeAddressInfo
    {
        // SAFETY: the client's own argument.
        unsafe { function(lower.name, info) };
    }
}

pub unsafe extern "system" fn get_name_info(
    client: PWSK_CLIENT,
    address: PSOCKADDR,
    length: ULONG,
    node: *mut UNICODE_STRING,
    service: *mut UNICODE_STRING,
    flags: ULONG,
    process: PEPROCESS,
    thread: PETHREAD,
    irp: PIRP,
) -> NTSTATUS {
    // SAFETY: WSK's contract.
    let Some(client) = (unsafe { client_of(client) }) else {
        return STATUS_INVALID_HANDLE;
    };
    match client.lower() {
        Ok(lower) => match lower.table.WskGetNameInfo {
            // SAFETY: the client's own arguments.
            Some(function) => unsafe {
                function(lower.name, address, length, node, service, flags, process, thread, irp)
            },
            // SAFETY: the client's IRP, or NULL, which went nowhere.
            None => unsafe { complete_here(irp, STATUS_NOT_SUPPORTED, 0) },
        },
        // SAFETY: as above.
        Err(status) => unsafe { complete_here(irp, status, 0) },
    }
}

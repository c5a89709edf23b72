//! Registry keys of drivers. `PASSIVE_LEVEL`.

extern crate alloc;

use alloc::vec::Vec;
use core::ffi::c_void;

use wdk_sys::{
    DRIVER_OBJECT, NTSTATUS, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJECT_ATTRIBUTES, STATUS_INVALID_PARAMETER,
    UNICODE_STRING,
};

use crate::exports::exports;

const KEYS: [&str; 3] = ["Parameters", "PersistentState", "SharedPersistentState"];

/// A subkey of the driver's service key, made when it does not exist.
unsafe extern "system" fn open_driver_key(
    driver: *mut DRIVER_OBJECT,
    kind: i32,
    access: u32,
    flags: u32,
    key: *mut *mut c_void,
) -> NTSTATUS {
    let Some(name) = usize::try_from(kind)
        .ok()
        .and_then(|kind| KEYS.get(kind))
        .filter(|_| flags == 0)
    else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: the driver's object, whose extension names its service key.
    let service = unsafe {
        let service = (*(*driver).DriverExtension).ServiceKeyName;
        core::slice::from_raw_parts(service.Buffer, usize::from(service.Length / 2))
    };
    let path: Vec<u16> = service
        .iter()
        .copied()
        .chain([u16::from(b'\\')])
        .chain(name.encode_utf16())
        .collect();
    let Ok(length) = u16::try_from(path.len().saturating_mul(2)) else {
        return STATUS_INVALID_PARAMETER;
    };
    let mut text = UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: path.as_ptr().cast_mut(),
    };
    let mut attributes = OBJECT_ATTRIBUTES {
        Length: 48,
        ObjectName: &raw mut text,
        Attributes: OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
        ..OBJECT_ATTRIBUTES::default()
    };
    // SAFETY: every pointer is to a live local, or the driver's variable.
    unsafe {
        let status = wdk_sys::ntddk::ZwCreateKey(
            key,
            access,
            &raw mut attributes,
            0,
            core::ptr::null_mut(),
            0,
            core::ptr::null_mut(),
        );
        crate::objects::opened(key, status)
    }
}

exports! {
    IoOpenDriverRegistryKey => open_driver_key,
}

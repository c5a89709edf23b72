//! The kernel's answers about itself: its version, the modules that are loaded, the addresses of its routines. `PASSIVE_LEVEL`.

extern crate alloc;

use core::ffi::{CStr, c_void};

use wdk_sys::{NTSTATUS, STATUS_INFO_LENGTH_MISMATCH, STATUS_SUCCESS, UNICODE_STRING};

use crate::exports::{self, exports};
use crate::modules;
use crate::stop;

/// Windows Server 2022.
const VERSION: (u32, u32, u32) = (10, 0, 20348);
const PLATFORM_NT: u32 = 2;
const TYPE_SERVER: u8 = 3;
const SYSTEM_MODULE_INFORMATION: u32 = 11;

/// `RTL_OSVERSIONINFOEXW`, of which callers may give only the first part.
#[repr(C)]
struct OsVersion {
    size: u32,
    major: u32,
    minor: u32,
    build: u32,
    platform: u32,
    service_pack: [u16; 128],
    pack: [u16; 2],
    suite: u16,
    product: u8,
    reserved: u8,
}

unsafe extern "system" fn get_version(version: *mut OsVersion) -> NTSTATUS {
    // SAFETY: the driver's structure, whose size field says which form it has.
    unsafe {
        (*version).major = VERSION.0;
        (*version).minor = VERSION.1;
        (*version).build = VERSION.2;
        (*version).platform = PLATFORM_NT;
        (&raw mut (*version).service_pack).write([0; 128]);
        if (*version).size as usize >= size_of::<OsVersion>() {
            (*version).pack = [0; 2];
            (*version).suite = 0;
            (*version).product = TYPE_SERVER;
            (*version).reserved = 0;
        }
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn ps_get_version(
    major: *mut u32,
    minor: *mut u32,
    build: *mut u32,
    pack: *mut UNICODE_STRING,
) -> u8 {
    for (place, value) in [(major, VERSION.0), (minor, VERSION.1), (build, VERSION.2)] {
        if !place.is_null() {
            // SAFETY: the driver's variable.
            unsafe { place.write(value) };
        }
    }
    if !pack.is_null() {
        // SAFETY: the driver's string.
        unsafe { (*pack).Length = 0 };
    }
    1
}

/// By NTDDI version: at most Windows Server 2022.
unsafe extern "system" fn is_ddi_available(version: u32) -> u8 {
    const SERVER_2022: u32 = 0x0a00_000c;
    u8::from(version <= SERVER_2022)
}

/// `RTL_PROCESS_MODULE_INFORMATION`.
#[repr(C)]
struct ModuleInformation {
    section: usize,
    mapped_base: usize,
    base: usize,
    size: u32,
    flags: u32,
    load_order: u16,
    init_order: u16,
    load_count: u16,
    name_offset: u16,
    path: [u8; 256],
}

/// `RTL_PROCESS_MODULES`, without its elements.
#[repr(C)]
struct ModulesHeader {
    count: u32,
    padding: u32,
}

unsafe fn module_list(buffer: *mut c_void, length: u32, needed: *mut u32) -> NTSTATUS {
    const FOLDER: &[u8] = b"\\SystemRoot\\System32\\drivers\\";
    let drivers = modules::drivers();
    let bytes = size_of::<ModulesHeader>().saturating_add(size_of::<ModuleInformation>().saturating_mul(drivers.len()));
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    if !needed.is_null() {
        // SAFETY: the driver's variable.
        unsafe { needed.write(bytes) };
    }
    if length < bytes {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    let header = ModulesHeader {
        count: u32::try_from(drivers.len()).unwrap_or(0),
        padding: 0,
    };
    // SAFETY: the driver's buffer has room for header and elements.
    unsafe { buffer.cast::<ModulesHeader>().write(header) };
    let first: *mut ModuleInformation = buffer.wrapping_byte_add(size_of::<ModulesHeader>()).cast();
    for (index, driver) in (0u16..).zip(&drivers) {
        let mut entry = ModuleInformation {
            section: 0,
            mapped_base: 0,
            base: driver.base,
            size: u32::try_from(driver.size).unwrap_or(u32::MAX),
            flags: 0,
            load_order: index,
            init_order: index,
            load_count: 1,
            name_offset: u16::try_from(FOLDER.len()).unwrap_or(0),
            path: [0; 256],
        };
        let path = FOLDER.iter().chain(&driver.name);
        entry.path.iter_mut().zip(path).for_each(|(to, from)| *to = *from);
        // SAFETY: as above.
        unsafe { first.add(usize::from(index)).write(entry) };
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn query_system(class: u32, buffer: *mut c_void, length: u32, needed: *mut u32) -> NTSTATUS {
    type Query = unsafe extern "system" fn(u32, *mut c_void, u32, *mut u32) -> NTSTATUS;
    if class == SYSTEM_MODULE_INFORMATION {
        // SAFETY: the driver's buffer and variable.
        return unsafe { module_list(buffer, length, needed) };
    }
    match exports::original(c"ZwQuerySystemInformation") {
        // SAFETY: that is its signature, and these are the driver's arguments.
        Some(query) => unsafe {
            core::mem::transmute::<core::ptr::NonNull<c_void>, Query>(query)(class, buffer, length, needed)
        },
        None => wdk_sys::STATUS_NOT_IMPLEMENTED,
    }
}

unsafe extern "system" fn routine_address(name: *const UNICODE_STRING) -> *mut c_void {
    // SAFETY: the driver's string.
    let units = unsafe {
        let name = &*name;
        core::slice::from_raw_parts(name.Buffer, usize::from(name.Length / 2))
    };
    let mut text = [0u8; 128];
    if units.len() >= text.len() {
        return core::ptr::null_mut();
    }
    for (slot, &unit) in text.iter_mut().zip(units) {
        *slot = u8::try_from(unit).unwrap_or(b'?');
    }
    let Ok(name) = CStr::from_bytes_until_nul(&text) else {
        return core::ptr::null_mut();
    };
    match crate::imports::wrapped(name, stop::caller()).or_else(|| exports::present(name)) {
        Some(address) => core::ptr::with_exposed_provenance_mut(address),
        None => core::ptr::null_mut(),
    }
}

unsafe extern "system" fn is_verifying(_driver: *mut c_void) -> u32 {
    1
}

exports! {
    RtlGetVersion => get_version,
    PsGetVersion => ps_get_version,
    RtlIsNtDdiVersionAvailable => is_ddi_available,
    ZwQuerySystemInformation => query_system,
    NtQuerySystemInformation => query_system,
    MmGetSystemRoutineAddress => routine_address,
    MmIsDriverVerifying => is_verifying,
}

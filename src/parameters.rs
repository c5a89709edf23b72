//! What is read from the service's Parameters key at start. `PASSIVE_LEVEL`.

use core::mem::offset_of;

use wdk_sys::{
    _DRIVER_REGKEY_TYPE, _KEY_VALUE_INFORMATION_CLASS, HANDLE, KEY_VALUE_PARTIAL_INFORMATION, NTSTATUS, PDRIVER_OBJECT,
    REG_DWORD, UNICODE_STRING,
    ntddk::{IoOpenDriverRegistryKey, ZwClose, ZwQueryValueKey},
};

use crate::device::{counted, wide};

/// Sizes that an administrator may choose. A value that is absent or out of range is the default.
#[derive(Clone, Copy)]
pub struct Parameters {
    /// Endpoints that the table lists, at most.
    pub endpoints: u32,
    /// Audit records that each processor keeps; a power of two.
    pub records: u32,
    /// Whether to register at the system's NPI as well. Experimental.
    pub transparent: bool,
}

impl Parameters {
    const DEFAULT: Self = Self {
        endpoints: 1 << 20,
        records: 4096,
        transparent: false,
    };

    /// Reads them; without a key they are the defaults.
    pub fn read(driver: PDRIVER_OBJECT) -> Self {
        const KEY_READ: u32 = 0x0002_0019;
        static ENDPOINTS: [u16; 16] = wide("MaximumEndpoints");
        static RECORDS: [u16; 18] = wide("AuditRecordsPerCpu");
        static TRANSPARENT: [u16; 11] = wide("Transparent");
        let mut key: HANDLE = core::ptr::null_mut();
        let kind = _DRIVER_REGKEY_TYPE::DriverRegKeyParameters;
        // SAFETY: the driver object is ours, and the out parameter.
        let status: NTSTATUS = unsafe { IoOpenDriverRegistryKey(driver, kind, KEY_READ, 0, &raw mut key) };
        if status < 0 {
            return Self::DEFAULT;
        }
        let endpoints = number(key, &mut counted(&ENDPOINTS));
        let records = number(key, &mut counted(&RECORDS));
        let transparent = number(key, &mut counted(&TRANSPARENT));
        // SAFETY: opened above.
        let _ = unsafe { ZwClose(key) };
        let allowed = 1..=wskguard_core::table::MAX_ENDPOINTS;
        Self {
            endpoints: endpoints
                .filter(|number| allowed.contains(number))
                .unwrap_or(Self::DEFAULT.endpoints),
            records: records
                .filter(|number| number.is_power_of_two() && (64..=1 << 20).contains(number))
                .unwrap_or(Self::DEFAULT.records),
            transparent: transparent == Some(1),
        }
    }
}

/// A REG_DWORD.
fn number(key: HANDLE, name: &mut UNICODE_STRING) -> Option<u32> {
    #[repr(C, align(8))]
    struct Room([u8; 32]);
    const DATA: usize = offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Data);
    let mut room = Room([0; 32]);
    let mut length = 0;
    let class = _KEY_VALUE_INFORMATION_CLASS::KeyValuePartialInformation;
    let size = u32::try_from(size_of::<Room>()).ok()?;
    // SAFETY: the key is open, and the buffer is ours and that long.
    let status = unsafe { ZwQueryValueKey(key, name, class, room.0.as_mut_ptr().cast(), size, &raw mut length) };
    let word = |offset: usize| {
        let (bytes, _) = room.0.get(offset..)?.split_first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let is_number = word(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, Type))? == REG_DWORD
        && word(offset_of!(KEY_VALUE_PARTIAL_INFORMATION, DataLength))? == 4;
    if status >= 0 && is_number { word(DATA) } else { None }
}

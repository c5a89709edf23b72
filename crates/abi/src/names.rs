//! Names under which the two sides, and WSK clients, find the driver.

/// NT name of the control device.
pub const DEVICE_NAME: &str = "\\Device\\WskGuard";
/// NT name of its symbolic link.
pub const LINK_NAME: &str = "\\DosDevices\\WskGuard";
/// Win32 path of the control device.
pub const WIN32_PATH: &str = "\\\\.\\WskGuard";
/// Service name.
pub const SERVICE_NAME: &str = "wskguard";

/// A GUID as its four fields: `Data1`, `Data2`, `Data3`, `Data4`.
pub type GuidFields = (u32, u16, u16, [u8; 8]);

/// `WSKGUARD_NPI_ID`: the NPI at which wskguard offers a complete `WSK_PROVIDER_DISPATCH`, with a `PWSK_CLIENT` as binding context.
pub const WSKGUARD_NPI_ID: GuidFields = (
    0x9A1C_5E52,
    0x7D0B,
    0x4B0E,
    [0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91],
);
/// Module id under which wskguard registers as provider.
pub const WSKGUARD_PROVIDER_MODULE_ID: GuidFields = (
    0x9A1C_5E53,
    0x7D0B,
    0x4B0E,
    [0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91],
);
/// Module id under which wskguard attaches to the system's provider.
pub const WSKGUARD_CLIENT_MODULE_ID: GuidFields = (
    0x9A1C_5E54,
    0x7D0B,
    0x4B0E,
    [0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91],
);

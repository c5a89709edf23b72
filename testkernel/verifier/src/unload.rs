//! What a driver must not leave behind. For now nothing is looked at.

use wdk_sys::DRIVER_OBJECT;

/// Looks for what a driver that has been unloaded, or has failed to start, left behind.
pub(crate) fn check(_driver: *mut DRIVER_OBJECT) {}

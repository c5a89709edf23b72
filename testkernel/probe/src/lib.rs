//! probe.sys: a WSK client driver that does what a test tells it.
//!
//! A script opens the device and names clients, sockets and requests by ids; each operation is one IOCTL (`probe_protocol::probe`).
//! The probe calls any function of a provider with any arguments, notes every return, completion and callback in one order, and
//! keeps to the rules itself: it frees what is its own, waits never without a time-out, and survives what a provider does. It uses
//! documented interfaces only, so that the same file drives the test kernel and Windows.
#![no_std]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "calls whatever a test asks for, argument by argument"
)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod arguments;
mod buffer;
mod callbacks;
mod client;
mod device;
mod flip;
mod invoke;
mod ke;
mod load;
mod log;
mod names;
mod request;
mod session;
mod shared;
mod socket;
mod table;

extern crate wdk_panic;
#[cfg(feature = "shim")]
use wskguard_shim as _;

use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING, STATUS_SUCCESS};

#[global_allocator]
static GLOBAL: WdkAllocator = WdkAllocator;

/// Entry point. `PASSIVE_LEVEL`.
///
/// # Safety
///
/// Only the I/O manager calls it.
// SAFETY: the name is the one the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager's string is valid for the call.
    let registry_path = unsafe { &*registry_path };
    match device::start(driver, registry_path) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => status,
    }
}

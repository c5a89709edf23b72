//! The five registration functions of wsk.h for clients that want to go through wskguard: to be called, or linked, in place of
//! netio.sys's.
//!
//! They attach through NMR to wskguard's NPI. Where wskguard is absent a client built with the feature `fail-open` is bound to the
//! system's provider after a bounded wait ([`FALLBACK_WAIT_MS`]), and says so to a wskguard that comes later; any other client gets
//! no provider. A Rust client calls the functions by path, or turns `link-names` on and keeps its own declarations; for C there is a
//! static library with a header (`include/wskguard_shim.h`).
#![no_std]
#![allow(non_snake_case, reason = "named as in wsk.h")]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[cfg(feature = "static-library")]
extern crate wdk_panic;

mod binding;
mod ke;
#[cfg(feature = "link-names")]
mod link_names;
mod notice;
mod registration;

use core::ptr::NonNull;

use wdk_rtl::nonpaged::NonpagedBox;
use wdk_sys::{STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};
use wsk_sys::{NTSTATUS, ULONG, WSK_CLIENT_NPI, WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_NPI, WSK_REGISTRATION};

pub use registration::FALLBACK_WAIT_MS;
use registration::Registration;

const TAG: u32 = u32::from_le_bytes(*b"WsGh");

/// `ReservedRegistrationState` of a block that [`WskRegister`] filled.
const REGISTERED: u64 = u64::from_le_bytes(*b"wskgshim");

/// The registration of a block.
///
/// # Safety
/// `block` is NULL or valid, and while the reference lasts not deregistered but by a function of this crate.
unsafe fn registration<'a>(block: *mut WSK_REGISTRATION) -> Option<&'a Registration> {
    // SAFETY: as the caller promises.
    let block = unsafe { block.as_ref() }?;
    if block.ReservedRegistrationState != REGISTERED {
        return None;
    }
    // SAFETY: a filled block points to the registration, which `WskDeregister` frees.
    unsafe { block.ReservedRegistrationContext.cast::<Registration>().as_ref() }
}

/// Registers a client. `PASSIVE_LEVEL`. wskguard, if it is there, may be attached when this returns.
///
/// `STATUS_INVALID_PARAMETER` for a NULL pointer, `STATUS_INSUFFICIENT_RESOURCES`, or what NMR said.
///
/// # Safety
/// As wsk.h has it: the NPI's dispatch table and the block are resident until [`WskDeregister`] has returned.
#[must_use]
pub unsafe extern "system" fn WskRegister(npi: *const WSK_CLIENT_NPI, block: *mut WSK_REGISTRATION) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(npi) = (unsafe { npi.as_ref() }) else {
        return STATUS_INVALID_PARAMETER;
    };
    if block.is_null() || npi.Dispatch.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller's dispatch table is resident.
    let registration = unsafe { Registration::new(npi) };
    let Ok(registration) = NonpagedBox::<_, TAG>::try_new(registration) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    registration.initialise();
    let status = registration.register();
    if status < 0 {
        return status;
    }
    let filled = WSK_REGISTRATION {
        ReservedRegistrationState: REGISTERED,
        ReservedRegistrationContext: registration.into_raw().as_ptr().cast(),
        ReservedRegistrationLock: 0,
    };
    // SAFETY: as the caller promises.
    unsafe { block.write(filled) };
    STATUS_SUCCESS
}

/// Ends a registration. `PASSIVE_LEVEL`. Ends captures that wait; waits until what was captured is released and, with the provider,
/// until its sockets are closed.
///
/// # Safety
/// As wsk.h has it: once for each successful [`WskRegister`].
pub unsafe extern "system" fn WskDeregister(block: *mut WSK_REGISTRATION) {
    // SAFETY: as the caller promises.
    let Some(registration) = (unsafe { registration(block) }) else {
        return;
    };
    registration.deregister();
    let registration = NonNull::from_ref(registration);
    // SAFETY: as above; the block is the caller's again.
    unsafe { (*block).ReservedRegistrationState = 0 };
    // SAFETY: the block held the only pointer, NMR has let go of it, and nobody is inside.
    drop(unsafe { NonpagedBox::<Registration, TAG>::from_raw(registration) });
}

/// Waits up to `timeout` ms for a provider. `PASSIVE_LEVEL`, or <= `DISPATCH_LEVEL` with `WSK_NO_WAIT`.
///
/// `STATUS_NOINTERFACE` if the provider lacks the client's version, `STATUS_DEVICE_NOT_READY` if there is none in time, or the
/// registration ends. A fallback is made at `PASSIVE_LEVEL` only.
///
/// # Safety
/// As wsk.h has it.
#[must_use]
pub unsafe extern "system" fn WskCaptureProviderNPI(
    block: *mut WSK_REGISTRATION,
    timeout: ULONG,
    npi: *mut WSK_PROVIDER_NPI,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let registration = unsafe { registration(block) };
    let (Some(registration), Some(npi)) = (registration, NonNull::new(npi)) else {
        return STATUS_INVALID_PARAMETER;
    };
    match registration.capture(timeout) {
        Ok(captured) => {
            // SAFETY: as the caller promises.
            unsafe { npi.write(captured) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// Releases what was captured, once per capture. <= `DISPATCH_LEVEL`.
///
/// # Safety
/// As wsk.h has it.
pub unsafe extern "system" fn WskReleaseProviderNPI(block: *mut WSK_REGISTRATION) {
    // SAFETY: as the caller promises.
    if let Some(registration) = unsafe { registration(block) } {
        registration.release();
    }
}

/// Versions of the provider that was offered last, whether it could be attached or not. <= `DISPATCH_LEVEL`.
///
/// `STATUS_DEVICE_NOT_READY` while none was.
///
/// # Safety
/// As wsk.h has it.
#[must_use]
pub unsafe extern "system" fn WskQueryProviderCharacteristics(
    block: *mut WSK_REGISTRATION,
    characteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let registration = unsafe { registration(block) };
    let (Some(registration), Some(characteristics)) = (registration, NonNull::new(characteristics)) else {
        return STATUS_INVALID_PARAMETER;
    };
    match registration.versions() {
        Some(versions) => {
            // SAFETY: as the caller promises.
            unsafe { characteristics.write(versions) };
            STATUS_SUCCESS
        }
        None => STATUS_DEVICE_NOT_READY,
    }
}

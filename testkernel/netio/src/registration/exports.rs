//! The exported functions of the registration library. The block that a client gives holds a reference to its [`Registration`].

use alloc::sync::Arc;

use wsk_sys::{WSK_CLIENT_NPI, WSK_NO_WAIT, WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_NPI, WSK_REGISTRATION};

use super::{Registration, version_of};
use crate::report::misuse;
use crate::status::{NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, is_success};
use crate::{level, system};

/// `ReservedRegistrationState` of a block in use.
const REGISTERED: u64 = u64::from_le_bytes(*b"wskregis");

/// The registration of a block.
///
/// # Safety
/// `block` is NULL or valid.
unsafe fn registration(block: *mut WSK_REGISTRATION, function: &str) -> Option<Arc<Registration>> {
    // SAFETY: as the caller promises.
    let block = unsafe { block.as_ref() };
    let Some(block) = block.filter(|block| block.ReservedRegistrationState == REGISTERED) else {
        misuse!("{function} with a block that is not registered");
        return None;
    };
    let registration = block.ReservedRegistrationContext.cast_const().cast::<Registration>();
    // SAFETY: a registered block holds one reference.
    Some(unsafe {
        Arc::increment_strong_count(registration);
        Arc::from_raw(registration)
    })
}

/// # Safety
/// See wsk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn WskRegister(npi: *const WSK_CLIENT_NPI, block: *mut WSK_REGISTRATION) -> NTSTATUS {
    system::start();
    level::require_passive("WskRegister");
    if npi.is_null() || block.is_null() {
        misuse!("WskRegister with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let client = unsafe { *npi };
    if version_of(client.Dispatch).is_none() {
        misuse!("WskRegister without a dispatch table");
        return STATUS_INVALID_PARAMETER;
    }
    let registration = Registration::new(client);
    let status = registration.register();
    if is_success(status) {
        let context = Arc::into_raw(registration).cast_mut().cast();
        let filled = WSK_REGISTRATION {
            ReservedRegistrationState: REGISTERED,
            ReservedRegistrationContext: context,
            ReservedRegistrationLock: 0,
        };
        // SAFETY: as the caller promises.
        unsafe { *block = filled };
    }
    status
}

/// # Safety
/// See wsk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn WskDeregister(block: *mut WSK_REGISTRATION) {
    level::require_passive("WskDeregister");
    // SAFETY: as the caller promises.
    let Some(registration) = (unsafe { registration(block, "WskDeregister") }) else {
        return;
    };
    registration.deregister();
    // SAFETY: the block held a reference, which is given back once, and is not registered any more.
    unsafe {
        (*block).ReservedRegistrationState = 0;
        Arc::decrement_strong_count(Arc::as_ptr(&registration));
    }
}

/// # Safety
/// See wsk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn WskCaptureProviderNPI(
    block: *mut WSK_REGISTRATION,
    timeout: u32,
    npi: *mut WSK_PROVIDER_NPI,
) -> NTSTATUS {
    if timeout != WSK_NO_WAIT {
        level::require_passive("WskCaptureProviderNPI");
    }
    // SAFETY: as the caller promises.
    let Some(registration) = (unsafe { registration(block, "WskCaptureProviderNPI") }) else {
        return STATUS_INVALID_PARAMETER;
    };
    if npi.is_null() {
        misuse!("WskCaptureProviderNPI with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    match registration.capture(timeout) {
        Ok(captured) => {
            // SAFETY: as the caller promises.
            unsafe { *npi = captured };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// See wsk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn WskReleaseProviderNPI(block: *mut WSK_REGISTRATION) {
    // SAFETY: as the caller promises.
    if let Some(registration) = unsafe { registration(block, "WskReleaseProviderNPI") } {
        registration.release();
    }
}

/// # Safety
/// See wsk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn WskQueryProviderCharacteristics(
    block: *mut WSK_REGISTRATION,
    characteristics: *mut WSK_PROVIDER_CHARACTERISTICS,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(registration) = (unsafe { registration(block, "WskQueryProviderCharacteristics") }) else {
        return STATUS_INVALID_PARAMETER;
    };
    if characteristics.is_null() {
        misuse!("WskQueryProviderCharacteristics with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    let Some(attachment) = registration.state.lock().attachment else {
        return STATUS_DEVICE_NOT_READY;
    };
    // SAFETY: as the caller promises.
    unsafe { *characteristics = attachment.characteristics };
    STATUS_SUCCESS
}

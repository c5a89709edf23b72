//! The exported functions of the Network Module Registrar.

use core::ffi::c_void;

use wsk_sys::{HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS};

use super::Side;
use crate::status::NTSTATUS;
use crate::{level, system};

/// # Safety
/// See netioddk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrRegisterClient(
    characteristics: *const NPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    system::start();
    level::require_passive("NmrRegisterClient");
    // SAFETY: as the caller promises.
    unsafe { super::register_client(characteristics, context, handle) }
}

/// # Safety
/// See netioddk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrRegisterProvider(
    characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    system::start();
    level::require_passive("NmrRegisterProvider");
    // SAFETY: as the caller promises.
    unsafe { super::register_provider(characteristics, context, handle) }
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrDeregisterClient(handle: HANDLE) -> NTSTATUS {
    super::deregister(handle, Side::Client)
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrDeregisterProvider(handle: HANDLE) -> NTSTATUS {
    super::deregister(handle, Side::Provider)
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrWaitForClientDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    level::require_passive("NmrWaitForClientDeregisterComplete");
    super::wait(handle, Side::Client)
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrWaitForProviderDeregisterComplete(handle: HANDLE) -> NTSTATUS {
    level::require_passive("NmrWaitForProviderDeregisterComplete");
    super::wait(handle, Side::Provider)
}

/// # Safety
/// See netioddk.h.
// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
unsafe extern "system" fn NmrClientAttachProvider(
    handle: HANDLE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    level::require_passive("NmrClientAttachProvider");
    // SAFETY: as the caller promises.
    unsafe {
        super::attach_client(
            handle,
            client_context,
            client_dispatch,
            provider_context,
            provider_dispatch,
        )
    }
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrClientDetachProviderComplete(handle: HANDLE) {
    super::client_detached(handle);
}

// SAFETY: the name is netio.sys's own.
#[unsafe(no_mangle)]
extern "system" fn NmrProviderDetachClientComplete(handle: HANDLE) {
    super::provider_detached(handle);
}

//! What NMR is given for a registration, and NMR's callbacks: a client module at wskguard's NPI and, for a fallback, one at the
//! system's. Attach at `PASSIVE_LEVEL`, detach at <= `DISPATCH_LEVEL`.

use core::ffi::c_void;

use wdk_sys::{GUID, NTSTATUS, STATUS_NOINTERFACE, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, MIT_GUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_REGISTRATION_INSTANCE,
    NPI_WSK_INTERFACE_ID, NPIID, SIZE_T, ULONG, WSK_PROVIDER_CHARACTERISTICS,
};
use wskguard_abi::{GuidFields, WSKGUARD_NPI_ID, WSKGUARD_PROVIDER_MODULE_ID, WSKGUARD_SHIM_MODULE_ID};

use crate::registration::{Registration, Side};

pub(crate) const fn guid((data1, data2, data3, data4): GuidFields) -> GUID {
    GUID {
        Data1: data1,
        Data2: data2,
        Data3: data3,
        Data4: data4,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "NMR's structures are a few dozen bytes")]
pub(crate) const fn size_of_u16<T>() -> u16 {
    size_of::<T>() as u16
}

/// A constant that NMR is given the address of.
#[repr(transparent)]
pub(crate) struct Shared<T>(pub(crate) T);
// SAFETY: never written.
unsafe impl<T> Sync for Shared<T> {}

/// Who registers, whatever it registers.
pub(crate) static MODULE: Shared<NPI_MODULEID> = Shared(NPI_MODULEID {
    Length: size_of_u16::<NPI_MODULEID>(),
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE {
        Guid: guid(WSKGUARD_SHIM_MODULE_ID),
    },
});

static GUARD_NPI: NPIID = guid(WSKGUARD_NPI_ID);
static SYSTEM_NPI: NPIID = NPI_WSK_INTERFACE_ID;

const fn client(
    attach: unsafe extern "system" fn(HANDLE, *mut c_void, *const NPI_REGISTRATION_INSTANCE) -> NTSTATUS,
    npi: *const NPIID,
) -> Shared<NPI_CLIENT_CHARACTERISTICS> {
    Shared(NPI_CLIENT_CHARACTERISTICS {
        Version: 0,
        Length: size_of_u16::<NPI_CLIENT_CHARACTERISTICS>(),
        ClientAttachProvider: Some(attach),
        ClientDetachProvider: Some(detach),
        ClientCleanupBindingContext: None,
        ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_of_u16::<NPI_REGISTRATION_INSTANCE>(),
            NpiId: npi,
            ModuleId: (&raw const MODULE).cast(),
            Number: 0,
            NpiSpecificCharacteristics: core::ptr::null(),
        },
    })
}

static AT_GUARD: Shared<NPI_CLIENT_CHARACTERISTICS> = client(attach_guard, &raw const GUARD_NPI);
static AT_SYSTEM: Shared<NPI_CLIENT_CHARACTERISTICS> = client(attach_system, &raw const SYSTEM_NPI);

/// The characteristics with which a registration's client module at `side` is registered.
pub(crate) fn characteristics(side: Side) -> *const NPI_CLIENT_CHARACTERISTICS {
    match side {
        Side::Guard => &raw const AT_GUARD.0,
        Side::System => &raw const AT_SYSTEM.0,
    }
}

unsafe extern "system" fn attach_guard(
    binding: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR hands over the context and instance that this is about.
    unsafe { attach(binding, context, instance, Side::Guard) }
}

unsafe extern "system" fn attach_system(
    binding: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: the provider's instance is valid for the call.
    if unsafe { is_guard(instance) } {
        // wskguard in its transparent mode. It is reached at its own NPI.
        return STATUS_NOINTERFACE;
    }
    // SAFETY: NMR hands over the context and instance that this is about.
    unsafe { attach(binding, context, instance, Side::System) }
}

unsafe fn attach(
    binding: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    side: Side,
) -> NTSTATUS {
    // SAFETY: the context is the registration, alive while it is registered.
    let Some(registration) = (unsafe { context.cast::<Registration>().as_ref() }) else {
        return STATUS_NOINTERFACE;
    };
    // SAFETY: NULL, or valid for the call.
    let versions = unsafe { instance.as_ref() }
        .map(|instance| {
            instance
                .NpiSpecificCharacteristics
                .cast::<WSK_PROVIDER_CHARACTERISTICS>()
        })
        // SAFETY: what a WSK provider's specific characteristics are, or NULL.
        .and_then(|versions| unsafe { versions.as_ref() });
    registration.offered(side, binding, versions.copied())
}

/// Whether wskguard registered this.
unsafe fn is_guard(instance: *const NPI_REGISTRATION_INSTANCE) -> bool {
    const GUARD: GUID = guid(WSKGUARD_PROVIDER_MODULE_ID);
    // SAFETY: the caller's instance is NULL or valid.
    let module = unsafe { instance.as_ref() }.map_or(core::ptr::null(), |instance| instance.ModuleId);
    // SAFETY: a registration's module id is NULL or valid while it is registered.
    let Some(module) = (unsafe { module.as_ref() }).filter(|module| module.Type == MIT_GUID) else {
        return false;
    };
    // SAFETY: the type says which member it is.
    let id = unsafe { module.Value.Guid };
    (id.Data1, id.Data2, id.Data3, id.Data4) == (GUARD.Data1, GUARD.Data2, GUARD.Data3, GUARD.Data4)
}

unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the registration, alive while it is registered.
    match unsafe { context.cast::<Registration>().as_ref() } {
        Some(registration) => registration.lose_provider(),
        None => STATUS_SUCCESS,
    }
}

/// `WskClientEvent` of every registration: the provider knows the registration, the client its own context.
pub(crate) unsafe extern "system" fn client_event(
    context: *mut c_void,
    event: ULONG,
    information: *mut c_void,
    length: SIZE_T,
) -> NTSTATUS {
    // SAFETY: the provider calls with the context that it was attached with, while it is attached.
    match unsafe { context.cast::<Registration>().as_ref() } {
        // SAFETY: handed on as it came.
        Some(registration) => unsafe { registration.event(event, information, length) },
        None => STATUS_SUCCESS,
    }
}

//! The two edges as NMR sees them: a provider of wskguard's own NPI above, and below, for each client, one client of the system's
//! provider. Upper and lower binding live and die together. In transparent mode the provider is registered at the system's NPI as
//! well. Attach at `PASSIVE_LEVEL`, detach and cleanup at <= `DISPATCH_LEVEL`.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::{GUID, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, MAKE_WSK_VERSION, MIT_GUID, NPI_CLIENT_ATTACH_PROVIDER_FN, NPI_CLIENT_CHARACTERISTICS,
    NPI_CLIENT_DETACH_PROVIDER_FN, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_PROVIDER_ATTACH_CLIENT_FN,
    NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPI_WSK_INTERFACE_ID, NPIID, NmrClientAttachProvider,
    NmrDeregisterProvider, NmrRegisterProvider, NmrWaitForProviderDeregisterComplete, WSK_PROVIDER_CHARACTERISTICS,
    WSK_PROVIDER_DISPATCH,
};
use wskguard_abi::{
    GuidFields, WSKGUARD_BYPASS_NPI_ID, WSKGUARD_CLIENT_MODULE_ID, WSKGUARD_NPI_ID, WSKGUARD_PROVIDER_MODULE_ID,
};

use crate::bypass;
use crate::client::{Client, Edge, Upper};

const fn guid((data1, data2, data3, data4): GuidFields) -> GUID {
    GUID {
        Data1: data1,
        Data2: data2,
        Data3: data3,
        Data4: data4,
    }
}

const fn module_id(fields: GuidFields) -> NPI_MODULEID {
    NPI_MODULEID {
        Length: size_u16::<NPI_MODULEID>(),
        Type: MIT_GUID,
        Value: NPI_MODULEID_VALUE { Guid: guid(fields) },
    }
}

#[allow(clippy::cast_possible_truncation, reason = "NMR's structures are a few dozen bytes")]
const fn size_u16<T>() -> u16 {
    size_of::<T>() as u16
}

/// A constant that NMR is given the address of.
#[repr(transparent)]
pub struct Shared<T>(pub T);
// SAFETY: never written.
unsafe impl<T> Sync for Shared<T> {}

static OWN_NPI: NPIID = guid(WSKGUARD_NPI_ID);
static WSK_NPI: NPIID = NPI_WSK_INTERFACE_ID;
static PROVIDER_MODULE: Shared<NPI_MODULEID> = Shared(module_id(WSKGUARD_PROVIDER_MODULE_ID));
static CLIENT_MODULE: Shared<NPI_MODULEID> = Shared(module_id(WSKGUARD_CLIENT_MODULE_ID));
static VERSIONS: Shared<WSK_PROVIDER_CHARACTERISTICS> = Shared(WSK_PROVIDER_CHARACTERISTICS {
    HighestVersion: MAKE_WSK_VERSION(1, 0),
    LowestVersion: MAKE_WSK_VERSION(1, 0),
});

const fn provider(npi: *const NPIID, attach: NPI_PROVIDER_ATTACH_CLIENT_FN) -> Shared<NPI_PROVIDER_CHARACTERISTICS> {
    Shared(NPI_PROVIDER_CHARACTERISTICS {
        Version: 0,
        Length: size_u16::<NPI_PROVIDER_CHARACTERISTICS>(),
        ProviderAttachClient: Some(attach),
        ProviderDetachClient: Some(detach_client),
        ProviderCleanupBindingContext: Some(cleanup_client),
        ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_u16::<NPI_REGISTRATION_INSTANCE>(),
            NpiId: npi,
            ModuleId: (&raw const PROVIDER_MODULE).cast(),
            Number: 0,
            NpiSpecificCharacteristics: (&raw const VERSIONS).cast(),
        },
    })
}

static OWN: Shared<NPI_PROVIDER_CHARACTERISTICS> = provider(&raw const OWN_NPI, attach_own);
static TRANSPARENT: Shared<NPI_PROVIDER_CHARACTERISTICS> = provider(&raw const WSK_NPI, attach_transparent);

const fn client(
    npi: *const NPIID,
    attach: NPI_CLIENT_ATTACH_PROVIDER_FN,
    detach: NPI_CLIENT_DETACH_PROVIDER_FN,
) -> Shared<NPI_CLIENT_CHARACTERISTICS> {
    Shared(NPI_CLIENT_CHARACTERISTICS {
        Version: 0,
        Length: size_u16::<NPI_CLIENT_CHARACTERISTICS>(),
        ClientAttachProvider: Some(attach),
        ClientDetachProvider: Some(detach),
        ClientCleanupBindingContext: None,
        ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
            Version: 0,
            Size: size_u16::<NPI_REGISTRATION_INSTANCE>(),
            NpiId: npi,
            ModuleId: (&raw const CLIENT_MODULE).cast(),
            Number: 0,
            NpiSpecificCharacteristics: core::ptr::null(),
        },
    })
}

/// What each lower edge registers; its context is the client it is for.
pub static LOWER: Shared<NPI_CLIENT_CHARACTERISTICS> = client(&raw const WSK_NPI, attach_provider, detach_provider);

static BYPASS_NPI: NPIID = guid(WSKGUARD_BYPASS_NPI_ID);
/// With what the notices of bypassing clients are found.
pub static NOTICES: Shared<NPI_CLIENT_CHARACTERISTICS> = client(&raw const BYPASS_NPI, bypass::attach, bypass::detach);

/// A registration of the upper edge.
pub struct UpperEdge(HANDLE);

// SAFETY: the handle is NMR's and may be used on any thread.
unsafe impl Send for UpperEdge {}
// SAFETY: as above.
unsafe impl Sync for UpperEdge {}

impl UpperEdge {
    /// Offers wskguard's provider. `PASSIVE_LEVEL`. Clients may attach before this returns.
    pub fn register(edge: Edge) -> Result<Self, NTSTATUS> {
        let characteristics = match edge {
            Edge::Own => &raw const OWN.0,
            Edge::Transparent => &raw const TRANSPARENT.0,
        };
        let mut handle = core::ptr::null_mut();
        // SAFETY: the characteristics are static, and every callback is prepared to run from now on.
        let status = unsafe { NmrRegisterProvider(characteristics, core::ptr::null_mut(), &raw mut handle) };
        if status < 0 { Err(status) } else { Ok(Self(handle)) }
    }

    /// Takes the offer back and waits until no client is bound. `PASSIVE_LEVEL`.
    pub fn deregister(self) {
        // SAFETY: the handle is of a registration that is taken back once.
        if unsafe { NmrDeregisterProvider(self.0) } == STATUS_PENDING {
            // SAFETY: as above.
            let _ = unsafe { NmrWaitForProviderDeregisterComplete(self.0) };
        }
    }
}

unsafe extern "system" fn attach_own(
    binding: HANDLE,
    _context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    binding_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    let upper = Upper {
        edge: Edge::Own,
        binding,
        context: client_context,
        dispatch: client_dispatch.cast(),
    };
    // SAFETY: NMR hands over the client's registration, valid for the call, and its out parameters.
    unsafe { attach_client(upper, instance, binding_context, provider_dispatch) }
}

unsafe extern "system" fn attach_transparent(
    binding: HANDLE,
    _context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    binding_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    let upper = Upper {
        edge: Edge::Transparent,
        binding,
        context: client_context,
        dispatch: client_dispatch.cast(),
    };
    // SAFETY: NMR hands over the client's registration, valid for the call, and its out parameters.
    unsafe { attach_client(upper, instance, binding_context, provider_dispatch) }
}

unsafe fn attach_client(
    upper: Upper,
    instance: *const NPI_REGISTRATION_INSTANCE,
    binding_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    if upper.dispatch.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let module = unsafe { module_guid(instance) };
    match Client::attach(upper, module) {
        Ok(client) => {
            // SAFETY: as the caller promises.
            unsafe { binding_context.write(client.as_ptr().cast()) };
            // SAFETY: the client lives until its cleanup, and its dispatch table with it.
            let table: *const WSK_PROVIDER_DISPATCH = unsafe { client.as_ref() }.provider_dispatch();
            // SAFETY: as above.
            unsafe { provider_dispatch.write(table.cast()) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

unsafe extern "system" fn detach_client(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the client that `attach_client` gave NMR, alive until its cleanup.
    if let Some(client) = unsafe { context.cast::<Client>().as_ref() } {
        client.detach();
    }
    STATUS_PENDING
}

unsafe extern "system" fn cleanup_client(context: *mut c_void) {
    if let Some(client) = NonNull::new(context.cast::<Client>()) {
        // SAFETY: both sides have detached: nobody else knows the client.
        unsafe { Client::free(client) };
    }
}

unsafe extern "system" fn attach_provider(
    binding: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR hands over the provider's registration, valid for the call.
    if unsafe { module_guid(instance) } == guid_bytes(&guid(WSKGUARD_PROVIDER_MODULE_ID)) {
        return STATUS_NOINTERFACE;
    }
    // SAFETY: the context is the client that registered, alive while its registration is.
    let Some(client) = (unsafe { context.cast::<Client>().as_ref() }) else {
        return STATUS_NOINTERFACE;
    };
    client.bind_below(binding, |dispatch| {
        let mut provider_client = core::ptr::null_mut();
        let mut provider_dispatch = core::ptr::null();
        // SAFETY: inside ClientAttachProvider, as the contract asks; the client and its dispatch outlive the binding.
        let status = unsafe {
            NmrClientAttachProvider(
                binding,
                context,
                dispatch.cast(),
                &raw mut provider_client,
                &raw mut provider_dispatch,
            )
        };
        if status < 0 {
            Err(status)
        } else {
            Ok((provider_client, provider_dispatch.cast()))
        }
    })
}

unsafe extern "system" fn detach_provider(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the client that attached, alive while its registration is.
    unsafe { context.cast::<Client>().as_ref() }.map_or(STATUS_SUCCESS, Client::lose_provider)
}

/// The module id of a registration as the GUID's bytes; zeros when it has none, or one of another kind.
pub unsafe fn module_guid(instance: *const NPI_REGISTRATION_INSTANCE) -> [u8; 16] {
    // SAFETY: the caller's instance is NULL or valid.
    let module = unsafe { instance.as_ref() }.map_or(core::ptr::null(), |instance| instance.ModuleId);
    // SAFETY: a registration's module id is NULL or valid while it is registered.
    match unsafe { module.as_ref() } {
        // SAFETY: the type says which member it is.
        Some(module) if module.Type == MIT_GUID => guid_bytes(unsafe { &module.Value.Guid }),
        _ => [0; 16],
    }
}

fn guid_bytes(guid: &GUID) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(8);
    for (to, from) in head.iter_mut().zip(
        guid.Data1
            .to_le_bytes()
            .into_iter()
            .chain(guid.Data2.to_le_bytes())
            .chain(guid.Data3.to_le_bytes()),
    ) {
        *to = from;
    }
    for (to, from) in tail.iter_mut().zip(guid.Data4) {
        *to = from;
    }
    bytes
}

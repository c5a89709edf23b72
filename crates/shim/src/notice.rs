//! The notice of a client that was bound to the system's provider: a provider of wskguard's bypass NPI, of which wskguard is a
//! client. Registered and taken back at `PASSIVE_LEVEL`.

use core::ffi::c_void;

use wdk_sys::{NTSTATUS, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE, NPIID, NmrDeregisterProvider, NmrRegisterProvider,
    NmrWaitForProviderDeregisterComplete,
};
use wskguard_abi::{BypassNotice, WSKGUARD_BYPASS_NPI_ID};

use crate::binding::{MODULE, guid, size_of_u16};

static NPI: NPIID = guid(WSKGUARD_BYPASS_NPI_ID);

/// What NMR is given; resident while registered, at one address.
pub(crate) struct Notice {
    content: BypassNotice,
    characteristics: NPI_PROVIDER_CHARACTERISTICS,
    handle: HANDLE,
}

impl Notice {
    /// Of a client that asked for `version`, with `code` in its image.
    pub(crate) fn new(version: u16, code: *const c_void) -> Self {
        Self {
            content: BypassNotice {
                size: size_of_u16::<BypassNotice>(),
                version,
                reserved: 0,
                since: 0,
                code,
            },
            characteristics: NPI_PROVIDER_CHARACTERISTICS {
                Version: 0,
                Length: size_of_u16::<NPI_PROVIDER_CHARACTERISTICS>(),
                ProviderAttachClient: Some(attach),
                ProviderDetachClient: Some(detach),
                ProviderCleanupBindingContext: None,
                ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE {
                    Version: 0,
                    Size: size_of_u16::<NPI_REGISTRATION_INSTANCE>(),
                    NpiId: &raw const NPI,
                    ModuleId: (&raw const MODULE).cast(),
                    Number: 0,
                    NpiSpecificCharacteristics: core::ptr::null(),
                },
            },
            handle: core::ptr::null_mut(),
        }
    }

    /// Gives notice. That it cannot be given is no reason to refuse the client.
    pub(crate) fn give(&mut self, since: u64) {
        self.content.since = since;
        let notice = (&raw const self.content).cast();
        self.characteristics
            .ProviderRegistrationInstance
            .NpiSpecificCharacteristics = notice;
        let mut handle = core::ptr::null_mut();
        let context = (&raw mut self.content).cast();
        // SAFETY: the characteristics stay where they are until `take_back`.
        let status = unsafe { NmrRegisterProvider(&raw const self.characteristics, context, &raw mut handle) };
        if status >= 0 {
            self.handle = handle;
        }
    }

    pub(crate) fn take_back(&mut self) {
        let handle = core::mem::replace(&mut self.handle, core::ptr::null_mut());
        if handle.is_null() {
            return;
        }
        // SAFETY: the handle is of a registration that is taken back once.
        if unsafe { NmrDeregisterProvider(handle) } == STATUS_PENDING {
            // SAFETY: as above.
            let _ = unsafe { NmrWaitForProviderDeregisterComplete(handle) };
        }
    }
}

/// wskguard attaches. There is nothing to call, but NMR wants a context and a table.
unsafe extern "system" fn attach(
    _binding: HANDLE,
    context: *mut c_void,
    _instance: *const NPI_REGISTRATION_INSTANCE,
    _client_context: *mut c_void,
    _client_dispatch: *const c_void,
    binding_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: NMR's out parameters.
    unsafe { binding_context.write(context) };
    // SAFETY: as above.
    unsafe { provider_dispatch.write(context) };
    STATUS_SUCCESS
}

unsafe extern "system" fn detach(_context: *mut c_void) -> NTSTATUS {
    STATUS_SUCCESS
}

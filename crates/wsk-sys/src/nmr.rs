//! The Network Module Registrar: a module offers or uses a network programming interface (NPI), and NMR brings the two together.
//!
//! NMR calls the attach callbacks at PASSIVE_LEVEL and the detach and cleanup callbacks at IRQL <= DISPATCH_LEVEL.

use core::ffi::c_void;

use crate::{GUID, HANDLE, LUID, NPIID, NTSTATUS, ULONG, USHORT};

/// `NPI_MODULEID_TYPE`.
pub type NPI_MODULEID_TYPE = i32;
/// The module is named by a GUID.
pub const MIT_GUID: NPI_MODULEID_TYPE = 1;
/// The module is named by an interface LUID.
pub const MIT_IF_LUID: NPI_MODULEID_TYPE = 2;

/// Value of [`NPI_MODULEID`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union NPI_MODULEID_VALUE {
    /// With [`MIT_GUID`].
    pub Guid: GUID,
    /// With [`MIT_IF_LUID`].
    pub IfLuid: LUID,
}

/// Names a network module.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_MODULEID {
    /// Bytes of this structure.
    pub Length: USHORT,
    /// `MIT_*`.
    pub Type: NPI_MODULEID_TYPE,
    /// The name.
    pub Value: NPI_MODULEID_VALUE,
}

/// One registration of a module.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_REGISTRATION_INSTANCE {
    /// 0.
    pub Version: USHORT,
    /// Bytes of this structure.
    pub Size: USHORT,
    /// The interface.
    pub NpiId: *const NPIID,
    /// Who registers.
    pub ModuleId: *const NPI_MODULEID,
    /// 0.
    pub Number: ULONG,
    /// As the NPI defines; for WSK providers a `WSK_PROVIDER_CHARACTERISTICS`.
    pub NpiSpecificCharacteristics: *const c_void,
}

/// A provider is there: attach or decline. PASSIVE_LEVEL.
pub type NPI_CLIENT_ATTACH_PROVIDER_FN = unsafe extern "system" fn(
    NmrBindingHandle: HANDLE,
    ClientContext: *mut c_void,
    *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS;
/// Detach; `STATUS_PENDING` promises `NmrClientDetachProviderComplete`.
pub type NPI_CLIENT_DETACH_PROVIDER_FN = unsafe extern "system" fn(ClientBindingContext: *mut c_void) -> NTSTATUS;
/// Both sides have detached: free the binding context.
pub type NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "system" fn(ClientBindingContext: *mut c_void);
/// A client wants to attach. PASSIVE_LEVEL.
pub type NPI_PROVIDER_ATTACH_CLIENT_FN = unsafe extern "system" fn(
    NmrBindingHandle: HANDLE,
    ProviderContext: *mut c_void,
    ClientRegistrationInstance: *const NPI_REGISTRATION_INSTANCE,
    ClientBindingContext: *mut c_void,
    ClientDispatch: *const c_void,
    ProviderBindingContext: *mut *mut c_void,
    ProviderDispatch: *mut *const c_void,
) -> NTSTATUS;
/// Detach; `STATUS_PENDING` promises `NmrProviderDetachClientComplete`.
pub type NPI_PROVIDER_DETACH_CLIENT_FN = unsafe extern "system" fn(ProviderBindingContext: *mut c_void) -> NTSTATUS;
/// Both sides have detached: free the binding context.
pub type NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN = unsafe extern "system" fn(ProviderBindingContext: *mut c_void);

/// What a client module registers. Resident while registered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_CLIENT_CHARACTERISTICS {
    /// 0.
    pub Version: USHORT,
    /// Bytes of this structure.
    pub Length: USHORT,
    /// Required.
    pub ClientAttachProvider: Option<NPI_CLIENT_ATTACH_PROVIDER_FN>,
    /// Required.
    pub ClientDetachProvider: Option<NPI_CLIENT_DETACH_PROVIDER_FN>,
    /// May be NULL.
    pub ClientCleanupBindingContext: Option<NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN>,
    /// Who and what.
    pub ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}

/// What a provider module registers. Resident while registered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NPI_PROVIDER_CHARACTERISTICS {
    /// 0.
    pub Version: USHORT,
    /// Bytes of this structure.
    pub Length: USHORT,
    /// Required.
    pub ProviderAttachClient: Option<NPI_PROVIDER_ATTACH_CLIENT_FN>,
    /// Required.
    pub ProviderDetachClient: Option<NPI_PROVIDER_DETACH_CLIENT_FN>,
    /// May be NULL.
    pub ProviderCleanupBindingContext: Option<NPI_PROVIDER_CLEANUP_BINDING_CONTEXT_FN>,
    /// Who and what.
    pub ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE,
}

#[cfg_attr(feature = "wdk", link(name = "netio"))]
unsafe extern "system" {
    /// PASSIVE_LEVEL. Attach callbacks may run before this returns.
    pub fn NmrRegisterClient(
        ClientCharacteristics: *const NPI_CLIENT_CHARACTERISTICS,
        ClientContext: *mut c_void,
        NmrClientHandle: *mut HANDLE,
    ) -> NTSTATUS;
    /// PASSIVE_LEVEL. Attach callbacks may run before this returns.
    pub fn NmrRegisterProvider(
        ProviderCharacteristics: *const NPI_PROVIDER_CHARACTERISTICS,
        ProviderContext: *mut c_void,
        NmrProviderHandle: *mut HANDLE,
    ) -> NTSTATUS;
    /// <= DISPATCH_LEVEL; returns `STATUS_PENDING`.
    pub fn NmrDeregisterClient(NmrClientHandle: HANDLE) -> NTSTATUS;
    /// <= DISPATCH_LEVEL; returns `STATUS_PENDING`.
    pub fn NmrDeregisterProvider(NmrProviderHandle: HANDLE) -> NTSTATUS;
    /// < DISPATCH_LEVEL.
    pub fn NmrWaitForClientDeregisterComplete(NmrClientHandle: HANDLE) -> NTSTATUS;
    /// < DISPATCH_LEVEL.
    pub fn NmrWaitForProviderDeregisterComplete(NmrProviderHandle: HANDLE) -> NTSTATUS;
    /// Only inside `ClientAttachProvider`. PASSIVE_LEVEL.
    pub fn NmrClientAttachProvider(
        NmrBindingHandle: HANDLE,
        ClientBindingContext: *mut c_void,
        ClientDispatch: *const c_void,
        ProviderBindingContext: *mut *mut c_void,
        ProviderDispatch: *mut *const c_void,
    ) -> NTSTATUS;
    /// <= DISPATCH_LEVEL.
    pub fn NmrClientDetachProviderComplete(NmrBindingHandle: HANDLE);
    /// <= DISPATCH_LEVEL.
    pub fn NmrProviderDetachClientComplete(NmrBindingHandle: HANDLE);
}

//! The provider's NMR module, and one record per attached client.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use wsk_sys::{
    GUID, HANDLE, MAKE_WSK_VERSION, MIT_GUID, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_PROVIDER_CHARACTERISTICS,
    NPI_REGISTRATION_INSTANCE, NPI_WSK_INTERFACE_ID, PWSK_CLIENT, WSK_CLIENT_DISPATCH, WSK_PROVIDER_CHARACTERISTICS,
};

use super::dispatch;
use crate::nmr;
use crate::report::{self, misuse};
use crate::status::{
    NTSTATUS, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_PENDING,
    STATUS_SUCCESS, is_success,
};
use crate::sync::Mutex;

/// The version that clients are offered: 1.0, the only one there is.
const VERSION: u16 = MAKE_WSK_VERSION(1, 0);

static NPI: GUID = NPI_WSK_INTERFACE_ID;
static MODULE: NPI_MODULEID = NPI_MODULEID {
    Length: nmr::size::<NPI_MODULEID>(),
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE {
        Guid: GUID {
            Data1: 0x1DD8_0E6C,
            Data2: 0x2C4B,
            Data3: 0x4E83,
            Data4: [0xA6, 0x5F, 0x54, 0x4B, 0x6E, 0x65, 0x74, 0x69],
        },
    },
};
static VERSIONS: WSK_PROVIDER_CHARACTERISTICS = WSK_PROVIDER_CHARACTERISTICS {
    HighestVersion: VERSION,
    LowestVersion: VERSION,
};

/// Structures of NMR hold addresses; these are constant and of constant things.
struct Constant<T>(T);
// SAFETY: the value is never written and points to statics.
unsafe impl<T> Sync for Constant<T> {}

static CHARACTERISTICS: Constant<NPI_PROVIDER_CHARACTERISTICS> = Constant(NPI_PROVIDER_CHARACTERISTICS {
    Version: 0,
    Length: nmr::size::<NPI_PROVIDER_CHARACTERISTICS>(),
    ProviderAttachClient: Some(attach_client),
    ProviderDetachClient: Some(detach_client),
    ProviderCleanupBindingContext: Some(cleanup),
    ProviderRegistrationInstance: NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: nmr::size::<NPI_REGISTRATION_INSTANCE>(),
        NpiId: &raw const NPI,
        ModuleId: &raw const MODULE,
        Number: 0,
        NpiSpecificCharacteristics: (&raw const VERSIONS).cast(),
    },
});

/// The registration: NULL while the provider is not there.
static REGISTRATION: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
/// The registration that ends, until its last binding has.
static LEAVING: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Registers the provider: for as long as the module is there, unless a test makes it leave.
pub(crate) fn register() {
    let mut handle = core::ptr::null_mut();
    // SAFETY: the characteristics are static.
    let status =
        unsafe { nmr::register_provider(&raw const CHARACTERISTICS.0, core::ptr::null_mut(), &raw mut handle) };
    if is_success(status) {
        REGISTRATION.store(handle, Ordering::Release);
    } else {
        report::print(format_args!("the provider could not register: {status:#010x}"));
    }
}

/// Takes the registration back.
pub(crate) fn leave() -> Result<(), NTSTATUS> {
    let handle = REGISTRATION.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if handle.is_null() {
        return Err(STATUS_INVALID_DEVICE_STATE);
    }
    LEAVING.store(handle, Ordering::Release);
    nmr::deregister(handle, nmr::Side::Provider);
    Ok(())
}

/// Registers again, once nobody is bound any more.
pub(crate) fn come_back() -> Result<(), NTSTATUS> {
    let handle = LEAVING.load(Ordering::Acquire);
    if handle.is_null() || nmr::is_bound(handle) {
        return Err(STATUS_INVALID_DEVICE_STATE);
    }
    LEAVING.store(core::ptr::null_mut(), Ordering::Release);
    nmr::wait(handle, nmr::Side::Provider);
    register();
    Ok(())
}

/// Whether `instance` is the system provider's.
pub(crate) fn is_own_instance(instance: *const NPI_REGISTRATION_INSTANCE) -> bool {
    core::ptr::eq(instance, &raw const CHARACTERISTICS.0.ProviderRegistrationInstance)
}

/// An attached client. `PWSK_CLIENT` points here.
pub(crate) struct Client {
    mark: AtomicU32,
    binding: HANDLE,
    /// Events that every socket of the client has enabled, for good.
    static_events: AtomicU32,
    /// Sockets, and 1 while attached.
    users: AtomicUsize,
    sockets: AtomicUsize,
    descriptors: Mutex<Vec<Arc<Descriptor>>>,
}

/// A cached security descriptor; its address is what the client gets.
pub(crate) struct Descriptor {
    /// It grants access to the kernel's own security context.
    pub(crate) grants: bool,
}

// SAFETY: the binding handle is a number.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

const LIVE: u32 = u32::from_le_bytes(*b"wskC");

static CLIENTS: AtomicUsize = AtomicUsize::new(0);
static DESCRIPTORS: AtomicUsize = AtomicUsize::new(0);

/// Clients attached at present.
pub(crate) fn clients() -> usize {
    CLIENTS.load(Ordering::Relaxed)
}

/// Security descriptors cached at present.
pub(crate) fn descriptors() -> usize {
    DESCRIPTORS.load(Ordering::Relaxed)
}

impl Client {
    /// The client that a caller means.
    ///
    /// # Safety
    /// `client` is NULL, or was given to an attached client.
    pub(crate) unsafe fn find(client: PWSK_CLIENT, function: &str) -> Option<Arc<Self>> {
        let this = client.cast_const().cast::<Self>();
        // SAFETY: as the caller promises.
        let live = unsafe { this.as_ref() }.is_some_and(|this| this.mark.load(Ordering::Acquire) == LIVE);
        if !live {
            misuse!("{function} with a client that is not attached: {client:p}");
            return None;
        }
        // SAFETY: the binding holds a reference.
        Some(unsafe {
            Arc::increment_strong_count(this);
            Arc::from_raw(this)
        })
    }

    pub(crate) fn static_events(&self) -> u32 {
        self.static_events.load(Ordering::Acquire)
    }

    /// `WSK_SET_STATIC_EVENT_CALLBACKS`: before any socket, and for good.
    pub(crate) fn set_static_events(&self, events: u32) -> bool {
        if self.sockets.load(Ordering::Acquire) != 0 {
            misuse!("static event callbacks set after sockets were created");
            return false;
        }
        self.static_events.fetch_or(events, Ordering::AcqRel);
        true
    }

    pub(crate) fn add_socket(&self) {
        self.sockets.fetch_add(1, Ordering::AcqRel);
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove_socket(&self) {
        self.sockets.fetch_sub(1, Ordering::AcqRel);
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The detach call-out has returned STATUS_PENDING, or is about to: NMR minds neither.
            nmr::provider_detached(self.binding);
        }
    }

    /// Keeps a descriptor, and says under which address.
    pub(crate) fn cache_descriptor(&self, descriptor: Descriptor) -> usize {
        let descriptor = Arc::new(descriptor);
        let address = Arc::as_ptr(&descriptor).addr();
        self.descriptors.lock().push(descriptor);
        DESCRIPTORS.fetch_add(1, Ordering::Relaxed);
        address
    }

    /// Forgets a cached descriptor; false when it is none.
    pub(crate) fn release_descriptor(&self, address: usize) -> bool {
        let mut descriptors = self.descriptors.lock();
        let index = descriptors
            .iter()
            .position(|cached| Arc::as_ptr(cached).addr() == address);
        let Some(index) = index else { return false };
        descriptors.swap_remove(index);
        DESCRIPTORS.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Whether a cached descriptor grants access; `None` when it is none.
    pub(crate) fn descriptor_grants(&self, address: usize) -> Option<bool> {
        let descriptors = self.descriptors.lock();
        descriptors
            .iter()
            .find(|cached| Arc::as_ptr(cached).addr() == address)
            .map(|cached| cached.grants)
    }
}

/// # Safety
/// NMR calls it in `NmrClientAttachProvider`.
unsafe extern "system" fn attach_client(
    binding: HANDLE,
    _context: *mut c_void,
    _instance: *const NPI_REGISTRATION_INSTANCE,
    _client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    // SAFETY: the NPI says what a client's dispatch is; NULL is looked for.
    let Some(client) = (unsafe { client_dispatch.cast::<WSK_CLIENT_DISPATCH>().as_ref() }) else {
        misuse!("a WSK client attaches without a dispatch table");
        return STATUS_INVALID_PARAMETER;
    };
    // A provider serves clients of its major version that ask for no more than its minor version.
    if client.Version >> 8 != VERSION >> 8 || client.Version > VERSION {
        return STATUS_NOINTERFACE;
    }
    let client = Arc::new(Client {
        mark: AtomicU32::new(LIVE),
        binding,
        static_events: AtomicU32::new(0),
        users: AtomicUsize::new(1),
        sockets: AtomicUsize::new(0),
        descriptors: Mutex::default(),
    });
    CLIENTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the out parameters are NMR's.
    unsafe {
        *provider_context = Arc::into_raw(client).cast_mut().cast();
        *provider_dispatch = (&raw const dispatch::PROVIDER).cast();
    }
    STATUS_SUCCESS
}

/// # Safety
/// NMR calls it with what `attach_client` gave.
unsafe extern "system" fn detach_client(context: *mut c_void) -> NTSTATUS {
    // SAFETY: as said.
    let client = unsafe { &*context.cast::<Client>() };
    let sockets = client.sockets.load(Ordering::Acquire);
    if sockets != 0 {
        report::print(format_args!("a client detaches with {sockets} sockets open"));
    }
    if client.users.fetch_sub(1, Ordering::AcqRel) == 1 {
        STATUS_SUCCESS
    } else {
        STATUS_PENDING
    }
}

/// # Safety
/// NMR calls it with what `attach_client` gave, once.
unsafe extern "system" fn cleanup(context: *mut c_void) {
    // SAFETY: as said; this is the binding's reference.
    let client = unsafe { Arc::from_raw(context.cast_const().cast::<Client>()) };
    client.mark.store(0, Ordering::Release);
    let left = core::mem::take(&mut *client.descriptors.lock());
    if !left.is_empty() {
        misuse!("a client detached with {} security descriptors cached", left.len());
    }
    DESCRIPTORS.fetch_sub(left.len(), Ordering::Relaxed);
    CLIENTS.fetch_sub(1, Ordering::Relaxed);
    QUARANTINE.lock().keep(client);
}

/// Clients that are gone, kept a while so that a late use of one is noticed.
struct Quarantine {
    clients: Vec<Arc<Client>>,
}

static QUARANTINE: Mutex<Quarantine> = Mutex::new(Quarantine { clients: Vec::new() });

impl Quarantine {
    fn keep(&mut self, client: Arc<Client>) {
        self.clients.push(client);
        if self.clients.len() > 64 {
            self.clients.remove(0);
        }
    }
}

//! A WSK client: attaching through NMR or through `WskRegister`, and detaching, by the script's wish or by NMR's. Attaching and
//! detaching at `PASSIVE_LEVEL`; NMR's detach and cleanup callbacks, and the bookkeeping of sockets, at IRQL <= `DISPATCH_LEVEL`.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::probe::{Attach, Attached, Choice, ClientState, Event, Happening, OnDetach, Route};
use wdk_rtl::lock::SpinLock;
use wdk_sys::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT};
use wsk_sys::{
    GUID, HANDLE, MIT_GUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_REGISTRATION_INSTANCE,
    NmrClientAttachProvider, NmrClientDetachProviderComplete, NmrDeregisterClient, NmrRegisterClient,
    NmrWaitForClientDeregisterComplete, PWSK_CLIENT, WSK_CLIENT_DISPATCH, WSK_CLIENT_NPI, WSK_PROVIDER_DISPATCH,
    WSK_PROVIDER_NPI, WSK_REGISTRATION, WskCaptureProviderNPI, WskDeregister, WskRegister, WskReleaseProviderNPI,
};

use crate::ke;
use crate::session::Session;
use crate::shared::Shared;

/// Where a detach that NMR asked for stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detach {
    NotAsked,
    /// `STATUS_PENDING` was returned.
    Pending,
    Completed,
}

struct State {
    nmr: HANDLE,
    binding: HANDLE,
    wsk_client: PWSK_CLIENT,
    dispatch: *const WSK_PROVIDER_DISPATCH,
    attached: bool,
    detach: Detach,
    cleaned_up: bool,
    captured: bool,
    deregistering: bool,
    offered: u32,
    sockets: u32,
    attach_status: NTSTATUS,
    provider_module: [u8; 16],
    thread: Option<ke::Thread>,
}

// SAFETY: handles and addresses of objects that live as long as the binding, whichever thread looks.
unsafe impl Send for State {}

/// What the registration points to.
struct Resident {
    npi: GUID,
    module: NPI_MODULEID,
    dispatch: WSK_CLIENT_DISPATCH,
    characteristics: NPI_CLIENT_CHARACTERISTICS,
    wsk_npi: WSK_CLIENT_NPI,
    registration: WSK_REGISTRATION,
}

/// One client.
pub(crate) struct Client {
    pub(crate) id: AtomicU32,
    session: Shared<Session>,
    wish: Attach,
    state: SpinLock<State>,
    resident: UnsafeCell<Resident>,
    attached: ke::Event,
    deregistered: ke::Event,
}

// SAFETY: `resident` is written before the registration and by the registrar after; the rest is under the lock or atomic.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// A GUID from its bytes in memory order.
fn guid(bytes: [u8; 16]) -> GUID {
    let [d1_0, d1_1, d1_2, d1_3, d2_0, d2_1, d3_0, d3_1, data4 @ ..] = bytes;
    GUID {
        Data1: u32::from_le_bytes([d1_0, d1_1, d1_2, d1_3]),
        Data2: u16::from_le_bytes([d2_0, d2_1]),
        Data3: u16::from_le_bytes([d3_0, d3_1]),
        Data4: data4,
    }
}

fn guid_bytes(guid: &GUID) -> [u8; 16] {
    let mut bytes = [0; 16];
    let fields = guid
        .Data1
        .to_le_bytes()
        .into_iter()
        .chain(guid.Data2.to_le_bytes())
        .chain(guid.Data3.to_le_bytes());
    bytes
        .iter_mut()
        .zip(fields.chain(guid.Data4))
        .for_each(|(place, byte)| *place = byte);
    bytes
}

fn version(wish: &Attach) -> u16 {
    let [low, high, ..] = wish.version.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The size of a structure, as its length field holds it.
fn length_of<T>() -> u16 {
    u16::try_from(size_of::<T>()).unwrap_or(u16::MAX)
}

impl Resident {
    fn new(wish: &Attach) -> Self {
        Self {
            npi: guid(wish.npi),
            module: NPI_MODULEID {
                Length: length_of::<NPI_MODULEID>(),
                Type: MIT_GUID,
                Value: NPI_MODULEID_VALUE {
                    Guid: guid(wish.module),
                },
            },
            dispatch: WSK_CLIENT_DISPATCH {
                Version: version(wish),
                Reserved: 0,
                WskClientEvent: (wish.without_client_event == 0).then_some(client_event),
            },
            characteristics: NPI_CLIENT_CHARACTERISTICS {
                Version: 0,
                Length: length_of::<NPI_CLIENT_CHARACTERISTICS>(),
                ClientAttachProvider: Some(attach_provider),
                ClientDetachProvider: Some(detach_provider),
                ClientCleanupBindingContext: Some(cleanup_binding),
                ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
                    Version: 0,
                    Size: length_of::<NPI_REGISTRATION_INSTANCE>(),
                    NpiId: core::ptr::null(),
                    ModuleId: core::ptr::null(),
                    Number: 0,
                    NpiSpecificCharacteristics: core::ptr::null(),
                },
            },
            wsk_npi: WSK_CLIENT_NPI {
                ClientContext: null_mut(),
                Dispatch: core::ptr::null(),
            },
            registration: WSK_REGISTRATION {
                ReservedRegistrationState: 0,
                ReservedRegistrationContext: null_mut(),
                ReservedRegistrationLock: 0,
            },
        }
    }
}

impl Client {
    /// Makes a client and attaches it. `PASSIVE_LEVEL`.
    pub(crate) fn attach(session: &Shared<Session>, wish: &Attach) -> Attached {
        let failed = |status| Attached {
            status,
            ..Attached::default()
        };
        let Some(route) = Route::from_u32(wish.route) else {
            return failed(STATUS_INVALID_PARAMETER);
        };
        let Some(client) = Self::new(session, wish) else {
            return failed(wdk_sys::STATUS_INSUFFICIENT_RESOURCES);
        };
        let named = session
            .clients
            .insert(client.clone(), |client, id| client.id.store(id, Ordering::Relaxed));
        let Some(id) = named else {
            return failed(wdk_sys::STATUS_INSUFFICIENT_RESOURCES);
        };
        let status = match route {
            Route::Nmr => client.register_with_nmr(),
            Route::Register => client.register_with_wsk(),
        };
        let state = client.state.lock();
        let reply = Attached {
            status,
            client: id,
            // SAFETY: the provider's dispatch is resident while the client is attached.
            version: unsafe { state.dispatch.as_ref() }.map_or(0, |dispatch| u32::from(dispatch.Version)),
            offered: state.offered,
            provider_module: state.provider_module,
        };
        drop(state);
        let stays_registered = Choice::from_u32(wish.choice) == Some(Choice::None);
        if status < 0 && !stays_registered {
            client.detach(5000);
            session.clients.remove(id);
            return Attached { client: 0, ..reply };
        }
        reply
    }

    fn new(session: &Shared<Session>, wish: &Attach) -> Option<Shared<Self>> {
        let client = Shared::try_new(Self {
            id: AtomicU32::new(0),
            session: session.clone(),
            wish: *wish,
            state: SpinLock::new(State {
                nmr: null_mut(),
                binding: null_mut(),
                wsk_client: null_mut(),
                dispatch: core::ptr::null(),
                attached: false,
                detach: Detach::NotAsked,
                cleaned_up: false,
                captured: false,
                deregistering: false,
                offered: 0,
                sockets: 0,
                attach_status: STATUS_NOINTERFACE,
                provider_module: [0; 16],
                thread: None,
            }),
            resident: UnsafeCell::new(Resident::new(wish)),
            attached: ke::Event::uninitialised(),
            deregistered: ke::Event::uninitialised(),
        })?;
        client.attached.init();
        client.deregistered.init();
        client.link_resident();
        Some(client)
    }

    /// Points the registration's structures at each other, now that they have their address.
    fn link_resident(&self) {
        // SAFETY: nobody else knows the client yet.
        let resident = unsafe { &mut *self.resident.get() };
        resident.characteristics.ClientRegistrationInstance.NpiId = &raw const resident.npi;
        resident.characteristics.ClientRegistrationInstance.ModuleId = &raw const resident.module;
        resident.wsk_npi.Dispatch = &raw const resident.dispatch;
        resident.wsk_npi.ClientContext = self.address();
    }

    fn address(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    fn place<T>(&self, offset: usize) -> *mut T {
        self.resident.get().wrapping_byte_add(offset).cast()
    }

    fn dispatch_address(&self) -> *const c_void {
        self.place::<c_void>(core::mem::offset_of!(Resident, dispatch))
            .cast_const()
    }

    fn registration(&self) -> *mut WSK_REGISTRATION {
        self.place(core::mem::offset_of!(Resident, registration))
    }

    fn register_with_nmr(&self) -> NTSTATUS {
        let characteristics =
            self.place::<NPI_CLIENT_CHARACTERISTICS>(core::mem::offset_of!(Resident, characteristics));
        let mut handle: HANDLE = null_mut();
        // SAFETY: the characteristics are resident until the deregistration has been waited for.
        let status = unsafe { NmrRegisterClient(characteristics, self.address(), &raw mut handle) };
        if status < 0 {
            return status;
        }
        self.state.lock().nmr = handle;
        if Choice::from_u32(self.wish.choice) == Some(Choice::None) {
            return STATUS_SUCCESS;
        }
        if self.attached.wait(self.wish.timeout_ms) {
            return STATUS_SUCCESS;
        }
        self.state.lock().attach_status
    }

    fn register_with_wsk(&self) -> NTSTATUS {
        let npi = self.place::<WSK_CLIENT_NPI>(core::mem::offset_of!(Resident, wsk_npi));
        // SAFETY: both blocks are resident until WskDeregister returned.
        let status = unsafe { WskRegister(npi, self.registration()) };
        if status < 0 {
            return status;
        }
        self.state.lock().nmr = self.registration().cast();
        let mut provider = WSK_PROVIDER_NPI {
            Client: null_mut(),
            Dispatch: core::ptr::null(),
        };
        // SAFETY: the registration is registered.
        let status = unsafe { WskCaptureProviderNPI(self.registration(), self.wish.timeout_ms, &raw mut provider) };
        if status < 0 {
            return status;
        }
        let mut state = self.state.lock();
        state.wsk_client = provider.Client;
        state.dispatch = provider.Dispatch;
        state.attached = true;
        state.captured = true;
        STATUS_SUCCESS
    }

    /// The provider, while the client may call it.
    pub(crate) fn provider(&self) -> Option<(PWSK_CLIENT, *const WSK_PROVIDER_DISPATCH)> {
        let state = self.state.lock();
        let usable = state.attached && state.detach == Detach::NotAsked && !state.deregistering;
        usable.then_some((state.wsk_client, state.dispatch))
    }

    pub(crate) fn socket_opened(&self) {
        let mut state = self.state.lock();
        state.sockets = state.sockets.saturating_add(1);
    }

    pub(crate) fn socket_closed(&self) {
        let mut state = self.state.lock();
        state.sockets = state.sockets.saturating_sub(1);
        let when_idle = OnDetach::from_u32(self.wish.on_detach) == Some(OnDetach::WhenIdle);
        let complete = when_idle && state.sockets == 0 && state.detach == Detach::Pending;
        if complete {
            state.detach = Detach::Completed;
            state.attached = false;
        }
        let binding = state.binding;
        drop(state);
        if complete {
            // SAFETY: the detach callback returned STATUS_PENDING, and this is the only completion.
            unsafe { NmrClientDetachProviderComplete(binding) };
        }
    }

    /// Deregisters and waits up to `ms`; may be asked again after a time-out. `PASSIVE_LEVEL`.
    pub(crate) fn detach(&self, ms: u32) -> NTSTATUS {
        let mut state = self.state.lock();
        let registered = !state.nmr.is_null();
        let first = registered && !state.deregistering;
        state.deregistering = true;
        let told =
            state.detach == Detach::Pending && OnDetach::from_u32(self.wish.on_detach) == Some(OnDetach::WhenTold);
        if told {
            state.detach = Detach::Completed;
            state.attached = false;
        }
        let binding = state.binding;
        drop(state);
        if !registered {
            return STATUS_SUCCESS;
        }
        if told {
            // SAFETY: the detach callback returned STATUS_PENDING, and this is the only completion.
            unsafe { NmrClientDetachProviderComplete(binding) };
        }
        if first {
            // The wait for the end has no time-out of its own, hence a thread for it.
            // SAFETY: clients are made by `new` only, as shared objects.
            let this = unsafe { Shared::<Self>::from_address(self.address()) };
            self.state.lock().thread = ke::Thread::spawn(Self::deregister, this);
        }
        if !self.deregistered.wait(ms) {
            return STATUS_TIMEOUT;
        }
        let thread = self.state.lock().thread.take();
        if let Some(Err(thread)) = thread.map(|thread| thread.join(1000)) {
            self.state.lock().thread = Some(thread);
        }
        STATUS_SUCCESS
    }

    fn deregister(&self) {
        let state = self.state.lock();
        let (nmr, captured) = (state.nmr, state.captured);
        drop(state);
        if Route::from_u32(self.wish.route) == Some(Route::Register) {
            if captured {
                // SAFETY: one release for the one capture.
                unsafe { WskReleaseProviderNPI(self.registration()) };
            }
            // SAFETY: one deregistration for the one registration.
            unsafe { WskDeregister(self.registration()) };
        } else {
            // SAFETY: the handle is that of the one registration.
            unsafe { NmrDeregisterClient(nmr) };
            // SAFETY: as above.
            unsafe { NmrWaitForClientDeregisterComplete(nmr) };
        }
        self.state.lock().attached = false;
        self.deregistered.set();
    }

    pub(crate) fn state(&self, status: NTSTATUS) -> ClientState {
        let state = self.state.lock();
        ClientState {
            status,
            attached: u32::from(state.attached),
            detach_asked: u32::from(state.detach != Detach::NotAsked),
            cleaned_up: u32::from(state.cleaned_up),
            offered: state.offered,
            sockets: state.sockets,
        }
    }

    fn log(&self, happening: Happening, value: u64, status: NTSTATUS, module: &[u8; 16]) {
        let mut event = Event {
            happening: happening as u32,
            client: self.id.load(Ordering::Relaxed),
            value,
            status,
            irql: u32::from(ke::irql()),
            data_length: 16,
            ..Event::default()
        };
        event
            .data
            .iter_mut()
            .zip(module)
            .for_each(|(place, byte)| *place = *byte);
        self.session.log.write(event);
    }

    fn wants(&self, module: &[u8; 16]) -> bool {
        let same = *module == self.wish.provider_module;
        match Choice::from_u32(self.wish.choice).unwrap_or(Choice::Any) {
            Choice::Any => true,
            Choice::Only => same,
            Choice::Except => !same,
            Choice::None => false,
        }
    }

    fn offered(&self, nmr_binding: HANDLE, module: &[u8; 16]) -> NTSTATUS {
        let mut state = self.state.lock();
        state.offered = state.offered.saturating_add(1);
        let taken = state.attached;
        drop(state);
        if taken || !self.wants(module) {
            return STATUS_NOINTERFACE;
        }
        let (mut provider, mut dispatch) = (null_mut(), core::ptr::null());
        // SAFETY: called inside the attach callback; context and dispatch are resident while attached.
        let status = unsafe {
            NmrClientAttachProvider(
                nmr_binding,
                self.address(),
                self.dispatch_address(),
                &raw mut provider,
                &raw mut dispatch,
            )
        };
        let mut state = self.state.lock();
        state.attach_status = status;
        if status >= 0 {
            state.binding = nmr_binding;
            state.wsk_client = provider;
            state.dispatch = dispatch.cast();
            state.provider_module = *module;
            state.detach = Detach::NotAsked;
            state.cleaned_up = false;
            state.attached = true;
            drop(state);
            self.attached.set();
        }
        status
    }
}

unsafe extern "system" fn attach_provider(
    binding: HANDLE,
    context: *mut c_void,
    provider: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR hands back the context of a registered client.
    let client = unsafe { Shared::<Client>::from_address(context) };
    // SAFETY: the instance is valid for the call.
    let id = unsafe { (*provider).ModuleId };
    // SAFETY: the module id is resident while the module is registered.
    let id = unsafe { id.as_ref() };
    // SAFETY: every module id of this NPI is a GUID; of a LUID the rest would be zero.
    let module = id.map_or([0; 16], |id| guid_bytes(unsafe { &id.Value.Guid }));
    let status = client.offered(binding, &module);
    client.log(Happening::Offered, u64::from(status >= 0), status, &module);
    status
}

unsafe extern "system" fn detach_provider(context: *mut c_void) -> NTSTATUS {
    // SAFETY: NMR hands back the binding context of a registered client.
    let client = unsafe { Shared::<Client>::from_address(context) };
    let mut state = client.state.lock();
    let at_once = match OnDetach::from_u32(client.wish.on_detach).unwrap_or(OnDetach::WhenIdle) {
        OnDetach::WhenIdle => state.sockets == 0,
        OnDetach::AtOnce => true,
        OnDetach::WhenTold => state.deregistering,
    };
    state.detach = if at_once { Detach::Completed } else { Detach::Pending };
    state.attached = !at_once;
    let module = state.provider_module;
    drop(state);
    client.log(Happening::DetachAsked, 0, 0, &module);
    if at_once { STATUS_SUCCESS } else { STATUS_PENDING }
}

unsafe extern "system" fn cleanup_binding(context: *mut c_void) {
    // SAFETY: NMR hands back the binding context of a registered client.
    let client = unsafe { Shared::<Client>::from_address(context) };
    client.attached.clear();
    let mut state = client.state.lock();
    state.cleaned_up = true;
    state.attached = false;
    state.detach = Detach::Completed;
    let module = state.provider_module;
    drop(state);
    client.log(Happening::CleanedUp, 0, 0, &module);
}

unsafe extern "system" fn client_event(context: *mut c_void, kind: u32, _: *mut c_void, _: usize) -> NTSTATUS {
    // SAFETY: the provider hands back the context of a registered client.
    let client = unsafe { Shared::<Client>::from_address(context) };
    client.log(Happening::Client, u64::from(kind), 0, &[0; 16]);
    STATUS_SUCCESS
}

//! A client driver that attached: its identity, its binding below, and what it holds.
//!
//! A client lives from NMR's attach to NMR's cleanup. Between, it is held by its attachment and by each of its endpoints; when the
//! last hold goes, a work item takes the lower binding down and lets NMR finish the upper one.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wdk_sys::{
    _WORK_QUEUE_TYPE, DEVICE_OBJECT, NTSTATUS, PIO_WORKITEM, STATUS_DEVICE_NOT_READY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};
use wsk_sys::{
    HANDLE, NmrDeregisterClient, NmrProviderDetachClientComplete, NmrRegisterClient,
    NmrWaitForClientDeregisterComplete, PWSK_CLIENT, SIZE_T, ULONG, WSK_CLIENT_DISPATCH, WSK_EVENT_CALLBACK_CONTROL,
    WSK_PROVIDER_DISPATCH, WSK_SET_STATIC_EVENT_CALLBACKS,
};
use wskguard_core::{
    counters::Counter,
    policy::{ClientKey, ImageName},
};

use crate::guard::{self, TAG_CLIENT, guard};
use crate::{images, upper};

/// The binding above, as NMR described it.
#[derive(Clone, Copy)]
pub struct Upper {
    pub binding: HANDLE,
    pub context: *mut c_void,
    pub dispatch: *const WSK_CLIENT_DISPATCH,
}

/// An attached client. Its address is the `PWSK_CLIENT` that it holds.
pub struct Client {
    /// The provider's name for this client, and its table. Written once, before the client is handed out.
    below: AtomicPtr<c_void>,
    below_dispatch: AtomicPtr<WSK_PROVIDER_DISPATCH>,
    /// 1 for the attachment, 1 for each endpoint.
    holds: AtomicU32,
    id: u32,
    upper: Upper,
    /// What the provider below is given: the client's version, our event callback.
    dispatch: WSK_CLIENT_DISPATCH,
    /// What the client is given.
    provider: WSK_PROVIDER_DISPATCH,
    registration_below: AtomicPtr<c_void>,
    detach_work: PIO_WORKITEM,
    /// Events enabled for all its sockets (`WSK_SET_STATIC_EVENT_CALLBACKS`).
    static_events: AtomicU32,
    module_id: [u8; 16],
    image: ImageName,
    attached: u64,
    /// Next in the list of clients, under its lock.
    next: AtomicPtr<Client>,
}

// SAFETY: what changes is atomic; the raw pointers are addresses of resident objects of other modules.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Binds a new client below and lists it. `PASSIVE_LEVEL`.
    ///
    /// `STATUS_NOINTERFACE` while the driver drains, and when there is no provider below.
    pub fn attach(upper: Upper, module_id: [u8; 16]) -> Result<NonNull<Self>, NTSTATUS> {
        let guard = guard();
        let id = guard.clients.lock().admit().ok_or(STATUS_NOINTERFACE)?;
        let attached = Self::create(id, upper, module_id).and_then(|client| {
            // SAFETY: just created, and ours until it is handed out.
            match unsafe { client.as_ref() }.register_below() {
                Ok(()) => Ok(client),
                Err(status) => {
                    // SAFETY: never handed out.
                    unsafe { Self::destroy(client) };
                    Err(status)
                }
            }
        });
        match attached {
            Ok(client) => {
                // SAFETY: alive until its cleanup, which unlists it.
                unsafe { guard.clients.lock().list(client) };
                guard.count(Counter::ClientsAttached);
                Ok(client)
            }
            Err(status) => {
                guard.clients.lock().dismiss();
                Err(status)
            }
        }
    }

    fn create(id: u32, upper: Upper, module_id: [u8; 16]) -> Result<NonNull<Self>, NTSTATUS> {
        // SAFETY: the device lives as long as the driver is loaded.
        let detach_work = unsafe { IoAllocateWorkItem(guard().device) };
        if detach_work.is_null() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        // SAFETY: NMR vouches for the client's dispatch while it is attached.
        let version = unsafe { (*upper.dispatch).Version };
        // SAFETY: as above.
        let event =
            unsafe { (*upper.dispatch).WskClientEvent }.map_or(core::ptr::null(), |event| event as *const c_void);
        let client = Self {
            below: AtomicPtr::new(core::ptr::null_mut()),
            below_dispatch: AtomicPtr::new(core::ptr::null_mut()),
            holds: AtomicU32::new(1),
            id,
            upper,
            dispatch: WSK_CLIENT_DISPATCH {
                Version: version,
                Reserved: 0,
                WskClientEvent: Some(client_event),
            },
            provider: upper::provider_dispatch(version),
            registration_below: AtomicPtr::new(core::ptr::null_mut()),
            detach_work,
            static_events: AtomicU32::new(0),
            module_id,
            image: images::name_of(&[upper.dispatch.cast(), event, upper.context.cast_const()]),
            attached: guard::system_time(),
            next: AtomicPtr::new(core::ptr::null_mut()),
        };
        NonpagedBox::<_, TAG_CLIENT>::try_new(client)
            .map(NonpagedBox::into_raw)
            .map_err(|_| {
                // SAFETY: allocated above, never queued.
                unsafe { IoFreeWorkItem(detach_work) };
                STATUS_INSUFFICIENT_RESOURCES
            })
    }

    /// Frees a client that NMR does not know, or no longer knows.
    unsafe fn destroy(client: NonNull<Self>) {
        // SAFETY: made by `create`, and the caller holds the only pointer.
        let client = unsafe { NonpagedBox::<Self, TAG_CLIENT>::from_raw(client) };
        if !client.detach_work.is_null() {
            // SAFETY: not queued: `detach` frees it itself, and clears the field.
            unsafe { IoFreeWorkItem(client.detach_work) };
        }
    }

    /// NMR's cleanup: the last anybody hears of this client.
    ///
    /// # Safety
    /// Called once, when neither side uses the binding any more.
    pub unsafe fn free(client: NonNull<Self>) {
        let guard = guard();
        guard.count(Counter::ClientsDetached);
        // SAFETY: listed by `attach`.
        unsafe { guard.clients.lock().unlist(client) };
        // SAFETY: as the caller promises. The work item was freed when it ran.
        drop(unsafe { NonpagedBox::<Self, TAG_CLIENT>::from_raw(client) });
        guard.clients.lock().dismiss();
    }

    fn register_below(&self) -> Result<(), NTSTATUS> {
        let mut handle = core::ptr::null_mut();
        let context = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the characteristics are static, and this client outlives its registration.
        let status = unsafe { NmrRegisterClient(&raw const crate::nmr::LOWER.0, context, &raw mut handle) };
        if status < 0 {
            return Err(status);
        }
        self.registration_below.store(handle, Ordering::Release);
        if self.below_dispatch.load(Ordering::Acquire).is_null() {
            self.deregister_below();
            return Err(STATUS_NOINTERFACE);
        }
        Ok(())
    }

    fn deregister_below(&self) {
        let handle = self.registration_below.load(Ordering::Acquire);
        // SAFETY: the handle is of a registration that is taken back once.
        if unsafe { NmrDeregisterClient(handle) } == STATUS_PENDING {
            // SAFETY: as above, at PASSIVE_LEVEL.
            let _ = unsafe { NmrWaitForClientDeregisterComplete(handle) };
        }
    }

    /// A provider below is offered: binds to it with `attach`, unless one is bound. Inside NMR's attach callback.
    pub fn bind_below(
        &self,
        attach: impl FnOnce(*const WSK_CLIENT_DISPATCH) -> Result<(PWSK_CLIENT, *const WSK_PROVIDER_DISPATCH), NTSTATUS>,
    ) -> NTSTATUS {
        if !self.below_dispatch.load(Ordering::Acquire).is_null() {
            return STATUS_NOINTERFACE;
        }
        match attach(&raw const self.dispatch) {
            Ok((client, dispatch)) => {
                self.below.store(client, Ordering::Release);
                self.below_dispatch.store(dispatch.cast_mut(), Ordering::Release);
                STATUS_SUCCESS
            }
            Err(status) => status,
        }
    }

    /// The provider below detaches. After our own deregistration nothing is left to do; sockets are gone by then.
    pub fn lose_provider(&self) {
        self.below_dispatch.store(core::ptr::null_mut(), Ordering::Release);
    }

    /// The provider below: its name for this client, and its functions.
    ///
    /// # Errors
    /// `STATUS_DEVICE_NOT_READY` once it has gone.
    pub fn lower(&self) -> Result<(PWSK_CLIENT, &'static WSK_PROVIDER_DISPATCH), NTSTATUS> {
        let dispatch = self.below_dispatch.load(Ordering::Acquire);
        // SAFETY: resident while bound; the binding lasts as long as a client may call.
        let dispatch = unsafe { dispatch.as_ref() }.ok_or(STATUS_DEVICE_NOT_READY)?;
        Ok((self.below.load(Ordering::Relaxed), dispatch))
    }

    /// The table that the client calls.
    pub fn provider_dispatch(&self) -> &WSK_PROVIDER_DISPATCH {
        &self.provider
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn key(&self) -> ClientKey<'_> {
        ClientKey::new(self.image.as_bytes(), self.module_id)
    }

    /// The events that a `WskControlClient` request enables for all sockets, if it is such a request.
    ///
    /// # Safety
    /// `input` is NULL or has `size` bytes.
    pub unsafe fn static_events_in(code: u32, size: usize, input: *const c_void) -> Option<u32> {
        if code != WSK_SET_STATIC_EVENT_CALLBACKS || size < size_of::<WSK_EVENT_CALLBACK_CONTROL>() || input.is_null() {
            return None;
        }
        // SAFETY: long enough, as the caller promises.
        Some(unsafe { input.cast::<WSK_EVENT_CALLBACK_CONTROL>().read_unaligned() }.EventMask)
    }

    pub fn add_static_events(&self, events: u32) {
        self.static_events.fetch_or(events, Ordering::Relaxed);
    }

    pub fn static_events(&self) -> u32 {
        self.static_events.load(Ordering::Relaxed)
    }

    /// Endpoints that hold this client.
    pub fn endpoints(&self) -> u32 {
        self.holds.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub fn info(&self) -> wskguard_abi::ClientInfo {
        let mut image = [0; 64];
        let mut image_length = 0_u32;
        for (to, from) in image.iter_mut().zip(self.image.as_bytes()) {
            *to = *from;
            image_length = image_length.saturating_add(1);
        }
        wskguard_abi::ClientInfo {
            id: self.id,
            version: self.dispatch.Version,
            flags: wskguard_abi::client_flags::OWN_NPI,
            module_id: self.module_id,
            attached: self.attached,
            endpoints: self.endpoints(),
            image_length,
            image,
        }
    }

    /// One more endpoint.
    pub fn hold(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// The attachment ends. NMR gets its answer when the last endpoint is gone.
    pub fn detach(&self) {
        self.release();
    }

    /// One hold less. <= `DISPATCH_LEVEL`.
    pub fn release(&self) {
        if self.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (work, context) = (self.detach_work, core::ptr::from_ref(self).cast_mut().cast());
            let queue = _WORK_QUEUE_TYPE::DelayedWorkQueue;
            // SAFETY: allocated with the client, queued once: holds never grow again from zero.
            unsafe { IoQueueWorkItem(work, Some(finish_detach), queue, context) };
        }
    }
}

/// Work item: nothing uses the client any more; takes the lower binding down, then the upper one. `PASSIVE_LEVEL`.
unsafe extern "C" fn finish_detach(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the context is the client, which NMR's cleanup frees, after the call at the end.
    let Some(client) = (unsafe { context.cast::<Client>().as_ref() }) else {
        return;
    };
    client.deregister_below();
    let binding = client.upper.binding;
    // SAFETY: a work item may free itself from its routine; the device is kept until the routine returns.
    unsafe { IoFreeWorkItem(client.detach_work) };
    // SAFETY: answers the STATUS_PENDING of our detach callback, once. The client may be freed inside.
    unsafe { NmrProviderDetachClientComplete(binding) };
}

/// `WskClientEvent`: no events are defined; whatever comes is the client's.
unsafe extern "system" fn client_event(
    context: *mut c_void,
    event: ULONG,
    information: *mut c_void,
    length: SIZE_T,
) -> NTSTATUS {
    // SAFETY: the provider calls with the context it was attached with, which is the client, while it is bound.
    let Some(client) = (unsafe { context.cast::<Client>().as_ref() }) else {
        return STATUS_SUCCESS;
    };
    // SAFETY: the client's dispatch is resident while it is attached.
    match unsafe { (*client.upper.dispatch).WskClientEvent } {
        // SAFETY: the client's own function, with its own context.
        Some(event_of_client) => unsafe { event_of_client(client.upper.context, event, information, length) },
        None => STATUS_SUCCESS,
    }
}

/// Which clients there are, and whether more may come. Under [`guard::Guard::clients`].
pub struct Clients {
    head: *mut Client,
    /// Attached, or attaching.
    count: u32,
    next_id: u32,
    draining: bool,
}

// SAFETY: the pointers are to clients, which any thread may use.
unsafe impl Send for Clients {}

impl Clients {
    pub const fn new() -> Self {
        Self {
            head: core::ptr::null_mut(),
            count: 0,
            next_id: 1,
            draining: false,
        }
    }

    /// A new client's id; none while draining.
    fn admit(&mut self) -> Option<u32> {
        if self.draining {
            return None;
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1)?;
        self.count = self.count.checked_add(1)?;
        Some(id)
    }

    /// One client less. The driver may go once the last is gone and no new one is let in.
    fn dismiss(&mut self) {
        self.count = self.count.saturating_sub(1);
        self.update_unload();
    }

    /// Begins or ends draining. Returns whether the driver can be stopped now.
    pub fn drain(&mut self, begin: bool) -> bool {
        self.draining = begin;
        self.update_unload();
        self.drained()
    }

    pub fn draining(&self) -> bool {
        self.draining
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    fn drained(&self) -> bool {
        self.draining && self.count == 0
    }

    /// A stop succeeds only while nobody is attached and nobody can attach: both change under this lock.
    fn update_unload(&self) {
        guard().allow_unload(self.drained());
    }

    /// # Safety
    /// The client stays valid until it is unlisted.
    unsafe fn list(&mut self, client: NonNull<Client>) {
        // SAFETY: as the caller promises.
        unsafe { client.as_ref() }.next.store(self.head, Ordering::Relaxed);
        self.head = client.as_ptr();
    }

    /// # Safety
    /// The client is listed.
    unsafe fn unlist(&mut self, client: NonNull<Client>) {
        // SAFETY: listed, so valid.
        let next = unsafe { client.as_ref() }.next.load(Ordering::Relaxed);
        if self.head == client.as_ptr() {
            self.head = next;
            return;
        }
        for other in self.iter() {
            if other.next.load(Ordering::Relaxed) == client.as_ptr() {
                other.next.store(next, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        // SAFETY: listed clients are valid while the lock is held, which borrowing `self` shows.
        let first = unsafe { self.head.as_ref() };
        // SAFETY: as above.
        core::iter::successors(first, |client| unsafe { client.next.load(Ordering::Relaxed).as_ref() })
    }
}

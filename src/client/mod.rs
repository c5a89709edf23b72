//! A client driver that attached: its identity, its binding below, and what it holds.
//!
//! A client lives from NMR's attach to NMR's cleanup. Between, it is held by its attachment and by each of its endpoints; when the
//! last hold goes, a work item takes the lower binding down and lets NMR finish the upper one.

mod below;
mod list;

pub use list::Clients;

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wdk_sys::{
    _WORK_QUEUE_TYPE, DEVICE_OBJECT, NTSTATUS, PIO_WORKITEM, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOINTERFACE,
    STATUS_SUCCESS,
    ntddk::{IoAllocateWorkItem, IoFreeWorkItem, IoQueueWorkItem},
};
use wsk_sys::{
    HANDLE, NmrProviderDetachClientComplete, SIZE_T, ULONG, WSK_CLIENT_DISPATCH, WSK_EVENT_CALLBACK_CONTROL,
    WSK_PROVIDER_DISPATCH, WSK_SET_STATIC_EVENT_CALLBACKS,
};
use wskguard_abi::{ClientInfo, client_flags};
use wskguard_core::{
    audit::Happened,
    counters::Counter,
    policy::{ClientKey, ImageName},
};

use crate::guard::{self, TAG_CLIENT, guard};
use crate::{audit, images, upper};

/// At which NPI a client attached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// wskguard's own.
    Own,
    /// The system's, in transparent mode.
    Transparent,
}

impl Edge {
    const fn flag(self) -> u16 {
        match self {
            Self::Own => client_flags::OWN_NPI,
            Self::Transparent => client_flags::TRANSPARENT,
        }
    }
}

/// The binding above, as NMR described it.
#[derive(Clone, Copy)]
pub struct Upper {
    pub edge: Edge,
    pub binding: HANDLE,
    pub context: *mut c_void,
    pub dispatch: *const WSK_CLIENT_DISPATCH,
}

/// An attached client. Its address is the `PWSK_CLIENT` that it holds.
pub struct Client {
    /// The provider's name for this client, and its table: NULL while there is none. Read by every call.
    below: AtomicPtr<c_void>,
    below_dispatch: AtomicPtr<WSK_PROVIDER_DISPATCH>,
    below_binding: AtomicPtr<c_void>,
    counts: Counts,
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

/// What every create and close writes, away from what every call reads.
#[repr(align(64))]
struct Counts {
    /// 1 for the attachment, 1 for each endpoint.
    holds: AtomicU32,
    /// Of the provider below: 1 for the binding, 1 for each endpoint and for each call of its dispatch table.
    below: AtomicU32,
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
                // SAFETY: as above.
                audit::client(unsafe { client.as_ref() }, Happened::ClientAttached);
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
            below_binding: AtomicPtr::new(core::ptr::null_mut()),
            counts: Counts {
                holds: AtomicU32::new(1),
                below: AtomicU32::new(0),
            },
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
        // SAFETY: alive until the end of this function.
        audit::client(unsafe { client.as_ref() }, Happened::ClientDetached);
        // SAFETY: listed by `attach`.
        unsafe { guard.clients.lock().unlist(client) };
        // SAFETY: as the caller promises. The work item was freed when it ran.
        drop(unsafe { NonpagedBox::<Self, TAG_CLIENT>::from_raw(client) });
        guard.clients.lock().dismiss();
    }

    /// The table that the client calls.
    pub fn provider_dispatch(&self) -> &WSK_PROVIDER_DISPATCH {
        &self.provider
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn key(&self) -> ClientKey<'_> {
        ClientKey::of(&self.image, self.module_id)
    }

    /// File name of its driver, where it is known.
    pub fn image(&self) -> &[u8] {
        self.image.as_bytes()
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
        self.counts.holds.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub fn info(&self) -> ClientInfo {
        ClientInfo {
            id: self.id,
            version: self.dispatch.Version,
            flags: self.upper.edge.flag(),
            module_id: self.module_id,
            attached: self.attached,
            endpoints: self.endpoints(),
            ..client_info(&self.image)
        }
    }

    /// One more endpoint.
    pub fn hold(&self) {
        self.counts.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// The attachment ends. NMR gets its answer when the last endpoint is gone.
    pub fn detach(&self) {
        self.release();
    }

    /// One hold less. <= `DISPATCH_LEVEL`.
    pub fn release(&self) {
        if self.counts.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (work, context) = (self.detach_work, core::ptr::from_ref(self).cast_mut().cast());
            let queue = _WORK_QUEUE_TYPE::DelayedWorkQueue;
            // SAFETY: allocated with the client, queued once: holds never grow again from zero.
            unsafe { IoQueueWorkItem(work, Some(finish_detach), queue, context) };
        }
    }
}

/// What is told of a client, with its image and nothing else.
pub fn client_info(image: &ImageName) -> ClientInfo {
    let mut info = ClientInfo {
        id: 0,
        version: 0,
        flags: 0,
        module_id: [0; 16],
        attached: 0,
        endpoints: 0,
        image_length: 0,
        image: [0; 64],
    };
    for (to, from) in info.image.iter_mut().zip(image.as_bytes()) {
        *to = *from;
        info.image_length = info.image_length.saturating_add(1);
    }
    info
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

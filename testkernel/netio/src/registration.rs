//! The WSK registration library: `WskRegister` and its companions, as a client module of NMR inside netio.sys.
//!
//! Which provider a registration binds to when several offer the WSK NPI is not documented, so it can be chosen here, for
//! registrations to come. A registration binds once; when its provider goes, it stays without one.

mod exports;

use alloc::sync::Arc;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::netio::Choice;
use wsk_sys::{
    GUID, HANDLE, MIT_GUID, NPI_CLIENT_CHARACTERISTICS, NPI_MODULEID, NPI_MODULEID_VALUE, NPI_REGISTRATION_INSTANCE,
    NPI_WSK_INTERFACE_ID, WSK_CLIENT_DISPATCH, WSK_CLIENT_NPI, WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_DISPATCH,
    WSK_PROVIDER_NPI,
};

use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS, is_success,
};
use crate::sync::{self, Condvar, Mutex};
use crate::{nmr, provider};

static CHOICE: AtomicU32 = AtomicU32::new(Choice::First as u32);

/// Chooses for registrations to come.
pub(crate) fn set_choice(choice: Choice) {
    CHOICE.store(choice as u32, Ordering::Relaxed);
}

static NPI: GUID = NPI_WSK_INTERFACE_ID;

/// The module id under which every registration is a client of NMR.
static MODULE: NPI_MODULEID = NPI_MODULEID {
    Length: nmr::size::<NPI_MODULEID>(),
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE {
        Guid: GUID {
            Data1: 0x5F1C_0B5A,
            Data2: 0x7D20,
            Data3: 0x4B0E,
            Data4: [0x9C, 0x31, 0x57, 0x53, 0x4B, 0x52, 0x45, 0x47],
        },
    },
};

/// A provider that a registration is attached to.
#[derive(Clone, Copy)]
struct Attachment {
    binding: HANDLE,
    npi: WSK_PROVIDER_NPI,
    characteristics: WSK_PROVIDER_CHARACTERISTICS,
}

#[derive(Default)]
struct State {
    attachment: Option<Attachment>,
    /// A provider refused the client's version.
    refused: bool,
    /// Successful captures not yet released.
    captures: usize,
    /// NMR waits for `NmrClientDetachProviderComplete`.
    detaching: bool,
    deregistering: bool,
}

/// One `WskRegister`.
struct Registration {
    client: WSK_CLIENT_NPI,
    characteristics: NPI_CLIENT_CHARACTERISTICS,
    handle: Mutex<HANDLE>,
    state: Mutex<State>,
    changed: Condvar,
}

// SAFETY: the pointers inside are the client's, handed on and compared, and read only as long as the client promises.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    fn new(client: WSK_CLIENT_NPI) -> Arc<Self> {
        let characteristics = NPI_CLIENT_CHARACTERISTICS {
            Version: 0,
            Length: nmr::size::<NPI_CLIENT_CHARACTERISTICS>(),
            ClientAttachProvider: Some(attach_provider),
            ClientDetachProvider: Some(detach_provider),
            ClientCleanupBindingContext: Some(cleanup),
            ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
                Version: 0,
                Size: nmr::size::<NPI_REGISTRATION_INSTANCE>(),
                NpiId: &raw const NPI,
                ModuleId: &raw const MODULE,
                Number: 0,
                NpiSpecificCharacteristics: core::ptr::null(),
            },
        };
        Arc::new(Self {
            client,
            characteristics,
            handle: Mutex::new(core::ptr::null_mut()),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn register(self: &Arc<Self>) -> NTSTATUS {
        let mut handle = core::ptr::null_mut();
        let context = Arc::as_ptr(self).cast_mut().cast::<c_void>();
        // SAFETY: the characteristics live in the registration, which `WskDeregister` frees after NMR has let go of it.
        let status = unsafe { nmr::register_client(&raw const self.characteristics, context, &raw mut handle) };
        *self.handle.lock() = handle;
        status
    }

    /// Waits up to `milliseconds` for a provider, and counts a capture of it.
    fn capture(&self, milliseconds: u32) -> Result<WSK_PROVIDER_NPI, NTSTATUS> {
        let deadline = sync::now().saturating_add(u64::from(milliseconds));
        let mut state = self.state.lock();
        loop {
            if state.deregistering {
                return Err(STATUS_DEVICE_NOT_READY);
            }
            if let Some(attachment) = state.attachment.filter(|_| !state.detaching) {
                state.captures += 1;
                return Ok(attachment.npi);
            }
            if state.refused {
                return Err(STATUS_NOINTERFACE);
            }
            let left = deadline.saturating_sub(sync::now());
            if milliseconds != sync::FOREVER && left == 0 {
                return Err(STATUS_DEVICE_NOT_READY);
            }
            let wait = if milliseconds == sync::FOREVER {
                sync::FOREVER
            } else {
                u32::try_from(left).unwrap_or(0)
            };
            self.changed.wait(&mut state, wait);
        }
    }

    fn release(&self) {
        let complete = {
            let mut state = self.state.lock();
            if state.captures == 0 {
                drop(state);
                misuse!("WskReleaseProviderNPI without a capture");
                return;
            }
            state.captures -= 1;
            let last = state.captures == 0;
            self.changed.wake_all();
            if last && state.detaching {
                state.attachment.take()
            } else {
                None
            }
        };
        if let Some(attachment) = complete {
            nmr::client_detached(attachment.binding);
        }
    }

    fn deregister(&self) {
        {
            let mut state = self.state.lock();
            state.deregistering = true;
            self.changed.wake_all();
        }
        let handle = *self.handle.lock();
        nmr::deregister(handle, nmr::Side::Client);
        nmr::wait(handle, nmr::Side::Client);
        let mut state = self.state.lock();
        while state.captures != 0 {
            self.changed.wait(&mut state, sync::FOREVER);
        }
    }

    /// Takes the offered provider, or declines it.
    fn offered(&self, binding: HANDLE, instance: *const NPI_REGISTRATION_INSTANCE) -> NTSTATUS {
        let choice = CHOICE.load(Ordering::Relaxed);
        let wanted = if choice == Choice::Last as u32 {
            nmr::is_newest_provider(&NPI, instance)
        } else if choice == Choice::System as u32 {
            provider::is_own_instance(instance)
        } else {
            true
        };
        if !wanted || self.state.lock().attachment.is_some() {
            return STATUS_NOINTERFACE;
        }
        let context = core::ptr::from_ref(self).cast_mut().cast::<c_void>();
        let mut client = core::ptr::null_mut();
        let mut dispatch = core::ptr::null();
        // SAFETY: the out parameters are ours; context and client dispatch stay valid while attached.
        let status = unsafe {
            let own = self.client.Dispatch.cast::<c_void>();
            nmr::attach_client(binding, context, own, &raw mut client, &raw mut dispatch)
        };
        let mut state = self.state.lock();
        if is_success(status) {
            // SAFETY: the NPI says what the characteristics are; NULL is looked for.
            let characteristics = unsafe {
                let characteristics = (*instance)
                    .NpiSpecificCharacteristics
                    .cast::<WSK_PROVIDER_CHARACTERISTICS>();
                characteristics.as_ref().copied().unwrap_or_default()
            };
            let npi = WSK_PROVIDER_NPI {
                Client: client,
                Dispatch: dispatch.cast::<WSK_PROVIDER_DISPATCH>(),
            };
            state.attachment = Some(Attachment {
                binding,
                npi,
                characteristics,
            });
        } else if status == STATUS_NOINTERFACE {
            state.refused = true;
        }
        self.changed.wake_all();
        status
    }
}

/// # Safety
/// NMR calls it with a live registration.
unsafe extern "system" fn attach_provider(
    binding: HANDLE,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: the context is what `register` gave.
    unsafe { (*context.cast::<Registration>()).offered(binding, instance) }
}

/// # Safety
/// NMR calls it with the context of an attached registration.
unsafe extern "system" fn detach_provider(context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is what `offered` gave.
    let registration = unsafe { &*context.cast::<Registration>() };
    let mut state = registration.state.lock();
    state.detaching = true;
    if state.captures != 0 {
        return STATUS_PENDING;
    }
    state.attachment = None;
    STATUS_SUCCESS
}

/// # Safety
/// NMR calls it with the context of a detached registration.
unsafe extern "system" fn cleanup(context: *mut c_void) {
    // SAFETY: the context is what `offered` gave.
    let registration = unsafe { &*context.cast::<Registration>() };
    registration.state.lock().detaching = false;
}

fn version_of(dispatch: *const WSK_CLIENT_DISPATCH) -> Option<u16> {
    // SAFETY: the client's dispatch table is resident while registered; NULL is looked for.
    unsafe { dispatch.as_ref() }.map(|dispatch| dispatch.Version)
}

//! One `WskRegister`: which provider it is bound to, who has captured it, and when to stop waiting for wskguard.
//!
//! A registration is bound to one provider at a time, the first that lets it attach. Callers are counted, so that the end of a
//! registration can wait for them. IRQL <= `DISPATCH_LEVEL` where a function does not say otherwise.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use wdk_rtl::lock::SpinLock;
use wdk_sys::{NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, NmrClientAttachProvider, NmrClientDetachProviderComplete, NmrDeregisterClient, NmrRegisterClient,
    NmrWaitForClientDeregisterComplete, SIZE_T, ULONG, WSK_CLIENT_DISPATCH, WSK_CLIENT_NPI, WSK_INFINITE_WAIT,
    WSK_PROVIDER_CHARACTERISTICS, WSK_PROVIDER_NPI,
};

use crate::binding::{self, client_event};
use crate::ke::{self, Event, Kind};
use crate::notice::Notice;

/// Longest time, in milliseconds after `WskRegister`, for which a fail-open client is kept waiting for wskguard.
pub const FALLBACK_WAIT_MS: u32 = 2000;

const FAIL_OPEN: bool = cfg!(feature = "fail-open");

/// At which NPI a client module is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// wskguard's.
    Guard,
    /// The system's.
    System,
}

/// A provider that the registration is attached to.
#[derive(Clone, Copy)]
struct Bound {
    binding: HANDLE,
    npi: WSK_PROVIDER_NPI,
}

struct State {
    bound: Option<Bound>,
    /// Of the provider that was offered last.
    versions: Option<WSK_PROVIDER_CHARACTERISTICS>,
    /// A provider refused to be attached, and none has been attached since.
    refused: bool,
    /// Successful captures that were not released.
    captures: u32,
    /// NMR waits for `NmrClientDetachProviderComplete`.
    detaching: bool,
    /// The fallback has been begun; it is begun once.
    fallen_back: bool,
    /// `WskDeregister` has been called.
    closed: bool,
    /// Callers inside a capture.
    inside: u32,
}

// SAFETY: handles and addresses of the provider's, which any thread may use.
unsafe impl Send for State {}

/// What the registration of the system's side and of the notice needs. Touched by the one caller that falls back and, after all
/// callers have left, by `deregister`.
struct Fallback {
    system: HANDLE,
    notice: Notice,
}

/// See the module.
pub(crate) struct Registration {
    client: WSK_CLIENT_NPI,
    /// What a provider is given: the client's version, our event callback.
    dispatch: WSK_CLIENT_DISPATCH,
    state: SpinLock<State>,
    /// Set when there is something to look at: a provider, a refusal, the end.
    changed: Event,
    /// Set when the last caller has left after the end began.
    left: Event,
    /// One attach at a time: the second is declined only if the first succeeded.
    attaching: Event,
    guard: UnsafeCell<HANDLE>,
    fallback: UnsafeCell<Fallback>,
    /// When a fail-open client stops waiting for wskguard.
    patience: u64,
}

// SAFETY: the lock guards the state; `guard` and `fallback` have one user at a time, as said there; the client's pointers are
// handed on and read as wsk.h allows.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// What a caller that wants a provider does next.
enum Next {
    Done(Result<WSK_PROVIDER_NPI, NTSTATUS>),
    FallBack,
    WaitUntil(u64),
}

impl Registration {
    /// A registration at rest, to be moved to its address and initialised there.
    ///
    /// # Safety
    /// The client's dispatch table is valid.
    pub(crate) unsafe fn new(client: &WSK_CLIENT_NPI) -> Self {
        // SAFETY: as the caller promises.
        let dispatch = unsafe { *client.Dispatch };
        let code = dispatch
            .WskClientEvent
            .map_or(client.Dispatch.cast(), |event| event as *const c_void);
        Self {
            client: *client,
            dispatch: WSK_CLIENT_DISPATCH {
                Version: dispatch.Version,
                Reserved: 0,
                // Always one: by its address wskguard knows the client's image.
                WskClientEvent: Some(client_event),
            },
            state: SpinLock::new(State {
                bound: None,
                versions: None,
                refused: false,
                captures: 0,
                detaching: false,
                fallen_back: false,
                closed: false,
                inside: 0,
            }),
            changed: Event::new(),
            left: Event::new(),
            attaching: Event::new(),
            guard: UnsafeCell::new(core::ptr::null_mut()),
            fallback: UnsafeCell::new(Fallback {
                system: core::ptr::null_mut(),
                notice: Notice::new(dispatch.Version, code),
            }),
            patience: ke::now().saturating_add(ke::ticks(FALLBACK_WAIT_MS)),
        }
    }

    /// Once, at the final address.
    pub(crate) fn initialise(&self) {
        self.changed.initialise(Kind::Notification, false);
        self.left.initialise(Kind::Notification, false);
        self.attaching.initialise(Kind::Synchronization, true);
    }

    fn context(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    fn register_at(&self, side: Side) -> Result<HANDLE, NTSTATUS> {
        let mut handle = core::ptr::null_mut();
        // SAFETY: the characteristics are static, and the registration outlives what it registers.
        let status = unsafe { NmrRegisterClient(binding::characteristics(side), self.context(), &raw mut handle) };
        if status < 0 { Err(status) } else { Ok(handle) }
    }

    /// Registers at wskguard's NPI. `PASSIVE_LEVEL`.
    pub(crate) fn register(&self) -> NTSTATUS {
        match self.register_at(Side::Guard) {
            Ok(handle) => {
                // SAFETY: nobody else knows the registration's block yet, and NMR's callbacks do not look here.
                unsafe { *self.guard.get() = handle };
                STATUS_SUCCESS
            }
            Err(status) => status,
        }
    }

    /// NMR offers a provider. `PASSIVE_LEVEL`, inside its attach callback.
    pub(crate) fn offered(
        &self,
        side: Side,
        binding: HANDLE,
        versions: Option<WSK_PROVIDER_CHARACTERISTICS>,
    ) -> NTSTATUS {
        self.attaching.wait();
        let status = self.attach(side, binding, versions);
        self.attaching.set();
        status
    }

    fn attach(&self, side: Side, binding: HANDLE, versions: Option<WSK_PROVIDER_CHARACTERISTICS>) -> NTSTATUS {
        let mut state = self.state.lock();
        // A client that fell back stays where it is: its notice says so.
        let late = side == Side::Guard && state.fallen_back;
        if state.bound.is_some() || state.closed || late {
            return STATUS_NOINTERFACE;
        }
        state.versions = versions.or(state.versions);
        drop(state);
        let (mut client, mut provider) = (core::ptr::null_mut(), core::ptr::null());
        let dispatch = (&raw const self.dispatch).cast();
        // SAFETY: inside ClientAttachProvider; the registration and its dispatch outlive the binding.
        let status =
            unsafe { NmrClientAttachProvider(binding, self.context(), dispatch, &raw mut client, &raw mut provider) };
        let mut state = self.state.lock();
        if status < 0 {
            state.refused = true;
        } else {
            state.refused = false;
            state.bound = Some(Bound {
                binding,
                npi: WSK_PROVIDER_NPI {
                    Client: client,
                    Dispatch: provider.cast(),
                },
            });
        }
        self.changed.set();
        status
    }

    /// NMR takes the provider away: at once, or when the last capture is released.
    pub(crate) fn lose_provider(&self) -> NTSTATUS {
        let mut state = self.state.lock();
        if state.captures > 0 {
            state.detaching = true;
            return STATUS_PENDING;
        }
        state.bound = None;
        STATUS_SUCCESS
    }

    pub(crate) fn versions(&self) -> Option<WSK_PROVIDER_CHARACTERISTICS> {
        self.state.lock().versions
    }

    /// Hands an event on to the client.
    ///
    /// # Safety
    /// The arguments are those of `WskClientEvent`.
    pub(crate) unsafe fn event(&self, event: ULONG, information: *mut c_void, length: SIZE_T) -> NTSTATUS {
        // SAFETY: the client's dispatch table is resident while it is registered.
        match unsafe { (*self.client.Dispatch).WskClientEvent } {
            // SAFETY: the client's own function, with its own context.
            Some(function) => unsafe { function(self.client.ClientContext, event, information, length) },
            None => STATUS_SUCCESS,
        }
    }

    /// A provider, within `timeout` ms. `PASSIVE_LEVEL` unless `timeout` is `WSK_NO_WAIT`.
    ///
    /// # Errors
    /// `STATUS_NOINTERFACE`, `STATUS_DEVICE_NOT_READY`.
    pub(crate) fn capture(&self, timeout: ULONG) -> Result<WSK_PROVIDER_NPI, NTSTATUS> {
        let deadline = if timeout == WSK_INFINITE_WAIT {
            u64::MAX
        } else {
            ke::now().saturating_add(ke::ticks(timeout))
        };
        if !self.enter() {
            return Err(STATUS_DEVICE_NOT_READY);
        }
        let captured = loop {
            match self.next(deadline) {
                Next::Done(result) => break result,
                Next::FallBack => self.fall_back(),
                Next::WaitUntil(u64::MAX) => self.changed.wait(),
                Next::WaitUntil(time) => self.changed.wait_until(time),
            }
        };
        self.leave();
        captured
    }

    fn next(&self, deadline: u64) -> Next {
        let now = ke::now();
        let mut state = self.state.lock();
        if state.closed {
            return Next::Done(Err(STATUS_DEVICE_NOT_READY));
        }
        if let Some(bound) = state.bound.filter(|_| !state.detaching) {
            state.captures = state.captures.saturating_add(1);
            return Next::Done(Ok(bound.npi));
        }
        let patience = deadline.min(self.patience);
        if FAIL_OPEN && !state.fallen_back {
            if !state.refused && now < patience {
                self.changed.clear();
                return Next::WaitUntil(patience);
            }
            drop(state);
            return if ke::is_passive() {
                Next::FallBack
            } else {
                Next::Done(Err(STATUS_DEVICE_NOT_READY))
            };
        }
        if state.refused {
            return Next::Done(Err(STATUS_NOINTERFACE));
        }
        if now >= deadline {
            return Next::Done(Err(STATUS_DEVICE_NOT_READY));
        }
        self.changed.clear();
        Next::WaitUntil(deadline)
    }

    fn enter(&self) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.inside = state.inside.saturating_add(1);
        true
    }

    fn leave(&self) {
        let mut state = self.state.lock();
        state.inside = state.inside.saturating_sub(1);
        if state.closed && state.inside == 0 {
            self.left.set();
        }
    }

    /// Turns to the system's provider, unless one is bound by now or another caller was here. `PASSIVE_LEVEL`.
    fn fall_back(&self) {
        self.attaching.wait();
        let mut state = self.state.lock();
        let begin = state.bound.is_none() && !state.fallen_back;
        state.fallen_back |= begin;
        // What wskguard refused does not count at the system's.
        state.refused &= !begin;
        drop(state);
        self.attaching.set();
        if !begin {
            return;
        }
        let registered = self.register_at(Side::System);
        if registered.is_err() {
            self.state.lock().refused = true;
        }
        // SAFETY: only the one caller that began the fallback comes here, and `deregister` waits until it has left.
        let fallback = unsafe { &mut *self.fallback.get() };
        fallback.system = registered.unwrap_or(core::ptr::null_mut());
        fallback.notice.give(ke::system_time());
    }

    /// One capture less; the last completes a detach that NMR waits for.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.captures = state.captures.saturating_sub(1);
        if state.captures > 0 || !state.detaching {
            return;
        }
        state.detaching = false;
        let bound = state.bound.take();
        drop(state);
        if let Some(bound) = bound {
            // SAFETY: answers the STATUS_PENDING of our detach callback, once. The registration may be gone afterwards.
            unsafe { NmrClientDetachProviderComplete(bound.binding) };
        }
    }

    /// Ends the registration: nobody is inside, and NMR does not know it, when this returns. `PASSIVE_LEVEL`.
    pub(crate) fn deregister(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let callers = state.inside > 0;
        self.changed.set();
        drop(state);
        if callers {
            self.left.wait();
        }
        // The last to leave sets the event with the lock held.
        drop(self.state.lock());
        // SAFETY: every caller has left.
        let guard = unsafe { *self.guard.get() };
        // SAFETY: as above.
        let fallback = unsafe { &mut *self.fallback.get() };
        deregister_client(guard);
        deregister_client(fallback.system);
        fallback.notice.take_back();
        // Likewise the last to release.
        drop(self.state.lock());
    }
}

fn deregister_client(handle: HANDLE) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the handle is of a registration that is taken back once.
    if unsafe { NmrDeregisterClient(handle) } == STATUS_PENDING {
        // SAFETY: as above, at PASSIVE_LEVEL.
        let _ = unsafe { NmrWaitForClientDeregisterComplete(handle) };
    }
}

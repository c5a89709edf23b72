//! The life of a binding: offer, attach, detach, cleanup.

use core::ffi::c_void;

use wsk_sys::HANDLE;

use super::{
    BOOKS, Binding, Books, CHANGED, Characteristics, Detach, Module, Order, Side, State, from_handle, order, to_handle,
};
use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_NOINTERFACE,
    STATUS_PENDING, STATUS_SUCCESS, is_success,
};

impl Binding {
    pub(super) fn involves(&self, module: u64) -> bool {
        self.client == module || self.provider == module
    }

    fn side(&mut self, side: Side) -> &mut Detach {
        match side {
            Side::Client => &mut self.client_detach,
            Side::Provider => &mut self.provider_detach,
        }
    }
}

impl Books {
    fn live(&self, module: u64) -> Option<&Module> {
        self.modules.get(&module).filter(|module| !module.deregistering)
    }
}

/// Offers a provider to a client: `ClientAttachProvider`, once for each pair.
pub(super) fn offer(client: u64, provider: u64) {
    let (id, attach, context, instance) = {
        let mut books = BOOKS.lock();
        let (Some(module), Some(other)) = (books.live(client), books.live(provider)) else {
            return;
        };
        let Characteristics::Client(characteristics) = module.characteristics else {
            return;
        };
        let Some(attach) = characteristics.ClientAttachProvider else {
            return;
        };
        let (context, instance) = (module.context, other.instance);
        if books
            .bindings
            .values()
            .any(|binding| binding.client == client && binding.provider == provider)
        {
            return;
        }
        let id = books.next_id();
        books.bindings.insert(
            id,
            Binding {
                client,
                provider,
                state: State::Attaching { attached: false },
                client_context: core::ptr::null_mut(),
                provider_context: core::ptr::null_mut(),
                client_detach: Detach::NotCalled,
                provider_detach: Detach::NotCalled,
            },
        );
        (id, attach, context, instance)
    };
    // SAFETY: the client registered this function for this call, and its registration cannot end while the binding is there.
    let status = unsafe { attach(to_handle(id), context, instance) };
    offered(id, status);
}

/// `ClientAttachProvider` has returned.
fn offered(id: u64, status: NTSTATUS) {
    let detach_now = {
        let mut books = BOOKS.lock();
        let Some(binding) = books.bindings.get_mut(&id) else {
            return;
        };
        let (client, provider) = (binding.client, binding.provider);
        let State::Attaching { attached } = binding.state else {
            return;
        };
        if attached != is_success(status) {
            misuse!("ClientAttachProvider returned {status:#010x}, but the binding is attached: {attached}");
        }
        if !attached {
            books.bindings.remove(&id);
            CHANGED.wake_all();
            return;
        }
        binding.state = State::Attached;
        books.live(client).is_none() || books.live(provider).is_none()
    };
    if detach_now {
        detach(id);
    }
}

/// `NmrClientAttachProvider`: asks the provider, inside the client's attach call-out.
///
/// # Safety
/// The out parameters can be written; the contexts and dispatch tables stay valid while attached.
pub(crate) unsafe fn attach_client(
    handle: HANDLE,
    client_context: *mut c_void,
    client_dispatch: *const c_void,
    provider_context: *mut *mut c_void,
    provider_dispatch: *mut *const c_void,
) -> NTSTATUS {
    if provider_context.is_null() || provider_dispatch.is_null() {
        misuse!("NmrClientAttachProvider with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    let id = from_handle(handle);
    let (attach, context, instance) = {
        let books = BOOKS.lock();
        let Some(binding) = books.bindings.get(&id) else {
            misuse!("NmrClientAttachProvider with a stale handle");
            return STATUS_INVALID_HANDLE;
        };
        if binding.state != (State::Attaching { attached: false }) {
            misuse!("NmrClientAttachProvider outside ClientAttachProvider, or twice");
            return STATUS_INVALID_DEVICE_STATE;
        }
        let (Some(client), Some(provider)) = (books.live(binding.client), books.live(binding.provider)) else {
            return STATUS_NOINTERFACE;
        };
        let Characteristics::Provider(characteristics) = provider.characteristics else {
            return STATUS_NOINTERFACE;
        };
        let Some(attach) = characteristics.ProviderAttachClient else {
            return STATUS_NOINTERFACE;
        };
        (attach, provider.context, client.instance)
    };
    let mut context_out = core::ptr::null_mut();
    let mut dispatch_out = core::ptr::null();
    // SAFETY: the provider registered this function for this call; its registration cannot end while the binding is there.
    let status = unsafe {
        let (context_out, dispatch_out) = (&raw mut context_out, &raw mut dispatch_out);
        attach(
            handle,
            context,
            instance,
            client_context,
            client_dispatch,
            context_out,
            dispatch_out,
        )
    };
    if status == STATUS_PENDING || (is_success(status) && dispatch_out.is_null()) {
        misuse!("ProviderAttachClient returned {status:#010x} with dispatch {dispatch_out:p}");
    }
    if !is_success(status) {
        return status;
    }
    if let Some(binding) = BOOKS.lock().bindings.get_mut(&id) {
        binding.state = State::Attaching { attached: true };
        binding.client_context = client_context;
        binding.provider_context = context_out;
    }
    // SAFETY: as the caller promises.
    unsafe {
        *provider_context = context_out;
        *provider_dispatch = dispatch_out;
    }
    status
}

/// Starts to detach an attached binding.
pub(super) fn detach(id: u64) {
    match BOOKS.lock().bindings.get_mut(&id) {
        Some(binding) if binding.state == State::Attached => binding.state = State::Detaching,
        _ => return,
    }
    advance(id);
}

pub(crate) fn client_detached(handle: HANDLE) {
    detached(handle, Side::Client);
}

pub(crate) fn provider_detached(handle: HANDLE) {
    detached(handle, Side::Provider);
}

/// `Nmr*Detach*Complete`.
fn detached(handle: HANDLE, side: Side) {
    let id = from_handle(handle);
    {
        let mut books = BOOKS.lock();
        let Some(binding) = books.bindings.get_mut(&id) else {
            misuse!("detach completion of {side:?} with a stale handle");
            return;
        };
        let detach = binding.side(side);
        *detach = match *detach {
            Detach::Calling => Detach::CompletedEarly,
            Detach::Pending => Detach::Done,
            other => {
                misuse!("detach completion of {side:?}, whose detach is {other:?}");
                return;
            }
        };
    }
    advance(id);
}

/// What a binding needs next.
enum Step {
    Detach(Side),
    Clean,
    Nothing,
}

fn next_step(binding: &Binding) -> Step {
    let order = order();
    let (first, second) = match order {
        Order::ClientFirst | Order::ClientThenProvider => (Side::Client, Side::Provider),
        Order::ProviderFirst | Order::ProviderThenClient => (Side::Provider, Side::Client),
    };
    let of = |side| {
        if side == Side::Client {
            binding.client_detach
        } else {
            binding.provider_detach
        }
    };
    let one_by_one = matches!(order, Order::ClientThenProvider | Order::ProviderThenClient);
    match (of(first), of(second)) {
        _ if binding.state != State::Detaching => Step::Nothing,
        (Detach::NotCalled, Detach::NotCalled | Detach::Done) => Step::Detach(first),
        (Detach::Done, Detach::NotCalled) => Step::Detach(second),
        (Detach::Pending, Detach::NotCalled) if !one_by_one => Step::Detach(second),
        (Detach::Done, Detach::Done) => Step::Clean,
        _ => Step::Nothing,
    }
}

/// Takes a detaching binding as far as it goes without waiting.
fn advance(id: u64) {
    loop {
        let mut books = BOOKS.lock();
        let Some(binding) = books.bindings.get_mut(&id) else {
            return;
        };
        match next_step(binding) {
            Step::Nothing => return,
            Step::Detach(side) => {
                *binding.side(side) = Detach::Calling;
                drop(books);
                call_detach(id, side);
            }
            Step::Clean => {
                binding.state = State::Cleaning;
                drop(books);
                clean(id);
                return;
            }
        }
    }
}

fn call_detach(id: u64, side: Side) {
    let (function, context) = {
        let books = BOOKS.lock();
        let Some(binding) = books.bindings.get(&id) else { return };
        let (module, context) = match side {
            Side::Client => (binding.client, binding.client_context),
            Side::Provider => (binding.provider, binding.provider_context),
        };
        let Some(module) = books.modules.get(&module) else {
            return;
        };
        let function = match module.characteristics {
            Characteristics::Client(characteristics) => characteristics.ClientDetachProvider,
            Characteristics::Provider(characteristics) => characteristics.ProviderDetachClient,
        };
        (function, context)
    };
    // SAFETY: the module registered this function for this call and gave this context when it attached.
    let status = function.map_or(STATUS_SUCCESS, |function| unsafe { function(context) });
    let mut books = BOOKS.lock();
    let Some(binding) = books.bindings.get_mut(&id) else {
        return;
    };
    let detach = binding.side(side);
    *detach = match (*detach, status) {
        (Detach::Calling, STATUS_PENDING) => Detach::Pending,
        (Detach::CompletedEarly, STATUS_PENDING) => Detach::Done,
        (before, status) => {
            if before == Detach::CompletedEarly || !is_success(status) {
                misuse!("detach of {side:?} returned {status:#010x} after {before:?}");
            }
            Detach::Done
        }
    };
}

/// Both sides have detached: the cleanup call-outs, and the end of the binding.
fn clean(id: u64) {
    let (client, provider) = {
        let books = BOOKS.lock();
        let Some(binding) = books.bindings.get(&id) else { return };
        let cleanup = |module: u64| {
            books
                .modules
                .get(&module)
                .and_then(|module| match module.characteristics {
                    Characteristics::Client(characteristics) => characteristics.ClientCleanupBindingContext,
                    Characteristics::Provider(characteristics) => characteristics.ProviderCleanupBindingContext,
                })
        };
        (
            (cleanup(binding.client), binding.client_context),
            (cleanup(binding.provider), binding.provider_context),
        )
    };
    for (cleanup, context) in [client, provider] {
        if let Some(cleanup) = cleanup {
            // SAFETY: the module registered this function for this call and gave this context when it attached.
            unsafe { cleanup(context) };
        }
    }
    BOOKS.lock().bindings.remove(&id);
    CHANGED.wake_all();
}

//! Registration and deregistration of modules.

use alloc::vec::Vec;
use core::ffi::c_void;

use wsk_sys::{HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE};

use super::{
    BOOKS, Binding, CHANGED, Characteristics, Module, Side, State, binding, from_handle, same_guid, to_handle,
};
use crate::report::misuse;
use crate::status::{NTSTATUS, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_PENDING, STATUS_SUCCESS};
use crate::sync;

/// Registers a client module; it has been offered every provider when this returns.
///
/// # Safety
/// The characteristics are valid and stay so until deregistered.
pub(crate) unsafe fn register_client(
    characteristics: *const NPI_CLIENT_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    if characteristics.is_null() || handle.is_null() {
        misuse!("NmrRegisterClient with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let copy = unsafe { *characteristics };
    let complete = copy.ClientAttachProvider.is_some() && copy.ClientDetachProvider.is_some();
    if copy.Version != 0 || usize::from(copy.Length) < size_of_val(&copy) || !complete {
        misuse!("NmrRegisterClient with wrong characteristics");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: only an address inside the caller's structure is taken.
    let instance = unsafe { &raw const (*characteristics).ClientRegistrationInstance };
    // SAFETY: as the caller promises.
    unsafe { register(Characteristics::Client(copy), context, instance, handle) }
}

/// Registers a provider module; it has been offered to every client when this returns.
///
/// # Safety
/// The characteristics are valid and stay so until deregistered.
pub(crate) unsafe fn register_provider(
    characteristics: *const NPI_PROVIDER_CHARACTERISTICS,
    context: *mut c_void,
    handle: *mut HANDLE,
) -> NTSTATUS {
    if characteristics.is_null() || handle.is_null() {
        misuse!("NmrRegisterProvider with a NULL pointer");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: as the caller promises.
    let copy = unsafe { *characteristics };
    let complete = copy.ProviderAttachClient.is_some() && copy.ProviderDetachClient.is_some();
    if copy.Version != 0 || usize::from(copy.Length) < size_of_val(&copy) || !complete {
        misuse!("NmrRegisterProvider with wrong characteristics");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: only an address inside the caller's structure is taken.
    let instance = unsafe { &raw const (*characteristics).ProviderRegistrationInstance };
    // SAFETY: as the caller promises.
    unsafe { register(Characteristics::Provider(copy), context, instance, handle) }
}

/// # Safety
/// `instance` is valid and stays so until deregistered; `handle` can be written.
unsafe fn register(
    characteristics: Characteristics,
    context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
    handle: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let given = unsafe { *instance };
    let wrong = given.Version != 0 || usize::from(given.Size) < size_of_val(&given) || given.Number != 0;
    if wrong || given.NpiId.is_null() || given.ModuleId.is_null() {
        misuse!("registration instance with wrong version, size, number or a NULL id");
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the id is valid, as the caller promises.
    let npi = unsafe { *given.NpiId };
    let module = Module {
        characteristics,
        context,
        instance,
        npi,
        deregistering: false,
    };
    let side = module.side();
    let (id, others) = {
        let mut books = BOOKS.lock();
        let id = books.next_id();
        books.modules.insert(id, module);
        let other =
            |(_, other): &(&u64, &Module)| other.side() != side && !other.deregistering && same_guid(&other.npi, &npi);
        (
            id,
            books
                .modules
                .iter()
                .filter(other)
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
        )
    };
    for other in others {
        let (client, provider) = if side == Side::Client { (id, other) } else { (other, id) };
        binding::offer(client, provider);
    }
    // Only now: whoever uses the handle in an attach call-out depends on what NMR does not promise.
    // SAFETY: as the caller promises.
    unsafe { *handle = to_handle(id) };
    STATUS_SUCCESS
}

/// Starts the end of a module's registration: no new bindings, and a detach of every binding.
pub(crate) fn deregister(handle: HANDLE, side: Side) -> NTSTATUS {
    let id = from_handle(handle);
    let attached = {
        let mut books = BOOKS.lock();
        match books.modules.get_mut(&id) {
            Some(module) if module.side() == side && !module.deregistering => module.deregistering = true,
            _ => {
                drop(books);
                misuse!("deregistration of {side:?} {id:x}, which is not registered");
                return STATUS_INVALID_HANDLE;
            }
        }
        let mine = |(_, binding): &(&u64, &Binding)| binding.involves(id) && binding.state == State::Attached;
        books
            .bindings
            .iter()
            .filter(mine)
            .map(|(id, _)| *id)
            .collect::<Vec<_>>()
    };
    for binding in attached {
        binding::detach(binding);
    }
    STATUS_PENDING
}

/// Whether a binding of the module is left.
pub(crate) fn is_bound(handle: HANDLE) -> bool {
    let id = from_handle(handle);
    BOOKS.lock().bindings.values().any(|binding| binding.involves(id))
}

/// Waits until no binding of the module is left, and forgets it.
pub(crate) fn wait(handle: HANDLE, side: Side) -> NTSTATUS {
    let id = from_handle(handle);
    let mut books = BOOKS.lock();
    match books.modules.get(&id) {
        Some(module) if module.side() == side && module.deregistering => {}
        _ => {
            drop(books);
            misuse!("wait for {side:?} {id:x}, which is not being deregistered");
            return STATUS_INVALID_HANDLE;
        }
    }
    while books.bindings.values().any(|binding| binding.involves(id)) {
        CHANGED.wait(&mut books, sync::FOREVER);
    }
    books.modules.remove(&id);
    STATUS_SUCCESS
}

//! The Network Module Registrar: brings each client module of an NPI together with each provider module of it.
//!
//! Handles are numbers that are never used twice, so that a stale one is noticed. One lock guards the books, and no call-out is made
//! under it; what a call-out found is looked at again afterwards. Register, wait and attach run at `PASSIVE_LEVEL`, deregister and
//! the detach completions at `<= DISPATCH_LEVEL`.

mod binding;
mod exports;
mod modules;

use alloc::collections::BTreeMap;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::netio::DetachOrder as Order;
use wsk_sys::{GUID, HANDLE, NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS, NPI_REGISTRATION_INSTANCE};

use crate::sync::{Condvar, Mutex};

pub(crate) use binding::{attach_client, client_detached, provider_detached};
pub(crate) use modules::{deregister, is_bound, register_client, register_provider, wait};

/// Which side of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Provider,
}

/// What a module registered.
#[derive(Clone, Copy)]
enum Characteristics {
    Client(NPI_CLIENT_CHARACTERISTICS),
    Provider(NPI_PROVIDER_CHARACTERISTICS),
}

struct Module {
    characteristics: Characteristics,
    context: *mut c_void,
    /// Who registered: the address that the instance points to stays the module's.
    instance: *const NPI_REGISTRATION_INSTANCE,
    npi: GUID,
    deregistering: bool,
}

/// One side's way through a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detach {
    NotCalled,
    /// The call-out is in progress.
    Calling,
    /// Completed by its function before the call-out returned.
    CompletedEarly,
    /// The call-out returned `STATUS_PENDING`.
    Pending,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `ClientAttachProvider` is in progress; attached says whether `NmrClientAttachProvider` has succeeded in it.
    Attaching {
        attached: bool,
    },
    Attached,
    Detaching,
    /// The cleanup call-outs are in progress.
    Cleaning,
}

struct Binding {
    client: u64,
    provider: u64,
    state: State,
    client_context: *mut c_void,
    provider_context: *mut c_void,
    client_detach: Detach,
    provider_detach: Detach,
}

#[derive(Default)]
struct Books {
    last: u64,
    modules: BTreeMap<u64, Module>,
    bindings: BTreeMap<u64, Binding>,
}

// SAFETY: the pointers inside are the modules' own and only handed back to them.
unsafe impl Send for Books {}

static BOOKS: Mutex<Books> = Mutex::new(Books {
    last: 0,
    modules: BTreeMap::new(),
    bindings: BTreeMap::new(),
});
/// Signalled when a binding or a module goes.
static CHANGED: Condvar = Condvar::new();

static ORDER: AtomicU32 = AtomicU32::new(Order::ClientFirst as u32);

/// Chooses the order for detaches to come.
pub(crate) fn set_order(order: Order) {
    ORDER.store(order as u32, Ordering::Relaxed);
}

fn order() -> Order {
    Order::from_u32(ORDER.load(Ordering::Relaxed)).unwrap_or(Order::ClientFirst)
}

impl Books {
    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Module {
    fn side(&self) -> Side {
        match self.characteristics {
            Characteristics::Client(_) => Side::Client,
            Characteristics::Provider(_) => Side::Provider,
        }
    }
}

/// The size of a structure, as NMR's structures state it.
pub(crate) const fn size<T>() -> u16 {
    assert!(size_of::<T>() <= u16::MAX as usize);
    #[allow(clippy::cast_possible_truncation, reason = "just asserted")]
    {
        size_of::<T>() as u16
    }
}

pub(crate) fn same_guid(one: &GUID, other: &GUID) -> bool {
    (one.Data1, one.Data2, one.Data3, one.Data4) == (other.Data1, other.Data2, other.Data3, other.Data4)
}

/// Handles carry a mark in their upper half, so that a number that is none is noticed.
const MARK: u64 = 0x4E4D_5200_0000_0000;

fn to_handle(id: u64) -> HANDLE {
    core::ptr::without_provenance_mut(usize::try_from(MARK | id).unwrap_or(0))
}

fn from_handle(handle: HANDLE) -> u64 {
    (handle.addr() as u64) ^ MARK
}

/// How many modules and bindings there are.
pub(crate) fn counts() -> (usize, usize) {
    let books = BOOKS.lock();
    (books.modules.len(), books.bindings.len())
}

/// Whether `instance` belongs to the provider of `npi` that registered last.
pub(crate) fn is_newest_provider(npi: &GUID, instance: *const NPI_REGISTRATION_INSTANCE) -> bool {
    let books = BOOKS.lock();
    let mut providers = books
        .modules
        .values()
        .filter(|module| module.side() == Side::Provider && !module.deregistering && same_guid(&module.npi, npi));
    providers.next_back().is_some_and(|module| module.instance == instance)
}

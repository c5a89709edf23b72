//! Clients that bypass wskguard and say so: the shim's notices, found through NMR as [`wskguard_abi::BypassNotice`] describes.
//!
//! A client of that NPI: attach at `PASSIVE_LEVEL`, detach and cleanup at <= `DISPATCH_LEVEL`. Nothing is called through a binding,
//! so a bypassing client never holds the driver.

use core::ffi::c_void;

use wdk_rtl::{lock::SpinLock, nonpaged::NonpagedBox};
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, NPI_REGISTRATION_INSTANCE, NmrClientAttachProvider, NmrDeregisterClient, NmrRegisterClient,
    NmrWaitForClientDeregisterComplete,
};
use wskguard_abi::{BypassNotice, ClientInfo, client_flags};
use wskguard_core::policy::ImageName;

use crate::client::client_info;
use crate::guard::{TAG_CLIENT, guard};
use crate::{images, nmr};

/// Most notices that are listed.
const MOST: u32 = 1024;

/// One bypassing client. Its address is the binding's context.
struct Bypassing {
    id: u32,
    version: u16,
    since: u64,
    module_id: [u8; 16],
    image: ImageName,
    next: Option<NonpagedBox<Bypassing, TAG_CLIENT>>,
}

struct List {
    newest: Option<NonpagedBox<Bypassing, TAG_CLIENT>>,
    count: u32,
}

static LIST: SpinLock<List> = SpinLock::new(List { newest: None, count: 0 });

/// The registration that notices attach to.
pub struct Watch(HANDLE);

// SAFETY: the handle is NMR's and may be used on any thread.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Begins to listen; the notices of before are found at once. `PASSIVE_LEVEL`.
    pub fn register() -> Result<Self, NTSTATUS> {
        let mut handle = core::ptr::null_mut();
        // SAFETY: the characteristics are static, and every callback is prepared to run from now on.
        let status = unsafe { NmrRegisterClient(&raw const nmr::NOTICES.0, core::ptr::null_mut(), &raw mut handle) };
        if status < 0 { Err(status) } else { Ok(Self(handle)) }
    }

    /// Ends it; the list is empty afterwards. `PASSIVE_LEVEL`.
    pub fn deregister(self) {
        // SAFETY: the handle is of a registration that is taken back once.
        if unsafe { NmrDeregisterClient(self.0) } == STATUS_PENDING {
            // SAFETY: as above.
            let _ = unsafe { NmrWaitForClientDeregisterComplete(self.0) };
        }
    }
}

/// Clients that bypass.
pub fn count() -> u32 {
    LIST.lock().count
}

/// Hands what is listed, newest first and without the first `skip`, to `take` until it returns false.
pub fn list(skip: usize, mut take: impl FnMut(&ClientInfo) -> bool) {
    let list = LIST.lock();
    let mut at = list.newest.as_ref();
    let mut left = skip;
    while let Some(client) = at {
        if left > 0 {
            left = left.saturating_sub(1);
        } else if !take(&client.info()) {
            return;
        }
        at = client.next.as_ref();
    }
}

impl Bypassing {
    fn info(&self) -> ClientInfo {
        ClientInfo {
            id: self.id,
            version: self.version,
            flags: client_flags::BYPASSING,
            module_id: self.module_id,
            attached: self.since,
            ..client_info(&self.image)
        }
    }
}

pub unsafe extern "system" fn attach(
    binding: HANDLE,
    _context: *mut c_void,
    instance: *const NPI_REGISTRATION_INSTANCE,
) -> NTSTATUS {
    // SAFETY: NMR hands over the provider's registration, valid for the call.
    let Some(notice) = (unsafe { notice_of(instance) }) else {
        return STATUS_NOINTERFACE;
    };
    let Some(id) = guard().clients.lock().new_id() else {
        return STATUS_NOINTERFACE;
    };
    let Ok(client) = NonpagedBox::try_new(Bypassing {
        id,
        version: notice.version,
        since: notice.since,
        // SAFETY: as above.
        module_id: unsafe { nmr::module_guid(instance) },
        image: images::name_of(&[notice.code]),
        next: None,
    }) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    let address = core::ptr::from_ref(&*client).cast_mut();
    // Listed first, so that a detach finds it whenever it comes.
    add(client);
    let (mut theirs, mut nothing) = (core::ptr::null_mut(), core::ptr::null());
    let ours = (&raw const nmr::NOTICES).cast();
    // SAFETY: inside ClientAttachProvider; the context is listed until the detach, and the dispatch is static.
    let status = unsafe { NmrClientAttachProvider(binding, address.cast(), ours, &raw mut theirs, &raw mut nothing) };
    if status < 0 {
        drop(remove(address.addr()));
    }
    status
}

fn add(mut client: NonpagedBox<Bypassing, TAG_CLIENT>) {
    let mut list = LIST.lock();
    list.count = list.count.saturating_add(1);
    client.next = list.newest.take();
    list.newest = Some(client);
}

/// The notice of a provider, if it is one that can be listed.
unsafe fn notice_of(instance: *const NPI_REGISTRATION_INSTANCE) -> Option<BypassNotice> {
    if LIST.lock().count >= MOST {
        return None;
    }
    // SAFETY: as the caller promises.
    let notice = unsafe { instance.as_ref() }?
        .NpiSpecificCharacteristics
        .cast::<BypassNotice>();
    // SAFETY: what the NPI's characteristics are, or NULL.
    let notice = unsafe { notice.as_ref() }?;
    (usize::from(notice.size) >= size_of::<BypassNotice>()).then_some(*notice)
}

/// The client has deregistered, or we have.
pub unsafe extern "system" fn detach(context: *mut c_void) -> NTSTATUS {
    drop(remove(context.addr()));
    STATUS_SUCCESS
}

/// Takes the entry at `address` out of the list.
fn remove(address: usize) -> Option<NonpagedBox<Bypassing, TAG_CLIENT>> {
    let mut list = LIST.lock();
    let list = &mut *list;
    let mut link = &mut list.newest;
    while link
        .as_ref()
        .is_some_and(|client| core::ptr::from_ref(&**client).addr() != address)
    {
        link = &mut link.as_mut()?.next;
    }
    let mut found = link.take()?;
    *link = found.next.take();
    list.count = list.count.saturating_sub(1);
    Some(found)
}

//! Which clients there are, and whether the driver may go. IRQL <= `DISPATCH_LEVEL`, under the lock of [`crate::guard::Guard::clients`].

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use wsk_sys::WSK_PROVIDER_DISPATCH;

use super::Client;
use crate::guard::guard;

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
    pub fn admit(&mut self) -> Option<u32> {
        if self.draining {
            return None;
        }
        let id = self.new_id()?;
        self.count = self.count.checked_add(1)?;
        Some(id)
    }

    /// An id that no client had before.
    pub fn new_id(&mut self) -> Option<u32> {
        let id = self.next_id;
        self.next_id = id.checked_add(1)?;
        Some(id)
    }

    /// One client less. The driver may go once the last is gone and no new one is let in.
    pub fn dismiss(&mut self) {
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
    pub unsafe fn list(&mut self, client: NonNull<Client>) {
        // SAFETY: as the caller promises.
        unsafe { client.as_ref() }.next.store(self.head, Ordering::Relaxed);
        self.head = client.as_ptr();
    }

    /// # Safety
    /// The client is listed.
    pub unsafe fn unlist(&mut self, client: NonNull<Client>) {
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

    /// Whether a client was handed this table.
    pub fn has_table(&self, table: *const WSK_PROVIDER_DISPATCH) -> bool {
        self.iter()
            .any(|client| core::ptr::eq(client.provider_dispatch(), table))
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        // SAFETY: listed clients are valid while the lock is held, which borrowing `self` shows.
        let first = unsafe { self.head.as_ref() };
        // SAFETY: as above.
        core::iter::successors(first, |client| unsafe { client.next.load(Ordering::Relaxed).as_ref() })
    }
}

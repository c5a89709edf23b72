//! A client's provider below: bound with the client, and lost when the provider leaves before the client does.
//!
//! NMR asks of a client whose provider leaves that it makes no new calls, and waits for it. So calls of the dispatch table are counted,
//! and so are endpoints, whose sockets the client has still to close: calls of theirs end as `STATUS_FILE_FORCED_CLOSED` meanwhile,
//! which tells the client to. The last of all completes the detach; a provider that comes later is bound again.
//! IRQL <= `DISPATCH_LEVEL` unless a function says otherwise.

use core::sync::atomic::Ordering;

use wdk_sys::{NTSTATUS, STATUS_DEVICE_NOT_READY, STATUS_NOINTERFACE, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    HANDLE, NmrClientDetachProviderComplete, NmrDeregisterClient, NmrRegisterClient,
    NmrWaitForClientDeregisterComplete, PWSK_CLIENT, WSK_CLIENT_DISPATCH, WSK_PROVIDER_DISPATCH,
};
use wskguard_core::audit::Happened;

use super::Client;
use crate::audit;

/// Of `Counts::below`: the provider leaves, and nobody new may call it.
const LEAVING: u32 = 1 << 31;

/// The provider below, kept for one call of its dispatch table.
pub struct Lower<'a> {
    client: &'a Client,
    /// The provider's name for the client.
    pub name: PWSK_CLIENT,
    /// Its functions.
    pub table: &'a WSK_PROVIDER_DISPATCH,
}

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.client.release_provider();
    }
}

impl Client {
    /// Registers with NMR below, which binds to the provider. `PASSIVE_LEVEL`. `STATUS_NOINTERFACE` without a provider.
    pub(super) fn register_below(&self) -> Result<(), NTSTATUS> {
        let mut handle = core::ptr::null_mut();
        let context = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the characteristics are static, and this client outlives its registration.
        let status = unsafe { NmrRegisterClient(&raw const crate::nmr::LOWER.0, context, &raw mut handle) };
        if status < 0 {
            return Err(status);
        }
        self.registration_below.store(handle, Ordering::Release);
        if !self.has_provider() {
            self.deregister_below();
            return Err(STATUS_NOINTERFACE);
        }
        Ok(())
    }

    /// Takes the registration back, and waits for its end. `PASSIVE_LEVEL`.
    pub(super) fn deregister_below(&self) {
        let handle = self.registration_below.load(Ordering::Acquire);
        // SAFETY: the handle is of a registration that is taken back once.
        if unsafe { NmrDeregisterClient(handle) } == STATUS_PENDING {
            // SAFETY: as above, at PASSIVE_LEVEL.
            let _ = unsafe { NmrWaitForClientDeregisterComplete(handle) };
        }
    }

    /// A provider below is offered: binds to it with `attach`, unless one is bound or not gone yet. Inside NMR's attach callback.
    pub fn bind_below(
        &self,
        binding: HANDLE,
        attach: impl FnOnce(*const WSK_CLIENT_DISPATCH) -> Result<(PWSK_CLIENT, *const WSK_PROVIDER_DISPATCH), NTSTATUS>,
    ) -> NTSTATUS {
        if self.counts.below.load(Ordering::Acquire) != 0 {
            return STATUS_NOINTERFACE;
        }
        match attach(&raw const self.dispatch) {
            Ok((client, dispatch)) => {
                self.below.store(client, Ordering::Release);
                self.below_binding.store(binding, Ordering::Release);
                self.below_dispatch.store(dispatch.cast_mut(), Ordering::Release);
                self.counts.below.store(1, Ordering::Release);
                STATUS_SUCCESS
            }
            Err(status) => status,
        }
    }

    /// The provider below detaches: because it leaves, or because we deregistered. What the detach callback returns.
    pub fn lose_provider(&self) -> NTSTATUS {
        self.below_dispatch.store(core::ptr::null_mut(), Ordering::Release);
        self.counts.below.fetch_or(LEAVING, Ordering::AcqRel);
        // Without holds it is the client that goes, and we that deregistered.
        if self.counts.holds.load(Ordering::Acquire) != 0 {
            audit::client(self, Happened::ProviderLost);
        }
        if self.give_up() { STATUS_SUCCESS } else { STATUS_PENDING }
    }

    /// One reference less; true for the last of a provider that leaves.
    fn give_up(&self) -> bool {
        let last = self.counts.below.fetch_sub(1, Ordering::AcqRel) == LEAVING | 1;
        if last {
            self.counts.below.store(0, Ordering::Release);
        }
        last
    }

    /// Whether there is a provider below that takes calls.
    #[inline]
    pub fn has_provider(&self) -> bool {
        !self.below_dispatch.load(Ordering::Acquire).is_null()
    }

    /// The provider below, kept while the call lasts.
    ///
    /// # Errors
    /// `STATUS_DEVICE_NOT_READY` once it leaves.
    pub fn lower(&self) -> Result<Lower<'_>, NTSTATUS> {
        let mut now = self.counts.below.load(Ordering::Relaxed);
        loop {
            if now == 0 || now & LEAVING != 0 {
                return Err(STATUS_DEVICE_NOT_READY);
            }
            let next = now.wrapping_add(1);
            match self
                .counts
                .below
                .compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(changed) => now = changed,
            }
        }
        let table = self.below_dispatch.load(Ordering::Acquire);
        // SAFETY: resident while bound, and the reference just taken keeps the binding.
        let Some(table) = (unsafe { table.as_ref() }) else {
            // It began to leave in between.
            self.release_provider();
            return Err(STATUS_DEVICE_NOT_READY);
        };
        let name = self.below.load(Ordering::Acquire);
        Ok(Lower {
            client: self,
            name,
            table,
        })
    }

    /// An endpoint keeps the provider. While another reference does.
    pub fn hold_provider(&self) {
        self.counts.below.fetch_add(1, Ordering::AcqRel);
    }

    /// One reference less; the last of a provider that leaves lets it go.
    pub fn release_provider(&self) {
        let binding = self.below_binding.load(Ordering::Acquire);
        if self.give_up() {
            // SAFETY: answers the STATUS_PENDING of our detach callback, once; the client's own hold keeps the client.
            unsafe { NmrClientDetachProviderComplete(binding) };
        }
    }
}

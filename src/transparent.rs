//! Transparent mode, experimental and off by default: wskguard's provider at the system's NPI too, and the canary, a `WskRegister`
//! client of the driver's own that finds out whose provider such clients are handed now. Which one it is, is not documented, and so
//! never assumed. `PASSIVE_LEVEL`.

use core::sync::atomic::{AtomicI32, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SAME_OBJECT, STATUS_SUCCESS};
use wsk_sys::{
    MAKE_WSK_VERSION, WSK_CLIENT_DISPATCH, WSK_CLIENT_NPI, WSK_PROVIDER_NPI, WSK_REGISTRATION, WskCaptureProviderNPI,
    WskDeregister, WskRegister, WskReleaseProviderNPI,
};
use wskguard_abi::status_flags::{TRANSPARENT, TRANSPARENT_ACTIVE};

use crate::client::Edge;
use crate::guard::{TAG_STATE, guard};
use crate::nmr::UpperEdge;

/// How long the canary waits for a provider, milliseconds.
const CANARY_WAIT: u32 = 200;

/// Whether the mode was asked for, and whether its registration succeeded.
pub struct Transparent {
    asked: bool,
    registered: AtomicI32,
}

impl Transparent {
    pub const fn new(asked: bool) -> Self {
        Self {
            asked,
            registered: AtomicI32::new(STATUS_SUCCESS),
        }
    }

    /// Registers the second edge, if it was asked for. That it fails is told by the status, and is no reason not to start.
    pub fn start(&self) -> Option<UpperEdge> {
        if !self.asked {
            return None;
        }
        UpperEdge::register(Edge::Transparent)
            .inspect_err(|status| self.registered.store(*status, Ordering::Relaxed))
            .ok()
    }

    /// Flags of the status, and why the mode is not active.
    pub fn state(&self) -> (u32, NTSTATUS) {
        if !self.asked {
            return (0, STATUS_SUCCESS);
        }
        let registered = self.registered.load(Ordering::Relaxed);
        let status = if registered < 0 { registered } else { canary() };
        if status < 0 {
            (TRANSPARENT, status)
        } else {
            (TRANSPARENT | TRANSPARENT_ACTIVE, STATUS_SUCCESS)
        }
    }
}

/// Registers as any WSK client does, and looks at what it gets. `STATUS_NOT_SAME_OBJECT`: another provider's dispatch table.
fn canary() -> NTSTATUS {
    static DISPATCH: WSK_CLIENT_DISPATCH = WSK_CLIENT_DISPATCH {
        Version: MAKE_WSK_VERSION(1, 0),
        Reserved: 0,
        WskClientEvent: None,
    };
    let client = WSK_CLIENT_NPI {
        ClientContext: core::ptr::null_mut(),
        Dispatch: &raw const DISPATCH,
    };
    let Ok(mut block) = NonpagedBox::<_, TAG_STATE>::try_new(WSK_REGISTRATION {
        ReservedRegistrationState: 0,
        ReservedRegistrationContext: core::ptr::null_mut(),
        ReservedRegistrationLock: 0,
    }) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    let block = &raw mut *block;
    // SAFETY: NPI and block are ours until the deregistration has returned.
    let status = unsafe { WskRegister(&raw const client, block) };
    if status < 0 {
        return status;
    }
    let mut provider = WSK_PROVIDER_NPI {
        Client: core::ptr::null_mut(),
        Dispatch: core::ptr::null(),
    };
    // SAFETY: registered, and the out parameter is ours.
    let mut status = unsafe { WskCaptureProviderNPI(block, CANARY_WAIT, &raw mut provider) };
    if status >= 0 {
        if !guard().clients.lock().has_table(provider.Dispatch) {
            status = STATUS_NOT_SAME_OBJECT;
        }
        // SAFETY: captured above.
        unsafe { WskReleaseProviderNPI(block) };
    }
    // SAFETY: registered above.
    unsafe { WskDeregister(block) };
    status
}

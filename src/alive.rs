//! Keep-alive failure: attributed from the statuses of a connection's calls, and what follows from it. IRQL <= `DISPATCH_LEVEL`.
//!
//! Windows has no event for it. A data call's completion is looked at only where the outcome is enforced: keep-alive is on and the
//! strict contract is in force. A connection that ends in another way is reset, cause unknown: audited, and nothing follows.

use wdk_sys::{NTSTATUS, STATUS_INVALID_CONNECTION};
use wsk_sys::PIRP;
use wskguard_core::{
    Mode, NtStatus, Phase,
    audit::Happened,
    counters::Counter,
    semantics::{Flag, KEEP_ALIVE_STATUSES, Number, after_connection_failure},
    status::to_wsa,
};

use crate::endpoint::{Endpoint, EndpointRef};
use crate::guard::guard;
use crate::request::{Finish, Request, Told, complete_here};
use crate::upper::out_of_memory;
use crate::{audit, control};

/// Whether the data calls of this endpoint may have to be looked at.
#[inline]
pub fn may_watch(endpoint: &Endpoint) -> bool {
    endpoint.options.flag(Flag::KeepAlive)
}

/// Whether they have to be.
pub fn watches(endpoint: &Endpoint) -> bool {
    may_watch(endpoint) && control::mode_of(&endpoint.options.load()) == Mode::Strict
}

/// A data call on its way.
struct Watched(EndpointRef);

impl Finish for Watched {
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told {
        ended(&self.0, status);
        Told::Now(status, information)
    }
}

/// Sends `call` down, observed where the mode in force asks for it.
///
/// # Safety
/// As [`send`].
#[cold]
#[inline(never)]
pub unsafe fn call(endpoint: &Endpoint, irp: PIRP, call: impl FnOnce(PIRP) -> NTSTATUS) -> NTSTATUS {
    if watches(endpoint) {
        // SAFETY: as the caller promises.
        unsafe { send(endpoint, irp, call) }
    } else {
        call(irp)
    }
}

/// Sends `call` down with its completion observed; refuses it once the connection was dropped by keep-alive failure.
///
/// # Safety
/// `irp` is the client's, not NULL and owned by this call; `call` passes the IRP it is given to one function of the provider and
/// returns that function's status.
unsafe fn send(endpoint: &Endpoint, irp: PIRP, call: impl FnOnce(PIRP) -> NTSTATUS) -> NTSTATUS {
    if endpoint.phase() == Phase::KeepAliveFailed {
        guard().count(Counter::RefusedBySemantics);
        // SAFETY: the client's IRP, which went nowhere.
        return unsafe { complete_here(irp, STATUS_INVALID_CONNECTION, 0) };
    }
    let Some(request) = Request::<Watched>::allocate() else {
        // SAFETY: as above.
        return unsafe { out_of_memory(irp) };
    };
    // SAFETY: as the caller promises.
    unsafe { request.send(irp, Watched(endpoint.reference()), call) }
}

/// A call of a connection has ended with `status`: the connection with it?
pub fn ended(endpoint: &Endpoint, status: NTSTATUS) {
    if status >= 0 {
        return;
    }
    let status = NtStatus(status.cast_unsigned());
    let phase = endpoint.phase();
    let then = after_connection_failure(&endpoint.options.load(), phase, status, KEEP_ALIVE_STATUSES);
    let Some(then) = then.filter(|&then| endpoint.move_phase(phase, then)) else {
        return;
    };
    endpoint.learn(Number::Error, to_wsa(status).0);
    let happened = if then == Phase::KeepAliveFailed {
        guard().count(Counter::KeepAliveFailures);
        Happened::KeepAliveFailed
    } else {
        Happened::ConnectionReset
    };
    audit::state(endpoint, happened, status.0.cast_signed());
}

/// The provider says that the connection was aborted, and not why.
pub fn aborted(endpoint: &Endpoint) {
    if endpoint.move_phase(Phase::Connected, Phase::Disconnected) {
        audit::state(endpoint, Happened::ConnectionReset, 0);
    }
}

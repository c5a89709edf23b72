//! What the companion asks, and one handler for each request. `PASSIVE_LEVEL`.
//!
//! The contract's crate makes a request of the whole input before output is written, since both share one buffer; output is zeroed first.
//! The access that a code needs is part of it, and checked by the I/O manager.

mod audit;
mod lists;
mod policy;
mod status;
mod wait;

use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    IRP, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_PARAMETER,
    STATUS_REVISION_MISMATCH,
};
use wskguard_abi::parse::{Asked, Malformed, Reply, parse};
use wskguard_core::{counters::Counter, table::Walk};
use zerocopy::{Immutable, IntoBytes};

use crate::guard::guard;
use audit::Place;
use wait::Wait;
pub use wait::{Waiters, audit_written};

/// What one open of the device keeps: its place in the audit rings and in the list of endpoints, and its pended read.
pub struct Opened {
    place: SpinLock<Place>,
    /// Name of the next piece of the list, and where it begins. 0: no list has been begun.
    walk: SpinLock<(u64, Walk)>,
    wait: Wait,
}

impl Opened {
    pub fn new() -> Self {
        Self {
            place: SpinLock::new(Place::start()),
            walk: SpinLock::new((0, Walk::default())),
            wait: Wait::new(),
        }
    }
}

/// A request's buffer: input until it is parsed, then output.
pub struct Call<'a> {
    buffer: &'a mut [u8],
    input: usize,
    output: usize,
    opened: &'a Opened,
    irp: *mut IRP,
}

/// Answers a device control.
///
/// # Safety
/// `irp` is the IRP that `buffer` belongs to, owned by the caller.
pub unsafe fn dispatch(
    code: u32,
    buffer: &mut [u8],
    input: usize,
    output: usize,
    opened: &Opened,
    irp: *mut IRP,
) -> Result<usize, NTSTATUS> {
    let asked = buffer
        .get(..input)
        .map_or(Err(Malformed::Parameter), |bytes| parse(code, bytes, output));
    let call = Call {
        buffer,
        input,
        output,
        opened,
        irp,
    };
    let answered = asked.map_err(refusal).and_then(|asked| answer(asked, call));
    let refused = answered.is_err_and(|status| status < 0);
    guard().count(if refused {
        Counter::IoctlsRefused
    } else {
        Counter::IoctlsServed
    });
    answered
}

/// One handler for each request: bytes of output, or the status to fail with; `STATUS_PENDING` when the handler has pended the IRP.
fn answer(asked: Asked, call: Call<'_>) -> Result<usize, NTSTATUS> {
    match asked {
        Asked::QueryVersion => status::query_version(call),
        Asked::QueryStatus => status::query_status(call),
        Asked::SetPolicy(request) => policy::set_policy(call, request),
        Asked::GetPolicy(request) => policy::get_policy(call, request),
        Asked::QueryCounters => status::query_counters(call),
        Asked::QueryRuleCounters(request) => status::query_rule_counters(call, request),
        Asked::ListEndpoints(request) => lists::list_endpoints(call, request),
        Asked::QueryEndpoint(request) => lists::query_endpoint(call, request),
        Asked::ListClients(request) => lists::list_clients(call, request),
        Asked::ReadAudit(request) => audit::read(call, request),
        Asked::WaitAudit(request) => wait::wait(call, request),
        Asked::Drain(begin) => status::drain(call, begin),
        Asked::Lock => {
            policy::lock();
            Ok(0)
        }
    }
}

/// The status of a request that is not well formed.
fn refusal(why: Malformed) -> NTSTATUS {
    match why {
        Malformed::Code => STATUS_INVALID_DEVICE_REQUEST,
        Malformed::Version => STATUS_REVISION_MISMATCH,
        Malformed::Parameter => STATUS_INVALID_PARAMETER,
        Malformed::Output => STATUS_BUFFER_TOO_SMALL,
    }
}

impl<'a> Call<'a> {
    /// The end of the input: output from here on, zeroed.
    fn reply<T: IntoBytes + Immutable>(self) -> Result<Reply<'a>, NTSTATUS> {
        let room = self.buffer.get_mut(..self.output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        Reply::begin::<T>(room).map_err(refusal)
    }
}

/// Writes the fixed part of a reply.
fn finish<T: IntoBytes + Immutable>(reply: Reply<'_>, fixed: &T) -> Result<usize, NTSTATUS> {
    reply.finish(fixed).map_err(refusal)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "lists are cut to what a 32-bit length can hold"
)]
fn count_of(number: usize) -> u32 {
    number as u32
}

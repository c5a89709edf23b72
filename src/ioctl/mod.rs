//! What the companion asks: one table of codes and handlers. `PASSIVE_LEVEL`.
//!
//! A handler parses its whole input before it writes output, since both share one buffer; output is zeroed first. The access that a
//! code needs is part of it, and checked by the I/O manager.

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
use wskguard_abi::{ABI_VERSION, Code, Header, Request};
use wskguard_core::{counters::Counter, table::Walk};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

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

/// Bytes of output, or the status to fail with; `STATUS_PENDING` when the handler has pended the IRP.
type Handler = fn(Call<'_>) -> Result<usize, NTSTATUS>;

/// Every code and who answers it.
static HANDLERS: [(Code, Handler); 13] = [
    (Code::QueryVersion, status::query_version),
    (Code::QueryStatus, status::query_status),
    (Code::SetPolicy, policy::set_policy),
    (Code::GetPolicy, policy::get_policy),
    (Code::QueryCounters, status::query_counters),
    (Code::QueryRuleCounters, status::query_rule_counters),
    (Code::ListEndpoints, lists::list_endpoints),
    (Code::QueryEndpoint, lists::query_endpoint),
    (Code::ListClients, lists::list_clients),
    (Code::ReadAudit, audit::read),
    (Code::WaitAudit, wait::wait),
    (Code::Drain, status::drain),
    (Code::Lock, policy::lock),
];
const _: () = assert!(HANDLERS.len() == Code::ALL.len());

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
    let handler = HANDLERS
        .iter()
        .find(|(known, _)| *known as u32 == code)
        .map(|(_, handler)| handler);
    let call = Call {
        buffer,
        input,
        output,
        opened,
        irp,
    };
    let answered = handler
        .ok_or(STATUS_INVALID_DEVICE_REQUEST)
        .and_then(|handler| handler(call));
    let refused = answered.is_err_and(|status| status < 0);
    guard().count(if refused {
        Counter::IoctlsRefused
    } else {
        Counter::IoctlsServed
    });
    answered
}

impl<'a> Call<'a> {
    /// The fixed part of the request, which is all of it but for `tail` bytes.
    fn parse<T: FromBytes + KnownLayout + Immutable>(&self, tail: impl FnOnce(&T) -> u32) -> Result<T, NTSTATUS> {
        let input = self.buffer.get(..self.input).ok_or(STATUS_INVALID_PARAMETER)?;
        let (header, _) = Header::read_from_prefix(input).map_err(|_| STATUS_INVALID_PARAMETER)?;
        if header.abi_version != ABI_VERSION {
            return Err(STATUS_REVISION_MISMATCH);
        }
        let (fixed, rest) = T::read_from_prefix(input).map_err(|_| STATUS_INVALID_PARAMETER)?;
        let expected = usize::try_from(tail(&fixed)).map_err(|_| STATUS_INVALID_PARAMETER)?;
        if header.size != Header::of::<T>().size || rest.len() != expected {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok(fixed)
    }

    /// A request without parameters.
    fn plain(&self) -> Result<(), NTSTATUS> {
        self.parse::<Request>(|_| 0).map(|_| ())
    }

    /// The end of the input: output from here on, zeroed.
    fn reply<T: IntoBytes + Immutable>(self) -> Result<Reply<'a>, NTSTATUS> {
        let room = self.buffer.get_mut(..self.output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        if room.len() < size_of::<T>() {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        room.zero();
        Ok(Reply {
            room,
            fixed: size_of::<T>(),
            used: size_of::<T>(),
        })
    }
}

/// Output: a fixed part, written last, and what follows it.
struct Reply<'a> {
    room: &'a mut [u8],
    fixed: usize,
    used: usize,
}

impl Reply<'_> {
    /// Appends bytes; false when they do not fit.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.used.saturating_add(bytes.len());
        let Some(to) = self.room.get_mut(self.used..end) else {
            return false;
        };
        // `copy_from_slice` would panic on other lengths, which the compiler cannot see to be equal.
        for (to, from) in to.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.used = end;
        true
    }

    /// How many more elements of `size` bytes fit, up to `max`.
    fn fits(&self, size: usize, max: u32) -> usize {
        let left = self.room.len().saturating_sub(self.used);
        left.checked_div(size)
            .unwrap_or(0)
            .min(usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Writes the fixed part.
    fn finish<T: IntoBytes + Immutable>(self, fixed: &T) -> Result<usize, NTSTATUS> {
        let to = self.room.get_mut(..self.fixed).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        fixed.write_to(to).map_err(|_| STATUS_BUFFER_TOO_SMALL)?;
        Ok(self.used)
    }
}

fn zero(reserved: u32) -> Result<(), NTSTATUS> {
    if reserved == 0 {
        Ok(())
    } else {
        Err(STATUS_INVALID_PARAMETER)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "lists are cut to what a 32-bit length can hold"
)]
fn count_of(number: usize) -> u32 {
    number as u32
}

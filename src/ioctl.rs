//! What the companion asks: one table of codes, sizes and handlers. `PASSIVE_LEVEL`.
//!
//! A handler parses its whole input before it writes output, since both share one buffer; output is zeroed first. The access that a
//! code needs is part of it, and checked by the I/O manager.

use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    IRP, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_PARAMETER, STATUS_MEDIA_WRITE_PROTECTED, STATUS_NOT_FOUND, STATUS_REVISION_MISMATCH,
};
use wskguard_abi::{
    ABI_VERSION, AuditEntry, AuditReply, ClientInfo, Code, CountersReply, DrainReply, DrainRequest, EndpointInfo, GetPolicyRequest,
    Header, ListEndpointsRequest, ListReply, PolicyReply, QueryEndpointRequest, RangeRequest, ReadAuditRequest, Request,
    SetPolicyRequest, StatusReply, VersionReply, audit_flags, status_flags,
};
use wskguard_core::{
    EndpointId, Mode,
    audit::Cursor,
    counters::Counter,
    policy::{Fallback, PolicyMode},
    table::Walk,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::guard::{Pool, guard};

/// What one open of the device keeps: its place in the audit rings and in the list of endpoints.
pub struct Opened {
    /// Taken out while a request reads, so that reading is not done under the lock.
    cursor: SpinLock<Place>,
    /// Name of the next piece of the list, and where it begins. 0: no list has been begun.
    walk: SpinLock<(u64, Walk)>,
}

/// Where a reader stands in the rings, and its account.
struct Place {
    state: Standing,
    read: u64,
    overwritten: u64,
}

enum Standing {
    /// At the oldest record, not looked for yet.
    Start,
    At(Cursor<Pool>),
    /// A request is reading.
    Busy,
}

impl Opened {
    pub fn new() -> Self {
        Self {
            cursor: SpinLock::new(Place { state: Standing::Start, read: 0, overwritten: 0 }),
            walk: SpinLock::new((0, Walk::default())),
        }
    }

    /// Nothing pended may outlive the handle.
    pub fn cancel_wait(&self) {}
}

/// A request's buffer: input until it is parsed, then output.
pub struct Call<'a> {
    buffer: &'a mut [u8],
    input: usize,
    output: usize,
    opened: &'a Opened,
}

type Handler = fn(Call<'_>) -> Result<usize, NTSTATUS>;

/// Every code and who answers it.
static HANDLERS: [(Code, Handler); 12] = [
    (Code::QueryVersion, query_version),
    (Code::QueryStatus, query_status),
    (Code::SetPolicy, set_policy),
    (Code::GetPolicy, get_policy),
    (Code::QueryCounters, query_counters),
    (Code::QueryRuleCounters, query_rule_counters),
    (Code::ListEndpoints, list_endpoints),
    (Code::QueryEndpoint, query_endpoint),
    (Code::ListClients, list_clients),
    (Code::ReadAudit, read_audit),
    (Code::Drain, drain),
    (Code::Lock, lock),
];

/// Answers a device control: bytes of output, or the status to fail with.
///
/// # Safety
/// `request` is the IRP that `buffer` belongs to.
pub unsafe fn dispatch(
    code: u32,
    buffer: &mut [u8],
    input: usize,
    output: usize,
    opened: &Opened,
    _request: *mut IRP,
) -> Result<usize, NTSTATUS> {
    let handler = HANDLERS.iter().find(|(known, _)| *known as u32 == code).map(|(_, handler)| handler);
    let answered = handler.ok_or(STATUS_INVALID_DEVICE_REQUEST).and_then(|handler| handler(Call { buffer, input, output, opened }));
    guard().count(if answered.is_ok() { Counter::IoctlsServed } else { Counter::IoctlsRefused });
    answered
}

/// A record was written: whoever waits for one can go on.
pub fn audit_written() {}

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

    /// The end of the input: output from here on, zeroed.
    fn reply<T: IntoBytes + Immutable>(self) -> Result<Reply<'a>, NTSTATUS> {
        let room = self.buffer.get_mut(..self.output).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        if room.len() < size_of::<T>() {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        room.zero();
        Ok(Reply { room, fixed: size_of::<T>(), used: size_of::<T>() })
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
        let Some(to) = self.room.get_mut(self.used..end) else { return false };
        to.copy_from_slice(bytes);
        self.used = end;
        true
    }

    /// How many more elements of `size` bytes fit, up to `max`.
    fn fits(&self, size: usize, max: u32) -> usize {
        let left = self.room.len().saturating_sub(self.used);
        left.checked_div(size).unwrap_or(0).min(usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Writes the fixed part.
    fn finish<T: IntoBytes + Immutable>(self, fixed: &T) -> Result<usize, NTSTATUS> {
        let to = self.room.get_mut(..self.fixed).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        fixed.write_to(to).map_err(|_| STATUS_BUFFER_TOO_SMALL)?;
        Ok(self.used)
    }
}

fn plain(call: &Call<'_>) -> Result<(), NTSTATUS> {
    call.parse::<Request>(|_| 0).map(|_| ())
}

fn zero(reserved: u32) -> Result<(), NTSTATUS> {
    if reserved == 0 { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) }
}

#[allow(clippy::cast_possible_truncation, reason = "lists are cut to what a 32-bit length can hold")]
fn count_of(number: usize) -> u32 {
    number as u32
}

/// The driver's version: major, minor, patch, 0.
fn driver_version() -> [u16; 4] {
    let part = |text: &str| text.parse().unwrap_or(0);
    [part(env!("CARGO_PKG_VERSION_MAJOR")), part(env!("CARGO_PKG_VERSION_MINOR")), part(env!("CARGO_PKG_VERSION_PATCH")), 0]
}

/// Answers whatever version asks.
fn query_version(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let reply = call.reply::<VersionReply>()?;
    reply.finish(&VersionReply { header: Header::of::<VersionReply>(), driver: driver_version() })
}

fn query_status(call: Call<'_>) -> Result<usize, NTSTATUS> {
    plain(&call)?;
    let reply = call.reply::<StatusReply>()?;
    let guard = guard();
    let mut status = StatusReply {
        header: Header::of::<StatusReply>(),
        driver: driver_version(),
        policy_mode: PolicyMode::Audit as u8,
        semantics: Mode::Audit as u8,
        endpoints: guard.live.load(core::sync::atomic::Ordering::Relaxed),
        endpoints_max: crate::guard::MAX_LISTED,
        processors: count_of(guard.processors),
        started: guard.started,
        windows: guard.windows,
        flags: status_flags::BUILT_IN_POLICY,
        ..StatusReply::default()
    };
    if let Some(generation) = guard.policy.enter() {
        let settings = generation.image.settings();
        status.flags = 0;
        status.policy_mode = settings.mode as u8;
        status.semantics = settings.semantics as u8;
        status.default_action = u8::from(settings.fallback == Fallback::Deny);
        status.generation = generation.number;
        status.policy_hash = generation.image.hash();
        status.rules = count_of(generation.hits.rules());
    }
    let clients = guard.clients.lock();
    status.clients = clients.count();
    if clients.draining() {
        status.flags |= status_flags::DRAINING;
    }
    drop(clients);
    if guard.policy.is_locked() {
        status.flags |= status_flags::LOCKED;
    }
    reply.finish(&status)
}

fn set_policy(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<SetPolicyRequest>(|request| request.image_length)?;
    zero(request.flags)?;
    let image = call.buffer.get(size_of::<SetPolicyRequest>()..call.input).ok_or(STATUS_INVALID_PARAMETER)?;
    if call.output < size_of::<PolicyReply>() {
        // Before anything changes: the caller could not learn what is in force.
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    let (generation, hash) = guard().policy.load(image, request.expected_generation)?;
    let reply = call.reply::<PolicyReply>()?;
    reply.finish(&PolicyReply { header: Header::of::<PolicyReply>(), generation, hash, total: request.image_length, count: 0 })
}

fn get_policy(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<GetPolicyRequest>(|_| 0)?;
    zero(request.reserved)?;
    let mut reply = call.reply::<PolicyReply>()?;
    let mut fixed = PolicyReply { header: Header::of::<PolicyReply>(), ..PolicyReply::default() };
    if let Some(generation) = guard().policy.enter() {
        let image = generation.bytes();
        fixed.generation = generation.number;
        fixed.hash = generation.image.hash();
        fixed.total = count_of(image.len());
        let rest = usize::try_from(request.offset).ok().and_then(|offset| image.get(offset..)).unwrap_or(&[]);
        let piece = rest.get(..reply.fits(1, u32::MAX)).unwrap_or(rest);
        if reply.push(piece) {
            fixed.count = count_of(piece.len());
        }
    }
    reply.finish(&fixed)
}

fn query_counters(call: Call<'_>) -> Result<usize, NTSTATUS> {
    plain(&call)?;
    let mut reply = call.reply::<CountersReply>()?;
    let guard = guard();
    let sums = guard.counters.sums();
    let generation = guard.policy.enter().map_or(0, |generation| generation.number);
    let count = sums.iter().take_while(|sum| reply.push(sum.as_bytes())).count();
    reply.finish(&CountersReply {
        header: Header::of::<CountersReply>(),
        generation,
        count: count_of(count),
        total: count_of(sums.len()),
        ..CountersReply::default()
    })
}

fn query_rule_counters(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<RangeRequest>(|_| 0)?;
    let mut reply = call.reply::<CountersReply>()?;
    let mut fixed = CountersReply { header: Header::of::<CountersReply>(), first: request.first, ..CountersReply::default() };
    if let Some(generation) = guard().policy.enter() {
        let rules = generation.hits.rules();
        fixed.generation = generation.number;
        fixed.total = count_of(rules).saturating_add(1);
        let first = usize::try_from(request.first).unwrap_or(usize::MAX);
        for rule in (first..=rules).take(reply.fits(8, request.max)) {
            let sum = generation.hits.sum((rule < rules).then_some(rule));
            if reply.push(sum.as_bytes()) {
                fixed.count = fixed.count.saturating_add(1);
            }
        }
    }
    reply.finish(&fixed)
}

fn list_reply<T>(next: u64, count: u32) -> ListReply {
    ListReply { header: Header::of::<ListReply>(), next, count, element_size: count_of(size_of::<T>()) }
}

fn list_endpoints(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<ListEndpointsRequest>(|_| 0)?;
    zero(request.reserved)?;
    let opened = call.opened;
    let mut reply = call.reply::<ListReply>()?;
    let table = &guard().table;
    let mut walk = if request.cursor == 0 {
        table.walk()
    } else {
        let (name, walk) = *opened.walk.lock();
        if name != request.cursor {
            return Err(STATUS_INVALID_PARAMETER);
        }
        walk
    };
    let room = reply.fits(size_of::<EndpointInfo>(), request.max);
    let (mut count, mut more) = (0_u32, true);
    for _ in 0..room {
        let Some(endpoint) = table.next(&mut walk) else {
            more = false;
            break;
        };
        if reply.push(endpoint.info(endpoint.id()).as_bytes()) {
            count = count.saturating_add(1);
        }
    }
    let next = if more { request.cursor.wrapping_add(u64::from(count)).max(1) } else { 0 };
    *opened.walk.lock() = (next, walk);
    reply.finish(&list_reply::<EndpointInfo>(next, count))
}

fn query_endpoint(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<QueryEndpointRequest>(|_| 0)?;
    let mut reply = call.reply::<ListReply>()?;
    let endpoint = guard().table.get(EndpointId(request.id)).ok_or(STATUS_NOT_FOUND)?;
    let pushed = reply.push(endpoint.info(endpoint.id()).as_bytes());
    reply.finish(&list_reply::<EndpointInfo>(0, u32::from(pushed)))
}

fn list_clients(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<RangeRequest>(|_| 0)?;
    let mut reply = call.reply::<ListReply>()?;
    let room = reply.fits(size_of::<ClientInfo>(), request.max);
    let first = usize::try_from(request.first).unwrap_or(usize::MAX);
    let mut count = 0_u32;
    let clients = guard().clients.lock();
    for client in clients.iter().skip(first).take(room) {
        if reply.push(client.info().as_bytes()) {
            count = count.saturating_add(1);
        }
    }
    let total = u64::from(clients.count());
    drop(clients);
    let next = u64::from(request.first).saturating_add(u64::from(count));
    reply.finish(&list_reply::<ClientInfo>(if count > 0 && next < total { next } else { 0 }, count))
}

fn read_audit(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<ReadAuditRequest>(|_| 0)?;
    if request.flags & !(audit_flags::FROM_OLDEST | audit_flags::FROM_NOW) != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let opened = call.opened;
    let mut reply = call.reply::<AuditReply>()?;
    let rings = &guard().rings;
    let taken = core::mem::replace(&mut opened.cursor.lock().state, Standing::Busy);
    let cursor = match (request.flags, taken) {
        (_, Standing::Busy) => return Err(STATUS_DEVICE_BUSY),
        (0, Standing::At(cursor)) => Some(cursor),
        (flags, _) if flags & audit_flags::FROM_NOW != 0 => rings.from_now(Pool),
        _ => rings.from_oldest(Pool),
    };
    let Some(mut cursor) = cursor else {
        opened.cursor.lock().state = Standing::Start;
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    };
    let (mut count, mut overwritten) = (0_u32, 0_u64);
    let mut chunk = [AuditEntry::new_zeroed(); 8];
    let mut room = reply.fits(size_of::<AuditEntry>(), request.max);
    while room > 0 {
        let length = room.min(chunk.len());
        let Some(out) = chunk.get_mut(..length) else { break };
        let result = rings.read(&mut cursor, out);
        overwritten = overwritten.saturating_add(result.overwritten);
        for record in out.iter().take(result.read) {
            if reply.push(record.as_bytes()) {
                count = count.saturating_add(1);
            }
        }
        room = room.saturating_sub(result.read);
        if result.read < length {
            break;
        }
    }
    let books = rings.books();
    let mut place = opened.cursor.lock();
    place.state = Standing::At(cursor);
    place.read = place.read.saturating_add(u64::from(count));
    place.overwritten = place.overwritten.saturating_add(overwritten);
    let fixed = AuditReply {
        header: Header::of::<AuditReply>(),
        count,
        element_size: count_of(size_of::<AuditEntry>()),
        overwritten: place.overwritten,
        read: place.read,
        decided: books.decided,
        written: books.written,
        suppressed: books.suppressed,
        dropped: books.dropped_busy,
    };
    drop(place);
    reply.finish(&fixed)
}

fn drain(call: Call<'_>) -> Result<usize, NTSTATUS> {
    let request = call.parse::<DrainRequest>(|_| 0)?;
    zero(request.reserved)?;
    if request.begin > 1 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let reply = call.reply::<DrainReply>()?;
    let guard = guard();
    if guard.policy.is_locked() {
        return Err(STATUS_MEDIA_WRITE_PROTECTED);
    }
    let mut clients = guard.clients.lock();
    let drained = clients.drain(request.begin == 1);
    let count = clients.count();
    drop(clients);
    reply.finish(&DrainReply {
        header: Header::of::<DrainReply>(),
        clients: count,
        endpoints: guard.live.load(core::sync::atomic::Ordering::Relaxed),
        drained: u32::from(drained),
        reserved: 0,
    })
}

fn lock(call: Call<'_>) -> Result<usize, NTSTATUS> {
    plain(&call)?;
    guard().policy.lock();
    Ok(0)
}

//! Audit records of this driver's decisions: built here, kept in the core's rings. IRQL <= `DISPATCH_LEVEL`.

use wdk_sys::NTSTATUS;
use wdk_sys::ntddk::{KeGetCurrentIrql, KeLowerIrql, KfRaiseIrql};
use wskguard_core::{
    NtStatus, RequestKind,
    audit::{self, AuditRecord, Happened, Kind, Limit, NO_RULE, Suppressed},
    decide::{self, BindVerdict, Verdict},
    policy::RuleRef,
    status::{Refusal, to_wsa},
};

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::guard::{guard, processor, system_time};
use crate::sockaddr::Address;
use crate::trace;

/// What one endpoint may write: 512 records at once, and 100 a second.
const ENDPOINT_LIMIT: Limit = Limit {
    burst: 512,
    interval: 100_000,
};

const DISPATCH_LEVEL: u8 = 2;

/// Time of a record that is not written yet: [`write`] asks for it, once.
pub const WHEN_WRITTEN: u64 = 0;

/// Whether the caller runs at `DISPATCH_LEVEL`.
pub fn at_dispatch() -> bool {
    // SAFETY: no precondition.
    unsafe { KeGetCurrentIrql() >= DISPATCH_LEVEL }
}

/// A control request, as far as its record tells.
#[derive(Clone, Copy)]
pub struct Asked {
    pub kind: RequestKind,
    pub level: u32,
    pub code: u32,
    pub length: usize,
}

/// What a control request leaves, but for its final status.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it is built where it is to lie")]
pub fn control(endpoint: &Endpoint, verdict: Verdict<'_>, generation: u64, request: Asked) -> AuditRecord {
    let mut record = common(endpoint, verdict.rule, generation, verdict.refusal, verdict.enforced);
    record.request = request.kind as u8;
    record.level = request.level;
    record.code = request.code;
    record.action = verdict.done as u8;
    record.mode = verdict.mode as u8;
    record.input_length = u32::try_from(request.length).unwrap_or(u32::MAX);
    for (value, field, flag) in [
        (verdict.old, &mut record.old_value, audit::FLAG_HAS_OLD),
        (verdict.asked, &mut record.asked_value, audit::FLAG_HAS_ASKED),
        (verdict.new, &mut record.new_value, audit::FLAG_HAS_NEW),
    ] {
        if let Some(value) = value {
            *field = value;
            record.flags |= flag;
        }
    }
    record
}

/// What a bind leaves, but for its final status.
pub fn bind(endpoint: &Endpoint, verdict: &BindVerdict, generation: u64, address: &Address) -> AuditRecord {
    let mut record = common(endpoint, verdict.rule, generation, verdict.refusal, verdict.enforced);
    record.request = RequestKind::Bind as u8;
    record.action = verdict.done as u8;
    record.mode = verdict.mode as u8;
    record.port = address.port();
    record.address = address.bytes();
    record
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "as `control`")]
fn common(
    endpoint: &Endpoint,
    rule: Option<RuleRef>,
    generation: u64,
    refusal: Option<Refusal>,
    enforced: bool,
) -> AuditRecord {
    let mut record = AuditRecord::new(Kind::Decision, WHEN_WRITTEN);
    describe(&mut record, endpoint);
    record.rule = rule.map_or(NO_RULE, |rule| rule.0);
    record.generation = u32::try_from(generation).unwrap_or(u32::MAX);
    if let Some(refusal) = refusal {
        record.reason = refusal.reason as u8;
        // What is not carried out, the client is not told.
        record.wsa = if enforced { refusal.wsa.0 } else { 0 };
    }
    if !enforced {
        record.flags |= audit::FLAG_NOT_ENFORCED;
    }
    if endpoint.options.load().verbose() {
        record.flags |= audit::FLAG_VERBOSE;
    }
    if at_dispatch() {
        record.flags |= audit::FLAG_AT_DISPATCH;
    }
    record
}

/// Fills in whose record it is.
#[inline]
pub fn describe(record: &mut AuditRecord, endpoint: &Endpoint) {
    record.endpoint = endpoint.id().0;
    record.client = endpoint.client().id().into();
    record.process = endpoint.process();
    record.family = endpoint.facts.family.0;
    record.category = endpoint.facts.category as u8;
    record.phase = endpoint.phase() as u8;
}

/// Something happened to the driver itself. What asks for nothing and comes late is not recorded, only traced.
pub fn event(event: Happened, status: NTSTATUS, generation: u64) {
    let mut record = AuditRecord::new(event.kind(), system_time());
    record.code = event as u32;
    record.status = status.cast_unsigned();
    record.generation = u32::try_from(generation).unwrap_or(u32::MAX);
    if !matches!(event, Happened::PolicyStored | Happened::Healthy | Happened::Stopping) {
        put(processor(), &record, None);
    } else if trace::listened() {
        trace::write(&record, &[]);
    }
}

/// A decision that nobody asked to have recorded: the rings' books count it.
pub fn not_wanted(cpu: usize) {
    guard().rings.suppress(cpu, Suppressed::NotWanted);
}

/// An endpoint came or went: recorded where everything is, or everything of this endpoint.
pub fn life(endpoint: &Endpoint, happened: Happened) {
    let state = endpoint.options.load();
    let reading = guard().policy.look();
    let wanted = decide::records_life(reading.as_ref().map(|generation| &generation.image), &state);
    drop(reading);
    if wanted {
        self::state(endpoint, happened, 0);
    }
}

/// Something happened to an endpoint that no request asked for.
pub fn state(endpoint: &Endpoint, happened: Happened, status: i32) {
    let mut record = AuditRecord::new(happened.kind(), WHEN_WRITTEN);
    describe(&mut record, endpoint);
    record.code = happened as u32;
    if happened == Happened::Lingering {
        record.flags |= audit::FLAG_OWN_REQUEST;
    }
    write(endpoint, record, status);
}

/// Something happened to a client.
pub fn client(client: &Client, happened: Happened) {
    let mut record = AuditRecord::new(happened.kind(), system_time());
    record.client = client.id().into();
    record.code = happened as u32;
    put(processor(), &record, Some(client));
}

/// Writes a record with the status that the client got, unless its endpoint has used up what it may write.
pub fn write(endpoint: &Endpoint, mut record: AuditRecord, status: i32) {
    write_on(processor(), endpoint, &mut record, status);
}

/// The same into the ring of the processor that the request came on, wherever it ends.
#[inline]
pub fn write_on(cpu: usize, endpoint: &Endpoint, record: &mut AuditRecord, status: i32) {
    let now = system_time();
    if !endpoint.budget.take(now, ENDPOINT_LIMIT) {
        guard().rings.suppress(cpu, Suppressed::EndpointBudget);
        return;
    }
    record.time = now;
    record.status = status.cast_unsigned();
    if record.wsa == 0 {
        record.wsa = to_wsa(NtStatus(record.status)).0;
    }
    put(cpu, record, Some(endpoint.client()));
}

/// Into the rings, and, if it got there, to the sessions that listen.
#[inline]
fn put(cpu: usize, record: &AuditRecord, client: Option<&Client>) {
    // A writer that is preempted in the middle would hold readers up.
    // SAFETY: raising to DISPATCH_LEVEL from at most that.
    let irql = unsafe { KfRaiseIrql(DISPATCH_LEVEL) };
    let written = guard().rings.write(cpu, record);
    // SAFETY: the level that was raised from.
    unsafe { KeLowerIrql(irql) };
    crate::ioctl::audit_written();
    if let Some(sequence) = written
        && trace::listened()
    {
        tell(record, cpu, sequence, client);
    }
}

/// Tells the sessions what a reader of the rings will be told.
#[cold]
fn tell(record: &AuditRecord, cpu: usize, sequence: u64, client: Option<&Client>) {
    let record = AuditRecord {
        sequence,
        cpu: u16::try_from(cpu).unwrap_or(u16::MAX),
        ..*record
    };
    trace::write(&record, client.map_or(&[], Client::image));
}

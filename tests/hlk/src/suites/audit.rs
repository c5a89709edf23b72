//! The audit trail: what a decision leaves, and books that balance.

use anyhow::{Context as _, Result, anyhow, ensure};
use probe_protocol::probe::{Bench, BenchReport, Op, Workload};
use testkernel_check::verifier::Verifier;
use wskguard_abi::{AuditEntry, AuditReply, EndpointInfo, audit_flags};
use wskguard_core::audit::{
    AuditRecord, FLAG_AT_DISPATCH, FLAG_HAS_ASKED, FLAG_HAS_NEW, FLAG_HAS_OLD, FLAG_NOT_ENFORCED, FLAG_OWN_REQUEST,
    NO_RULE,
};
use wskguard_core::decide::Done;
use zerocopy::{FromBytes, IntoBytes};

use super::policy::InForce;
use crate::check;
use crate::context::{Context, skip};
use crate::guard::Guard;
use crate::probe::{Client, Family, guid};
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_DEBUG, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET};

/// `WSAEACCES`.
const WSAEACCES: u32 = 10013;
/// Reasons of suppression, as `AuditReply::suppressed` counts them.
const ENDPOINT_BUDGET: usize = 0;

tests! {
    "audit";
    denied_set, Filtered, "IOCTL.md AuditEntry", "a denied set leaves exactly one record, which says who asked for what, and what came of it";
    denied_bind, Filtered, "IOCTL.md AuditEntry", "a denied bind leaves its address and port";
    changed_set, Filtered, "IOCTL.md AuditEntry", "a clamped set leaves the old, the asked and the new value";
    changed_get, Filtered, "IOCTL.md AuditEntry", "a get that a rule changes says so, and what the client was told";
    not_carried_out, Filtered, "IOCTL.md AuditEntry", "what audit mode does not carry out is flagged, and carries the status that the client got";
    initial_options, Filtered, "IOCTL.md AuditEntry", "an initial option is recorded as the driver's own request";
    verbose_endpoint, Filtered, "IOCTL.md AuditEntry", "an endpoint with SO_DEBUG is recorded whole, and flagged";
    what_is_recorded, Filtered, "POLICY.md audit", "`marked`, `changes` and `all` record what they say";
    writers_books, Filtered, "decisions and records", "decided = written + suppressed + dropped, and each decision counts once";
    order, Filtered, "IOCTL.md AuditEntry", "records of one processor are numbered without gaps";
    two_readers, Filtered, "IOCTL.md ReadAuditRequest", "readers do not disturb each other";
    crash_data, Filtered, "OPERATING After a crash", "a crash dump keeps the counters and the newest records";
    @60 stalled_reader, Filtered, "decisions and records", "a reader that stalls is told what it lost: read + overwritten = written";
    @60 flooded_endpoint, Filtered, "decisions and records", "an endpoint that floods runs out of budget, and another's record is still there";
}

/// A reader of what is recorded from its making on.
pub(super) struct Reader {
    guard: Guard,
    begin: AuditReply,
}

impl Reader {
    pub(super) fn from_now() -> Result<Self> {
        let mut guard = Guard::open()?;
        let begin = guard.read_audit(audit_flags::FROM_NOW, 0)?.reply;
        Ok(Self { guard, begin })
    }

    /// All there is to read.
    pub(super) fn rest(&mut self) -> Result<(AuditReply, Vec<AuditEntry>)> {
        let mut entries = Vec::new();
        loop {
            let batch = self.guard.read_audit(0, u32::MAX)?;
            if batch.entries.is_empty() {
                return Ok((batch.reply, entries));
            }
            entries.extend(batch.entries);
        }
    }

    /// The one record there is to read.
    fn one(&mut self) -> Result<AuditEntry> {
        let (_, entries) = self.rest()?;
        check::equal("records", entries.len(), 1)?;
        entries.first().copied().context("a record")
    }
}

/// Layout of the secondary dump data, as docs/OPERATING.md has it.
mod dump {
    pub(super) const NAME: wskguard_abi::GuidFields = (
        0x5D7C_2C4E,
        0x2B7E,
        0x4E55,
        [0x9C, 0x0D, 0x6E, 0x1B, 0x5A, 0x9F, 0x3D, 0x21],
    );
    pub(super) const COUNTER_COUNT: usize = 12;
    pub(super) const RECORD_COUNT: usize = 16;
    pub(super) const RECORD_SIZE: usize = 20;
    pub(super) const WRITTEN: usize = 32;
    pub(super) const COUNTERS: usize = 56;
}

/// The verifier calls the callback as in a crash; what it adds has to agree with what the device tells at the same time.
fn crash_data(context: &Context) -> Result<()> {
    let Ok(verifier) = Verifier::open() else {
        return skip("only the test kernel can ask for a crash's data without a crash");
    };
    let _policy = InForce::load("audit = \"all\"", "")?;
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    for on in [1, 0, 1] {
        socket.set(SO_BROADCAST, on)?;
    }
    let mut guard = context.guard()?;
    let newest = guard.read_audit(audit_flags::FROM_NOW, 0)?.reply;
    let counters = guard.counters()?.values;
    let data = verifier.crash_data()?;
    let (_, data) = data
        .iter()
        .find(|(name, _)| *name == guid(dump::NAME))
        .context("the driver's data")?;
    let number = |at: usize| -> Result<u32> {
        Ok(u32::from_le_bytes(
            *data.get(at..).and_then(<[u8]>::first_chunk).context("cut short")?,
        ))
    };
    let word = |at: usize| -> Result<u64> {
        Ok(u64::from_le_bytes(
            *data.get(at..).and_then(<[u8]>::first_chunk).context("cut short")?,
        ))
    };
    ensure!(data.starts_with(b"WskGuard"), "another magic");
    let (count, records, size) = (
        number(dump::COUNTER_COUNT)?,
        number(dump::RECORD_COUNT)?,
        number(dump::RECORD_SIZE)?,
    );
    check::equal("counters", count as usize, counters.len())?;
    for (index, told) in counters.iter().enumerate() {
        // Asking for the counters counts as a request of its own.
        let dumped = word(dump::COUNTERS + 8 * index)?;
        ensure!(
            dumped >= *told && dumped <= told + 2,
            "counter {index}: {dumped} in the dump, {told} told"
        );
    }
    check::equal("records written", word(dump::WRITTEN)?, newest.written)?;
    check::equal("size of a record", size as usize, size_of::<AuditRecord>())?;
    let first = dump::COUNTERS + 8 * count as usize;
    let mut set = 0;
    for index in 0..records as usize {
        let record = data.get(first + index * size as usize..).context("cut short")?;
        let (record, _) = AuditRecord::read_from_prefix(record).map_err(|_| anyhow!("record {index} is cut short"))?;
        set +=
            u32::from(record.level == SOL_SOCKET && record.code == SO_BROADCAST && record.flags & FLAG_HAS_ASKED != 0);
    }
    ensure!(
        set >= 3,
        "{set} of the three requests are in the dump's {records} records"
    );
    Ok(())
}

fn balanced(reply: &AuditReply) -> Result<()> {
    let out = reply.written + reply.suppressed.iter().sum::<u64>() + reply.dropped;
    check::equal("written + suppressed + dropped", out, reply.decided)
}

/// The only endpoint there is.
fn only_endpoint() -> Result<EndpointInfo> {
    let mut guard = Guard::open()?;
    let endpoints = guard.endpoints().collect::<Result<Vec<_>, _>>()?;
    ensure!(endpoints.len() == 1, "{} endpoints instead of 1", endpoints.len());
    Ok(endpoints[0])
}

const TWO_RULES: &str = "[[rule]]\nname = \"other\"\nrequest = \"get\"\noption = \"SO_SNDBUF\"\naction = \"deny\"\n\
                         [[rule]]\nname = \"the rule\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n";

fn denied_set(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let mut policy = InForce::load("", TWO_RULES)?;
    let (endpoint, who) = (only_endpoint()?, policy.0.client_of("probe.sys")?);
    let mut reader = Reader::from_now()?;
    let set = socket.set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes());
    set.fails_with(status::ACCESS_DENIED)?;
    let record = reader.one()?;
    check::equal("endpoint", record.endpoint, endpoint.id)?;
    check::equal("client", record.client, u64::from(who.id))?;
    check::equal("rule", record.rule, 1)?;
    check::equal(
        "generation",
        u64::from(record.generation),
        policy.0.status()?.generation,
    )?;
    check::equal("status", record.status.cast_signed(), status::ACCESS_DENIED)?;
    check::equal("wsa", record.wsa, WSAEACCES)?;
    check::equal(
        "what",
        (record.kind, record.request, record.level, record.code),
        (1, 0, SOL_SOCKET, SO_BROADCAST),
    )?;
    check::equal("action", record.action, Done::Denied as u8)?;
    check::equal("values", (record.old_value, record.asked_value), (0, 1))?;
    check::equal(
        "flags",
        record.flags & (FLAG_HAS_OLD | FLAG_HAS_ASKED | FLAG_HAS_NEW),
        FLAG_HAS_OLD | FLAG_HAS_ASKED,
    )?;
    check::equal(
        "other flags",
        record.flags & (FLAG_AT_DISPATCH | FLAG_NOT_ENFORCED | FLAG_OWN_REQUEST),
        0,
    )?;
    check::equal("input", record.input_length, 4)?;
    check::equal(
        "socket",
        (record.family, record.category, record.phase),
        (2, endpoint.category, endpoint.phase),
    )?;
    check::equal("version", record.version, 1)?;
    set.at_dispatch().fails_with(status::ACCESS_DENIED)?;
    check::equal(
        "at DISPATCH_LEVEL",
        reader.one()?.flags & FLAG_AT_DISPATCH,
        FLAG_AT_DISPATCH,
    )?;
    socket.get(SO_BROADCAST)?;
    check::equal("of what changes nothing", reader.rest()?.1.len(), 0)
}

fn denied_bind(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load(
        "",
        "[[rule]]\nname = \"low\"\nrequest = \"bind\"\nport = \"1..=1023\"\naction = \"deny\"\n",
    )?;
    let mut reader = Reader::from_now()?;
    for family in Family::BOTH {
        client
            .datagram_socket(family)?
            .bind_call(family.loopback(1000))
            .fails_with(status::ACCESS_DENIED)?;
        let record = reader.one()?;
        let mut address = [0; 16];
        let local = family.loopback(0);
        match local.0.ip() {
            std::net::IpAddr::V4(ip) => address[..4].copy_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => address = ip.octets(),
        }
        check::equal("port", record.port, 1000)?;
        check::equal("address", record.address, address)?;
        check::equal(
            "what",
            (record.request, record.rule, record.action),
            (3, 0, Done::Denied as u8),
        )?;
        check::equal("family", u32::from(record.family), family.number())?;
        check::equal(
            "result",
            (record.status.cast_signed(), record.wsa),
            (status::ACCESS_DENIED, WSAEACCES),
        )?;
    }
    Ok(())
}

fn changed_set(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    socket.set(SO_RCVBUF, 5000)?;
    let _policy = InForce::load(
        "",
        "[[rule]]\nname = \"ceiling\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"clamp\"\nmin = 0\nmax = 65536\n",
    )?;
    let mut reader = Reader::from_now()?;
    socket.set(SO_RCVBUF, 1 << 20)?;
    let record = reader.one()?;
    check::equal(
        "values",
        (record.old_value, record.asked_value, record.new_value),
        (5000, 1 << 20, 65_536),
    )?;
    check::equal(
        "known",
        record.flags & (FLAG_HAS_OLD | FLAG_HAS_ASKED | FLAG_HAS_NEW),
        FLAG_HAS_OLD | FLAG_HAS_ASKED | FLAG_HAS_NEW,
    )?;
    check::equal(
        "result",
        (record.action, record.status, record.wsa),
        (Done::Clamped as u8, 0, 0),
    )
}

fn changed_get(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = InForce::load(
        "",
        "[[rule]]\nname = \"told\"\nrequest = \"get\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 4711\n",
    )?;
    let mut reader = Reader::from_now()?;
    check::equal("SO_RCVBUF", socket.get(SO_RCVBUF)?, 4711)?;
    let record = reader.one()?;
    check::equal("what", (record.request, record.code, record.rule), (1, SO_RCVBUF, 0))?;
    check::equal(
        "new value",
        (record.new_value, record.flags & FLAG_HAS_NEW),
        (4711, FLAG_HAS_NEW),
    )?;
    check::equal("action", record.action, Done::Forced as u8)
}

fn not_carried_out(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = InForce::load("mode = \"audit\"", TWO_RULES)?;
    let mut reader = Reader::from_now()?;
    socket.set(SO_BROADCAST, 1)?;
    let record = reader.one()?;
    check::equal("rule", record.rule, 1)?;
    check::equal("flag", record.flags & FLAG_NOT_ENFORCED, FLAG_NOT_ENFORCED)?;
    check::equal("action", record.action, Done::Forwarded as u8)?;
    check::equal(
        "status and Winsock error that the client got",
        (record.status, record.wsa),
        (0, 0),
    )
}

fn initial_options(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load(
        "",
        "[[initial]]\ncategory = \"datagram\"\noption = \"SO_SNDBUF\"\nvalue = 12345\n",
    )?;
    let mut reader = Reader::from_now()?;
    let _socket = client.datagram_socket(Family::V4)?;
    let record = reader.one()?;
    check::equal("endpoint", record.endpoint, only_endpoint()?.id)?;
    check::equal(
        "what",
        (record.code, record.action, record.rule),
        (SO_SNDBUF, Done::Initial as u8, NO_RULE),
    )?;
    check::equal(
        "value",
        (record.new_value, record.flags & FLAG_HAS_NEW),
        (12_345, FLAG_HAS_NEW),
    )?;
    check::equal("flag", record.flags & FLAG_OWN_REQUEST, FLAG_OWN_REQUEST)?;
    check::equal("status", record.status, 0)
}

fn verbose_endpoint(context: &Context) -> Result<()> {
    const FLAG_VERBOSE: u16 = 2;
    let client = context.attach()?;
    let (loud, quiet) = (client.datagram_socket(Family::V4)?, client.datagram_socket(Family::V4)?);
    let _policy = InForce::load("audit = \"marked\"", "")?;
    loud.set_call(SO_DEBUG, SOL_SOCKET, &1_u32.to_le_bytes()).run()?;
    let mut reader = Reader::from_now()?;
    quiet.set(SO_BROADCAST, 1)?;
    loud.set(SO_BROADCAST, 1)?;
    loud.get(SO_BROADCAST)?;
    let (_, entries) = reader.rest()?;
    check::equal("records", entries.len(), 2)?;
    check::holds("flagged", entries.iter().all(|entry| entry.flags & FLAG_VERBOSE != 0))
}

fn what_is_recorded(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let tables = "[[rule]]\nname = \"marked\"\nrequest = \"set\"\noption = \"SO_SNDBUF\"\naction = \"audit\"\n\
                  [[rule]]\nname = \"changed\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 8192\n";
    for (keys, expected) in [("audit = \"marked\"", 1), ("", 2), ("audit = \"all\"", 3)] {
        let _policy = InForce::load(keys, tables)?;
        let mut reader = Reader::from_now()?;
        socket.set(SO_SNDBUF, 8192)?.set(SO_RCVBUF, 1)?.set(SO_BROADCAST, 1)?;
        check::equal(&format!("records with {keys:?}"), reader.rest()?.1.len(), expected)?;
    }
    Ok(())
}

fn writers_books(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = InForce::load("", TWO_RULES)?;
    let mut reader = Reader::from_now()?;
    balanced(&reader.begin)?;
    for _ in 0..10 {
        socket
            .set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes())
            .fails_with(status::ACCESS_DENIED)?;
        socket.set(SO_RCVBUF, 8192)?.get(SO_RCVBUF)?;
    }
    socket.bind(Family::V4.loopback(0))?;
    let (end, entries) = reader.rest()?;
    balanced(&end)?;
    check::equal("decided", end.decided - reader.begin.decided, 31)?;
    check::equal("written", end.written - reader.begin.written, 10)?;
    check::equal("given", (entries.len(), end.read, end.overwritten), (10, 10, 0))
}

/// Sets `SO_BROADCAST` so often, on so many sockets, as fast as the driver can.
pub(super) fn flood(client: &Client<'_>, sockets: u32, iterations: u32) -> Result<()> {
    let wish = Bench {
        workload: Workload::Set as u32,
        client: client.id,
        threads: 1,
        sockets,
        iterations,
        family: Family::V4.number(),
        code: SO_BROADCAST,
        level: SOL_SOCKET,
        protocol: 0,
        stretch: 0,
        pause_ms: 0,
    };
    let report: BenchReport = client.probe.ask_for(Op::Bench, &[wish.as_bytes()], 50_000)?;
    check::status("flood", report.status, status::SUCCESS)
}

fn order(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load("audit = \"all\"", "")?;
    let mut reader = Reader::from_now()?;
    flood(&client, 16, 2000)?;
    let (end, entries) = reader.rest()?;
    check::equal("none lost", end.overwritten, 0)?;
    check::holds("many", entries.len() > 500)?;
    let mut last = std::collections::HashMap::new();
    for entry in &entries {
        if let Some((sequence, _)) = last.insert(entry.cpu, (entry.sequence, entry.time)) {
            check::equal(
                &format!("sequence on processor {}", entry.cpu),
                entry.sequence,
                sequence + 1,
            )?;
        }
    }
    Ok(())
}

fn two_readers(context: &Context) -> Result<()> {
    let socket = context.attach()?.datagram_socket(Family::V4)?;
    let _policy = InForce::load("audit = \"all\"", "")?;
    let (mut one, mut other) = (Reader::from_now()?, Reader::from_now()?);
    let set = |count: u32| -> Result<()> { (0..count).try_for_each(|_| socket.set(SO_BROADCAST, 1).map(drop)) };
    set(3)?;
    check::equal("the first", one.rest()?.1.len(), 3)?;
    set(2)?;
    check::equal("the first, further on", one.rest()?.1.len(), 2)?;
    let piece = other.guard.read_audit(0, 2)?;
    check::equal("the other, two", (piece.entries.len(), piece.reply.read), (2, 2))?;
    let (end, entries) = other.rest()?;
    check::equal(
        "the other, the rest",
        (entries.len(), end.read, end.overwritten),
        (3, 5, 0),
    )?;
    check::equal("numbers alone", other.guard.read_audit(0, 0)?.reply.read, 5)?;
    let again = one.guard.read_audit(audit_flags::FROM_OLDEST, u32::MAX)?;
    check::holds("from the oldest", again.entries.len() >= 5)
}

fn stalled_reader(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load("audit = \"all\"", "")?;
    let mut reader = Reader::from_now()?;
    // Twice around the rings of all processors, with endpoints enough that budgets do not end it.
    let mut oracle = Guard::open()?;
    let wanted = u64::from(oracle.status()?.processors) * 4096 * 2;
    let mut rounds = 0;
    while oracle.read_audit(0, 0)?.reply.written - reader.begin.written < wanted {
        rounds += 1;
        ensure!(rounds < 40, "the rings do not fill");
        flood(&client, 64, 4000)?;
    }
    let (end, entries) = reader.rest()?;
    balanced(&end)?;
    check::holds("something was lost", end.overwritten > 0)?;
    check::equal("read", end.read, entries.len() as u64)?;
    check::equal(
        "read + overwritten",
        end.read + end.overwritten,
        end.written - reader.begin.written,
    )
}

fn flooded_endpoint(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let quiet = client.datagram_socket(Family::V4)?;
    let _policy = InForce::load(
        "audit = \"all\"",
        "[[rule]]\nname = \"seen\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"deny\"\n",
    )?;
    let endpoint = only_endpoint()?;
    let mut reader = Reader::from_now()?;
    quiet
        .set_call(SO_RCVBUF, SOL_SOCKET, &1_u32.to_le_bytes())
        .fails_with(status::ACCESS_DENIED)?;
    flood(&client, 1, 50_000)?;
    quiet
        .set_call(SO_RCVBUF, SOL_SOCKET, &2_u32.to_le_bytes())
        .fails_with(status::ACCESS_DENIED)?;
    let (end, entries) = reader.rest()?;
    balanced(&end)?;
    let asked: Vec<_> = entries
        .iter()
        .filter(|entry| entry.endpoint == endpoint.id)
        .map(|entry| entry.asked_value)
        .collect();
    let account = format!(
        "{} written, {} suppressed, {} lost",
        end.written - reader.begin.written,
        end.suppressed[ENDPOINT_BUDGET],
        end.overwritten
    );
    check::equal(&format!("records of the quiet endpoint ({account})"), asked, vec![1, 2])?;
    check::holds(
        &format!("the flooder ran out of budget ({account})"),
        end.suppressed[ENDPOINT_BUDGET] > reader.begin.suppressed[ENDPOINT_BUDGET],
    )
}

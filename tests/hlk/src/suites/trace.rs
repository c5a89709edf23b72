//! Events for tracing sessions (ETW), as a session decodes them: by the description that each carries, which is read here by the published
//! rules of TraceLogging and not by the driver's code.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkernel_check::verifier::{Event, Verifier, text};
use wskguard_abi::AuditEntry;
use wskguard_core::audit::Happened;
use wskguard_core::trace::{PROVIDER_ID, PROVIDER_NAME, keywords};
use wskguardctl::audit::Cursor;
use zerocopy::IntoBytes;

use super::audit::{Reader, flood};
use super::policy::InForce;
use super::state;
use crate::check;
use crate::context::{Context, skip};
use crate::guard::{Guard, PERMISSIVE};
use crate::probe::{Family, guid};
use crate::runner::tests;
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_RCVBUF, SOL_SOCKET};

tests! {
    "trace";
    decisions, Filtered, "OPERATING.md Tracing", "an event describes itself, and says what the audit record says, field by field";
    one_for_each_record, Filtered, "OPERATING.md Tracing", "each record written has its event, under load too, and no other has one";
    nobody_listens, Filtered, "OPERATING.md Tracing", "without a session, and with one that wants none of it, ETW is not called";
    levels_and_keywords, Filtered, "OPERATING.md Tracing", "a session gets what its level and keywords say";
    @60 driver_events, Filtered, "OPERATING.md Tracing", "stop, start, policy, and loud when what was stored is bad";
    @60 turned_off, Filtered, "OPERATING.md Tracing", "loud when the driver is turned off";
}

const ERROR: u8 = 2;
const WARNING: u8 = 3;
const INFORMATIONAL: u8 = 4;
const CHANNEL_TRACELOGGING: u8 = 11;
const PROVIDER_METADATA: u32 = 2;
const EVENT_METADATA: u32 = 1;

/// A session, which ends with the test.
struct Session(Verifier);

impl Session {
    fn begin(level: u8, keywords: u64) -> Result<Self> {
        let Ok(verifier) = Verifier::open() else {
            return skip("sessions of Windows' own are looked at with its own tools");
        };
        verifier.session(level.into(), keywords)?;
        Ok(Self(verifier))
    }

    fn events(&self) -> Result<Vec<Decoded>> {
        let ours = guid(PROVIDER_ID);
        let events = self.0.events()?;
        events
            .iter()
            .filter(|event| event.provider == ours)
            .map(Decoded::new)
            .collect()
    }

    /// Events of what happened to the driver, once `last` is among them.
    fn until(&self, last: Happened) -> Result<Vec<(String, u8)>> {
        let begin = Instant::now();
        loop {
            let all = self.events()?;
            let told: Vec<_> = all.iter().map(|event| (event.text("what"), event.level)).collect();
            if told.iter().any(|(what, _)| what == last.name()) {
                return Ok(told);
            }
            ensure!(
                begin.elapsed() < Duration::from_secs(5),
                "no event {:?} among {told:?}",
                last.name()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Calls of EtwWriteTransfer so far.
    fn calls(&self) -> Result<u64> {
        let imports = self.0.imports()?;
        let ours = |import: &&_| -> bool {
            let import: &testkernel_check::verifier::ImportUse = import;
            text(&import.module) == "wskguard.sys" && text(&import.name) == "EtwWriteTransfer"
        };
        Ok(imports.iter().find(ours).context("the driver's import")?.calls)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.session(0, 0);
    }
}

/// An event taken apart.
#[derive(Debug)]
struct Decoded {
    name: String,
    level: u8,
    keyword: u64,
    irql: u32,
    /// Each field's bytes.
    fields: BTreeMap<String, Vec<u8>>,
    data: Vec<u8>,
}

/// Takes bytes from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Result<String> {
        let length = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .context("a text without end")?;
        let text = String::from_utf8(self.take(length)?.to_vec())?;
        self.byte()?;
        Ok(text)
    }

    /// Tags go on while a byte's highest bit is set.
    fn skip_tags(&mut self) -> Result<()> {
        while self.byte()? & 0x80 != 0 {}
        Ok(())
    }
}

impl Decoded {
    fn new(event: &Event) -> Result<Self> {
        let mut data = Bytes(event.data.get(..event.bytes as usize).context("an event cut short")?);
        let mut pieces = event.pieces.iter();
        let mut next = |kind| -> Result<&[u8]> {
            let [length, told] = *pieces.next().context("too few pieces")?;
            check::equal("kind of piece", told, kind)?;
            data.take(length as usize)
        };
        let provider = next(PROVIDER_METADATA)?;
        let metadata = next(EVENT_METADATA)?;
        let data = data.0;
        let mut provider = Bytes(provider);
        check::equal("size", usize::from(provider.u16()?), provider.0.len() + 2)?;
        check::equal("provider", provider.text()?.as_str(), PROVIDER_NAME)?;

        let mut metadata = Bytes(metadata);
        check::equal("size", usize::from(metadata.u16()?), metadata.0.len() + 2)?;
        metadata.skip_tags()?;
        let name = metadata.text()?;
        let (mut fields, mut values) = (BTreeMap::new(), Bytes(data));
        while !metadata.0.is_empty() {
            let field = metadata.text()?;
            let value = Self::value(&mut metadata, &mut values)?;
            check::holds("one field of a name", fields.insert(field, value.to_vec()).is_none())?;
        }
        check::equal("data that no field describes", values.0.len(), 0)?;
        let [_, _, _, channel, level, _, _, _, keyword @ ..] = event.descriptor;
        check::equal("channel", channel, CHANNEL_TRACELOGGING)?;
        Ok(Self {
            name,
            level,
            keyword: u64::from_le_bytes(keyword),
            irql: event.irql,
            fields,
            data: data.to_vec(),
        })
    }

    /// Reads a field's type and takes its value.
    fn value<'v>(metadata: &mut Bytes<'_>, values: &mut Bytes<'v>) -> Result<&'v [u8]> {
        let kind = metadata.byte()?;
        if kind & 0x80 != 0 && metadata.byte()? & 0x80 != 0 {
            metadata.skip_tags()?;
        }
        let count = match kind & 0x60 {
            0 => 1,
            0x20 => usize::from(metadata.u16()?),
            other => return Err(anyhow::anyhow!("an array of kind {other:#x}")),
        };
        let bytes = match kind & 0x1F {
            3 | 4 => 1,
            5 | 6 => 2,
            7 | 8 | 11 | 13 | 20 => 4,
            9 | 10 | 12 | 17 | 21 => 8,
            15 | 18 => 16,
            22 | 23 => usize::from(values.u16()?),
            other => return Err(anyhow::anyhow!("a field of type {other}")),
        };
        values.take(bytes * count)
    }

    fn number(&self, field: &str) -> Result<u64> {
        let bytes = self.fields.get(field).with_context(|| format!("no field {field}"))?;
        let mut number = [0; 8];
        number
            .get_mut(..bytes.len())
            .context("no number")?
            .copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number))
    }

    fn text(&self, field: &str) -> String {
        let bytes = self.fields.get(field).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

const DENY: &str = "[[rule]]\nname = \"the rule\"\nrequest = \"set\"\noption = \"SO_BROADCAST\"\naction = \"deny\"\n";

fn same(event: &Decoded, record: &AuditEntry) -> Result<()> {
    let bytes = record.as_bytes();
    check::equal("the record, byte for byte", event.data.get(..bytes.len()), Some(bytes))?;
    for (field, told) in [
        ("sequence", record.sequence),
        ("time", record.time),
        ("endpoint", record.endpoint),
        ("client", record.client),
        ("oldValue", record.old_value),
        ("askedValue", record.asked_value),
        ("newValue", record.new_value),
        ("process", record.process),
        ("level", record.level.into()),
        ("code", record.code.into()),
        ("rule", record.rule.into()),
        ("generation", record.generation.into()),
        ("status", record.status.into()),
        ("wsa", record.wsa.into()),
        ("inputLength", record.input_length.into()),
        ("scope", record.scope.into()),
        ("family", record.family.into()),
        ("port", record.port.into()),
        ("flags", record.flags.into()),
        ("cpu", record.cpu.into()),
        ("version", record.version.into()),
        ("kind", record.kind.into()),
        ("request", record.request.into()),
        ("action", record.action.into()),
        ("reason", record.reason.into()),
        ("mode", record.mode.into()),
        ("category", record.category.into()),
        ("phase", record.phase.into()),
    ] {
        check::equal(field, event.number(field)?, told)?;
    }
    check::equal("address", event.fields.get("address"), Some(&record.address.to_vec()))
}

fn decisions(context: &Context) -> Result<()> {
    const DISPATCH_LEVEL: u32 = 2;
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let _policy = InForce::load("audit = \"all\"", DENY)?;
    let session = Session::begin(INFORMATIONAL, keywords::DECISION)?;
    let mut reader = Reader::from_now()?;
    let denied = socket.set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes());
    denied.fails_with(status::ACCESS_DENIED)?;
    socket.set(SO_RCVBUF, 8192)?;
    denied.at_dispatch().fails_with(status::ACCESS_DENIED)?;
    let (_, mut records) = reader.rest()?;
    // The thread may have moved from one processor, and its ring, to another.
    records.sort_by_key(Cursor::of);
    let events = session.events()?;
    check::equal("records and events", (records.len(), events.len()), (3, 3))?;
    let listed = Guard::open()?.clients()?;
    let owner = listed.iter().find(|client| u64::from(client.id) == records[0].client);
    let owner = owner.context("the client is listed")?;
    let image = text(&owner.image);
    check::holds("the client's image is known", !image.is_empty())?;
    for (event, record) in events.iter().zip(&records) {
        same(event, record)?;
        check::equal("name", event.name.as_str(), "Decision")?;
        check::equal("keyword", event.keyword, keywords::DECISION)?;
        check::equal("client", event.text("clientImage"), image.clone())?;
    }
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.level, event.text("what"), event.irql))
        .collect();
    let expected = [
        (WARNING, "denied".to_owned(), 0),
        (INFORMATIONAL, "forwarded".to_owned(), 0),
        (WARNING, "denied".to_owned(), DISPATCH_LEVEL),
    ];
    check::equal("level, action, IRQL", told, expected.to_vec())?;
    check::holds(
        "why",
        !events[0].text("why").is_empty() && events[1].text("why").is_empty(),
    )
}

fn one_for_each_record(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load("audit = \"all\"", "")?;
    let session = Session::begin(INFORMATIONAL, 0)?;
    let mut reader = Reader::from_now()?;
    flood(&client, 4, 1200)?;
    let (end, records) = reader.rest()?;
    check::equal("records lost", end.overwritten, 0)?;
    let place = |event: &Decoded| Ok((event.number("cpu")?, event.number("sequence")?));
    let events = session.events()?.iter().map(place).collect::<Result<Vec<_>>>()?;
    let told: BTreeSet<_> = events.iter().copied().collect();
    let written: BTreeSet<_> = records
        .iter()
        .map(|record| (u64::from(record.cpu), record.sequence))
        .collect();
    check::equal("no event twice", told.len(), events.len())?;
    check::holds(&format!("{} records", written.len()), written.len() > 1000)?;
    check::holds("each record has its event, and each event its record", told == written)
}

fn nobody_listens(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let socket = client.datagram_socket(Family::V4)?;
    let _policy = InForce::load("audit = \"all\"", DENY)?;
    let denied = || {
        socket
            .set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes())
            .fails_with(status::ACCESS_DENIED)
    };
    for (level, wanted) in [(0, 0), (ERROR, 0), (INFORMATIONAL, keywords::LIFE)] {
        let session = Session::begin(level, wanted)?;
        let mut reader = Reader::from_now()?;
        let before = session.calls()?;
        (0..50).try_for_each(|_| denied().map(drop))?;
        check::equal("records", reader.rest()?.1.len(), 50)?;
        check::equal(&format!("calls, level {level}"), session.calls()?, before)?;
    }
    let session = Session::begin(WARNING, keywords::DECISION)?;
    let before = session.calls()?;
    denied()?;
    check::equal("calls with a session that wants it", session.calls()?, before + 1)
}

fn levels_and_keywords(context: &Context) -> Result<()> {
    let client = context.attach()?;
    let _policy = InForce::load("audit = \"all\"", DENY)?;
    let run = |level, wanted| -> Result<Vec<String>> {
        let session = Session::begin(level, wanted)?;
        let socket = client.datagram_socket(Family::V4)?;
        socket
            .set_call(SO_BROADCAST, SOL_SOCKET, &1_u32.to_le_bytes())
            .fails_with(status::ACCESS_DENIED)?;
        socket.set(SO_RCVBUF, 8192)?;
        socket.close()?;
        Ok(session.events()?.iter().map(|event| event.text("what")).collect())
    };
    let life = [Happened::EndpointOpened.name(), Happened::EndpointClosed.name()];
    check::equal(
        "everything",
        run(INFORMATIONAL, 0)?,
        vec![
            life[0].to_owned(),
            "denied".to_owned(),
            "forwarded".to_owned(),
            life[1].to_owned(),
        ],
    )?;
    check::equal("warnings", run(WARNING, 0)?, vec!["denied".to_owned()])?;
    check::equal(
        "lives",
        run(INFORMATIONAL, keywords::LIFE)?,
        life.map(str::to_owned).to_vec(),
    )?;
    check::equal("the driver's", run(INFORMATIONAL, keywords::DRIVER)?, Vec::new())
}

fn told(events: &[(String, u8)], happened: Happened, level: u8) -> Result<()> {
    let found = events.iter().find(|(what, _)| what == happened.name());
    let (_, told) = found.with_context(|| format!("no event {:?} among {events:?}", happened.name()))?;
    check::equal(&format!("level of {:?}", happened.name()), *told, level)
}

fn driver_events(_: &Context) -> Result<()> {
    let session = Session::begin(INFORMATIONAL, keywords::DRIVER)?;
    Guard::open()?.load(PERMISSIVE)?;
    let events = session.until(Happened::PolicyStored)?;
    told(&events, Happened::PolicyLoaded, INFORMATIONAL)?;
    state::restart_damaged()?;
    let events = session.until(Happened::Started)?;
    Guard::open()?.load(PERMISSIVE)?;
    for (happened, level) in [
        (Happened::Stopping, INFORMATIONAL),
        (Happened::StoredPolicyBad, ERROR),
        (Happened::Started, INFORMATIONAL),
    ] {
        told(&events, happened, level)?;
    }
    let refused = Guard::open()?.set_policy(b"no image", None);
    check::holds("refused", refused.is_err())?;
    told(
        &session.until(Happened::PolicyRefused)?,
        Happened::PolicyRefused,
        WARNING,
    )
}

fn turned_off(_: &Context) -> Result<()> {
    let session = Session::begin(ERROR, 0)?;
    state::restart_off()?;
    let events = session.events()?;
    state::restart_on()?;
    let events: Vec<_> = events.iter().map(|event| (event.text("what"), event.level)).collect();
    check::equal("errors", events, vec![(Happened::TurnedOff.name().to_owned(), ERROR)])
}

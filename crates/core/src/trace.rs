//! What a tracing session (ETW) is told of an audit record: the event's name, level and keyword, and the description of its fields that
//! TraceLogging puts into every event, so that no manifest has to be installed. Any IRQL.
//!
//! An event's data is the [`AuditRecord`] byte for byte, then [`Texts`], each a counted string: length in bytes (u16), UTF-8.

use core::mem::offset_of;

use crate::audit::{AuditRecord, Happened, Kind};
use crate::decide::Done;
use crate::status::Reason;

/// The provider's name, and what sessions find it by: the [`PROVIDER_ID`] is derived from it, as TraceLogging and EventSource do.
pub const PROVIDER_NAME: &str = "wskguard";

/// Id of the provider, as a GUID's fields: {787e0f4b-eed5-59ff-feef-ff909910662f}.
pub const PROVIDER_ID: (u32, u16, u16, [u8; 8]) = (
    0x787e_0f4b,
    0xeed5,
    0x59ff,
    [0xfe, 0xef, 0xff, 0x90, 0x99, 0x10, 0x66, 0x2f],
);

/// Keywords: what an event is about. A session asks for those it wants.
pub mod keywords {
    /// Decisions on requests.
    pub const DECISION: u64 = 1 << 0;
    /// The driver itself: its start and stop, the policy, the mode.
    pub const DRIVER: u64 = 1 << 1;
    /// Clients and endpoints: what came, went, or was lost.
    pub const LIFE: u64 = 1 << 2;
}

/// How much an event matters: the smaller the number, the more. A session takes those up to a level of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing, or not what was meant, is enforced.
    Error = 2,
    /// A request was refused, a connection or a provider lost.
    Warning = 3,
    /// Everything else.
    Informational = 4,
}

/// What is said of an event before its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// See [`Level`].
    pub level: Level,
    /// One of [`keywords`].
    pub keyword: u64,
    /// Name and fields, as TraceLogging describes them.
    pub metadata: &'static [u8],
}

/// What follows the record in an event's data, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a> {
    /// The action, or what happened.
    pub what: &'static str,
    /// Why a request was refused, or empty.
    pub why: &'static str,
    /// Image of the client, or empty.
    pub client: &'a [u8],
}

/// What to say of a record.
#[must_use]
pub fn event(record: &AuditRecord) -> Event {
    if record.kind == Kind::Decision as u8 {
        let refused = record.reason != 0 || record.status >= 0xC000_0000;
        return Event {
            level: if refused { Level::Warning } else { Level::Informational },
            keyword: keywords::DECISION,
            metadata: &DECISION,
        };
    }
    let (level, keyword) = match Happened::from_u32(record.code) {
        Some(happened) => (level(happened), keyword(happened)),
        None => (Level::Informational, keywords::DRIVER),
    };
    Event {
        level,
        keyword,
        metadata: if keyword == keywords::DRIVER { &DRIVER } else { &LIFE },
    }
}

/// The texts that follow it.
#[must_use]
pub fn texts<'a>(record: &AuditRecord, client: &'a [u8]) -> Texts<'a> {
    if record.kind == Kind::Decision as u8 {
        let done = Done::ALL.iter().find(|(done, _)| *done as u8 == record.action);
        return Texts {
            what: done.map_or("", |(_, name)| name),
            why: Reason::from_u8(record.reason).map_or("", Reason::name),
            client,
        };
    }
    Texts {
        what: Happened::from_u32(record.code).map_or("", Happened::name),
        why: "",
        client,
    }
}

fn level(happened: Happened) -> Level {
    match happened {
        loud if loud.is_loud() => Level::Error,
        Happened::PolicyRefused
        | Happened::ProviderLost
        | Happened::ConnectionReset
        | Happened::KeepAliveFailed
        | Happened::Locked => Level::Warning,
        _ => Level::Informational,
    }
}

fn keyword(happened: Happened) -> u64 {
    match happened {
        Happened::EndpointOpened
        | Happened::EndpointClosed
        | Happened::ClientAttached
        | Happened::ClientDetached
        | Happened::ProviderLost
        | Happened::ConnectionReset
        | Happened::KeepAliveFailed
        | Happened::Lingering => keywords::LIFE,
        _ => keywords::DRIVER,
    }
}

/// How a field's bytes are to be read and shown: TraceLogging's types, with their numbers.
#[derive(Clone, Copy)]
enum Type {
    U8,
    U16,
    U32,
    U64,
    Hex32,
    Hex64,
    FileTime,
    NtStatus,
    /// 16 bytes.
    Bytes16,
    /// Length (u16) and that many bytes.
    Utf8,
}

impl Type {
    /// Bytes in the metadata: type, how to show it or how many there are.
    const fn code(self) -> (u8, Option<u8>, Option<u16>) {
        /// Another byte follows: how to show it.
        const SHOWN: u8 = 0x80;
        /// So many of them, always.
        const COUNT: u8 = 0x20;
        match self {
            Self::U8 => (0x04, None, None),
            Self::U16 => (0x06, None, None),
            Self::U32 => (0x08, None, None),
            Self::U64 => (0x0A, None, None),
            Self::Hex32 => (0x14, None, None),
            Self::Hex64 => (0x15, None, None),
            Self::FileTime => (0x11, None, None),
            Self::NtStatus => (0x14 | SHOWN, Some(0x0E), None),
            Self::Bytes16 => (0x04 | COUNT, None, Some(16)),
            Self::Utf8 => (0x17 | SHOWN, Some(0x23), None),
        }
    }

    /// Bytes in an event's data; 0 where they are counted there.
    const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::Hex32 | Self::NtStatus => 4,
            Self::U64 | Self::Hex64 | Self::FileTime => 8,
            Self::Bytes16 => 16,
            Self::Utf8 => 0,
        }
    }
}

macro_rules! fields {
    ($($name:literal $field:ident $type:ident,)*) => {
        const FIELDS: &[(&str, Type)] = &[
            $(($name, Type::$type),)*
            ("what", Type::Utf8),
            ("why", Type::Utf8),
            ("clientImage", Type::Utf8),
        ];
        // The fields are the record's, in its order, without a gap.
        const _: () = {
            let mut at = 0_usize;
            $(
                assert!(offset_of!(AuditRecord, $field) == at);
                at = at.wrapping_add(Type::$type.bytes());
            )*
            assert!(at == size_of::<AuditRecord>());
        };
    };
}

fields! {
    "sequence" sequence U64,
    "time" time FileTime,
    "endpoint" endpoint Hex64,
    "client" client U64,
    "oldValue" old_value U64,
    "askedValue" asked_value U64,
    "newValue" new_value U64,
    "process" process U64,
    "level" level Hex32,
    "code" code Hex32,
    "rule" rule U32,
    "generation" generation U32,
    "status" status NtStatus,
    "wsa" wsa U32,
    "inputLength" input_length U32,
    "scope" scope U32,
    "family" family U16,
    "port" port U16,
    "flags" flags U16,
    "cpu" cpu U16,
    "version" version U8,
    "kind" kind U8,
    "request" request U8,
    "action" action U8,
    "reason" reason U8,
    "mode" mode U8,
    "category" category U8,
    "phase" phase U8,
    "address" address Bytes16,
}

/// What a provider says of itself: size, name, NUL.
pub static PROVIDER: [u8; PROVIDER_NAME.len() + 3] = provider();
static DECISION: [u8; event_length("Decision")] = describe("Decision");
static DRIVER: [u8; event_length("Driver")] = describe("Driver");
static LIFE: [u8; event_length("Life")] = describe("Life");

/// Bytes that are put one after the other while the crate is compiled: running out of room is an error there.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "of statics, while compiling"
)]
impl<const N: usize> Writer<N> {
    /// Begins with the size of the whole.
    #[expect(clippy::cast_possible_truncation, reason = "asserted in the first line")]
    const fn new() -> Self {
        assert!(N <= u16::MAX as usize);
        Self { bytes: [0; N], at: 0 }.u16(N as u16)
    }

    const fn byte(mut self, byte: u8) -> Self {
        self.bytes[self.at] = byte;
        self.at += 1;
        self
    }

    const fn u16(self, number: u16) -> Self {
        let [low, high] = number.to_le_bytes();
        self.byte(low).byte(high)
    }

    const fn text(mut self, text: &str) -> Self {
        let mut at = 0;
        while at < text.len() {
            self = self.byte(text.as_bytes()[at]);
            at += 1;
        }
        self.byte(0)
    }

    const fn finish(self) -> [u8; N] {
        assert!(self.at == N);
        self.bytes
    }
}

const fn provider<const N: usize>() -> [u8; N] {
    Writer::new().text(PROVIDER_NAME).finish()
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "while compiling"
)]
const fn event_length(name: &str) -> usize {
    // Size, tags (none), name and NUL.
    let mut length = 2 + 1 + name.len() + 1;
    let mut field = 0;
    while field < FIELDS.len() {
        let (name, kind) = FIELDS[field];
        let (_, shown, count) = kind.code();
        length += name.len() + 2 + if shown.is_some() { 1 } else { 0 } + if count.is_some() { 2 } else { 0 };
        field += 1;
    }
    length
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "while compiling"
)]
const fn describe<const N: usize>(name: &str) -> [u8; N] {
    const NO_TAGS: u8 = 0;
    let mut writer = Writer::new().byte(NO_TAGS).text(name);
    let mut field = 0;
    while field < FIELDS.len() {
        let (name, kind) = FIELDS[field];
        let (number, shown, count) = kind.code();
        writer = writer.text(name).byte(number);
        if let Some(shown) = shown {
            writer = writer.byte(shown);
        }
        if let Some(count) = count {
            writer = writer.u16(count);
        }
        field += 1;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_is_what_tracelogging_makes_of_the_name() {
        tracelogging::define_provider!(THEIRS, "wskguard");
        let (a, b, c, d) = PROVIDER_ID;
        assert_eq!(
            *THEIRS.id(),
            tracelogging::Guid::from_fields(a, b, c, d),
            "{:?}",
            THEIRS.id()
        );
        assert_eq!(PROVIDER, THEIRS.raw_meta());
    }

    /// Reads the fields' names, types and lengths as a consumer does.
    fn fields(mut metadata: &[u8]) -> Vec<(String, u8, Option<u16>)> {
        fn name(metadata: &mut &[u8]) -> String {
            let end = metadata.iter().position(|&byte| byte == 0).unwrap();
            let name = String::from_utf8(metadata[..end].to_vec()).unwrap();
            *metadata = &metadata[end + 1..];
            name
        }
        metadata = &metadata[3..];
        name(&mut metadata);
        let mut fields = Vec::new();
        while !metadata.is_empty() {
            let name = name(&mut metadata);
            let (kind, rest) = metadata.split_first().unwrap();
            metadata = if kind & 0x80 == 0 { rest } else { &rest[1..] };
            let count = (kind & 0x20 != 0).then(|| u16::from_le_bytes([metadata[0], metadata[1]]));
            metadata = &metadata[if count.is_some() { 2 } else { 0 }..];
            fields.push((name, kind & 0x1F, count));
        }
        fields
    }

    #[test]
    fn metadata_describes_the_record_and_three_texts() {
        for (metadata, name) in [
            (DECISION.to_vec(), "Decision"),
            (describe::<{ event_length("Driver") }>("Driver").to_vec(), "Driver"),
            (describe::<{ event_length("Life") }>("Life").to_vec(), "Life"),
        ] {
            assert_eq!(metadata.len(), event_length(name));
            assert_eq!(metadata[..2], u16::try_from(metadata.len()).unwrap().to_le_bytes());
            assert!(metadata[3..].starts_with(name.as_bytes()));
            let fields = fields(&metadata);
            assert_eq!(fields.len(), FIELDS.len());
            let mut bytes = 0;
            for ((read, _, count), (name, kind)) in fields.iter().zip(FIELDS) {
                assert_eq!((read.as_str(), *count), (*name, kind.code().2));
                bytes += kind.bytes();
            }
            assert_eq!(bytes, size_of::<AuditRecord>());
        }
        assert_eq!(provider::<{ PROVIDER.len() }>(), PROVIDER);
    }

    #[test]
    fn levels_and_keywords() {
        let of = |happened: Happened| {
            let mut record = AuditRecord::new(happened.kind(), 0);
            record.code = happened as u32;
            let metadata: &[u8] = if keyword(happened) == keywords::DRIVER {
                &DRIVER
            } else {
                &LIFE
            };
            assert_eq!(event(&record).metadata, metadata);
            (event(&record).level, event(&record).keyword, texts(&record, b"").what)
        };
        assert_eq!(
            of(Happened::StoredPolicyBad),
            (Level::Error, keywords::DRIVER, "stored policy bad")
        );
        assert_eq!(
            of(Happened::PolicyLoaded),
            (Level::Informational, keywords::DRIVER, "policy loaded")
        );
        assert_eq!(
            of(Happened::KeepAliveFailed),
            (Level::Warning, keywords::LIFE, "keep-alive failed")
        );
        let mut record = AuditRecord::new(Kind::Decision, 0);
        assert_eq!(
            (event(&record).level, event(&record).keyword),
            (Level::Informational, keywords::DECISION)
        );
        record.action = Done::Denied as u8;
        record.reason = Reason::ALL[0] as u8;
        assert_eq!(
            (event(&record).level, texts(&record, b"").what),
            (Level::Warning, "denied")
        );
        assert_eq!(texts(&record, b"").why, Reason::ALL[0].name());
    }
}

//! Audit records as people and scripts see them: words for numbers, a cursor for each, and the order across processors.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wskguard_abi::AuditEntry;
use wskguard_core::audit::{
    FLAG_AT_DISPATCH, FLAG_HAS_ASKED, FLAG_HAS_NEW, FLAG_HAS_OLD, FLAG_NOT_ENFORCED, FLAG_OWN_REQUEST, FLAG_TRUNCATED,
    FLAG_VERBOSE, Happened, Kind, NO_RULE,
};

use crate::{names, time};

/// Place of a record in the order of all processors: (time, processor, sequence).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    time: u64,
    cpu: u16,
    sequence: u64,
}

impl Cursor {
    /// Where `entry` is.
    #[must_use]
    pub const fn of(entry: &AuditEntry) -> Self {
        Self {
            time: entry.time,
            cpu: entry.cpu,
            sequence: entry.sequence,
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{}-{}", self.time, self.cpu, self.sequence)
    }
}

/// The last record that is not wanted any more: a record's cursor, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Cursor);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(time) = time::parse(text) {
            return Ok(Self(Cursor {
                time,
                cpu: 0,
                sequence: 0,
            }));
        }
        let mut parts = text.split('-');
        let mut part = || parts.next();
        let cursor = (|| {
            let time = part().filter(|digits| digits.len() == 16)?;
            let time = u64::from_str_radix(time, 16).ok()?;
            let (cpu, sequence) = (part()?.parse().ok()?, part()?.parse().ok()?);
            part().is_none().then_some(Cursor { time, cpu, sequence })
        })();
        cursor
            .map(Self)
            .ok_or("expected a record's cursor, or a time such as 2025-06-01T12:00:00Z")
    }
}

/// What turns numbers of a record into names.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Clients, by number.
    pub clients: Vec<(u32, String)>,
    /// Generation whose rules these are.
    pub generation: u64,
    /// Names of rules, by index.
    pub rules: Vec<String>,
}

impl Directory {
    /// File name of a client's image; empty when it is not attached any more.
    #[must_use]
    pub fn image(&self, client: u64) -> &str {
        let found = self.clients.iter().find(|(id, _)| u64::from(*id) == client);
        found.map_or("", |(_, image)| image)
    }

    /// Name of a rule, if its generation is the one known.
    fn rule(&self, generation: u32, index: u32) -> Option<&str> {
        if u64::from(generation) != self.generation {
            return None;
        }
        self.rules.get(index as usize).map(String::as_str)
    }
}

/// An audit record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Record {
    /// Its place in the order of all processors, for `--since`.
    pub cursor: String,
    /// When.
    pub time: String,
    /// `decision`, `state` or `lifecycle`.
    pub kind: String,
    /// Endpoint id; null where there is none.
    pub endpoint: Option<String>,
    /// Number of the client; 0 where there is none.
    pub client: u64,
    /// File name of the client's image; empty when it is not attached any more.
    pub image: String,
    /// Owning process; null where WSK was given none.
    pub process: Option<u64>,
    /// `set`, `get`, `ioctl` or `bind`; empty for other kinds than `decision`.
    pub request: String,
    /// Name of the option or ioctl, or its numbers; empty for a bind.
    pub option: String,
    /// Level.
    pub level: u32,
    /// Option or ioctl; for other kinds than `decision`, what happened.
    pub code: u32,
    /// Category of the endpoint.
    pub category: String,
    /// Phase of the endpoint at the request.
    pub phase: String,
    /// Address family.
    pub family: String,
    /// Semantics mode in force.
    pub semantics: String,
    /// Value before; null when not known.
    pub old: Option<u64>,
    /// Value asked for; null when not known.
    pub asked: Option<u64>,
    /// Value given to the provider, or now in force; null when not known.
    pub new: Option<u64>,
    /// Bytes of the client's input.
    pub length: u32,
    /// Address and port of a bind; null otherwise.
    pub local: Option<String>,
    /// Port of a bind.
    pub port: u16,
    /// What was done; for other kinds than `decision`, what happened.
    pub action: String,
    /// Name of the rule; null when no rule decided, or its policy is not in force any more.
    pub rule: Option<String>,
    /// Index of the rule; null when no rule decided.
    pub rule_index: Option<u32>,
    /// Policy generation that decided.
    pub generation: u32,
    /// NTSTATUS that the client got.
    pub status: String,
    /// The same as a Winsock error; 0 is none.
    pub winsock: u32,
    /// Why it was refused; empty where it was not.
    pub reason: String,
    /// `truncated`, `verbose`, `not-enforced`, `at-dispatch`, `own-request`.
    pub flags: Vec<String>,
}

impl Record {
    /// `entry` in words.
    #[must_use]
    pub fn new(entry: &AuditEntry, directory: &Directory) -> Self {
        const BIND: u8 = wskguard_core::RequestKind::Bind as u8;
        let decision = entry.kind == Kind::Decision as u8;
        let known = |flag, value| (entry.flags & flag != 0).then_some(value);
        let rule_index = (entry.rule != NO_RULE).then_some(entry.rule);
        Self {
            cursor: Cursor::of(entry).to_string(),
            time: time::precise(entry.time),
            kind: names::record_kind(entry.kind),
            endpoint: (entry.endpoint != 0).then(|| names::id(entry.endpoint)),
            client: entry.client,
            image: directory.image(entry.client).to_owned(),
            process: (entry.process != 0).then_some(entry.process),
            request: if decision {
                names::request(entry.request)
            } else {
                String::new()
            },
            option: if decision {
                names::option(entry.request, entry.level, entry.code)
            } else {
                String::new()
            },
            level: entry.level,
            code: entry.code,
            category: names::category(entry.category),
            phase: names::phase(entry.phase),
            family: names::family(entry.family),
            semantics: names::semantics(entry.mode),
            old: known(FLAG_HAS_OLD, entry.old_value),
            asked: known(FLAG_HAS_ASKED, entry.asked_value),
            new: known(FLAG_HAS_NEW, entry.new_value),
            length: entry.input_length,
            local: (decision && entry.request == BIND).then(|| names::address(entry.family, entry.address, entry.port)),
            port: entry.port,
            action: match Happened::from_u32(entry.code) {
                _ if decision => names::action(entry.action),
                Some(happened) => happened.name().to_owned(),
                None => entry.code.to_string(),
            },
            rule: rule_index
                .and_then(|index| directory.rule(entry.generation, index))
                .map(str::to_owned),
            rule_index,
            generation: entry.generation,
            status: names::nt_status(entry.status),
            winsock: entry.wsa,
            reason: names::reason(entry.reason),
            flags: flags(entry.flags),
        }
    }
}

fn flags(bits: u16) -> Vec<String> {
    const NAMES: [(u16, &str); 5] = [
        (FLAG_TRUNCATED, "truncated"),
        (FLAG_VERBOSE, "verbose"),
        (FLAG_NOT_ENFORCED, "not-enforced"),
        (FLAG_AT_DISPATCH, "at-dispatch"),
        (FLAG_OWN_REQUEST, "own-request"),
    ];
    NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|&(_, name)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_are_in_order() {
        let cursor = Cursor {
            time: 0x01DB_D2EE_1234_5678,
            cpu: 3,
            sequence: 17,
        };
        assert_eq!(cursor.to_string(), "01dbd2ee12345678-3-17");
        assert_eq!(cursor.to_string().parse(), Ok(Since(cursor)));
        assert!(
            cursor
                < Cursor {
                    cpu: 4,
                    sequence: 0,
                    ..cursor
                }
                && cursor > Cursor { sequence: 16, ..cursor }
        );
        let time = "2025-06-01T12:00:00Z";
        assert_eq!(time.parse::<Since>().unwrap().0.time, time::parse(time).unwrap());
        for wrong in [
            "",
            "12",
            "01dbd2ee12345678",
            "01dbd2ee12345678-3",
            "01dbd2ee12345678-3-1-1",
            "1dbd-3-1",
        ] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_of_another_generation_have_no_name() {
        let directory = Directory {
            generation: 3,
            rules: vec!["first".into()],
            ..Directory::default()
        };
        assert_eq!(directory.rule(3, 0), Some("first"));
        assert_eq!((directory.rule(2, 0), directory.rule(3, 1)), (None, None));
    }
}

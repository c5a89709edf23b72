//! What commands print, as data: the JSON that docs/OPERATING.md and its schema describe, and what the tables are made from.
//! Ids and hashes are text, since 64 bits do not fit every JSON reader's numbers; times are RFC 3339.

use serde::{Deserialize, Serialize};
use wskguard_abi::{ClientInfo, EndpointInfo, client_flags, option_bits};

use crate::{names, time};

/// A client driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Client {
    /// Number, never reused while the driver is loaded.
    pub id: u32,
    /// File name of its image.
    pub image: String,
    /// How it is attached: `npi`, `transparent`; or `bypassing`: it had to bind to the system's provider.
    pub via: String,
    /// NPI module id.
    pub module: String,
    /// WSK version it asked for: `1.0`.
    pub wsk: String,
    /// Sockets it holds.
    pub sockets: u32,
    /// When it attached.
    pub attached: String,
}

impl From<&ClientInfo> for Client {
    fn from(info: &ClientInfo) -> Self {
        let image = info.image.get(..info.image_length as usize).unwrap_or(&info.image);
        let via = match info.flags {
            flags if flags & client_flags::BYPASSING != 0 => "bypassing",
            flags if flags & client_flags::TRANSPARENT != 0 => "transparent",
            flags if flags & client_flags::OWN_NPI != 0 => "npi",
            _ => "unknown",
        };
        Self {
            id: info.id,
            image: String::from_utf8_lossy(image).into_owned(),
            via: via.to_owned(),
            module: names::guid(info.module_id),
            wsk: format!("{}.{}", info.version >> 8, info.version & 0xFF),
            sockets: info.endpoints,
            attached: time::precise(info.attached),
        }
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// Id: hexadecimal, never reused.
    pub id: String,
    /// Number of the client that holds it.
    pub client: u32,
    /// File name of the client's image; empty when the client is gone.
    pub image: String,
    /// `basic`, `listen`, `connection`, `datagram`, `stream`.
    pub category: String,
    /// `inet`, `inet6` or a number.
    pub family: String,
    /// `stream`, `dgram`, `raw`.
    #[serde(rename = "type")]
    pub socket_type: String,
    /// `tcp`, `udp` or a number.
    pub protocol: String,
    /// `unbound`, `bound`, `listening`, `connected` and so on.
    pub phase: String,
    /// How option semantics are applied to it.
    pub semantics: String,
    /// Local address and port; null when it has none.
    pub local: Option<String>,
    /// Local port; 0 when it has none.
    pub port: u16,
    /// Options that are on.
    pub options: Vec<String>,
    /// `SO_RCVBUF` as last set, bytes; null when never set.
    pub rcvbuf: Option<u32>,
    /// `SO_SNDBUF` as last set, bytes; null when never set.
    pub sndbuf: Option<u32>,
    /// `l_linger`, seconds; null when `SO_LINGER` is off.
    pub linger: Option<u16>,
    /// Owning process; null where WSK was given none.
    pub process: Option<u64>,
    /// When it was created.
    pub created: String,
    /// Requests decided.
    pub decided: u64,
    /// Of those, refused.
    pub refused: u64,
}

impl Endpoint {
    /// `info`, with its client's image.
    #[must_use]
    pub fn new(info: &EndpointInfo, image: &str) -> Self {
        let bound = info.port != 0 || info.local != [0; 16];
        Self {
            id: names::id(info.id),
            client: info.client,
            image: image.to_owned(),
            category: names::category(info.category),
            family: names::family(info.family),
            socket_type: names::socket_type(info.socket_type),
            protocol: names::protocol(info.protocol),
            phase: names::phase(info.phase),
            semantics: names::semantics(info.mode),
            local: bound.then(|| names::address(info.family, info.local, info.port)),
            port: info.port,
            options: options(info.options),
            rcvbuf: (info.rcvbuf != 0).then_some(info.rcvbuf),
            sndbuf: (info.sndbuf != 0).then_some(info.sndbuf),
            linger: (info.options & option_bits::LINGER != 0).then_some(info.linger),
            process: (info.process != 0).then_some(info.process),
            created: time::precise(info.created),
            decided: info.decided,
            refused: info.refused,
        }
    }
}

/// Names of the options that are on.
fn options(bits: u32) -> Vec<String> {
    const NAMES: [(u32, &str); 9] = [
        (option_bits::BROADCAST, "SO_BROADCAST"),
        (option_bits::DEBUG, "SO_DEBUG"),
        (option_bits::DONTROUTE, "SO_DONTROUTE"),
        (option_bits::KEEPALIVE, "SO_KEEPALIVE"),
        (option_bits::OOBINLINE, "SO_OOBINLINE"),
        (option_bits::REUSEADDR, "SO_REUSEADDR"),
        (option_bits::EXCLUSIVEADDRUSE, "SO_EXCLUSIVEADDRUSE"),
        (option_bits::CONDITIONAL_ACCEPT, "SO_CONDITIONAL_ACCEPT"),
        (option_bits::LINGER, "SO_LINGER"),
    ];
    NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|&(_, name)| name.to_owned())
        .collect()
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counter {
    /// Name: stable.
    pub name: String,
    /// Value, or with `--delta` what was added.
    pub value: u64,
}

/// `counters`, and the file of `--delta`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counters {
    /// When the driver was started: counters begin at 0 then.
    pub started: String,
    /// When they were read.
    pub read: String,
    /// Policy generation: hits of rules belong to it.
    pub generation: u64,
    /// Policy hash.
    pub hash: String,
    /// The driver's counters.
    pub counters: Vec<Counter>,
    /// Hits of every rule, those of the default action last under the name `(default)`; only with `--rules`.
    pub rules: Vec<Counter>,
}

/// `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// Version of the driver.
    pub driver: String,
    /// Version of the IOCTL contract that both speak.
    pub contract: u32,
    /// Version of Windows: `10.0.19041`.
    pub windows: String,
    /// When the driver was started.
    pub started: String,
    /// Whether attaching clients are turned away.
    pub draining: bool,
    /// Whether policy changes are refused until the machine restarts.
    pub locked: bool,
    /// `Parameters\Mode=off`: nothing is decided, all is forwarded.
    pub kill_switch: bool,
    /// What the driver keeps for its next start, and what it found at this one.
    pub kept: Kept,
    /// The policy in force.
    pub policy: PolicySummary,
    /// The experimental transparent upper edge.
    pub transparent: Transparent,
    /// The endpoint table.
    pub endpoints: EndpointSummary,
    /// The audit rings.
    pub audit: Books,
    /// Attached clients, and those that bypass wskguard.
    pub clients: Vec<Client>,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicySummary {
    /// Its name; null for the built-in one, or when it was replaced while the status was read.
    pub name: Option<String>,
    /// Generation: 0 is the built-in policy.
    pub generation: u64,
    /// Content hash: `policy check` prints the same for the same file.
    pub hash: String,
    /// Whether nothing was loaded.
    pub built_in: bool,
    /// `enforce`, or `audit`: decide and record, change nothing.
    pub mode: String,
    /// `off`, `audit`, `compat` or `strict`.
    pub semantics: String,
    /// `allow` or `deny`.
    pub default: String,
    /// How many rules.
    pub rules: u32,
}

/// What the driver keeps for its next start, and what it found at this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kept {
    /// Whether the policy in force will be in force after the next start.
    pub stored: bool,
    /// Turned off after too many starts that were not healthy, until a policy is loaded.
    pub turned_off: bool,
    /// The policy kept last was damaged: the one of before was put in force at start.
    pub last_known_good: bool,
    /// What was kept was damaged, all of it: nothing was put in force at start.
    pub damaged: bool,
    /// Why it could not be read or written the last time: an NTSTATUS; null when it could.
    pub error: Option<String>,
    /// Starts since the last that was healthy, with this one until it is.
    pub unhealthy_starts: u32,
}

/// The transparent upper edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Transparent {
    /// `active`: the canary was handed wskguard's dispatch; `inactive`; `off`: not asked for.
    pub state: String,
    /// Why it is inactive: an NTSTATUS.
    pub why: Option<String>,
}

/// The endpoint table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndpointSummary {
    /// Live endpoints.
    pub live: u32,
    /// Most that the table lists.
    pub most: u32,
}

/// The books of the audit rings. decided = written + suppressed + dropped, as soon as no record is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Books {
    /// Decisions that might have left a record.
    pub decided: u64,
    /// Records written.
    pub written: u64,
    /// Not written: the endpoint's budget was used up.
    pub suppressed_endpoint_budget: u64,
    /// Not written: the client's budget was used up.
    pub suppressed_client_budget: u64,
    /// Not written: neither the policy nor the mode asks for it.
    pub not_wanted: u64,
    /// Lost: the slot was still being written.
    pub dropped: u64,
}

impl From<&wskguard_abi::AuditReply> for Books {
    fn from(reply: &wskguard_abi::AuditReply) -> Self {
        let [suppressed_endpoint_budget, suppressed_client_budget, not_wanted] = reply.suppressed;
        Self {
            decided: reply.decided,
            written: reply.written,
            suppressed_endpoint_budget,
            suppressed_client_budget,
            not_wanted,
            dropped: reply.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    //! The schema of everything that `--json` prints, as docs/wskguardctl.schema.json has it.

    use schemars::{JsonSchema, schema_for};

    use super::*;
    use crate::{audit::Record, command::schemas};

    /// What wskguardctl prints with `--json`, by command.
    #[derive(JsonSchema)]
    #[schemars(title = "wskguardctl --json", rename_all = "kebab-case")]
    #[expect(dead_code, reason = "describes the outputs, is never filled in")]
    struct Outputs {
        /// `status`: one document.
        status: Status,
        /// `clients`: one object a line.
        clients: Client,
        /// `endpoints list`: one object a line; `endpoints show`: one document.
        endpoints: Endpoint,
        /// `endpoints watch`: one object a line.
        endpoints_watch: schemas::Change,
        /// `audit tail`: one object a line.
        audit: Record,
        /// `counters`: one document; also the file of `--delta`.
        counters: Counters,
        /// `policy check`: one document.
        policy_check: schemas::Check,
        /// `policy load`: one document.
        policy_load: schemas::Load,
        /// `policy show`: one document.
        policy_show: schemas::Shown,
        /// `policy diff`: one document.
        policy_diff: wskguard_policy::Diff,
        /// `policy explain`: one document.
        policy_explain: wskguard_policy::Explanation,
        /// `policy lock`: one document.
        policy_lock: schemas::Lock,
        /// `policy learn`: one document.
        policy_learn: schemas::Learned,
        /// `stop`: one document.
        stop: schemas::Stop,
        /// Every failure: one line on stderr.
        failure: schemas::Failed,
    }

    #[test]
    fn schema_is_current() {
        let schema = serde_json::to_string_pretty(&schema_for!(Outputs)).unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wskguardctl.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(
            written.replace("\r\n", "\n"),
            schema,
            "run this test with UPDATE_SCHEMA=1"
        );
    }
}

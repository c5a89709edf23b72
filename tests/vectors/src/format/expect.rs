//! What must come of steps: section 3.2 of the format.

use serde::Deserialize;

use super::scalar::{Hex, Size, objects, optional_nullable};

/// What must come of a step. Only what is given is compared. Section 3.2 of `FORMAT.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the keys of the format")]
pub struct Expect {
    pub wsa: Option<u32>,
    pub wsa_older: Option<Vec<u32>>,
    pub fail: Option<bool>,
    pub wsa_documented: Option<u32>,
    pub size: Option<Size>,
    pub bytes: Option<Hex>,
    pub value: Option<NumberOr>,
    pub value_in: Option<Vec<u32>>,
    pub onoff: Option<NumberOr>,
    pub linger: Option<NumberOr>,
    pub value_not_onoff_of: Option<u32>,
    pub same_prefix: Option<SamePrefix>,
    pub describes_socket: Option<bool>,
    pub csaddr: Option<Csaddr>,
    pub returned: Option<Size>,
    pub no_effect: Option<NoEffect>,
    pub delivered_to: Option<String>,
    pub pending: Option<bool>,
    pub count: Option<u64>,
    pub statuses: Option<Vec<u32>>,
    pub status: Option<u32>,
    pub status_in: Option<Vec<u32>>,
    pub irp_status: Option<u32>,
    pub irp_status_older: Option<Vec<u32>>,
    #[serde(rename = "final")]
    pub final_status: Option<u32>,
    pub information: Option<Information>,
    pub violation: Option<String>,
    pub status_recommended: Option<u32>,
    pub ok: Option<bool>,
    pub written: Option<u64>,
    pub access_check: Option<AccessCheck>,
    pub irp_completes_after: Option<String>,
    #[serde(deserialize_with = "optional_nullable", default)]
    pub fixed_remote: Option<Option<FixedRemote>>,
    #[serde(deserialize_with = "optional_nullable", default)]
    pub receive_ex_callback: Option<Option<String>>,
    pub events_enabled: Option<u32>,
    pub received: Option<bool>,
    pub addresses: Option<String>,
    pub irp_untouched: Option<bool>,
    pub version_min: Option<u32>,
    pub client: Option<String>,
    pub sd_cached_until: Option<String>,
    pub sd_replaces: Option<String>,
    pub sd_equals: Option<String>,
    pub sd_released_by: Option<String>,
    pub accepted: Option<String>,
    pub then: Option<String>,
}

/// A number or a word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the two forms")]
pub enum NumberOr {
    Number(u32),
    Word(String),
}

objects! {
    /// The first bytes equal those of another get.
    SamePrefix { step: u32, count: usize }
    /// Members of a `CSADDR_INFO`.
    Csaddr {
        local: Option<Presence>,
        remote: Option<Presence>,
        mirrors: Option<String>,
        socket_type: Option<u32>,
        protocol: Option<u32>,
    }
    /// Outcomes of an access check.
    AccessCheck { granted: u32, denied: u32, default: AccessDefault }
    /// The fixed remote address.
    FixedRemote { sends_to: String, receives_from: String }
}

/// Whether an address is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Presence {
    None,
    Present,
}

/// What the default descriptor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum AccessDefault {
    Granted,
    Denied,
}

/// Where a step changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words of the format")]
pub enum NoEffect {
    Sharing,
    Routing,
    All,
}

/// `IoStatus.Information`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the forms of the format")]
pub enum Information {
    Size(Size),
    Word(String),
}

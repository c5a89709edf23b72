//! The words of a policy text, and what they stand for. Options, ioctls and statuses are those of the core's catalogue.

use wskguard_core::catalogue::{self, OPTIONS, Row, Space};
use wskguard_core::policy::layout;
use wskguard_core::{NtStatus, SOL_SOCKET, status};

/// A word and its bit in a mask.
pub(crate) type Words = [(&'static str, u8)];

pub(crate) const REQUESTS: &Words = &[("set", 1), ("get", 2), ("ioctl", 4), ("bind", 8)];
pub(crate) const CATEGORIES: &Words = &[
    ("basic", 1),
    ("listen", 2),
    ("connection", 4),
    ("datagram", 8),
    ("stream", 16),
];
pub(crate) const ADDRESSES: &Words = &[("specific", 1), ("wildcard", 2), ("loopback", 4)];
pub(crate) const SHARING: &Words = &[
    ("default", layout::SHARING_DEFAULT),
    ("reuse", layout::SHARING_REUSE),
    ("exclusive", layout::SHARING_EXCLUSIVE),
];
pub(crate) const ACTIONS: &Words = &[
    ("allow", layout::ACTION_ALLOW),
    ("audit", 0),
    ("deny", layout::ACTION_DENY),
    ("succeed", layout::ACTION_SUCCEED),
    ("clamp", layout::ACTION_CLAMP),
    ("rewrite", layout::ACTION_REWRITE),
    ("force", layout::ACTION_FORCE),
    ("exclusive", layout::ACTION_EXCLUSIVE),
];
pub(crate) const MODES: &Words = &[("enforce", 0), ("audit", 1)];
pub(crate) const SEMANTICS: &Words = &[("off", 0), ("audit", 1), ("compat", 2), ("strict", 3)];
pub(crate) const DEFAULTS: &Words = &[("allow", 0), ("deny", 1)];
pub(crate) const VERBOSITIES: &Words = &[("marked", 0), ("changes", 1), ("all", 2)];

/// A word and its number.
pub(crate) type Numbers = [(&'static str, u64)];

/// Source: ws2def.h.
pub(crate) const FAMILIES: &Numbers = &[("inet", 2), ("atm", 22), ("inet6", 23)];
/// Source: ws2def.h.
pub(crate) const PROTOCOLS: &Numbers = &[("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)];
/// Source: ws2def.h.
pub(crate) const LEVELS: &Numbers = &[
    ("SOL_SOCKET", SOL_SOCKET as u64),
    ("IPPROTO_IP", 0),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IPV6", 41),
];
pub(crate) const PORTS: &Numbers = &[("ephemeral", 0)];

/// The words of a mask.
pub(crate) fn of_mask(words: &Words, mask: u8) -> Vec<&'static str> {
    words
        .iter()
        .filter(|(_, bit)| mask & bit != 0)
        .map(|(word, _)| *word)
        .collect()
}

/// The word for a value.
pub(crate) fn of_value(words: &Words, value: u8) -> &'static str {
    words
        .iter()
        .find(|(_, word)| *word == value)
        .map_or("?", |(word, _)| word)
}

/// The word for a number.
pub(crate) fn of_number(words: &Numbers, number: u64) -> Option<&'static str> {
    words.iter().find(|(_, value)| *value == number).map(|(word, _)| *word)
}

/// The catalogue's option or ioctl of this name.
pub(crate) fn entry(space: Space, name: &str) -> Option<&'static Row> {
    catalogue::by_name(name).filter(|row| row.space == space)
}

/// The names of all options or ioctls.
pub(crate) fn entries(space: Space) -> impl Iterator<Item = &'static str> + Clone {
    OPTIONS.iter().filter(move |row| row.space == space).map(|row| row.name)
}

/// A status by its name.
pub(crate) fn status(name: &str) -> Option<u32> {
    status::status_by_name(name).map(|status| status.0)
}

/// The names of all error statuses that have one.
pub(crate) fn error_statuses() -> impl Iterator<Item = &'static str> {
    (0xC000_0000..0xC000_1000).filter_map(|value| status::status_name(NtStatus(value)))
}

/// A status, by name where it has one.
pub(crate) fn of_status(value: u32) -> String {
    status::status_name(NtStatus(value)).map_or_else(|| format!("{value:#010X}"), str::to_owned)
}

/// The candidate that `word` was probably meant to be.
pub(crate) fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 4).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` or `c`.
pub(crate) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// A GUID in braces, as it lies in memory.
pub(crate) fn guid(text: &str) -> Option<[u8; 16]> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let parts: Vec<_> = inner.split('-').collect();
    if parts.iter().map(|part| part.len()).ne([8, 4, 4, 4, 12])
        || !inner.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
    {
        return None;
    }
    let mut bytes = u128::from_str_radix(&parts.concat(), 16).ok()?.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Some(bytes)
}

/// The text of a GUID.
pub(crate) fn of_guid(mut bytes: [u8; 16]) -> String {
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    let hex = format!("{:032X}", u128::from_be_bytes(bytes));
    format!(
        "{{{}-{}-{}-{}-{}}}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids() {
        let text = "{2227E803-8D8B-11D4-ABAD-009027719E09}";
        let bytes = guid(text).unwrap();
        assert_eq!(bytes[..8], [0x03, 0xE8, 0x27, 0x22, 0x8B, 0x8D, 0xD4, 0x11]);
        assert_eq!(of_guid(bytes), text);
        for wrong in [
            "",
            "{}",
            &text[1..],
            "{2227E803-8D8B-11D4-ABAD009-027719E09}",
            "{+227E803-8D8B-11D4-ABAD-009027719E09}",
        ] {
            assert_eq!(guid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn near_misses() {
        let names = || entries(Space::Socket);
        assert_eq!(near("SO_REUSEADR", names()), Some("SO_REUSEADDR"));
        assert_eq!(near("so_reuse_addr", names()), Some("SO_REUSEADDR"));
        assert_eq!(near("SO_RCVBUFF", names()), Some("SO_RCVBUF"));
        assert_eq!(near("TCP_NODELAY", names()), None);
        assert_eq!(near("optoin", ["option", "action"]), Some("option"));
    }

    #[test]
    fn words() {
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(of_mask(CATEGORIES, 0b10010), ["listen", "stream"]);
        assert!(error_statuses().any(|name| name == "STATUS_ACCESS_DENIED"));
    }
}

//! Numbers of the contract as words. What has no word stays a number.

use wskguard_core::{NtStatus, catalogue, decide::Done, status};

/// `words[number]`, or the number.
fn word(words: &[&str], number: u8) -> String {
    words
        .get(usize::from(number))
        .map_or_else(|| number.to_string(), |&word| word.to_owned())
}

/// Words of [`category`].
pub const CATEGORIES: [&str; 5] = ["basic", "listen", "connection", "datagram", "stream"];

/// A WSK socket category.
#[must_use]
pub fn category(number: u8) -> String {
    word(&CATEGORIES, number)
}

/// Where an endpoint is in its life.
#[must_use]
pub fn phase(number: u8) -> String {
    const PHASES: [&str; 9] = [
        "unbound",
        "binding",
        "bound",
        "listening",
        "connecting",
        "connected",
        "disconnected",
        "keepalive-failed",
        "closing",
    ];
    word(&PHASES, number)
}

/// How option semantics are applied.
#[must_use]
pub fn semantics(number: u8) -> String {
    word(&["off", "audit", "compat", "strict"], number)
}

/// Whether decisions are carried out.
#[must_use]
pub fn policy_mode(number: u8) -> String {
    word(&["enforce", "audit"], number)
}

/// What happens to a request that no rule matches.
#[must_use]
pub fn default_action(number: u8) -> String {
    word(&["allow", "deny"], number)
}

/// What was asked.
#[must_use]
pub fn request(number: u8) -> String {
    word(&["set", "get", "ioctl", "bind"], number)
}

/// What was done with a request.
#[must_use]
pub fn action(number: u8) -> String {
    let found = Done::ALL.iter().find(|(done, _)| *done as u8 == number);
    found.map_or_else(|| number.to_string(), |&(_, name)| name.to_owned())
}

/// What kind of record.
#[must_use]
pub fn record_kind(number: u8) -> String {
    word(&["0", "decision", "state", "lifecycle"], number)
}

/// Why a request was refused; empty where it was not.
#[must_use]
pub fn reason(number: u8) -> String {
    match (number, status::Reason::from_u8(number)) {
        (0, None) => String::new(),
        (_, Some(reason)) => reason.name().to_owned(),
        (_, None) => number.to_string(),
    }
}

/// `AF_*`.
#[must_use]
pub fn family(number: u16) -> String {
    match number {
        0 => "unspec".to_owned(),
        2 => "inet".to_owned(),
        23 => "inet6".to_owned(),
        _ => number.to_string(),
    }
}

/// `IPPROTO_*`.
#[must_use]
pub fn protocol(number: u32) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        _ => number.to_string(),
    }
}

/// `SOCK_*`.
#[must_use]
pub fn socket_type(number: u8) -> String {
    word(&["0", "stream", "dgram", "raw"], number)
}

/// An option or ioctl: its name, or `level/number`.
#[must_use]
pub fn option(request: u8, level: u32, code: u32) -> String {
    const IOCTL: u8 = wskguard_core::RequestKind::Ioctl as u8;
    const BIND: u8 = wskguard_core::RequestKind::Bind as u8;
    let row = match request {
        BIND => return String::new(),
        IOCTL => catalogue::ioctl(code),
        _ => catalogue::option(level, code),
    };
    match row {
        Some(row) => row.name.to_owned(),
        None if request == IOCTL => format!("{code:#x}"),
        None => format!("{level:#x}/{code:#x}"),
    }
}

/// An NTSTATUS: its name, or the number.
#[must_use]
pub fn nt_status(value: u32) -> String {
    status::status_name(NtStatus(value)).map_or_else(|| format!("{value:#010x}"), str::to_owned)
}

/// A local address and port.
#[must_use]
pub fn address(family: u16, bytes: [u8; 16], port: u16) -> String {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    match family {
        2 => {
            let [a, b, c, d, ..] = bytes;
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)).to_string()
        }
        23 => SocketAddr::from((Ipv6Addr::from(bytes), port)).to_string(),
        _ => port.to_string(),
    }
}

/// An id, as it is printed and read.
#[must_use]
pub fn id(id: u64) -> String {
    format!("{id:#x}")
}

/// A policy hash.
#[must_use]
pub fn hash(hash: u64) -> String {
    format!("{hash:016x}")
}

/// A GUID as it lies in memory, in registry form.
#[must_use]
pub fn guid(mut bytes: [u8; 16]) -> String {
    for field in [0..4, 4..6, 6..8] {
        bytes[field].reverse();
    }
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    format!("{{{}}}", parts.join("-"))
}

/// `major.minor.patch`.
#[must_use]
pub fn version([major, minor, patch, _]: [u16; 4]) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_have_their_first_fields_in_memory_order() {
        let bytes = [
            0x52, 0x5E, 0x1C, 0x9A, 0x0B, 0x7D, 0x0E, 0x4B, 0x8F, 0x3A, 0x5C, 0xD2, 0x41, 0x66, 0xE0, 0x91,
        ];
        assert_eq!(guid(bytes), "{9a1c5e52-7d0b-4b0e-8f3a-5cd24166e091}");
    }

    #[test]
    fn addresses() {
        let mut bytes = [0; 16];
        bytes[15] = 1;
        assert_eq!(address(23, bytes, 443), "[::1]:443");
        bytes[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(2, bytes, 80), "127.0.0.1:80");
        assert_eq!(address(22, bytes, 80), "80");
    }

    #[test]
    fn options_by_name_or_number() {
        assert_eq!(option(0, 0xFFFF, 0x1002), "SO_RCVBUF");
        assert_eq!(option(1, 6, 1), "0x6/0x1");
        assert_eq!(option(2, 0xFFFF, 1), "0x1");
        assert_eq!(option(3, 0, 0), "");
        assert_eq!((category(3), category(9)), ("datagram".to_owned(), "9".to_owned()));
    }
}

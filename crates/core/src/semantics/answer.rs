//! Answers that the record can give by itself, and how they are laid out in the caller's buffer. Any IRQL.

use super::change::Change;
use super::config::EndpointConfig;
use super::request::EndpointFacts;
use crate::{Family, SocketType};

/// A socket address, as the transport uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockaddr {
    /// `SOCKADDR_IN` (16 bytes) or `SOCKADDR_IN6` (28 bytes).
    pub bytes: [u8; 28],
    /// How many of the bytes count.
    pub len: u8,
}

/// Addresses of an endpoint, for `SO_BSP_STATE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Local address, once bound.
    pub local: Option<Sockaddr>,
    /// Remote address, once connected.
    pub remote: Option<Sockaddr>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the answer to a set.
    None,
    /// A little-endian number.
    Number(u32),
    /// The `PVD_CONFIG` object.
    Config(EndpointConfig),
    /// `WSAPROTOCOL_INFO`.
    ProtocolInfo {
        /// UTF-16.
        wide: bool,
    },
    /// `CSADDR_INFO` and both addresses.
    BspState,
    /// The transport's own; the record cannot answer.
    Transport,
}

/// An answer given without the provider, or in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What.
    pub value: Value,
    /// Bytes to write, at most the capacity of the output buffer: `IoStatus.Information` of a get.
    pub written: usize,
    /// Length reported to a Winsock caller; differs from `written` in corner cases that were tested.
    pub size: usize,
    /// What it does to the record.
    pub commit: Change,
}

impl Answer {
    /// The answer to a set.
    #[must_use]
    pub const fn done(commit: Change) -> Self {
        Self {
            value: Value::None,
            written: 0,
            size: 0,
            commit,
        }
    }

    /// Writes the answer to the front of `out`, which the caller knows as address `base`; returns how many bytes, never more than
    /// `written` or than fit.
    pub fn write(&self, facts: &EndpointFacts, addresses: &Addresses, out: &mut [u8], base: usize) -> usize {
        let room = out.len().min(self.written);
        let Some(out) = out.get_mut(..room) else { return 0 };
        match self.value {
            Value::None | Value::Transport => return 0,
            Value::Number(number) => copy(out, 0, &number.to_le_bytes()),
            Value::Config(config) => copy(out, 0, &config.bytes()),
            Value::ProtocolInfo { wide } => protocol_info(facts, wide, out),
            Value::BspState => bsp_state(facts, addresses, out, base),
        }
        room
    }
}

/// Copies what fits of `bytes` to `out[at..]`.
fn copy(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in out.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// Size of a `SOCKADDR` of the family.
pub(super) const fn sockaddr_len(family: Family) -> usize {
    if family.0 == Family::INET6.0 { 28 } else { 16 }
}

/// `CSADDR_INFO`: two (pointer, int) pairs, each as large as two pointers, and two ints.
const CSADDR_INFO: usize = 4 * size_of::<usize>() + 8;

/// Bytes that `SO_BSP_STATE` needs: \[T\] room for both addresses, whether they exist or not.
pub(super) const fn bsp_state_len(family: Family) -> usize {
    CSADDR_INFO.saturating_add(sockaddr_len(family).saturating_mul(2))
}

const _: () = assert!(CSADDR_INFO == if size_of::<usize>() == 8 { 40 } else { 24 });

/// The addresses follow the structure, and its pointers point to them; an address that does not exist is NULL with length 0.
fn bsp_state(facts: &EndpointFacts, addresses: &Addresses, out: &mut [u8], base: usize) {
    const WORD: usize = size_of::<usize>();
    out.fill(0);
    let mut at = CSADDR_INFO;
    for (field, address) in [(0, addresses.local), (WORD.saturating_mul(2), addresses.remote)] {
        if let Some(Sockaddr { bytes, len }) = address {
            copy(out, field, &base.wrapping_add(at).to_le_bytes());
            copy(out, field.saturating_add(WORD), &u32::from(len).to_le_bytes());
            let used = bytes.get(..usize::from(len)).unwrap_or(&bytes);
            copy(out, at, used);
        }
        at = at.saturating_add(sockaddr_len(facts.family));
    }
    let ints = WORD.saturating_mul(4);
    copy(out, ints, &(facts.socket_type as u32).to_le_bytes());
    copy(out, ints.saturating_add(4), &facts.protocol.to_le_bytes());
}

/// Largest datagram: 65535 less the UDP header, and on IPv4 less the IP header. \[T\] UDP: 65507 or 65527.
pub(super) const fn max_message(facts: &EndpointFacts) -> u32 {
    match facts.socket_type {
        SocketType::Stream => 0,
        _ if facts.family.0 == Family::INET6.0 => 65527,
        _ => 65507,
    }
}

/// `WSAPROTOCOL_INFO`: 116 bytes that are the same in both forms, then the name in 256 characters. Source: winsock2.h.
fn protocol_info(facts: &EndpointFacts, wide: bool, out: &mut [u8]) {
    /// Reliable, in order, graceful close, expedited data, kernel handles.
    const TCP: u32 = 0x0002_0066;
    /// Connectionless, messages, broadcast, multicast, kernel handles.
    const UDP: u32 = 0x0002_0609;
    const NAME: &[u8] = b"wskguard endpoint";
    let stream = facts.socket_type == SocketType::Stream;
    let address = u32::try_from(sockaddr_len(facts.family)).unwrap_or(0);
    out.fill(0);
    for (at, number) in [
        (0, if stream { TCP } else { UDP }),
        // One entry in the protocol chain: a base provider; Winsock 2.
        (40, 1),
        (72, 2),
        (76, u32::from(facts.family.0)),
        (80, address),
        (84, address),
        (88, facts.socket_type as u32),
        (92, facts.protocol),
        (108, max_message(facts)),
    ] {
        copy(out, at, &number.to_le_bytes());
    }
    let step = if wide { 2 } else { 1 };
    for (character, to) in NAME.iter().zip(out.iter_mut().skip(116).step_by(step)) {
        *to = *character;
    }
}

//! Socket addresses as the kernel wants them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// `AF_*`.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V4 => 2,
            Self::V6 => 23,
        }
    }

    /// The loopback address and this port.
    pub(crate) fn loopback(self, port: u16) -> Address {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Address(SocketAddr::new(ip, port))
    }

    /// The wildcard address and this port.
    pub(crate) fn wildcard(self, port: u16) -> Address {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Address(SocketAddr::new(ip, port))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A `SOCKADDR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Address {
    pub(crate) fn port(self) -> u16 {
        self.0.port()
    }

    pub(crate) fn family(self) -> Family {
        if self.0.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bytes and how many of them are the address.
    pub(crate) fn bytes(self) -> ([u8; 28], u32) {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&self.0.port().to_be_bytes());
        match self.0 {
            SocketAddr::V4(v4) => {
                bytes[0] = 2;
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (bytes, 16)
            }
            SocketAddr::V6(v6) => {
                bytes[0] = 23;
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_le_bytes());
                (bytes, 28)
            }
        }
    }

    /// Reads one; `None` when the family is neither.
    pub(crate) fn parse(bytes: &[u8; 28]) -> Option<Self> {
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        let ip = match u16::from_le_bytes([bytes[0], bytes[1]]) {
            2 => IpAddr::V4(Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7])),
            23 => IpAddr::V6(Ipv6Addr::from(*bytes[8..24].first_chunk::<16>()?)),
            _ => return None,
        };
        Some(Self(SocketAddr::new(ip, port)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

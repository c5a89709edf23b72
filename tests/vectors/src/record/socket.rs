//! One socket of a run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use wskguard_core::catalogue::OptionSet;
use wskguard_core::semantics::{Addresses, EndpointFacts, OptionState, Sockaddr};
use wskguard_core::status::wsa;
use wskguard_core::{Category, Family, Phase, SocketType};

use crate::backend::Stop;
use crate::format::{AddressName, CategoryName, Combination, FamilyName, TypeName, User};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sock {
    pub(super) facts: EndpointFacts,
    pub(super) state: OptionState,
    pub(super) phase: Phase,
    pub(super) handle: u64,
    pub(super) alive: bool,
    pub(super) v6only: bool,
    pub(super) user: User,
    /// It is a WSK socket.
    pub(super) wsk: bool,
    /// `SO_WSK_SECURITY` was set.
    pub(super) shares: bool,
    pub(super) nonblocking: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    /// Other end of the connection.
    pub(super) peer: Option<String>,
    /// Listener of an AcceptEx that has not been told of its context.
    pub(super) accepted_from: Option<String>,
    pub(super) inbox: Vec<u8>,
    /// Out-of-band data, kept apart while SO_OOBINLINE is off.
    pub(super) out_of_band: Vec<u8>,
    /// The connection was reset by its peer.
    pub(super) reset: bool,
}

impl Sock {
    pub(super) fn new(combination: Combination, handle: u64, lacks: OptionSet) -> Result<Self, Stop> {
        let family = match combination.family {
            Some(FamilyName::Inet) => Family::INET,
            Some(FamilyName::Inet6) => Family::INET6,
            Some(FamilyName::Atm) => Family::ATM,
            Some(FamilyName::Mixed) | None => {
                return Err(Stop::Broken(anyhow::anyhow!("a socket whose family is not given")));
            }
        };
        let socket_type = match combination.socket_type.context("a socket whose type is not given")? {
            TypeName::Stream => SocketType::Stream,
            TypeName::Dgram => SocketType::Dgram,
            TypeName::Raw => SocketType::Raw,
        };
        let category = match combination.category {
            Some(CategoryName::Basic) => Category::Basic,
            Some(CategoryName::Listen) => Category::Listen,
            Some(CategoryName::Datagram) => Category::Datagram,
            Some(CategoryName::Connection) => Category::Connection,
            None if socket_type == SocketType::Stream => Category::Stream,
            None => Category::Datagram,
        };
        let protocol = match socket_type {
            SocketType::Stream => 6,
            SocketType::Dgram => 17,
            SocketType::Raw => 255,
        };
        Ok(Self {
            facts: EndpointFacts {
                category,
                socket_type,
                family,
                protocol,
                static_events: 0,
                lacks,
            },
            state: OptionState::default(),
            phase: Phase::Unbound,
            handle,
            alive: true,
            // The default of Windows.
            v6only: true,
            user: User::Same,
            wsk: combination.category.is_some(),
            shares: false,
            nonblocking: false,
            local: None,
            remote: None,
            peer: None,
            accepted_from: None,
            inbox: Vec::new(),
            out_of_band: Vec::new(),
            reset: false,
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        self.facts.socket_type == SocketType::Stream
    }

    /// Whether sends of both go the same way: everything but options and data is the same.
    pub(super) fn same_route(&self, other: &Self) -> bool {
        let bare = |sock: &Self| Self {
            state: OptionState::default(),
            inbox: Vec::new(),
            ..sock.clone()
        };
        bare(self) == bare(other)
    }

    /// Addresses for `SO_BSP_STATE`.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            local: self.local.map(sockaddr),
            remote: self.remote.map(sockaddr),
        }
    }

    /// The address of this name on this socket.
    pub(super) fn address(&self, name: AddressName) -> Result<IpAddr, Stop> {
        let v6 = self.facts.family == Family::INET6;
        if !v6 && self.facts.family != Family::INET {
            return Err(Stop::Unsupported(
                "addresses of families other than IPv4 and IPv6".to_owned(),
            ));
        }
        let pick = |four: [u8; 4], six: Ipv6Addr| if v6 { six.into() } else { Ipv4Addr::from(four).into() };
        Ok(match name {
            AddressName::Loopback => pick([127, 0, 0, 1], Ipv6Addr::LOCALHOST),
            AddressName::Wildcard => pick([0; 4], Ipv6Addr::UNSPECIFIED),
            AddressName::Specific => pick([192, 0, 2, 1], Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1)),
            AddressName::Specific2 => pick([192, 0, 2, 2], Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 2)),
            AddressName::MappedLoopback if v6 => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            AddressName::MappedWildcard if v6 => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into(),
            AddressName::MappedLoopback | AddressName::MappedWildcard => {
                return Err(Stop::Broken(anyhow::anyhow!(
                    "a mapped address on a socket that is not IPv6"
                )));
            }
        })
    }

    /// Why a call that needs a connection fails; `None` if it has one.
    pub(super) fn connection_error(&self) -> Option<u32> {
        let code = match self.phase {
            Phase::Connected => return None,
            Phase::Disconnected if self.reset => wsa::ECONNRESET,
            _ => wsa::ENOTCONN,
        };
        Some(code.0)
    }
}

fn sockaddr(address: SocketAddr) -> Sockaddr {
    let mut bytes = [0; 28];
    let family = if address.is_ipv4() { Family::INET } else { Family::INET6 };
    bytes[..2].copy_from_slice(&family.0.to_le_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let len = match address.ip() {
        IpAddr::V4(v4) => {
            bytes[4..8].copy_from_slice(&v4.octets());
            16
        }
        IpAddr::V6(v6) => {
            bytes[8..24].copy_from_slice(&v6.octets());
            28
        }
    };
    Sockaddr { bytes, len }
}

//! Who may bind after whom, and who gets what arrives: the address-sharing rules of Windows as an oracle. IRQL <= `DISPATCH_LEVEL`;
//! no allocation, so a provider may use it as well.
//!
//! Sources: "Using `SO_REUSEADDR` and `SO_EXCLUSIVEADDRUSE`" (Winsock), "Sharing transport addresses" (WSK), and, for dual-stack
//! sockets and delivery, Wine's `test_reuseaddr`, whose assertions hold on Windows.

mod matrix;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use matrix::{Outcome, View};

use crate::semantics::{Flag, OptionState};
use crate::status::{nt, wsa};
use crate::{NtStatus, WsaError};

#[cfg(test)]
mod tests;

/// How a socket was bound. Frozen at bind: later sets of the two options change nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sharing {
    /// Neither option.
    Default = 0,
    /// `SO_REUSEADDR`.
    Reuse = 1,
    /// `SO_EXCLUSIVEADDRUSE`.
    Exclusive = 2,
}

impl Sharing {
    /// What a bind now would be.
    #[must_use]
    pub const fn of(options: &OptionState) -> Self {
        if options.flag(Flag::ExclusiveAddrUse) {
            Self::Exclusive
        } else if options.flag(Flag::ReuseAddr) {
            Self::Reuse
        } else {
            Self::Default
        }
    }
}

/// A socket bound to a port, or about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Address; an IPv4-mapped one counts as the IPv4 address.
    pub address: IpAddr,
    /// Port; 0 conflicts with nothing, since the transport then picks a free one.
    pub port: u16,
    /// `IPPROTO_*`: the ports of different protocols are apart.
    pub protocol: u32,
    /// `IPV6_V6ONLY`. An IPv6 wildcard without it covers IPv4 too.
    pub v6only: bool,
    /// The sharing option in force.
    pub sharing: Sharing,
}

/// Why a bind fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The address is taken.
    InUse,
    /// The address is not shared with this socket.
    Denied,
}

impl Conflict {
    /// Status of the bind.
    #[must_use]
    pub const fn status(self) -> NtStatus {
        match self {
            Self::InUse => nt::ADDRESS_ALREADY_EXISTS,
            Self::Denied => nt::ACCESS_DENIED,
        }
    }

    /// Winsock error of the bind.
    #[must_use]
    pub const fn wsa(self) -> WsaError {
        match self {
            Self::InUse => wsa::EADDRINUSE,
            Self::Denied => wsa::EACCES,
        }
    }
}

/// The addresses a binding covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    V4Any,
    V4(Ipv4Addr),
    V6Any { dual: bool },
    V6(Ipv6Addr),
}

impl Reach {
    fn of(address: IpAddr, v6only: bool) -> Self {
        match address {
            IpAddr::V4(v4) if v4.is_unspecified() => Self::V4Any,
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) if v6.is_unspecified() => Self::V6Any { dual: !v6only },
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::of(IpAddr::V4(v4), false),
                None => Self::V6(v6),
            },
        }
    }
}

/// Breadth of one binding as seen from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breadth {
    Wildcard,
    Specific,
}

/// How two overlapping bindings relate; `None` where they have no address in common. Across the families a dual-stack wildcard is the
/// wider one: \[T\] the IPv4 wildcard then takes the place of a specific address.
fn relation(first: Reach, second: Reach) -> Option<(Breadth, Breadth)> {
    use Breadth::{Specific, Wildcard};
    match (first, second) {
        (Reach::V4Any, Reach::V4Any) | (Reach::V6Any { .. }, Reach::V6Any { .. }) => Some((Wildcard, Wildcard)),
        (Reach::V4Any, Reach::V4(_))
        | (Reach::V6Any { .. }, Reach::V6(_))
        | (Reach::V6Any { dual: true }, Reach::V4Any | Reach::V4(_)) => Some((Wildcard, Specific)),
        (Reach::V4(_), Reach::V4Any)
        | (Reach::V6(_), Reach::V6Any { .. })
        | (Reach::V4Any | Reach::V4(_), Reach::V6Any { dual: true }) => Some((Specific, Wildcard)),
        (Reach::V4(a), Reach::V4(b)) => (a == b).then_some((Specific, Specific)),
        (Reach::V6(a), Reach::V6(b)) => (a == b).then_some((Specific, Specific)),
        _ => None,
    }
}

/// What binding `second` after `first` comes to. Different ports, protocols or addresses never conflict.
#[must_use]
pub fn outcome(view: View, first: &Binding, second: &Binding) -> Outcome {
    if first.port != second.port || first.port == 0 || first.protocol != second.protocol {
        return Outcome::Success;
    }
    let reaches = (
        Reach::of(first.address, first.v6only),
        Reach::of(second.address, second.v6only),
    );
    match relation(reaches.0, reaches.1) {
        Some((a, b)) => matrix::cell(
            view,
            (first.sharing, a == Breadth::Wildcard),
            (second.sharing, b == Breadth::Wildcard),
        ),
        None => Outcome::Success,
    }
}

/// Whether `new` may bind beside the sockets in `existing`, which come in the order in which they were bound.
///
/// `access` is asked where the outcome depends on it: for Winsock, whether both sockets belong to one user; for WSK, whether the new
/// socket's security context passes the security descriptor of the one bound before (the default descriptor denies).
///
/// # Errors
/// The first conflict, in bind order.
pub fn check_bind<'a>(
    existing: impl IntoIterator<Item = &'a Binding>,
    new: &Binding,
    view: View,
    mut access: impl FnMut(&'a Binding) -> bool,
) -> Result<(), Conflict> {
    for first in existing {
        match outcome(view, first, new) {
            Outcome::Success => {}
            Outcome::InUse => return Err(Conflict::InUse),
            Outcome::Denied => return Err(Conflict::Denied),
            Outcome::AccessCheck if access(first) => {}
            Outcome::AccessCheck => return Err(Conflict::Denied),
        }
    }
    Ok(())
}

/// Which of `sockets`, in the order in which they were bound, gets what arrives at `address`: the most specific binding, and of equals
/// the first bound. For connections, `sockets` are those that listen.
#[must_use]
pub fn deliver<'a, T>(
    sockets: impl IntoIterator<Item = (&'a Binding, T)>,
    protocol: u32,
    address: IpAddr,
    port: u16,
) -> Option<T> {
    let mut best: Option<(u8, T)> = None;
    for (binding, socket) in sockets {
        let Some(rank) = rank(binding, address).filter(|_| binding.port == port && binding.protocol == protocol) else {
            continue;
        };
        if best.as_ref().is_none_or(|(other, _)| *other < rank) {
            best = Some((rank, socket));
        }
    }
    best.map(|(_, socket)| socket)
}

/// How specific a binding is for a destination; `None` if it does not cover it.
fn rank(binding: &Binding, destination: IpAddr) -> Option<u8> {
    let destination = Reach::of(destination, true);
    match (Reach::of(binding.address, binding.v6only), destination) {
        (own, destination) if own == destination => Some(2),
        (Reach::V4Any, Reach::V4(_)) | (Reach::V6Any { .. }, Reach::V6(_)) => Some(1),
        (Reach::V6Any { dual: true }, Reach::V4(_)) => Some(0),
        _ => None,
    }
}

//! Addresses that the provider's sockets are bound to, and who may share them.
//!
//! Windows lets more sockets share a port than the host does. The first socket of a port gets it from the host; a later one that may
//! share it gets another host port, and connects and sends through this provider are led to where Windows would lead them. What may
//! be shared is the core's oracle's to say, in its WSK view.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicU64, Ordering};

use wsk_sys::{AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_STREAM, SOL_SOCKET};
use wskguard_core::sharing::{self, Sharing, View};

use super::options::Options;
use super::socket::Socket;
use crate::host::{Address, HostSocket};
use crate::status::NTSTATUS;
use crate::sync::Mutex;

const SO_REUSEADDR: u32 = 4;
const IPPROTO_IPV6: u32 = 41;
const IPV6_V6ONLY: u32 = 27;

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    /// What the client bound to, in the oracle's terms.
    binding: sharing::Binding,
    host_port: u16,
    /// The socket's security descriptor lets others share its address.
    shared_by_descriptor: bool,
    /// Connections come only to listeners.
    listens: bool,
}

static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static LAST: AtomicU64 = AtomicU64::new(0);

/// A line in the books; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Binding(u64);

impl Drop for Binding {
    fn drop(&mut self) {
        ENTRIES.lock().retain(|entry| entry.id != self.0);
    }
}

impl Binding {
    /// The socket listens from now on.
    pub(crate) fn listens(&self) {
        for entry in ENTRIES.lock().iter_mut().filter(|entry| entry.id == self.0) {
            entry.listens = true;
        }
    }
}

fn ip_of(address: &Address) -> IpAddr {
    let ip = address.ip();
    if let Ok(v4) = <[u8; 4]>::try_from(ip) {
        return IpAddr::V4(Ipv4Addr::from(v4));
    }
    IpAddr::V6(<[u8; 16]>::try_from(ip).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from))
}

/// Ports of streams and of datagrams are apart, whatever the protocol is called.
const fn protocol_of(kind: u16) -> u32 {
    if kind == SOCK_STREAM { IPPROTO_TCP } else { IPPROTO_UDP }
}

fn is_v6_only(host: &HostSocket, family: u16) -> bool {
    let mut value = [0; 4];
    family == AF_INET6 && (host.get(IPPROTO_IPV6, IPV6_V6ONLY, &mut value).is_err() || value[0] != 0)
}

/// Binds a host socket, as Windows would have it; the line in the books, and the address that the client sees.
pub(crate) fn bind(
    socket: &Arc<Socket>,
    host: &HostSocket,
    options: &Options,
    address: &Address,
) -> Result<(Binding, Address), NTSTATUS> {
    let new = sharing::Binding {
        address: ip_of(address),
        port: address.port(),
        protocol: protocol_of(socket.kind),
        v6only: is_v6_only(host, socket.family),
        sharing: match (options.exclusive, options.reuse) {
            (true, _) => Sharing::Exclusive,
            (false, true) => Sharing::Reuse,
            (false, false) => Sharing::Default,
        },
    };
    let mut entries = ENTRIES.lock();
    let access = |first: &sharing::Binding| {
        entries
            .iter()
            .any(|entry| core::ptr::eq(&raw const entry.binding, first) && entry.shared_by_descriptor)
    };
    let existing = entries.iter().map(|entry| &entry.binding);
    sharing::check_bind(existing, &new, View::Wsk, access).map_err(|conflict| as_ntstatus(conflict.status().0))?;
    let taken = entries
        .iter()
        .any(|entry| entry.binding.port == new.port && new.port != 0 && entry.binding.protocol == new.protocol);
    let on_host = if taken { address.with_port(0) } else { *address };
    if socket.kind == SOCK_STREAM || options.reuse {
        // A port whose last connections have not quite died is free on Windows.
        let _ = host.set(SOL_SOCKET, SO_REUSEADDR, &1_u32.to_ne_bytes());
    }
    host.bind(&on_host)?;
    let bound = host.local()?;
    let local = bound.with_port(if taken { address.port() } else { bound.port() });
    let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    entries.push(Entry {
        id,
        binding: sharing::Binding {
            port: local.port(),
            ..new
        },
        host_port: bound.port(),
        shared_by_descriptor: options.shares,
        listens: false,
    });
    Ok((Binding(id), local))
}

fn as_ntstatus(status: u32) -> NTSTATUS {
    NTSTATUS::from_ne_bytes(status.to_ne_bytes())
}

/// Where on the host a connect or datagram to `to` goes.
pub(crate) fn route(kind: u16, to: &Address) -> Address {
    let entries = ENTRIES.lock();
    let reachable = entries.iter().filter(|entry| kind != SOCK_STREAM || entry.listens);
    let sockets = reachable.map(|entry| (&entry.binding, entry.host_port));
    let port = sharing::deliver(sockets, protocol_of(kind), ip_of(to), to.port());
    port.map_or(*to, |port| to.with_port(port))
}

/// The address that clients know for a source on the host.
pub(crate) fn unroute(kind: u16, from: &Address) -> Address {
    let entries = ENTRIES.lock();
    let fits = |entry: &&Entry| entry.binding.protocol == protocol_of(kind) && entry.host_port == from.port();
    entries
        .iter()
        .find(fits)
        .map_or(*from, |entry| from.with_port(entry.binding.port))
}

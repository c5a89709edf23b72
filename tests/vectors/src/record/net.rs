//! Binding, listening, connecting and closing, with the sharing oracle as the transport's judge.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, anyhow};
use wskguard_core::semantics::{Change, Number, Op as StateOp, inherit};
use wskguard_core::sharing::{self, Binding, Sharing, View};
use wskguard_core::status::wsa;
use wskguard_core::{Category, Family, NtStatus, Phase};

use super::socket::Sock;
use super::{World, unsupported};
use crate::backend::{Access, Observed, Stop};
use crate::format::{AddressName, FamilyName, Op, User};

/// WSAENOTSOCK, for what is no live socket.
pub(super) fn not_a_socket() -> Observed {
    Observed::wsa(wsa::ENOTSOCK.0)
}

impl World {
    pub(super) fn life(&mut self, op: &Op) -> Result<Observed, Stop> {
        match op {
            Op::Socket { sock, family, v6only } => {
                if self.sockets.contains_key(sock) {
                    return Err(Stop::Broken(anyhow!("{sock} exists")));
                }
                self.create(sock, Some(*family))?;
                if let (Some(v6only), Some(socket)) = (v6only, self.sockets.get_mut(sock)) {
                    socket.v6only = *v6only;
                }
            }
            Op::Fresh { sock } => {
                self.socket(sock)?;
            }
            Op::Nonblocking { sock } => match self.socket(sock)? {
                Some(socket) => socket.nonblocking = true,
                None => return Ok(not_a_socket()),
            },
            Op::Close { sock } => return self.close(sock),
            _ => return unsupported("the step"),
        }
        Ok(Observed::wsa(0))
    }

    /// What a bind of `name` comes to: the binding, or the status of the conflict. `access` answers access checks.
    fn try_bind(&self, name: &str, new: &Binding, access: impl Fn(&Sock) -> bool) -> Result<(), NtStatus> {
        let own = &self.sockets[name];
        let view = if own.wsk { View::Wsk } else { View::Winsock };
        for (other, binding) in &self.bound {
            let first = &self.sockets[other];
            let allowed = if own.wsk {
                access(first)
            } else {
                first.user == User::Same && own.user == User::Same
            };
            sharing::check_bind([binding], new, view, |_| allowed).map_err(sharing::Conflict::status)?;
        }
        Ok(())
    }

    fn binding(&mut self, name: &str, address: AddressName, port: &str) -> Result<Binding, Stop> {
        let port = self.port(port);
        let socket = &self.sockets[name];
        let protocol = socket.facts.protocol;
        let sharing = Sharing::of(&socket.state);
        Ok(Binding {
            address: socket.address(address)?,
            port,
            protocol,
            v6only: socket.v6only,
            sharing,
        })
    }

    fn bound_to(&mut self, name: &str, binding: Binding) {
        self.bound.push((name.to_owned(), binding));
        if let Some(socket) = self.sockets.get_mut(name) {
            socket.local = Some(SocketAddr::new(binding.address, binding.port));
            socket.phase = if socket.facts.category == Category::Listen {
                Phase::Listening
            } else {
                Phase::Bound
            };
        }
    }

    pub(super) fn bind(&mut self, name: &str, addr: AddressName, port: &str, user: User) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        socket.user = user;
        if socket.phase != Phase::Unbound {
            return Ok(Observed::wsa(wsa::EINVAL.0));
        }
        let binding = self.binding(name, addr, port)?;
        let mapped = matches!(binding.address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if mapped && binding.v6only {
            return Ok(Observed::wsa(wsa::EADDRNOTAVAIL.0));
        }
        match self.try_bind(name, &binding, |_| false) {
            Ok(()) => self.bound_to(name, binding),
            Err(status) => return Ok(Observed::wsa(wskguard_core::status::to_wsa(status).0)),
        }
        Ok(Observed::wsa(0))
    }

    /// WskBind: the final status, and what other security descriptors would make of it.
    pub(super) fn wsk_bind(&mut self, name: &str, addr: AddressName, port: &str) -> Result<Observed, Stop> {
        let binding = self.binding(name, addr, port)?;
        let status = |result: Result<(), NtStatus>| result.err().unwrap_or(NtStatus::SUCCESS).0;
        let access = Access {
            granted: status(self.try_bind(name, &binding, |_| true)),
            denied: status(self.try_bind(name, &binding, |_| false)),
            // The default descriptor denies; a set one is not looked into here.
            now: status(self.try_bind(name, &binding, |first| first.shares)),
        };
        if access.now == NtStatus::SUCCESS.0 {
            self.bound_to(name, binding);
        }
        Ok(Observed {
            final_status: Some(access.now),
            access: Some(access),
            ..Observed::default()
        })
    }

    pub(super) fn bind_anywhere(&mut self, name: &str) -> Result<(), Stop> {
        if self.sockets[name].phase == Phase::Unbound {
            let binding = self.binding(name, AddressName::Loopback, "any")?;
            self.bound_to(name, binding);
        }
        Ok(())
    }

    pub(super) fn listen(&mut self, name: &str) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        if !socket.is_stream() {
            return Ok(Observed::wsa(wsa::EOPNOTSUPP.0));
        }
        match socket.phase {
            Phase::Bound | Phase::Listening => {
                socket.phase = Phase::Listening;
                Ok(Observed::wsa(0))
            }
            Phase::Unbound => Ok(Observed::wsa(wsa::EINVAL.0)),
            _ => Ok(Observed::wsa(wsa::EISCONN.0)),
        }
    }

    /// Makes `name` one end of a connection.
    pub(super) fn connected(&mut self, name: &str, local: SocketAddr, remote: SocketAddr) {
        let now = self.now;
        if let Some(socket) = self.sockets.get_mut(name) {
            socket.phase = Phase::Connected;
            socket.local.get_or_insert(local);
            socket.remote = Some(remote);
            for fact in [
                StateOp::Number(Number::ConnectedAt, now),
                StateOp::Number(Number::Error, 0),
            ] {
                // A fact is never refused.
                let _ = socket.state.apply(Change::fact(fact));
            }
        }
    }

    fn accepted(&mut self, listener: &str, name: &str) -> Result<bool, Stop> {
        let Some(socket) = self.socket(listener)? else {
            return Ok(false);
        };
        let (state, facts, local) = (
            socket.state,
            socket.facts,
            socket.local.context("a listener without address")?,
        );
        let family = if facts.family == Family::INET6 {
            FamilyName::Inet6
        } else {
            FamilyName::Inet
        };
        self.create(name, Some(family))?;
        let port = self.free_port();
        if let Some(new) = self.sockets.get_mut(name) {
            new.state = inherit(&state);
            if new.wsk {
                new.facts.category = Category::Connection;
            }
        }
        self.connected(name, local, SocketAddr::new(local.ip(), port));
        Ok(true)
    }

    pub(super) fn accept(&mut self, listener: &str, name: &str) -> Result<Observed, Stop> {
        match self.socket(listener)?.map(|socket| socket.phase) {
            None => Ok(not_a_socket()),
            Some(Phase::Listening) => {
                self.accepted(listener, name)?;
                Ok(Observed::wsa(0))
            }
            Some(_) => Ok(Observed::wsa(wsa::EINVAL.0)),
        }
    }

    /// The options of the accepted socket stay its own until SO_UPDATE_ACCEPT_CONTEXT.
    pub(super) fn acceptex(&mut self, listener: &str, name: &str) -> Result<Observed, Stop> {
        if self.socket(listener)?.is_none() {
            return Ok(not_a_socket());
        }
        self.bind_anywhere(listener)?;
        self.listen(listener)?;
        self.accepted(listener, name)?;
        if let Some(socket) = self.sockets.get_mut(name) {
            let connected = std::mem::take(&mut socket.state);
            super::options::keep_connect_time(&mut socket.state, &connected);
            socket.accepted_from = Some(listener.to_owned());
        }
        Ok(Observed::wsa(0))
    }

    pub(super) fn connect(&mut self, name: &str, to: &str, addr: Option<AddressName>) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        let Some(addr) = addr else {
            return unsupported("a connect to what only a transport reaches");
        };
        let (address, protocol) = (socket.address(addr)?, socket.facts.protocol);
        let port = self.port(to);
        let listening = self
            .bound
            .iter()
            .filter(|(other, _)| self.sockets[other].phase == Phase::Listening);
        let listeners = listening.map(|(other, binding)| (binding, other.clone()));
        let Some(winner) = sharing::deliver(listeners, protocol, address, port) else {
            return Ok(Observed::wsa(wsa::ECONNREFUSED.0));
        };
        let local = SocketAddr::new(address, self.free_port());
        self.connected(name, local, SocketAddr::new(address, port));
        Ok(Observed {
            delivered_to: Some(winner),
            ..Observed::wsa(0)
        })
    }

    pub(super) fn pair(&mut self, name: &str, peer: &str) -> Result<Observed, Stop> {
        if self.socket(name)?.is_none() || self.socket(peer)?.is_none() {
            return Ok(not_a_socket());
        }
        let loopback = self.sockets[name].address(AddressName::Loopback)?;
        let (port, peer_port) = (self.free_port(), self.free_port());
        let local = self.sockets[name].local.unwrap_or(SocketAddr::new(loopback, port));
        let remote = self.sockets[peer].local.unwrap_or(SocketAddr::new(loopback, peer_port));
        for (own, other, local, remote) in [(name, peer, local, remote), (peer, name, remote, local)] {
            self.connected(own, local, remote);
            if let Some(socket) = self.sockets.get_mut(own) {
                socket.peer = Some(other.to_owned());
            }
        }
        Ok(Observed::wsa(0))
    }

    pub(super) fn close(&mut self, name: &str) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        socket.alive = false;
        socket.phase = Phase::Closing;
        self.bound.retain(|(other, _)| other != name);
        Ok(Observed::wsa(0))
    }

    pub(super) fn getsockname(&mut self, name: &str) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        let known = socket.local.is_some() && socket.accepted_from.is_none();
        Ok(Observed::wsa(if known { 0 } else { wsa::EINVAL.0 }))
    }
}

//! Vectors of layer `transport`: Winsock calls, made as the WSK calls that a transport sees of them. What Winsock does by itself above
//! the transport (receive time-outs, out-of-band data, `FIONREAD`) WSK does not have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use probe_protocol::probe::Category;
use wskguard_core::NtStatus;
use wskguard_core::status::to_wsa;
use wskguard_vectors::backend::{Buffer, Observed, Stop};
use wskguard_vectors::format::{Bytes, GetStep, Op, RecvMode, RecvStep, SetStep, TypeName};

use super::{LiveRun, Named, observed, unsupported};
use crate::probe::{Address, Done};

/// How long a call that must not complete is watched.
const MOMENT: Duration = Duration::from_millis(50);
/// Where datagrams are sent that nobody waits for: the discard port.
const DISCARD: u16 = 9;

impl LiveRun<'_> {
    /// Winsock's categories: what connects is a connection socket, the rest are datagram sockets.
    pub(super) fn winsock_category(&self) -> Category {
        match self.combination.socket_type {
            Some(TypeName::Stream) | None => Category::Connection,
            Some(_) => Category::Datagram,
        }
    }

    /// Carries out a Winsock step; `None` if it is not one.
    pub(super) fn winsock(&mut self, op: &Op) -> Option<Result<Observed, Stop>> {
        Some(match op {
            Op::Pair { sock, peer } => self.pair(sock, peer),
            Op::Set(wish) => self.set(wish),
            Op::Get(wish) => self.get(wish),
            Op::Recv(wish) => self.recv(wish),
            Op::Send { sock, bytes, flags, .. } => match bytes {
                Some(bytes) if flags.is_empty() => self.send(sock, &bytes.0),
                _ => unsupported("WSK has no out-of-band data"),
            },
            Op::Sendto { sock, to, bytes } => self.send_to(sock, to, &bytes.0),
            Op::Close { sock } => self.named(sock).and_then(|named| {
                let done = named.socket.close()?;
                Ok(winsock(&done))
            }),
            Op::Reset { sock } => self.named(sock).and_then(|named| {
                let done = named.socket.abort()?;
                Ok(winsock(&done))
            }),
            Op::Wait { ms, request } => {
                sleep(Duration::from_millis(*ms));
                self.look(request)
            }
            Op::Fionread { .. } => unsupported("WSK has no FIONREAD"),
            Op::Connect { .. } => unsupported("a datagram socket of WSK does not connect"),
            _ => return None,
        })
    }

    fn named(&mut self, name: &str) -> Result<Named<'_>, Stop> {
        Ok(self.socket(name)?)
    }

    fn pair(&mut self, near: &str, far: &str) -> Result<Observed, Stop> {
        let named = self.connect(near)?;
        let peer = Named {
            socket: named.peer.context("a connection without an end")?,
            bound: true,
            peer: Some(named.socket),
        };
        self.keep(far, peer);
        Ok(Observed::wsa(0))
    }

    fn set(&mut self, wish: &SetStep) -> Result<Observed, Stop> {
        let Some(Bytes::Hex(bytes)) = &wish.bytes else {
            return unsupported("WSK copies its input: bad pointers are the caller's bug check");
        };
        let (level, option) = (wish.level.level()?, wish.opt.option()?);
        let socket = self.socket(&wish.sock)?.socket;
        Ok(winsock(&socket.set_call(option, level, &bytes.0).run()?))
    }

    fn get(&mut self, wish: &GetStep) -> Result<Observed, Stop> {
        let (level, option) = (wish.level.level()?, wish.opt.option()?);
        let size = wish.cap.as_ref().map_or(Ok(4), |size| size.bytes())?;
        let room = u32::try_from(size).context("the length of a get")?;
        let socket = self.socket(&wish.sock)?.socket;
        let done = socket.get_call(option, level, room).run()?;
        Ok(Observed {
            size: u32::try_from(done.information()).ok(),
            buffer: Some(Buffer {
                bytes: done.output.clone(),
                base: 0,
            }),
            ..winsock(&done)
        })
    }

    fn recv(&mut self, wish: &RecvStep) -> Result<Observed, Stop> {
        let socket = self.socket(&wish.sock)?.socket;
        let receive = socket.receive_call(u32::try_from(wish.len).context("the length of a recv")?);
        if let (RecvMode::Overlapped, Some(name)) = (wish.mode, &wish.name) {
            let receive = receive.start()?;
            self.requests.insert(name.clone(), receive);
            return self.look(name);
        }
        let waiting = receive.start()?;
        sleep(MOMENT);
        if waiting.is_pending()? {
            waiting.cancel()?;
            return unsupported("receives of WSK have no time-out");
        }
        Ok(winsock(&waiting.wait()?))
    }

    fn look(&mut self, request: &str) -> Result<Observed, Stop> {
        let pending = self.requests.get(request).context("an unknown request")?;
        Ok(Observed {
            pending: Some(pending.is_pending()?),
            ..Observed::default()
        })
    }

    fn send(&mut self, name: &str, bytes: &[u8]) -> Result<Observed, Stop> {
        Ok(winsock(&self.socket(name)?.socket.send_call(bytes).run()?))
    }

    fn send_to(&mut self, name: &str, to: &str, bytes: &[u8]) -> Result<Observed, Stop> {
        let address = match to {
            "broadcast" => IpAddr::V4(Ipv4Addr::BROADCAST),
            "ff01::1" => IpAddr::V6(Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)),
            other => return unsupported(format!("sendto {other}")),
        };
        let mut named = self.socket(name)?;
        if !named.bound {
            named.socket.bind(self.family().wildcard(0))?;
            named.bound = true;
            self.keep(name, named);
        }
        let address = Address(SocketAddr::new(address, DISCARD));
        Ok(winsock(&named.socket.send_to_call(bytes, address).run()?))
    }
}

/// A completed call in Winsock's words.
pub(super) fn winsock(done: &Done) -> Observed {
    let status = NtStatus(done.result().cast_unsigned());
    let failed = done.result() < 0;
    Observed {
        wsa: Some(if failed { to_wsa(status).0 } else { 0 }),
        status: Some(status.0),
        count: (!failed).then(|| done.information()),
        ..observed(done)
    }
}

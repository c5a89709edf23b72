//! What happens to connections, and data on them as far as the record decides its fate.

use anyhow::{Context, anyhow};
use wskguard_core::Phase;
use wskguard_core::semantics::{Change, Flag, Number, Op as StateOp};
use wskguard_core::status::{nt, wsa};

use super::net::not_a_socket;
use super::{World, unsupported};
use crate::backend::{Observed, Stop};
use crate::format::{ConnectMode, ConnectOutcome, Op, RecvMode, RecvStep};

/// An overlapped receive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    sock: String,
    len: u64,
    done: Option<Completion>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
struct Completion {
    wsa: u32,
    status: Option<u32>,
    count: Option<u64>,
}

impl World {
    pub(super) fn event(&mut self, op: &Op) -> Result<Observed, Stop> {
        match op {
            Op::ConnectEvent { sock, mode, outcome } => self.connect_event(sock, *mode, *outcome),
            Op::ConnectPending { sock } => self
                .connect_event(sock, ConnectMode::Async, ConnectOutcome::Pending)
                .map(|_| Observed::wsa(0)),
            Op::Reset { sock } => self.reset(sock),
            Op::KeepaliveDrop { sock } => self.keepalive_drop(sock),
            Op::Send {
                sock,
                bytes,
                fill_len,
                flags,
            } => {
                let bytes = match (bytes, fill_len) {
                    (Some(bytes), None) => bytes.0.clone(),
                    (None, Some(len)) => vec![0; usize::try_from(*len).context("fill_len")?],
                    _ => return Err(Stop::Broken(anyhow!("send has bytes or fill_len"))),
                };
                self.send(sock, &bytes, flags)
            }
            Op::Recv(step) => self.recv(step),
            Op::Fionread { sock } => self.fionread(sock),
            Op::Wait { request, .. } => {
                let request = self
                    .requests
                    .get(request)
                    .with_context(|| format!("no request {request}"))?;
                Ok(Observed {
                    pending: Some(request.done.is_none()),
                    ..Observed::default()
                })
            }
            Op::Complete { request } => self.complete(request),
            Op::Sendto { sock, to, bytes } => self.sendto(sock, to, &bytes.0),
            _ => unsupported("needs the driver in the test kernel"),
        }
    }

    /// SO_ERROR holds the error of an asynchronous connect until a connect succeeds; a failed blocking connect leaves it. [T] test_select
    fn connect_event(&mut self, name: &str, mode: ConnectMode, outcome: ConnectOutcome) -> Result<Observed, Stop> {
        if self.socket(name)?.is_none() {
            return Ok(not_a_socket());
        }
        let asynchronous = mode == ConnectMode::Async;
        if asynchronous || outcome == ConnectOutcome::Connected {
            self.bind_anywhere(name)?;
        }
        let local = self.sockets[name].local;
        let call = if asynchronous { wsa::EWOULDBLOCK.0 } else { 0 };
        let socket = self.socket(name)?.context("no socket")?;
        let observed = match outcome {
            ConnectOutcome::Connected => {
                let local = local.context("bound")?;
                self.connected(name, local, local);
                Observed::wsa(call)
            }
            ConnectOutcome::Pending => {
                socket.phase = Phase::Connecting;
                Observed::wsa(call)
            }
            ConnectOutcome::Refused => {
                socket.phase = if socket.local.is_some() {
                    Phase::Bound
                } else {
                    Phase::Unbound
                };
                if asynchronous {
                    let error = StateOp::Number(Number::Error, wsa::ECONNREFUSED.0);
                    // A fact is never refused.
                    let _ = socket.state.apply(Change::fact(error));
                    Observed::wsa(call)
                } else {
                    Observed::wsa(wsa::ECONNREFUSED.0)
                }
            }
        };
        // The outcome is given, so it is no failure of a preparation; with an expectation, `wsa` is the code of the call.
        Ok(Observed {
            pending: Some(true),
            ..observed
        })
    }

    /// Ends a connection and what waits on it.
    fn disconnect(&mut self, name: &str, phase: Phase, completion: &Completion) {
        if let Some(socket) = self.sockets.get_mut(name) {
            socket.phase = phase;
        }
        for request in self
            .requests
            .values_mut()
            .filter(|request| request.sock == name && request.done.is_none())
        {
            request.done = Some(completion.clone());
        }
    }

    fn reset(&mut self, name: &str) -> Result<Observed, Stop> {
        let peer = match self.socket(name)? {
            None => return Ok(not_a_socket()),
            Some(socket) => socket.peer.take(),
        };
        let completion = Completion {
            wsa: wsa::ECONNRESET.0,
            status: Some(nt::CONNECTION_RESET.0),
            count: None,
        };
        if let Some(peer) = peer {
            if let Some(socket) = self.sockets.get_mut(&peer) {
                socket.reset = true;
            }
            self.disconnect(&peer, Phase::Disconnected, &completion);
        }
        self.disconnect(name, Phase::Disconnected, &completion);
        Ok(Observed::wsa(0))
    }

    /// [SPI] calls in progress get WSAENETRESET, later ones WSAENOTCONN. Which NTSTATUS stands for the first is not known.
    fn keepalive_drop(&mut self, name: &str) -> Result<Observed, Stop> {
        if self.socket(name)?.is_none() {
            return Ok(not_a_socket());
        }
        let completion = Completion {
            wsa: wsa::ENETRESET.0,
            status: None,
            count: None,
        };
        self.disconnect(name, Phase::KeepAliveFailed, &completion);
        Ok(Observed::wsa(0))
    }

    fn send(&mut self, name: &str, bytes: &[u8], flags: &[String]) -> Result<Observed, Stop> {
        let urgent = urgent(flags)?;
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        if let Some(error) = socket.connection_error() {
            return Ok(Observed::wsa(error));
        }
        let observed = Observed {
            count: u64::try_from(bytes.len()).ok(),
            ..Observed::wsa(0)
        };
        // [T] a connected datagram socket may send to the broadcast address without SO_BROADCAST.
        let Some(peer) = socket.peer.clone().filter(|_| socket.is_stream()) else {
            return Ok(observed);
        };
        let Some(receiver) = self.sockets.get_mut(&peer) else {
            return Ok(observed);
        };
        if urgent && !receiver.state.flag(Flag::OobInline) {
            receiver.out_of_band.extend_from_slice(bytes);
            return Ok(observed);
        }
        match self
            .requests
            .values_mut()
            .find(|request| request.sock == peer && request.done.is_none())
        {
            Some(request) => {
                let count = observed.count.map(|count| count.min(request.len));
                request.done = Some(Completion {
                    wsa: 0,
                    status: Some(0),
                    count,
                });
            }
            None => receiver.inbox.extend_from_slice(bytes),
        }
        Ok(observed)
    }

    /// The gate for broadcasts is at each send. [T] test_broadcast; the code is documented only.
    fn sendto(&mut self, name: &str, to: &str, bytes: &[u8]) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        if socket.is_stream() {
            return unsupported("a send to an address on a stream socket is the transport's");
        }
        match to {
            "broadcast" if !socket.state.flag(Flag::Broadcast) => Ok(Observed::wsa(wsa::EACCES.0)),
            "broadcast" | "ff01::1" => {
                self.bind_anywhere(name)?;
                Ok(Observed {
                    count: u64::try_from(bytes.len()).ok(),
                    ..Observed::wsa(0)
                })
            }
            _ => unsupported("where the datagram goes is the transport's"),
        }
    }

    fn recv(&mut self, step: &RecvStep) -> Result<Observed, Stop> {
        let urgent = urgent(&step.flags)?;
        let Some(socket) = self.socket(&step.sock)? else {
            return Ok(not_a_socket());
        };
        // [T] there is no out-of-band data to ask for while it goes into the stream.
        if urgent && socket.state.flag(Flag::OobInline) {
            return Ok(Observed::wsa(wsa::EINVAL.0));
        }
        let data = if urgent {
            &mut socket.out_of_band
        } else {
            &mut socket.inbox
        };
        let available = data.len().min(usize::try_from(step.len).unwrap_or(usize::MAX));
        if available > 0 {
            let bytes: Vec<u8> = data.drain(..available).collect();
            let buffer = crate::backend::Buffer { bytes, base: 0 };
            return Ok(Observed {
                count: u64::try_from(available).ok(),
                buffer: Some(buffer),
                ..Observed::wsa(0)
            });
        }
        if let Some(error) = socket.connection_error() {
            return Ok(Observed::wsa(error));
        }
        match step.mode {
            RecvMode::Overlapped => {
                let name = step.name.clone().context("an overlapped receive needs a name")?;
                self.requests.insert(
                    name,
                    Request {
                        sock: step.sock.clone(),
                        len: step.len,
                        done: None,
                    },
                );
                Ok(Observed {
                    pending: Some(true),
                    ..Observed::default()
                })
            }
            // Nothing can arrive while the call waits, so its time-out ends it.
            RecvMode::Blocking if socket.state.number(Number::RcvTimeo).is_some_and(|limit| limit != 0) => {
                Ok(Observed::wsa(wsa::ETIMEDOUT.0))
            }
            RecvMode::Blocking => unsupported("a receive that waits for ever"),
        }
    }

    fn fionread(&mut self, name: &str) -> Result<Observed, Stop> {
        let Some(socket) = self.socket(name)? else {
            return Ok(not_a_socket());
        };
        let value = u32::try_from(socket.inbox.len()).ok();
        Ok(Observed {
            value,
            ..Observed::wsa(0)
        })
    }

    fn complete(&mut self, name: &str) -> Result<Observed, Stop> {
        let request = self.requests.get(name).with_context(|| format!("no request {name}"))?;
        Ok(match &request.done {
            None => Observed {
                pending: Some(true),
                ..Observed::default()
            },
            Some(Completion { wsa, status, count }) => Observed {
                wsa: Some(*wsa),
                status: *status,
                count: *count,
                pending: Some(false),
                ..Observed::default()
            },
        })
    }
}

/// Whether the flags are MSG_OOB.
fn urgent(flags: &[String]) -> Result<bool, Stop> {
    match flags {
        [] => Ok(false),
        [flag] if flag == "oob" => Ok(true),
        other => Err(Stop::Broken(anyhow!("flags {other:?}"))),
    }
}

//! setsockopt, getsockopt and WSAIoctl: every answer is the engine's.

use anyhow::{Context, anyhow};
use wskguard_core::semantics::winsock::{self, Socket};
use wskguard_core::semantics::{Flag, MINUS_ONE, Op, OptionState, Pointer, Request, Value, capture_len, inherit};
use wskguard_core::status::{Refusal, wsa};
use wskguard_core::{Family, RequestKind, catalogue};

use super::{World, unsupported};
use crate::backend::{Buffer, Observed, Stop};
use crate::format::{Bytes, Code, GetStep, Hex, PointerName, SetStep, Size};

/// Where the runner's buffers are said to be, for the pointers in an answer.
const BASE: usize = 0x10_0000;

/// `IPPROTO_IPV6`, `IPV6_V6ONLY`: the one transport option that the sharing rules depend on.
const V6ONLY: (u32, u32) = (41, 27);

/// A length as the engine takes it.
pub(super) fn claimed(size: &Size) -> Result<usize, Stop> {
    let size = size.bytes()?;
    Ok(usize::try_from(size).unwrap_or(MINUS_ONE))
}

const fn pointer(name: PointerName) -> Pointer {
    match name {
        PointerName::Valid => Pointer::Valid,
        PointerName::Null => Pointer::Null,
        PointerName::One => Pointer::Bad,
    }
}

/// A request without buffers, to be filled in.
pub(super) const fn bare(kind: RequestKind, level: u32, code: u32, now: u32) -> Request<'static> {
    Request {
        kind,
        level,
        code,
        input_pointer: Pointer::Null,
        input_len: 0,
        input: &[],
        output_pointer: Pointer::Null,
        output_len: 0,
        has_irp: true,
        wants_size: false,
        at_dispatch: false,
        now,
    }
}

impl World {
    fn view(&self, name: &str) -> Option<Socket<'_>> {
        let socket = self.sockets.get(name).filter(|socket| socket.alive)?;
        Some(Socket {
            facts: &socket.facts,
            state: &socket.state,
            phase: socket.phase,
        })
    }

    pub(super) fn assume(&mut self, opt: &Code) -> Result<Observed, Stop> {
        let code = opt.option()?;
        let row = catalogue::option(wskguard_core::SOL_SOCKET, code).context("the option is not in the catalogue")?;
        self.lacks = self.lacks.with(row.id);
        for socket in self.sockets.values_mut() {
            socket.facts.lacks = self.lacks;
        }
        Ok(Observed::default())
    }

    pub(super) fn set(&mut self, step: &SetStep) -> Result<Observed, Stop> {
        self.socket(&step.sock)?;
        let (level, code) = (step.level.level()?, step.opt.option()?);
        let len = claimed(&step.len)?;
        let bytes = self.bytes(step)?;
        let captured = capture_len(RequestKind::Set, level, code, len).min(bytes.len());
        let request = Request {
            input_pointer: pointer(step.ptr),
            input_len: len,
            input: &bytes[..captured],
            ..bare(RequestKind::Set, level, code, self.now)
        };
        let outcome = winsock::set(self.view(&step.sock).as_ref(), &request);
        let change = match outcome {
            Ok(change) => change,
            Err(Refusal { wsa, .. }) => return Ok(Observed::wsa(wsa.0)),
        };
        match change.op() {
            Op::Transport => return self.set_transport(&step.sock, (level, code), &bytes),
            Op::OpenType(value) => self.threads.entry(step.thread.clone()).or_default().open_type = value,
            Op::AcceptContext(handle) => return self.update_accept_context(&step.sock, handle),
            _ => {
                let socket = self.socket(&step.sock)?.context("no socket")?;
                socket
                    .state
                    .apply(change)
                    .map_err(|refusal| anyhow!("{refusal:?} after it was planned"))?;
                // [T] a byte that is pending already moves into the stream.
                if socket.state.flag(Flag::OobInline) {
                    let urgent = std::mem::take(&mut socket.out_of_band);
                    socket.inbox.extend(urgent);
                }
            }
        }
        Ok(Observed::wsa(0))
    }

    /// The buffer of a set: what is given, then zeros.
    fn bytes(&self, step: &SetStep) -> Result<Vec<u8>, Stop> {
        let mut bytes = match (&step.bytes, step.ptr) {
            (None, PointerName::Valid) => return Err(Stop::Broken(anyhow!("ptr valid without bytes"))),
            (Some(_), PointerName::Null | PointerName::One) => {
                return Err(Stop::Broken(anyhow!("bytes without a valid ptr")));
            }
            (None, _) => return Ok(Vec::new()),
            (Some(Bytes::Hex(Hex(bytes))), _) => bytes.clone(),
            (Some(Bytes::HandleOf(handle)), _) => {
                let socket = self
                    .sockets
                    .get(&handle.handle_of)
                    .context("the handle of what is no socket")?;
                socket.handle.to_le_bytes().to_vec()
            }
            (Some(Bytes::FromStep(from)), _) => {
                let read = self.reads.get(&from.from_step);
                read.with_context(|| format!("no get with n {}", from.from_step))?
                    .clone()
            }
        };
        bytes.resize(bytes.len().max(8), 0);
        Ok(bytes)
    }

    fn set_transport(&mut self, name: &str, option: (u32, u32), bytes: &[u8]) -> Result<Observed, Stop> {
        let socket = self.socket(name)?.context("no socket")?;
        if option != V6ONLY || socket.facts.family != Family::INET6 {
            return unsupported("the option is the transport's");
        }
        socket.v6only = bytes.iter().take(4).any(|&byte| byte != 0);
        Ok(Observed::wsa(0))
    }

    /// The accepted socket takes over from its listener.
    fn update_accept_context(&mut self, name: &str, handle: u64) -> Result<Observed, Stop> {
        let listener = self
            .sockets
            .iter()
            .find(|(_, socket)| socket.handle == handle && socket.alive);
        let Some((listener, state)) = listener.map(|(name, socket)| (name.clone(), socket.state)) else {
            return Ok(Observed::wsa(wsa::ENOTSOCK.0));
        };
        let socket = self.socket(name)?.context("no socket")?;
        if socket.accepted_from.as_ref() != Some(&listener) {
            return Ok(Observed::wsa(wsa::EINVAL.0));
        }
        socket.accepted_from = None;
        let connected = socket.state;
        socket.state = inherit(&state);
        keep_connect_time(&mut socket.state, &connected);
        Ok(Observed::wsa(0))
    }

    pub(super) fn get(&mut self, step: &GetStep) -> Result<Observed, Stop> {
        self.socket(&step.sock)?;
        let (level, code) = (step.level.level()?, step.opt.option()?);
        let capacity = step.cap.as_ref().map(claimed).transpose()?;
        let mut buffer = Self::buffer(step, capacity)?;
        let request = Request {
            // A NULL length pointer is as bad as a NULL buffer.
            output_pointer: if capacity.is_some() {
                pointer(step.ptr)
            } else {
                Pointer::Null
            },
            output_len: capacity.unwrap_or(0),
            ..bare(RequestKind::Get, level, code, self.now)
        };
        let thread = self.threads.get(&step.thread).copied().unwrap_or_default();
        let unchanged = capacity.map(|capacity| u32::try_from(capacity).unwrap_or(u32::MAX));
        let answer = match winsock::get(self.view(&step.sock).as_ref(), &thread, &request) {
            Ok(answer) => answer,
            Err(refused) => {
                buffer[..refused.zeroed].fill(0);
                let size = refused
                    .size
                    .map(|size| u32::try_from(size).unwrap_or(u32::MAX))
                    .or(unchanged);
                return Ok(self.read(step, buffer, size, refused.refusal.wsa.0));
            }
        };
        if answer.value == Value::Transport {
            return self.get_transport(step, (level, code), buffer);
        }
        let (facts, addresses) = match self.sockets.get(&step.sock) {
            Some(socket) => (socket.facts, socket.addresses()),
            None => (winsock::NO_SOCKET, wskguard_core::semantics::Addresses::default()),
        };
        answer.write(&facts, &addresses, &mut buffer[..answer.written], BASE);
        if let Some(socket) = self.socket(&step.sock)? {
            socket
                .state
                .apply(answer.commit)
                .map_err(|refusal| anyhow!("{refusal:?} from a get"))?;
        }
        let size = u32::try_from(answer.size).ok();
        Ok(self.read(step, buffer, size, 0))
    }

    fn buffer(step: &GetStep, capacity: Option<usize>) -> Result<Vec<u8>, Stop> {
        const LARGEST: usize = 1 << 20;
        let fill = step.fill.as_ref().map(|fill| fill.0.clone()).unwrap_or_default();
        let capacity = match capacity {
            Some(MINUS_ONE) | None => 4,
            Some(capacity) if capacity <= LARGEST => capacity,
            Some(_) => return unsupported("a buffer of more than 1 MiB"),
        };
        let mut buffer = fill;
        buffer.resize(buffer.len().max(capacity).max(4), 0);
        Ok(buffer)
    }

    /// What is seen of a get.
    fn read(&mut self, step: &GetStep, buffer: Vec<u8>, size: Option<u32>, code: u32) -> Observed {
        if let (0, Some(size)) = (code, size) {
            let returned = buffer
                .iter()
                .take(usize::try_from(size).unwrap_or(0))
                .copied()
                .collect();
            self.reads.insert(self.n, returned);
        }
        let facts = self.sockets.get(&step.sock).map(|socket| socket.facts);
        Observed {
            wsa: Some(code),
            size,
            // No caller's buffer is behind a NULL pointer.
            buffer: (step.ptr == PointerName::Valid).then_some(Buffer {
                bytes: buffer,
                base: BASE,
            }),
            socket: facts.map(|facts| (facts.family, facts.socket_type, facts.protocol)),
            socket_name: Some(step.sock.clone()),
            ..Observed::default()
        }
    }

    fn get_transport(&mut self, step: &GetStep, option: (u32, u32), mut buffer: Vec<u8>) -> Result<Observed, Stop> {
        let socket = self.socket(&step.sock)?.context("no socket")?;
        if option != V6ONLY || socket.facts.family != Family::INET6 || step.cap.as_ref().map_or(Ok(0), Size::bytes)? < 4
        {
            return unsupported("the option is the transport's");
        }
        let value = u32::from(socket.v6only);
        buffer[..4].copy_from_slice(&value.to_le_bytes());
        Ok(self.read(step, buffer, Some(4), 0))
    }

    pub(super) fn ioctl(
        &mut self,
        name: &str,
        code: &Code,
        ptr: PointerName,
        len: &Size,
        bytes: Option<&Hex>,
    ) -> Result<Observed, Stop> {
        self.socket(name)?;
        if bytes.is_some() != (ptr == PointerName::Valid) {
            return Err(Stop::Broken(anyhow!("bytes come with a valid ptr, and only then")));
        }
        let request = Request {
            input_pointer: pointer(ptr),
            input_len: claimed(len)?,
            ..bare(RequestKind::Ioctl, 0, code.option()?, self.now)
        };
        match winsock::ioctl(self.view(name).as_ref(), &request) {
            Ok(change) if change.op() == Op::Transport => unsupported("the IOCTL is the transport's"),
            Ok(_) => Ok(Observed {
                returned: Some(0),
                ..Observed::wsa(0)
            }),
            Err(refusal) => Ok(Observed {
                returned: Some(0),
                ..Observed::wsa(refusal.wsa.0)
            }),
        }
    }
}

/// The moment of the connection is the socket's own, whatever else it takes over.
pub(super) fn keep_connect_time(state: &mut OptionState, from: &OptionState) {
    use wskguard_core::semantics::{Change, Number};
    if let Some(at) = from.number(Number::ConnectedAt) {
        // A fact is never refused.
        let _ = state.apply(Change::fact(Op::Number(Number::ConnectedAt, at)));
    }
}

//! Connecting, sending and disconnecting.
//!
//! Sends and disconnects are done one after the other, in the order in which they were asked for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wsk_sys::{SOCKADDR, SOL_SOCKET, WSK_BUF, WSK_EVENT_SEND_BACKLOG, WSK_FLAG_ABORTIVE, WSK_FLAG_OOB};

use super::bindings;
use super::request::{HostRequest, Op, Request, Role};
use super::socket::{Phase, Socket};
use super::state::Inner;
use crate::buffer;
use crate::host::sys::{MSG_OOB, WSABUF};
use crate::host::{Address, HostSocket};
use crate::status::{
    NTSTATUS, STATUS_CANCELLED, STATUS_CONNECTION_ABORTED, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_PIPE_DISCONNECTED, STATUS_SUCCESS, is_success,
};

const SO_SNDBUF: u32 = 0x1001;

#[derive(Default)]
pub(crate) struct Sender {
    queue: VecDeque<Request>,
    /// The sending direction was closed.
    shut: bool,
    /// The ideal backlog that was indicated last.
    backlog: Option<usize>,
}

impl Sender {
    pub(crate) fn take(&mut self, id: u64) -> Option<Request> {
        let index = self.queue.iter().position(|request| request.id == id)?;
        self.queue.remove(index)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> {
        core::mem::take(&mut self.queue).into_iter()
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Inner {
    pub(super) fn create_connected(
        &mut self,
        socket: &Arc<Socket>,
        request: Request,
        local: *const SOCKADDR,
        remote: *const SOCKADDR,
    ) {
        let opened = HostSocket::open(socket.family, socket.kind, socket.protocol).and_then(|host| {
            self.host = Some(host);
            self.bind_for_connect(socket, local)
        });
        match opened {
            Ok(()) => self.connect(socket, request, remote),
            Err(status) => self.fail_connect(socket, request, status),
        }
    }

    pub(super) fn connect(&mut self, socket: &Arc<Socket>, request: Request, to: *const SOCKADDR) {
        // SAFETY: the client's address is good until its IRP is completed.
        let to = unsafe { Address::read(to) }.filter(|to| to.family() == socket.family);
        let Some(to) = to else {
            return self.fail_connect(socket, request, STATUS_INVALID_PARAMETER);
        };
        if socket.phase() != Phase::Bound {
            return self.fail_connect(socket, request, STATUS_INVALID_DEVICE_STATE);
        }
        socket.set_phase(Phase::Connecting);
        self.remote = Some(to);
        let mut host = HostRequest::new(socket, Role::Connect, Some(request));
        host.address = bindings::route(socket.kind, &to);
        let launched = self.launch(host, |own, host, overlapped| {
            // SAFETY: the address lives in the request.
            unsafe { own.connect(&host.address, overlapped) }
        });
        if let Err((host, status)) = launched
            && let Some(request) = host.request
        {
            self.fail_connect(socket, request, status);
        }
    }

    fn fail_connect(&mut self, socket: &Arc<Socket>, request: Request, status: NTSTATUS) {
        if matches!(request.op, Op::CreateConnected { .. }) {
            // The client never sees this socket.
            self.host = None;
            self.binding = None;
        } else if self.remote.take().is_some() {
            socket.set_phase(Phase::Bound);
        }
        self.answer(request, status, 0);
    }

    pub(super) fn connected(&mut self, socket: &Arc<Socket>, host: Box<HostRequest>, status: NTSTATUS) {
        let Some(request) = host.request else { return };
        if !is_success(status) {
            return self.fail_connect(socket, request, self.fate(status));
        }
        if let Some(own) = &self.host {
            let _ = own.update_connect_context();
            if let (Ok(now), Some(bound)) = (own.local(), self.local) {
                self.local = Some(now.with_port(bound.port()));
            }
        }
        socket.set_phase(Phase::Connected);
        match request.op {
            Op::CreateConnected { .. } => {
                let pointer = socket.hand_out();
                request.complete(STATUS_SUCCESS, pointer.expose_provenance());
            }
            Op::Connect { data: Some(_), .. } => self.sender.queue.push_front(request),
            _ => request.complete(STATUS_SUCCESS, 0),
        }
    }

    pub(super) fn queue_send(&mut self, socket: &Arc<Socket>, request: Request) {
        if socket.phase() != Phase::Connected || socket.shared.lock().silent {
            let status = self.receiver.failure().unwrap_or(STATUS_INVALID_DEVICE_STATE);
            return self.answer(request, status, 0);
        }
        match request.op {
            Op::Disconnect { flags, .. } if flags & WSK_FLAG_ABORTIVE != 0 => self.reset(socket, request),
            _ => self.sender.queue.push_back(request),
        }
    }

    /// An abortive disconnect: whatever pends ends, and the peer sees a reset.
    fn reset(&mut self, socket: &Arc<Socket>, request: Request) {
        for pending in self.sender.drain() {
            pending.complete(STATUS_CONNECTION_ABORTED, 0);
        }
        self.receiver.fail(STATUS_CONNECTION_ABORTED);
        self.abandon(Role::Send);
        self.abandon(Role::Receive);
        self.abandon(Role::ReceiveAhead);
        if let Some(host) = self.host.take() {
            // The host resets a connection by closing its socket; another one goes on answering for the options.
            if let Ok(husk) = HostSocket::open(socket.family, socket.kind, socket.protocol) {
                self.options.hand_on(&host, &husk);
                self.host = Some(husk);
            }
            host.reset_on_close();
        }
        self.sender.shut = true;
        socket.set_phase(Phase::Dead);
        self.answer(request, STATUS_SUCCESS, 0);
    }

    pub(super) fn pump_sends(&mut self, socket: &Arc<Socket>) {
        while !self.is_active(Role::Send) {
            let Some(request) = self.sender.queue.pop_front() else {
                return;
            };
            if self.sender.shut {
                self.answer(request, STATUS_PIPE_DISCONNECTED, 0);
                continue;
            }
            match data_of(&request) {
                None => self.send_done(request, STATUS_SUCCESS, 0),
                // SAFETY: the client's MDLs are valid until its IRP is completed.
                Some(data) => match unsafe { buffer::pieces(&data) } {
                    Some(pieces) => self.send(socket, request, pieces, 0),
                    None => self.answer(request, STATUS_INVALID_PARAMETER, 0),
                },
            }
        }
    }

    fn send(&mut self, socket: &Arc<Socket>, request: Request, pieces: Vec<WSABUF>, before: usize) {
        if pieces.is_empty() {
            return self.send_done(request, STATUS_SUCCESS, before);
        }
        let oob = matches!(request.op, Op::Send { flags, .. } if flags & WSK_FLAG_OOB != 0);
        let mut host = HostRequest::new(socket, Role::Send, Some(request));
        host.buffers = pieces;
        host.before = before;
        host.flags = if oob { MSG_OOB } else { 0 };
        let launched = self.launch(host, |own, host, overlapped| {
            // SAFETY: the pieces are the client's until its IRP is completed.
            unsafe { own.send(&host.buffers, host.flags, overlapped) }
        });
        if let Err((host, status)) = launched
            && let Some(request) = host.request
        {
            self.send_done(request, status, 0);
        }
    }

    pub(super) fn sent(&mut self, socket: &Arc<Socket>, host: Box<HostRequest>, status: NTSTATUS, bytes: usize) {
        let HostRequest {
            request,
            buffers: mut pieces,
            before,
            ..
        } = *host;
        let Some(request) = request else { return };
        let sent = before + bytes;
        buffer::advance(&mut pieces, bytes);
        if is_success(status) && bytes != 0 && !pieces.is_empty() {
            return self.send(socket, request, pieces, sent);
        }
        self.send_done(request, self.fate(status), sent);
    }

    /// The data of a send, or of a disconnect or connect, is on its way.
    fn send_done(&mut self, request: Request, status: NTSTATUS, bytes: usize) {
        match request.op {
            Op::Disconnect { .. } if is_success(status) => {
                let status = self.host.as_ref().map_or(STATUS_INVALID_DEVICE_STATE, |host| {
                    host.shutdown_send().map_or_else(|status| status, |()| STATUS_SUCCESS)
                });
                self.sender.shut = true;
                self.answer(request, status, 0);
            }
            Op::Send { .. } => self.answer(request, status, bytes),
            _ => self.answer(request, status, 0),
        }
    }

    /// What a sender should keep on its way: what the host buffers.
    pub(super) fn ideal_backlog(&self) -> Result<usize, NTSTATUS> {
        let mut value = [0; 4];
        let host = self.host.as_ref().ok_or(STATUS_INVALID_DEVICE_STATE)?;
        host.get(SOL_SOCKET, SO_SNDBUF, &mut value)?;
        Ok(u32::from_ne_bytes(value) as usize)
    }

    /// Tells the client the ideal backlog when it has changed.
    pub(super) fn indicate_backlog(&mut self, socket: &Arc<Socket>) {
        if socket.phase() != Phase::Connected || !socket.is_enabled(WSK_EVENT_SEND_BACKLOG) {
            return;
        }
        let Ok(ideal) = self.ideal_backlog() else { return };
        if self.sender.backlog.replace(ideal) != Some(ideal) {
            socket.call_back(WSK_EVENT_SEND_BACKLOG, |callbacks| {
                // SAFETY: the client's callback, with its context.
                callbacks
                    .connection
                    .WskSendBacklogEvent
                    .map(|backlog| unsafe { backlog(callbacks.context, ideal) })
            });
        }
    }

    /// What a request that the host gave up has come to: cancelled, or ended with its connection.
    pub(super) fn fate(&self, status: NTSTATUS) -> NTSTATUS {
        if status == STATUS_CANCELLED {
            self.receiver.failure().unwrap_or(status)
        } else {
            status
        }
    }
}

/// The data that goes with a request.
fn data_of(request: &Request) -> Option<WSK_BUF> {
    match request.op {
        Op::Send { data, .. } => Some(data),
        Op::Disconnect { data, .. } | Op::Connect { data, .. } => data,
        _ => None,
    }
}

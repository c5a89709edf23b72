//! Receiving on a connection: requests, events, and the end of the data.
//!
//! The host is asked once at a time: into the first pending request's buffer, or ahead into ours when an event wants data or the
//! news of a disconnect. Data that came ahead goes to requests first. After data was not accepted, or not all of it, no further
//! indication is made before a request has completed.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wsk_sys::{WSK_EVENT_DISCONNECT, WSK_FLAG_ABORTIVE, WSK_FLAG_DRAIN, WSK_FLAG_WAITALL};

use super::accept::level_flag;
use super::indication::{self, Verdict};
use super::request::{HostRequest, Op, Request, Role};
use super::socket::{Phase, Socket};
use super::state::Inner;
use crate::buffer;
use crate::host::sys::WSABUF;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_CANCELLED, STATUS_CONNECTION_RESET, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, is_success,
};

/// Bytes that one read ahead may bring, and that may wait.
const AHEAD: u32 = 64 * 1024;

#[derive(Default)]
pub(crate) struct Receiver {
    requests: VecDeque<Request>,
    /// Bytes of the first request's buffer that are filled.
    filled: usize,
    ahead: VecDeque<u8>,
    /// How the data ended: with success when the peer closed its side.
    end: Option<NTSTATUS>,
    /// The end is a reset.
    abortive: bool,
    end_indicated: bool,
    /// An indication was not accepted in full.
    blocked: bool,
}

impl Receiver {
    pub(crate) fn queue(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Request> {
        let index = self.requests.iter().position(|request| request.id == id)?;
        if index == 0 {
            self.filled = 0;
        }
        self.requests.remove(index)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> {
        self.filled = 0;
        core::mem::take(&mut self.requests).into_iter()
    }

    /// The peer has closed its side.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end == Some(STATUS_SUCCESS)
    }

    /// With what the connection failed.
    pub(crate) fn failure(&self) -> Option<NTSTATUS> {
        self.end.filter(|end| !is_success(*end))
    }

    pub(crate) fn fail(&mut self, status: NTSTATUS) {
        self.end = Some(status);
        self.end_indicated = true;
        for request in self.drain() {
            request.complete(status, 0);
        }
    }

    /// Ends the data with a failure that the client is told about.
    pub(crate) fn die(&mut self, status: NTSTATUS, abortive: bool) {
        self.end = Some(status);
        self.abortive = abortive;
        self.ahead.clear();
    }

    /// The end is told in another way.
    pub(crate) fn forget_end(&mut self) {
        self.end_indicated = true;
    }

    /// Whether the next request would find data.
    pub(crate) fn has_data(&self) -> bool {
        self.requests.is_empty() && !self.ahead.is_empty()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.ahead.len()
    }
}

fn flags_of(request: &Request) -> u32 {
    if let Op::Receive { flags, .. } = request.op {
        flags
    } else {
        0
    }
}

/// The room of a request from byte `from` on; `None` when its buffer is none.
fn room(request: &Request, from: usize) -> Option<Vec<WSABUF>> {
    let Op::Receive { data, flags } = &request.op else {
        return None;
    };
    if flags & WSK_FLAG_DRAIN != 0 && data.Mdl.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: the client's MDLs are valid until its IRP is completed.
    let mut pieces = unsafe { buffer::pieces(data) }?;
    buffer::advance(&mut pieces, from);
    Some(pieces)
}

impl Inner {
    pub(super) fn pump_receives(&mut self, socket: &Arc<Socket>) {
        if socket.phase() < Phase::Connected {
            for request in self.receiver.drain() {
                request.complete(STATUS_INVALID_DEVICE_STATE, 0);
            }
            return;
        }
        self.fill_from_ahead();
        if self.receiver.ahead.is_empty() && self.receiver.end.is_some() {
            self.finish_receives();
            self.indicate_end(socket);
            return;
        }
        self.indicate_ahead(socket);
        self.ask_for_data(socket);
    }

    /// Gives data that came ahead to the requests.
    fn fill_from_ahead(&mut self) {
        while !self.receiver.ahead.is_empty() && !self.is_active(Role::Receive) {
            let Some(request) = self.receiver.requests.front() else {
                return;
            };
            if flags_of(request) & WSK_FLAG_DRAIN != 0 {
                self.receiver.ahead.clear();
                return;
            }
            let Some(pieces) = room(request, self.receiver.filled) else {
                self.complete_receive(STATUS_INVALID_PARAMETER);
                continue;
            };
            let waits_for_all = flags_of(request) & WSK_FLAG_WAITALL != 0;
            // SAFETY: the pieces are the client's until its IRP is completed.
            let copied = unsafe { buffer::scatter(self.receiver.ahead.make_contiguous(), &pieces) };
            self.receiver.ahead.drain(..copied);
            self.receiver.filled += copied;
            if waits_for_all && copied < buffer::length(&pieces) {
                return;
            }
            self.complete_receive(STATUS_SUCCESS);
        }
    }

    /// Completes the first request with what it has been filled with.
    fn complete_receive(&mut self, status: NTSTATUS) {
        let filled = core::mem::take(&mut self.receiver.filled);
        self.receiver.blocked = false;
        if let Some(request) = self.receiver.requests.pop_front() {
            self.answer(request, status, filled);
        }
    }

    fn finish_receives(&mut self) {
        let Some(end) = self.receiver.end else { return };
        while !self.receiver.requests.is_empty() {
            self.complete_receive(end);
        }
    }

    fn indicate_end(&mut self, socket: &Arc<Socket>) {
        if self.receiver.end_indicated || !socket.is_enabled(WSK_EVENT_DISCONNECT) {
            return;
        }
        self.receiver.end_indicated = true;
        let flags = level_flag() | if self.receiver.abortive { WSK_FLAG_ABORTIVE } else { 0 };
        socket.call_back(WSK_EVENT_DISCONNECT, |callbacks| {
            // SAFETY: the client's callback, with its context.
            callbacks
                .connection
                .WskDisconnectEvent
                .map(|disconnected| unsafe { disconnected(callbacks.context, flags) })
        });
    }

    fn indicate_ahead(&mut self, socket: &Arc<Socket>) {
        let wanted = indication::wanted(socket);
        while wanted && !self.receiver.blocked && self.receiver.requests.is_empty() && !self.receiver.ahead.is_empty() {
            let bytes: Vec<u8> = self.receiver.ahead.iter().copied().collect();
            match indication::indicate(socket, &bytes) {
                Verdict::Accepted(count) => {
                    self.receiver.ahead.drain(..count.min(bytes.len()));
                    self.receiver.blocked = count < bytes.len();
                }
                Verdict::Off => return,
            }
        }
    }

    fn ask_for_data(&mut self, socket: &Arc<Socket>) {
        if self.receiver.end.is_some() || self.is_active(Role::Receive) || self.is_active(Role::ReceiveAhead) {
            return;
        }
        if let Some(request) = self.receiver.requests.front() {
            if flags_of(request) & WSK_FLAG_DRAIN == 0 {
                return self.receive_to_request(socket);
            }
            return self.receive_ahead(socket);
        }
        let wants_data = indication::wanted(socket) && !self.receiver.blocked;
        if (wants_data || socket.is_enabled(WSK_EVENT_DISCONNECT)) && self.receiver.ahead.len() < AHEAD as usize {
            self.receive_ahead(socket);
        }
    }

    fn receive_to_request(&mut self, socket: &Arc<Socket>) {
        let Some(request) = self.receiver.requests.pop_front() else {
            return;
        };
        let before = core::mem::take(&mut self.receiver.filled);
        let Some(pieces) = room(&request, before) else {
            return request.complete(STATUS_INVALID_PARAMETER, 0);
        };
        if pieces.is_empty() {
            return request.complete(STATUS_SUCCESS, before);
        }
        let mut host = HostRequest::new(socket, Role::Receive, Some(request));
        host.buffers = pieces;
        host.before = before;
        let launched = self.launch(host, |own, host, overlapped| {
            // SAFETY: the pieces are the client's until its IRP is completed.
            unsafe { own.receive(&host.buffers, &mut host.flags, overlapped) }
        });
        if let Err((host, status)) = launched {
            self.receive_failed(host.request, status);
        }
    }

    fn receive_ahead(&mut self, socket: &Arc<Socket>) {
        let mut host = HostRequest::new(socket, Role::ReceiveAhead, None);
        host.storage.resize(AHEAD as usize, 0);
        host.buffers.push(WSABUF {
            len: AHEAD,
            buf: host.storage.as_mut_ptr(),
        });
        let launched = self.launch(host, |own, host, overlapped| {
            // SAFETY: the storage lives in the request.
            unsafe { own.receive(&host.buffers, &mut host.flags, overlapped) }
        });
        if let Err((_, status)) = launched {
            self.receive_failed(None, status);
        }
    }

    /// The host says that there is no more. After a reset that came while nothing was asked of it, it says so, too; but then it does
    /// not know its peer any more. (It does not either after both sides have closed.)
    fn end_of_data(&mut self) -> Result<(), NTSTATUS> {
        if !self.sender.is_shut() && self.host.as_ref().is_some_and(|host| host.remote().is_err()) {
            return Err(STATUS_CONNECTION_RESET);
        }
        self.receiver.end = Some(STATUS_SUCCESS);
        Ok(())
    }

    /// A request was cancelled, or the connection has failed.
    fn receive_failed(&mut self, request: Option<Request>, status: NTSTATUS) {
        if status != STATUS_CANCELLED && self.receiver.end.is_none() {
            self.receiver.end = Some(status);
            self.receiver.abortive = true;
        }
        if let Some(request) = request {
            let fate = self.fate(status);
            self.answer(request, fate, 0);
        }
    }

    pub(super) fn received(&mut self, socket: &Arc<Socket>, host: Box<HostRequest>, status: NTSTATUS, bytes: usize) {
        let HostRequest { request, before, .. } = *host;
        let Some(request) = request else { return };
        if !is_success(status) && status != STATUS_BUFFER_OVERFLOW {
            return self.receive_failed(Some(request), status);
        }
        let total = before + bytes;
        if bytes == 0 {
            if let Err(status) = self.end_of_data() {
                return self.receive_failed(Some(request), status);
            }
        } else if flags_of(&request) & WSK_FLAG_WAITALL != 0
            && room(&request, total).is_some_and(|left| !left.is_empty())
        {
            self.receiver.filled = total;
            self.receiver.requests.push_front(request);
            return self.receive_to_request(socket);
        }
        self.receiver.blocked = false;
        request.complete(STATUS_SUCCESS, total);
    }

    pub(super) fn received_ahead(&mut self, host: &HostRequest, status: NTSTATUS, bytes: usize) {
        if !is_success(status) && status != STATUS_BUFFER_OVERFLOW {
            return self.receive_failed(None, status);
        }
        if bytes == 0
            && let Err(status) = self.end_of_data()
        {
            return self.receive_failed(None, status);
        }
        let came = host.storage.get(..bytes).unwrap_or(&[]);
        if self.receiver.failure().is_none() {
            self.receiver.ahead.extend(came);
        }
    }
}

//! Datagrams: sends one after the other, receives into a request's buffer, or ahead for an event.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wsk_sys::{SOCKADDR, WSK_BUF, WSK_EVENT_RECEIVE_FROM};

use super::bindings;
use super::indication;
use super::request::{HostRequest, Op, Request, Role};
use super::socket::{Phase, Socket};
use super::state::Inner;
use crate::buffer;
use crate::host::Address;
use crate::host::sys::WSABUF;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_DATA_NOT_ACCEPTED, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS, is_success,
};

/// `MSG_TRUNC` of ws2def.h: the datagram was longer than the buffer.
const MSG_TRUNC: u32 = 0x100;
const LARGEST: u32 = 65535;
/// Datagrams that may wait for a request or for an indication.
const WAITING: usize = 64;
/// Datagrams in one indication.
const TOGETHER: usize = 8;

type Datagram = (Vec<u8>, Address);

#[derive(Default)]
pub(crate) struct Datagrams {
    sends: VecDeque<Request>,
    receives: VecDeque<Request>,
    ahead: VecDeque<Datagram>,
    /// `SIO_WSK_SET_REMOTE_ADDRESS`: where sends go, and the only source that is received from.
    pub(crate) fixed_remote: Option<Address>,
    /// `SIO_WSK_SET_SENDTO_ADDRESS`.
    pub(crate) fixed_send: Option<Address>,
}

impl Datagrams {
    pub(crate) fn queue_send(&mut self, request: Request) {
        self.sends.push_back(request);
    }

    pub(crate) fn queue_receive(&mut self, request: Request) {
        self.receives.push_back(request);
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Request> {
        for queue in [&mut self.sends, &mut self.receives] {
            if let Some(index) = queue.iter().position(|request| request.id == id) {
                return queue.remove(index);
            }
        }
        None
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> {
        core::mem::take(&mut self.sends)
            .into_iter()
            .chain(core::mem::take(&mut self.receives))
    }

    fn is_wanted(&self, from: &Address) -> bool {
        self.fixed_remote.is_none_or(|remote| remote.same_endpoint(from))
    }
}

impl Inner {
    pub(super) fn pump_datagrams(&mut self, socket: &Arc<Socket>) {
        if socket.phase() == Phase::Unbound {
            for request in self.datagrams.drain() {
                request.complete(STATUS_INVALID_DEVICE_STATE, 0);
            }
            return;
        }
        while !self.is_active(Role::SendTo) {
            let Some(request) = self.datagrams.sends.pop_front() else {
                break;
            };
            self.send_datagram(socket, request, 0, 0);
        }
        while !self.datagrams.receives.is_empty() && !self.datagrams.ahead.is_empty() {
            let (Some(request), Some(datagram)) =
                (self.datagrams.receives.pop_front(), self.datagrams.ahead.pop_front())
            else {
                break;
            };
            give(request, &datagram);
        }
        self.indicate_datagrams(socket);
        self.ask_for_datagrams(socket);
    }

    /// Sends the datagram `index` of a request of which `before` bytes are sent.
    fn send_datagram(&mut self, socket: &Arc<Socket>, request: Request, index: u32, before: usize) {
        let Op::SendTo { datagrams, to } = &request.op else {
            return;
        };
        let Some(datagram) = datagrams.get(index as usize).copied() else {
            return self.answer(request, STATUS_SUCCESS, before);
        };
        let to = match self.destination(socket, *to) {
            Ok(to) => to,
            Err(status) => return self.answer(request, status, 0),
        };
        // SAFETY: the client's MDLs are valid until its IRP is completed.
        let Some(mut pieces) = (unsafe { buffer::pieces(&datagram) }) else {
            return self.answer(request, STATUS_INVALID_PARAMETER, 0);
        };
        if pieces.is_empty() {
            // The host wants a buffer even for no bytes.
            pieces.push(WSABUF {
                len: 0,
                buf: core::ptr::null_mut(),
            });
        }
        let mut host = HostRequest::new(socket, Role::SendTo, Some(request));
        host.buffers = pieces;
        host.before = before;
        host.flags = index;
        host.address = bindings::route(socket.kind, &to);
        let launched = self.launch(host, |own, host, overlapped| {
            // SAFETY: pieces and address live until the request is finished.
            unsafe { own.send_to(&host.buffers, &host.address, overlapped) }
        });
        if let Err((host, status)) = launched
            && let Some(request) = host.request
        {
            self.answer(request, status, 0);
        }
    }

    /// Where a datagram goes: the address of the call, or the fixed one.
    fn destination(&self, socket: &Arc<Socket>, to: *const SOCKADDR) -> Result<Address, NTSTATUS> {
        if to.is_null() {
            let fixed = self.datagrams.fixed_remote.or(self.datagrams.fixed_send);
            return fixed.ok_or(STATUS_INVALID_PARAMETER);
        }
        // SAFETY: the client's address is good until its IRP is completed.
        let to = unsafe { Address::read(to) }.filter(|to| to.family() == socket.family);
        to.ok_or(STATUS_INVALID_PARAMETER)
    }

    pub(super) fn sent_to(&mut self, host: Box<HostRequest>, status: NTSTATUS, bytes: usize) {
        let HostRequest {
            request,
            before,
            flags: index,
            socket,
            ..
        } = *host;
        let Some(request) = request else { return };
        if is_success(status) {
            self.send_datagram(&socket, request, index + 1, before + bytes);
        } else {
            let fate = self.fate(status);
            self.answer(request, fate, 0);
        }
    }

    fn indicate_datagrams(&mut self, socket: &Arc<Socket>) {
        while self.datagrams.receives.is_empty() && !self.datagrams.ahead.is_empty() {
            let now: Vec<Datagram> = self.datagrams.ahead.iter().take(TOGETHER).cloned().collect();
            match indication::indicate_datagrams(socket, WSK_EVENT_RECEIVE_FROM, &now) {
                None => return,
                // It says that it has had enough until it enables the event again.
                Some(STATUS_DATA_NOT_ACCEPTED) => return socket.suspend_event(WSK_EVENT_RECEIVE_FROM),
                Some(_) => drop(self.datagrams.ahead.drain(..now.len())),
            }
        }
    }

    fn ask_for_datagrams(&mut self, socket: &Arc<Socket>) {
        if self.is_active(Role::ReceiveFrom) || self.is_active(Role::ReceiveFromAhead) {
            return;
        }
        if let Some(request) = self.datagrams.receives.pop_front() {
            self.receive_datagram(socket, request);
        } else if socket.is_enabled(WSK_EVENT_RECEIVE_FROM) && self.datagrams.ahead.len() < WAITING {
            self.receive_datagram_ahead(socket);
        }
    }

    fn receive_datagram(&mut self, socket: &Arc<Socket>, request: Request) {
        let Some(pieces) = room(&request) else {
            return self.answer(request, STATUS_INVALID_PARAMETER, 0);
        };
        let mut host = HostRequest::new(socket, Role::ReceiveFrom, Some(request));
        host.buffers = pieces;
        if let Err((host, status)) = self.launch_receive(host)
            && let Some(request) = host.request
        {
            self.answer(request, status, 0);
        }
    }

    fn receive_datagram_ahead(&mut self, socket: &Arc<Socket>) {
        let mut host = HostRequest::new(socket, Role::ReceiveFromAhead, None);
        host.storage.resize(LARGEST as usize, 0);
        host.buffers.push(WSABUF {
            len: LARGEST,
            buf: host.storage.as_mut_ptr(),
        });
        if let Err((_, status)) = self.launch_receive(host) {
            crate::report::print(format_args!("receive ahead: {status:#010x}"));
        }
    }

    fn launch_receive(&mut self, host: Box<HostRequest>) -> Result<(), (Box<HostRequest>, NTSTATUS)> {
        self.launch(host, |own, host, overlapped| {
            let HostRequest {
                buffers,
                flags,
                address,
                ..
            } = host;
            // SAFETY: pieces and address live until the request is finished.
            unsafe { own.receive_from(buffers, flags, address, overlapped) }
        })
    }

    pub(super) fn received_from(
        &mut self,
        socket: &Arc<Socket>,
        host: Box<HostRequest>,
        status: NTSTATUS,
        bytes: usize,
    ) {
        let HostRequest { request, address, .. } = *host;
        let Some(request) = request else { return };
        let truncated = status == STATUS_BUFFER_OVERFLOW;
        if !is_success(status) && !truncated {
            let fate = self.fate(status);
            return self.answer(request, fate, 0);
        }
        let from = bindings::unroute(socket.kind, &address);
        if !self.datagrams.is_wanted(&from) {
            return self.receive_datagram(socket, request);
        }
        finish(request, &from, bytes, truncated);
    }

    pub(super) fn received_from_ahead(
        &mut self,
        socket: &Arc<Socket>,
        host: Box<HostRequest>,
        status: NTSTATUS,
        bytes: usize,
    ) {
        if !is_success(status) {
            return;
        }
        let from = bindings::unroute(socket.kind, &host.address);
        if self.datagrams.is_wanted(&from) {
            let mut storage = host.storage;
            storage.truncate(bytes);
            storage.shrink_to_fit();
            self.datagrams.ahead.push_back((storage, from));
        }
    }
}

fn room(request: &Request) -> Option<Vec<WSABUF>> {
    let Op::ReceiveFrom(receive) = &request.op else {
        return None;
    };
    let data: &WSK_BUF = &receive.data;
    // SAFETY: the client's MDLs are valid until its IRP is completed.
    unsafe { buffer::pieces(data) }
}

/// Gives a datagram that came ahead to a request.
fn give(request: Request, datagram: &Datagram) {
    let Some(pieces) = room(&request) else {
        return request.complete(STATUS_INVALID_PARAMETER, 0);
    };
    // SAFETY: the pieces are the client's until its IRP is completed.
    let copied = unsafe { buffer::scatter(&datagram.0, &pieces) };
    finish(request, &datagram.1, copied, copied < datagram.0.len());
}

/// Completes a request whose buffer holds the datagram.
fn finish(request: Request, from: &Address, bytes: usize, truncated: bool) {
    if let Op::ReceiveFrom(receive) = &request.op {
        // SAFETY: the client's buffers are good until its IRP is completed, or NULL.
        unsafe {
            from.write(receive.from);
            if let Some(length) = receive.control_length.as_mut() {
                *length = 0;
            }
            if let Some(flags) = receive.control_flags.as_mut() {
                *flags = if truncated { MSG_TRUNC } else { 0 };
            }
        }
    }
    request.complete(STATUS_SUCCESS, bytes);
}

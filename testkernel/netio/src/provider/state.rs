//! The state of a socket that only its worker touches, and how each task changes it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wsk_sys::{SOCK_DGRAM, SOCK_STREAM, SOCKADDR, WSK_FLAG_ABORTIVE};

use super::accept::Acceptor;
use super::bindings;
use super::connection::Sender;
use super::datagram::Datagrams;
use super::indication;
use super::options::Options;
use super::receive::Receiver;
use super::request::{HostRequest, Op, Request, Role, Started};
use super::socket::{Category, Phase, Socket, Task};
use crate::host::sys::OVERLAPPED;
use crate::host::{Address, HostSocket};
use crate::report::misuse;
use crate::script;
use crate::status::{
    NTSTATUS, STATUS_FILE_FORCED_CLOSED, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED,
    STATUS_PENDING, STATUS_SUCCESS,
};

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) host: Option<HostSocket>,
    pub(crate) options: Options,
    /// The address that the client sees.
    pub(crate) local: Option<Address>,
    pub(crate) remote: Option<Address>,
    /// The socket's line in the books of bound addresses.
    pub(crate) binding: Option<bindings::Binding>,
    active: Vec<Started>,
    closing: Option<Request>,
    pub(crate) acceptor: Acceptor,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) datagrams: Datagrams,
    /// The transport took the socket away.
    pub(crate) forced: bool,
    /// The answer of the last request, where it was given at once.
    answered: Option<NTSTATUS>,
}

impl Inner {
    pub(crate) fn handle(&mut self, socket: &Arc<Socket>, task: Task) {
        match task {
            Task::Request(request) => {
                if let Some(request) = script::hold_start(socket, request) {
                    self.begin(socket, request);
                }
            }
            Task::Finished {
                block,
                host,
                status,
                bytes,
            } => {
                self.active.retain(|active| active.block != block);
                self.finished(socket, host, status, bytes);
            }
            Task::Cancel(id) => self.cancel(id),
            Task::Pump => {}
            Task::Die { status, abortive } => self.die(socket, status, abortive),
            Task::ForceClose => self.force_close(socket),
        }
        self.pump(socket);
    }

    /// Whether a request would be answered without waiting for anything.
    pub(crate) fn answers_at_once(&self, request: &Request) -> bool {
        if request.plan.fail.is_some() {
            return true;
        }
        match &request.op {
            Op::Create
            | Op::Bind(_)
            | Op::Listen
            | Op::InspectComplete { .. }
            | Op::LocalAddress(_)
            | Op::RemoteAddress(_)
            | Op::Control(_) => true,
            // A graceful one waits its turn behind the sends.
            Op::Disconnect { flags, .. } => flags & WSK_FLAG_ABORTIVE != 0,
            Op::Receive { flags: 0, .. } => self.receiver.has_data() && !self.is_active(Role::Receive),
            Op::Close(_) => self.active.is_empty(),
            _ => false,
        }
    }

    /// As a task, in the caller's thread: the status with which a request that is answered at once was answered.
    pub(crate) fn handle_inline(&mut self, socket: &Arc<Socket>, request: Request) -> NTSTATUS {
        self.answered = None;
        self.begin(socket, request);
        if self.closing.is_some() {
            self.try_close(socket);
        } else {
            // What follows may ask the host for something, which only the engine's threads do.
            socket.post(Task::Pump);
        }
        self.answered.take().unwrap_or(STATUS_PENDING)
    }

    fn pump(&mut self, socket: &Arc<Socket>) {
        if self.closing.is_some() {
            self.try_close(socket);
            return;
        }
        if self.forced {
            return;
        }
        match socket.category {
            Category::Basic => {}
            Category::Datagram => self.pump_datagrams(socket),
            Category::Listen => self.pump_accepts(socket),
            Category::Connection => self.pump_connection(socket),
            Category::Stream => {
                self.pump_accepts(socket);
                self.pump_connection(socket);
            }
        }
    }

    fn pump_connection(&mut self, socket: &Arc<Socket>) {
        self.pump_sends(socket);
        self.indicate_backlog(socket);
        self.pump_receives(socket);
    }

    /// Completes a request that was answered at once.
    pub(crate) fn answer(&mut self, request: Request, status: NTSTATUS, information: usize) {
        self.answered = Some(status);
        request.complete(status, information);
    }

    fn begin(&mut self, socket: &Arc<Socket>, request: Request) {
        if request.is_cancelled() {
            return request.cancelled();
        }
        if self.closing.is_some() {
            misuse!("{:?} after WskCloseSocket", request.function);
            return request.complete(STATUS_FILE_FORCED_CLOSED, 0);
        }
        if self.forced && !matches!(request.op, Op::Close(_)) {
            return self.answer(request, STATUS_FILE_FORCED_CLOSED, 0);
        }
        if let Some(status) = request.plan.fail {
            if matches!(request.op, Op::Close(_)) {
                // A close that fails leaves the socket as it was.
                socket.shared.lock().closing = false;
            }
            return self.answer(request, status, 0);
        }
        match request.op {
            Op::Create => self.create(socket, request),
            Op::CreateConnected { local, remote } => self.create_connected(socket, request, local, remote),
            Op::Bind(address) => {
                let status = self
                    .bind(socket, address)
                    .map_or_else(|status| status, |()| STATUS_SUCCESS);
                self.answer(request, status, 0);
            }
            Op::Listen => {
                let status = self.listen(socket).map_or_else(|status| status, |()| STATUS_SUCCESS);
                self.answer(request, status, 0);
            }
            Op::Accept(_) => self.acceptor.queue(request),
            Op::InspectComplete { id, action } => {
                let status = self.inspected(socket, id, action);
                self.answer(request, status, 0);
            }
            Op::LocalAddress(to) => self.give_address(request, self.local, to),
            Op::RemoteAddress(to) => self.give_address(request, self.remote, to),
            Op::Connect { to, .. } => self.connect(socket, request, to),
            Op::Send { .. } | Op::Disconnect { .. } => self.queue_send(socket, request),
            Op::Receive { .. } => self.receiver.queue(request),
            Op::SendTo { .. } => self.datagrams.queue_send(request),
            Op::ReceiveFrom(_) => self.datagrams.queue_receive(request),
            Op::Control(control) => {
                let (status, information) = self.control(socket, &control);
                self.answer(request, status, information);
            }
            Op::DisableEvent(event) => {
                if let Some(request) = socket.wait_for_event(event, request) {
                    self.answer(request, STATUS_SUCCESS, 0);
                }
            }
            Op::Close(_) => self.close(socket, request),
        }
    }

    fn finished(&mut self, socket: &Arc<Socket>, host: Box<HostRequest>, status: NTSTATUS, bytes: usize) {
        match host.role {
            Role::Accept => self.accepted(socket, host, status),
            Role::Connect => self.connected(socket, host, status),
            Role::Send => self.sent(socket, host, status, bytes),
            Role::Receive => self.received(socket, host, status, bytes),
            Role::ReceiveAhead => self.received_ahead(&host, status, bytes),
            Role::SendTo => self.sent_to(host, status, bytes),
            Role::ReceiveFrom => self.received_from(socket, host, status, bytes),
            Role::ReceiveFromAhead => self.received_from_ahead(socket, host, status, bytes),
        }
    }

    /// Gives a request to the host; `Err` with the request when it failed at once.
    pub(crate) fn launch(
        &mut self,
        host: Box<HostRequest>,
        launch: impl FnOnce(&HostSocket, &mut HostRequest, *mut OVERLAPPED) -> Result<(), NTSTATUS>,
    ) -> Result<(), (Box<HostRequest>, NTSTATUS)> {
        let Some(own) = &self.host else {
            return Err((host, STATUS_INVALID_DEVICE_STATE));
        };
        let started = host.start(|host, overlapped| launch(own, host, overlapped))?;
        self.active.push(started);
        Ok(())
    }

    pub(crate) fn is_active(&self, role: Role) -> bool {
        self.active.iter().any(|active| active.role == role)
    }

    /// Has the host give up what it does for `role`.
    pub(crate) fn abandon(&self, role: Role) {
        let Some(host) = &self.host else { return };
        for active in self.active.iter().filter(|active| active.role == role) {
            host.cancel(core::ptr::with_exposed_provenance_mut(active.block));
        }
    }

    fn cancel(&mut self, id: u64) {
        if let Some(active) = self.active.iter().find(|active| active.id == Some(id)) {
            if let Some(host) = &self.host {
                host.cancel(core::ptr::with_exposed_provenance_mut(active.block));
            }
            return;
        }
        let queued = (self.acceptor.take(id))
            .or_else(|| self.sender.take(id))
            .or_else(|| self.receiver.take(id))
            .or_else(|| self.datagrams.take(id));
        match queued {
            Some(request) => request.cancelled(),
            None => script::cancel(id),
        }
    }

    fn create(&mut self, socket: &Arc<Socket>, request: Request) {
        match HostSocket::open(socket.family, socket.kind, socket.protocol) {
            Ok(host) => {
                self.host = Some(host);
                let pointer = socket.hand_out();
                self.answer(request, STATUS_SUCCESS, pointer.expose_provenance());
            }
            Err(status) => self.answer(request, status, 0),
        }
    }

    fn bind(&mut self, socket: &Arc<Socket>, address: *const SOCKADDR) -> Result<(), NTSTATUS> {
        // SAFETY: the client's address is good until its IRP is completed.
        let address = unsafe { Address::read(address) }.filter(|address| address.family() == socket.family);
        let Some(address) = address else {
            return Err(STATUS_INVALID_PARAMETER);
        };
        if self.local.is_some() {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        // The category asks the transport for a listener, which a datagram transport is not.
        if socket.category == Category::Listen && socket.kind != SOCK_STREAM {
            return Err(STATUS_NOT_IMPLEMENTED);
        }
        let host = self.host.as_ref().ok_or(STATUS_INVALID_DEVICE_STATE)?;
        let (binding, local) = bindings::bind(socket, host, &self.options, &address)?;
        self.binding = Some(binding);
        self.local = Some(local);
        socket.set_phase(Phase::Bound);
        if socket.category == Category::Listen {
            self.listen(socket)?;
        }
        Ok(())
    }

    fn listen(&mut self, socket: &Arc<Socket>) -> Result<(), NTSTATUS> {
        if socket.phase() != Phase::Bound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        let host = self.host.as_ref().ok_or(STATUS_INVALID_DEVICE_STATE)?;
        host.listen()?;
        socket.set_phase(Phase::Listening);
        if let Some(binding) = &self.binding {
            binding.listens();
        }
        self.acceptor.conditional = self.options.conditional_accept;
        Ok(())
    }

    pub(crate) fn bind_for_connect(&mut self, socket: &Arc<Socket>, address: *const SOCKADDR) -> Result<(), NTSTATUS> {
        self.bind(socket, address)
    }

    fn give_address(&mut self, request: Request, address: Option<Address>, to: *mut SOCKADDR) {
        let status = match address {
            Some(address) if !to.is_null() => {
                // SAFETY: the client's buffer has room for an address of the socket's family.
                unsafe { address.write(to) };
                STATUS_SUCCESS
            }
            Some(_) => STATUS_INVALID_PARAMETER,
            None => STATUS_INVALID_DEVICE_STATE,
        };
        self.answer(request, status, 0);
    }

    fn close(&mut self, socket: &Arc<Socket>, request: Request) {
        script::closing(socket);
        self.closing = Some(request);
        for pending in self
            .acceptor
            .drain()
            .chain(self.sender.drain())
            .chain(self.receiver.drain())
        {
            pending.cancelled();
        }
        for pending in self.datagrams.drain() {
            pending.cancelled();
        }
        if let Some(host) = &self.host {
            host.cancel(core::ptr::null_mut());
        }
    }

    /// Once the host has given everything back, the close completes.
    fn try_close(&mut self, socket: &Arc<Socket>) {
        if !self.active.is_empty() {
            return;
        }
        let Some(mut request) = self.closing.take() else { return };
        if let Some(host) = self.host.take() {
            let graceful = self.sender.is_shut() && self.receiver.is_at_end();
            if socket.kind == SOCK_DGRAM || self.remote.is_none() || graceful {
                host.no_linger();
            } else {
                host.reset_on_close();
            }
        }
        self.acceptor = Acceptor::default();
        self.binding = None;
        indication::forget_retained(socket);
        socket.take_back();
        request.closes(&socket.client);
        self.answer(request, STATUS_SUCCESS, 0);
    }
}

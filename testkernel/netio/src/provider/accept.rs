//! Listening: accept requests, accept events, and conditional accept with inspection.
//!
//! One accept of the host is kept going while somebody wants connections; what nobody wants yet waits in the host's backlog. With
//! `SO_CONDITIONAL_ACCEPT` the host has accepted by the time the client is asked, and a rejection is a reset.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use wsk_sys::{
    PWSK_SOCKET, WSK_EVENT_ACCEPT, WSK_FLAG_AT_DISPATCH_LEVEL, WSK_INSPECT_ACTION, WSK_INSPECT_ID, WskInspectAccept,
    WskInspectPend, WskInspectReject,
};

use super::events::CONNECTION_EVENTS;
use super::request::{Accept, HostRequest, Op, Request, Role};
use super::socket::{Callbacks, Category, Phase, Socket, Task};
use super::state::Inner;
use crate::engine;
use crate::host::{Address, HostSocket};
use crate::level;
use crate::report::misuse;
use crate::status::{NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_SUCCESS, is_success};

/// A connection that the host accepted.
pub(crate) struct Arrived {
    host: HostSocket,
    local: Address,
    remote: Address,
    inspected: Option<WSK_INSPECT_ID>,
}

#[derive(Default)]
pub(crate) struct Acceptor {
    requests: VecDeque<Request>,
    /// Connections that nobody has taken yet.
    ready: VecDeque<Arrived>,
    /// Connections whose inspection pends.
    pended: VecDeque<Arrived>,
    pub(crate) conditional: bool,
}

/// Milliseconds between two looks at connections that wait for a decision.
const LOOK_AGAIN: u32 = 50;

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Acceptor {
    pub(crate) fn queue(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Request> {
        let index = self.requests.iter().position(|request| request.id == id)?;
        self.requests.remove(index)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> {
        core::mem::take(&mut self.requests).into_iter()
    }
}

/// The flag that says at which level a callback is made.
pub(crate) fn level_flag() -> u32 {
    if level::AT_DISPATCH.load(Ordering::Relaxed) {
        WSK_FLAG_AT_DISPATCH_LEVEL
    } else {
        0
    }
}

impl Inner {
    pub(super) fn pump_accepts(&mut self, socket: &Arc<Socket>) {
        if socket.phase() != Phase::Listening {
            return;
        }
        self.look_for_aborts(socket);
        while let Some(arrived) = self.acceptor.ready.pop_front() {
            if let Some(arrived) = self.deliver(socket, arrived) {
                self.acceptor.ready.push_front(arrived);
                break;
            }
        }
        let wanted =
            !self.acceptor.requests.is_empty() || self.acceptor.conditional || socket.is_enabled(WSK_EVENT_ACCEPT);
        if wanted && !self.is_active(Role::Accept) && self.acceptor.ready.len() < 64 {
            self.accept_one(socket);
        }
    }

    fn accept_one(&mut self, socket: &Arc<Socket>) {
        let accepted = match HostSocket::open(socket.family, socket.kind, socket.protocol) {
            Ok(accepted) => accepted,
            Err(status) => return self.fail_accepts(status),
        };
        let mut host = HostRequest::new(socket, Role::Accept, None);
        host.storage.resize(2 * (28 + 16), 0);
        host.accepted = Some(accepted);
        let launched = self.launch(host, |listener, host, overlapped| {
            let Some(into) = &host.accepted else {
                return Err(STATUS_INVALID_PARAMETER);
            };
            // SAFETY: socket and buffer live in the request.
            unsafe { listener.accept(into, &mut host.storage, overlapped) }
        });
        if let Err((_, status)) = launched {
            self.fail_accepts(status);
        }
    }

    fn fail_accepts(&mut self, status: NTSTATUS) {
        for request in self.acceptor.drain() {
            request.complete(status, 0);
        }
    }

    pub(super) fn accepted(&mut self, socket: &Arc<Socket>, host: Box<HostRequest>, status: NTSTATUS) {
        if !is_success(status) {
            // Cancelled by close, or the peer went away before it was accepted: the next one is awaited.
            return;
        }
        let (Some(own), Some(accepted)) = (&self.host, host.accepted) else {
            return;
        };
        if let Err(status) = own.update_accept_context(&accepted) {
            crate::report::print(format_args!("accept context: {status:#010x}"));
        }
        self.options.hand_on(own, &accepted);
        let (Ok(local), Ok(remote)) = (accepted.local(), accepted.remote()) else {
            return;
        };
        let local = self.local.map_or(local, |bound| local.with_port(bound.port()));
        let mut arrived = Arrived {
            host: accepted,
            local,
            remote,
            inspected: None,
        };
        if self.acceptor.conditional {
            let id = WSK_INSPECT_ID {
                Key: Arc::as_ptr(socket).addr(),
                SerialNumber: SERIAL.fetch_add(1, Ordering::Relaxed),
            };
            arrived.inspected = Some(id);
            self.inspect(socket, arrived, id);
        } else {
            self.acceptor.ready.push_back(arrived);
        }
    }

    fn inspect(&mut self, socket: &Arc<Socket>, arrived: Arrived, mut id: WSK_INSPECT_ID) {
        let action = socket.call_back(0, |callbacks| {
            let (mut local, mut remote) = (arrived.local, arrived.remote);
            // SAFETY: the client's callback, with its context.
            callbacks.listen.WskInspectEvent.map(|inspect| unsafe {
                inspect(callbacks.context, local.as_mut_ptr(), remote.as_mut_ptr(), &raw mut id)
            })
        });
        match action.flatten() {
            Some(WskInspectAccept) => self.acceptor.ready.push_back(arrived),
            Some(WskInspectPend) => self.acceptor.pended.push_back(arrived),
            other => {
                if !matches!(other, Some(WskInspectReject)) {
                    misuse!("WskInspectEvent is missing or returned {other:?}");
                }
                arrived.host.reset_on_close();
            }
        }
    }

    /// Connections that went away while they waited for a decision or for an accept. The host does not say so by itself.
    fn look_for_aborts(&mut self, socket: &Arc<Socket>) {
        if !self.acceptor.conditional {
            return;
        }
        let acceptor = &mut self.acceptor;
        for queue in [&mut acceptor.pended, &mut acceptor.ready] {
            let all = core::mem::take(queue);
            for arrived in all {
                if arrived.host.remote().is_ok() {
                    queue.push_back(arrived);
                } else if let Some(id) = arrived.inspected {
                    abort(socket, id);
                }
            }
        }
        if !acceptor.pended.is_empty() || !acceptor.ready.is_empty() {
            engine::wake_later(socket, LOOK_AGAIN);
        }
    }

    /// `WskInspectComplete`.
    pub(super) fn inspected(
        &mut self,
        _socket: &Arc<Socket>,
        id: WSK_INSPECT_ID,
        action: WSK_INSPECT_ACTION,
    ) -> NTSTATUS {
        if action != WskInspectAccept && action != WskInspectReject {
            return STATUS_INVALID_PARAMETER;
        }
        let index = self
            .acceptor
            .pended
            .iter()
            .position(|arrived| arrived.inspected == Some(id));
        let Some(arrived) = index.and_then(|index| self.acceptor.pended.remove(index)) else {
            return STATUS_NOT_FOUND;
        };
        if action == WskInspectAccept {
            self.acceptor.ready.push_back(arrived);
        } else {
            arrived.host.reset_on_close();
        }
        STATUS_SUCCESS
    }

    /// Gives a connection to a pending accept, or else to the accept event; back when nobody wants it.
    fn deliver(&mut self, socket: &Arc<Socket>, arrived: Arrived) -> Option<Arrived> {
        if let Some(request) = self.acceptor.requests.pop_front() {
            self.deliver_to_request(socket, arrived, request);
            return None;
        }
        if !socket.is_enabled(WSK_EVENT_ACCEPT) {
            return Some(arrived);
        }
        self.deliver_to_event(socket, arrived);
        None
    }

    fn connection(&self, socket: &Arc<Socket>, arrived: Arrived, accept: Option<&Accept>) -> Arc<Socket> {
        let (context, dispatch) = accept.map_or((core::ptr::null_mut(), core::ptr::null()), |accept| {
            (accept.context, accept.dispatch.cast())
        });
        // SAFETY: the client's table of connection callbacks, or NULL.
        let callbacks = unsafe { Callbacks::new(Category::Connection, context, dispatch) };
        let Arrived {
            host,
            local,
            remote,
            inspected,
        } = arrived;
        let connection = Socket::new(
            &socket.client,
            Category::Connection,
            socket.family,
            socket.kind,
            socket.protocol,
            callbacks,
        );
        let options = self.options.inherited();
        connection.fill(|inner| {
            inner.host = Some(host);
            inner.local = Some(local);
            inner.remote = Some(remote);
            inner.options = options;
        });
        let mut shared = connection.shared.lock();
        shared.phase = Phase::Connected;
        shared.inspect_id = inspected;
        drop(shared);
        connection
    }

    fn deliver_to_request(&mut self, socket: &Arc<Socket>, arrived: Arrived, request: Request) {
        let Op::Accept(accept) = request.op else {
            return request.cancelled();
        };
        // SAFETY: the client's buffers have room for addresses of the listener's family, or are NULL.
        unsafe {
            arrived.local.write(accept.local);
            arrived.remote.write(accept.remote);
        }
        let connection = self.connection(socket, arrived, Some(&accept));
        let pointer = connection.hand_out();
        request.complete(STATUS_SUCCESS, pointer.expose_provenance());
        connection.post(Task::Pump);
    }

    fn deliver_to_event(&mut self, socket: &Arc<Socket>, arrived: Arrived) {
        let (mut local, mut remote) = (arrived.local, arrived.remote);
        let connection = self.connection(socket, arrived, None);
        let pointer: PWSK_SOCKET = connection.hand_out();
        let armed = socket.shared.lock().events.enabled & CONNECTION_EVENTS;
        let outcome = socket.call_back(WSK_EVENT_ACCEPT, |callbacks| {
            let mut context = core::ptr::null_mut();
            let mut dispatch = core::ptr::null();
            let accept = callbacks.listen.WskAcceptEvent?;
            // SAFETY: the client's callback, with its context; the addresses are good during the call.
            let status = unsafe {
                let (local, remote) = (local.as_mut_ptr(), remote.as_mut_ptr());
                let (context, dispatch) = (&raw mut context, &raw mut dispatch);
                accept(
                    callbacks.context,
                    level_flag(),
                    local,
                    remote,
                    pointer,
                    context,
                    dispatch,
                )
            };
            Some((status, context, dispatch))
        });
        match outcome.flatten() {
            Some((STATUS_SUCCESS, context, dispatch)) => {
                // SAFETY: the client's table of connection callbacks, or NULL.
                let callbacks = unsafe { Callbacks::new(Category::Connection, context, dispatch.cast()) };
                let mut shared = connection.shared.lock();
                shared.callbacks = callbacks;
                shared.events.enabled |= armed;
                drop(shared);
                connection.post(Task::Pump);
            }
            // The client does not want it: the provider closes it itself.
            _ => connection.discard(),
        }
    }
}

/// `WskAbortEvent`.
fn abort(socket: &Arc<Socket>, mut id: WSK_INSPECT_ID) {
    socket.call_back(0, |callbacks| {
        // SAFETY: the client's callback, with its context.
        callbacks
            .listen
            .WskAbortEvent
            .map(|abort| unsafe { abort(callbacks.context, &raw mut id) })
    });
}

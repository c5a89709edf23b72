//! Ends that a test asks for: a connection whose peer stops answering, and a socket that the transport takes away.

use alloc::sync::Arc;

use wsk_sys::{WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_RECEIVE_FROM, WSK_FLAG_ABORTIVE};

use super::accept::level_flag;
use super::request::Role;
use super::socket::{Phase, Socket};
use super::state::Inner;
use crate::status::{NTSTATUS, STATUS_FILE_FORCED_CLOSED};

impl Inner {
    /// The connection ends as if the peer had stopped answering.
    pub(super) fn die(&mut self, socket: &Arc<Socket>, status: NTSTATUS, abortive: bool) {
        if socket.phase() != Phase::Connected {
            return;
        }
        socket.set_phase(Phase::Dead);
        self.receiver.die(status, abortive);
        for pending in self.sender.drain() {
            pending.complete(status, 0);
        }
        for role in [Role::Send, Role::Receive, Role::ReceiveAhead] {
            self.abandon(role);
        }
    }

    /// The transport takes the socket away. The client is told through one of its enabled callbacks, and must still close it.
    pub(super) fn force_close(&mut self, socket: &Arc<Socket>) {
        self.forced = true;
        self.receiver.die(STATUS_FILE_FORCED_CLOSED, true);
        self.receiver.forget_end();
        socket.set_phase(Phase::Dead);
        for pending in self
            .acceptor
            .drain()
            .chain(self.sender.drain())
            .chain(self.receiver.drain())
        {
            pending.complete(STATUS_FILE_FORCED_CLOSED, 0);
        }
        for pending in self.datagrams.drain() {
            pending.complete(STATUS_FILE_FORCED_CLOSED, 0);
        }
        if let Some(host) = &self.host {
            host.cancel(core::ptr::null_mut());
        }
        indicate_death(socket);
    }
}

/// Calls every enabled callback that can say that its socket is dead.
fn indicate_death(socket: &Arc<Socket>) {
    let flags = level_flag();
    let (mut context, mut dispatch, mut accepted) = (core::ptr::null_mut(), core::ptr::null(), 0);
    socket.call_back(WSK_EVENT_ACCEPT, |callbacks| {
        let null = core::ptr::null_mut();
        let (context, dispatch) = (&raw mut context, &raw mut dispatch);
        // SAFETY: the client's callback, with its context; a NULL socket says that the listener is dead.
        callbacks.listen.WskAcceptEvent.map(|accept| unsafe {
            accept(
                callbacks.context,
                flags,
                null,
                null,
                core::ptr::null_mut(),
                context,
                dispatch,
            )
        })
    });
    socket.call_back(WSK_EVENT_RECEIVE, |callbacks| {
        // SAFETY: the client's callback, with its context; NULL says that the connection is dead.
        callbacks
            .connection
            .WskReceiveEvent
            .map(|receive| unsafe { receive(callbacks.context, flags, core::ptr::null_mut(), 0, &raw mut accepted) })
    });
    socket.call_back(WSK_EVENT_DISCONNECT, |callbacks| {
        let disconnected = callbacks.connection.WskDisconnectEvent;
        // SAFETY: the client's callback, with its context.
        disconnected.map(|disconnected| unsafe { disconnected(callbacks.context, flags | WSK_FLAG_ABORTIVE) })
    });
    socket.call_back(WSK_EVENT_RECEIVE_FROM, |callbacks| {
        let receive = callbacks.datagram.WskReceiveFromEvent;
        // SAFETY: the client's callback, with its context; NULL says that the socket is dead.
        receive.map(|receive| unsafe { receive(callbacks.context, flags, core::ptr::null_mut()) })
    });
}

//! Which event callbacks of a socket are enabled, and which one is in progress.
//!
//! Enabling takes effect at once; disabling waits for the callback in progress, with the IRP that it was given, or says
//! `STATUS_EVENT_PENDING`. `<= DISPATCH_LEVEL`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use wdk_sys::STATUS_EVENT_PENDING;
use wsk_sys::{
    NPI_WSK_INTERFACE_ID, WSK_EVENT_ACCEPT, WSK_EVENT_CALLBACK_CONTROL, WSK_EVENT_DISABLE, WSK_EVENT_DISCONNECT,
    WSK_EVENT_RECEIVE, WSK_EVENT_RECEIVE_FROM, WSK_EVENT_SEND_BACKLOG,
};

use super::request::Request;
use super::socket::{Callbacks, Category, Phase, Shared, Socket, Task};
use crate::level;
use crate::nmr::same_guid;
use crate::status::{
    NTSTATUS, STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};

/// Events of connections.
pub(crate) const CONNECTION_EVENTS: u32 = WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG;

#[derive(Default)]
pub(crate) struct Events {
    pub(crate) enabled: u32,
    /// Enabled for good, by the client.
    fixed: u32,
    /// The callback that is running.
    in_progress: u32,
    waiting: Vec<Request>,
}

/// The events that a category has.
fn events_of(category: Category) -> u32 {
    match category {
        Category::Basic => 0,
        Category::Listen | Category::Stream => WSK_EVENT_ACCEPT | CONNECTION_EVENTS,
        Category::Connection => CONNECTION_EVENTS,
        Category::Datagram => WSK_EVENT_RECEIVE_FROM,
    }
}

impl Events {
    pub(crate) fn new(category: Category, fixed: u32) -> Self {
        let fixed = fixed & events_of(category);
        Self {
            enabled: fixed,
            fixed,
            ..Self::default()
        }
    }
}

/// What was asked of `SO_WSK_EVENT_CALLBACK`.
pub(crate) enum Change {
    Done(NTSTATUS),
    /// The event is off, but its callback is in progress.
    InProgress(u32),
}

impl Socket {
    /// Enables the events of a mask, or disables one.
    ///
    /// # Safety
    /// The NPI id of `control` is NULL or valid.
    pub(crate) unsafe fn change_events(self: &Arc<Self>, control: &WSK_EVENT_CALLBACK_CONTROL) -> Change {
        // SAFETY: as the caller promises.
        let Some(npi) = (unsafe { control.NpiId.as_ref() }) else {
            return Change::Done(STATUS_INVALID_PARAMETER);
        };
        if !same_guid(npi, &NPI_WSK_INTERFACE_ID) {
            return Change::Done(STATUS_NOT_SUPPORTED);
        }
        let events = control.EventMask & !WSK_EVENT_DISABLE;
        let disable = control.EventMask & WSK_EVENT_DISABLE != 0;
        let mut shared = self.shared.lock();
        if events == 0 || events & !events_of(self.category) != 0 {
            return Change::Done(STATUS_INVALID_PARAMETER);
        }
        if !self.ready_for_events(&shared) {
            return Change::Done(STATUS_INVALID_DEVICE_STATE);
        }
        if disable {
            self.disable(&mut shared, events)
        } else {
            if events & !with_callbacks(&shared.callbacks) != 0 {
                return Change::Done(STATUS_INVALID_PARAMETER);
            }
            shared.events.enabled |= events;
            drop(shared);
            self.post(Task::Pump);
            Change::Done(STATUS_SUCCESS)
        }
    }

    fn disable(&self, shared: &mut Shared, event: u32) -> Change {
        let armed_for_accepted = self.category == Category::Listen && event & CONNECTION_EVENTS != 0;
        if !event.is_power_of_two() || event & shared.events.fixed != 0 || armed_for_accepted {
            return Change::Done(STATUS_INVALID_PARAMETER);
        }
        shared.events.enabled &= !event;
        if shared.events.in_progress & event != 0 {
            Change::InProgress(event)
        } else {
            Change::Done(STATUS_SUCCESS)
        }
    }

    /// After bind, or for connections after connect.
    fn ready_for_events(&self, shared: &Shared) -> bool {
        match self.category {
            Category::Connection => shared.phase >= Phase::Connected,
            Category::Basic => false,
            Category::Listen | Category::Datagram | Category::Stream => shared.phase != Phase::Unbound,
        }
    }

    /// Keeps a request to disable `event` until its callback is not in progress; `None` if it was not any more.
    pub(crate) fn wait_for_event(&self, event: u32, request: Request) -> Option<Request> {
        let mut shared = self.shared.lock();
        if shared.events.in_progress & event == 0 {
            return Some(request);
        }
        shared.events.waiting.push(request);
        None
    }

    pub(crate) fn is_enabled(&self, event: u32) -> bool {
        let shared = self.shared.lock();
        !shared.closing && shared.events.enabled & event != 0
    }

    /// Stops an event, as if the client had: it says that it has had enough for now.
    pub(crate) fn suspend_event(&self, event: u32) {
        self.shared.lock().events.enabled &= !event;
    }

    /// Calls a callback, unless its event is off or the socket is being closed. `event` 0 is always on.
    pub(crate) fn call_back<R>(&self, event: u32, body: impl FnOnce(&Callbacks) -> R) -> Option<R> {
        let callbacks = {
            let mut shared = self.shared.lock();
            if shared.closing || (event != 0 && shared.events.enabled & event == 0) {
                return None;
            }
            shared.events.in_progress |= event;
            shared.callbacks
        };
        let result = level::call_out(|| body(&callbacks));
        let waiting = {
            let mut shared = self.shared.lock();
            shared.events.in_progress &= !event;
            core::mem::take(&mut shared.events.waiting)
        };
        for request in waiting {
            request.complete(STATUS_SUCCESS, 0);
        }
        Some(result)
    }
}

/// The events that have a callback: a NULL member is never enabled.
fn with_callbacks(callbacks: &Callbacks) -> u32 {
    let of = |there: bool, event: u32| if there { event } else { 0 };
    let connection = &callbacks.connection;
    of(
        callbacks.listen.WskAcceptEvent.is_some(),
        WSK_EVENT_ACCEPT | CONNECTION_EVENTS,
    ) | of(callbacks.datagram.WskReceiveFromEvent.is_some(), WSK_EVENT_RECEIVE_FROM)
        | of(connection.WskReceiveEvent.is_some(), WSK_EVENT_RECEIVE)
        | of(connection.WskDisconnectEvent.is_some(), WSK_EVENT_DISCONNECT)
        | of(connection.WskSendBacklogEvent.is_some(), WSK_EVENT_SEND_BACKLOG)
}

/// The status for a change that nobody waits for.
pub(crate) fn status_without_irp(change: &Change) -> NTSTATUS {
    match change {
        Change::Done(status) => *status,
        Change::InProgress(_) => STATUS_EVENT_PENDING,
    }
}

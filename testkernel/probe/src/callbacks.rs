//! The callbacks of every socket: note what came, do what the script said. IRQL <= `DISPATCH_LEVEL`, and never a wait except at a
//! gate that a script closed.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::probe::{Category, Event, Happening, Reactions, Slots, Take, checksum};
use wdk_sys::{NTSTATUS, STATUS_DATA_NOT_ACCEPTED, STATUS_PENDING, STATUS_SUCCESS};
use wsk_sys::{
    AF_INET6, PCMSGHDR, PSOCKADDR, PWSK_DATA_INDICATION, PWSK_DATAGRAM_INDICATION, PWSK_INSPECT_ID, PWSK_SOCKET,
    SIZE_T, ULONG, WSK_BUF, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH,
    WSK_INSPECT_ACTION, WSK_INSPECT_ID,
};

use crate::buffer::for_each_stretch;
use crate::ke;
use crate::shared::Shared;
use crate::socket::{Socket, Stage};

pub(crate) fn listen(slots: Slots) -> WSK_CLIENT_LISTEN_DISPATCH {
    WSK_CLIENT_LISTEN_DISPATCH {
        WskAcceptEvent: slots.has(Slots::ACCEPT).then_some(accept),
        WskInspectEvent: slots.has(Slots::INSPECT).then_some(inspect),
        WskAbortEvent: slots.has(Slots::ABORT).then_some(abort),
    }
}

pub(crate) fn datagram(slots: Slots) -> WSK_CLIENT_DATAGRAM_DISPATCH {
    WSK_CLIENT_DATAGRAM_DISPATCH {
        WskReceiveFromEvent: slots.has(Slots::RECEIVE_FROM).then_some(receive_from),
    }
}

pub(crate) fn connection(slots: Slots) -> WSK_CLIENT_CONNECTION_DISPATCH {
    WSK_CLIENT_CONNECTION_DISPATCH {
        WskReceiveEvent: slots.has(Slots::RECEIVE).then_some(receive),
        WskDisconnectEvent: slots.has(Slots::DISCONNECT).then_some(disconnect),
        WskSendBacklogEvent: slots.has(Slots::SEND_BACKLOG).then_some(send_backlog),
    }
}

/// One callback in progress.
struct Visit {
    socket: Shared<Socket>,
    event: Event,
}

impl Visit {
    /// # Safety
    /// `context` is the `SocketContext` that the probe gave.
    unsafe fn begin(context: *mut c_void, happening: Happening, flags: u32) -> Option<Self> {
        if context.is_null() {
            // The script asked for a NULL context: there is nobody to tell.
            return None;
        }
        // SAFETY: the object behind a context lives as long as the session, also after the socket's close.
        let socket = unsafe { Shared::<Socket>::from_address(context) };
        socket.callbacks.fetch_add(1, Ordering::AcqRel);
        let late = socket.stage() == Stage::Closed;
        if late {
            socket.session.late_callbacks.fetch_add(1, Ordering::AcqRel);
        }
        let event = Event {
            happening: happening as u32,
            client: socket.client.id.load(Ordering::Relaxed),
            socket: socket.id.load(Ordering::Relaxed),
            flags,
            irql: u32::from(ke::irql()),
            late: u32::from(late),
            ..Event::default()
        };
        Some(Self { socket, event })
    }

    fn reactions(&self) -> Reactions {
        *self.socket.reactions.lock()
    }

    /// Logs the event, does what the script prepared for it, and logs the return.
    fn finish(self, result: i32) -> i32 {
        let reactions = self.reactions();
        self.socket.session.log.write(self.event);
        if reactions.launch_on == self.event.happening {
            // The lock is let go before the launch.
            let request = self.socket.launch.lock().take();
            if let Some(request) = request {
                request.launch(&request, false);
            }
        }
        if reactions.stall_us > 0 {
            ke::stall(reactions.stall_us);
        }
        self.socket.session.gates.pass(reactions.gate);
        self.socket.session.log.write(Event {
            happening: Happening::Returned as u32,
            value: u64::from(self.event.happening),
            status: result,
            irql: u32::from(ke::irql()),
            ..Event {
                client: self.event.client,
                socket: self.event.socket,
                other: self.event.other,
                ..Event::default()
            }
        });
        self.socket.callbacks.fetch_sub(1, Ordering::AcqRel);
        result
    }

    fn note_death(&self) {
        self.socket.dead.store(1, Ordering::Release);
    }

    /// Adds the bytes of one indication to the event.
    ///
    /// # Safety
    /// The buffer is valid for the call.
    unsafe fn note_data(&mut self, buffer: &WSK_BUF) {
        let event = &mut self.event;
        // SAFETY: the provider's chain is valid for the call.
        unsafe {
            for_each_stretch(buffer.Mdl, buffer.Offset, buffer.Length, |bytes| {
                event.sum = checksum(event.sum, bytes);
                event.length = event.length.saturating_add(bytes.len() as u64);
                let used = event.data_length as usize;
                for (place, byte) in event.data.iter_mut().skip(used).zip(bytes) {
                    *place = *byte;
                    event.data_length = event.data_length.saturating_add(1);
                }
            });
        }
    }
}

/// Copies a `SOCKADDR` of the provider's.
///
/// # Safety
/// NULL, or a valid address of its family's size.
pub(crate) unsafe fn copy_address(address: PSOCKADDR, out: &mut [u8; 28]) {
    if address.is_null() {
        return;
    }
    // SAFETY: the family is the first field of every SOCKADDR.
    let family = unsafe { (*address).sa_family };
    let length = if family == AF_INET6 { 28 } else { 16 };
    for (index, place) in out.iter_mut().enumerate().take(length) {
        // SAFETY: the address has the size of its family.
        *place = unsafe { address.cast::<u8>().wrapping_add(index).read() };
    }
}

fn copy_inspect_id(event: &mut Event, id: &WSK_INSPECT_ID) {
    event.value = u64::from(id.SerialNumber);
    let key = (id.Key as u64).to_le_bytes();
    let serial = u64::from(id.SerialNumber).to_le_bytes();
    for (place, byte) in event.data.iter_mut().zip(key.into_iter().chain(serial)) {
        *place = byte;
    }
    event.data_length = 16;
    event.length = 16;
}

unsafe extern "system" fn accept(
    context: *mut c_void,
    flags: ULONG,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    accepted: PWSK_SOCKET,
    accepted_context: *mut *mut c_void,
    accepted_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, Happening::Accept, flags) }) else {
        return STATUS_SUCCESS;
    };
    // SAFETY: the provider's addresses are valid for the call.
    unsafe { copy_address(local, &mut visit.event.address) };
    // SAFETY: as above.
    unsafe { copy_address(remote, &mut visit.event.address2) };
    if accepted.is_null() {
        visit.note_death();
        return visit.finish(STATUS_SUCCESS);
    }
    visit.event.value = 1;
    let reactions = visit.reactions();
    if reactions.accept_status != STATUS_SUCCESS {
        return visit.finish(reactions.accept_status);
    }
    let inherited = Reactions {
        slots: reactions.accepted_slots,
        launch: 0,
        launch_on: 0,
        ..reactions
    };
    let parent = &visit.socket;
    let Some(socket) = Socket::create(&parent.session, &parent.client, Category::Connection, &inherited) else {
        return visit.finish(wdk_sys::STATUS_REQUEST_NOT_ACCEPTED);
    };
    visit.event.other = socket.id.load(Ordering::Relaxed);
    let nulls = visit.socket.slots().has(Slots::ACCEPT_WITH_NULLS);
    let (context, dispatch) = if nulls {
        (core::ptr::null_mut(), core::ptr::null())
    } else {
        (socket.as_ptr(), socket.dispatch().cast())
    };
    // SAFETY: the provider gave a place for the answer.
    unsafe { accepted_context.write(context) };
    // SAFETY: as above.
    unsafe { accepted_dispatch.write(dispatch) };
    socket.opened(accepted);
    visit.finish(STATUS_SUCCESS)
}

unsafe extern "system" fn inspect(
    context: *mut c_void,
    local: PSOCKADDR,
    remote: PSOCKADDR,
    id: PWSK_INSPECT_ID,
) -> WSK_INSPECT_ACTION {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, Happening::Inspect, 0) }) else {
        return 0;
    };
    // SAFETY: the provider's addresses are valid for the call.
    unsafe { copy_address(local, &mut visit.event.address) };
    // SAFETY: as above.
    unsafe { copy_address(remote, &mut visit.event.address2) };
    // SAFETY: NULL, or valid for the call.
    match unsafe { id.as_ref() } {
        Some(id) => copy_inspect_id(&mut visit.event, id),
        None => visit.note_death(),
    }
    let action = visit.reactions().inspect_action;
    visit.finish(action)
}

unsafe extern "system" fn abort(context: *mut c_void, id: PWSK_INSPECT_ID) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, Happening::Abort, 0) }) else {
        return STATUS_SUCCESS;
    };
    // SAFETY: NULL, or valid for the call.
    if let Some(id) = unsafe { id.as_ref() } {
        copy_inspect_id(&mut visit.event, id);
    }
    visit.finish(STATUS_SUCCESS)
}

/// What to return for data, and how many bytes to take; retains the list if the script says so.
fn take(visit: &Visit, list: *mut c_void) -> (NTSTATUS, Option<usize>) {
    let reactions = visit.reactions();
    match Take::from_u32(reactions.take).unwrap_or(Take::All) {
        Take::All => (STATUS_SUCCESS, None),
        Take::Part => (STATUS_SUCCESS, Some(reactions.take_bytes as usize)),
        Take::Nothing => (STATUS_DATA_NOT_ACCEPTED, None),
        Take::Retain if visit.socket.retained.lock().has_room() => {
            visit.socket.retained.lock().push(list);
            (STATUS_PENDING, None)
        }
        Take::Retain => (STATUS_DATA_NOT_ACCEPTED, None),
    }
}

unsafe extern "system" fn receive_from(context: *mut c_void, flags: ULONG, list: PWSK_DATAGRAM_INDICATION) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, Happening::ReceiveFrom, flags) }) else {
        return STATUS_DATA_NOT_ACCEPTED;
    };
    if list.is_null() {
        visit.note_death();
        return visit.finish(STATUS_SUCCESS);
    }
    let mut next = list;
    // SAFETY: the provider's list is valid for the call.
    while let Some(datagram) = unsafe { next.as_ref() } {
        let mut single = Visit {
            socket: visit.socket.clone(),
            event: visit.event,
        };
        single.event.count = 1;
        // SAFETY: the sender's address is valid for the call.
        unsafe { copy_address(datagram.RemoteAddress, &mut single.event.address) };
        single.event.value = u64::from(datagram.ControlInfoLength);
        // SAFETY: the datagram's buffer is valid for the call.
        unsafe { single.note_data(&datagram.Buffer) };
        visit.event.count = visit.event.count.saturating_add(1);
        next = datagram.Next;
        if next.is_null() {
            // The last one is logged when the callback finishes.
            visit.event = Event {
                count: visit.event.count,
                ..single.event
            };
        } else {
            visit.socket.session.log.write(single.event);
        }
    }
    let (status, _) = take(&visit, list.cast());
    visit.finish(status)
}

/// The two stream callbacks.
///
/// # Safety
/// The arguments are those of a `WskReceiveEvent`.
unsafe fn stream_data(
    context: *mut c_void,
    happening: Happening,
    flags: u32,
    list: PWSK_DATA_INDICATION,
    indicated: usize,
    accepted: *mut usize,
) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, happening, flags) }) else {
        return STATUS_DATA_NOT_ACCEPTED;
    };
    visit.event.value = indicated as u64;
    if list.is_null() {
        visit.note_death();
        return visit.finish(STATUS_SUCCESS);
    }
    let mut next = list;
    // SAFETY: the provider's list is valid for the call.
    while let Some(piece) = unsafe { next.as_ref() } {
        // SAFETY: the piece's buffer is valid for the call.
        unsafe { visit.note_data(&piece.Buffer) };
        visit.event.count = visit.event.count.saturating_add(1);
        next = piece.Next;
    }
    let (status, bytes) = take(&visit, list.cast());
    if let Some(bytes) = bytes {
        // SAFETY: the provider gave a place for the answer.
        unsafe { accepted.write(bytes.min(indicated)) };
    }
    visit.finish(status)
}

unsafe extern "system" fn receive(
    context: *mut c_void,
    flags: ULONG,
    list: PWSK_DATA_INDICATION,
    indicated: SIZE_T,
    accepted: *mut SIZE_T,
) -> NTSTATUS {
    // SAFETY: the arguments are passed on.
    unsafe { stream_data(context, Happening::Receive, flags, list, indicated, accepted) }
}

/// The callback that `SIO_WSK_SET_RECEIVE_EX_CALLBACK` installs.
pub(crate) unsafe extern "system" fn receive_ex(
    context: *mut c_void,
    flags: ULONG,
    list: PWSK_DATA_INDICATION,
    _control: PCMSGHDR,
    _control_length: ULONG,
    indicated: SIZE_T,
    accepted: *mut SIZE_T,
) -> NTSTATUS {
    // SAFETY: the arguments are passed on.
    unsafe { stream_data(context, Happening::ReceiveEx, flags, list, indicated, accepted) }
}

unsafe extern "system" fn disconnect(context: *mut c_void, flags: ULONG) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    match unsafe { Visit::begin(context, Happening::Disconnect, flags) } {
        Some(visit) => visit.finish(STATUS_SUCCESS),
        None => STATUS_SUCCESS,
    }
}

unsafe extern "system" fn send_backlog(context: *mut c_void, ideal: SIZE_T) -> NTSTATUS {
    // SAFETY: the provider hands back our context.
    let Some(mut visit) = (unsafe { Visit::begin(context, Happening::SendBacklog, 0) }) else {
        return STATUS_SUCCESS;
    };
    visit.event.value = ideal as u64;
    visit.finish(STATUS_SUCCESS)
}

/// Gates that callbacks wait at. All bytes zero is all open.
pub(crate) struct Gates([AtomicU32; 8]);

impl Gates {
    const LONGEST_WAIT_MS: u32 = 10_000;

    fn gate(&self, number: u32) -> Option<&AtomicU32> {
        self.0.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    pub(crate) fn set(&self, number: u32, open: bool) {
        if let Some(gate) = self.gate(number) {
            gate.store(u32::from(!open), Ordering::Release);
        }
    }

    pub(crate) fn open_all(&self) {
        self.0.iter().for_each(|gate| gate.store(0, Ordering::Release));
    }

    /// Returns when the gate is open, or after a while.
    pub(crate) fn pass(&self, number: u32) {
        let Some(gate) = self.gate(number) else { return };
        let deadline = ke::Deadline::after(Self::LONGEST_WAIT_MS);
        while gate.load(Ordering::Acquire) != 0 && deadline.left() > 0 {
            if ke::irql() < ke::DISPATCH_LEVEL {
                ke::sleep(1);
            } else {
                ke::stall(50);
            }
        }
    }
}

//! A socket as a client holds it: what its `SocketContext` points to.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use probe_protocol::probe::{Category, Reactions, Slots, SocketState};
use wdk_rtl::lock::SpinLock;
use wsk_sys::{
    WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH,
    WSK_CLIENT_STREAM_DISPATCH, WSK_SOCKET,
};

use crate::callbacks;
use crate::client::Client;
use crate::request::Request;
use crate::session::Session;
use crate::shared::Shared;

/// Where a socket is in its life. It only moves forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u32)]
pub(crate) enum Stage {
    /// Its create or accept has not completed.
    New = 0,
    /// It can be called.
    Open = 1,
    /// `WskCloseSocket` was called.
    Closing = 2,
    /// ... and completed.
    Closed = 3,
}

/// Indications that a callback kept, oldest first.
pub(crate) struct Retained {
    lists: [*mut c_void; 32],
    count: usize,
}

// SAFETY: the lists belong to the client until it releases them, on any thread.
unsafe impl Send for Retained {}

impl Retained {
    /// Whether there was room.
    pub(crate) fn push(&mut self, list: *mut c_void) -> bool {
        let Some(place) = self.lists.get_mut(self.count) else {
            return false;
        };
        *place = list;
        self.count = self.count.saturating_add(1);
        true
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count < self.lists.len()
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<*mut c_void> {
        self.count = self.count.checked_sub(1)?;
        let oldest = self.lists.first().copied();
        self.lists.rotate_left(1);
        oldest
    }
}

/// The tables that the provider is given; they live as long as the socket.
struct Tables {
    listen: WSK_CLIENT_LISTEN_DISPATCH,
    datagram: WSK_CLIENT_DATAGRAM_DISPATCH,
    connection: WSK_CLIENT_CONNECTION_DISPATCH,
    stream: WSK_CLIENT_STREAM_DISPATCH,
}

/// One socket.
pub(crate) struct Socket {
    pub(crate) id: AtomicU32,
    pub(crate) session: Shared<Session>,
    pub(crate) client: Shared<Client>,
    pub(crate) category: Category,
    slots: Slots,
    tables: Tables,
    wsk: AtomicPtr<WSK_SOCKET>,
    stage: AtomicU32,
    pub(crate) dead: AtomicU32,
    pub(crate) callbacks: AtomicU32,
    pub(crate) reactions: SpinLock<Reactions>,
    pub(crate) launch: SpinLock<Option<Shared<Request>>>,
    pub(crate) retained: SpinLock<Retained>,
}

// SAFETY: the raw pointers are tables inside the object itself, written once before it is shared.
unsafe impl Send for Socket {}
// SAFETY: as above; everything else that changes is atomic or under a lock.
unsafe impl Sync for Socket {}

impl Socket {
    /// A socket to be, entered in the session's table.
    pub(crate) fn create(
        session: &Shared<Session>,
        client: &Shared<Client>,
        category: Category,
        reactions: &Reactions,
    ) -> Option<Shared<Self>> {
        let socket = Self::detached(session, client, category, reactions)?;
        session
            .sockets
            .insert(socket.clone(), |socket, id| socket.id.store(id, Ordering::Relaxed))?;
        Some(socket)
    }

    /// A socket without an id.
    pub(crate) fn detached(
        session: &Shared<Session>,
        client: &Shared<Client>,
        category: Category,
        reactions: &Reactions,
    ) -> Option<Shared<Self>> {
        let slots = Slots(reactions.slots);
        let socket = Shared::try_new(Self {
            id: AtomicU32::new(0),
            session: session.clone(),
            client: client.clone(),
            category,
            slots,
            tables: Tables {
                listen: callbacks::listen(slots),
                datagram: callbacks::datagram(slots),
                connection: callbacks::connection(slots),
                stream: WSK_CLIENT_STREAM_DISPATCH {
                    Listen: core::ptr::null(),
                    Connect: core::ptr::null(),
                },
            },
            wsk: AtomicPtr::new(null_mut()),
            stage: AtomicU32::new(Stage::New as u32),
            dead: AtomicU32::new(0),
            callbacks: AtomicU32::new(0),
            reactions: SpinLock::new(*reactions),
            launch: SpinLock::new(None),
            retained: SpinLock::new(Retained {
                lists: [null_mut(); 32],
                count: 0,
            }),
        })?;
        link_stream_tables(&socket);
        Some(socket)
    }

    /// The client dispatch table of its category.
    pub(crate) fn dispatch(&self) -> *const c_void {
        match self.category {
            Category::Basic => core::ptr::null(),
            Category::Listen => (&raw const self.tables.listen).cast(),
            Category::Connection => (&raw const self.tables.connection).cast(),
            Category::Datagram => (&raw const self.tables.datagram).cast(),
            Category::Stream => (&raw const self.tables.stream).cast(),
        }
    }

    pub(crate) fn slots(&self) -> Slots {
        self.slots
    }

    pub(crate) fn wsk(&self) -> *mut WSK_SOCKET {
        self.wsk.load(Ordering::Acquire)
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::New,
            1 => Stage::Open,
            2 => Stage::Closing,
            _ => Stage::Closed,
        }
    }

    /// The provider made it: the script can call it.
    pub(crate) fn opened(&self, wsk: *mut WSK_SOCKET) {
        self.wsk.store(wsk, Ordering::Release);
        self.client.socket_opened();
        self.stage.store(Stage::Open as u32, Ordering::Release);
    }

    /// Its close is being called; false when it was before.
    pub(crate) fn closing(&self) -> bool {
        let (open, closing) = (Stage::Open as u32, Stage::Closing as u32);
        self.stage
            .compare_exchange(open, closing, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Its close completed: the provider has let go of it.
    pub(crate) fn closed(&self) {
        if self.stage.swap(Stage::Closed as u32, Ordering::AcqRel) != Stage::Closed as u32 {
            self.client.socket_closed();
        }
    }

    /// Its close was refused: it is as open as before.
    pub(crate) fn close_failed(&self) {
        let (closing, open) = (Stage::Closing as u32, Stage::Open as u32);
        let _ = self
            .stage
            .compare_exchange(closing, open, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn state(&self) -> SocketState {
        let wsk = self.wsk() as usize;
        let dispatch = if self.stage() == Stage::Open && wsk != 0 {
            // SAFETY: the socket is open, and its first field is public.
            unsafe { (*self.wsk()).Dispatch as usize }
        } else {
            0
        };
        let stand_in = |address: usize| {
            let [.., a, b, c, d] = address.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            u32::from_le_bytes([a, b, c, d])
        };
        SocketState {
            category: self.category as u32,
            open: u32::from(self.stage() == Stage::Open),
            callbacks: self.callbacks.load(Ordering::Acquire),
            retained: u32::try_from(self.retained.lock().count).unwrap_or(u32::MAX),
            dead: self.dead.load(Ordering::Acquire),
            identity: stand_in(wsk),
            table: stand_in(dispatch),
        }
    }
}

/// Points the stream table at the others, now that they have their address.
fn link_stream_tables(socket: &Shared<Socket>) {
    let this = socket.as_ptr().cast::<Socket>();
    if !socket.slots.has(Slots::NO_LISTEN_TABLE) {
        // SAFETY: nobody else has a reference yet.
        unsafe { (*this).tables.stream.Listen = &raw const socket.tables.listen };
    }
    if !socket.slots.has(Slots::NO_CONNECT_TABLE) {
        // SAFETY: nobody else has a reference yet.
        unsafe { (*this).tables.stream.Connect = &raw const socket.tables.connection };
    }
}

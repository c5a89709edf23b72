//! A socket that a client holds: an actor with an inbox.
//!
//! Calls at `<= DISPATCH_LEVEL` put tasks into the inbox; one engine thread at a time works them off, in order, and alone touches the
//! [`Inner`] state, completes the socket's IRPs and calls its callbacks. What a call must know at once is in [`Shared`]. The `WSK_SOCKET`
//! that the client sees is the first field; the client's reference ends with the completion of close.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use wsk_sys::{
    PWSK_SOCKET, WSK_CLIENT_CONNECTION_DISPATCH, WSK_CLIENT_DATAGRAM_DISPATCH, WSK_CLIENT_LISTEN_DISPATCH,
    WSK_CLIENT_STREAM_DISPATCH, WSK_SOCKET,
};

use super::client::Client;
use super::dispatch;
use super::events::Events;
use super::request::{HostRequest, Request};
use super::state::Inner;
use crate::engine;
use crate::report::misuse;
use crate::status::NTSTATUS;
use crate::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Basic,
    Listen,
    Connection,
    Datagram,
    Stream,
}

/// How far a socket is, as far as a call must know at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Unbound,
    Bound,
    Listening,
    Connecting,
    Connected,
    /// Disconnected on both sides, or reset.
    Dead,
}

/// One thing to do.
pub(crate) enum Task {
    Request(Request),
    Finished {
        block: usize,
        host: Box<HostRequest>,
        status: NTSTATUS,
        bytes: usize,
    },
    Cancel(u64),
    /// Something that decides what to do next has changed.
    Pump,
    Die {
        status: NTSTATUS,
        abortive: bool,
    },
    ForceClose,
}

/// The client's side of a socket.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) context: *mut c_void,
    pub(crate) listen: WSK_CLIENT_LISTEN_DISPATCH,
    pub(crate) connection: WSK_CLIENT_CONNECTION_DISPATCH,
    pub(crate) datagram: WSK_CLIENT_DATAGRAM_DISPATCH,
}

impl Callbacks {
    /// # Safety
    /// `dispatch` is NULL, or what the category asks for.
    pub(crate) unsafe fn new(category: Category, context: *mut c_void, dispatch: *const c_void) -> Self {
        let mut callbacks = Self {
            context,
            listen: WSK_CLIENT_LISTEN_DISPATCH::default(),
            connection: WSK_CLIENT_CONNECTION_DISPATCH::default(),
            datagram: WSK_CLIENT_DATAGRAM_DISPATCH::default(),
        };
        // SAFETY: as the caller promises.
        unsafe {
            let listen = |table: *const WSK_CLIENT_LISTEN_DISPATCH| table.as_ref().copied().unwrap_or_default();
            let connection = |table: *const WSK_CLIENT_CONNECTION_DISPATCH| table.as_ref().copied().unwrap_or_default();
            match category {
                Category::Basic => {}
                Category::Listen => callbacks.listen = listen(dispatch.cast()),
                Category::Connection => callbacks.connection = connection(dispatch.cast()),
                Category::Datagram => {
                    let table = dispatch.cast::<WSK_CLIENT_DATAGRAM_DISPATCH>();
                    callbacks.datagram = table.as_ref().copied().unwrap_or_default();
                }
                Category::Stream => {
                    if let Some(tables) = dispatch.cast::<WSK_CLIENT_STREAM_DISPATCH>().as_ref() {
                        callbacks.listen = listen(tables.Listen);
                        callbacks.connection = connection(tables.Connect);
                    }
                }
            }
        }
        callbacks
    }
}

pub(crate) struct Shared {
    tasks: VecDeque<Task>,
    scheduled: bool,
    pub(crate) phase: Phase,
    pub(crate) events: Events,
    pub(crate) callbacks: Callbacks,
    /// The conditional listener's id of the request that made this connection.
    pub(crate) inspect_id: Option<wsk_sys::WSK_INSPECT_ID>,
    /// Close was called.
    pub(crate) closing: bool,
    /// `SIO_WSK_SET_TCP_SILENT_MODE`: only close is valid.
    pub(crate) silent: bool,
    pub(crate) receive_ex: Option<wsk_sys::PFN_WSK_RECEIVE_EX_EVENT>,
}

#[repr(C)]
pub(crate) struct Socket {
    wsk: WSK_SOCKET,
    mark: AtomicU32,
    pub(crate) category: Category,
    pub(crate) family: u16,
    pub(crate) kind: u16,
    pub(crate) protocol: u32,
    pub(crate) client: Arc<Client>,
    pub(crate) shared: Mutex<Shared>,
    inner: Mutex<Inner>,
}

// SAFETY: the dispatch pointer is of a static, the callbacks are the client's.
unsafe impl Send for Socket {}
// SAFETY: as above; everything that changes is under a lock.
unsafe impl Sync for Socket {}

const LIVE: u32 = u32::from_le_bytes(*b"wskS");
const CLOSED: u32 = u32::from_le_bytes(*b"wskX");

/// Tasks that one thread does before it lets other sockets have a turn.
const TURN: usize = 64;

static SOCKETS: AtomicUsize = AtomicUsize::new(0);
static CREATED: AtomicU64 = AtomicU64::new(0);
/// Every socket that a client holds.
static ALL: Mutex<Vec<Arc<Socket>>> = Mutex::new(Vec::new());
/// Sockets that were closed, kept a while so that a late use of one is noticed.
static QUARANTINE: Mutex<VecDeque<Arc<Socket>>> = Mutex::new(VecDeque::new());
const QUARANTINED: usize = 256;

/// Sockets that clients hold, and all there ever were.
pub(crate) fn counts() -> (usize, u64) {
    (SOCKETS.load(Ordering::Relaxed), CREATED.load(Ordering::Relaxed))
}

/// The sockets that clients hold and that fit.
pub(crate) fn find_all(wanted: impl Fn(&Socket) -> bool) -> Vec<Arc<Socket>> {
    ALL.lock().iter().filter(|socket| wanted(socket)).cloned().collect()
}

impl Socket {
    pub(crate) fn new(
        client: &Arc<Client>,
        category: Category,
        family: u16,
        kind: u16,
        protocol: u32,
        callbacks: Callbacks,
    ) -> Arc<Self> {
        let events = Events::new(category, client.static_events());
        Arc::new(Self {
            wsk: WSK_SOCKET {
                Dispatch: dispatch::table(category),
            },
            mark: AtomicU32::new(LIVE),
            category,
            family,
            kind,
            protocol,
            client: Arc::clone(client),
            shared: Mutex::new(Shared {
                tasks: VecDeque::new(),
                scheduled: false,
                phase: Phase::Unbound,
                events,
                callbacks,
                inspect_id: None,
                closing: false,
                silent: false,
                receive_ex: None,
            }),
            inner: Mutex::new(Inner::default()),
        })
    }

    /// The socket that a client means.
    ///
    /// # Safety
    /// `socket` is NULL, or was given to a client.
    pub(crate) unsafe fn find(socket: PWSK_SOCKET, function: &str) -> Option<Arc<Self>> {
        let this = socket.cast_const().cast::<Self>();
        // SAFETY: as the caller promises; sockets that were closed are kept for a while.
        let live = unsafe { this.as_ref() }.is_some_and(|this| this.mark.load(Ordering::Acquire) == LIVE);
        if !live {
            misuse!("{function} with something that is no open socket: {socket:p}");
            return None;
        }
        // SAFETY: the client's reference is there until close completes.
        Some(unsafe {
            Arc::increment_strong_count(this);
            Arc::from_raw(this)
        })
    }

    /// Gives the socket to its client, who holds a reference from now on.
    pub(crate) fn hand_out(self: &Arc<Self>) -> PWSK_SOCKET {
        SOCKETS.fetch_add(1, Ordering::Relaxed);
        CREATED.fetch_add(1, Ordering::Relaxed);
        self.client.add_socket();
        ALL.lock().push(Arc::clone(self));
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// Takes the client's reference back: close is about to complete.
    pub(crate) fn take_back(self: &Arc<Self>) {
        self.mark.store(CLOSED, Ordering::Release);
        SOCKETS.fetch_sub(1, Ordering::Relaxed);
        {
            let mut all = ALL.lock();
            if let Some(index) = all.iter().position(|other| Arc::ptr_eq(other, self)) {
                all.swap_remove(index);
            }
        }
        let mut quarantine = QUARANTINE.lock();
        quarantine.push_back(Arc::clone(self));
        let oldest = if quarantine.len() > QUARANTINED {
            quarantine.pop_front()
        } else {
            None
        };
        drop(quarantine);
        drop(oldest);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.shared.lock().phase
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.shared.lock().phase = phase;
    }

    /// Puts a task into the inbox.
    pub(crate) fn post(self: &Arc<Self>, task: Task) {
        let mut shared = self.shared.lock();
        shared.tasks.push_back(task);
        if !core::mem::replace(&mut shared.scheduled, true) {
            drop(shared);
            engine::schedule(Arc::clone(self));
        }
    }

    /// Works the inbox off. An engine thread calls it, once for each time the socket was scheduled.
    pub(crate) fn run(self: Arc<Self>) {
        let mut inner = self.inner.lock();
        for _ in 0..TURN {
            let task = {
                let mut shared = self.shared.lock();
                let Some(task) = shared.tasks.pop_front() else {
                    shared.scheduled = false;
                    return;
                };
                task
            };
            inner.handle(&self, task);
        }
        drop(inner);
        engine::schedule(self);
    }

    /// Does a request in the calling thread, if nothing else is going on with the socket; else hands it back.
    pub(crate) fn try_inline(self: &Arc<Self>, request: Request) -> Result<NTSTATUS, Request> {
        let Some(mut inner) = self.inner.try_lock() else {
            return Err(request);
        };
        if !self.shared.lock().tasks.is_empty() || !inner.answers_at_once(&request) {
            return Err(request);
        }
        Ok(inner.handle_inline(self, request))
    }

    /// Prepares the state of a socket that nobody else knows yet.
    pub(crate) fn fill(&self, fill: impl FnOnce(&mut Inner)) {
        fill(&mut self.inner.lock());
    }

    /// Ends an accepted socket that its client refused.
    pub(crate) fn discard(self: &Arc<Self>) {
        self.fill(|inner| {
            if let Some(host) = inner.host.take() {
                host.reset_on_close();
            }
        });
        self.take_back();
        self.client.remove_socket();
    }

    /// Looks at the state, between two tasks.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Inner) -> R) -> R {
        look(&self.inner.lock())
    }
}

//! An endpoint: what a client holds as its `PWSK_SOCKET`, and the record that the table lists.
//!
//! Its first field is the dispatch pointer of wskguard's table for its category, so a call finds its state in the pointer it is made
//! with. Reference-counted: one for being open, one while it is listed, one for each own IRP and for each callback in progress; the
//! last one frees it, at IRQL <= `DISPATCH_LEVEL`, and never before its close has completed.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wsk_sys::{PEPROCESS, PFN_WSK_RECEIVE_EX_EVENT, PWSK_SOCKET, WSK_SOCKET};
use wskguard_core::{
    Category, EndpointId, Phase,
    audit::Budget,
    counters::Counter,
    semantics::{EndpointFacts, Flag, Number, OptionState, SharedOptions},
    table,
};

use crate::client::Client;
use crate::guard::{TAG_ENDPOINT, guard, processor, system_time};
use crate::request::Request;
use crate::sockaddr::Address;
use crate::upper::close::{self, Close};

/// Of [`Endpoint::gate`].
const SHUT: u32 = 1 << 31;

/// See the module. The first two cache lines are what requests touch.
#[repr(C, align(64))]
pub struct Endpoint {
    socket: WSK_SOCKET,
    lower: AtomicPtr<WSK_SOCKET>,
    client: NonNull<Client>,
    pub facts: EndpointFacts,
    refs: AtomicU32,
    phase: AtomicU8,
    closing: AtomicBool,
    /// Calls of our own in progress; the highest bit: close waits for them.
    gate: AtomicU32,
    port: AtomicU16,
    pub options: SharedOptions,
    id: AtomicU64,
    pub budget: Budget,
    decided: AtomicU32,
    refused: AtomicU32,
    /// What its callbacks are given and which they are: read by every event.
    context: AtomicPtr<c_void>,
    callbacks: AtomicPtr<c_void>,
    receive_ex: AtomicPtr<c_void>,
    process: u64,
    created: u64,
    local: [AtomicU64; 2],
    close: Request<Close>,
}

/// A client's memory budget is counted in these.
const _: () = assert!(size_of::<Endpoint>() <= 640);

// SAFETY: what changes is atomic or owned by one request; the client is held.
unsafe impl Send for Endpoint {}
// SAFETY: as above.
unsafe impl Sync for Endpoint {}

/// What a new endpoint starts with.
pub struct Birth {
    pub facts: EndpointFacts,
    pub context: *mut c_void,
    pub callbacks: *const c_void,
    pub process: PEPROCESS,
    pub options: OptionState,
    pub phase: Phase,
}

/// A reference to an endpoint.
pub struct EndpointRef(NonNull<Endpoint>);

// SAFETY: an endpoint may be used on any thread.
unsafe impl Send for EndpointRef {}

impl core::ops::Deref for EndpointRef {
    type Target = Endpoint;
    fn deref(&self) -> &Endpoint {
        // SAFETY: the reference keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for EndpointRef {
    fn clone(&self) -> Self {
        self.refs.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for EndpointRef {
    fn drop(&mut self) {
        if self.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the last reference is gone.
            unsafe { Endpoint::free(self.0) };
        }
    }
}

impl EndpointRef {
    /// Gives the reference to whoever will call [`Self::from_raw`].
    pub fn into_raw(self) -> NonNull<Endpoint> {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    /// # Safety
    /// `raw` came from [`Self::into_raw`], once.
    pub unsafe fn from_raw(raw: NonNull<Endpoint>) -> Self {
        Self(raw)
    }

    /// The socket, as the client will hold it.
    pub fn as_socket(&self) -> PWSK_SOCKET {
        self.0.as_ptr().cast()
    }

    /// Context that the provider is given: the endpoint itself.
    pub fn as_context(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }
}

impl Endpoint {
    /// A new endpoint of `client`, with the one reference that opening gives. `None` when there is no memory.
    pub fn create(client: &Client, dispatch: *const c_void, birth: Birth) -> Option<EndpointRef> {
        let process = if birth.process.is_null() {
            0
        } else {
            // SAFETY: the client vouches for the process it names.
            unsafe { wdk_sys::ntddk::PsGetProcessId(birth.process.cast()) }.addr() as u64
        };
        let endpoint = Self {
            socket: WSK_SOCKET { Dispatch: dispatch },
            lower: AtomicPtr::new(core::ptr::null_mut()),
            client: NonNull::from(client),
            facts: birth.facts,
            refs: AtomicU32::new(1),
            phase: AtomicU8::new(birth.phase as u8),
            closing: AtomicBool::new(false),
            gate: AtomicU32::new(0),
            port: AtomicU16::new(0),
            options: SharedOptions::new(birth.options),
            id: AtomicU64::new(0),
            budget: Budget::default(),
            decided: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            context: AtomicPtr::new(birth.context),
            callbacks: AtomicPtr::new(birth.callbacks.cast_mut()),
            receive_ex: AtomicPtr::new(core::ptr::null_mut()),
            process,
            created: system_time(),
            local: [AtomicU64::new(0), AtomicU64::new(0)],
            close: Request::idle(),
        };
        let endpoint = NonpagedBox::<_, TAG_ENDPOINT>::try_new(endpoint).ok()?;
        client.hold();
        guard().live.fetch_add(1, Ordering::Relaxed);
        Some(EndpointRef(endpoint.into_raw()))
    }

    unsafe fn free(endpoint: NonNull<Self>) {
        // SAFETY: made by `create`, and nobody refers to it.
        let client = unsafe { endpoint.as_ref() }.client;
        // SAFETY: as above.
        drop(unsafe { NonpagedBox::<Self, TAG_ENDPOINT>::from_raw(endpoint) });
        guard().live.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the hold that `create` took keeps the client; this gives it up, last of all.
        unsafe { client.as_ref() }.release();
    }

    /// The endpoint behind a socket that a client passes.
    ///
    /// # Safety
    /// The client passes a socket that it got from us and has not closed: WSK's contract.
    #[allow(clippy::cast_ptr_alignment, reason = "the socket is the first field of an endpoint")]
    pub unsafe fn from_socket<'a>(socket: PWSK_SOCKET) -> &'a Self {
        // SAFETY: as the caller promises; the socket is the endpoint's first field.
        unsafe { &*socket.cast::<Self>() }
    }

    /// Another reference. The caller has one, or is within a call or callback that keeps the endpoint open.
    pub fn reference(&self) -> EndpointRef {
        self.refs.fetch_add(1, Ordering::Relaxed);
        EndpointRef(NonNull::from(self))
    }

    /// The provider's socket.
    #[inline]
    pub fn lower(&self) -> PWSK_SOCKET {
        self.lower.load(Ordering::Relaxed)
    }

    pub fn client(&self) -> &Client {
        // SAFETY: held since `create`.
        unsafe { self.client.as_ref() }
    }

    pub fn id(&self) -> EndpointId {
        EndpointId(self.id.load(Ordering::Relaxed))
    }

    pub fn process(&self) -> u64 {
        self.process
    }

    pub fn phase(&self) -> Phase {
        phase_of(self.phase.load(Ordering::Acquire))
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Moves from `from` to `to`; false when another request was faster.
    pub fn move_phase(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The provider has made the socket: the endpoint is open, and listed where there is room.
    pub fn open(&self, lower: PWSK_SOCKET) {
        let guard = guard();
        self.lower.store(lower, Ordering::Release);
        guard.count(Counter::EndpointsOpened);
        let listed = self.reference().into_raw();
        // SAFETY: the reference just taken is the table's from now on.
        if let Some(id) = unsafe { guard.table.insert(processor(), listed) } {
            self.id.store(id.0, Ordering::Release);
        } else {
            // SAFETY: not listed, so the reference is still ours.
            drop(unsafe { EndpointRef::from_raw(listed) });
            guard.count(Counter::EndpointsUnlisted);
        }
    }

    /// Close has completed: off the list.
    pub fn closed(&self) {
        let guard = guard();
        let id = self.id();
        if id.0 != 0 {
            guard.table.remove(processor(), id);
        }
        guard.count(Counter::EndpointsClosed);
    }

    /// Close begins, once: from here on no callback reaches the client. False the second time.
    pub fn begin_close(&self) -> bool {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        if first {
            self.set_phase(Phase::Closing);
        }
        first
    }

    /// The provider did not close the socket: it is open as before.
    pub fn close_failed(&self) {
        self.set_phase(Phase::Disconnected);
        self.gate.fetch_and(!SHUT, Ordering::AcqRel);
        self.closing.store(false, Ordering::Release);
    }

    /// A call of our own begins, outside any of the client's. False when close is under way.
    pub fn enter(&self) -> bool {
        let mut now = self.gate.load(Ordering::Relaxed);
        loop {
            if now & SHUT != 0 {
                return false;
            }
            match self
                .gate
                .compare_exchange_weak(now, now.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(changed) => now = changed,
            }
        }
    }

    /// It has returned. The last one out sends the close that waits.
    pub fn leave(&self) {
        if self.gate.fetch_sub(1, Ordering::AcqRel) == SHUT | 1 {
            close::send_kept(self);
        }
    }

    /// Close is prepared: no call of our own begins any more. True when none is in progress, and close can be sent.
    pub fn shut(&self) -> bool {
        self.gate.fetch_or(SHUT, Ordering::AcqRel) == 0
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The block that close uses, there since creation so that close cannot fail for memory.
    pub fn close_block(&self) -> NonNull<Request<Close>> {
        NonNull::from(&self.close)
    }

    /// The context that the client gave, for its callbacks.
    pub fn context(&self) -> *mut c_void {
        self.context.load(Ordering::Acquire)
    }

    /// The client's callback table of this category, or NULL.
    pub fn callbacks(&self) -> *const c_void {
        self.callbacks.load(Ordering::Acquire)
    }

    /// What an accepted socket is given by its client, once it has answered.
    pub fn set_callbacks(&self, context: *mut c_void, callbacks: *const c_void) {
        self.context.store(context, Ordering::Release);
        self.callbacks.store(callbacks.cast_mut(), Ordering::Release);
    }

    /// The callback that `SIO_WSK_SET_RECEIVE_EX_CALLBACK` installed.
    pub fn receive_ex(&self) -> Option<PFN_WSK_RECEIVE_EX_EVENT> {
        let function = self.receive_ex.load(Ordering::Acquire);
        // SAFETY: holds NULL or such a function, as the client passed it; NULL is `None`.
        unsafe { core::mem::transmute::<*mut c_void, Option<PFN_WSK_RECEIVE_EX_EVENT>>(function) }
    }

    pub fn set_receive_ex(&self, function: *mut c_void) {
        self.receive_ex.store(function, Ordering::Release);
    }

    /// Where it is bound.
    pub fn set_local(&self, address: &Address) {
        let bytes = u128::from_le_bytes(address.bytes());
        let [low, high] = &self.local;
        #[allow(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
        {
            low.store(bytes as u64, Ordering::Relaxed);
            high.store((bytes >> 64) as u64, Ordering::Relaxed);
        }
        self.port.store(address.port(), Ordering::Release);
    }

    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Acquire)
    }

    /// Counts a decision.
    pub fn decided(&self, refused: bool) {
        self.decided.fetch_add(1, Ordering::Relaxed);
        if refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The record as it stands, for the list of endpoints.
    pub fn info(&self, id: EndpointId) -> wskguard_abi::EndpointInfo {
        let state = self.options.load();
        let [low, high] = &self.local;
        let local = u128::from(low.load(Ordering::Relaxed)) | u128::from(high.load(Ordering::Relaxed)) << 64;
        wskguard_abi::EndpointInfo {
            id: id.0,
            client: self.client().id(),
            protocol: self.facts.protocol,
            family: self.facts.family.0,
            socket_type: self.facts.socket_type as u8,
            category: self.facts.category as u8,
            phase: self.phase() as u8,
            mode: crate::control::mode_of(&state) as u8,
            port: self.port(),
            options: option_bits(&state),
            rcvbuf: state.number(Number::RcvBuf).unwrap_or(0),
            sndbuf: state.number(Number::SndBuf).unwrap_or(0),
            linger: state.linger().1,
            reserved: 0,
            process: self.process,
            created: self.created,
            decided: self.decided.load(Ordering::Relaxed).into(),
            refused: self.refused.load(Ordering::Relaxed).into(),
            local: local.to_le_bytes(),
        }
    }
}

// SAFETY: an endpoint stays until its last reference goes, and the table has one until `release`.
unsafe impl table::Record for Endpoint {
    unsafe fn release(record: NonNull<Self>) {
        // SAFETY: the table's reference, given up once.
        drop(unsafe { EndpointRef::from_raw(record) });
    }
}

fn phase_of(number: u8) -> Phase {
    match number {
        1 => Phase::Binding,
        2 => Phase::Bound,
        3 => Phase::Listening,
        4 => Phase::Connecting,
        5 => Phase::Connected,
        6 => Phase::Disconnected,
        7 => Phase::KeepAliveFailed,
        8 => Phase::Closing,
        _ => Phase::Unbound,
    }
}

fn option_bits(state: &OptionState) -> u32 {
    use wskguard_abi::option_bits as bits;
    let flags = [
        (Flag::Broadcast, bits::BROADCAST),
        (Flag::Debug, bits::DEBUG),
        (Flag::DontRoute, bits::DONTROUTE),
        (Flag::KeepAlive, bits::KEEPALIVE),
        (Flag::OobInline, bits::OOBINLINE),
        (Flag::ReuseAddr, bits::REUSEADDR),
        (Flag::ExclusiveAddrUse, bits::EXCLUSIVEADDRUSE),
        (Flag::ConditionalAccept, bits::CONDITIONAL_ACCEPT),
    ];
    let linger = if state.linger().0 == 0 { 0 } else { bits::LINGER };
    flags
        .into_iter()
        .filter(|&(flag, _)| state.flag(flag))
        .fold(linger, |all, (_, bit)| all | bit)
}

/// `Category` of a `WSK_FLAG_*_SOCKET`; `None` for what is none.
pub fn category_of(flags: u32) -> Option<Category> {
    match flags {
        wsk_sys::WSK_FLAG_BASIC_SOCKET => Some(Category::Basic),
        wsk_sys::WSK_FLAG_LISTEN_SOCKET => Some(Category::Listen),
        wsk_sys::WSK_FLAG_CONNECTION_SOCKET => Some(Category::Connection),
        wsk_sys::WSK_FLAG_DATAGRAM_SOCKET => Some(Category::Datagram),
        wsk_sys::WSK_FLAG_STREAM_SOCKET => Some(Category::Stream),
        _ => None,
    }
}

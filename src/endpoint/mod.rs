//! An endpoint: what a client holds as its `PWSK_SOCKET`, and the record that the table lists.
//!
//! Its first field is the dispatch pointer of wskguard's table for its category, so a call finds its state in the pointer it is made
//! with. Reference-counted: one for being open, one while it is listed, one for each own IRP and for each callback in progress; the
//! last one frees it, at IRQL <= `DISPATCH_LEVEL`, and never before its close has completed.

mod shown;

pub use shown::category_of;

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use wdk_rtl::nonpaged::NonpagedBox;
use wsk_sys::{PEPROCESS, PFN_WSK_RECEIVE_EX_EVENT, PWSK_SOCKET, WSK_SOCKET};
use wskguard_core::{
    EndpointId, Phase,
    audit::{Budget, Happened},
    counters::Counter,
    decide::Subject,
    policy::{ClientKey, ProcessKey},
    semantics::{Change, EndpointFacts, Number, Op, OptionState, SharedOptions},
    table,
};

use self::shown::phase_of;
use crate::audit;

use crate::client::Client;
use crate::guard::{TAG_ENDPOINT, guard, processor, seconds, system_time};
use crate::linger::Linger;
use crate::request::Request;
use crate::sockaddr::Address;
use crate::upper::close::{self, Close};

/// Of [`Endpoint::uses`].
const REFERENCE: u64 = 1;
const REFERENCES: u64 = 0xFFFF_FFFF;
const DECISION: u64 = 1 << 32;

/// Of [`Endpoint::gate`].
const SHUT: u32 = 1 << 31;

/// See the module. The first two cache lines are what requests touch.
#[repr(C, align(64))]
pub struct Endpoint {
    socket: WSK_SOCKET,
    lower: AtomicPtr<WSK_SOCKET>,
    client: NonNull<Client>,
    pub facts: EndpointFacts,
    /// References in the lower half, decisions in the upper: a request that is forwarded adds to both at once.
    uses: AtomicU64,
    phase: AtomicU8,
    closing: AtomicBool,
    /// Calls of our own in progress; the highest bit: close waits for them.
    gate: AtomicU32,
    port: AtomicU16,
    pub options: SharedOptions,
    id: AtomicU64,
    pub budget: Budget,
    refused: AtomicU32,
    /// What its callbacks are given and which they are: read by every event.
    context: AtomicPtr<c_void>,
    callbacks: AtomicPtr<c_void>,
    receive_ex: AtomicPtr<c_void>,
    /// What a lingering close needs, once the option was set; or NULL.
    linger: AtomicPtr<Linger>,
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
        self.uses.fetch_add(REFERENCE, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for EndpointRef {
    fn drop(&mut self) {
        if self.uses.fetch_sub(REFERENCE, Ordering::AcqRel) & REFERENCES == REFERENCE {
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
    /// A new endpoint of `client`, with the one reference that opening gives. `None` when there is no memory. While a call of the
    /// client keeps the provider below.
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
            uses: AtomicU64::new(REFERENCE),
            phase: AtomicU8::new(birth.phase as u8),
            closing: AtomicBool::new(false),
            gate: AtomicU32::new(0),
            port: AtomicU16::new(0),
            options: SharedOptions::new(birth.options),
            id: AtomicU64::new(0),
            budget: Budget::default(),
            refused: AtomicU32::new(0),
            context: AtomicPtr::new(birth.context),
            callbacks: AtomicPtr::new(birth.callbacks.cast_mut()),
            receive_ex: AtomicPtr::new(core::ptr::null_mut()),
            linger: AtomicPtr::new(core::ptr::null_mut()),
            process,
            created: system_time(),
            local: [AtomicU64::new(0), AtomicU64::new(0)],
            close: Request::idle(),
        };
        let endpoint = NonpagedBox::<_, TAG_ENDPOINT>::try_new(endpoint).ok()?;
        client.hold();
        client.hold_provider();
        guard().live.fetch_add(1, Ordering::Relaxed);
        Some(EndpointRef(endpoint.into_raw()))
    }

    unsafe fn free(endpoint: NonNull<Self>) {
        // SAFETY: made by `create`, and nobody refers to it.
        let client = unsafe { endpoint.as_ref() }.client;
        // SAFETY: as above.
        if let Some(linger) = NonNull::new(unsafe { endpoint.as_ref() }.linger.load(Ordering::Acquire)) {
            // SAFETY: put there by `keep_linger`, and its close is over.
            unsafe { Linger::free(linger) };
        }
        // SAFETY: as above.
        drop(unsafe { NonpagedBox::<Self, TAG_ENDPOINT>::from_raw(endpoint) });
        guard().live.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the hold that `create` took keeps the client.
        unsafe { client.as_ref() }.release_provider();
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
        self.uses.fetch_add(REFERENCE, Ordering::Relaxed);
        EndpointRef(NonNull::from(self))
    }

    /// The same, for a request that was decided to be forwarded.
    #[inline]
    pub fn decided_and_referenced(&self) -> EndpointRef {
        self.uses.fetch_add(DECISION | REFERENCE, Ordering::Relaxed);
        EndpointRef(NonNull::from(self))
    }

    /// The provider's socket. `None` once the provider leaves: it takes no call any more but those that end the socket.
    #[inline]
    pub fn lower(&self) -> Option<PWSK_SOCKET> {
        self.has_provider().then(|| self.lower_to_end())
    }

    /// Whether the provider takes calls of its sockets.
    #[inline]
    pub fn has_provider(&self) -> bool {
        self.client().has_provider()
    }

    /// The provider's socket, for a call that gives something back to the provider.
    #[inline]
    pub fn lower_to_end(&self) -> PWSK_SOCKET {
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
        Subject::phase(self)
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
        audit::life(self, Happened::EndpointOpened);
    }

    /// It is connected from now on, for `SO_CONNECT_TIME`.
    pub fn connected(&self) {
        self.learn(Number::ConnectedAt, seconds());
    }

    /// A fact that no request set.
    pub fn learn(&self, number: Number, value: u32) {
        // Nothing to refuse.
        let _ = self.options.commit(Change::fact(Op::Number(number, value)));
    }

    /// Close has completed: off the list.
    pub fn closed(&self) {
        let guard = guard();
        let id = self.id();
        if id.0 != 0 {
            guard.table.remove(processor(), id);
        }
        audit::life(self, Happened::EndpointClosed);
        guard.count(Counter::EndpointsClosed);
    }

    /// Close begins, once: from here on no callback reaches the client. The phase until now; `None` the second time.
    pub fn begin_close(&self) -> Option<Phase> {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        first.then(|| phase_of(self.phase.swap(Phase::Closing as u8, Ordering::AcqRel)))
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
            close::go(self);
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

    /// What a lingering close needs, where it was kept.
    pub fn linger(&self) -> Option<&Linger> {
        // SAFETY: NULL, or kept until the endpoint is freed.
        unsafe { self.linger.load(Ordering::Acquire).as_ref() }
    }

    /// Keeps it, and says whether it was the first; a second is the caller's to free.
    pub fn keep_linger(&self, linger: NonNull<Linger>) -> bool {
        self.linger
            .compare_exchange(
                core::ptr::null_mut(),
                linger.as_ptr(),
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
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

    /// An accepted connection has its listener's port, and its address unless that is the wildcard's.
    pub fn bound_as(&self, listener: &Self) {
        for (own, of_listener) in self.local.iter().zip(&listener.local) {
            own.store(of_listener.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.port.store(listener.port(), Ordering::Release);
    }

    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Acquire)
    }

    /// Counts a decision.
    pub fn decided(&self, refused: bool) {
        self.uses.fetch_add(DECISION, Ordering::Relaxed);
        if refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subject for Endpoint {
    #[inline]
    fn facts(&self) -> &EndpointFacts {
        &self.facts
    }

    #[inline]
    fn options(&self) -> &SharedOptions {
        &self.options
    }

    #[inline]
    fn phase(&self) -> Phase {
        phase_of(self.phase.load(Ordering::Acquire))
    }

    fn client(&self) -> ClientKey<'_> {
        Self::client(self).key()
    }

    fn process(&self) -> Option<ProcessKey<'_>> {
        (self.process != 0).then(|| ProcessKey::new(self.process, &[]))
    }
}

// SAFETY: an endpoint stays until its last reference goes, and the table has one until `release`.
unsafe impl table::Record for Endpoint {
    unsafe fn release(record: NonNull<Self>) {
        // SAFETY: the table's reference, given up once.
        drop(unsafe { EndpointRef::from_raw(record) });
    }
}

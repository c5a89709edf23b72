//! A session: what one open file object owns, and the operations on it. `PASSIVE_LEVEL`.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use probe_protocol::probe::{
    Attach, Call, CallFlags, Category, ClientRequest, Event, Events, Function, Gate, Header, Hello, Leftovers, Op,
    Reactions, ReadEvents, ReleaseRetained, Released, RequestRef, SetReactions, SocketRef, VERSION, put, take,
};
use wdk_sys::{
    NTSTATUS, RTL_OSVERSIONINFOW, STATUS_BUFFER_TOO_SMALL, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_REVISION_MISMATCH, STATUS_SUCCESS,
    ntddk::{ObfDereferenceObject, RtlGetVersion},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arguments::Arguments;
use crate::callbacks::Gates;
use crate::client::Client;
use crate::invoke;
use crate::ke;
use crate::log::Log;
use crate::request::{Parts, Request};
use crate::shared::{self, Shared, Zeroable};
use crate::socket::{Socket, Stage};
use crate::table::Table;

/// Provider's pointers that scripts name by number, 1 to 64.
pub(crate) struct Handles([AtomicPtr<c_void>; 64]);

impl Handles {
    pub(crate) fn get(&self, handle: u32) -> Option<*mut c_void> {
        let place = self.0.get(usize::try_from(handle.checked_sub(1)?).ok()?)?;
        Some(place.load(Ordering::Acquire))
    }

    /// The pointer's handle; an equal pointer keeps the one it has. 0: no room.
    pub(crate) fn keep(&self, pointer: *mut c_void) -> u32 {
        let known = self.0.iter().position(|place| place.load(Ordering::Acquire) == pointer);
        let place = known.or_else(|| {
            self.0.iter().position(|place| {
                place
                    .compare_exchange(null_mut(), pointer, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok()
            })
        });
        place
            .and_then(|index| u32::try_from(index).ok()?.checked_add(1))
            .unwrap_or(0)
    }
}

/// One session. All bytes zero, then [`Self::open`].
pub(crate) struct Session {
    pub(crate) clients: Table<Client>,
    pub(crate) sockets: Table<Socket>,
    pub(crate) requests: Table<Request>,
    pub(crate) handles: Handles,
    pub(crate) log: Log,
    pub(crate) gates: Gates,
    pub(crate) in_flight: AtomicU32,
    pub(crate) double_completions: AtomicU32,
    pub(crate) late_callbacks: AtomicU32,
    /// Operations being executed.
    executing: AtomicU32,
    finished: AtomicU32,
    process: AtomicPtr<c_void>,
}

// SAFETY: numbers, locks of zero, `Option`s of non-NULL pointers; the events are initialised by `open`.
unsafe impl Zeroable for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        let process = *self.process.get_mut();
        if !process.is_null() {
            // SAFETY: `open` was given a reference.
            unsafe { ObfDereferenceObject(process) };
        }
    }
}

type Reply = Result<usize, NTSTATUS>;

fn answer<T: IntoBytes + Immutable>(reply: &mut [u8], value: &T) -> Reply {
    put(reply, value).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    Ok(size_of::<T>())
}

fn body<T: FromBytes + Immutable + KnownLayout + Copy>(bytes: &[u8]) -> Result<(T, &[u8]), NTSTATUS> {
    take(bytes).ok_or(STATUS_INVALID_PARAMETER)
}

impl Session {
    /// A new session; `process` comes with a reference.
    pub(crate) fn open(process: *mut c_void) -> Option<Shared<Self>> {
        let session = Shared::<Self>::try_zeroed()?;
        session.log.init();
        session.process.store(process, Ordering::Relaxed);
        Some(session)
    }

    /// Another reference.
    fn this(&self) -> Shared<Self> {
        // SAFETY: sessions are made by `open` only, as shared objects.
        unsafe { Shared::from_address((&raw const *self).cast_mut().cast()) }
    }

    /// The process that opened the session.
    pub(crate) fn process(&self) -> *mut c_void {
        self.process.load(Ordering::Relaxed)
    }

    /// Carries out one request; the reply's length, or why it could not be understood.
    pub(crate) fn execute(&self, request: &[u8], reply: &mut [u8]) -> Reply {
        self.executing.fetch_add(1, Ordering::AcqRel);
        let result = self.dispatch(request, reply);
        self.executing.fetch_sub(1, Ordering::AcqRel);
        result
    }

    fn dispatch(&self, request: &[u8], reply: &mut [u8]) -> Reply {
        let (header, rest) = body::<Header>(request)?;
        if header.version != VERSION {
            return Err(STATUS_REVISION_MISMATCH);
        }
        if self.finished.load(Ordering::Acquire) != 0 {
            return Err(STATUS_INVALID_HANDLE);
        }
        match Op::from_u32(header.op).ok_or(STATUS_INVALID_PARAMETER)? {
            Op::Hello => answer(reply, &hello()),
            Op::Attach => answer(reply, &Client::attach(&self.this(), &body::<Attach>(rest)?.0)),
            Op::Detach => self.detach(body(rest)?.0, reply),
            Op::QueryClient => {
                let client = self.client(body::<ClientRequest>(rest)?.0.client)?;
                answer(reply, &client.state(STATUS_SUCCESS))
            }
            Op::Call => self.call(rest, reply),
            Op::Launch => self.launch(&body(rest)?.0, reply),
            Op::Wait => {
                let wish: RequestRef = body(rest)?.0;
                let request = self.request(wish.request)?;
                self.wait_and_report(&request, wish.timeout_ms, true, reply)
            }
            Op::Cancel => {
                let wish: RequestRef = body(rest)?.0;
                let request = self.request(wish.request)?;
                ke::at_irql(CallFlags(wish.flags).has(CallFlags::AT_DISPATCH), || request.cancel());
                self.wait_and_report(&request, wish.timeout_ms, true, reply)
            }
            Op::Abandon => {
                let request = self.request(body::<RequestRef>(rest)?.0.request)?;
                request.abandon(&request);
                self.free(request.id.load(Ordering::Relaxed))
            }
            Op::Free => self.free(body::<RequestRef>(rest)?.0.request),
            Op::SetReactions => self.set_reactions(&body(rest)?.0),
            Op::ReadEvents => self.read_events(&body(rest)?.0, reply),
            Op::SetGate => {
                let gate: Gate = body(rest)?.0;
                self.gates.set(gate.gate, gate.open != 0);
                Ok(0)
            }
            Op::QuerySocket => answer(reply, &self.socket(body::<SocketRef>(rest)?.0.socket)?.state()),
            Op::ReleaseRetained => self.release_retained(&body(rest)?.0, reply),
            Op::Transfer | Op::Stress | Op::Bench => crate::load::run(&self.this(), header.op, rest, reply),
            Op::Finish => {
                // This operation is one of those that `finish` waits for.
                self.executing.fetch_sub(1, Ordering::AcqRel);
                let leftovers = self.finish();
                self.executing.fetch_add(1, Ordering::AcqRel);
                answer(reply, &leftovers)
            }
        }
    }

    pub(crate) fn client(&self, id: u32) -> Result<Shared<Client>, NTSTATUS> {
        self.clients.get(id).ok_or(STATUS_INVALID_HANDLE)
    }

    pub(crate) fn socket(&self, id: u32) -> Result<Shared<Socket>, NTSTATUS> {
        self.sockets.get(id).ok_or(STATUS_INVALID_HANDLE)
    }

    fn request(&self, id: u32) -> Result<Shared<Request>, NTSTATUS> {
        self.requests.get(id).ok_or(STATUS_INVALID_HANDLE)
    }

    fn detach(&self, wish: ClientRequest, reply: &mut [u8]) -> Reply {
        let client = self.client(wish.client)?;
        let status = client.detach(wish.timeout_ms);
        if status == STATUS_SUCCESS {
            self.clients.remove(wish.client);
        }
        answer(reply, &client.state(status))
    }

    /// Builds a request out of `call` and the bytes behind it.
    pub(crate) fn prepare(&self, call: &Call, data: &[u8]) -> Result<Shared<Request>, NTSTATUS> {
        let function = Function::from_u32(call.function).ok_or(STATUS_INVALID_PARAMETER)?;
        let socket = self.sockets.get(call.socket);
        let client = self
            .clients
            .get(call.client)
            .or_else(|| socket.as_ref().map(|socket| socket.client.clone()));
        let created = match (function, &client) {
            (Function::Socket | Function::SocketConnect | Function::Accept, Some(client)) => {
                Some(self.make_socket(client, category_of(call, function), &call.reactions)?)
            }
            _ => None,
        };
        let parts = Parts {
            function,
            client,
            socket,
            table_of: self.sockets.get(call.table_of),
            created,
            arguments: Arguments::new(self, call, function, data).ok_or(STATUS_INVALID_PARAMETER)?,
        };
        let request = Request::new(&self.this(), call, parts).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let named = self
            .requests
            .insert(request.clone(), |request, id| request.id.store(id, Ordering::Relaxed));
        named.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(request)
    }

    fn make_socket(
        &self,
        client: &Shared<Client>,
        category: Category,
        reactions: &Reactions,
    ) -> Result<Shared<Socket>, NTSTATUS> {
        if let Some(socket) = Socket::create(&self.this(), client, category, reactions) {
            return Ok(socket);
        }
        // Closed sockets are kept so that late callbacks find them; when there is no room they go.
        self.sockets.for_each(|socket| {
            if socket.stage() == Stage::Closed {
                self.sockets.remove(socket.id.load(Ordering::Relaxed));
            }
        });
        Socket::create(&self.this(), client, category, reactions).ok_or(STATUS_INSUFFICIENT_RESOURCES)
    }

    fn call(&self, rest: &[u8], reply: &mut [u8]) -> Reply {
        let (call, data) = body::<Call>(rest)?;
        let request = self.prepare(&call, data)?;
        let flags = request.flags();
        if flags.has(CallFlags::PREPARE) {
            return request.report(false, reply);
        }
        self.launch_and_report(&request, call.timeout_ms, flags, reply)
    }

    fn launch(&self, wish: &RequestRef, reply: &mut [u8]) -> Reply {
        let request = self.request(wish.request)?;
        if request.is_busy() {
            return Err(STATUS_DEVICE_BUSY);
        }
        self.launch_and_report(&request, wish.timeout_ms, CallFlags(wish.flags), reply)
    }

    fn launch_and_report(
        &self,
        request: &Shared<Request>,
        timeout_ms: u32,
        flags: CallFlags,
        reply: &mut [u8],
    ) -> Reply {
        let flipper = crate::flip::Flipper::start(request);
        request.launch(request, flags.has(CallFlags::AT_DISPATCH));
        if flags.has(CallFlags::ASYNC) {
            return request.report(false, reply);
        }
        let result = self.wait_and_report(request, timeout_ms, flags.has(CallFlags::KEEP), reply);
        drop(flipper);
        result
    }

    /// Waits, reports, and forgets a request that is over unless the script wants to keep it.
    fn wait_and_report(&self, request: &Shared<Request>, timeout_ms: u32, keep: bool, reply: &mut [u8]) -> Reply {
        let timed_out = !request.wait_done(timeout_ms);
        let length = request.report(timed_out, reply)?;
        if !request.is_busy() {
            invoke::free_results(request);
            if !keep {
                self.forget(request);
            }
        }
        Ok(length)
    }

    pub(crate) fn forget(&self, request: &Request) {
        request.forget_created();
        self.requests.remove(request.id.load(Ordering::Relaxed));
    }

    fn free(&self, id: u32) -> Reply {
        let request = self.request(id)?;
        if request.is_busy() {
            return Err(STATUS_DEVICE_BUSY);
        }
        self.forget(&request);
        Ok(0)
    }

    fn set_reactions(&self, wish: &SetReactions) -> Reply {
        let socket = self.socket(wish.socket)?;
        *socket.launch.lock() = self.requests.get(wish.reactions.launch);
        *socket.reactions.lock() = wish.reactions;
        Ok(0)
    }

    fn read_events(&self, wish: &ReadEvents, reply: &mut [u8]) -> Reply {
        let fixed = size_of::<Events>();
        let (head, mut room) = reply.split_at_mut_checked(fixed).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        let mut length = fixed;
        let events = self.log.read(wish, |event| {
            let Some(rest) = put(core::mem::take(&mut room), event) else {
                return false;
            };
            room = rest;
            length = length.saturating_add(size_of::<Event>());
            true
        });
        put(head, &events).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        Ok(length)
    }

    fn release_retained(&self, wish: &ReleaseRetained, reply: &mut [u8]) -> Reply {
        let socket = self.socket(wish.socket)?;
        let mut released = Released {
            count: 0,
            status: STATUS_SUCCESS,
        };
        while released.count < wish.max {
            let oldest = socket.retained.lock().pop_oldest();
            let Some(list) = oldest else { break };
            let result = ke::at_irql(wish.at_dispatch != 0, || invoke::release(&socket, list));
            released.status = result.map_err(|_| STATUS_INVALID_HANDLE)?;
            released.count = released.count.saturating_add(1);
        }
        answer(reply, &released)
    }

    /// Ends the session: cancels, releases, closes and detaches everything, each with a time-out. What does not end stays in memory,
    /// alive, for the provider to come back to.
    pub(crate) fn finish(&self) -> Leftovers {
        const MS: u32 = 5000;
        if self.finished.swap(1, Ordering::AcqRel) != 0 {
            return Leftovers::default();
        }
        let deadline = ke::Deadline::after(MS);
        self.gates.open_all();
        self.requests.for_each(|request| request.cancel());
        while self.executing.load(Ordering::Acquire) > 0 && deadline.left() > 0 {
            ke::sleep(1);
        }
        self.sockets.for_each(|socket| *socket.launch.lock() = None);
        self.sockets.for_each(|socket| self.close_for_good(socket));
        let mut left = Leftovers {
            double_completions: self.double_completions.load(Ordering::Acquire),
            lost_events: u32::try_from(self.log.lost()).unwrap_or(u32::MAX),
            ..Leftovers::default()
        };
        self.requests.drain(|request| {
            if request.is_in_flight() && !request.wait_completed(deadline.left()) {
                left.requests = left.requests.saturating_add(1);
            }
        });
        let mut open = 0_u32;
        self.sockets.for_each(|socket| {
            if matches!(socket.stage(), Stage::Open | Stage::Closing) {
                open = open.saturating_add(1);
            }
        });
        left.sockets = open;
        let deadline = ke::Deadline::after(MS);
        self.clients.drain(|client| {
            if client.detach(deadline.left()) != STATUS_SUCCESS {
                left.clients = left.clients.saturating_add(1);
                // Its registration is still the provider's: it may never be freed.
                core::mem::forget(client);
            }
        });
        left.late_callbacks = self.late_callbacks.load(Ordering::Acquire);
        self.sockets.drain(|socket| {
            if matches!(socket.stage(), Stage::Open | Stage::Closing) {
                core::mem::forget(socket);
            }
        });
        left
    }

    fn close_for_good(&self, socket: &Shared<Socket>) {
        loop {
            let oldest = socket.retained.lock().pop_oldest();
            let Some(list) = oldest else { break };
            let _ = invoke::release(socket, list);
        }
        if socket.stage() != Stage::Open {
            return;
        }
        let call = Call {
            function: Function::CloseSocket as u32,
            socket: socket.id.load(Ordering::Relaxed),
            ..Call::default()
        };
        if let Ok(request) = self.prepare(&call, &[]) {
            request.launch(&request, false);
            request.wait_completed(2000);
        }
    }
}

/// Category that the call's flags ask for.
fn category_of(call: &Call, function: Function) -> Category {
    let [.., flags] = call.numbers;
    match function {
        Function::Socket => Category::from_u32(flags).unwrap_or(Category::Basic),
        _ => Category::Connection,
    }
}

fn hello() -> Hello {
    let mut version = RTL_OSVERSIONINFOW {
        dwOSVersionInfoSize: u32::try_from(size_of::<RTL_OSVERSIONINFOW>()).unwrap_or(0),
        ..RTL_OSVERSIONINFOW::default()
    };
    // SAFETY: the structure is ours and says its size.
    let _ = unsafe { RtlGetVersion(&raw mut version) };
    Hello {
        version: VERSION,
        windows: [version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber],
        ticks_per_second: ke::ticks_per_second(),
        alive: [
            u32::try_from(shared::alive()).unwrap_or(u32::MAX),
            ke::threads_alive(),
            0,
            0,
        ],
    }
}

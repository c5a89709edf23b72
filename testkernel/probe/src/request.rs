//! A request: one IRP with everything its call needs, from before the call until the script has seen what came of it.
//!
//! The completion routine only notes; the memory of a request in flight is kept alive by a reference that belongs to the IRP, so that
//! a provider may complete late, twice or after the session's end without harm to the probe. IRQL <= `DISPATCH_LEVEL`, waits at
//! `PASSIVE_LEVEL`.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use probe_protocol::probe::{Call, CallFlags, Function, Outcome, Output, Progress, Style, put};
use wdk_rtl::irp;
use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    DEVICE_OBJECT, HANDLE, IRP, NTSTATUS, PIRP, STATUS_DEVICE_BUSY, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_STATE, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
    ntddk::{IoAllocateIrp, IoCancelIrp, IoFreeIrp, IoReuseIrp, PsGetCurrentThreadId},
};

use crate::arguments::Arguments;
use crate::client::Client;
use crate::invoke::{self, NotCalled};
use crate::ke;
use crate::session::Session;
use crate::shared::Shared;
use crate::socket::{Socket, Stage};

/// What is known so far.
struct State {
    progress: Progress,
    returned: NTSTATUS,
    status: NTSTATUS,
    information: usize,
    completions: u32,
    irql: u8,
    irql_after: u8,
    returned_at: u64,
    completed_at: u64,
    ticks: u64,
    /// Thread that is inside the provider's function.
    caller: usize,
}

impl State {
    const fn new() -> Self {
        Self {
            progress: Progress(0),
            returned: STATUS_PENDING,
            status: STATUS_PENDING,
            information: 0,
            completions: 0,
            irql: 0,
            irql_after: 0,
            returned_at: 0,
            completed_at: 0,
            ticks: 0,
            caller: 0,
        }
    }

    const fn is_in_flight(&self) -> bool {
        self.progress.has(Progress::HAS_IRP) && !self.progress.has(Progress::COMPLETED)
    }

    const fn is_busy(&self) -> bool {
        self.is_in_flight() || (self.progress.has(Progress::CALLED) && !self.progress.has(Progress::RETURNED))
    }
}

/// One request.
pub(crate) struct Request {
    pub(crate) id: AtomicU32,
    pub(crate) session: Shared<Session>,
    pub(crate) call: Call,
    pub(crate) function: Function,
    pub(crate) client: Option<Shared<Client>>,
    pub(crate) socket: Option<Shared<Socket>>,
    pub(crate) table_of: Option<Shared<Socket>>,
    /// The socket that this call makes.
    pub(crate) created: Option<Shared<Socket>>,
    pub(crate) arguments: Arguments,
    style: Style,
    irp: PIRP,
    state: SpinLock<State>,
    /// Set by the completion routine.
    completed: ke::Event,
    /// Set when what the client's style waits for has happened.
    done: ke::Event,
}

// SAFETY: the IRP belongs to the provider while in flight and else to whoever holds the state's lock; the rest is shared safely.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

fn current_thread() -> usize {
    // SAFETY: asking for the thread's id is always allowed.
    let id: HANDLE = unsafe { PsGetCurrentThreadId() };
    id as usize
}

/// The parts of a request that its maker looked up.
pub(crate) struct Parts {
    pub(crate) function: Function,
    pub(crate) client: Option<Shared<Client>>,
    pub(crate) socket: Option<Shared<Socket>>,
    pub(crate) table_of: Option<Shared<Socket>>,
    pub(crate) created: Option<Shared<Socket>>,
    pub(crate) arguments: Arguments,
}

impl Request {
    /// A request ready to be launched.
    pub(crate) fn new(session: &Shared<Session>, call: &Call, parts: Parts) -> Option<Shared<Self>> {
        let flags = CallFlags(call.flags);
        let irp = if flags.has(CallFlags::NO_IRP) {
            core::ptr::null_mut()
        } else {
            let stack = if flags.has(CallFlags::DEEP_IRP) { 4 } else { 1 };
            // SAFETY: any size is allowed; failure is NULL.
            let irp = unsafe { IoAllocateIrp(stack, 0) };
            if irp.is_null() {
                return None;
            }
            irp
        };
        let request = Shared::try_new(Self {
            id: AtomicU32::new(0),
            session: session.clone(),
            call: *call,
            function: parts.function,
            client: parts.client,
            socket: parts.socket,
            table_of: parts.table_of,
            created: parts.created,
            arguments: parts.arguments,
            style: Style::from_u32(call.style).unwrap_or(Style::AlwaysWaits),
            irp,
            state: SpinLock::new(State::new()),
            completed: ke::Event::uninitialised(),
            done: ke::Event::uninitialised(),
        })?;
        request.completed.init();
        request.done.init();
        Some(request)
    }

    pub(crate) fn flags(&self) -> CallFlags {
        CallFlags(self.call.flags)
    }

    /// Calls the provider's function. `this` is `self`. Failure: it is in progress, or there is nothing to call.
    pub(crate) fn launch(&self, this: &Shared<Self>, at_dispatch: bool) -> NTSTATUS {
        let raise = at_dispatch || self.flags().has(CallFlags::AT_DISPATCH);
        // SAFETY: the IRP is the request's own, and `begin` makes sure that it is not in progress.
        unsafe { self.launch_with(this, self.irp, complete, raise) }.unwrap_or_else(|status| status)
    }

    /// Launches with an IRP that was sent to the driver's own device. Returns what a dispatch routine must, or why there was no call.
    ///
    /// # Safety
    /// The IRP is the caller's and has a location left; after a call it is the provider's or completed.
    pub(crate) unsafe fn pass_down(&self, this: &Shared<Self>, irp: PIRP) -> Result<NTSTATUS, NTSTATUS> {
        // SAFETY: as the caller promises.
        unsafe { self.launch_with(this, irp, completed_below, false) }
    }

    /// # Safety
    /// `irp` is NULL, or free for a call once `begin` succeeded, with a location left.
    unsafe fn launch_with(
        &self,
        this: &Shared<Self>,
        irp: PIRP,
        routine: irp::CompletionRoutine,
        raise: bool,
    ) -> Result<NTSTATUS, NTSTATUS> {
        self.begin(irp)?;
        let reference = this.clone().into_raw();
        if !irp.is_null() {
            self.session.in_flight.fetch_add(1, Ordering::AcqRel);
            // SAFETY: the caller vouches for the IRP; the completion takes the reference over.
            unsafe { irp::set_completion_routine(irp, routine, reference) };
        }
        let started = ke::ticks();
        let (result, irql) = ke::at_irql(raise, || (invoke::invoke(self, irp), ke::irql()));
        let ticks = ke::ticks().wrapping_sub(started);
        if irp.is_null() || result.is_err() {
            // SAFETY: no completion will take the reference over.
            drop(unsafe { Shared::<Self>::from_raw(reference) });
        }
        match result {
            Ok(status) => {
                self.note_return(status, irql, ticks);
                Ok(status)
            }
            Err(not_called) => {
                if !irp.is_null() {
                    self.session.in_flight.fetch_sub(1, Ordering::AcqRel);
                }
                self.take_back(not_called);
                Err(STATUS_INVALID_DEVICE_STATE)
            }
        }
    }

    /// From idle to called; a request that is over starts again.
    fn begin(&self, irp: PIRP) -> Result<(), NTSTATUS> {
        let mut state = self.state.lock();
        if state.is_busy() {
            return Err(STATUS_DEVICE_BUSY);
        }
        let again = state.progress.has(Progress::CALLED);
        *state = State::new();
        state.progress = Progress::CALLED;
        state.caller = current_thread();
        if !irp.is_null() {
            state.progress |= Progress::HAS_IRP;
        }
        drop(state);
        self.completed.clear();
        self.done.clear();
        if !irp.is_null() && irp == self.irp {
            if again {
                // SAFETY: the IRP has completed and is ours again.
                unsafe { IoReuseIrp(irp, STATUS_SUCCESS) };
            }
            if self.flags().has(CallFlags::CANCEL_FIRST) {
                // SAFETY: the IRP is ours and not in progress.
                unsafe { IoCancelIrp(irp) };
            }
        }
        if let Some(socket) = self.socket_to_close() {
            socket.closing();
        }
        Ok(())
    }

    fn socket_to_close(&self) -> Option<&Shared<Socket>> {
        self.socket.as_ref().filter(|_| self.function == Function::CloseSocket)
    }

    fn note_return(&self, status: NTSTATUS, irql: u8, ticks: u64) {
        let mut state = self.state.lock();
        state.progress |= Progress::RETURNED;
        state.returned = status;
        state.returned_at = ke::next_in_order();
        state.irql_after = irql;
        state.ticks = ticks;
        state.caller = 0;
        let has_irp = state.progress.has(Progress::HAS_IRP);
        let over = match self.style {
            _ if !has_irp => true,
            Style::AlwaysWaits => state.progress.has(Progress::COMPLETED),
            // A driver of these styles looks at the returned status and, unless it is pending, does not wait.
            Style::WaitsIfPending | Style::WokenIfPendingReturned => {
                status != STATUS_PENDING || state.progress.has(Progress::DONE)
            }
        };
        if over {
            state.progress |= Progress::DONE;
        }
        drop(state);
        if !has_irp {
            self.settle(status, 0);
        }
        if over {
            self.done.set();
        }
    }

    /// Undoes `begin` when there was nothing to call.
    fn take_back(&self, why: NotCalled) {
        if let Some(socket) = self.socket_to_close() {
            socket.close_failed();
        }
        let mut state = self.state.lock();
        *state = State::new();
        state.progress = match why {
            NotCalled::NoSuchObject => Progress::NO_SUCH_OBJECT,
            NotCalled::NoSuchFunction => Progress::NO_SUCH_FUNCTION,
        } | Progress::DONE;
        drop(state);
        self.done.set();
    }

    /// Notes a completion; `false`: it is not the first of this round.
    fn note_completion(&self, status: NTSTATUS, information: usize, pending_returned: bool) -> bool {
        let mut state = self.state.lock();
        state.completions = state.completions.saturating_add(1);
        if state.completions > 1 {
            self.session.double_completions.fetch_add(1, Ordering::AcqRel);
            return false;
        }
        state.progress |= Progress::COMPLETED;
        state.status = status;
        state.information = information;
        state.irql = ke::irql();
        state.completed_at = ke::next_in_order();
        if state.caller == current_thread() {
            state.progress |= Progress::COMPLETED_INLINE;
        }
        if pending_returned {
            state.progress |= Progress::PENDING_RETURNED;
        }
        let over = match self.style {
            Style::AlwaysWaits | Style::WaitsIfPending => true,
            Style::WokenIfPendingReturned => pending_returned,
        };
        if over {
            state.progress |= Progress::DONE;
        }
        drop(state);
        self.settle(status, information);
        self.completed.set();
        if over {
            self.done.set();
        }
        true
    }

    /// What the end of the call means for sockets.
    fn settle(&self, status: NTSTATUS, information: usize) {
        if let Some(created) = &self.created
            && status >= 0
            && information != 0
        {
            created.opened(information as *mut _);
        }
        if let Some(socket) = self.socket_to_close() {
            if status >= 0 {
                socket.closed();
            } else {
                socket.close_failed();
            }
        }
    }

    /// `IoCancelIrp`.
    pub(crate) fn cancel(&self) {
        let mut state = self.state.lock();
        state.progress |= Progress::CANCELLED;
        let in_flight = state.is_in_flight();
        drop(state);
        if in_flight && !self.irp.is_null() {
            // SAFETY: the IRP is not freed while the request lives, completed or not.
            unsafe { IoCancelIrp(self.irp) };
        }
    }

    /// Takes the IRP back from a provider that returned without having touched it.
    pub(crate) fn abandon(&self, this: &Shared<Self>) {
        let mut state = self.state.lock();
        if !state.is_in_flight() || !state.progress.has(Progress::RETURNED) {
            return;
        }
        state.progress = Progress(state.progress.0 & !Progress::HAS_IRP.0);
        drop(state);
        self.session.in_flight.fetch_sub(1, Ordering::AcqRel);
        // SAFETY: the reference that the launch gave to the IRP; no completion will take it over.
        drop(unsafe { Shared::<Self>::from_raw(this.as_ptr()) });
    }

    /// Waits for what the style waits for. `PASSIVE_LEVEL`.
    pub(crate) fn wait_done(&self, ms: u32) -> bool {
        self.done.wait(ms)
    }

    /// Waits for the completion routine. `PASSIVE_LEVEL`.
    pub(crate) fn wait_completed(&self, ms: u32) -> bool {
        self.completed.wait(ms)
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.state.lock().is_in_flight()
    }

    pub(crate) fn has_completed(&self) -> bool {
        self.state.lock().progress.has(Progress::COMPLETED)
    }

    /// In flight, or still inside the provider's function.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.lock().is_busy()
    }

    /// Returned status, completed status and information, for callers inside the probe.
    pub(crate) fn result(&self) -> (NTSTATUS, NTSTATUS, usize) {
        let state = self.state.lock();
        (state.returned, state.status, state.information)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.state.lock().progress
    }

    /// Writes an [`Outcome`] and the output bytes to `reply`; returns their length. `PASSIVE_LEVEL`.
    pub(crate) fn report(&self, timed_out: bool, reply: &mut [u8]) -> Result<usize, NTSTATUS> {
        let mut outcome = self.outcome();
        if timed_out {
            outcome.progress |= Progress::TIMED_OUT.0;
        }
        let handle = self.keep_handle(&outcome);
        let fixed = size_of::<Outcome>();
        let rest = reply.get_mut(fixed..).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        let output = match handle {
            Some(handle) => put(rest, &handle).map_or(0, |_| size_of::<u32>()),
            None => self.arguments.read_output(rest),
        };
        let control = rest
            .get_mut(output..)
            .map_or(0, |rest| self.arguments.read_control(rest));
        outcome.output_length = u32::try_from(output).unwrap_or(0);
        outcome.control_length = u32::try_from(control).unwrap_or(0);
        put(reply, &outcome).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(fixed.saturating_add(output).saturating_add(control))
    }

    fn outcome(&self) -> Outcome {
        let state = self.state.lock();
        let mut outcome = Outcome {
            request: self.id.load(Ordering::Relaxed),
            progress: state.progress.0,
            returned: state.returned,
            status: state.status,
            information: state.information as u64,
            completions: state.completions,
            irql: u32::from(state.irql),
            irql_after: u32::from(state.irql_after),
            returned_at: state.returned_at,
            completed_at: state.completed_at,
            ticks: state.ticks,
            ..Outcome::default()
        };
        drop(state);
        if let Some(created) = &self.created {
            outcome.socket = created.id.load(Ordering::Relaxed);
            outcome.progress |= Progress::IS_SOCKET.0;
            let made = outcome.information != 0 && created.stage() != Stage::New;
            outcome.information = if made {
                u64::from(outcome.socket)
            } else {
                outcome.information.min(1)
            };
        }
        self.arguments.describe(&mut outcome);
        outcome
    }

    /// Keeps the pointer that the provider gave under a handle.
    fn keep_handle(&self, outcome: &Outcome) -> Option<u32> {
        if Output::from_u32(self.call.output) != Some(Output::Handle) {
            return None;
        }
        let succeeded = outcome.is(Progress::RETURNED)
            && if outcome.is(Progress::HAS_IRP) {
                outcome.status >= 0
            } else {
                outcome.returned >= 0
            };
        let pointer = self.arguments.output_pointer();
        Some(if succeeded && !pointer.is_null() {
            self.session.handles.keep(pointer)
        } else {
            0
        })
    }

    /// A socket that the call was to make but did not is forgotten with the request.
    pub(crate) fn forget_created(&self) {
        if let Some(created) = &self.created
            && created.stage() == Stage::New
        {
            self.session.sockets.remove(created.id.load(Ordering::Relaxed));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.irp.is_null() {
            // SAFETY: the last reference is gone, and one belongs to the IRP while it is in flight.
            unsafe { IoFreeIrp(self.irp) };
        }
    }
}

/// Completion routine of the probe's own IRPs.
unsafe extern "C" fn complete(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the address of a request that the session or the IRP keeps alive.
    let request = unsafe { Shared::<Request>::from_address(context) };
    // SAFETY: the provider has completed the IRP.
    let (status, information) = unsafe { irp::status(irp) };
    // SAFETY: the IRP is valid in its completion routine.
    let pending = unsafe { (*irp).PendingReturned } != 0;
    finish(&request, context, status, information, pending);
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Completion routine of an IRP that came from above: it goes on upwards.
unsafe extern "C" fn completed_below(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    // SAFETY: the context is the address of a request that the session or the IRP keeps alive.
    let request = unsafe { Shared::<Request>::from_address(context) };
    // SAFETY: the provider has completed the IRP.
    let (status, information) = unsafe { irp::status(irp) };
    // SAFETY: the IRP is valid in its completion routine.
    let pending = unsafe { (*irp).PendingReturned } != 0;
    if pending {
        // SAFETY: the current location is the driver's own.
        unsafe { irp::mark_pending(irp) };
    }
    finish(&request, context, status, information, pending);
    STATUS_SUCCESS
}

fn finish(request: &Shared<Request>, context: *mut c_void, status: NTSTATUS, information: usize, pending: bool) {
    if request.note_completion(status, information, pending) {
        request.session.in_flight.fetch_sub(1, Ordering::AcqRel);
        // SAFETY: the first completion ends the IRP's reference.
        drop(unsafe { Shared::<Request>::from_raw(context) });
    }
}

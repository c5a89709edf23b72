//! A request in an IRP of our own: the client's IRP waits, ours goes down, and its completion decides what the client is told.
//! IRQL <= `DISPATCH_LEVEL`.
//!
//! The IRP lies inside the block, so one allocation makes both, and close needs none: its block is part of the endpoint's memory
//! from the start. Who completes and who frees is [`wskguard_core::cancel`]'s to say.

mod settle;
mod spare;

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use wdk_rtl::{irp, nonpaged::NonpagedBox};
use wdk_sys::{IO_STACK_LOCATION, IRP, NTSTATUS, PIRP, STATUS_NOT_SUPPORTED, STATUS_PENDING, ntddk::IoInitializeIrp};
use wskguard_core::cancel::Handshake;

use self::settle::{abandoned, call_ended, cancelled_before, given_back, lower_completed, work_before};
pub use self::spare::Spares;
use crate::guard::TAG_REQUEST;
use crate::work::WorkItem;

/// An IRP with one stack location, as `IoSizeOfIrp(1)` measures it.
#[repr(C, align(16))]
struct OneLocationIrp {
    irp: MaybeUninit<IRP>,
    location: MaybeUninit<IO_STACK_LOCATION>,
}

const IRP_BYTES: u16 = {
    let bytes = size_of::<IRP>() + size_of::<IO_STACK_LOCATION>();
    assert!(bytes <= size_of::<OneLocationIrp>() && bytes < 0x200);
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    {
        bytes as u16
    }
};

/// What a completed lower request means to its endpoint. Runs once, at IRQL <= `DISPATCH_LEVEL`, before the client is told.
pub trait Finish {
    /// Takes the provider's answer and returns the client's, or says that it takes some work at `PASSIVE_LEVEL` first.
    fn finish(&mut self, status: NTSTATUS, information: usize) -> Told;
    /// That work. Returns the client's answer.
    fn work(&mut self, status: NTSTATUS, information: usize) -> (NTSTATUS, usize) {
        (status, information)
    }
    /// Of a request that [`Prepared::after_work`] deferred: does, at `PASSIVE_LEVEL`, what comes before the call, and launches.
    fn before_call(prepared: Prepared<Self>)
    where
        Self: Sized,
    {
        prepared.fail(STATUS_NOT_SUPPORTED);
    }
    /// The client has been told, and nothing of this request runs any more: end of the block, and of what it holds. Kinds whose blocks
    /// are part of something else, or are kept, end in their own way.
    ///
    /// # Safety
    /// The block is this request's, nobody else holds it, and nobody uses it afterwards.
    unsafe fn retire(block: NonNull<Request<Self>>)
    where
        Self: Sized,
    {
        // SAFETY: as the caller promises, it is moved out once.
        let finish = unsafe { Request::take(block) };
        // SAFETY: a pooled block, as the kinds whose blocks are not do this differently.
        unsafe { Request::free(block) };
        drop(finish);
    }
}

/// What the client is told, and when.
pub enum Told {
    /// At once.
    Now(NTSTATUS, usize),
    /// What [`Finish::work`] returns. Only of a request that succeeded, or whose call never returns a failure:
    /// one that returns so with this to do would be taken for a request whose IRP the provider left alone.
    AfterWork(WorkItem),
}

/// The block: our IRP, the client's, and what to do when ours completes.
#[repr(C)]
pub struct Request<F: Finish> {
    own: UnsafeCell<OneLocationIrp>,
    client: PIRP,
    handshake: Handshake,
    finish: UnsafeCell<MaybeUninit<F>>,
    work: UnsafeCell<Option<WorkItem>>,
}

/// A block that waits for its request.
pub struct Ready<F: Finish>(NonpagedBox<Request<F>, TAG_REQUEST>);

impl<F: Finish> Request<F> {
    /// A block without a request, to be embedded where memory must be there in advance.
    pub fn idle() -> Self {
        Self {
            own: UnsafeCell::new(OneLocationIrp {
                irp: MaybeUninit::uninit(),
                location: MaybeUninit::uninit(),
            }),
            client: core::ptr::null_mut(),
            handshake: Handshake::new(false),
            finish: UnsafeCell::new(MaybeUninit::uninit()),
            work: UnsafeCell::new(None),
        }
    }

    /// Allocates a block; `None` when there is no memory.
    pub fn allocate() -> Option<Ready<F>> {
        NonpagedBox::try_new(Self::idle()).ok().map(Ready)
    }

    /// Frees a block of [`Self::allocate`].
    ///
    /// # Safety
    /// It was allocated so and given to a request that is over; nobody uses it any more.
    pub unsafe fn free(block: NonNull<Self>) {
        // SAFETY: as the caller promises; `prepare` took it out of its box.
        drop(unsafe { NonpagedBox::<Self, TAG_REQUEST>::from_raw(block) });
    }

    /// What the block of a request that is over holds.
    ///
    /// # Safety
    /// Of one that nobody else holds, once.
    #[inline]
    pub unsafe fn take(block: NonNull<Self>) -> F {
        // SAFETY: `prepare` wrote it.
        unsafe { Self::kept(block).read() }
    }

    /// Where `finish` is.
    fn kept(this: NonNull<Self>) -> *mut F {
        // SAFETY: only an address inside the block is taken.
        UnsafeCell::raw_get(unsafe { &raw const (*this.as_ptr()).finish }).cast()
    }

    fn own_irp(this: NonNull<Self>) -> PIRP {
        // SAFETY: only an address inside the block is taken.
        unsafe { UnsafeCell::raw_get(&raw const (*this.as_ptr()).own) }.cast()
    }
}

impl<F: Finish> Ready<F> {
    /// Sends the request down: marks the client's IRP pending, lets `call` give our IRP to the provider, and returns what the
    /// client's call returns, which is `STATUS_PENDING`.
    ///
    /// # Safety
    /// `client` is the client's IRP, valid, owned by this call and with a stack location left. `call` passes the IRP it is given
    /// to one function of the provider and returns that function's status.
    pub unsafe fn send(self, client: PIRP, finish: F, call: impl FnOnce(PIRP) -> NTSTATUS) -> NTSTATUS {
        // SAFETY: as the caller promises.
        unsafe { self.send_with(client, writes(finish), |own, _| call(own)) }
    }

    /// As [`Self::send`], for a call that needs memory which lasts until the request completes: what `fill` writes into the block.
    ///
    /// # Safety
    /// As [`Self::send`]; `fill` writes the whole of it. The pointer may be used until the provider completes our IRP, and only by
    /// `call` and the provider.
    #[inline]
    pub unsafe fn send_with(
        self,
        client: PIRP,
        fill: impl FnOnce(*mut F),
        call: impl FnOnce(PIRP, *mut F) -> NTSTATUS,
    ) -> NTSTATUS {
        // SAFETY: as the caller promises.
        match unsafe { prepare_with(self.0.into_raw(), client, fill, true) } {
            // SAFETY: as the caller promises.
            Some(prepared) => unsafe { prepared.launch_inline(call) },
            None => STATUS_PENDING,
        }
    }

    /// The first half of [`Self::send`]: see [`prepare`].
    ///
    /// # Safety
    /// As [`prepare`].
    pub unsafe fn prepare(self, client: PIRP, finish: F) -> Option<Prepared<F>> {
        // SAFETY: as the caller promises; the block is ours alone.
        unsafe { prepare(self.0.into_raw(), client, finish, true) }
    }
}

/// A request whose client's IRP is marked pending, and which has not been given to the provider. Must be launched or failed.
#[must_use = "the client waits"]
pub struct Prepared<F: Finish>(NonNull<Request<F>>);

// SAFETY: the block may be launched by any thread.
unsafe impl<F: Finish + Send> Send for Prepared<F> {}

impl<F: Finish> Prepared<F> {
    /// Gives our IRP to the provider, after the client's call has returned.
    ///
    /// # Safety
    /// `call` passes the IRP it is given to one function of the provider and returns that function's status.
    pub unsafe fn launch(self, call: impl FnOnce(PIRP, *mut F) -> NTSTATUS) {
        let block = self.0;
        let status = call(Request::own_irp(block), Request::kept(block));
        // SAFETY: the CALL bit keeps the block.
        if !unsafe { call_ended(block, status < 0) } {
            // SAFETY: the provider gave our IRP back untouched.
            unsafe { abandoned(block, status) };
        }
    }

    /// Gives our IRP to the provider, inside the client's call. Returns what that call returns: `STATUS_PENDING`, or, where the
    /// provider fails the call and leaves the IRP alone, its status, with the client's IRP as it came.
    ///
    /// # Safety
    /// As [`Self::launch`], before the client's call returns.
    pub unsafe fn launch_inline(self, call: impl FnOnce(PIRP, *mut F) -> NTSTATUS) -> NTSTATUS {
        let block = self.0;
        let status = call(Request::own_irp(block), Request::kept(block));
        // SAFETY: the CALL bit keeps the block.
        if unsafe { call_ended(block, status < 0) } {
            STATUS_PENDING
        } else {
            // SAFETY: the provider gave our IRP back untouched, and the client's call has not returned.
            unsafe { given_back(block, status) }
        }
    }

    /// Has [`Finish::before_call`] launch it, at `PASSIVE_LEVEL`.
    pub fn after_work(self, work: WorkItem) {
        // SAFETY: the CALL bit keeps the block alive.
        let slot = unsafe { self.0.as_ref() }.work.get();
        // SAFETY: nobody else touches the field before our IRP completes.
        let kept = unsafe { &mut *slot }.insert(work);
        // SAFETY: the block is what the routine expects, and the CALL bit keeps it until the routine launches.
        unsafe { kept.queue(work_before::<F>, self.0.as_ptr().cast()) };
    }

    /// What [`Finish`] holds. Valid until the request is launched or failed.
    pub fn data(&self) -> *mut F {
        Request::kept(self.0)
    }

    /// Leaves it for [`Self::kept`].
    pub fn keep(self) {
        // Whoever calls `kept` owns the request from now on; nothing is to be dropped here.
        let Self(_) = self;
    }

    /// # Safety
    /// `block` was prepared and left by [`Self::keep`], and this is the only call for it.
    pub unsafe fn kept(block: NonNull<Request<F>>) -> Self {
        Self(block)
    }

    /// Tells the client `status`; the provider never hears of it.
    pub fn fail(self, status: NTSTATUS) {
        // SAFETY: our IRP was never sent.
        unsafe { abandoned(self.0, status) };
    }
}

/// Marks the client's IRP pending and readies ours. `None` when the client had cancelled before: its IRP is completed.
///
/// # Safety
/// `block` is idle and outlives the request; `client` is the client's IRP, valid, owned by this call and with a stack location left.
pub unsafe fn prepare<F: Finish>(
    block: NonNull<Request<F>>,
    client: PIRP,
    finish: F,
    cancellable: bool,
) -> Option<Prepared<F>> {
    // SAFETY: as the caller promises.
    unsafe { prepare_with(block, client, writes(finish), cancellable) }
}

/// Writes what is known already.
fn writes<F>(finish: F) -> impl FnOnce(*mut F) {
    // SAFETY: called with the place for it in a block that is nobody else's.
    move |kept| unsafe { kept.write(finish) }
}

/// As [`prepare`], with what `fill` writes.
///
/// # Safety
/// As [`prepare`]; `fill` writes the whole of it.
#[inline]
unsafe fn prepare_with<F: Finish>(
    block: NonNull<Request<F>>,
    client: PIRP,
    fill: impl FnOnce(*mut F),
    cancellable: bool,
) -> Option<Prepared<F>> {
    let own = Request::own_irp(block);
    {
        // SAFETY: nobody else knows the block yet.
        let request = unsafe { &mut *block.as_ptr() };
        request.client = client;
        request.handshake = Handshake::new(cancellable);
        fill(request.finish.get_mut().as_mut_ptr());
    }
    // SAFETY: the storage is one IRP with one stack location, as IRP_BYTES says.
    unsafe { IoInitializeIrp(own, IRP_BYTES, 1) };
    // SAFETY: our IRP is fresh and has its one location left; the block outlives it.
    unsafe { irp::set_completion_routine(own, lower_completed::<F>, block.as_ptr().cast()) };
    // SAFETY: the client's IRP is ours and has a location left.
    unsafe { irp::set_next_location(client) };
    // SAFETY: we own the location just entered.
    unsafe { irp::mark_pending(client) };
    // SAFETY: as above.
    if cancellable && unsafe { irp::is_cancelled(client) } {
        // SAFETY: our IRP goes nowhere.
        unsafe { cancelled_before(block) };
        return None;
    }
    Some(Prepared(block))
}

/// Completes a client's IRP without going down, as a refusal is: not marked pending, and the same status returned.
///
/// # Safety
/// `client` is NULL, or the client's IRP, owned by this call and with a stack location left.
pub unsafe fn complete_here(client: PIRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    if client.is_null() {
        return status;
    }
    // SAFETY: as the caller promises.
    unsafe { irp::set_next_location(client) };
    // SAFETY: as above.
    unsafe { irp::set_status(client, status, information) };
    // SAFETY: as above.
    unsafe { irp::complete(client, irp::IO_NO_INCREMENT) };
    status
}

//! What becomes of a request: our IRP's completion, the client's cancellation, and the end of the block, as
//! [`wskguard_core::cancel`] assigns them. IRQL <= `DISPATCH_LEVEL`.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, IRP, NTSTATUS, PIRP, STATUS_CANCELLED, STATUS_MORE_PROCESSING_REQUIRED,
    ntddk::{IoCancelIrp, IoReleaseCancelSpinLock},
};
use wskguard_core::{
    cancel::{Duty, Irps},
    counters::Counter,
};

use super::{Finish, Prepared, Request, Told};
use crate::guard::guard;
use crate::work::WorkItem;

/// Work item: what comes before the call. `PASSIVE_LEVEL`.
pub unsafe extern "C" fn work_before<F: Finish>(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    let Some(block) = NonNull::new(context.cast::<Request<F>>()) else {
        return;
    };
    // SAFETY: the CALL bit keeps the block alive.
    let slot = unsafe { block.as_ref() }.work.get();
    // SAFETY: `after_work` put it there; this routine is the only one to touch it now.
    drop(unsafe { &mut *slot }.take());
    F::before_call(Prepared(block));
}

/// The two IRPs of a block, for [`wskguard_core::cancel`].
///
/// # Invariants
/// Whoever has it holds the block, and with it both IRPs.
pub struct Pair<F: Finish>(NonNull<Request<F>>);

impl<F: Finish> Pair<F> {
    /// # Safety
    /// The caller's party holds the block until it has reported to the handshake.
    pub unsafe fn of(block: NonNull<Request<F>>) -> Self {
        Self(block)
    }

    fn client(&self) -> PIRP {
        // SAFETY: by the invariant.
        unsafe { self.0.as_ref() }.client
    }
}

impl<F: Finish> Irps for Pair<F> {
    fn install(&self) {
        // SAFETY: the client's IRP is ours, so its driver context is.
        unsafe { irp::set_driver_context(self.client(), self.0.as_ptr().cast()) };
        // SAFETY: the IRP is valid and ours.
        unsafe { irp::set_cancel_routine(self.client(), Some(cancel_requested::<F>)) };
    }

    fn take_back(&self) -> bool {
        // SAFETY: the client's IRP is valid as long as the block is held.
        unsafe { irp::set_cancel_routine(self.client(), None) }.is_some()
    }

    fn is_cancelled(&self) -> bool {
        // SAFETY: as above.
        unsafe { irp::is_cancelled(self.client()) }
    }

    fn cancel_ours(&self) {
        guard().count(Counter::Cancellations);
        // SAFETY: our IRP lies in the block.
        let _ = unsafe { IoCancelIrp(Request::own_irp(self.0)) };
    }
}

/// Our IRP is in nobody's hands: it is as if it had been completed with `status`.
pub unsafe fn abandoned<F: Finish>(block: NonNull<Request<F>>, status: NTSTATUS) {
    // SAFETY: ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), status, 0) };
    // SAFETY: as a completion routine would, with the CALL bit keeping the block alive.
    unsafe { settle(block) };
    // SAFETY: as above; the call is over and left nothing.
    unsafe { call_ended(block, false) };
}

/// The provider failed the call and left our IRP alone: so do we with the client's.
pub unsafe fn given_back<F: Finish>(block: NonNull<Request<F>>, status: NTSTATUS) -> NTSTATUS {
    guard().count(Counter::ProviderFailedUncompleted);
    // SAFETY: the block is ours alone.
    let client = unsafe { block.as_ref() }.client;
    // SAFETY: ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), status, 0) };
    // SAFETY: as a completion routine would. A failure takes no work.
    drop(unsafe { finish(block) });
    // SAFETY: `prepare` did those two, and nobody else has touched the IRP.
    unsafe { irp::give_back(client) };
    // SAFETY: nobody else holds the block.
    unsafe { F::retire(block) };
    status
}

/// Ends a request that the client had cancelled before the call.
pub unsafe fn cancelled_before<F: Finish>(block: NonNull<Request<F>>) {
    guard().count(Counter::CancelledBeforeCall);
    // SAFETY: our IRP was never sent, so it is ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), STATUS_CANCELLED, 0) };
    // SAFETY: no other party exists. A failure takes no work.
    drop(unsafe { finish(block) });
    // SAFETY: as above.
    unsafe { end(block) };
}

/// The lower call has returned; false when it `failed` and left our IRP alone: then the block is the caller's alone.
#[inline]
pub unsafe fn call_ended<F: Finish>(block: NonNull<Request<F>>, failed: bool) -> bool {
    // SAFETY: the CALL bit keeps the block.
    let (handshake, irps) = (&unsafe { block.as_ref() }.handshake, unsafe { Pair::of(block) });
    match handshake.returned(failed, &irps) {
        Duty::Abandoned => return false,
        // SAFETY: nobody else holds the block.
        Duty::End => unsafe { end(block) },
        Duty::Nothing => {}
    }
    true
}

pub unsafe extern "C" fn lower_completed<F: Finish>(
    _: *mut DEVICE_OBJECT,
    _: *mut IRP,
    context: *mut c_void,
) -> NTSTATUS {
    if let Some(block) = NonNull::new(context.cast::<Request<F>>()) {
        // SAFETY: the context is the block, which the LOWER bit keeps alive.
        unsafe { settle(block) };
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Our IRP has completed: lets the endpoint know, and gives the client its answer, now or after some work.
unsafe fn settle<F: Finish>(block: NonNull<Request<F>>) {
    // SAFETY: the LOWER bit keeps the block alive, and only this party finishes.
    if let Some(work) = unsafe { finish(block) } {
        // SAFETY: the LOWER bit keeps the block alive.
        let slot = unsafe { block.as_ref() }.work.get();
        // SAFETY: only this party touches the field.
        let kept = unsafe { &mut *slot }.insert(work);
        // SAFETY: the block is what the routine expects, and the LOWER bit keeps it until the routine concludes.
        unsafe { kept.queue(work_through::<F>, block.as_ptr().cast()) };
    } else {
        // SAFETY: as above.
        unsafe { conclude(block) };
    }
}

/// Work item: does what the answer needs, and concludes. `PASSIVE_LEVEL`.
unsafe extern "C" fn work_through<F: Finish>(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    let Some(block) = NonNull::new(context.cast::<Request<F>>()) else {
        return;
    };
    // SAFETY: the LOWER bit keeps the block alive.
    let slot = unsafe { block.as_ref() }.work.get();
    // SAFETY: `settle` put it there; this routine is the only one to touch it now.
    drop(unsafe { &mut *slot }.take());
    let own = Request::own_irp(block);
    // SAFETY: our IRP has completed.
    let (status, information) = unsafe { irp::status(own) };
    // SAFETY: the LOWER bit keeps the block, and nobody else finishes.
    let (status, information) = unsafe { &mut *Request::kept(block) }.work(status, information);
    // SAFETY: our IRP is ours again.
    unsafe { irp::set_status(own, status, information) };
    // SAFETY: as above.
    unsafe { conclude(block) };
}

/// The client's answer is in our IRP.
#[inline]
unsafe fn conclude<F: Finish>(block: NonNull<Request<F>>) {
    // SAFETY: the LOWER bit keeps the block.
    let (handshake, irps) = (&unsafe { block.as_ref() }.handshake, unsafe { Pair::of(block) });
    if handshake.completed(&irps) == Duty::End {
        // SAFETY: nobody else holds the block.
        unsafe { end(block) };
    }
}

unsafe extern "C" fn cancel_requested<F: Finish>(_: *mut DEVICE_OBJECT, client: *mut IRP) {
    // SAFETY: we are in the cancel routine of this IRP, whose driver context `arm` wrote.
    let block = unsafe { irp::driver_context(client) };
    // SAFETY: `IoCancelIrp` stored the IRQL to return to in the IRP.
    let irql = unsafe { (*client).CancelIrql };
    // SAFETY: cancel routines are entered with the lock held and release it.
    unsafe { IoReleaseCancelSpinLock(irql) };
    let Some(block) = NonNull::new(block.cast::<Request<F>>()) else {
        return;
    };
    // SAFETY: the CANCEL bit keeps the block.
    let (handshake, irps) = (&unsafe { block.as_ref() }.handshake, unsafe { Pair::of(block) });
    irps.cancel_ours();
    if handshake.cancelled() == Duty::End {
        // SAFETY: nobody else holds the block.
        unsafe { end(block) };
    }
}

/// Replaces the provider's answer in our IRP by the client's; what is returned has to be done first.
unsafe fn finish<F: Finish>(block: NonNull<Request<F>>) -> Option<WorkItem> {
    let own = Request::own_irp(block);
    // SAFETY: our IRP has completed or was never sent.
    let (status, information) = unsafe { irp::status(own) };
    // SAFETY: `prepare` wrote it, and the one party that settles the lower request is the only one to touch it until the block ends.
    let finish = unsafe { &mut *Request::kept(block) };
    match finish.finish(status, information) {
        Told::Now(status, information) => {
            // SAFETY: our IRP is ours again.
            unsafe { irp::set_status(own, status, information) };
            None
        }
        Told::AfterWork(work) => Some(work),
    }
}

/// Tells the client, and frees.
#[inline]
unsafe fn end<F: Finish>(block: NonNull<Request<F>>) {
    // SAFETY: our IRP holds the client's answer since `finish`.
    let (status, information) = unsafe { irp::status(Request::own_irp(block)) };
    // SAFETY: the block is the caller's alone.
    let client = unsafe { block.as_ref() }.client;
    // SAFETY: the client's IRP is ours to complete, once.
    unsafe { irp::set_status(client, status, information) };
    // SAFETY: as above.
    unsafe { irp::complete(client, irp::IO_NETWORK_INCREMENT) };
    // SAFETY: as above.
    unsafe { F::retire(block) };
}

//! What becomes of a request: our IRP's completion, the client's cancellation, and the end of the block, as
//! [`wskguard_core::cancel`] assigns them. IRQL <= `DISPATCH_LEVEL`.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_rtl::irp;
use wdk_sys::{
    DEVICE_OBJECT, IRP, NTSTATUS, PIRP, STATUS_CANCELLED, STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING,
    ntddk::{IoCancelIrp, IoReleaseCancelSpinLock},
};
use wskguard_core::{
    cancel::{CancelRoutine, Duty},
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

/// Our IRP is in nobody's hands: it is as if it had been completed with `status`.
pub unsafe fn abandoned<F: Finish>(block: NonNull<Request<F>>, status: NTSTATUS) {
    // SAFETY: ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), status, 0) };
    // SAFETY: as a completion routine would, with the CALL bit keeping the block alive.
    unsafe { settle(block) };
    // SAFETY: the CALL bit keeps the block alive.
    let duty = unsafe { block.as_ref() }.handshake.returned(true);
    // SAFETY: the duty was just given to us.
    unsafe { perform(block, duty) };
}

/// The provider failed the call and left our IRP alone: so do we with the client's, unless its cancel routine runs already.
pub unsafe fn given_back<F: Finish>(block: NonNull<Request<F>>, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: the CALL bit keeps the block alive.
    let request = unsafe { block.as_ref() };
    let (client, cancellable) = (request.client, request.cancellable);
    // SAFETY: the client's IRP stays until somebody is told to complete it.
    if cancellable && unsafe { irp::set_cancel_routine(client, None) }.is_none() {
        // SAFETY: as a completion would.
        unsafe { abandoned(block, status) };
        return STATUS_PENDING;
    }
    guard().count(Counter::ProviderFailedUncompleted);
    // SAFETY: ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), status, 0) };
    // SAFETY: as a completion routine would. A failure takes no work.
    drop(unsafe { finish(block) });
    // SAFETY: `prepare` did those two, and nobody else has touched the IRP.
    unsafe { irp::give_back(client) };
    // The client's IRP is settled: nobody is to complete it.
    let _ = request.handshake.completed(CancelRoutine::Cleared);
    let _ = request.handshake.client_completed();
    let duty = request.handshake.returned(true);
    // SAFETY: the duty was just given to us.
    unsafe { perform(block, duty) };
    status
}

/// Installs the cancel routine; false when the client's IRP had been cancelled before and is now completed so.
pub unsafe fn arm<F: Finish>(block: NonNull<Request<F>>, client: PIRP) -> bool {
    // SAFETY: the client's IRP is ours, so its driver context is.
    unsafe { irp::set_driver_context(client, block.as_ptr().cast()) };
    // SAFETY: the IRP is valid and ours.
    unsafe { irp::set_cancel_routine(client, Some(cancel_requested::<F>)) };
    // SAFETY: as above.
    if !unsafe { irp::is_cancelled(client) } {
        return true;
    }
    // SAFETY: as above. NULL: the routine runs or will run, and our IRP will be cancelled by it.
    if unsafe { irp::set_cancel_routine(client, None) }.is_none() {
        return true;
    }
    // SAFETY: our IRP was never sent, so it is ours to fill.
    unsafe { irp::set_status(Request::own_irp(block), STATUS_CANCELLED, 0) };
    // SAFETY: no other party exists: the routine was taken back and the lower call is not made. A failure takes no work.
    drop(unsafe { finish(block) });
    // SAFETY: as above.
    let duty = unsafe { block.as_ref() }.handshake.taken_back();
    // SAFETY: the duty was just given to us.
    unsafe { perform(block, duty) };
    false
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

/// The client's answer is in our IRP: gives it, unless the cancel routine still runs.
unsafe fn conclude<F: Finish>(block: NonNull<Request<F>>) {
    // SAFETY: the LOWER bit keeps the block alive.
    let request = unsafe { block.as_ref() };
    // SAFETY: the client's IRP stays until somebody is told to complete it.
    let routine = if request.cancellable && unsafe { irp::set_cancel_routine(request.client, None) }.is_some() {
        CancelRoutine::Cleared
    } else {
        CancelRoutine::Taken
    };
    let duty = request.handshake.completed(routine);
    // SAFETY: the duty was just given to us.
    unsafe { perform(block, duty) };
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
    // SAFETY: the CANCEL bit keeps the block, and our IRP in it, alive.
    let _ = unsafe { IoCancelIrp(Request::own_irp(block)) };
    // SAFETY: as above.
    let duty = unsafe { block.as_ref() }.handshake.cancelled();
    // SAFETY: the duty was just given to us.
    unsafe { perform(block, duty) };
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

pub unsafe fn perform<F: Finish>(block: NonNull<Request<F>>, duty: Duty) {
    match duty {
        Duty::Nothing | Duty::Abandoned => {}
        Duty::CompleteClient => {
            // SAFETY: we were told to complete it, and the CLIENT bit keeps the block alive meanwhile.
            unsafe { complete_client(block) };
            // SAFETY: as above.
            let duty = unsafe { block.as_ref() }.handshake.client_completed();
            if duty == Duty::Free {
                // SAFETY: nobody else holds the block.
                unsafe { F::retire(block) };
            }
        }
        Duty::CompleteClientAndFree => {
            // SAFETY: we were told to, and nobody else holds the block.
            unsafe { complete_client(block) };
            // SAFETY: as above.
            unsafe { F::retire(block) };
        }
        // SAFETY: nobody else holds the block.
        Duty::Free => unsafe { F::retire(block) },
    }
}

unsafe fn complete_client<F: Finish>(block: NonNull<Request<F>>) {
    // SAFETY: our IRP holds the client's answer since `finish`.
    let (status, information) = unsafe { irp::status(Request::own_irp(block)) };
    // SAFETY: the block is alive.
    let client = unsafe { block.as_ref() }.client;
    // SAFETY: the client's IRP is ours to complete, once.
    unsafe { irp::set_status(client, status, information) };
    // SAFETY: as above.
    unsafe { irp::complete(client, irp::IO_NETWORK_INCREMENT) };
}

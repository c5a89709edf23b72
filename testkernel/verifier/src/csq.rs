//! Cancel-safe queues: the framework around a driver's own insert, remove, peek, lock and complete routines. IRQL <= DISPATCH_LEVEL.
//!
//! The IRP's `DriverContext[3]` points to its queue, or to its context when it was queued with one; NULL means that the IRP was taken out.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

use wdk_rtl::irp as inline;
use wdk_sys::{
    DEVICE_OBJECT, IO_CSQ, IO_CSQ_IRP_CONTEXT, IRP, NTSTATUS, PIO_CSQ_ACQUIRE_LOCK, PIO_CSQ_COMPLETE_CANCELED_IRP,
    PIO_CSQ_INSERT_IRP, PIO_CSQ_INSERT_IRP_EX, PIO_CSQ_PEEK_NEXT_IRP, PIO_CSQ_RELEASE_LOCK, PIO_CSQ_REMOVE_IRP,
    STATUS_SUCCESS,
};

use crate::exports::exports;

const TYPE_QUEUE: u32 = 1;
const TYPE_CONTEXT: u32 = 2;
const TYPE_QUEUE_EX: u32 = 3;

unsafe fn slot<'a>(irp: *mut IRP) -> &'a AtomicPtr<c_void> {
    // SAFETY: the fourth word of the driver context, which the framework owns while the IRP is queued.
    unsafe { AtomicPtr::from_ptr(crate::irp::driver_context(irp, 3)) }
}

unsafe fn lock(queue: *mut IO_CSQ) -> u8 {
    let mut irql = 0;
    // SAFETY: the driver's queue with the driver's routine.
    unsafe {
        if let Some(acquire) = (*queue).CsqAcquireLock {
            acquire(queue, &raw mut irql);
        }
    }
    irql
}

unsafe fn unlock(queue: *mut IO_CSQ, irql: u8) {
    // SAFETY: as above.
    unsafe {
        if let Some(release) = (*queue).CsqReleaseLock {
            release(queue, irql);
        }
    }
}

unsafe fn take_out(queue: *mut IO_CSQ, irp: *mut IRP) {
    // SAFETY: as above; the queue's lock is held.
    unsafe {
        if let Some(remove) = (*queue).CsqRemoveIrp {
            remove(queue, irp);
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe fn set_up(
    queue: *mut IO_CSQ,
    kind: u32,
    insert: PIO_CSQ_INSERT_IRP,
    remove: PIO_CSQ_REMOVE_IRP,
    peek: PIO_CSQ_PEEK_NEXT_IRP,
    acquire: PIO_CSQ_ACQUIRE_LOCK,
    release: PIO_CSQ_RELEASE_LOCK,
    complete: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS {
    let value = IO_CSQ {
        Type: kind,
        CsqInsertIrp: insert,
        CsqRemoveIrp: remove,
        CsqPeekNextIrp: peek,
        CsqAcquireLock: acquire,
        CsqReleaseLock: release,
        CsqCompleteCanceledIrp: complete,
        ReservePointer: core::ptr::null_mut(),
    };
    // SAFETY: the driver's storage.
    unsafe { queue.write(value) };
    STATUS_SUCCESS
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn initialize(
    queue: *mut IO_CSQ,
    insert: PIO_CSQ_INSERT_IRP,
    remove: PIO_CSQ_REMOVE_IRP,
    peek: PIO_CSQ_PEEK_NEXT_IRP,
    acquire: PIO_CSQ_ACQUIRE_LOCK,
    release: PIO_CSQ_RELEASE_LOCK,
    complete: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS {
    // SAFETY: the driver's storage.
    unsafe { set_up(queue, TYPE_QUEUE, insert, remove, peek, acquire, release, complete) }
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn initialize_ex(
    queue: *mut IO_CSQ,
    insert: PIO_CSQ_INSERT_IRP_EX,
    remove: PIO_CSQ_REMOVE_IRP,
    peek: PIO_CSQ_PEEK_NEXT_IRP,
    acquire: PIO_CSQ_ACQUIRE_LOCK,
    release: PIO_CSQ_RELEASE_LOCK,
    complete: PIO_CSQ_COMPLETE_CANCELED_IRP,
) -> NTSTATUS {
    // SAFETY: the type says which of the two the routine is.
    let insert = unsafe { core::mem::transmute::<PIO_CSQ_INSERT_IRP_EX, PIO_CSQ_INSERT_IRP>(insert) };
    // SAFETY: the driver's storage.
    unsafe { set_up(queue, TYPE_QUEUE_EX, insert, remove, peek, acquire, release, complete) }
}

unsafe extern "C" fn cancelled(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: called with the cancel spin lock held, for an IRP that was in a queue when its cancel routine was set.
    unsafe {
        crate::cancel::release((*irp).CancelIrql);
        let held = slot(irp).load(Ordering::Acquire);
        if held.is_null() {
            return;
        }
        let is_context = held.cast::<u32>().read() == TYPE_CONTEXT;
        let queue: *mut IO_CSQ = if is_context {
            (*held.cast::<IO_CSQ_IRP_CONTEXT>()).Csq
        } else {
            held.cast()
        };
        let irql = lock(queue);
        take_out(queue, irp);
        if is_context {
            (*held.cast::<IO_CSQ_IRP_CONTEXT>()).Irp = core::ptr::null_mut();
        }
        slot(irp).store(core::ptr::null_mut(), Ordering::Release);
        unlock(queue, irql);
        if let Some(complete) = (*queue).CsqCompleteCanceledIrp {
            complete(queue, irp);
        }
    }
}

/// Whether the IRP is the caller's: its cancel routine was still set, and now is not.
unsafe fn claim(irp: *mut IRP) -> bool {
    // SAFETY: an IRP in a queue whose lock is held.
    unsafe { inline::set_cancel_routine(irp, None) }.is_some()
}

unsafe extern "system" fn insert_ex(
    queue: *mut IO_CSQ,
    irp: *mut IRP,
    context: *mut IO_CSQ_IRP_CONTEXT,
    argument: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the driver's queue, and an IRP that it owns.
    unsafe {
        let held: *mut c_void = if context.is_null() {
            queue.cast()
        } else {
            context.write(IO_CSQ_IRP_CONTEXT {
                Type: TYPE_CONTEXT,
                Irp: irp,
                Csq: queue,
            });
            context.cast()
        };
        let irql = lock(queue);
        slot(irp).store(held, Ordering::Release);
        let status = match (*queue).CsqInsertIrp {
            Some(insert) if (*queue).Type == TYPE_QUEUE_EX => {
                type Ex = unsafe extern "C" fn(*mut IO_CSQ, *mut IRP, *mut c_void) -> NTSTATUS;
                core::mem::transmute::<unsafe extern "C" fn(*mut IO_CSQ, *mut IRP), Ex>(insert)(queue, irp, argument)
            }
            Some(insert) => {
                insert(queue, irp);
                STATUS_SUCCESS
            }
            None => STATUS_SUCCESS,
        };
        if status < 0 {
            slot(irp).store(core::ptr::null_mut(), Ordering::Release);
            unlock(queue, irql);
            return status;
        }
        inline::mark_pending(irp);
        inline::set_cancel_routine(irp, Some(cancelled));
        let lost = inline::is_cancelled(irp) && claim(irp);
        if lost {
            take_out(queue, irp);
            slot(irp).store(core::ptr::null_mut(), Ordering::Release);
            if !context.is_null() {
                (*context).Irp = core::ptr::null_mut();
            }
        }
        unlock(queue, irql);
        if lost && let Some(complete) = (*queue).CsqCompleteCanceledIrp {
            complete(queue, irp);
        }
        status
    }
}

unsafe extern "system" fn insert(queue: *mut IO_CSQ, irp: *mut IRP, context: *mut IO_CSQ_IRP_CONTEXT) {
    // SAFETY: the driver's queue and IRP.
    unsafe { insert_ex(queue, irp, context, core::ptr::null_mut()) };
}

unsafe extern "system" fn remove_next(queue: *mut IO_CSQ, argument: *mut c_void) -> *mut IRP {
    // SAFETY: the driver's queue; its routines say which IRPs are in it.
    unsafe {
        let Some(peek) = (*queue).CsqPeekNextIrp else {
            return core::ptr::null_mut();
        };
        let irql = lock(queue);
        let mut irp = peek(queue, core::ptr::null_mut(), argument);
        while !irp.is_null() && !claim(irp) {
            irp = peek(queue, irp, argument);
        }
        if !irp.is_null() {
            take_out(queue, irp);
            let held = slot(irp).swap(core::ptr::null_mut(), Ordering::AcqRel);
            if !held.is_null() && held.cast::<u32>().read() == TYPE_CONTEXT {
                (*held.cast::<IO_CSQ_IRP_CONTEXT>()).Irp = core::ptr::null_mut();
            }
        }
        unlock(queue, irql);
        irp
    }
}

unsafe extern "system" fn remove(queue: *mut IO_CSQ, context: *mut IO_CSQ_IRP_CONTEXT) -> *mut IRP {
    // SAFETY: the driver's queue, and a context that an IRP was queued with.
    unsafe {
        let irql = lock(queue);
        let mut irp = (*context).Irp;
        if !irp.is_null() {
            if claim(irp) {
                take_out(queue, irp);
                (*context).Irp = core::ptr::null_mut();
                slot(irp).store(core::ptr::null_mut(), Ordering::Release);
            } else {
                irp = core::ptr::null_mut();
            }
        }
        unlock(queue, irql);
        irp
    }
}

exports! {
    IoCsqInitialize => initialize,
    IoCsqInitializeEx => initialize_ex,
    IoCsqInsertIrp => insert,
    IoCsqInsertIrpEx => insert_ex,
    IoCsqRemoveNextIrp => remove_next,
    IoCsqRemoveIrp => remove,
}

//! Calls from the kernel into a driver: at which IRQL they are made, and what they must leave behind as they found it.

use crate::guard;
use crate::stop::{self, Code};
use crate::thread;

/// Calls a driver's routine at an IRQL, and checks that it returns at the same one and without a spin lock more. `None` if a fault ended it.
pub(crate) fn run<R>(what: &str, routine: usize, irql: u8, dpc: bool, body: impl FnOnce() -> R) -> Option<R> {
    let thread = thread::current();
    let locks = thread.held_count();
    thread::at(irql, dpc, || {
        let result = guard::run(body);
        check(what, routine, irql, locks);
        result
    })
}

/// Calls a driver's routine at the present IRQL, with the same checks.
pub(crate) fn run_here<R>(what: &str, routine: usize, body: impl FnOnce() -> R) -> Option<R> {
    let thread = thread::current();
    run(what, routine, thread.irql.get(), thread.dpc.get(), body)
}

/// Checks what a driver's routine left behind: it was called at this IRQL with this many spin locks held.
pub(crate) fn check(what: &str, routine: usize, irql: u8, locks: usize) {
    let thread = thread::current();
    if thread.irql.get() != irql {
        let now = usize::from(thread.irql.get());
        stop::report_of(
            Code::IrqlChangedByCallback,
            [routine, usize::from(irql), now, 0],
            what.as_bytes(),
            routine,
        );
    }
    if thread.held_count() > locks {
        let lock = thread.innermost().map_or(0, |held| held.lock);
        stop::report_of(
            Code::SpinLockHeldByCallback,
            [routine, lock, 0, 0],
            what.as_bytes(),
            routine,
        );
        thread.forget_locks(locks);
    }
}

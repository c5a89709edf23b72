//! The virtual IRQL: a number kept for each thread. Raising it keeps nothing else from running, as on a machine with many processors.

use crate::exports::exports;
use crate::stop::{self, Code};
use crate::thread::{self, DISPATCH, HIGH};

unsafe extern "system" fn current() -> u8 {
    thread::current().irql.get()
}

/// Raises, and says what it was.
pub(crate) fn raise(irql: u8) -> u8 {
    let thread = thread::current();
    let old = thread.irql.get();
    if irql < old || irql > HIGH {
        stop::report(Code::IrqlRaiseToLower, [usize::from(old), usize::from(irql), 0, 0]);
        return old;
    }
    thread.irql.replace(irql)
}

/// Lowers.
pub(crate) fn lower(irql: u8) {
    let thread = thread::current();
    let old = thread.irql.get();
    if irql > old {
        stop::report(Code::IrqlLowerToHigher, [usize::from(old), usize::from(irql), 0, 0]);
        return;
    }
    if irql < DISPATCH && thread.held_count() != 0 {
        let lock = thread.innermost().map_or(0, |held| held.lock);
        stop::report(
            Code::IrqlLoweredWithLock,
            [usize::from(old), usize::from(irql), lock, 0],
        );
    }
    thread.irql.set(irql);
}

unsafe extern "system" fn raise_irql(irql: u8) -> u8 {
    raise(irql)
}

unsafe extern "system" fn raise_to_dispatch() -> u8 {
    raise(DISPATCH)
}

unsafe extern "system" fn lower_irql(irql: u8) {
    lower(irql);
}

unsafe extern "system" fn is_executing_dpc() -> u32 {
    u32::from(thread::current().dpc.get())
}

unsafe extern "system" fn are_apcs_disabled() -> u8 {
    u8::from(thread::current().irql.get() >= thread::APC)
}

exports! {
    KeGetCurrentIrql => current,
    KfRaiseIrql => raise_irql,
    KfLowerIrql => lower_irql,
    KeRaiseIrqlToDpcLevel => raise_to_dispatch,
    KeLowerIrql => lower_irql,
    KeIsExecutingDpc => is_executing_dpc,
    KeAreAllApcsDisabled => are_apcs_disabled,
}

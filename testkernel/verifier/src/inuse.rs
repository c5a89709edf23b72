//! Memory that is freed while the kernel still works with something in it: an IRP that is under way, a spin lock that is held, a DPC that is
//! queued, a timer that is set, a work item, a look-aside list. IRQL <= DISPATCH_LEVEL.

use crate::stop::{self, Code};
use crate::{dpc, irptable, lookaside, thread, timer, work};

/// Looks at a block that is about to be freed.
pub(crate) fn check(block: usize, size: usize) {
    let inside = |address: usize| address.wrapping_sub(block) < size;
    let report = |address: usize, what: &str| {
        stop::report_about(Code::PoolFreedInUse, [block, address, size, 0], what.as_bytes());
    };
    thread::current().for_each_held(|held| {
        if inside(held.lock) {
            stop::report(Code::SpinLockFreedHeld, [block, held.lock, 0, 0]);
        }
    });
    dpc::queued(|dpc, _| {
        if inside(dpc.addr()) {
            report(dpc.addr(), "queued DPC");
        }
    });
    timer::running(|timer, _| {
        if inside(timer) {
            report(timer, "timer that is set");
        }
    });
    work::for_each(|item, _, queued| {
        if inside(item) {
            report(item, if queued { "queued work item" } else { "work item" });
        }
    });
    lookaside::for_each(|list, _| {
        if inside(list) {
            report(list, "look-aside list");
        }
    });
    irptable::freed(block, size);
}

//! What a driver must not leave behind, looked for when its DriverUnload has returned, or its DriverEntry has failed, while its image is
//! still there. `PASSIVE_LEVEL`.
//!
//! What could still call the driver is taken out of its queue, so that the session survives the report.

extern crate alloc;

use alloc::vec::Vec;

use probe_protocol::verifier::flags;
use wdk_sys::DRIVER_OBJECT;

use crate::driver;
use crate::irptable::{self, Origin};
use crate::modules;
use crate::objects;
use crate::stop::{self, Code, Stack};
use crate::{bugcheck, dpc, etw, lookaside, pcw, pool, settings, timer, user, work};

/// Most blocks that are reported one by one.
const MOST: usize = 16;

struct Leaver {
    base: usize,
    size: usize,
}

impl Leaver {
    fn owns(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.size
    }

    /// Whether the driver's own code did it: the innermost frame, or the innermost of a driver.
    fn made(&self, stack: &Stack) -> bool {
        stack.first().is_some_and(|&address| self.owns(address))
    }
}

/// Reports with a call stack of one place.
fn report(code: Code, parameters: [usize; 4], owner: usize, subject: &[u8]) {
    let mut stack: Stack = [0; _];
    let [first, ..] = &mut stack;
    *first = owner;
    stop::report_at(code, parameters, subject, &stack);
}

/// Looks for what a driver that has been unloaded, or has failed to start, left behind.
pub(crate) fn check(object: *mut DRIVER_OBJECT) {
    let Some(known) = driver::find(object).filter(|known| known.target) else {
        return;
    };
    let Some(module) = modules::find(known.base) else {
        return;
    };
    let leaver = Leaver {
        base: module.base,
        size: module.size,
    };
    // Threads that are about to end, and work items that have just run, are given a moment.
    settle(&leaver, 50);
    if settings::has(flags::OBJECTS) {
        objects_left(&leaver, object);
    }
    if settings::has(flags::IRP) {
        irps_left(&leaver, object);
    }
    if settings::has(flags::POOL_TRACKING) {
        blocks_left(&leaver);
    }
    // What still runs in the driver would run on in an image that is gone.
    settle(&leaver, 1_000);
}

/// Waits until no thread or work item of the driver is under way, for so many times ten milliseconds.
fn settle(leaver: &Leaver, times: u32) {
    for _ in 0..times {
        let mut busy = false;
        objects::threads(|_, routine| busy |= leaver.owns(routine));
        work::for_each(|_, owner, queued| busy |= queued && leaver.owns(owner));
        if !busy {
            return;
        }
        // SAFETY: no preconditions.
        unsafe { user::Sleep(10) };
    }
}

fn objects_left(leaver: &Leaver, object: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object exists until Wine frees it, which comes later, and its devices are those that were not deleted. They
    // are deleted here, or the driver could not be loaded again.
    unsafe {
        while !(*object).DeviceObject.is_null() {
            let device = (*object).DeviceObject;
            report(Code::DeviceLeft, [device.addr(), 0, 0, 0], leaver.base, b"");
            wdk_sys::ntddk::IoDeleteDevice(device);
            if (*object).DeviceObject == device {
                break;
            }
        }
    }
    objects::links(|name, owner| {
        if leaver.owns(owner) {
            let name: Vec<u8> = name.iter().map(|&unit| u8::try_from(unit).unwrap_or(b'?')).collect();
            report(Code::SymbolicLinkLeft, [0; 4], owner, &name);
        }
    });
    objects::delete_links(|owner| leaver.owns(owner));
    objects::handles(|handle, owner| {
        if leaver.owns(owner) {
            report(Code::HandleLeft, [handle, 0, 0, 0], owner, b"");
        }
    });
    objects::forget_handles(|owner| leaver.owns(owner));
    objects::threads(|id, routine| {
        if leaver.owns(routine) {
            report(Code::ThreadLeft, [routine, id as usize, 0, 0], routine, b"");
        }
    });
    timer::running(|timer, routine| {
        if leaver.owns(routine) {
            report(Code::TimerLeft, [timer, routine, 0, 0], routine, b"");
        }
    });
    timer::disarm(|routine| leaver.owns(routine));
    dpc::queued(|dpc, routine| {
        if leaver.owns(routine) {
            report(Code::DpcLeft, [dpc.addr(), routine, 0, 0], routine, b"");
        }
    });
    dpc::purge(|routine| leaver.owns(routine));
    work::for_each(|item, owner, queued| {
        if leaver.owns(owner) {
            report(
                Code::WorkItemLeft,
                [item, usize::from(queued), 0, 0],
                owner,
                b"at unload",
            );
        }
    });
    work::forget(|owner| leaver.owns(owner));
    let left = |code, what: usize, owner: usize, subject: &[u8]| {
        if leaver.owns(owner) {
            report(code, [what, 0, 0, 0], owner, subject);
        }
    };
    lookaside::for_each(|list, owner| left(Code::LookasideLeft, list, owner, b""));
    #[allow(clippy::cast_possible_truncation, reason = "a small number")]
    etw::for_each(|handle, owner| left(Code::RegistrationLeft, handle as usize, owner, b"ETW"));
    pcw::for_each(|handle, owner| left(Code::RegistrationLeft, handle, owner, b"PCW"));
    bugcheck::for_each(|record, owner| left(Code::CallbackLeft, record, owner, b"bug check"));
    lookaside::forget(|owner| leaver.owns(owner));
    etw::forget(|owner| leaver.owns(owner));
    pcw::forget(|owner| leaver.owns(owner));
    bugcheck::forget(|owner| leaver.owns(owner));
}

fn irps_left(leaver: &Leaver, object: *mut DRIVER_OBJECT) {
    irptable::for_each(|irp, origin, made, _| {
        if origin != Origin::User && leaver.made(made) {
            stop::report_at(Code::IrpForgotten, [irp, 0, 0, 0], b"not freed", made);
        }
    });
    irptable::forget(|origin, made| origin != Origin::User && leaver.made(made));
    crate::request::held_by(object, |irp, major| {
        report(
            Code::IrpForgotten,
            [irp.addr(), usize::from(major), 0, 0],
            leaver.base,
            b"not completed",
        );
    });
}

fn blocks_left(leaver: &Leaver) {
    let mut left: Vec<(usize, usize, u32, Stack)> = Vec::new();
    pool::owned(|address, size, tag, owner| {
        if leaver.made(owner) {
            left.push((address, size, tag, *owner));
        }
    });
    for (address, size, tag, owner) in left.iter().take(MOST) {
        stop::report_at(
            Code::PoolLeak,
            [*address, *size, *tag as usize, left.len()],
            &tag.to_le_bytes(),
            owner,
        );
    }
    for (address, ..) in left {
        pool::disown(address);
    }
}

//! Work items, on threads of Wine's pool at PASSIVE_LEVEL. IRQL <= DISPATCH_LEVEL for queueing.
//!
//! The objects are ours; only the threads are Wine's: each queued item rides on one of Wine's work items.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ffi::c_void;

use wdk_sys::{DEVICE_OBJECT, PIO_WORKITEM};

use crate::callback;
use crate::exports::exports;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::thread::PASSIVE;

type Simple = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut c_void);
type Extended = unsafe extern "C" fn(*mut c_void, *mut c_void, PIO_WORKITEM);

#[derive(Clone, Copy)]
enum Routine {
    Simple(Simple),
    Extended(Extended),
}

impl Routine {
    fn address(self) -> usize {
        match self {
            Self::Simple(routine) => routine as usize,
            Self::Extended(routine) => routine as usize,
        }
    }
}

/// A work item as the driver sees it: memory of this size, with nothing of interest in it.
const SIZE: u32 = 64;

#[derive(Clone, Copy)]
struct Item {
    object: *mut DEVICE_OBJECT,
    queued: Option<(Routine, *mut c_void)>,
    owner: usize,
}

// SAFETY: an entry of the table below.
unsafe impl Send for Item {}

static ITEMS: Lock<BTreeMap<usize, Item>> = Lock::new(BTreeMap::new());

struct Ride {
    item: PIO_WORKITEM,
    wine: PIO_WORKITEM,
}

fn note(item: PIO_WORKITEM, object: *mut DEVICE_OBJECT) {
    let owner = stop::caller();
    ITEMS.lock().insert(
        item.addr(),
        Item {
            object,
            queued: None,
            owner,
        },
    );
}

unsafe extern "system" fn allocate(device: *mut DEVICE_OBJECT) -> PIO_WORKITEM {
    let item: PIO_WORKITEM = crate::pool::allocate(
        crate::pool::Kind::NonPaged,
        SIZE as usize,
        u32::from_le_bytes(*b"IoWk"),
        false,
    )
    .cast();
    if !item.is_null() {
        note(item, device);
    }
    item
}

fn remove(item: PIO_WORKITEM) {
    match ITEMS.lock().remove(&item.addr()) {
        Some(Item { queued: Some(_), .. }) => stop::report(Code::WorkItemLeft, [item.addr(), 1, 0, 0]),
        Some(_) => {}
        None => stop::report(Code::PoolBadFree, [item.addr(), 0, 0, 0]),
    }
}

unsafe extern "system" fn free(item: PIO_WORKITEM) {
    remove(item);
    // SAFETY: it came from `allocate`.
    unsafe { crate::pool::free(item.cast(), 0) };
}

unsafe extern "system" fn size() -> u32 {
    SIZE
}

unsafe extern "system" fn initialize(object: *mut c_void, item: PIO_WORKITEM) {
    note(item, object.cast());
}

unsafe extern "system" fn uninitialize(item: PIO_WORKITEM) {
    remove(item);
}

unsafe extern "C" fn ride(_device: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: boxed by `queue`, and this runs once.
    let ride = unsafe { Box::from_raw(context.cast::<Ride>()) };
    // SAFETY: Wine's item, which has served.
    unsafe { wdk_sys::ntddk::IoFreeWorkItem(ride.wine) };
    // From here on the driver may queue or free its item again.
    let Some((object, routine, context)) = ITEMS.lock().get_mut(&ride.item.addr()).and_then(|item| {
        let (routine, context) = item.queued.take()?;
        Some((item.object, routine, context))
    }) else {
        return;
    };
    callback::run("work item", routine.address(), PASSIVE, false, || {
        // SAFETY: the routine and the context that the driver gave.
        unsafe {
            match routine {
                Routine::Simple(routine) => routine(object, context),
                Routine::Extended(routine) => routine(object.cast(), context, ride.item),
            }
        }
    });
}

/// Queues; false if the item is queued already.
fn queue(item: PIO_WORKITEM, routine: Routine, context: *mut c_void) -> bool {
    let object = {
        let mut items = ITEMS.lock();
        match items.get_mut(&item.addr()) {
            Some(entry) if entry.queued.is_none() => {
                entry.queued = Some((routine, context));
                entry.object
            }
            Some(_) => return false,
            None => core::ptr::null_mut(),
        }
    };
    if object.is_null() {
        stop::report_about(Code::PoolUseAfterFree, [item.addr(), 0, 0, 0], b"work item");
        return false;
    }
    // SAFETY: a device that exists, as the driver promised; Wine holds a reference while the item is queued. A driver object in its
    // place would do as well, for Wine only counts references on it.
    unsafe {
        let wine = wdk_sys::ntddk::IoAllocateWorkItem(object);
        let ride_on = Box::into_raw(Box::new(Ride { item, wine }));
        wdk_sys::ntddk::IoQueueWorkItem(wine, Some(ride), 1, ride_on.cast());
    }
    true
}

fn queue_or_report(item: PIO_WORKITEM, routine: Routine, context: *mut c_void) {
    if !queue(item, routine, context) {
        stop::report_about(Code::WorkItemLeft, [item.addr(), 1, 0, 0], b"queued twice");
    }
}

unsafe extern "system" fn queue_simple(item: PIO_WORKITEM, routine: Simple, _queue: i32, context: *mut c_void) {
    queue_or_report(item, Routine::Simple(routine), context);
}

unsafe extern "system" fn queue_extended(item: PIO_WORKITEM, routine: Extended, _queue: i32, context: *mut c_void) {
    queue_or_report(item, Routine::Extended(routine), context);
}

unsafe extern "system" fn try_queue(item: PIO_WORKITEM, routine: Extended, _queue: i32, context: *mut c_void) -> u8 {
    u8::from(queue(item, Routine::Extended(routine), context))
}

/// Work items that exist: item, where it was made, whether it is queued.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize, bool)) {
    let items = ITEMS.lock().clone();
    for (item, entry) in items {
        visit(item, entry.owner, entry.queued.is_some());
    }
}

/// Forgets the items of an owner that is chosen: they have been reported, and are not to run any more.
pub(crate) fn forget(mut chosen: impl FnMut(usize) -> bool) {
    ITEMS.lock().retain(|_, item| !chosen(item.owner));
}

exports! {
    IoAllocateWorkItem => allocate,
    IoFreeWorkItem => free,
    IoSizeofWorkItem => size,
    IoInitializeWorkItem => initialize,
    IoUninitializeWorkItem => uninitialize,
    IoQueueWorkItem => queue_simple,
    IoQueueWorkItemEx => queue_extended,
    IoTryQueueWorkItem => try_queue,
}

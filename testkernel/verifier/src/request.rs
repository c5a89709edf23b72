//! Requests of user programs. What Wine's I/O manager sends becomes an IRP of ours, which is what the driver sees; when that is
//! completed, its result goes into Wine's and that one is completed. So the driver's IRP has the life it has on Windows, and what Wine
//! leaves out is added here: the create status counts, the device's DACL counts, IRP_MJ_CLEANUP comes before IRP_MJ_CLOSE, and close
//! waits for the requests of its file. Called at `PASSIVE_LEVEL` on the thread that speaks with the server; completion at IRQL <= DISPATCH_LEVEL.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use probe_protocol::verifier::{QUERY_CREATE, flags};
use wdk_rtl::irp as inline;
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, MDL, NTSTATUS, SL_PENDING_RETURNED, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_NO_SUCH_DEVICE, STATUS_PENDING, STATUS_SUCCESS,
};

use crate::cancel;
use crate::driver;
use crate::exports;
use crate::inside;
use crate::irp;
use crate::irptable::{self, Origin};
use crate::pool;
use crate::security;
use crate::server;
use crate::settings;
use crate::stop::{self, Code};
use crate::sync::Lock;
use crate::time;
use crate::user;

const IRP_MJ_CREATE: u8 = 0;
const IRP_MJ_CLOSE: u8 = 2;
const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
const IRP_MJ_CLEANUP: u8 = 0x12;
const METHOD_BUFFERED: u32 = 0;
const TAG: u32 = u32::from_le_bytes(*b"IoSb");
/// How long, in milliseconds, it may take until Wine's server knows that a request pends.
const TOLD_AFTER: u64 = 20;
/// How long, in milliseconds, a close waits for the requests of its file.
const CLOSE_PATIENCE: u64 = 5_000;

/// An open file.
#[derive(Clone, Copy)]
struct File {
    /// What its create request came to; `None` until it is completed.
    created: Option<NTSTATUS>,
    /// Requests that the driver has.
    requests: usize,
    /// Its device's driver.
    driver: usize,
}

/// A request under way.
struct Request {
    wine: *mut IRP,
    irp: *mut IRP,
    file: usize,
    major: u8,
    /// When it came, on which thread, and which of the requests it was.
    came: (u64, u32, usize),
    /// The system buffer that the driver sees, and its size.
    buffer: *mut u8,
    room: usize,
}

// SAFETY: the pointers are the request's own, or Wine's, and are used by one thread at a time.
unsafe impl Send for Request {}

static FILES: Lock<BTreeMap<usize, File>> = Lock::new(BTreeMap::new());
/// Requests by the address of their IRP of ours.
static REQUESTS: Lock<BTreeMap<usize, Box<Request>>> = Lock::new(BTreeMap::new());
/// Ours by Wine's.
static IRPS: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());
/// Changes whenever a request ends.
static CHANGES: AtomicUsize = AtomicUsize::new(0);

/// Counts what Wine sends. That it sends another request means that its server was told how the one before went.
static SENT: AtomicUsize = AtomicUsize::new(0);

/// The IRP that the driver has for a request of Wine's.
pub(crate) fn irp_of(wine: usize) -> Option<*mut IRP> {
    IRPS.lock()
        .get(&wine)
        .map(|&irp| core::ptr::with_exposed_provenance_mut(irp))
}

/// Calls `body` with the IRP that the driver has for a request of Wine's, if it has one.
pub(crate) fn with_irp_of(wine: usize, body: impl FnOnce(*mut IRP) -> bool) {
    if let Some(irp) = irp_of(wine) {
        body(irp);
    }
}

/// Files that are open on a driver's devices.
pub(crate) fn open_files(driver: *const DRIVER_OBJECT) -> usize {
    FILES
        .lock()
        .values()
        .filter(|file| file.driver == driver.addr() && file.created.is_none_or(|status| status == STATUS_SUCCESS))
        .count()
}

/// Completes an IRP of Wine's with Wine's own function.
unsafe fn complete_wine(wine: *mut IRP, status: NTSTATUS, information: usize, pending: bool) {
    // SAFETY: the caller has Wine's IRP, and is done with it.
    unsafe {
        if pending {
            inline::mark_pending(wine);
        }
        inline::set_status(wine, status, information);
        wdk_sys::ntddk::IofCompleteRequest(wine, 0);
    }
}

/// The dispatch routine that Wine sees in every driver's table.
pub(crate) unsafe extern "C" fn dispatch(device: *mut DEVICE_OBJECT, wine: *mut IRP) -> NTSTATUS {
    SENT.fetch_add(1, Ordering::AcqRel);
    user::wake_all(&SENT);
    // SAFETY: Wine's IRP with its present location.
    let location = unsafe { &*inline::current_location(wine) };
    let file = location.FileObject.expose_provenance();
    match location.MajorFunction {
        // SAFETY: as above.
        IRP_MJ_CREATE => unsafe { create(device, wine, file) },
        // SAFETY: as above.
        IRP_MJ_CLOSE => unsafe { close(device, wine, file) },
        major => {
            let created = created(file);
            // SAFETY: as above; the location is that of a device control where it is read as one.
            let asks_create = major == IRP_MJ_DEVICE_CONTROL && unsafe { irp::control(location) }.code == QUERY_CREATE;
            if asks_create || created != STATUS_SUCCESS {
                // SAFETY: as above.
                unsafe { complete_wine(wine, created, 0, false) };
                return created;
            }
            // SAFETY: as above.
            unsafe { start(device, wine, major, file) }
        }
    }
}

/// What became of a file's create request; waits for it.
fn created(file: usize) -> NTSTATUS {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        let status = FILES
            .lock()
            .get(&file)
            .map_or(Some(STATUS_SUCCESS), |file| file.created);
        match status {
            Some(status) => return status,
            None => user::wait_on(&CHANGES, seen, 100),
        }
    }
}

unsafe fn create(device: *mut DEVICE_OBJECT, wine: *mut IRP, file: usize) -> NTSTATUS {
    let wanted = server::create_request();
    // SAFETY: the device that is being opened.
    let driver = unsafe { (*device).DriverObject }.addr();
    FILES.lock().insert(
        file,
        File {
            created: None,
            requests: 0,
            driver,
        },
    );
    let stopping = crate::service::is_stopping(device);
    let denied = if stopping {
        Some(STATUS_NO_SUCH_DEVICE)
    } else {
        security::check_open(device, wanted).err()
    };
    if let Some(status) = denied {
        set_created(file, status);
        // SAFETY: as in `dispatch`.
        unsafe { complete_wine(wine, status, 0, false) };
        return status;
    }
    // SAFETY: as in `dispatch`.
    unsafe { start(device, wine, IRP_MJ_CREATE, file) }
}

fn set_created(file: usize, status: NTSTATUS) {
    if let Some(file) = FILES.lock().get_mut(&file) {
        file.created = Some(status);
    }
    changed();
}

fn changed() {
    CHANGES.fetch_add(1, Ordering::AcqRel);
    user::wake_all(&CHANGES);
}

unsafe fn close(device: *mut DEVICE_OBJECT, wine: *mut IRP, file: usize) -> NTSTATUS {
    if created(file) != STATUS_SUCCESS {
        FILES.lock().remove(&file);
        // SAFETY: as in `dispatch`.
        unsafe { complete_wine(wine, STATUS_SUCCESS, 0, false) };
        return STATUS_SUCCESS;
    }
    cleanup(device, file);
    drain(device, file);
    FILES.lock().remove(&file);
    // SAFETY: as in `dispatch`.
    let status = unsafe { start(device, wine, IRP_MJ_CLOSE, 0) };
    crate::service::file_closed(device);
    status
}

/// Sends IRP_MJ_CLEANUP and waits for its completion.
fn cleanup(device: *mut DEVICE_OBJECT, file: usize) {
    // SAFETY: the file is open, so the device exists.
    let irp = irp::allocate(unsafe { (*device).StackSize }, Origin::User);
    if irp.is_null() {
        return;
    }
    // SAFETY: fresh.
    unsafe { prepare(irp, IRP_MJ_CLEANUP, core::ptr::with_exposed_provenance_mut(file)) };
    let request = Request {
        wine: core::ptr::null_mut(),
        irp,
        file: 0,
        major: IRP_MJ_CLEANUP,
        came: arrival(),
        buffer: core::ptr::null_mut(),
        room: 0,
    };
    REQUESTS.lock().insert(irp.expose_provenance(), Box::new(request));
    // SAFETY: the file is open, so the device exists.
    unsafe { inside::call(device, irp) };
    wait_for(device, irp, || !REQUESTS.lock().contains_key(&irp.addr()));
}

/// Waits until the driver has no request of this file.
fn drain(device: *mut DEVICE_OBJECT, file: usize) {
    wait_for(device, core::ptr::null_mut(), || {
        FILES.lock().get(&file).is_none_or(|file| file.requests == 0)
    });
}

fn wait_for(device: *mut DEVICE_OBJECT, irp: *mut IRP, done: impl Fn() -> bool) {
    let start = time::milliseconds();
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        if done() {
            return;
        }
        if time::milliseconds().saturating_sub(start) > CLOSE_PATIENCE {
            // SAFETY: the file is open, so the device exists.
            let driver = unsafe { driver::find((*device).DriverObject) }.map_or(0, |driver| driver.base);
            stop::report_of(Code::IrpForgotten, [irp.addr(), 0, 0, 0], b"at close", driver);
            return;
        }
        user::wait_on(&CHANGES, seen, 50);
    }
}

unsafe fn prepare(irp: *mut IRP, major: u8, file: *mut FILE_OBJECT) {
    // SAFETY: the caller's fresh IRP.
    unsafe {
        (*irp).RequestorMode = 1;
        (*irp).Tail.Overlay.OriginalFileObject = file;
        (*irp).Tail.Overlay.Thread = irp::current_thread();
        let next = &mut *inline::next_location(irp);
        next.MajorFunction = major;
        next.FileObject = file;
    }
}

/// Makes our IRP for Wine's and sends it to the driver.
unsafe fn start(device: *mut DEVICE_OBJECT, wine: *mut IRP, major: u8, file: usize) -> NTSTATUS {
    // SAFETY: the device that Wine sends to.
    let irp = irp::allocate(unsafe { (*device).StackSize }, Origin::User);
    let request = if irp.is_null() {
        None
    } else {
        // SAFETY: Wine's request and a fresh IRP.
        unsafe { shadow(wine, irp, major, file) }
    };
    let Some(request) = request else {
        if !irp.is_null() {
            // SAFETY: fresh and unused.
            unsafe { irp::io_free(irp) };
        }
        // SAFETY: as in `dispatch`.
        unsafe { complete_wine(wine, STATUS_INSUFFICIENT_RESOURCES, 0, false) };
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    if let Some(file) = FILES.lock().get_mut(&file) {
        file.requests = file.requests.wrapping_add(1);
    }
    IRPS.lock().insert(wine.expose_provenance(), irp.expose_provenance());
    REQUESTS.lock().insert(irp.addr(), Box::new(request));
    if settings::has(flags::CONCURRENT) && !matches!(major, IRP_MJ_CREATE | IRP_MJ_CLOSE) {
        return crate::worker::send(device, irp);
    }
    // SAFETY: the device that Wine sends to, and a request on record.
    unsafe { inside::call(device, irp) }
}

fn arrival() -> (u64, u32, usize) {
    // SAFETY: no requirements.
    let thread = unsafe { user::GetCurrentThreadId() };
    (time::milliseconds(), thread, SENT.load(Ordering::Acquire))
}

/// Waits until Wine's server knows that the request pends. It signals nobody of a request that fails before that, so the caller, who is
/// told that it pends, would wait for ever. A thread that sends has told it of all that went before.
fn wait_until_told(request: &Request) {
    let (when, thread, number) = request.came;
    // SAFETY: no requirements.
    if thread == unsafe { user::GetCurrentThreadId() } {
        return;
    }
    while SENT.load(Ordering::Acquire) == number {
        let left = when.saturating_add(TOLD_AFTER).saturating_sub(time::milliseconds());
        if left == 0 {
            return;
        }
        user::wait_on(&SENT, number, u32::try_from(left).unwrap_or(0));
    }
}

/// Fills our IRP from Wine's.
unsafe fn shadow(wine: *mut IRP, irp: *mut IRP, major: u8, file: usize) -> Option<Request> {
    // SAFETY: Wine's IRP with its present location; ours is fresh.
    let (from, next) = unsafe { (&*inline::current_location(wine), &mut *inline::next_location(irp)) };
    // SAFETY: as above.
    unsafe { prepare(irp, major, from.FileObject) };
    next.MinorFunction = from.MinorFunction;
    next.Flags = from.Flags;
    next.Parameters = from.Parameters;
    // SAFETY: as above.
    unsafe {
        (*irp).Flags = (*wine).Flags;
        (*irp).Tail.Overlay.Thread = (*wine).Tail.Overlay.Thread;
        (*irp).UserBuffer = (*wine).UserBuffer;
    }
    let mut request = Request {
        wine,
        irp,
        file,
        major,
        came: arrival(),
        buffer: core::ptr::null_mut(),
        room: 0,
    };
    // SAFETY: as above.
    unsafe { buffers(&mut request)? };
    Some(request)
}

/// Gives the driver buffers of its own: a system buffer of just the right size, and MDLs where the method is direct.
unsafe fn buffers(request: &mut Request) -> Option<()> {
    // SAFETY: the two IRPs of the request.
    let (wine, irp) = unsafe { (&mut *request.wine, &mut *request.irp) };
    // SAFETY: every member of the union is a pointer or a count of its size.
    let system = unsafe { wine.AssociatedIrp.SystemBuffer };
    irp.AssociatedIrp.SystemBuffer = system;
    if request.major == IRP_MJ_DEVICE_CONTROL {
        // SAFETY: the location of a device control.
        let control = unsafe { irp::control(&*inline::next_location(irp)) };
        let (input, output) = (control.input, control.output);
        let (copied, room) = match control.code & 3 {
            0 => (input, input.max(output)),
            1 | 2 => (input, input),
            _ => (0, 0),
        };
        request.room = if matches!(control.code & 3, METHOD_BUFFERED) {
            output
        } else {
            0
        };
        if room != 0 {
            request.buffer = pool::allocate_object(room, TAG);
            if request.buffer.is_null() {
                return None;
            }
            // SAFETY: Wine's buffer holds the input; ours is fresh and has room for it.
            unsafe { request.buffer.copy_from_nonoverlapping(system.cast(), copied) };
        }
        if control.code & 3 != 3 {
            irp.AssociatedIrp.SystemBuffer = request.buffer.cast();
        }
    }
    let mdl = wine.MdlAddress;
    if !mdl.is_null() {
        // SAFETY: Wine's MDL, which describes the user's buffer.
        let (base, bytes) = unsafe { described(&*mdl) };
        // SAFETY: our IRP.
        let own = unsafe { crate::mdl::allocate(base, bytes, 0, 0, request.irp) };
        // SAFETY: fresh, or NULL.
        let own = unsafe { own.as_mut()? };
        own.MdlFlags |= 2;
    }
    Some(())
}

fn described(mdl: &MDL) -> (*mut c_void, u32) {
    (mdl.StartVa.wrapping_byte_add(mdl.ByteOffset as usize), mdl.ByteCount)
}

/// The end of an IRP that was made here: its result goes to Wine's.
///
/// # Safety
/// The IRP is completed.
pub(crate) unsafe fn finished(irp: *mut IRP) {
    let Some(request) = REQUESTS.lock().remove(&irp.addr()) else {
        return;
    };
    // SAFETY: as the caller promises.
    let ((status, information), pending) = unsafe { (inline::status(irp), (*irp).PendingReturned != 0) };
    let information = deliver(&request, status, information);
    // From here on no cancellation finds the IRP; one that has found it holds the lock until it is done.
    let irql = cancel::acquire();
    IRPS.lock().remove(&request.wine.addr());
    cancel::release(irql);
    // SAFETY: completed, and nobody else has it.
    unsafe { irp::io_free(irp) };
    if request.major == IRP_MJ_CREATE {
        set_created(request.file, status);
    }
    if let Some(file) = FILES.lock().get_mut(&request.file) {
        file.requests = file.requests.saturating_sub(1);
    }
    // Whoever waits for this request may ask the service manager next.
    crate::service::refresh();
    if !request.wine.is_null() {
        if status.cast_unsigned() >> 30 == 3 {
            wait_until_told(&request);
        }
        // SAFETY: this request's, which ends here.
        unsafe { complete_wine(request.wine, status, information, pending) };
    }
    changed();
}

/// Copies what the driver put out to where Wine takes it from; the count that Wine may copy.
fn deliver(request: &Request, status: NTSTATUS, information: usize) -> usize {
    let mut information = information;
    if request.major == IRP_MJ_DEVICE_CONTROL && !request.buffer.is_null() {
        if request.room != 0 && status >= 0 && information > request.room {
            stop::report(
                Code::IrpInformationTooLong,
                [request.irp.addr(), information, request.room, 0],
            );
            information = request.room;
        }
        let error = status.cast_unsigned() >> 30 == 3;
        if request.room != 0 && !error {
            // SAFETY: Wine's output buffer has this much room, ours too.
            unsafe {
                let out: *mut u8 = (*request.wine).UserBuffer.cast();
                if !out.is_null() {
                    out.copy_from_nonoverlapping(request.buffer, information.min(request.room));
                }
            }
        }
        // SAFETY: allocated with the request, and completed.
        unsafe { pool::free(request.buffer, TAG) };
    }
    information
}

/// Requests that a driver has: IRP, major function.
pub(crate) fn held_by(driver: *const DRIVER_OBJECT, mut visit: impl FnMut(*mut IRP, u8)) {
    let files = FILES.lock().clone();
    let of = |file: usize| files.get(&file).is_some_and(|file| file.driver == driver.addr());
    let held: alloc::vec::Vec<_> = {
        let requests = REQUESTS.lock();
        requests
            .values()
            .filter(|request| of(request.file))
            .map(|request| (request.irp.expose_provenance(), request.major))
            .collect()
    };
    for (irp, major) in held {
        visit(core::ptr::with_exposed_provenance_mut(irp), major);
    }
}

const _: () = assert!(SL_PENDING_RETURNED == 1 && STATUS_PENDING == 0x103);

/// Whether Wine's own `IofCompleteRequest` was found: without it nothing of this can work.
pub(crate) fn possible() -> bool {
    exports::original(c"IofCompleteRequest").is_some() && irptable::count() == 0
}

//! The control device. Requests are queued to threads of the driver's own, so that one that waits holds up neither its caller's
//! thread nor the other requests; the dispatch routines run at `PASSIVE_LEVEL`.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use probe_protocol::probe::{Header, IOCTL_EXECUTE, IOCTL_PASS_DOWN, IOCTL_USE_CLOSED, RequestRef, take};
use wdk_rtl::irp;
use wdk_rtl::lock::SpinLock;
use wdk_sys::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, FILE_DEVICE_SECURE_OPEN, FILE_DEVICE_UNKNOWN, FILE_OBJECT,
    IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS, PIO_STACK_LOCATION, PIRP,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_HANDLE, STATUS_PENDING,
    STATUS_SUCCESS, UNICODE_STRING,
    ntddk::{
        DbgPrint, IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink, IoGetCurrentProcess,
        ObfReferenceObject,
    },
};

use crate::buffer::Buffer;
use crate::ke;
use crate::names::Names;
use crate::session::Session;
use crate::shared::{self, Shared};
use crate::socket::Stage;

const WORKERS: usize = 8;
const QUEUE: usize = 64;

static NAMES: SpinLock<Names> = SpinLock::new(Names::new());
static DRIVER: AtomicPtr<DRIVER_OBJECT> = AtomicPtr::new(null_mut());
static DEVICE: AtomicPtr<DEVICE_OBJECT> = AtomicPtr::new(null_mut());
/// Shared objects that belong to the driver itself.
static BASELINE: AtomicUsize = AtomicUsize::new(0);
static SESSIONS: AtomicU32 = AtomicU32::new(0);
static STOPPING: AtomicU32 = AtomicU32::new(0);
static WAITING: ke::Semaphore = ke::Semaphore::uninitialised();
static PENDING: SpinLock<Queue> = SpinLock::new(Queue {
    irps: [null_mut(); QUEUE],
    first: 0,
    count: 0,
});
static THREADS: SpinLock<[Option<ke::Thread>; WORKERS]> = SpinLock::new([const { None }; WORKERS]);

/// IRPs in order of arrival.
struct Queue {
    irps: [PIRP; QUEUE],
    first: usize,
    count: usize,
}

// SAFETY: queued IRPs are the driver's, whichever thread takes them.
unsafe impl Send for Queue {}

impl Queue {
    fn push(&mut self, irp: PIRP) -> bool {
        let index = self.first.wrapping_add(self.count) % QUEUE;
        if self.count == QUEUE {
            return false;
        }
        let Some(place) = self.irps.get_mut(index) else {
            return false;
        };
        *place = irp;
        self.count = self.count.wrapping_add(1);
        true
    }

    fn pop(&mut self) -> Option<PIRP> {
        self.count = self.count.checked_sub(1)?;
        let irp = self.irps.get(self.first).copied();
        self.first = self.first.wrapping_add(1) % QUEUE;
        irp
    }
}

/// Makes the device and its threads. `PASSIVE_LEVEL`.
pub(crate) fn start(driver: &mut DRIVER_OBJECT, registry_path: &UNICODE_STRING) -> Result<(), NTSTATUS> {
    DRIVER.store(driver, Ordering::Release);
    WAITING.init();
    let mut names = Names::of(registry_path);
    let mut device = null_mut();
    // SAFETY: the driver object is the one we were given; the name lives for the call.
    let status = unsafe {
        IoCreateDevice(
            driver,
            0,
            names.device(),
            FILE_DEVICE_UNKNOWN,
            FILE_DEVICE_SECURE_OPEN,
            0,
            &raw mut device,
        )
    };
    if status < 0 {
        return Err(status);
    }
    DEVICE.store(device, Ordering::Release);
    // SAFETY: both names live for the call.
    let status = unsafe { IoCreateSymbolicLink(names.link(), names.device()) };
    if status < 0 {
        // SAFETY: the device was just made and nobody can have opened it.
        unsafe { IoDeleteDevice(device) };
        return Err(status);
    }
    *NAMES.lock() = names;
    set_dispatch(driver, IRP_MJ_CREATE, create);
    set_dispatch(driver, IRP_MJ_CLEANUP, cleanup);
    set_dispatch(driver, IRP_MJ_CLOSE, close);
    set_dispatch(driver, IRP_MJ_DEVICE_CONTROL, control);
    driver.DriverUnload = Some(unload);
    if !start_workers() {
        stop();
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    BASELINE.store(shared::alive(), Ordering::Release);
    // SAFETY: the device is ours.
    let device = unsafe { &mut *device };
    // A request can be passed down to WSK.
    device.StackSize = 2;
    device.Flags &= !DO_DEVICE_INITIALIZING;
    Ok(())
}

type Dispatch = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS;

fn set_dispatch(driver: &mut DRIVER_OBJECT, major: u32, routine: Dispatch) {
    if let Some(place) = driver.MajorFunction.get_mut(major as usize) {
        *place = Some(routine);
    }
}

fn start_workers() -> bool {
    (0..WORKERS).all(|index| {
        let thread = Shared::try_new(0_u32).and_then(|context| ke::Thread::spawn(work, context));
        let started = thread.is_some();
        if let Some(place) = THREADS.lock().get_mut(index) {
            *place = thread;
        }
        started
    })
}

fn stop() {
    STOPPING.store(1, Ordering::Release);
    (0..WORKERS).for_each(|_| WAITING.release());
    for index in 0..WORKERS {
        let thread = THREADS.lock().get_mut(index).and_then(Option::take);
        // One that does not end stays counted, so that the driver is not idle.
        let _ = thread.map(|thread| thread.join(10_000));
    }
    let mut names = core::mem::replace(&mut *NAMES.lock(), Names::new());
    // SAFETY: the link is ours and its name lives for the call.
    let _ = unsafe { IoDeleteSymbolicLink(names.link()) };
    // SAFETY: the device is ours, and at unload nobody has it open.
    unsafe { IoDeleteDevice(DEVICE.load(Ordering::Acquire)) };
}

unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
    stop();
    // SAFETY: the format is NUL-terminated and names no argument.
    unsafe { DbgPrint(c"probe: unloaded\n".as_ptr()) };
}

/// A driver whose code a provider may still call cannot be unloaded: as long as a session is open, or one left something behind,
/// there is no unload routine.
fn update_unload() {
    let idle = is_idle();
    // SAFETY: the driver object outlives the driver's code; only this driver writes the field.
    unsafe { (*DRIVER.load(Ordering::Acquire)).DriverUnload = if idle { Some(unload) } else { None } };
}

fn is_idle() -> bool {
    SESSIONS.load(Ordering::Acquire) == 0 && shared::alive() <= BASELINE.load(Ordering::Acquire)
}

/// Waits a little for threads that end: what they hold they let go of last. `PASSIVE_LEVEL`.
fn settle() {
    for _ in 0..50 {
        if SESSIONS.load(Ordering::Acquire) != 0 || is_idle() {
            return;
        }
        ke::sleep(10);
    }
}

/// Completes `irp` and returns its status.
fn complete(irp: PIRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the IRP is the driver's until it is completed, once, here.
    unsafe { irp::set_status(irp, status, information) };
    // SAFETY: as above.
    unsafe { irp::complete(irp, irp::IO_NO_INCREMENT) };
    status
}

/// # Safety
/// The location is set up.
unsafe fn file_object_at(location: PIO_STACK_LOCATION) -> *mut FILE_OBJECT {
    // SAFETY: as the caller promises.
    unsafe { (*location).FileObject }
}

fn file_object<'a>(irp: PIRP) -> &'a mut FILE_OBJECT {
    // SAFETY: the I/O manager set the location up.
    let location = unsafe { irp::current_location(irp) };
    // SAFETY: as above.
    let file = unsafe { file_object_at(location) };
    // SAFETY: requests to the device come through a file object, which the IRP keeps alive.
    unsafe { &mut *file }
}

fn session_of(irp: PIRP) -> Option<Shared<Session>> {
    let context = file_object(irp).FsContext;
    // SAFETY: `create` put a reference there, which `close` takes away as the last request.
    (!context.is_null()).then(|| unsafe { Shared::from_address(context) })
}

unsafe extern "C" fn create(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the current process is alive while it asks.
    let process: *mut c_void = unsafe { IoGetCurrentProcess() }.cast();
    if !process.is_null() {
        // SAFETY: as above; the session gives the reference back.
        unsafe { ObfReferenceObject(process) };
    }
    let Some(session) = Session::open(process) else {
        return complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    };
    SESSIONS.fetch_add(1, Ordering::AcqRel);
    file_object(irp).FsContext = session.into_raw();
    update_unload();
    complete(irp, STATUS_SUCCESS, 0)
}

unsafe extern "C" fn cleanup(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if let Some(session) = session_of(irp) {
        session.finish();
    }
    complete(irp, STATUS_SUCCESS, 0)
}

unsafe extern "C" fn close(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let context = core::mem::replace(&mut file_object(irp).FsContext, null_mut());
    if !context.is_null() {
        // SAFETY: this is the reference that `create` made.
        let session = unsafe { Shared::<Session>::from_raw(context) };
        session.finish();
        drop(session);
        SESSIONS.fetch_sub(1, Ordering::AcqRel);
        settle();
        update_unload();
    }
    complete(irp, STATUS_SUCCESS, 0)
}

unsafe extern "C" fn control(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager set the location up for a device control.
    let parameters = unsafe { irp::device_control(irp) };
    match parameters.code {
        IOCTL_EXECUTE => {
            // SAFETY: the IRP is the driver's, which returns STATUS_PENDING from here on.
            unsafe { irp::mark_pending(irp) };
            if PENDING.lock().push(irp) {
                WAITING.release();
            } else {
                complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
            }
            STATUS_PENDING
        }
        IOCTL_PASS_DOWN => pass_down(irp, parameters.input as usize),
        IOCTL_USE_CLOSED => use_closed(irp, parameters.input as usize),
        _ => complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0),
    }
}

/// The number that comes with the IRP, and the session that it is of.
fn named(irp: PIRP, input: usize) -> Option<(Shared<Session>, u32)> {
    // SAFETY: the I/O manager set the IRP up.
    let system = unsafe { irp::system_buffer(irp) }.cast::<u8>();
    // SAFETY: the system buffer holds the input.
    let buffer = unsafe { core::slice::from_raw_parts(system, input) };
    let (wish, _) = take::<Header>(buffer).and_then(|(_, rest)| take::<RequestRef>(rest))?;
    Some((session_of(irp)?, wish.request))
}

/// Uses a socket after its close: what a faulty client does. Nothing is held meanwhile, since the call may not come back.
fn use_closed(irp: PIRP, input: usize) -> NTSTATUS {
    let socket = named(irp, input).and_then(|(session, id)| {
        let socket = session.sockets.get(id)?;
        (socket.stage() == Stage::Closed).then(|| socket.wsk())
    });
    let Some(socket) = socket.filter(|socket| !socket.is_null()) else {
        return complete(irp, STATUS_INVALID_HANDLE, 0);
    };
    // SAFETY: there is none: the socket is gone, and that this is noticed is what is tested.
    let table = unsafe { (&raw const (*socket).Dispatch).read_volatile() };
    complete(irp, STATUS_SUCCESS, usize::from(table.is_null()))
}

/// Sends the IRP itself to WSK, as a driver in the middle of a stack does.
fn pass_down(irp: PIRP, input: usize) -> NTSTATUS {
    let request = named(irp, input).and_then(|(session, id)| session.requests.get(id));
    let Some(request) = request else {
        return complete(irp, STATUS_INVALID_HANDLE, 0);
    };
    // SAFETY: the device's stack size is 2, so that a location is left; after the call the IRP is not touched.
    match unsafe { request.pass_down(&request, irp) } {
        Ok(status) => status,
        Err(status) => complete(irp, status, 0),
    }
}

/// A worker thread.
fn work(_context: &u32) {
    while STOPPING.load(Ordering::Acquire) == 0 {
        if !WAITING.wait(60_000) {
            continue;
        }
        let irp = PENDING.lock().pop();
        if let Some(irp) = irp {
            execute(irp);
        }
    }
}

fn execute(irp: PIRP) {
    // SAFETY: the IRP is the driver's and was sent by a device control.
    let parameters = unsafe { irp::device_control(irp) };
    // SAFETY: the system buffer holds the input and has room for the output; we are its only user.
    let system = unsafe { irp::system_buffer(irp) }.cast::<u8>();
    let (input, output) = (parameters.input as usize, parameters.output as usize);
    if system.is_null() {
        complete(irp, wdk_sys::STATUS_INVALID_PARAMETER, 0);
        return;
    }
    // The reply is written over the request, which is therefore copied.
    // SAFETY: the system buffer holds that many bytes.
    let Some(copy) = Buffer::copy_of(unsafe { core::slice::from_raw_parts(system, input) }) else {
        complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
        return;
    };
    // SAFETY: as above; nobody writes it.
    let request = unsafe { copy.bytes() };
    // SAFETY: the system buffer has room for the output.
    let reply = unsafe { core::slice::from_raw_parts_mut(system, output) };
    let result = match session_of(irp) {
        Some(session) => session.execute(request, reply),
        None => Err(STATUS_INVALID_HANDLE),
    };
    match result {
        Ok(length) => complete(irp, STATUS_SUCCESS, length.min(output)),
        Err(status) => complete(irp, status, 0),
    };
}

//! Drivers as services: stopping, as winedevice.exe asks for it, with the answers of Windows. `PASSIVE_LEVEL`.
//!
//! A driver whose DriverUnload is NULL accepts no stop: the service manager is told so and refuses the control with
//! ERROR_INVALID_SERVICE_CONTROL, as on Windows. A driver may change its mind at any time, so this is looked at before the end of every
//! request, and by a thread now and then; a stop that slips through is refused here. A stop while files are open takes effect when the last one is closed; no new ones are opened then.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

use wdk_sys::{DEVICE_OBJECT, DRIVER_OBJECT, NTSTATUS, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS, UNICODE_STRING};

use crate::callback;
use crate::driver;
use crate::image::Image;
use crate::inside;
use crate::request;
use crate::sync::Lock;
use crate::thread::PASSIVE;
use crate::unload;
use crate::user;

type SetStatus = unsafe extern "system" fn(*mut c_void, *const Status) -> i32;
type Unload = unsafe extern "system" fn(*const UNICODE_STRING) -> NTSTATUS;
type Translate = unsafe extern "system" fn(NTSTATUS) -> u32;

const RUNNING: u32 = 4;
const STOP_PENDING: u32 = 3;
const ACCEPT_STOP: u32 = 1;
const ACCEPT_SHUTDOWN: u32 = 4;
const KERNEL_DRIVER: u32 = 1;
const ERROR_INVALID_SERVICE_CONTROL: u32 = 1052;
/// How often, in milliseconds, drivers are looked at.
const INTERVAL: u32 = 10;

/// `SERVICE_STATUS`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Status {
    kind: u32,
    state: u32,
    accepted: u32,
    exit: u32,
    specific: u32,
    checkpoint: u32,
    hint: u32,
}

/// A driver that runs as a service.
struct Service {
    /// Wine's handle, to report with.
    handle: usize,
    /// Whether the service manager was told that a stop is accepted.
    stoppable: bool,
    /// A stop has been asked for, and waits for files to be closed.
    stopping: bool,
}

/// By driver object.
static SERVICES: Lock<BTreeMap<usize, Service>> = Lock::new(BTreeMap::new());
/// The driver whose entry point has succeeded, and whose service is about to be reported as running.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// What was in the import slots.
static SET_STATUS: AtomicUsize = AtomicUsize::new(0);
static UNLOAD: AtomicUsize = AtomicUsize::new(0);
static TRANSLATE: AtomicUsize = AtomicUsize::new(0);

/// The routine that an import slot held, as a pointer of type `F`.
unsafe fn held<F: Copy>(slot: &AtomicUsize) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    let address = slot.load(Ordering::Acquire);
    // SAFETY: the caller names the type of this slot's function.
    (address != 0).then(|| unsafe { core::mem::transmute_copy(&address) })
}

fn has_unload(driver: usize) -> bool {
    let driver: *const DRIVER_OBJECT = core::ptr::with_exposed_provenance(driver);
    // SAFETY: a driver in the table is loaded; the field may change at any time, so it is read once, volatile.
    unsafe { (&raw const (*driver).DriverUnload).read_volatile() }.is_some()
}

fn report(handle: usize, state: u32, stoppable: bool) {
    let accepted = if stoppable { ACCEPT_STOP | ACCEPT_SHUTDOWN } else { 0 };
    let status = Status {
        kind: KERNEL_DRIVER,
        state,
        accepted,
        ..Status::default()
    };
    // SAFETY: that is the slot's function; Wine's own handle.
    unsafe {
        if let Some(set) = held::<SetStatus>(&SET_STATUS) {
            set(core::ptr::with_exposed_provenance_mut(handle), &raw const status);
        }
    }
}

/// A driver's entry point has succeeded.
pub(crate) fn started(driver: *mut DRIVER_OBJECT) {
    STARTING.store(driver.expose_provenance(), Ordering::Release);
}

unsafe extern "system" fn set_status(handle: *mut c_void, status: *const Status) -> i32 {
    // SAFETY: ntoskrnl's structure.
    let mut status = unsafe { *status };
    if status.state == RUNNING {
        let driver = STARTING.swap(0, Ordering::AcqRel);
        if driver != 0 {
            let stoppable = has_unload(driver);
            SERVICES.lock().insert(
                driver,
                Service {
                    handle: handle.expose_provenance(),
                    stoppable,
                    stopping: false,
                },
            );
            if !stoppable {
                status.accepted = 0;
            }
        }
    }
    // SAFETY: what ntoskrnl wanted to call.
    unsafe { held::<SetStatus>(&SET_STATUS).map_or(0, |set| set(handle, &raw const status)) }
}

/// Tells the service manager which drivers have changed their mind about being stopped.
pub(crate) fn refresh() {
    let mut changed = [(0usize, false); 8];
    let mut count = 0usize;
    for (driver, service) in SERVICES.lock().iter_mut().filter(|(_, service)| !service.stopping) {
        let stoppable = has_unload(*driver);
        if stoppable != service.stoppable
            && let Some(slot) = changed.get_mut(count)
        {
            service.stoppable = stoppable;
            *slot = (service.handle, stoppable);
            count = count.saturating_add(1);
        }
    }
    changed
        .iter()
        .take(count)
        .for_each(|&(handle, stoppable)| report(handle, RUNNING, stoppable));
}

unsafe extern "system" fn watch(_: *mut c_void) -> u32 {
    loop {
        // SAFETY: no preconditions.
        unsafe { user::Sleep(INTERVAL) };
        refresh();
    }
}

fn service_name(path: &UNICODE_STRING) -> String {
    // SAFETY: a counted string.
    let units = unsafe { core::slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    String::from_utf16_lossy(
        units
            .rsplit(|&unit| unit == u16::from(b'\\'))
            .next()
            .unwrap_or_default(),
    )
}

unsafe extern "system" fn unload_driver(path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: winedevice's string.
    let name = service_name(unsafe { &*path });
    let Some((object, _)) = driver::by_service(&name) else {
        // SAFETY: what winedevice wanted to call.
        return unsafe { held::<Unload>(&UNLOAD).map_or(STATUS_SUCCESS, |unload| unload(path)) };
    };
    if !has_unload(object.addr()) {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    let handle = SERVICES.lock().get_mut(&object.addr()).map(|service| {
        service.stopping = true;
        service.handle
    });
    if request::open_files(object) != 0 {
        if let Some(handle) = handle {
            report(handle, STOP_PENDING, false);
        }
        return STATUS_SUCCESS;
    }
    // SAFETY: the driver is loaded and nobody has its devices open.
    unsafe { unload_now(object, path) }
}

/// The routines that DriverUnload stood for, by driver.
static ROUTINES: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

unsafe fn unload_now(object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: as the caller promises.
    let Some(routine) = (unsafe { (&raw const (*object).DriverUnload).read_volatile() }) else {
        return STATUS_INVALID_DEVICE_REQUEST;
    };
    SERVICES.lock().remove(&object.addr());
    ROUTINES.lock().insert(object.addr(), routine as usize);
    // SAFETY: as above: Wine calls ours, which calls the driver's.
    unsafe {
        (*object).DriverUnload = Some(unloading);
        held::<Unload>(&UNLOAD).map_or(STATUS_SUCCESS, |unload| unload(path))
    }
}

unsafe extern "C" fn unloading(object: *mut DRIVER_OBJECT) {
    let Some(routine) = ROUTINES.lock().remove(&object.addr()) else {
        return;
    };
    inside::wait(object);
    callback::run("DriverUnload", routine, PASSIVE, false, || {
        // SAFETY: the driver's own routine, as it stood in its driver object.
        unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(*mut DRIVER_OBJECT)>(routine)(object) };
    });
    unload::check(object);
    driver::remove(object);
}

/// Whether the device's driver is on its way out: it takes no new files.
pub(crate) fn is_stopping(device: *mut DEVICE_OBJECT) -> bool {
    // SAFETY: a device that is being opened.
    let driver = unsafe { (*device).DriverObject };
    SERVICES
        .lock()
        .get(&driver.addr())
        .is_some_and(|service| service.stopping)
}

unsafe extern "system" fn finish_stop(object: *mut c_void) -> u32 {
    const SERVICES_KEY: &str = r"\Registry\Machine\System\CurrentControlSet\Services\";
    let object: *mut DRIVER_OBJECT = object.cast();
    let Some(known) = driver::find(object) else { return 0 };
    let mut path: alloc::vec::Vec<u16> = SERVICES_KEY
        .encode_utf16()
        .chain(known.service.encode_utf16())
        .collect();
    let length = u16::try_from(path.len().saturating_mul(2)).unwrap_or(0);
    path.push(0);
    let text = UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: path.as_mut_ptr(),
    };
    // SAFETY: no file of the driver's devices is open, and none can be opened.
    unsafe { unload_now(object, &raw const text) };
    0
}

/// A file on this device was closed: a stop may have waited for it.
pub(crate) fn file_closed(device: *mut DEVICE_OBJECT) {
    // SAFETY: the close request is still under way.
    let object = unsafe { (*device).DriverObject };
    let due = is_stopping(device) && request::open_files(object) == 0;
    if due {
        user::start_thread(finish_stop, object.cast());
    }
}

unsafe extern "system" fn translate(status: NTSTATUS) -> u32 {
    if status == STATUS_INVALID_DEVICE_REQUEST {
        return ERROR_INVALID_SERVICE_CONTROL;
    }
    // SAFETY: what winedevice wanted to call.
    unsafe { held::<Translate>(&TRANSLATE).map_or(1, |translate| translate(status)) }
}

fn replace(image: Image, name: &CStr, function: *const (), old: &AtomicUsize) -> bool {
    let mut done = false;
    image.for_each_import(|import| {
        if import.name == name {
            // SAFETY: an import slot that was filled by the loader.
            old.store(unsafe { import.slot.read() }, Ordering::Release);
            // SAFETY: as above; nobody stops or starts a driver while this one is being started.
            done = unsafe { user::overwrite(import.slot, function.expose_provenance()) };
        }
    });
    done
}

/// Puts itself between winedevice.exe, ntoskrnl and the service manager.
pub(crate) fn install(kernel: Image) -> bool {
    const WINEDEVICE: [u16; 16] = user::wide("winedevice.exe");
    let Some(process) = user::module(&WINEDEVICE).map(Image::at) else {
        return false;
    };
    replace(kernel, c"SetServiceStatus", set_status as *const (), &SET_STATUS)
        && replace(process, c"ZwUnloadDriver", unload_driver as *const (), &UNLOAD)
        && replace(process, c"RtlNtStatusToDosError", translate as *const (), &TRANSLATE)
        && user::start_thread(watch, core::ptr::null_mut())
}

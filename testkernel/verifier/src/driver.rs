//! The drivers of this process: found when the loader maps them, taken in hand at their entry point. `PASSIVE_LEVEL`.
//!
//! The entry point in the mapped header becomes ours. When a driver's own has succeeded, its dispatch table is copied and replaced, so
//! that what Wine's I/O manager sends comes through [`request`](crate::request), and what drivers send each other goes straight to the copy.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_sys::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UNICODE_STRING};

use crate::callback;
use crate::exports::write_jump;
use crate::image::Image;
use crate::modules;
use crate::request;
use crate::service;
use crate::sync::Lock;
use crate::system::Native;
use crate::thread::PASSIVE;
use crate::user;

/// A dispatch routine.
pub(crate) type Dispatch = unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS;
type Entry = unsafe extern "C" fn(*mut DRIVER_OBJECT, *const UNICODE_STRING) -> NTSTATUS;

const MAJORS: usize = 28;

/// A loaded driver.
#[derive(Clone)]
pub(crate) struct Driver {
    /// Name of its service.
    pub(crate) service: String,
    pub(crate) base: usize,
    pub(crate) target: bool,
    majors: [Option<Dispatch>; MAJORS],
}

static DRIVERS: Lock<BTreeMap<usize, Driver>> = Lock::new(BTreeMap::new());
/// Entry points of images that are mapped and whose driver has not been entered yet.
static ENTRIES: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());

/// The driver object's record.
pub(crate) fn find(driver: *const DRIVER_OBJECT) -> Option<Driver> {
    DRIVERS.lock().get(&driver.addr()).cloned()
}

/// The driver object of a service.
pub(crate) fn by_service(service: &str) -> Option<(*mut DRIVER_OBJECT, Driver)> {
    let drivers = DRIVERS.lock();
    let (object, driver) = drivers
        .iter()
        .find(|(_, driver)| driver.service.eq_ignore_ascii_case(service))?;
    Some((core::ptr::with_exposed_provenance_mut(*object), driver.clone()))
}

/// Forgets a driver that is gone.
pub(crate) fn remove(driver: *const DRIVER_OBJECT) {
    DRIVERS.lock().remove(&driver.addr());
}

/// The routine that takes IRPs of this kind for a device.
pub(crate) fn dispatch_of(device: *mut DEVICE_OBJECT, major: usize) -> Option<Dispatch> {
    // SAFETY: a device that the caller holds; its driver object stays as long.
    let object = unsafe { (*device).DriverObject };
    let known = DRIVERS
        .lock()
        .get(&object.addr())
        .map(|driver| driver.majors.get(major).copied().flatten());
    match known {
        Some(dispatch) => Some(dispatch.unwrap_or(unsupported)),
        // SAFETY: as above.
        None => unsafe { (*object).MajorFunction.get(major).copied().flatten() },
    }
}

/// What a driver without a routine of its own does.
unsafe extern "C" fn unsupported(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the dispatcher hands the IRP over.
    unsafe {
        wdk_rtl::irp::set_status(irp, wdk_sys::STATUS_INVALID_DEVICE_REQUEST, 0);
        crate::irp::complete(irp);
    }
    wdk_sys::STATUS_INVALID_DEVICE_REQUEST
}

/// What ntoskrnl puts in the table's slots that a driver leaves alone: the value that most slots had before the entry point ran.
type Table = [Option<Dispatch>; MAJORS];

unsafe extern "C" fn enter(object: *mut DRIVER_OBJECT, path: *const UNICODE_STRING) -> NTSTATUS {
    // SAFETY: Wine's I/O manager calls with a new driver object and its registry path.
    let (base, before) = unsafe { ((*object).DriverStart.expose_provenance(), (*object).MajorFunction) };
    object.expose_provenance();
    let Some(entry) = ENTRIES.lock().remove(&base) else {
        return STATUS_UNSUCCESSFUL;
    };
    // SAFETY: read from the image's header as its entry point.
    let entry = unsafe { core::mem::transmute::<usize, Entry>(entry) };
    // SAFETY: the path is a valid string.
    let service = unsafe { last_part(&*path) };
    let target = modules::is_target(base);
    DRIVERS.lock().insert(
        object.addr(),
        Driver {
            service: service.clone(),
            base,
            target,
            majors: [None; MAJORS],
        },
    );
    let status = callback::run("DriverEntry", entry as usize, PASSIVE, false, || {
        // SAFETY: what the I/O manager would have called, with the same arguments.
        unsafe { entry(object, path) }
    })
    .unwrap_or(STATUS_UNSUCCESSFUL);
    if status == STATUS_SUCCESS {
        // SAFETY: the driver object exists until the driver is unloaded.
        unsafe { take_table(object, &before) };
        service::started(object);
    } else {
        crate::unload::check(object);
        remove(object);
        if target {
            // Wine keeps the image of a driver that has failed to start; the next start would find it as it was left.
            // SAFETY: the loader loaded it for this start, and nothing of it runs: this returns to Wine.
            unsafe { user::FreeLibrary(core::ptr::with_exposed_provenance_mut(base)) };
        }
    }
    status
}

/// Copies the dispatch table and puts ours in its place.
///
/// # Safety
/// `object` is a driver object that takes no IRPs yet.
unsafe fn take_table(object: *mut DRIVER_OBJECT, before: &Table) {
    // SAFETY: as the caller promises.
    let table = unsafe { &mut (*object).MajorFunction };
    let mut majors = *table;
    for (major, old) in majors.iter_mut().zip(before) {
        if major.map(|routine| routine as usize) == old.map(|routine| routine as usize) {
            *major = None;
        }
    }
    if let Some(driver) = DRIVERS.lock().get_mut(&object.addr()) {
        driver.majors = majors;
    }
    *table = [Some(request::dispatch as Dispatch); MAJORS];
}

unsafe fn last_part(path: &UNICODE_STRING) -> String {
    // SAFETY: a counted string.
    let units = unsafe { core::slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    let name = units
        .rsplit(|&unit| unit == u16::from(b'\\'))
        .next()
        .unwrap_or_default();
    String::from_utf16_lossy(name)
}

/// `LDR_DLL_NOTIFICATION_DATA`.
#[repr(C)]
struct Notification {
    flags: u32,
    full_name: *const UNICODE_STRING,
    base_name: *const UNICODE_STRING,
    base: *mut u8,
    size: u32,
}

unsafe extern "system" fn notified(reason: u32, data: *const Notification, _context: *mut c_void) {
    const LOADED: u32 = 1;
    // SAFETY: the loader's structure, for this call.
    let data = unsafe { &*data };
    let Some(base) = NonNull::new(data.base) else { return };
    if reason != LOADED {
        modules::remove(base.as_ptr().addr());
        crate::coverage::unloaded(base.as_ptr().addr());
        return;
    }
    // SAFETY: a counted string.
    let name = unsafe {
        let name = &*data.base_name;
        core::slice::from_raw_parts(name.Buffer, usize::from(name.Length / 2))
    };
    loaded(Image::at(base), modules::short_name(name));
}

fn loaded(image: Image, name: [u8; probe_protocol::verifier::NAME]) {
    let target = image.is_native() && crate::settings::is_target(&name);
    modules::add(image, name, target, false);
    crate::coverage::loaded(image, &name);
    if !image.is_native() || image.entry() == 0 {
        return;
    }
    // Without any flag nothing of the driver is changed, so that it can be timed.
    if target && crate::settings::flags() != 0 {
        crate::imports::wrap(image, name);
    }
    let entry: *const u8 = image.rva(image.entry());
    let Some(code) = image.allocate_near(16) else { return };
    // SAFETY: fresh, writable, executable memory of a page.
    unsafe { write_jump(code.as_ptr(), enter as *const () as usize) };
    ENTRIES.lock().insert(image.base(), entry.expose_provenance());
    let rva = code.as_ptr().addr().wrapping_sub(image.base());
    image.set_entry(u32::try_from(rva).unwrap_or(0));
}

/// From now on, every driver that is loaded is taken in hand.
pub(crate) fn watch() -> bool {
    type Register = unsafe extern "system" fn(
        u32,
        unsafe extern "system" fn(u32, *const Notification, *mut c_void),
        *mut c_void,
        *mut *mut c_void,
    ) -> NTSTATUS;
    static REGISTER: Native = Native::new(c"LdrRegisterDllNotification");
    // SAFETY: that is its signature.
    let Some(register) = (unsafe { REGISTER.get::<Register>() }) else {
        return false;
    };
    let mut cookie = core::ptr::null_mut();
    // SAFETY: the callback has the documented signature; the cookie is a live local.
    unsafe { register(0, notified, core::ptr::null_mut(), &raw mut cookie) == STATUS_SUCCESS }
}

/// Modules that are loaded already.
pub(crate) fn note_present(own: *const u8) {
    const NAMES: [(&str, [u16; 20]); 6] = [
        ("ntoskrnl.exe", user::wide("ntoskrnl.exe")),
        ("ntdll.dll", user::wide("ntdll.dll")),
        ("kernelbase.dll", user::wide("kernelbase.dll")),
        ("kernel32.dll", user::wide("kernel32.dll")),
        ("winedevice.exe", user::wide("winedevice.exe")),
        ("hal.dll", user::wide("hal.dll")),
    ];
    for (name, wide) in &NAMES {
        if let Some(base) = user::module(wide) {
            let units: alloc::vec::Vec<u16> = name.encode_utf16().collect();
            modules::add(Image::at(base), modules::short_name(&units), false, false);
        }
    }
    if let Some(base) = NonNull::new(own.cast_mut()) {
        let units: alloc::vec::Vec<u16> = "verifier.sys".encode_utf16().collect();
        modules::add(Image::at(base), modules::short_name(&units), false, true);
    }
}

//! Which driver image an address belongs to: system images that were loaded after this driver, as the load-image notification told.
//!
//! Images of before are not known by their file, and named by what they carry in themselves, their symbols' file; the INF's start
//! order makes clients load later. Notified and asked at `PASSIVE_LEVEL`.

use core::ffi::c_void;

use wdk_rtl::{lock::SpinLock, nonpaged::NonpagedBox};
use wdk_sys::{
    HANDLE, IMAGE_INFO, NTSTATUS, PUNICODE_STRING,
    ntddk::{PsRemoveLoadImageNotifyRoutine, PsSetLoadImageNotifyRoutine, RtlPcToFileHeader},
};
use wskguard_core::policy::ImageName;

use crate::guard::TAG_STATE;

/// Most images that are remembered.
const MOST: u32 = 4096;

struct Image {
    base: usize,
    size: usize,
    name: ImageName,
    next: Option<NonpagedBox<Image, TAG_STATE>>,
}

struct Images {
    newest: Option<NonpagedBox<Image, TAG_STATE>>,
    count: u32,
}

static IMAGES: SpinLock<Images> = SpinLock::new(Images { newest: None, count: 0 });

/// Begins to listen. `PASSIVE_LEVEL`.
pub fn start() -> Result<(), NTSTATUS> {
    // SAFETY: the routine stays until `stop`.
    let status = unsafe { PsSetLoadImageNotifyRoutine(Some(loaded)) };
    if status < 0 { Err(status) } else { Ok(()) }
}

/// Ends it and forgets. `PASSIVE_LEVEL`.
pub fn stop() {
    // SAFETY: set by `start`. It fails only if it was not.
    let _ = unsafe { PsRemoveLoadImageNotifyRoutine(Some(loaded)) };
    let mut images = IMAGES.lock();
    images.count = 0;
    let mut next = images.newest.take();
    drop(images);
    // One by one: a list that drops itself recurses.
    while let Some(mut image) = next {
        next = image.next.take();
    }
}

unsafe extern "C" fn loaded(path: PUNICODE_STRING, process: HANDLE, info: *mut IMAGE_INFO) {
    // SAFETY: the caller's structure is valid for the call.
    let Some(info) = (unsafe { info.as_ref() }) else { return };
    // Drivers are loaded into no process.
    if !process.is_null() {
        return;
    }
    // SAFETY: NULL, or a string that is valid for the call.
    let name = unsafe { path.as_ref() }
        .filter(|path| !path.Buffer.is_null())
        .map(|path| {
            // SAFETY: a counted string: so many bytes are there.
            let text = unsafe { core::slice::from_raw_parts(path.Buffer, usize::from(path.Length >> 1)) };
            ImageName::from_utf16(text)
        });
    let (base, size) = (info.ImageBase.addr(), usize::try_from(info.ImageSize).unwrap_or(0));
    let Some(name) = name else { return };
    let Ok(mut image) = NonpagedBox::<_, TAG_STATE>::try_new(Image {
        base,
        size,
        name,
        next: None,
    }) else {
        return;
    };
    let mut images = IMAGES.lock();
    if images.count < MOST {
        images.count = images.count.saturating_add(1);
        image.next = images.newest.take();
        images.newest = Some(image);
    }
}

/// Name of the image that contains one of the addresses; empty when there is none.
pub fn name_of(addresses: &[*const c_void]) -> ImageName {
    notified(addresses)
        .or_else(|| addresses.iter().find_map(|address| symbol_file(*address)))
        .unwrap_or_else(|| ImageName::from_str(""))
}

/// The newest image of those that were notified.
fn notified(addresses: &[*const c_void]) -> Option<ImageName> {
    let images = IMAGES.lock();
    let mut at = images.newest.as_ref();
    while let Some(image) = at {
        if addresses
            .iter()
            .any(|address| address.addr().wrapping_sub(image.base) < image.size)
        {
            return Some(image.name);
        }
        at = image.next.as_ref();
    }
    None
}

/// What the image around the address calls its symbols.
fn symbol_file(address: *const c_void) -> Option<ImageName> {
    let mut base = core::ptr::null_mut();
    // SAFETY: any address may be asked about; the out parameter is ours.
    unsafe { RtlPcToFileHeader(address.cast_mut(), &raw mut base) };
    let base = base.cast::<u8>();
    if base.is_null() {
        return None;
    }
    wskguard_core::symbols::symbol_file(|offset| {
        let at = base.wrapping_add(usize::try_from(offset).unwrap_or(0));
        // SAFETY: of a loaded image the headers and the sections that are not discarded stay mapped, and no others are asked for. It
        // stays loaded while a registration of its is looked at.
        unsafe { at.read_volatile() }
    })
}

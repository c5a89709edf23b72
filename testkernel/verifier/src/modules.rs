//! The modules of this process by address, for call stacks, for the loaded-module list and to know the verified drivers. Any IRQL.

extern crate alloc;

use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use probe_protocol::verifier::NAME;

use crate::image::Image;
use crate::sync::Lock;

/// A loaded module.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    pub(crate) base: usize,
    pub(crate) size: usize,
    pub(crate) name: [u8; NAME],
    /// A driver: an image for the native subsystem.
    pub(crate) native: bool,
    /// Under verification.
    pub(crate) target: bool,
    own: bool,
}

impl Module {
    fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.size
    }

    pub(crate) fn image(&self) -> Option<Image> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(self.base)).map(Image::at)
    }
}

static OWN_BASE: AtomicUsize = AtomicUsize::new(0);
static OWN_SIZE: AtomicUsize = AtomicUsize::new(0);
static MODULES: Lock<Vec<Module>> = Lock::new(Vec::new());

/// A module's name in a frame's form.
pub(crate) fn short_name(wide: &[u16]) -> [u8; NAME] {
    let mut name = [0; NAME];
    for (slot, &unit) in name.iter_mut().zip(wide) {
        *slot = u8::try_from(unit).unwrap_or(b'?').to_ascii_lowercase();
    }
    name
}

/// Adds a module that has been loaded.
pub(crate) fn add(image: Image, name: [u8; NAME], target: bool, own: bool) {
    let module = Module {
        base: image.base(),
        size: image.size(),
        name,
        native: image.is_native(),
        target,
        own,
    };
    if own {
        OWN_BASE.store(module.base, Ordering::Relaxed);
        OWN_SIZE.store(module.size, Ordering::Relaxed);
    }
    let mut modules = MODULES.lock();
    modules.retain(|other| other.base != module.base);
    modules.push(module);
}

/// Removes a module that is being unloaded.
pub(crate) fn remove(base: usize) {
    MODULES.lock().retain(|module| module.base != base);
}

/// The module at an address.
pub(crate) fn find(address: usize) -> Option<Module> {
    MODULES.lock().iter().find(|module| module.contains(address)).copied()
}

/// The module of this name.
pub(crate) fn named(name: &[u8; NAME]) -> Option<Module> {
    MODULES.lock().iter().find(|module| module.name == *name).copied()
}

/// A module's name and the offset in it; no name and the address itself outside of every module.
pub(crate) fn locate(address: usize) -> ([u8; NAME], usize) {
    find(address).map_or(([0; NAME], address), |module| {
        (module.name, address.wrapping_sub(module.base))
    })
}

/// Whether the address is in this driver.
pub(crate) fn is_own(address: usize) -> bool {
    address.wrapping_sub(OWN_BASE.load(Ordering::Relaxed)) < OWN_SIZE.load(Ordering::Relaxed)
}

/// Whether the address is in a verified driver.
pub(crate) fn is_target(address: usize) -> bool {
    MODULES
        .lock()
        .iter()
        .any(|module| module.target && module.contains(address))
}

/// How many verified drivers are loaded.
pub(crate) fn targets() -> usize {
    MODULES.lock().iter().filter(|module| module.target).count()
}

/// Every driver, in load order.
pub(crate) fn drivers() -> Vec<Module> {
    MODULES
        .lock()
        .iter()
        .filter(|module| module.native || module.own)
        .copied()
        .collect()
}

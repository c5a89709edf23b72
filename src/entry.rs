//! DriverEntry and DriverUnload: staged init, undone in reverse. `PASSIVE_LEVEL`.

use core::cell::UnsafeCell;

use wdk_sys::{
    DRIVER_OBJECT, NTSTATUS, OSVERSIONINFOW, PCUNICODE_STRING, PDRIVER_OBJECT, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
    ntddk::RtlGetVersion,
};
use wskguard_core::audit::Happened;

use crate::bypass::Watch;
use crate::client::Edge;
use crate::crash;
use crate::device::Device;
use crate::guard::{Guard, guard};
use crate::images;
use crate::nmr::UpperEdge;
use crate::{audit, trace};

/// Windows 10 2004: the first with `ExAllocatePool2`.
const LOWEST_BUILD: u32 = 19041;

/// What unloading undoes. Touched by DriverEntry and DriverUnload only, which never run at the same time.
struct Stages(UnsafeCell<Option<(Device, Edges)>>);
// SAFETY: see the type.
unsafe impl Sync for Stages {}

static STAGES: Stages = Stages(UnsafeCell::new(None));

/// Entry point. Fails with nothing left behind.
///
/// # Safety
/// Called by the I/O manager, once.
// SAFETY: the name is the one that the I/O manager looks for, and no other symbol has it.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: PDRIVER_OBJECT, _registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is ours while we initialise.
    match unsafe { start(driver) } {
        Ok(stages) => {
            // SAFETY: nobody else touches it now.
            unsafe { *STAGES.0.get() = Some(stages) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// All through which others reach the driver but its device.
struct Edges {
    notices: Watch,
    own: UpperEdge,
    transparent: Option<UpperEdge>,
}

impl Edges {
    fn open() -> Result<Self, NTSTATUS> {
        images::start()?;
        let notices = Watch::register().inspect_err(|_| images::stop())?;
        match UpperEdge::register(Edge::Own) {
            Ok(own) => Ok(Self {
                notices,
                own,
                transparent: guard().transparent.start(),
            }),
            Err(status) => {
                notices.deregister();
                images::stop();
                Err(status)
            }
        }
    }

    fn close(self) {
        if let Some(transparent) = self.transparent {
            transparent.deregister();
        }
        self.own.deregister();
        self.notices.deregister();
        images::stop();
    }
}

unsafe fn start(driver: PDRIVER_OBJECT) -> Result<(Device, Edges), NTSTATUS> {
    let windows = windows_version()?;
    trace::start();
    // SAFETY: as the caller promises.
    unsafe { start_traced(driver, windows) }.inspect_err(|_| trace::stop())
}

unsafe fn start_traced(driver: PDRIVER_OBJECT, windows: [u32; 3]) -> Result<(Device, Edges), NTSTATUS> {
    // SAFETY: as the caller promises.
    let device = unsafe { Device::create(driver) }?;
    Guard::create(driver, device.object(), windows)?;
    let edges = Edges::open().inspect_err(|_| Guard::destroy())?;
    // The device answers from here on.
    if let Err(status) = device.publish() {
        edges.close();
        Guard::destroy();
        return Err(status);
    }
    crash::start();
    Ok((device, edges))
}

fn windows_version() -> Result<[u32; 3], NTSTATUS> {
    let length = u32::try_from(size_of::<OSVERSIONINFOW>()).unwrap_or(0);
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: length,
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: the structure is ours and says how long it is.
    let status = unsafe { RtlGetVersion(&raw mut version) };
    if status < 0 {
        return Err(status);
    }
    if version.dwBuildNumber < LOWEST_BUILD {
        return Err(STATUS_NOT_SUPPORTED);
    }
    Ok([version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber])
}

/// DriverUnload: installed only while nobody is attached and nobody can attach, so there is nothing to wait for.
///
/// # Safety
/// Called by the I/O manager, once, after DriverEntry succeeded.
pub unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
    // Had draining ended between the I/O manager's look at DriverUnload and this call, clients would have to be waited for.
    guard().clients.lock().drain(true);
    // SAFETY: nobody else touches it now.
    if let Some((device, edges)) = unsafe { (*STAGES.0.get()).take() } {
        Device::unpublish();
        crash::stop();
        edges.close();
        guard().state.stopping();
        Guard::destroy();
        audit::event(Happened::Stopping, STATUS_SUCCESS, 0);
        trace::stop();
        drop(device);
    }
}

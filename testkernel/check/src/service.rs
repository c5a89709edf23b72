//! Kernel services: installing, starting, stopping.

use std::{io, ptr, thread, time::Duration};

use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ControlService, CreateServiceW, DeleteService, OpenSCManagerW, OpenServiceW,
    QueryServiceStatus, SC_HANDLE, SC_MANAGER_ALL_ACCESS, SERVICE_ALL_ACCESS, SERVICE_CONTROL_STOP,
    SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, SERVICE_KERNEL_DRIVER, SERVICE_STATUS, StartServiceW,
};

use crate::device::wide;

/// The load order group of the test kernel's drivers: Wine runs the drivers of a group in one process.
const GROUP: &str = "PNP_TDI";
const ALREADY_EXISTS: i32 = 1073;

#[derive(Debug)]
struct Handle(SC_HANDLE);

impl Handle {
    fn new(handle: SC_HANDLE) -> io::Result<Self> {
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(handle))
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: opened here.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// A kernel service.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    _manager: Handle,
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

impl Service {
    /// Installs a driver as a service, or opens the service when there is one.
    ///
    /// # Errors
    /// The service manager's.
    pub fn install(name: &str, file: &str) -> io::Result<Self> {
        let (name, file, group) = (wide(name), wide(file), wide(GROUP));
        // SAFETY: the local service manager and its active database.
        let manager = Handle::new(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_ALL_ACCESS) })?;
        // SAFETY: every text ends with NUL; the rest is absent.
        let created = unsafe {
            CreateServiceW(
                manager.0,
                name.as_ptr(),
                name.as_ptr(),
                SERVICE_ALL_ACCESS,
                SERVICE_KERNEL_DRIVER,
                SERVICE_DEMAND_START,
                SERVICE_ERROR_NORMAL,
                file.as_ptr(),
                group.as_ptr(),
                ptr::null_mut(),
                ptr::null(),
                ptr::null(),
                ptr::null(),
            )
        };
        let handle = match Handle::new(created) {
            Err(error) if error.raw_os_error() == Some(ALREADY_EXISTS) => {
                // SAFETY: the name ends with NUL.
                Handle::new(unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_ALL_ACCESS) })?
            }
            other => other?,
        };
        Ok(Self {
            handle,
            _manager: manager,
        })
    }

    /// Starts the driver.
    ///
    /// # Errors
    /// The service manager's.
    pub fn start(&self) -> io::Result<()> {
        // SAFETY: no arguments are passed on.
        check(unsafe { StartServiceW(self.handle.0, 0, ptr::null()) })
    }

    /// Asks the driver to stop.
    ///
    /// # Errors
    /// The service manager's: 1052 when the driver cannot be unloaded now.
    pub fn stop(&self) -> io::Result<()> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: a live local.
        check(unsafe { ControlService(self.handle.0, SERVICE_CONTROL_STOP, &raw mut status) })
    }

    /// The service's state: 1 stopped, 3 stopping, 4 running.
    ///
    /// # Errors
    /// The service manager's.
    pub fn state(&self) -> io::Result<u32> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: a live local.
        check(unsafe { QueryServiceStatus(self.handle.0, &raw mut status) })?;
        Ok(status.dwCurrentState)
    }

    /// Waits up to five seconds for a state.
    ///
    /// # Errors
    /// The service manager's, or a time-out.
    pub fn wait_for(&self, state: u32) -> io::Result<()> {
        for _ in 0..100 {
            if self.state()? == state {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Removes the service.
    ///
    /// # Errors
    /// The service manager's.
    pub fn delete(self) -> io::Result<()> {
        // SAFETY: opened here.
        check(unsafe { DeleteService(self.handle.0) })
    }
}

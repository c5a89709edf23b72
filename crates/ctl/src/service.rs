//! Stopping the driver's service, on Windows.

use std::{
    ptr,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{ERROR_ACCESS_DENIED, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NOT_ACTIVE, GetLastError},
    System::Services::{
        CloseServiceHandle, ControlService, OpenSCManagerW, OpenServiceW, QueryServiceStatus, SC_HANDLE,
        SC_MANAGER_CONNECT, SERVICE_CONTROL_STOP, SERVICE_QUERY_STATUS, SERVICE_STATUS, SERVICE_STOP, SERVICE_STOPPED,
    },
};
use wskguard_abi::SERVICE_NAME;

use crate::{device::wide, host::ServiceError};

const POLL: Duration = Duration::from_millis(100);

/// Stops the service and waits at most `patience` until it is stopped.
///
/// # Errors
/// See [`ServiceError`].
pub(crate) fn stop(patience: Duration) -> Result<(), ServiceError> {
    // SAFETY: null stands for this machine and its own database.
    let manager = Handle::new(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT) })?;
    let name = wide(SERVICE_NAME);
    // SAFETY: the handle is open, and the name ends with a zero.
    let service = unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_STOP | SERVICE_QUERY_STATUS) };
    let service = Handle::new(service)?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the handle is open, and the status is ours.
    done(unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &raw mut status) })?;
    let end = Instant::now() + patience;
    while status.dwCurrentState != SERVICE_STOPPED {
        if Instant::now() >= end {
            return Err(ServiceError::Timeout);
        }
        std::thread::sleep(POLL);
        // SAFETY: as above.
        done(unsafe { QueryServiceStatus(service.0, &raw mut status) })?;
    }
    Ok(())
}

struct Handle(SC_HANDLE);

impl Handle {
    fn new(handle: SC_HANDLE) -> Result<Self, ServiceError> {
        done(i32::from(!handle.is_null())).map(|()| Self(handle))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: open, and closed here only.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// The error of a call that returned this.
fn done(success: i32) -> Result<(), ServiceError> {
    if success != 0 {
        return Ok(());
    }
    // SAFETY: no requirements.
    Err(match unsafe { GetLastError() } {
        ERROR_ACCESS_DENIED => ServiceError::AccessDenied,
        ERROR_SERVICE_DOES_NOT_EXIST | ERROR_SERVICE_NOT_ACTIVE => ServiceError::NotRunning,
        error => ServiceError::Win32(error),
    })
}

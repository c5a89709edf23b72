//! The control device, on Windows. Requests go through `NtDeviceIoControlFile`, since `DeviceIoControl` would map the driver's
//! status to a Win32 error and lose it.

use std::{
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
    ptr,
};

use windows_sys::{
    Wdk::System::IO::NtDeviceIoControlFile,
    Win32::{
        Foundation::{
            ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, GENERIC_READ, GENERIC_WRITE, GetLastError,
            INVALID_HANDLE_VALUE,
        },
        Storage::FileSystem::{CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING},
        System::IO::{IO_STATUS_BLOCK, IO_STATUS_BLOCK_0},
    },
};
use wskguard_abi::{Code, WIN32_PATH};

use crate::{
    host::Access,
    transport::{Transport, TransportError},
};

/// An open handle of the control device. Calls wait for their answer; closing the handle cancels what is pended.
#[derive(Debug)]
pub struct Device(OwnedHandle);

impl Device {
    /// Opens the device for reading, and for changes if `access` says so.
    ///
    /// # Errors
    /// It is not there, or may not be opened.
    pub fn open(access: Access) -> Result<Self, TransportError> {
        let path = wide(WIN32_PATH);
        let rights = match access {
            Access::Read => GENERIC_READ,
            Access::Write => GENERIC_READ | GENERIC_WRITE,
        };
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        // SAFETY: the path ends with a zero and outlives the call; the pointers that are null may be.
        let handle = unsafe {
            CreateFileW(
                path.as_ptr(),
                rights,
                share,
                ptr::null(),
                OPEN_EXISTING,
                FILE_ATTRIBUTE_NORMAL,
                ptr::null_mut(),
            )
        };
        if handle == INVALID_HANDLE_VALUE {
            // SAFETY: no requirements.
            return Err(match unsafe { GetLastError() } {
                ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND => TransportError::Absent,
                ERROR_ACCESS_DENIED => TransportError::AccessDenied,
                error => TransportError::Win32(error),
            });
        }
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sends any code with any input: what tests do. The reply's length, or the NTSTATUS.
    ///
    /// # Errors
    /// An NTSTATUS that is not success.
    pub fn control(&self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, u32> {
        let mut block = IO_STATUS_BLOCK {
            Anonymous: IO_STATUS_BLOCK_0 { Status: 0 },
            Information: 0,
        };
        let (input_length, output_length) = (clamped(input.len()), clamped(output.len()));
        // SAFETY: the handle is open; it is synchronous, so block and buffers are done with when the call returns.
        let status = unsafe {
            NtDeviceIoControlFile(
                self.0.as_raw_handle(),
                ptr::null_mut(),
                None,
                ptr::null(),
                &raw mut block,
                code,
                input.as_ptr().cast(),
                input_length,
                output.as_mut_ptr().cast(),
                output_length,
            )
        };
        if status == 0 {
            Ok(block.Information)
        } else {
            Err(status.cast_unsigned())
        }
    }
}

impl AsRawHandle for Device {
    fn as_raw_handle(&self) -> std::os::windows::io::RawHandle {
        self.0.as_raw_handle()
    }
}

impl Transport for Device {
    fn call(&mut self, code: Code, input: &[u8], output: &mut [u8]) -> Result<usize, TransportError> {
        self.control(code as u32, input, output).map_err(TransportError::Status)
    }
}

/// The most of a buffer that can be told to the kernel.
fn clamped(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// UTF-16 with a terminating zero.
pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

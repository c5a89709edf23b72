//! A device that is open: device controls and their outcome.

use std::{ffi::c_void, io, ptr};

use windows_sys::Win32::{
    Foundation::{CloseHandle, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE},
    Storage::FileSystem::{CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING},
    System::{
        IO::{CancelIoEx, DeviceIoControl, GetOverlappedResultEx, OVERLAPPED},
        Threading::CreateEventW,
    },
};

/// UTF-16 with its NUL.
#[must_use]
pub fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// An open device. Closed when dropped.
#[derive(Debug)]
pub struct Device(HANDLE);

// SAFETY: a handle may be used by any thread.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

struct Event(HANDLE);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by the one who drops it.
        unsafe { CloseHandle(self.0) };
    }
}

const WAIT_TIMEOUT: i32 = 258;
const IO_INCOMPLETE: i32 = 996;
const IO_PENDING: i32 = 997;
/// How long, in milliseconds, a request may take.
const LIMIT: u32 = 20_000;

impl Device {
    /// Opens a device for reading and writing.
    ///
    /// # Errors
    /// What `CreateFileW` says. On the test kernel the driver's own answer comes with the first request instead.
    pub fn open(path: &str) -> io::Result<Self> {
        Self::open_for(path, GENERIC_READ | GENERIC_WRITE)
    }

    /// Opens a device with this access.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(path: &str, access: u32) -> io::Result<Self> {
        let path = wide(path);
        // SAFETY: the path ends with NUL; no security attributes or template.
        let handle = unsafe {
            CreateFileW(
                path.as_ptr(),
                access,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED,
                ptr::null_mut(),
            )
        };
        if handle == INVALID_HANDLE_VALUE {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(handle))
        }
    }

    /// Sends a device control and waits for its end; the bytes that came back.
    ///
    /// # Errors
    /// What the driver says, or a time-out after twenty seconds, which cancels the request.
    pub fn control(&self, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        self.control_within(code, input, output, LIMIT)
    }

    /// As [`Self::control`], with a limit in milliseconds.
    ///
    /// # Errors
    /// As [`Self::control`].
    #[allow(clippy::missing_panics_doc, reason = "it panics only for buffers of over 4 GiB")]
    pub fn control_within(&self, code: u32, input: &[u8], output: &mut [u8], limit: u32) -> io::Result<usize> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a request of less than 4 GiB");
        // SAFETY: no attributes, no name.
        let event = Event(unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) });
        let mut overlapped = OVERLAPPED {
            hEvent: event.0,
            ..OVERLAPPED::default()
        };
        // SAFETY: the buffers, the event and the structure stay until the request has ended: it is waited for below, cancelled or not.
        let started = unsafe {
            DeviceIoControl(
                self.0,
                code,
                input.as_ptr().cast(),
                length(input),
                output.as_mut_ptr().cast(),
                length(output),
                ptr::null_mut(),
                &raw mut overlapped,
            )
        };
        let error = io::Error::last_os_error();
        if started == 0 && error.raw_os_error() != Some(IO_PENDING) {
            return Err(error);
        }
        self.finish(&overlapped, limit).inspect_err(|error| {
            if matches!(error.raw_os_error(), Some(WAIT_TIMEOUT | IO_INCOMPLETE)) {
                // SAFETY: the request is still under way.
                unsafe { CancelIoEx(self.0, &raw const overlapped) };
                let _ = self.finish(&overlapped, LIMIT);
            }
        })
    }

    /// Waits for a request's end; the bytes that came back.
    fn finish(&self, overlapped: &OVERLAPPED, limit: u32) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: the structure of a request on this handle.
        if unsafe { GetOverlappedResultEx(self.0, &raw const *overlapped, &raw mut bytes, limit, 0) } == 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(bytes as usize)
        }
    }

    /// The handle, for what is not covered here.
    #[must_use]
    pub fn raw(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: opened here.
        unsafe { CloseHandle(self.0) };
    }
}

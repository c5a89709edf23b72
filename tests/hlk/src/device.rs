//! An open device whose requests have a time-out: a driver that never answers fails a test and does not hang it.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use anyhow::{Result, bail};
use windows_sys::{
    Wdk::System::IO::NtDeviceIoControlFile,
    Win32::{
        Foundation::{GENERIC_READ, GENERIC_WRITE, GetLastError, INVALID_HANDLE_VALUE, WAIT_OBJECT_0},
        Storage::FileSystem::{CreateFileW, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING},
        System::{
            IO::{CancelIoEx, IO_STATUS_BLOCK, IO_STATUS_BLOCK_0},
            Threading::{CreateEventW, WaitForSingleObject},
        },
    },
};

use crate::status;

/// How long a cancelled request may take to come back.
const AFTER_CANCEL_MS: u32 = 2000;

/// An open handle, for any thread.
#[derive(Debug)]
pub(crate) struct Device(OwnedHandle);

/// How a request ended: the I/O manager's status and information.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) status: i32,
    pub(crate) information: usize,
}

/// What a driver may still write to after a request was given up.
struct Flight {
    block: IO_STATUS_BLOCK,
    event: OwnedHandle,
    input: Vec<u8>,
    output: Vec<u8>,
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Device {
    pub(crate) fn open(path: &str) -> Result<Self> {
        let wide: Vec<u16> = path.encode_utf16().chain([0]).collect();
        // SAFETY: the path ends with a zero and outlives the call; the pointers that are null may be.
        let handle = unsafe {
            CreateFileW(
                wide.as_ptr(),
                GENERIC_READ | GENERIC_WRITE,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED,
                ptr::null_mut(),
            )
        };
        if handle == INVALID_HANDLE_VALUE {
            // SAFETY: no requirements.
            bail!("{path} cannot be opened: error {}", unsafe { GetLastError() });
        }
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sends one request. An error is a request that never came back.
    ///
    /// `NtDeviceIoControlFile`, since `DeviceIoControl` would map the driver's status to a Win32 error and lose it.
    pub(crate) fn control(
        &self,
        code: u32,
        input: Vec<u8>,
        room: usize,
        limit: Duration,
    ) -> Result<(Completion, Vec<u8>)> {
        // SAFETY: all arguments may be null or zero.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        // SAFETY: just made, and nobody else's; a null handle would have failed the open above long before.
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let block = IO_STATUS_BLOCK {
            Anonymous: IO_STATUS_BLOCK_0 { Status: 0 },
            Information: 0,
        };
        let mut flight = Box::new(Flight {
            block,
            event,
            input,
            output: vec![0; room],
        });
        let (input_length, output_length) = (u32::try_from(flight.input.len())?, u32::try_from(room)?);
        // SAFETY: the buffers and the status block live on the heap until the request is over, or forever.
        let returned = unsafe {
            NtDeviceIoControlFile(
                self.0.as_raw_handle(),
                flight.event.as_raw_handle(),
                None,
                ptr::null(),
                &raw mut flight.block,
                code,
                flight.input.as_ptr().cast(),
                input_length,
                flight.output.as_mut_ptr().cast(),
                output_length,
            )
        };
        if returned == status::PENDING && !wait(&flight.event, milliseconds(limit)) {
            self.give_up(flight)?;
            bail!("the driver did not answer within {limit:?}");
        }
        let refused = returned < 0;
        // SAFETY: both members of the union hold the status in their first four bytes; the request is over.
        let final_status = if refused {
            returned
        } else {
            // SAFETY: the request has ended, so the member that holds its status is the live one.
            unsafe { flight.block.Anonymous.Status }
        };
        let information = if refused { 0 } else { flight.block.Information };
        let mut output = std::mem::take(&mut flight.output);
        output.truncate(information);
        Ok((
            Completion {
                status: final_status,
                information,
            },
            output,
        ))
    }

    /// Cancels; memory of a request that does not even end then is left to the driver.
    fn give_up(&self, flight: Box<Flight>) -> Result<()> {
        let flight = Box::leak(flight);
        // SAFETY: the handle is open; an OVERLAPPED begins with the status block that names the request.
        unsafe { CancelIoEx(self.0.as_raw_handle(), (&raw const flight.block).cast()) };
        if wait(&flight.event, AFTER_CANCEL_MS) {
            bail!("the driver did not answer until it was cancelled");
        }
        Ok(())
    }
}

fn wait(event: &OwnedHandle, ms: u32) -> bool {
    // SAFETY: the handle is an event's.
    unsafe { WaitForSingleObject(event.as_raw_handle(), ms) == WAIT_OBJECT_0 }
}

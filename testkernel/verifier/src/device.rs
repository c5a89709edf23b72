//! The verifier's own device: what user mode asks and sets. `PASSIVE_LEVEL`. Its IRPs come straight from Wine's I/O manager.

use probe_protocol::verifier::{
    ARM_FAULTS, ArmFaults, CLEAR_STOPS, CoverageMap, CrashData, Info, Page, PageReply, PoolQuery, QUERY_COVERAGE,
    QUERY_CRASH, QUERY_CREATE, QUERY_EVENTS, QUERY_FAULTS, QUERY_IMPORTS, QUERY_INFO, QUERY_LEFT, QUERY_POOL,
    QUERY_RANGES, QUERY_RETIRED, QUERY_STOPS, Range, Request, SET_COVERAGE, SET_FLAGS, SET_RETIRED, SET_SESSION,
    Session, SetFlags, VERSION,
};
use wdk_rtl::irp as inline;
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, GUID, IRP, NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, STATUS_REVISION_MISMATCH, STATUS_SUCCESS,
    UNICODE_STRING, ntddk::IoCreateDevice, ntddk::IoCreateSymbolicLink, ntddk::IofCompleteRequest,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::irp;
use crate::{bugcheck, coverage, etw, imports, irptable, lowres, modules, pool, retired, settings, stop, user};

const FILE_DEVICE_UNKNOWN: u32 = 0x22;
const DO_BUFFERED_IO: u32 = 4;

fn string<const N: usize>(text: &[u16; N]) -> UNICODE_STRING {
    let bytes = u16::try_from(N.saturating_sub(1).saturating_mul(2)).unwrap_or(0);
    UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: text.as_ptr().cast_mut(),
    }
}

/// Makes the device and its link.
pub(crate) fn create(driver: &mut DRIVER_OBJECT) -> bool {
    static NAME: [u16; 27] = user::wide(r"\Device\TestKernelVerifier");
    static LINK: [u16; 31] = user::wide(r"\DosDevices\TestKernelVerifier");
    let (mut name, mut link) = (string(&NAME), string(&LINK));
    let mut device = core::ptr::null_mut();
    for (major, routine) in (0u8..).zip(&mut driver.MajorFunction) {
        match major {
            0 | 2 => *routine = Some(succeed),
            0x0e => *routine = Some(control),
            _ => {}
        }
    }
    // SAFETY: the names are static, the driver object is ours, the device a live local.
    unsafe {
        if IoCreateDevice(driver, 0, &raw mut name, FILE_DEVICE_UNKNOWN, 0, 0, &raw mut device) != STATUS_SUCCESS {
            return false;
        }
        (*device).Flags |= DO_BUFFERED_IO;
        IoCreateSymbolicLink(&raw mut link, &raw mut name) == STATUS_SUCCESS
    }
}

unsafe fn complete(request: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the caller has the request, and is done with it.
    unsafe {
        inline::set_status(request, status, information);
        IofCompleteRequest(request, 0);
    }
    status
}

unsafe extern "C" fn succeed(_device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands the request over.
    unsafe { complete(request, STATUS_SUCCESS, 0) }
}

unsafe extern "C" fn control(_device: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands over a device control; its system buffer has room for input and output, aligned as the heap aligns.
    unsafe {
        let control = irp::control(&*inline::current_location(request));
        let buffer: *mut u8 = (*request).AssociatedIrp.SystemBuffer.cast();
        let room = control.input.max(control.output);
        let buffer = if buffer.is_null() {
            &mut []
        } else {
            core::slice::from_raw_parts_mut(buffer, room)
        };
        match answer(control.code, control.input, control.output, buffer) {
            Ok(bytes) => complete(request, STATUS_SUCCESS, bytes),
            Err(status) => complete(request, status, 0),
        }
    }
}

/// Reads a request of this form, whose first field is the version.
fn input<T: FromBytes + KnownLayout + Immutable + Copy>(buffer: &[u8], length: usize) -> Result<T, NTSTATUS> {
    let bytes = buffer.get(..length).unwrap_or_default();
    let version = bytes.first_chunk().copied().map(u32::from_le_bytes);
    if version.is_some_and(|version| version != VERSION) {
        return Err(STATUS_REVISION_MISMATCH);
    }
    T::read_from_bytes(bytes).map_err(|_| STATUS_INVALID_PARAMETER)
}

/// Writes a reply of this form.
fn output<T: IntoBytes + Immutable>(buffer: &mut [u8], length: usize, value: &T) -> Result<usize, NTSTATUS> {
    let bytes = value.as_bytes();
    let room = buffer
        .get_mut(..length)
        .and_then(|room| room.get_mut(..bytes.len()))
        .ok_or(STATUS_BUFFER_TOO_SMALL)?;
    room.copy_from_slice(bytes);
    Ok(bytes.len())
}

/// Writes a page of a list.
fn list<T>(buffer: &mut [u8], length: usize, fill: impl FnOnce(&mut [T]) -> PageReply) -> Result<usize, NTSTATUS>
where
    T: FromBytes + IntoBytes + KnownLayout,
{
    let room = buffer.get_mut(..length).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    let (head, elements) = room
        .split_at_mut_checked(size_of::<PageReply>())
        .ok_or(STATUS_BUFFER_TOO_SMALL)?;
    let count = elements.len() / size_of::<T>();
    let (elements, _) = <[T]>::mut_from_prefix_with_elems(elements, count).map_err(|_| STATUS_INVALID_PARAMETER)?;
    let reply = fill(elements);
    head.copy_from_slice(reply.as_bytes());
    Ok(size_of::<PageReply>().saturating_add((reply.count as usize).saturating_mul(size_of::<T>())))
}

#[allow(clippy::cast_possible_truncation, reason = "counts of a few thousand")]
fn info() -> Info {
    Info {
        version: VERSION,
        flags: settings::flags(),
        stops: stop::count(),
        targets: modules::targets() as u32,
        calls: imports::calls(),
        faults: lowres::faults(),
        irps: irptable::count() as u32,
        blocks: pool::usage(0).blocks as u32,
    }
}

/// Images of drivers, then blocks of pool. The list changes from one page to the next; who asks has to be content with that.
fn ranges(first: usize, room: &mut [Range]) -> PageReply {
    let (mut total, mut count) = (0usize, 0usize);
    let mut add = |start: usize, length: usize, image: bool| {
        if total >= first
            && let Some(slot) = room.get_mut(count)
        {
            *slot = Range {
                start: start as u64,
                length: length as u64,
                image: image.into(),
            };
            count = count.saturating_add(1);
        }
        total = total.saturating_add(1);
    };
    for module in modules::drivers() {
        add(module.base, module.size, true);
    }
    pool::all(|start, length| add(start, length, false));
    #[allow(clippy::cast_possible_truncation, reason = "some thousands")]
    PageReply {
        total: total as u32,
        count: count as u32,
        ..PageReply::default()
    }
}

fn answer(code: u32, length: usize, room: usize, buffer: &mut [u8]) -> Result<usize, NTSTATUS> {
    match code {
        QUERY_CREATE => Ok(0),
        QUERY_INFO => {
            input::<Request>(buffer, length)?;
            output(buffer, room, &info())
        }
        SET_FLAGS => {
            settings::set(input::<SetFlags>(buffer, length)?.flags);
            Ok(0)
        }
        CLEAR_STOPS => {
            input::<Request>(buffer, length)?;
            stop::clear();
            Ok(0)
        }
        QUERY_POOL => {
            let usage = pool::usage(input::<PoolQuery>(buffer, length)?.tag);
            output(buffer, room, &usage)
        }
        ARM_FAULTS => lowres::arm(&input::<ArmFaults>(buffer, length)?).map(|()| 0),
        QUERY_STOPS => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| stop::page(first, room))
        }
        QUERY_FAULTS => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| lowres::page(first, room))
        }
        QUERY_EVENTS => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| etw::page(first, room))
        }
        SET_SESSION => {
            etw::listen(&input::<Session>(buffer, length)?);
            Ok(0)
        }
        QUERY_RANGES => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| ranges(first, room))
        }
        QUERY_IMPORTS => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| imports::page(first, room))
        }
        SET_COVERAGE => {
            let bytes = buffer.get(..length).unwrap_or_default();
            let map = CoverageMap::ref_from_bytes(bytes).map_err(|_| STATUS_INVALID_PARAMETER)?;
            if map.version != VERSION {
                return Err(STATUS_REVISION_MISMATCH);
            }
            coverage::add(map).map(|()| 0)
        }
        QUERY_COVERAGE => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| coverage::page(first, room))
        }
        QUERY_CRASH => {
            let number = input::<Page>(buffer, length)?.first as usize;
            let (name, data) = bugcheck::secondary_data(number).ok_or(STATUS_NOT_FOUND)?;
            crash_data(buffer, room, name, data)
        }
        SET_RETIRED => {
            let after_ms = input::<SetFlags>(buffer, length)?.flags;
            retired::set(after_ms).then_some(0).ok_or(STATUS_INVALID_DEVICE_STATE)
        }
        QUERY_RETIRED => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| retired::counted(first, room))
        }
        QUERY_LEFT => {
            let first = input::<Page>(buffer, length)?.first as usize;
            list(buffer, room, |room| retired::left(first, room))
        }
        _ => Err(STATUS_INVALID_DEVICE_REQUEST),
    }
}

/// Writes what a callback added to the dump.
fn crash_data(buffer: &mut [u8], length: usize, name: GUID, data: &[u8]) -> Result<usize, NTSTATUS> {
    // SAFETY: a GUID is 16 bytes without padding.
    let guid = unsafe { core::mem::transmute::<GUID, [u8; 16]>(name) };
    let head = CrashData {
        guid,
        length: u32::try_from(data.len()).map_err(|_| STATUS_BUFFER_TOO_SMALL)?,
        reserved: 0,
    };
    let written = output(buffer, length, &head)?;
    let end = written.saturating_add(data.len());
    let room = buffer.get_mut(..length).and_then(|room| room.get_mut(written..end));
    room.ok_or(STATUS_BUFFER_TOO_SMALL)?.copy_from_slice(data);
    Ok(end)
}

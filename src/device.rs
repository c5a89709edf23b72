//! The control device: made with a DACL for SYSTEM and Administrators before its name can be opened, and one context for each open.
//! `PASSIVE_LEVEL`; requests may come at any rate.

use core::ffi::c_void;
use core::ptr::NonNull;

use wdk_rtl::{irp, nonpaged::NonpagedBox};
use wdk_sys::{
    ACL, ACL_REVISION, DEVICE_OBJECT, DO_DEVICE_INITIALIZING, FILE_DEVICE_SECURE_OPEN, FILE_DEVICE_UNKNOWN, HANDLE,
    IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS, OBJ_KERNEL_HANDLE,
    PDRIVER_OBJECT, SECURITY_DESCRIPTOR, STATUS_INSUFFICIENT_RESOURCES, STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
    ntddk::{
        IoCreateDevice, IoCreateSymbolicLink, IoDeleteDevice, IoDeleteSymbolicLink, ObOpenObjectByPointer,
        RtlAddAccessAllowedAce, RtlCreateAcl, RtlCreateSecurityDescriptor, RtlSetDaclSecurityDescriptor, ZwClose,
        ZwSetSecurityObject,
    },
};

use crate::guard::{TAG_STATE, guard};
use crate::ioctl::{self, Opened};

/// UTF-16 of an ASCII name, at compile time.
pub const fn wide<const N: usize>(name: &str) -> [u16; N] {
    let mut out = [0; N];
    let mut to: &mut [u16] = &mut out;
    let mut from = name.as_bytes();
    while let ([first, rest @ ..], [byte, more @ ..]) = (to, from) {
        *first = *byte as u16;
        to = rest;
        from = more;
    }
    out
}

static DEVICE: [u16; wskguard_abi::DEVICE_NAME.len()] = wide(wskguard_abi::DEVICE_NAME);
static LINK: [u16; wskguard_abi::LINK_NAME.len()] = wide(wskguard_abi::LINK_NAME);

/// A counted string over a static name.
pub fn counted(name: &'static [u16]) -> UNICODE_STRING {
    let bytes = u16::try_from(size_of_val(name)).unwrap_or(0);
    UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: name.as_ptr().cast_mut(),
    }
}

/// The control device. Dropping it deletes it.
pub struct Device(*mut DEVICE_OBJECT);

impl Device {
    /// Makes the device, protects it, and sets the driver's dispatch routines.
    ///
    /// # Safety
    /// `driver` is the driver object that DriverEntry was given.
    pub unsafe fn create(driver: PDRIVER_OBJECT) -> Result<Self, NTSTATUS> {
        let mut name = counted(&DEVICE);
        let mut object = core::ptr::null_mut();
        // SAFETY: as the caller promises; the out parameter is ours.
        let status = unsafe {
            IoCreateDevice(
                driver,
                0,
                &raw mut name,
                FILE_DEVICE_UNKNOWN,
                FILE_DEVICE_SECURE_OPEN,
                0,
                &raw mut object,
            )
        };
        if status < 0 {
            return Err(status);
        }
        let device = Self(object);
        protect(object)?;
        // SAFETY: the driver object is ours while we initialise.
        let routines = unsafe { &mut (*driver).MajorFunction };
        for (major, routine) in [
            (
                IRP_MJ_CREATE,
                opened as unsafe extern "C" fn(*mut DEVICE_OBJECT, *mut IRP) -> NTSTATUS,
            ),
            (IRP_MJ_CLEANUP, cleaned_up),
            (IRP_MJ_CLOSE, closed),
            (IRP_MJ_DEVICE_CONTROL, controlled),
        ] {
            if let Some(slot) = usize::try_from(major).ok().and_then(|major| routines.get_mut(major)) {
                *slot = Some(routine);
            }
        }
        Ok(device)
    }

    pub fn object(&self) -> *mut DEVICE_OBJECT {
        self.0
    }

    /// Lets it be opened by its name.
    pub fn publish(&self) -> Result<(), NTSTATUS> {
        let (mut device, mut link) = (counted(&DEVICE), counted(&LINK));
        // SAFETY: both names are static.
        let status = unsafe { IoCreateSymbolicLink(&raw mut link, &raw mut device) };
        if status < 0 {
            return Err(status);
        }
        // SAFETY: the device is ours.
        unsafe { (*self.0).Flags &= !DO_DEVICE_INITIALIZING };
        Ok(())
    }

    /// Takes the name back.
    pub fn unpublish() {
        let mut link = counted(&LINK);
        // SAFETY: the name is static. A link that is gone is as good as deleted.
        let _ = unsafe { IoDeleteSymbolicLink(&raw mut link) };
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: made by `create`, deleted once.
        unsafe { IoDeleteDevice(self.0) };
    }
}

/// SYSTEM, S-1-5-18.
static SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
/// Administrators, S-1-5-32-544.
static ADMINISTRATORS: [u8; 16] = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

/// Room for an ACL with both entries.
#[repr(C, align(8))]
struct AclRoom([u8; 128]);

/// Puts the DACL in force, before the device has a name that anybody could open.
fn protect(object: *mut DEVICE_OBJECT) -> Result<(), NTSTATUS> {
    const WRITE_DAC: u32 = 0x0004_0000;
    const DACL_SECURITY_INFORMATION: u32 = 4;
    const KERNEL_MODE: i8 = 0;
    let mut room = AclRoom([0; 128]);
    let mut descriptor = SECURITY_DESCRIPTOR::default();
    let descriptor = (&raw mut descriptor).cast::<c_void>();
    build_descriptor(&mut room, descriptor)?;
    let mut handle: HANDLE = core::ptr::null_mut();
    // SAFETY: the device is ours; the out parameter too.
    checked(unsafe {
        ObOpenObjectByPointer(
            object.cast(),
            OBJ_KERNEL_HANDLE,
            core::ptr::null_mut(),
            WRITE_DAC,
            core::ptr::null_mut(),
            KERNEL_MODE,
            &raw mut handle,
        )
    })?;
    // SAFETY: the handle is open for WRITE_DAC, and the descriptor complete.
    let status = unsafe { ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, descriptor) };
    // SAFETY: opened above.
    let _ = unsafe { ZwClose(handle) };
    checked(status)
}

/// A descriptor whose DACL gives SYSTEM and Administrators all access, and nobody else any.
fn build_descriptor(room: &mut AclRoom, descriptor: *mut c_void) -> Result<(), NTSTATUS> {
    const SECURITY_DESCRIPTOR_REVISION: u32 = 1;
    const GENERIC_ALL: u32 = 0x1000_0000;
    let acl: *mut ACL = room.0.as_mut_ptr().cast();
    let length = u32::try_from(size_of::<AclRoom>()).unwrap_or(0);
    // SAFETY: the room is aligned and that long.
    checked(unsafe { RtlCreateAcl(acl, length, ACL_REVISION) })?;
    for sid in [SYSTEM.as_slice(), ADMINISTRATORS.as_slice()] {
        // SAFETY: the ACL was just made, and the SIDs are well-formed and only read.
        checked(unsafe { RtlAddAccessAllowedAce(acl, ACL_REVISION, GENERIC_ALL, sid.as_ptr().cast_mut().cast()) })?;
    }
    // SAFETY: the descriptor is ours.
    checked(unsafe { RtlCreateSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION) })?;
    // SAFETY: descriptor and ACL live until the caller is done.
    checked(unsafe { RtlSetDaclSecurityDescriptor(descriptor, 1, acl, 0) })
}

fn checked(status: NTSTATUS) -> Result<(), NTSTATUS> {
    if status < 0 { Err(status) } else { Ok(()) }
}

unsafe fn complete(request: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    // SAFETY: the I/O manager gave us the IRP.
    unsafe { irp::set_status(request, status, information) };
    // SAFETY: as above; nobody touches it afterwards.
    unsafe { irp::complete(request, irp::IO_NO_INCREMENT) };
    status
}

/// What this open keeps.
unsafe fn context<'a>(request: *mut IRP) -> Option<&'a Opened> {
    // SAFETY: the IRP is valid.
    let file = unsafe { irp::file_object(request) };
    // SAFETY: as above.
    let file = unsafe { file.as_ref() }?;
    // SAFETY: `opened` put it there, and `closed` is the last to see it.
    unsafe { file.FsContext.cast::<Opened>().as_ref() }
}

unsafe extern "C" fn opened(_: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    let status = match NonpagedBox::<_, TAG_STATE>::try_new(Opened::new()) {
        Ok(opened) => {
            let opened = opened.into_raw();
            // SAFETY: valid until `closed` removes and frees it.
            unsafe { guard().waiters.add(opened) };
            // SAFETY: the IRP is valid.
            let file = unsafe { irp::file_object(request) };
            // SAFETY: a create has a file object, which is being set up for us.
            unsafe { (*file).FsContext = opened.as_ptr().cast() };
            STATUS_SUCCESS
        }
        Err(_) => STATUS_INSUFFICIENT_RESOURCES,
    };
    // SAFETY: the I/O manager gave us the IRP.
    unsafe { complete(request, status, 0) }
}

unsafe extern "C" fn cleaned_up(_: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gave us the IRP.
    if let Some(opened) = unsafe { context(request) } {
        guard().waiters.abandon(opened);
    }
    // SAFETY: as above.
    unsafe { complete(request, STATUS_SUCCESS, 0) }
}

unsafe extern "C" fn closed(_: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gave us the IRP.
    if let Some(opened) = unsafe { context(request) } {
        guard().waiters.abandon(opened);
        guard().waiters.remove(opened);
        // SAFETY: made by `opened`; this is the last request of the file object.
        drop(unsafe { NonpagedBox::<Opened, TAG_STATE>::from_raw(NonNull::from(opened)) });
    }
    // SAFETY: as above.
    unsafe { complete(request, STATUS_SUCCESS, 0) }
}

unsafe extern "C" fn controlled(_: *mut DEVICE_OBJECT, request: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gave us the IRP, whose current location is a device control.
    let parameters = unsafe { irp::device_control(request) };
    // SAFETY: METHOD_BUFFERED: one buffer, as long as the longer of input and output.
    let buffer = unsafe { irp::system_buffer(request) }.cast::<u8>();
    let (input, output) = (parameters.input as usize, parameters.output as usize);
    let length = if buffer.is_null() { 0 } else { input.max(output) };
    let buffer = NonNull::new(buffer).unwrap_or(NonNull::dangling());
    // SAFETY: as above; it is ours until the IRP is completed.
    let bytes = unsafe { core::slice::from_raw_parts_mut(buffer.as_ptr(), length) };
    // SAFETY: the I/O manager gave us the IRP.
    let Some(opened) = (unsafe { context(request) }) else {
        // SAFETY: as above.
        return unsafe { complete(request, wdk_sys::STATUS_INVALID_DEVICE_REQUEST, 0) };
    };
    // SAFETY: the IRP is ours; a handler that pends it has marked it so.
    match unsafe {
        ioctl::dispatch(
            parameters.code,
            bytes,
            input.min(length),
            output.min(length),
            opened,
            request,
        )
    } {
        // SAFETY: not pended, so ours to complete.
        Ok(written) => unsafe { complete(request, STATUS_SUCCESS, written) },
        Err(STATUS_PENDING) => STATUS_PENDING,
        // SAFETY: as above.
        Err(status) => unsafe { complete(request, status, 0) },
    }
}

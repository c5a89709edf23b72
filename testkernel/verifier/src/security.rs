//! Access to devices: the security descriptor that a driver set on its device, against the token of who opens it. `PASSIVE_LEVEL`.
//!
//! Wine's server keeps a device's descriptor but does not ask it when the device is opened.

use core::ffi::c_void;

use wdk_sys::{DEVICE_OBJECT, GENERIC_MAPPING, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_SUCCESS};

use crate::server::CreateRequest;
use crate::system::Native;

type Handle = *mut c_void;

const DACL_OWNER_GROUP: u32 = 7;
const READ_CONTROL: u32 = 0x0002_0000;
const THREAD_QUERY_INFORMATION: u32 = 0x40;
const PROCESS_QUERY_INFORMATION: u32 = 0x400;
const TOKEN_DUPLICATE_QUERY: u32 = 0x0a;
const TOKEN_IMPERSONATION: i32 = 2;

static FILE_MAPPING: GENERIC_MAPPING = GENERIC_MAPPING {
    GenericRead: 0x0012_0089,
    GenericWrite: 0x0012_0116,
    GenericExecute: 0x0012_00a0,
    GenericAll: 0x001f_01ff,
};

/// A handle that is closed when it goes.
struct Owned(Handle);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: opened here.
        unsafe { crate::user::CloseHandle(self.0) };
    }
}

fn opened(handle: Handle, status: NTSTATUS) -> Option<Owned> {
    (status >= 0).then_some(Owned(handle))
}

/// The security descriptor of a device, self-relative, if it has one.
fn descriptor(device: *mut DEVICE_OBJECT, room: &mut [u64]) -> bool {
    type Query = unsafe extern "system" fn(Handle, u32, *mut c_void, u32, *mut u32) -> NTSTATUS;
    static QUERY: Native = Native::new(c"NtQuerySecurityObject");
    let mut handle = core::ptr::null_mut();
    // SAFETY: the device exists; the handle is a live local.
    let status = unsafe {
        wdk_sys::ntddk::ObOpenObjectByPointer(
            device.cast(),
            0,
            core::ptr::null_mut(),
            READ_CONTROL,
            core::ptr::null_mut(),
            0,
            &raw mut handle,
        )
    };
    // SAFETY: that is its signature.
    let (Some(handle), Some(query)) = (opened(handle, status), unsafe { QUERY.get::<Query>() }) else {
        return false;
    };
    let bytes = u32::try_from(size_of_val(room)).unwrap_or(0);
    let mut needed = 0;
    // SAFETY: the room has that many bytes.
    unsafe {
        query(
            handle.0,
            DACL_OWNER_GROUP,
            room.as_mut_ptr().cast(),
            bytes,
            &raw mut needed,
        ) == STATUS_SUCCESS
    }
}

/// The token that a thread of another process acts with, as one to impersonate with.
fn token(thread: u32) -> Option<Owned> {
    type Open = unsafe extern "system" fn(*mut Handle, u32, *const c_void, *const [usize; 2]) -> NTSTATUS;
    type ThreadToken = unsafe extern "system" fn(Handle, u32, u8, *mut Handle) -> NTSTATUS;
    type ProcessToken = unsafe extern "system" fn(Handle, u32, *mut Handle) -> NTSTATUS;
    type Duplicate = unsafe extern "system" fn(Handle, u32, *const c_void, u8, i32, *mut Handle) -> NTSTATUS;
    type Information = unsafe extern "system" fn(Handle, u32, *mut c_void, u32, *mut u32) -> NTSTATUS;
    static OPEN_THREAD: Native = Native::new(c"NtOpenThread");
    static OPEN_PROCESS: Native = Native::new(c"NtOpenProcess");
    static THREAD_TOKEN: Native = Native::new(c"NtOpenThreadToken");
    static PROCESS_TOKEN: Native = Native::new(c"NtOpenProcessToken");
    static DUPLICATE: Native = Native::new(c"NtDuplicateToken");
    static INFORMATION: Native = Native::new(c"NtQueryInformationThread");
    /// `OBJECT_ATTRIBUTES` without a name.
    const NAMELESS: [usize; 6] = [48, 0, 0, 0, 0, 0];
    /// `SECURITY_QUALITY_OF_SERVICE`: impersonation.
    static QUALITY: [u32; 3] = [12, 2, 0];

    let mut handle = core::ptr::null_mut();
    // SAFETY: these are the functions' signatures; every pointer is to a live local or constant.
    unsafe {
        let id = [0, thread as usize];
        let status = OPEN_THREAD.get::<Open>()?(
            &raw mut handle,
            THREAD_QUERY_INFORMATION,
            NAMELESS.as_ptr().cast(),
            &raw const id,
        );
        let thread = opened(handle, status)?;
        let status = THREAD_TOKEN.get::<ThreadToken>()?(thread.0, TOKEN_DUPLICATE_QUERY, 1, &raw mut handle);
        let primary = if let Some(token) = opened(handle, status) {
            token
        } else {
            // THREAD_BASIC_INFORMATION: the process id is its third word.
            let mut basic = [0usize; 6];
            let room = u32::try_from(size_of_val(&basic)).unwrap_or(0);
            let status =
                INFORMATION.get::<Information>()?(thread.0, 0, basic.as_mut_ptr().cast(), room, core::ptr::null_mut());
            let [_, _, process, ..] = basic;
            if status != STATUS_SUCCESS {
                return None;
            }
            let id = [process, 0];
            let status = OPEN_PROCESS.get::<Open>()?(
                &raw mut handle,
                PROCESS_QUERY_INFORMATION,
                NAMELESS.as_ptr().cast(),
                &raw const id,
            );
            let process = opened(handle, status)?;
            let status = PROCESS_TOKEN.get::<ProcessToken>()?(process.0, TOKEN_DUPLICATE_QUERY, &raw mut handle);
            opened(handle, status)?
        };
        let mut attributes = NAMELESS;
        let [.., quality] = &mut attributes;
        *quality = QUALITY.as_ptr().expose_provenance();
        let status = DUPLICATE.get::<Duplicate>()?(
            primary.0,
            TOKEN_DUPLICATE_QUERY,
            attributes.as_ptr().cast(),
            0,
            TOKEN_IMPERSONATION,
            &raw mut handle,
        );
        opened(handle, status)
    }
}

/// Whether the caller's token has this access under a security descriptor.
fn granted(descriptor: *mut c_void, token: Handle, access: u32) -> Option<bool> {
    type Check = unsafe extern "system" fn(
        *mut c_void,
        Handle,
        u32,
        *const GENERIC_MAPPING,
        *mut c_void,
        *mut u32,
        *mut u32,
        *mut NTSTATUS,
    ) -> NTSTATUS;
    static CHECK: Native = Native::new(c"NtAccessCheck");
    let mut privileges = [0u64; 64];
    let mut bytes = u32::try_from(size_of_val(&privileges)).unwrap_or(0);
    let (mut allowed, mut result) = (0, STATUS_ACCESS_DENIED);
    // SAFETY: that is its signature; the descriptor is a valid one, and every pointer is to a live local.
    let status = unsafe {
        CHECK.get::<Check>()?(
            descriptor,
            token,
            access,
            &raw const FILE_MAPPING,
            privileges.as_mut_ptr().cast(),
            &raw mut bytes,
            &raw mut allowed,
            &raw mut result,
        )
    };
    (status == STATUS_SUCCESS).then_some(result == STATUS_SUCCESS)
}

fn mapped(access: u32) -> u32 {
    let generic = [
        (0x8000_0000, FILE_MAPPING.GenericRead),
        (0x4000_0000, FILE_MAPPING.GenericWrite),
        (0x2000_0000, FILE_MAPPING.GenericExecute),
        (0x1000_0000, FILE_MAPPING.GenericAll),
    ];
    let specific = generic
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .fold(0, |all, (_, rights)| all | rights);
    (access & 0x0fff_ffff) | specific
}

/// Whether a create request may reach the device.
pub(crate) fn check_open(device: *mut DEVICE_OBJECT, request: CreateRequest) -> Result<(), NTSTATUS> {
    let mut room = [0u64; 256];
    if !descriptor(device, &mut room) {
        return Ok(());
    }
    let Some(token) = token(request.thread) else {
        return Ok(());
    };
    match granted(room.as_mut_ptr().cast(), token.0, mapped(request.access)) {
        Some(false) => Err(STATUS_ACCESS_DENIED),
        _ => Ok(()),
    }
}

/// Whether the token that a thread acts with has this access under a security descriptor.
pub(crate) fn caller_has(descriptor: *mut c_void, thread: u32, access: u32) -> bool {
    token(thread)
        .and_then(|token| granted(descriptor, token.0, mapped(access)))
        .unwrap_or(false)
}

//! Objects that a driver makes and must undo: symbolic links, handles, threads. `PASSIVE_LEVEL`.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdk_sys::{
    ACCESS_MASK, CLIENT_ID, IO_STATUS_BLOCK, LARGE_INTEGER, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_SUCCESS,
    UNICODE_STRING,
    ntddk::{
        IoCreateSymbolicLink, IoDeleteSymbolicLink, ObOpenObjectByPointer, PsCreateSystemThread,
        PsTerminateSystemThread, ZwClose, ZwCreateFile, ZwCreateKey, ZwOpenFile, ZwOpenKey,
    },
};

use crate::callback;
use crate::exports::exports;
use crate::stop;
use crate::sync::Lock;
use crate::thread::PASSIVE;
use crate::user;

type Handle = *mut c_void;
type Start = unsafe extern "C" fn(*mut c_void);

/// Symbolic links by name, and who made them.
static LINKS: Lock<BTreeMap<Vec<u16>, usize>> = Lock::new(BTreeMap::new());
/// Open handles, and who opened them.
static HANDLES: Lock<BTreeMap<usize, usize>> = Lock::new(BTreeMap::new());
/// System threads from their making to their end: start routine, and id once they run. By the address of what they were given.
static THREADS: Lock<BTreeMap<usize, (usize, u32)>> = Lock::new(BTreeMap::new());

unsafe fn text(name: *const UNICODE_STRING) -> Vec<u16> {
    // SAFETY: the driver's string.
    unsafe {
        let name = &*name;
        core::slice::from_raw_parts(name.Buffer, usize::from(name.Length / 2)).to_vec()
    }
}

unsafe extern "system" fn create_link(name: *mut UNICODE_STRING, target: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver's strings.
    unsafe {
        let status = IoCreateSymbolicLink(name, target);
        if status == STATUS_SUCCESS {
            LINKS.lock().insert(text(name), stop::caller());
        }
        status
    }
}

unsafe extern "system" fn delete_link(name: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver's string.
    unsafe {
        LINKS.lock().remove(&text(name));
        IoDeleteSymbolicLink(name)
    }
}

/// Notes a handle that was opened.
pub(crate) unsafe fn opened(handle: *mut Handle, status: NTSTATUS) -> NTSTATUS {
    if status == STATUS_SUCCESS && !handle.is_null() {
        // SAFETY: the driver's variable, which was just written.
        HANDLES.lock().insert(unsafe { handle.read() }.addr(), stop::caller());
    }
    status
}

unsafe extern "system" fn close(handle: Handle) -> NTSTATUS {
    HANDLES.lock().remove(&handle.addr());
    // SAFETY: the driver's handle.
    unsafe { ZwClose(handle) }
}

unsafe extern "system" fn create_key(
    key: *mut Handle,
    access: ACCESS_MASK,
    attributes: *mut OBJECT_ATTRIBUTES,
    index: u32,
    class: *mut UNICODE_STRING,
    options: u32,
    disposition: *mut u32,
) -> NTSTATUS {
    // SAFETY: the driver's arguments.
    unsafe {
        opened(
            key,
            ZwCreateKey(key, access, attributes, index, class, options, disposition),
        )
    }
}

unsafe extern "system" fn open_key(
    key: *mut Handle,
    access: ACCESS_MASK,
    attributes: *mut OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    // SAFETY: the driver's arguments.
    unsafe { opened(key, ZwOpenKey(key, access, attributes)) }
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn create_file(
    file: *mut Handle,
    access: ACCESS_MASK,
    attributes: *mut OBJECT_ATTRIBUTES,
    iosb: *mut IO_STATUS_BLOCK,
    size: *mut LARGE_INTEGER,
    file_attributes: u32,
    share: u32,
    disposition: u32,
    options: u32,
    extended: *mut c_void,
    extended_length: u32,
) -> NTSTATUS {
    // SAFETY: the driver's arguments.
    unsafe {
        let status = ZwCreateFile(
            file,
            access,
            attributes,
            iosb,
            size,
            file_attributes,
            share,
            disposition,
            options,
            extended,
            extended_length,
        );
        opened(file, status)
    }
}

unsafe extern "system" fn open_file(
    file: *mut Handle,
    access: ACCESS_MASK,
    attributes: *mut OBJECT_ATTRIBUTES,
    iosb: *mut IO_STATUS_BLOCK,
    share: u32,
    options: u32,
) -> NTSTATUS {
    // SAFETY: the driver's arguments.
    unsafe { opened(file, ZwOpenFile(file, access, attributes, iosb, share, options)) }
}

unsafe extern "system" fn open_object(
    object: *mut c_void,
    attributes: u32,
    state: *mut wdk_sys::_ACCESS_STATE,
    access: ACCESS_MASK,
    kind: *mut wdk_sys::_OBJECT_TYPE,
    mode: i8,
    handle: *mut Handle,
) -> NTSTATUS {
    // SAFETY: the driver's arguments.
    unsafe {
        opened(
            handle,
            ObOpenObjectByPointer(object, attributes, state, access, kind, mode, handle),
        )
    }
}

struct Launch {
    routine: Start,
    context: *mut c_void,
}

unsafe extern "C" fn launch(request: *mut c_void) {
    // SAFETY: boxed by `create_thread`; this thread is the only one to get it.
    let launch = unsafe { Box::from_raw(request.cast::<Launch>()) };
    // SAFETY: no preconditions.
    let id = unsafe { user::GetCurrentThreadId() };
    let routine = launch.routine as usize;
    THREADS.lock().insert(request.addr(), (routine, id));
    callback::run("system thread", routine, PASSIVE, false, || {
        // SAFETY: the driver's routine with its context.
        unsafe { (launch.routine)(launch.context) };
    });
    ended(id);
}

fn ended(id: u32) {
    THREADS.lock().retain(|_, thread| thread.1 != id);
}

unsafe extern "system" fn create_thread(
    handle: *mut Handle,
    access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    process: Handle,
    client: *mut CLIENT_ID,
    routine: Start,
    context: *mut c_void,
) -> NTSTATUS {
    let request = Box::into_raw(Box::new(Launch { routine, context }));
    THREADS.lock().insert(request.addr(), (routine as usize, 0));
    // SAFETY: the driver's arguments; the routine is ours, and gets what was boxed for it.
    unsafe {
        let status = PsCreateSystemThread(
            handle,
            access,
            attributes,
            process,
            client,
            Some(launch),
            request.cast(),
        );
        if status != STATUS_SUCCESS {
            THREADS.lock().remove(&request.addr());
            drop(Box::from_raw(request));
        }
        opened(handle, status)
    }
}

unsafe extern "system" fn terminate_thread(status: NTSTATUS) -> NTSTATUS {
    // SAFETY: no preconditions.
    ended(unsafe { user::GetCurrentThreadId() });
    // SAFETY: the driver ends its own thread.
    unsafe { PsTerminateSystemThread(status) }
}

/// Links that exist: name, who made them.
pub(crate) fn links(mut visit: impl FnMut(&[u16], usize)) {
    let links = LINKS.lock().clone();
    for (name, owner) in &links {
        visit(name, *owner);
    }
}

/// Deletes the links of an owner that is chosen: they have been reported, and stand in the way of its next start.
pub(crate) fn delete_links(mut chosen: impl FnMut(usize) -> bool) {
    let links = LINKS.lock().clone();
    for (mut name, _) in links.into_iter().filter(|(_, owner)| chosen(*owner)) {
        let length = u16::try_from(name.len().saturating_mul(2)).unwrap_or(0);
        let mut text = UNICODE_STRING {
            Length: length,
            MaximumLength: length,
            Buffer: name.as_mut_ptr(),
        };
        // SAFETY: a live local.
        let _ = unsafe { delete_link(&raw mut text) };
    }
}

/// Handles that are open: handle, who opened them.
pub(crate) fn handles(mut visit: impl FnMut(usize, usize)) {
    let handles = HANDLES.lock().clone();
    for (handle, owner) in handles {
        visit(handle, owner);
    }
}

/// Forgets the handles of an owner that is chosen.
pub(crate) fn forget_handles(mut chosen: impl FnMut(usize) -> bool) {
    HANDLES.lock().retain(|_, owner| !chosen(*owner));
}

/// Threads that run: id, start routine.
pub(crate) fn threads(mut visit: impl FnMut(u32, usize)) {
    let threads = THREADS.lock().clone();
    for (routine, id) in threads.values() {
        visit(*id, *routine);
    }
}

exports! {
    IoCreateSymbolicLink => create_link,
    IoDeleteSymbolicLink => delete_link,
    ZwClose => close,
    ZwCreateKey => create_key,
    ZwOpenKey => open_key,
    ZwCreateFile => create_file,
    ZwOpenFile => open_file,
    ObOpenObjectByPointer => open_object,
    PsCreateSystemThread => create_thread,
    PsTerminateSystemThread => terminate_thread,
}

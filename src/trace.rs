//! Audit records as events for tracing sessions (ETW). What an event says is `core::trace`'s business; nothing is done, and nothing is
//! called, while no session listens. Register and unregister: `PASSIVE_LEVEL`; the rest: any IRQL, since all data is resident.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wdk_sys::{
    EVENT_DATA_DESCRIPTOR, EVENT_DESCRIPTOR, EVENT_FILTER_DESCRIPTOR, GUID, NTSTATUS, PVOID, STATUS_SUCCESS,
    ntddk::{EtwRegister, EtwUnregister, EtwWriteTransfer},
};
use wskguard_core::audit::AuditRecord;
use wskguard_core::trace::{self, PROVIDER, PROVIDER_ID, Texts};
use zerocopy::IntoBytes;

/// `EVENT_CONTROL_CODE_*`.
const DISABLE: u32 = 0;
const ENABLE: u32 = 1;
/// A session that names no level wants all.
const EVERY_LEVEL: u8 = 255;
/// `EventProviderSetTraits`.
const SET_TRAITS: i32 = 2;
/// The channel of events that describe themselves.
const CHANNEL_TRACELOGGING: u8 = 11;

static ID: GUID = GUID {
    Data1: PROVIDER_ID.0,
    Data2: PROVIDER_ID.1,
    Data3: PROVIDER_ID.2,
    Data4: PROVIDER_ID.3,
};

/// 0 when the provider is not registered.
static HANDLE: AtomicU64 = AtomicU64::new(0);
/// The least important level that a session listens to; 0 when none listens.
static LEVEL: AtomicU32 = AtomicU32::new(0);
/// A session wants events with any of the first keywords, and all of the second.
static ANY: AtomicU64 = AtomicU64::new(0);
static ALL: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// wdm.h, Windows 8 and later.
    fn EtwSetInformation(handle: u64, class: i32, information: *const c_void, length: u32) -> NTSTATUS;
}

/// Makes the provider known. Without it everything else works, so a failure is none of the driver's. `PASSIVE_LEVEL`, before the first
/// record.
pub fn start() {
    let mut handle = 0;
    // SAFETY: the GUID and the callback are static, and `stop` comes before they go.
    let status = unsafe { EtwRegister(&raw const ID, Some(enabled), core::ptr::null_mut(), &raw mut handle) };
    if status != STATUS_SUCCESS {
        return;
    }
    let length = u32::try_from(PROVIDER.len()).unwrap_or(0);
    // SAFETY: our handle; the traits are static. Sessions do without them if it fails.
    let _ = unsafe { EtwSetInformation(handle, SET_TRAITS, PROVIDER.as_ptr().cast(), length) };
    HANDLE.store(handle, Ordering::Release);
}

/// Takes the provider back, and returns when its callback has. `PASSIVE_LEVEL`, after the last record.
pub fn stop() {
    let handle = HANDLE.swap(0, Ordering::AcqRel);
    if handle != 0 {
        // SAFETY: registered by `start`, and used by nobody any more.
        let _ = unsafe { EtwUnregister(handle) };
    }
    LEVEL.store(0, Ordering::Relaxed);
}

/// Sessions came, went, or want something else. An event on its way meanwhile may be judged by old and new together: ETW filters again.
unsafe extern "C" fn enabled(
    _: *const GUID,
    code: u32,
    level: u8,
    any: u64,
    all: u64,
    _: *mut EVENT_FILTER_DESCRIPTOR,
    _: PVOID,
) {
    match code {
        ENABLE => {
            ANY.store(any, Ordering::Relaxed);
            ALL.store(all, Ordering::Relaxed);
            let level = if level == 0 { EVERY_LEVEL } else { level };
            LEVEL.store(level.into(), Ordering::Relaxed);
        }
        DISABLE => LEVEL.store(0, Ordering::Relaxed),
        _ => {}
    }
}

/// Whether any session listens at all: all that a record costs when none does.
#[inline]
pub fn listened() -> bool {
    LEVEL.load(Ordering::Relaxed) != 0
}

fn wanted(event: &trace::Event) -> bool {
    let (any, all) = (ANY.load(Ordering::Relaxed), ALL.load(Ordering::Relaxed));
    // A session that names no keyword wants all.
    LEVEL.load(Ordering::Relaxed) >= event.level as u32
        && (any == 0 || event.keyword & any != 0)
        && event.keyword & all == all
}

/// A piece of an event: `EVENT_DATA_DESCRIPTOR`, whose last field has other names in other kits.
#[repr(C)]
struct Piece {
    address: u64,
    length: u32,
    kind: u32,
}

const _: () = assert!(size_of::<Piece>() == size_of::<EVENT_DATA_DESCRIPTOR>());
const _: () = assert!(align_of::<Piece>() == align_of::<EVENT_DATA_DESCRIPTOR>());

impl Piece {
    const DATA: u32 = 0;
    const EVENT_METADATA: u32 = 1;
    const PROVIDER_METADATA: u32 = 2;

    fn new(bytes: &[u8], kind: u32) -> Self {
        Self {
            address: bytes.as_ptr().expose_provenance() as u64,
            length: u32::try_from(bytes.len()).unwrap_or(0),
            kind,
        }
    }
}

/// Tells the sessions that want it of a record, with its number and processor filled in.
pub fn write(record: &AuditRecord, client: &[u8]) {
    let event = trace::event(record);
    if !wanted(&event) {
        return;
    }
    let descriptor = EVENT_DESCRIPTOR {
        Channel: CHANNEL_TRACELOGGING,
        Level: event.level as u8,
        Keyword: event.keyword,
        ..EVENT_DESCRIPTOR::default()
    };
    let Texts { what, why, client } = trace::texts(record, client);
    let texts = [what.as_bytes(), why.as_bytes(), client];
    let [what_length, why_length, client_length] =
        texts.map(|text| u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    let mut pieces = [
        Piece::new(&PROVIDER, Piece::PROVIDER_METADATA),
        Piece::new(event.metadata, Piece::EVENT_METADATA),
        Piece::new(record.as_bytes(), Piece::DATA),
        Piece::new(&what_length, Piece::DATA),
        Piece::new(what.as_bytes(), Piece::DATA),
        Piece::new(&why_length, Piece::DATA),
        Piece::new(why.as_bytes(), Piece::DATA),
        Piece::new(&client_length, Piece::DATA),
        Piece::new(client, Piece::DATA),
    ];
    let count = u32::try_from(pieces.len()).unwrap_or(0);
    // SAFETY: each piece lives until the call returns, and is resident: statics of a driver that is not paged, a running thread's stack,
    // and the client's nonpaged block. An event that finds no room in a session is counted by the session.
    let _ = unsafe {
        EtwWriteTransfer(
            HANDLE.load(Ordering::Acquire),
            &raw const descriptor,
            core::ptr::null(),
            core::ptr::null(),
            count,
            pieces.as_mut_ptr().cast(),
        )
    };
}

//! Event tracing: providers, one session that listens to all of them while a test wants it, and the events that it took, kept for user
//! mode to read. IRQL <= DISPATCH_LEVEL; registering: `PASSIVE_LEVEL`.

extern crate alloc;

use alloc::collections::{BTreeMap, VecDeque};
use core::ffi::c_void;

use probe_protocol::verifier::{Event, PageReply, Session};
use wdk_sys::{EVENT_DATA_DESCRIPTOR, EVENT_DESCRIPTOR, GUID, NTSTATUS, STATUS_INVALID_HANDLE, STATUS_SUCCESS};
use zerocopy::FromZeros;

use crate::callback;
use crate::exports::exports;
use crate::stop;
use crate::sync::Lock;
use crate::thread;

type EnableCallback = unsafe extern "system" fn(*const GUID, u32, u8, u64, u64, *mut c_void, *mut c_void);

#[derive(Clone, Copy)]
struct Provider {
    id: GUID,
    owner: usize,
    callback: Option<EnableCallback>,
    context: usize,
}

struct State {
    providers: BTreeMap<u64, Provider>,
    next: u64,
    events: VecDeque<Event>,
    written: u64,
    session: Listening,
}

/// What the session listens to: level 0 stands for none.
#[derive(Clone, Copy)]
struct Listening {
    level: u8,
    keywords: u64,
}

impl Listening {
    fn takes(self, level: u8, keyword: u64) -> bool {
        self.level != 0 && level <= self.level && (self.keywords == 0 || keyword == 0 || keyword & self.keywords != 0)
    }
}

/// Most events kept; older ones make room.
const MOST: usize = 2048;
const DISABLE: u32 = 0;
const ENABLE: u32 = 1;

static STATE: Lock<State> = Lock::new(State {
    providers: BTreeMap::new(),
    next: 0x1000,
    events: VecDeque::new(),
    written: 0,
    session: Listening { level: 0, keywords: 0 },
});

/// Tells a provider what the session listens to.
fn announce(provider: Provider, session: Listening) {
    let Some(routine) = provider.callback else { return };
    let code = if session.level == 0 { DISABLE } else { ENABLE };
    let context = core::ptr::with_exposed_provenance_mut(provider.context);
    callback::run_here("ETW enable callback", routine as usize, || {
        // SAFETY: the driver's callback with its own context.
        unsafe {
            routine(
                &raw const provider.id,
                code,
                session.level,
                session.keywords,
                0,
                core::ptr::null_mut(),
                context,
            );
        };
    });
}

/// Has the session listen to something else, and forgets what it took. `PASSIVE_LEVEL`.
pub(crate) fn listen(wanted: &Session) {
    let session = Listening {
        level: u8::try_from(wanted.level).unwrap_or(u8::MAX),
        keywords: wanted.keywords,
    };
    let providers = {
        let mut state = STATE.lock();
        state.session = session;
        state.events.clear();
        state.written = 0;
        state.providers.clone()
    };
    for provider in providers.into_values() {
        announce(provider, session);
    }
}

unsafe extern "system" fn register(
    id: *const GUID,
    enabled: Option<EnableCallback>,
    context: *mut c_void,
    handle: *mut u64,
) -> NTSTATUS {
    let owner = stop::caller();
    // SAFETY: the driver's GUID.
    let id = unsafe { *id };
    let provider = Provider {
        id,
        owner,
        callback: enabled,
        context: context.expose_provenance(),
    };
    let (registered, session) = {
        let mut state = STATE.lock();
        state.next = state.next.wrapping_add(8);
        let registered = state.next;
        state.providers.insert(registered, provider);
        (registered, state.session)
    };
    // SAFETY: the driver's variable.
    unsafe { handle.write(registered) };
    if session.level != 0 {
        announce(provider, session);
    }
    STATUS_SUCCESS
}

unsafe extern "system" fn unregister(handle: u64) -> NTSTATUS {
    if STATE.lock().providers.remove(&handle).is_some() {
        STATUS_SUCCESS
    } else {
        STATUS_INVALID_HANDLE
    }
}

fn is_enabled(handle: u64, level: u8, keyword: u64) -> bool {
    let state = STATE.lock();
    state.providers.contains_key(&handle) && state.session.takes(level, keyword)
}

unsafe extern "system" fn event_enabled(handle: u64, descriptor: *const EVENT_DESCRIPTOR) -> u8 {
    // SAFETY: the driver's descriptor.
    let descriptor = unsafe { descriptor.read() };
    u8::from(is_enabled(handle, descriptor.Level, descriptor.Keyword))
}

unsafe extern "system" fn provider_enabled(handle: u64, level: u8, keyword: u64) -> u8 {
    u8::from(is_enabled(handle, level, keyword))
}

unsafe extern "system" fn set_information(
    _handle: u64,
    _class: i32,
    _information: *const c_void,
    _length: u32,
) -> NTSTATUS {
    STATUS_SUCCESS
}

/// Keeps an event made of these pieces, each with what it is, if the session takes it.
fn record(handle: u64, descriptor: [u8; 16], pieces: &mut dyn Iterator<Item = (&[u8], u32)>) -> NTSTATUS {
    let [_, _, _, _, level, _, _, _, keyword @ ..] = descriptor;
    let session = {
        let state = STATE.lock();
        if !state.providers.contains_key(&handle) {
            return STATUS_INVALID_HANDLE;
        }
        state.session
    };
    if !session.takes(level, u64::from_le_bytes(keyword)) {
        return STATUS_SUCCESS;
    }
    let mut event = Event::new_zeroed();
    let mut used = 0usize;
    let mut told = event.pieces.iter_mut();
    for (piece, kind) in pieces {
        if let Some(told) = told.next() {
            *told = [u32::try_from(piece.len()).unwrap_or(u32::MAX), kind];
        }
        let room = event.data.get_mut(used..).unwrap_or_default();
        room.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
        used = used.saturating_add(piece.len());
    }
    event.bytes = u32::try_from(used).unwrap_or(u32::MAX);
    event.descriptor = descriptor;
    event.irql = u32::from(thread::current().irql.get());
    let mut state = STATE.lock();
    let Some(provider) = state.providers.get(&handle).copied() else {
        return STATUS_INVALID_HANDLE;
    };
    // SAFETY: a GUID is 16 bytes without padding.
    event.provider = unsafe { core::mem::transmute::<GUID, [u8; 16]>(provider.id) };
    state.written = state.written.wrapping_add(1);
    event.sequence = state.written;
    if state.events.len() >= MOST {
        state.events.pop_front();
    }
    state.events.push_back(event);
    STATUS_SUCCESS
}

unsafe fn write_pieces(
    handle: u64,
    descriptor: *const EVENT_DESCRIPTOR,
    count: u32,
    data: *const EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    // SAFETY: the driver's descriptor: 16 bytes.
    let descriptor = unsafe { descriptor.cast::<[u8; 16]>().read_unaligned() };
    let pieces: &[EVENT_DATA_DESCRIPTOR] = if count == 0 {
        &[]
    } else {
        // SAFETY: the driver says how many there are.
        unsafe { core::slice::from_raw_parts(data, count as usize) }
    };
    #[allow(clippy::cast_possible_truncation, reason = "an address")]
    let mut bytes = pieces.iter().map(|piece| {
        let start: *const u8 = core::ptr::with_exposed_provenance(piece.Ptr as usize);
        let bytes: &[u8] = if piece.Size == 0 {
            &[]
        } else {
            // SAFETY: the driver says where its data is, and how long.
            unsafe { core::slice::from_raw_parts(start, piece.Size as usize) }
        };
        (bytes, piece.Reserved)
    });
    record(handle, descriptor, &mut bytes)
}

unsafe extern "system" fn write(
    handle: u64,
    descriptor: *const EVENT_DESCRIPTOR,
    _activity: *const GUID,
    count: u32,
    data: *const EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    // SAFETY: the driver's data.
    unsafe { write_pieces(handle, descriptor, count, data) }
}

unsafe extern "system" fn write_transfer(
    handle: u64,
    descriptor: *const EVENT_DESCRIPTOR,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *const EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    // SAFETY: the driver's data.
    unsafe { write_pieces(handle, descriptor, count, data) }
}

#[allow(clippy::too_many_arguments, reason = "the documented signature")]
unsafe extern "system" fn write_ex(
    handle: u64,
    descriptor: *const EVENT_DESCRIPTOR,
    _filter: u64,
    _flags: u32,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *const EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    // SAFETY: the driver's data.
    unsafe { write_pieces(handle, descriptor, count, data) }
}

unsafe extern "system" fn write_string(
    handle: u64,
    level: u8,
    keyword: u64,
    _activity: *const GUID,
    text: *const u16,
) -> NTSTATUS {
    let mut descriptor = [0u8; 16];
    let [_, _, _, _, place, _, _, _, tail @ ..] = &mut descriptor;
    *place = level;
    *tail = keyword.to_le_bytes();
    let mut length = 0usize;
    // SAFETY: the driver's text ends with NUL.
    while unsafe { text.add(length).read() } != 0 {
        length = length.wrapping_add(1);
    }
    // SAFETY: as just counted.
    let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), length.wrapping_mul(2)) };
    record(handle, descriptor, &mut core::iter::once((bytes, 0)))
}

unsafe extern "system" fn activity(_control: u32, _id: *mut GUID) -> NTSTATUS {
    STATUS_SUCCESS
}

/// Copies events from the `first` kept on.
pub(crate) fn page(first: usize, room: &mut [Event]) -> PageReply {
    let state = STATE.lock();
    let from = state.events.iter().skip(first);
    let count = room.iter_mut().zip(from).map(|(to, event)| *to = *event).count();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "at most MOST; the count of what was dropped wraps"
    )]
    PageReply {
        total: state.events.len() as u32,
        count: count as u32,
        dropped: state.written.wrapping_sub(state.events.len() as u64) as u32,
        reserved: 0,
    }
}

/// Providers that are registered: handle, where it was registered.
pub(crate) fn for_each(mut visit: impl FnMut(u64, usize)) {
    let providers = STATE.lock().providers.clone();
    for (handle, provider) in providers {
        visit(handle, provider.owner);
    }
}

/// Forgets the providers of an owner that is chosen: they have been reported.
pub(crate) fn forget(mut chosen: impl FnMut(usize) -> bool) {
    STATE.lock().providers.retain(|_, provider| !chosen(provider.owner));
}

exports! {
    EtwRegister => register,
    EtwUnregister => unregister,
    EtwEventEnabled => event_enabled,
    EtwProviderEnabled => provider_enabled,
    EtwSetInformation => set_information,
    EtwWrite => write,
    EtwWriteTransfer => write_transfer,
    EtwWriteEx => write_ex,
    EtwWriteString => write_string,
    EtwActivityIdControl => activity,
}

//! The form of a WSK control request: what the WSK pages ask of IRP, category, phase, IRQL and event mask. Any IRQL.

use super::request::{EndpointFacts, Request};
use crate::catalogue::{self, Irp, Row, Support, Timing};
use crate::status::{Reason, Refusal};
use crate::{Category, Phase, RequestKind};

/// The three IOCTLs that are for `PASSIVE_LEVEL`. Source: WskControlSocket page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList;

impl AddressList {
    /// `SIO_ADDRESS_LIST_QUERY`, `_CHANGE`, `_SORT`.
    pub const CODES: [u32; 3] = [0x4800_0016, 0x2800_0017, 0xC800_0019];
}

const EVENT_SEND_BACKLOG: u32 = 0x10;
const EVENT_RECEIVE: u32 = 0x40;
const EVENT_DISCONNECT: u32 = 0x80;
const EVENT_DISABLE: u32 = 0x8000_0000;
const CONNECTION_EVENTS: u32 = EVENT_SEND_BACKLOG | EVENT_RECEIVE | EVENT_DISCONNECT;

/// The first documented rule of WSK that the request breaks. Depends on its arguments only.
///
/// Not counted: an IRP or an `OutputSizeReturned` more than asked for, which shipping clients pass and WSK takes.
#[must_use]
pub fn wsk_form(facts: &EndpointFacts, phase: Phase, request: &Request<'_>) -> Option<Refusal> {
    broken(facts, phase, request).map(Refusal::new)
}

fn broken(facts: &EndpointFacts, phase: Phase, request: &Request<'_>) -> Option<Reason> {
    let row = match request.kind {
        RequestKind::Set | RequestKind::Get => catalogue::option(request.level, request.code)?,
        RequestKind::Ioctl if AddressList::CODES.contains(&request.code) => {
            return request.at_dispatch.then_some(Reason::Irql);
        }
        RequestKind::Ioctl => catalogue::ioctl(request.code)?,
        RequestKind::Bind => return None,
    };
    if matches!(row.wsk.support, Support::Undocumented | Support::NotApplicable) {
        return None;
    }
    if request.kind == RequestKind::Get && !row.gettable {
        return Some(Reason::NoGetForm);
    }
    if !row.wsk.categories.applies(facts.category) {
        return Some(Reason::Category);
    }
    if row.wsk.irp == Irp::Required && !request.has_irp {
        return Some(Reason::IrpMissing);
    }
    if request.kind != RequestKind::Get && !timely(row, facts.category, phase) {
        return Some(Reason::Phase);
    }
    if row.id == catalogue::Opt::WskEventCallback {
        event_mask(facts, request)
    } else {
        None
    }
}

/// Whether a set or an IOCTL comes at a time its page allows.
pub(super) const fn timely(row: &Row, category: Category, phase: Phase) -> bool {
    let bound = !matches!(phase, Phase::Unbound | Phase::Binding);
    let connected = matches!(phase, Phase::Connected);
    match (row.timing, category) {
        // WSK asks for SO_CONDITIONAL_ACCEPT before WskBind, which starts to listen.
        (Timing::BeforeBind | Timing::BeforeListen, _) => matches!(phase, Phase::Unbound),
        (Timing::AfterBind, _) => bound,
        (Timing::AfterConnect, _) | (Timing::AfterBindOrConnect, Category::Connection) => connected,
        (Timing::AfterBindOrConnect, Category::Basic) | (Timing::Any | Timing::Unknown, _) => true,
        (Timing::AfterBindOrConnect, _) => bound,
    }
}

/// `WSK_EVENT_CALLBACK_CONTROL { PNPIID NpiId; ULONG EventMask; }`: one event is disabled at a time, a connection event never on a
/// listening socket, and none that the client enabled for all its sockets.
fn event_mask(facts: &EndpointFacts, request: &Request<'_>) -> Option<Reason> {
    let mask = request.u32_at(size_of::<usize>());
    if mask & EVENT_DISABLE == 0 {
        return None;
    }
    let events = mask & !EVENT_DISABLE;
    if events.count_ones() > 1 {
        Some(Reason::EventDisableSeveral)
    } else if events & CONNECTION_EVENTS != 0 && facts.category == Category::Listen {
        Some(Reason::EventDisableOnListener)
    } else if events & facts.static_events != 0 {
        Some(Reason::EventDisableStatic)
    } else {
        None
    }
}

/// The word for a broken rule in the conformance vectors.
#[must_use]
pub const fn violation_word(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::IrpMissing => "irp",
        Reason::Category => "category",
        Reason::Phase => "phase",
        Reason::Irql => "irql",
        Reason::NoGetForm => "no_get_form",
        Reason::EventDisableSeveral => "event_disable_several",
        Reason::EventDisableOnListener => "event_disable_on_listener",
        Reason::EventDisableStatic => "event_disable_static",
        _ => return None,
    })
}

//! The decision on a WSK control request. Pure: depends on its arguments only. IRQL <= `DISPATCH_LEVEL`.

use super::answer::{Answer, Value};
use super::change::{Change, Op};
use super::config::EndpointConfig;
use super::form::wsk_form;
use super::judge::{Judge, Rules};
use super::lengths::{self, Contract};
use super::request::{EndpointFacts, Request};
use super::state::{Flag, Number, OptionState};
use crate::catalogue::{self, Class, Opt, Row, Support};
use crate::status::{Reason, Refusal, nt};
use crate::{Category, Mode, NtStatus, Phase, RequestKind};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Complete it with the refusal's status; nothing reaches the provider, nothing changes.
    Refuse(Refusal),
    /// Give it to the provider.
    Forward(Forward),
    /// Complete it with success, without the provider.
    Answer(Answer),
}

/// How to give a request to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What the record becomes when the provider succeeds. Where [`Change::commits_before`], commit before forwarding (a refusal
    /// there is the request's refusal), and undo when the provider fails; otherwise commit on success.
    pub commit: Change,
    /// The provider's input instead of the client's: the same value in the form WSK documents. Only in `compat` and `strict`.
    pub input: Option<Inline>,
    /// The documented rule it breaks. Only reported.
    pub violation: Option<Refusal>,
    /// The completion matters: to commit, or for [`after_failure`].
    pub observe: bool,
}

/// A small input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its bytes.
    pub bytes: [u8; 8],
    /// How many count.
    pub len: usize,
}

impl Inline {
    const fn number(number: u32) -> Self {
        let [a, b, c, d] = number.to_le_bytes();
        Self {
            bytes: [a, b, c, d, 0, 0, 0, 0],
            len: 4,
        }
    }

    /// The input.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// The stricter of the policy's mode and the one the endpoint's client asked for by `PVD_CONFIG`: a client may tighten, never loosen.
#[must_use]
#[inline]
pub fn effective_mode(policy: Mode, state: &OptionState) -> Mode {
    match state.config().mode {
        Some(asked) if asked as u8 > policy as u8 => asked,
        _ => policy,
    }
}

const fn rules(mode: Mode) -> Rules {
    match mode {
        Mode::Off | Mode::Audit => Rules {
            contract: Contract::Tested,
            tested: false,
            documented: false,
            keep_alive: false,
            own_config: true,
        },
        Mode::Compat => Rules {
            contract: Contract::Tested,
            tested: true,
            documented: false,
            keep_alive: false,
            own_config: true,
        },
        Mode::Strict => Rules {
            contract: Contract::Documented,
            tested: true,
            documented: true,
            keep_alive: true,
            own_config: true,
        },
    }
}

/// Decides `request`. `mode` is the [`effective_mode`].
#[must_use]
pub fn plan(facts: &EndpointFacts, state: &OptionState, phase: Phase, mode: Mode, request: &Request<'_>) -> Plan {
    let row = match request.kind {
        RequestKind::Set | RequestKind::Get => catalogue::option(request.level, request.code),
        RequestKind::Ioctl | RequestKind::Bind => None,
    };
    plan_of(row, facts, state, phase, mode, request)
}

/// The same for a request whose row is known: `row` is that of the option, `None` for an IOCTL.
pub(crate) fn plan_of(
    row: Option<&'static Row>,
    facts: &EndpointFacts,
    state: &OptionState,
    phase: Phase,
    mode: Mode,
    request: &Request<'_>,
) -> Plan {
    let judge = |mode| Judge {
        facts,
        state,
        phase,
        rules: rules(mode),
    };
    let violation = match mode {
        Mode::Off => None,
        _ => judge(Mode::Strict)
            .alive()
            .err()
            .or_else(|| wsk_form(facts, phase, request))
            .or_else(|| breach(&judge(Mode::Strict), row, request)),
    };
    if let (Mode::Strict, Some(refusal)) = (mode, violation) {
        return Plan::Refuse(refusal);
    }
    let untouched = Forward {
        commit: Change::NONE,
        input: None,
        violation,
        observe: false,
    };
    let Some(row) = row else {
        return Plan::Forward(untouched);
    };
    match request.kind {
        RequestKind::Set => plan_set(&judge(mode), row, mode, request, untouched),
        _ => plan_get(&judge(mode), row, mode, request, untouched),
    }
}

/// What the documented contract says against an option request, beside its WSK form.
fn breach(strict: &Judge<'_>, row: Option<&'static Row>, request: &Request<'_>) -> Option<Refusal> {
    // Neither the level nor the option is known: the transport's, which will answer.
    let row = row?;
    if request.kind == RequestKind::Set {
        strict.set(row, request).err()
    } else {
        let length = |()| strict.output_length(row, request.output_len, documented_output(row));
        strict
            .get_form(row, request)
            .and_then(length)
            .err()
            .map(|short| short.refusal)
    }
}

/// Bytes that a get must have room for by documentation. The pages give four for the transport booleans too.
fn documented_output(row: &Row) -> usize {
    match (row.id, row.class) {
        (Opt::PvdConfig, _) => EndpointConfig::SIZE,
        (_, Class::B) => 4,
        _ => row.get_len.minimum().unwrap_or(0),
    }
}

fn plan_set(judge: &Judge<'_>, row: &Row, mode: Mode, request: &Request<'_>, untouched: Forward) -> Plan {
    let change = match judge.set(row, request) {
        Ok(change) => change,
        Err(refusal) => return Plan::Refuse(refusal),
    };
    let enforcing = mode >= Mode::Compat;
    if let (true, Op::Config(_)) = (enforcing, change.op()) {
        return Plan::Answer(Answer::done(change));
    }
    let commit = if matches!(change.op(), Op::OpenType(_) | Op::AcceptContext(_)) {
        Change::NONE
    } else {
        change
    };
    let input = if enforcing {
        normalised(judge, row, commit.op(), request)
    } else {
        None
    };
    let observe = commit.op() != Op::None || enforcing && stands_in(judge, row, commit.op()).is_some();
    Plan::Forward(Forward {
        commit,
        input,
        observe,
        ..untouched
    })
}

/// The value as WSK documents it: a ULONG, 0 or 1 for a boolean. `None` where the client's input is that already.
fn normalised(judge: &Judge<'_>, row: &Row, op: Op, request: &Request<'_>) -> Option<Inline> {
    let number = match (row.class, op) {
        (Class::A | Class::B, _) => u32::from(lengths::boolean(judge.rules.contract, row.class, request)?),
        (Class::C | Class::D, _) if request.input.len() >= 4 => request.u32_at(0),
        _ => return None,
    };
    let same = request.input_len == 4 && request.u32_at(0) == number;
    (!same).then_some(Inline::number(number))
}

fn plan_get(judge: &Judge<'_>, row: &Row, mode: Mode, request: &Request<'_>, untouched: Forward) -> Plan {
    if mode < Mode::Compat {
        return Plan::Forward(untouched);
    }
    if let Err(short) = judge.get_form(row, request) {
        return Plan::Refuse(short.refusal);
    }
    let tested = matches!(row.class, Class::A | Class::B | Class::C | Class::D);
    if tested && let Err(short) = judge.output_length(row, request.output_len, documented_output(row)) {
        return Plan::Refuse(short.refusal);
    }
    // The documented get of a transport boolean is four bytes, where the provider writes one.
    let widen = mode == Mode::Strict && row.class == Class::B && Flag::of(row.id).is_some_and(|f| judge.state.given(f));
    // Linger at close is wskguard's own doing, so what is in force is what it has on record.
    let linger = matches!(row.id, Opt::Linger | Opt::DontLinger)
        && judge.state.given(Flag::Linger)
        && connection_like(judge, row);
    if row.id == Opt::PvdConfig || widen || linger {
        return judge
            .get(row, request)
            .map_or_else(|short| Plan::Refuse(short.refusal), Plan::Answer);
    }
    Plan::Forward(Forward {
        observe: answerable(judge, row),
        ..untouched
    })
}

/// Whether a failure says that the provider does not have the option. For an option that WSK documents, STATUS_INVALID_PARAMETER says
/// more about the request than about the option.
const fn lacking(row: &Row, status: NtStatus) -> bool {
    match status {
        nt::NOT_SUPPORTED | nt::NOT_IMPLEMENTED | nt::INVALID_DEVICE_REQUEST => true,
        nt::INVALID_PARAMETER => !matches!(row.wsk.support, Support::Documented),
        _ => false,
    }
}

/// What to audit when the provider failed a request for lack of the option: the contract's WSAENOPROTOOPT, which no NTSTATUS maps to.
/// The client gets the provider's own status.
#[must_use]
pub fn unsupported(request: &Request<'_>, status: NtStatus) -> Option<Refusal> {
    let option = matches!(request.kind, RequestKind::Set | RequestKind::Get);
    let row = catalogue::option(request.level, request.code).filter(|_| option)?;
    lacking(row, status).then(|| Refusal {
        status,
        ..Refusal::new(Reason::Unsupported)
    })
}

/// What the record does for a set that the provider lacks; `None` where only a provider can do it.
fn stands_in(judge: &Judge<'_>, row: &Row, op: Op) -> Option<Op> {
    Some(match (row.id, op) {
        // Verbose audit, and linger at close, are wskguard's own doing.
        (Opt::Debug | Opt::Linger | Opt::DontLinger, op) => op,
        // [SPI] AF_INET accepts and ignores it.
        (Opt::DontRoute, op) => op,
        // [T] they limit blocking calls; WSK has none.
        (Opt::RcvTimeo | Opt::SndTimeo, op) => op,
        // [SPI] a set may grant another amount, which get tells: WSK sends from the client's own buffer, so none.
        (Opt::SndBuf, Op::Number(..)) => Op::Number(Number::SndBuf, 0),
        // Out-of-band data stays out of the stream without the provider's help.
        (Opt::OobInline, Op::Flag(_, false)) => op,
        _ => return None,
    })
    .filter(|_| connection_like(judge, row))
}

/// Whether the record can answer a get that the provider lacks.
fn answerable(judge: &Judge<'_>, row: &Row) -> bool {
    let set_before = Flag::of(row.id).is_some_and(|flag| judge.state.given(flag))
        || Number::of(row.id).is_some_and(|number| judge.state.number(number).is_some());
    (is_known(row.id) || set_before) && connection_like(judge, row)
}

/// Whether the record always has a value.
pub(super) const fn is_known(option: Opt) -> bool {
    matches!(
        option,
        Opt::Type
            | Opt::AcceptConn
            | Opt::Error
            | Opt::ConnectTime
            | Opt::MaxMsgSize
            | Opt::BspState
            | Opt::ProtocolInfoA
            | Opt::ProtocolInfoW
            | Opt::Debug
            | Opt::Linger
            | Opt::DontLinger
            | Opt::DontRoute
            | Opt::OobInline
            | Opt::RcvTimeo
            | Opt::SndTimeo
    )
}

/// Linger needs a socket that has connections to close.
fn connection_like(judge: &Judge<'_>, row: &Row) -> bool {
    !matches!(row.id, Opt::Linger | Opt::DontLinger)
        || matches!(
            judge.facts.category,
            Category::Connection | Category::Listen | Category::Stream
        )
}

/// The answer to a request that the provider failed for lack of the option, where the contract allows the record to answer. Only in
/// `compat` and `strict`; `None` leaves the provider's status.
#[must_use]
pub fn after_failure(
    facts: &EndpointFacts,
    state: &OptionState,
    phase: Phase,
    mode: Mode,
    request: &Request<'_>,
    status: NtStatus,
) -> Option<Answer> {
    if mode < Mode::Compat || !matches!(request.kind, RequestKind::Set | RequestKind::Get) {
        return None;
    }
    let row = catalogue::option(request.level, request.code).filter(|row| lacking(row, status))?;
    // The record stands in for the provider, so the documented rules count as well, with the lengths of the mode.
    let judge = Judge {
        facts,
        state,
        phase,
        rules: Rules {
            documented: true,
            ..rules(mode)
        },
    };
    if request.kind == RequestKind::Set {
        let change = judge.set(row, request).ok()?;
        let op = stands_in(&judge, row, change.op())?;
        return Some(Answer::done(Change::new(op, change.enforce)));
    }
    let answer = judge.get(row, request).ok().filter(|_| answerable(&judge, row))?;
    (answer.value != Value::Transport).then_some(answer)
}

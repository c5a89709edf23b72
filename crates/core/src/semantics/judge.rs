//! One request against one record: what the rules say, independent of who asks. Any IRQL.

use super::answer::{Answer, Value, bsp_state_len, max_message};
use super::change::{Change, Op};
use super::config::EndpointConfig;
use super::lengths::{self, Contract, Extent, Short};
use super::request::{EndpointFacts, Pointer, Request};
use super::state::{Flag, Number, OptionState};
use crate::catalogue::{Class, Families, Opt, Row};
use crate::status::{Reason, Refusal, wsa};
use crate::{Family, Phase, SocketType};

/// How sure a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// Asserted by tests that ran on Windows.
    Tested,
    /// Said by a page.
    Documented,
}

/// Which rules are in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) contract: Contract,
    pub(super) tested: bool,
    pub(super) documented: bool,
    /// Calls after a keep-alive failure are refused.
    pub(super) keep_alive: bool,
    /// `PVD_CONFIG` is wskguard's own object; otherwise it is a provider's that has none.
    pub(super) own_config: bool,
}

/// One endpoint as a decision sees it.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) facts: &'a EndpointFacts,
    pub(super) state: &'a OptionState,
    pub(super) phase: Phase,
    pub(super) rules: Rules,
}

/// Why a get failed, and what became of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetRefusal {
    /// The refusal.
    pub refusal: Refusal,
    /// How many bytes of the output buffer are zeroed.
    pub zeroed: usize,
    /// The length reported, where it is changed.
    pub size: Option<usize>,
}

impl From<Refusal> for GetRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            zeroed: 0,
            size: None,
        }
    }
}

/// Why a set that turns the option on (or not) comes at the wrong time.
pub(super) const fn untimely(option: Opt, phase: Phase, on: bool) -> Option<Reason> {
    match (option, phase) {
        // so-keepalive page: WSAEINVAL in a transitional state; WSAENOTCONN if the connection has been reset.
        (Opt::KeepAlive, Phase::Connecting) => Some(Reason::Phase),
        (Opt::KeepAlive, Phase::Disconnected) if on => Some(Reason::NotConnected),
        // so-conditional-accept page: WSAEINVAL once it listens.
        (Opt::ConditionalAccept, Phase::Listening) => Some(Reason::Phase),
        (Opt::UpdateConnectContext, Phase::Connected) | (Opt::RandomizePort, Phase::Unbound) => None,
        // [SOL] after ConnectEx.
        (Opt::UpdateConnectContext, _) => Some(Reason::NotConnected),
        // [SOL] unbound sockets.
        (Opt::RandomizePort, _) => Some(Reason::Phase),
        _ => None,
    }
}

impl Judge<'_> {
    /// Refuses, if rules of this grade are in force.
    fn rule(&self, grade: Grade, broken: bool, refusal: Refusal) -> Result<(), Refusal> {
        let in_force = match grade {
            Grade::Tested => self.rules.tested,
            Grade::Documented => self.rules.documented,
        };
        if broken && in_force { Err(refusal) } else { Ok(()) }
    }

    /// What a set of this option would change, or why it is refused.
    pub(super) fn set(&self, row: &Row, request: &Request<'_>) -> Result<Change, Refusal> {
        self.alive()?;
        self.settable(row)?;
        self.applies(row)?;
        let optional = row.id == Opt::UpdateConnectContext && request.input_len == 0;
        let pointer = request.input_pointer != Pointer::Valid && !optional;
        self.rule(Grade::Tested, pointer, Refusal::new(Reason::Pointer))?;
        self.input_length(row, request.input_len)?;
        let op = self.operation(row, request)?;
        self.timely(row, op)?;
        let change = Change::new(op, self.rules.tested);
        // Only the coupling can refuse a change.
        match self.state.coupled.after(change) {
            Some(Err(refusal)) => Err(refusal),
            _ => Ok(change),
        }
    }

    /// After a keep-alive failure every call is WSAENOTCONN \[SPI\].
    pub(super) fn alive(&self) -> Result<(), Refusal> {
        let dead = self.rules.keep_alive && self.phase == Phase::KeepAliveFailed;
        if dead {
            Err(Refusal::new(Reason::KeepAliveFailed))
        } else {
            Ok(())
        }
    }

    fn settable(&self, row: &Row) -> Result<(), Refusal> {
        let (grade, refusal) = match row.id {
            // [T]: UDP WSAEINVAL, TCP WSAENOPROTOOPT.
            Opt::Type if self.facts.socket_type == SocketType::Dgram => {
                (Grade::Tested, Refusal::with(Reason::ReadOnly, wsa::EINVAL))
            }
            Opt::Type | Opt::AcceptConn => (Grade::Tested, Refusal::new(Reason::ReadOnly)),
            // [T] settable, although every page says it is not.
            Opt::Error if self.rules.contract == Contract::Documented => {
                return self.rule(Grade::Documented, true, Refusal::new(Reason::ReadOnly));
            }
            _ => (Grade::Documented, Refusal::new(Reason::ReadOnly)),
        };
        self.rule(grade, !row.settable && row.gettable, refusal)
    }

    /// Whether the option exists for sockets like this one.
    fn applies(&self, row: &Row) -> Result<(), Refusal> {
        let facts = self.facts;
        if matches!(row.id, Opt::UseLoopback | Opt::SndLowAt | Opt::RcvLowAt) {
            return self.rule(Grade::Documented, true, Refusal::with(Reason::Unsupported, wsa::EINVAL));
        }
        let absent = match row.id {
            Opt::PvdConfig => !self.rules.own_config,
            Opt::GroupPriority | Opt::GroupId | Opt::Timestamp | Opt::TimestampId | Opt::OriginalDst => true,
            _ => row.families == Families::NotTcpIp || facts.lacks.contains(row.id),
        };
        self.rule(Grade::Documented, absent, Refusal::new(Reason::Unsupported))?;
        let family = match row.families {
            Families::InetOnly => facts.family != Family::INET,
            Families::NotAtm => facts.family == Family::ATM,
            _ => false,
        };
        self.rule(Grade::Documented, family, Refusal::new(Reason::Family))?;
        // [T] UDP answers SO_CONNECT_TIME; a size without meaning on a stream is still no error.
        let any_type = matches!(row.id, Opt::ConnectTime | Opt::MaxMsgSize | Opt::MaxDg | Opt::MaxPathDg);
        let socket_type = !any_type && !row.types.applies(facts.socket_type);
        self.rule(Grade::Documented, socket_type, Refusal::new(Reason::SocketType))
    }

    fn input_length(&self, row: &Row, len: usize) -> Result<(), Refusal> {
        let tested = matches!(row.class, Class::A | Class::B | Class::C | Class::D | Class::Thread)
            && self.rules.contract == Contract::Tested;
        let grade = if tested { Grade::Tested } else { Grade::Documented };
        let outcome = match row.id {
            Opt::PvdConfig if len < EndpointConfig::SIZE => Err(Refusal::new(Reason::Length)),
            _ => lengths::check_input(self.rules.contract, row, len),
        };
        outcome.or_else(|refusal| self.rule(grade, true, refusal))
    }

    /// The change that the value asks for.
    fn operation(&self, row: &Row, request: &Request<'_>) -> Result<Op, Refusal> {
        let boolean = || lengths::boolean(self.rules.contract, row.class, request);
        let value = Refusal::new(Reason::Value);
        let op = match row.id {
            // Not applicable on ATM: no error, no effect [SPI].
            Opt::ReuseAddr if self.facts.family == Family::ATM => Op::None,
            Opt::DontLinger => boolean().map_or(Op::None, Op::DontLinger),
            Opt::Linger if request.input.len() >= 4 => {
                let [on0, on1, s0, s1] = request.u32_at(0).to_le_bytes();
                Op::Linger {
                    onoff: u16::from_le_bytes([on0, on1]),
                    seconds: u16::from_le_bytes([s0, s1]),
                }
            }
            Opt::PvdConfig => {
                let bytes = request.input.first_chunk().copied();
                let config = bytes.and_then(EndpointConfig::parse);
                self.rule(Grade::Documented, config.is_none(), value)?;
                config.map_or(Op::None, Op::Config)
            }
            Opt::OpenType => Op::OpenType(request.u32_at(0)),
            Opt::UpdateAcceptContext => {
                let low = request.u32_at(0);
                let high = if size_of::<usize>() == 8 { request.u32_at(4) } else { 0 };
                Op::AcceptContext(u64::from(low) | u64::from(high) << 32)
            }
            id => match (Flag::of(id), Number::of(id)) {
                (Some(flag), _) => boolean().map_or(Op::None, |on| Op::Flag(flag, on)),
                (_, Some(number)) if request.input.len() >= 4 => Op::Number(number, request.u32_at(0)),
                _ => Op::None,
            },
        };
        // [SOL] fails after SO_REUSE_UNICASTPORT; the code is not given.
        let late = op == Op::Flag(Flag::RandomizePort, true) && self.state.flag(Flag::ReuseUnicastPort);
        self.rule(Grade::Documented, late, value)?;
        Ok(op)
    }

    /// States in which the documentation refuses the set.
    fn timely(&self, row: &Row, op: Op) -> Result<(), Refusal> {
        match untimely(row.id, self.phase, matches!(op, Op::Flag(_, true))) {
            Some(reason) => self.rule(Grade::Documented, true, Refusal::new(reason)),
            None => Ok(()),
        }
    }

    /// What a get of this option returns from the record, or why it fails.
    pub(super) fn get(&self, row: &Row, request: &Request<'_>) -> Result<Answer, GetRefusal> {
        self.get_form(row, request)?;
        let value = self.value(row, request.now);
        let needed = match value {
            Value::Config(_) => EndpointConfig::SIZE,
            Value::BspState => bsp_state_len(self.facts.family),
            Value::ProtocolInfo { .. } => row.get_len.minimum().unwrap_or(0),
            _ => 4,
        };
        let Extent { written, size } = self.output_length(row, request.output_len, needed)?;
        // [SOL] reading clears; [T] it does not.
        let clears = row.id == Opt::Error && self.rules.contract == Contract::Documented;
        let op = if clears { Op::Number(Number::Error, 0) } else { Op::None };
        Ok(Answer {
            value,
            written,
            size,
            commit: Change::fact(op),
        })
    }

    /// The part of a get that is judged without knowing the value.
    pub(super) fn get_form(&self, row: &Row, request: &Request<'_>) -> Result<(), GetRefusal> {
        self.alive()?;
        self.rule(
            Grade::Documented,
            row.settable && !row.gettable,
            Refusal::new(Reason::NoGetForm),
        )?;
        // [T]: SO_LINGER of a UDP socket.
        let linger = row.id == Opt::Linger && !row.types.applies(self.facts.socket_type);
        self.rule(Grade::Tested, linger, Refusal::new(Reason::SocketType))?;
        self.applies(row)?;
        let pointer = request.output_pointer != Pointer::Valid;
        self.rule(Grade::Tested, pointer, Refusal::new(Reason::Pointer))?;
        Ok(())
    }

    pub(super) fn output_length(&self, row: &Row, capacity: usize, needed: usize) -> Result<Extent, GetRefusal> {
        lengths::output(self.rules.contract, row.class, capacity, needed).map_err(|Short { zeroed, size }| GetRefusal {
            refusal: Refusal::new(Reason::Length),
            zeroed,
            // [T] SO_BSP_STATE leaves the length alone.
            size: size.filter(|_| row.id != Opt::BspState),
        })
    }

    /// The record's value of an option.
    fn value(&self, row: &Row, now: u32) -> Value {
        /// What the record says of a buffer that was never set. The real default is the transport's.
        const BUFFER: u32 = 65536;
        let state = self.state;
        Value::Number(match row.id {
            Opt::DontLinger => u32::from(state.linger().0 == 0),
            Opt::Linger => {
                let (onoff, seconds) = state.linger();
                u32::from(onoff) | u32::from(seconds) << 16
            }
            Opt::RcvBuf => state.number(Number::RcvBuf).unwrap_or(BUFFER),
            Opt::SndBuf => state.number(Number::SndBuf).unwrap_or(BUFFER),
            Opt::AcceptConn => u32::from(self.phase == Phase::Listening),
            Opt::Type => self.facts.socket_type as u32,
            Opt::MaxMsgSize | Opt::MaxDg | Opt::MaxPathDg => max_message(self.facts),
            Opt::ConnectTime => self.connect_time(now),
            Opt::PvdConfig => return Value::Config(state.config()),
            Opt::ProtocolInfoA => return Value::ProtocolInfo { wide: false },
            Opt::ProtocolInfoW => return Value::ProtocolInfo { wide: true },
            Opt::BspState => return Value::BspState,
            id => match (Flag::of(id), Number::of(id)) {
                (Some(flag), _) => u32::from(state.flag(flag)),
                (_, Some(number)) => state.number(number).unwrap_or(0),
                _ => 0,
            },
        })
    }

    /// Seconds since the connection came about; \[T\] 0xFFFFFFFF without one, and for every datagram socket.
    fn connect_time(&self, now: u32) -> u32 {
        let connected = self.phase == Phase::Connected && self.facts.socket_type == SocketType::Stream;
        let since = self.state.number(Number::ConnectedAt).filter(|_| connected);
        since.map_or(u32::MAX, |since| now.saturating_sub(since))
    }
}

//! The same record seen by a Winsock caller, for whom it is the provider: what `setsockopt` and `getsockopt` return. The tested behaviour
//! of Windows, and its documentation where nothing was tested. Used by tools and tests; any IRQL.

use super::answer::{Answer, Value};
use super::change::{Change, Op};
pub use super::judge::GetRefusal;
use super::judge::{Judge, Rules};
use super::lengths::Contract;
use super::request::{EndpointFacts, Pointer, Request};
use super::state::OptionState;
use crate::catalogue::{self, Opt, Row};
use crate::status::{Reason, Refusal};
use crate::{Phase, SOL_SOCKET};

/// A live socket. What is no socket has none of this, and every call but `SO_OPENTYPE` is WSAENOTSOCK.
#[derive(Clone, Copy, Debug)]
pub struct Socket<'a> {
    /// What it is.
    pub facts: &'a EndpointFacts,
    /// Its options.
    pub state: &'a OptionState,
    /// Where it is in its life.
    pub phase: Phase,
}

/// What belongs to the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// `SO_OPENTYPE`.
    pub open_type: u32,
}

const RULES: Rules = Rules {
    contract: Contract::Tested,
    tested: true,
    documented: true,
    keep_alive: true,
    own_config: false,
};

/// Whose an option is.
enum Target {
    Thread(&'static Row),
    Socket(&'static Row),
    Transport,
}

/// Finds the option. The order is that of the tests: a handle that is no socket, the level, the option, then pointers and lengths.
fn target(socket: Option<&Socket<'_>>, level: u32, code: u32) -> Result<Target, Refusal> {
    let row = catalogue::option(level, code);
    match row {
        Some(row) if row.id == Opt::OpenType => return Ok(Target::Thread(row)),
        _ if socket.is_none() => return Err(Refusal::new(Reason::NotASocket)),
        Some(row) if matches!(row.id, Opt::WskSecurity | Opt::WskEventCallback) => {}
        Some(row) => return Ok(Target::Socket(row)),
        None if level == SOL_SOCKET => {}
        None if transport_level(level) && code <= LAST_TRANSPORT_OPTION => return Ok(Target::Transport),
        None if transport_level(level) => {}
        None => return Err(Refusal::new(Reason::Level)),
    }
    Err(Refusal::new(Reason::UnknownOption))
}

/// No header defines an option above it at a transport's level.
const LAST_TRANSPORT_OPTION: u32 = 0xFF;

/// The protocols that have options: IP, ICMP, IGMP, TCP, UDP, IPv6, ICMPv6, reliable multicast.
const fn transport_level(level: u32) -> bool {
    matches!(level, 0 | 1 | 2 | 6 | 17 | 41 | 58 | 113)
}

/// A judge for options of the thread, which no socket has a say in.
fn on_thread<'a>(facts: &'a EndpointFacts, state: &'a OptionState) -> Judge<'a> {
    Judge {
        facts,
        state,
        phase: Phase::Unbound,
        rules: RULES,
    }
}

/// Facts for a call on what is no socket: `SO_OPENTYPE` does not look at them.
pub const NO_SOCKET: EndpointFacts = EndpointFacts {
    category: crate::Category::Basic,
    socket_type: crate::SocketType::Stream,
    family: crate::Family::INET,
    protocol: 0,
    static_events: 0,
    lacks: catalogue::OptionSet::NONE,
};

/// `setsockopt`.
///
/// # Errors
/// The refusal, whose `wsa` is the call's error.
pub fn set(socket: Option<&Socket<'_>>, request: &Request<'_>) -> Result<Change, Refusal> {
    match (target(socket, request.level, request.code)?, socket) {
        (Target::Thread(row), _) => on_thread(&NO_SOCKET, &OptionState::default()).set(row, request),
        (Target::Socket(row), Some(socket)) => judge(socket).set(row, request),
        _ => Ok(Change::fact(Op::Transport)),
    }
}

/// `getsockopt`.
///
/// # Errors
/// The refusal, whose `wsa` is the call's error, and what happens to buffer and length.
pub fn get(socket: Option<&Socket<'_>>, thread: &Thread, request: &Request<'_>) -> Result<Answer, GetRefusal> {
    match (target(socket, request.level, request.code)?, socket) {
        (Target::Thread(row), _) => {
            let answer = on_thread(&NO_SOCKET, &OptionState::default()).get(row, request)?;
            Ok(Answer {
                value: Value::Number(thread.open_type),
                ..answer
            })
        }
        (Target::Socket(row), Some(socket)) => judge(socket).get(row, request),
        _ => Ok(Answer {
            value: Value::Transport,
            written: 0,
            size: 0,
            commit: Change::NONE,
        }),
    }
}

/// `WSAIoctl` without output, as far as it is about options: `SIO_KEEPALIVE_VALS` wants three ULONGs. \[T\]
///
/// # Errors
/// The refusal, whose `wsa` is the call's error.
pub fn ioctl(socket: Option<&Socket<'_>>, request: &Request<'_>) -> Result<Change, Refusal> {
    const SIO_KEEPALIVE_VALS: u32 = 0x9800_0004;
    const TCP_KEEPALIVE: usize = 12;
    let Some(socket) = socket else {
        return Err(Refusal::new(Reason::NotASocket));
    };
    if request.code != SIO_KEEPALIVE_VALS {
        return Ok(Change::fact(Op::Transport));
    }
    judge(socket).alive()?;
    if request.input_pointer != Pointer::Valid {
        Err(Refusal::new(Reason::Pointer))
    } else if request.input_len < TCP_KEEPALIVE {
        Err(Refusal::new(Reason::Length))
    } else {
        Ok(Change::NONE)
    }
}

const fn judge<'a>(socket: &Socket<'a>) -> Judge<'a> {
    Judge {
        facts: socket.facts,
        state: socket.state,
        phase: socket.phase,
        rules: RULES,
    }
}

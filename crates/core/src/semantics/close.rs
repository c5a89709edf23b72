//! What options mean when a connection ends. Any IRQL.

use super::state::{Flag, OptionState};
use crate::status::nt;
use crate::{NtStatus, Phase};

/// What to do before the provider's close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAction {
    /// Leave WSK's own close alone: the client never asked for anything else, or asked not to linger.
    Plain,
    /// `{1, 0}`: a hard close, which WSK's own close is.
    Abort,
    /// `{1, t}`: a graceful disconnect of at most so many seconds, then close.
    Graceful {
        /// `l_linger`.
        seconds: u16,
    },
}

/// What `SO_LINGER` asks for at close. \[SPI\]; WskCloseSocket by itself is abortive.
#[must_use]
pub const fn linger_at_close(state: &OptionState) -> CloseAction {
    match state.linger() {
        _ if !state.given(Flag::Linger) => CloseAction::Plain,
        (0, _) => CloseAction::Plain,
        (_, 0) => CloseAction::Abort,
        (_, seconds) => CloseAction::Graceful { seconds },
    }
}

/// Statuses that stand for a keep-alive failure unless configured otherwise. Which one Windows reports is not known.
pub const KEEP_ALIVE_STATUSES: &[NtStatus] = &[nt::IO_TIMEOUT];

/// The phase after a send, receive or disconnect of a connected endpoint completed with `status`. A keep-alive failure is
/// attributed only where the option is on and the status is in `statuses`, also after the provider has said that the connection is
/// gone and not why; any other way for a connection to die is a disconnection whose cause is unknown. `None`: nothing changes.
#[must_use]
pub fn after_connection_failure(
    state: &OptionState,
    phase: Phase,
    status: NtStatus,
    statuses: &[NtStatus],
) -> Option<Phase> {
    if !matches!(phase, Phase::Connected | Phase::Disconnected) {
        return None;
    }
    if state.flag(Flag::KeepAlive) && statuses.contains(&status) {
        return Some(Phase::KeepAliveFailed);
    }
    if phase == Phase::Disconnected {
        return None;
    }
    match status {
        nt::CONNECTION_RESET | nt::CONNECTION_ABORTED | nt::CONNECTION_DISCONNECTED | nt::LINK_FAILED => {
            Some(Phase::Disconnected)
        }
        _ => None,
    }
}

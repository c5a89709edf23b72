//! What a socket option request means: the `LPWSPSetSockOpt` contract as a state machine per endpoint. IRQL <= `DISPATCH_LEVEL`.
//!
//! [`plan`] decides a request from its arguments alone; [`SharedOptions::commit`] makes the decision true, and validates
//! coupled options again, since two requests may be decided on one old state. Four modes: `off` forwards; `audit` forwards
//! and says what `strict` would refuse; `compat` refuses what Windows was tested to refuse; `strict` holds the client to the
//! documented contract. Where no rule of its own is broken, the engine forwards and lets the provider answer.
//!
//! Sources are cited as in [`crate::catalogue`].

mod answer;
mod change;
mod close;
mod config;
mod form;
mod judge;
mod lengths;
mod plan;
mod request;
mod shared;
mod state;
mod usual;
pub mod winsock;

pub use answer::{Addresses, Answer, Sockaddr, Value};
pub use change::{Change, Op, Undo};
pub use close::{CloseAction, KEEP_ALIVE_STATUSES, after_connection_failure, linger_at_close};
pub use config::EndpointConfig;
pub use form::{AddressList, violation_word, wsk_form};
pub(crate) use plan::plan_of;
pub use plan::{Forward, Inline, Plan, after_failure, effective_mode, plan, unsupported};
pub use request::{EndpointFacts, MINUS_ONE, Pointer, Request, asks_irql, asks_time, capture_len};
pub use shared::SharedOptions;
pub use state::{Flag, Number, OptionState, inherit};
pub(crate) use usual::{Stored, UsualGet, UsualSet};

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

//! The upper edge: the dispatch tables that clients call. IRQL <= `DISPATCH_LEVEL` but for the name functions (`PASSIVE_LEVEL`).
//!
//! What changes an endpoint's state or is decided on has a file of its own; everything else is forwarded ([`forward`]) with the
//! provider's socket substituted and the client's IRP untouched.

mod accept;
mod bind;
pub mod close;
mod connect;
mod create;
mod forward;
mod lower;
mod socket_connect;
mod tables;
mod whole;

pub use create::out_of_memory;
pub use lower::{control as lower_control, disconnect as lower_disconnect};
pub use tables::{provider_dispatch, table_of};

//! What an outcome is called on both sides: NTSTATUS and Winsock error, and why a request was refused. Any IRQL.
//!
//! The map from NTSTATUS to Winsock is tested on Windows for whole ranges (Wine's `test_WSAGetOverlappedResult`); the way back
//! is a choice, made so that the tested map returns the error the SPI page names, wherever a status does.

mod map;
mod names;
mod reason;

pub use map::{canonical, to_wsa, wsa};
pub use names::{nt, status_by_name, status_name};
pub use reason::{Reason, Refusal};

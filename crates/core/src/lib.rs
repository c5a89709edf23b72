//! What wskguard decides.
//!
//! Option semantics, address sharing, policy, the endpoint table and the audit rings, as pure Rust: no allocation of its own,
//! no IRP, no kernel type. Everything here is callable at IRQL <= `DISPATCH_LEVEL`: nothing waits, nothing faults, nothing panics.
#![cfg_attr(not(test), no_std)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod audit;
pub mod cancel;
pub mod catalogue;
pub mod counters;
pub mod decide;
pub mod generation;
pub mod memory;
pub mod policy;
pub mod semantics;
pub mod sharing;
pub mod state;
pub mod status;
pub mod symbols;
mod sync;
pub mod table;
pub mod trace;
pub mod types;

pub use types::*;

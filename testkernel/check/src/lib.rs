//! The user-mode side of verifier.sys: stops, pool, fault injection, imports; and the cases of faulty.sys as tests.
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one call of the operating system with what it needs"
)]
#![cfg(windows)]

pub mod cases;
pub mod device;
pub mod environment;
pub mod faults;
pub mod service;
pub mod verifier;

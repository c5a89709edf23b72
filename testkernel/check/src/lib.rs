//! The user-mode side of verifier.sys: stops, pool, fault injection, imports; and the cases of faulty.sys as tests.
#![cfg(windows)]

pub mod cases;
pub mod device;
pub mod environment;
pub mod service;
pub mod verifier;

//! What a test says to the drivers of the test kernel and to probe.sys, and hears back.
//!
//! Plain structures without pointers, shared by both sides; kernel objects are named by ids.
#![no_std]

pub mod client;
pub mod netio;
pub mod probe;
pub mod verifier;

//! netio.sys of the test kernel: the Network Module Registrar, the WSK registration library, and a WSK provider over the sockets of
//! the host that runs the test kernel.
//!
//! It stands for the operating system, so it keeps the contracts of the real one and looks at how its callers keep theirs: what
//! they do wrong is printed and counted. Everything starts at the first call, since an imported driver's entry point is not run.
#![no_std]
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "calls of the host go in groups that share one proof"
)]
#![allow(non_upper_case_globals, reason = "constants of the headers in patterns")]

extern crate alloc;

mod buffer;
mod commands;
mod device;
mod engine;
mod entry;
mod host;
mod level;
mod memory;
mod nmr;
mod provider;
mod registration;
mod report;
mod script;
mod status;
mod sync;
mod system;

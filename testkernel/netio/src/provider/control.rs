//! `WskControlSocket`: options. Those of the transport go to the host's socket as they are.
//!
//! Two length and value classes that Windows was tested to have are kept here, where the host has none: `SO_KEEPALIVE` and
//! `SO_DONTROUTE` are one byte wide, and the other booleans of the socket layer take any length and any nonzero value.

use alloc::sync::Arc;
use alloc::vec;

use wsk_sys::{
    IPPROTO_UDP, SO_WSK_EVENT_CALLBACK, SO_WSK_SECURITY, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET,
    WSK_EVENT_CALLBACK_CONTROL, WskGetOption, WskIoctl, WskSetOption,
};

use super::events::{Change, status_without_irp};
use super::request::Control;
use super::socket::{Category, Phase, Socket};
use super::state::Inner;
use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_NOT_SUPPORTED, STATUS_SUCCESS,
};

const SO_DEBUG: u32 = 0x1;
const UDP_SEND_MSG_SIZE: u32 = 2;
const UDP_RECV_MAX_COALESCED_SIZE: u32 = 3;
const SO_REUSEADDR: u32 = 0x4;
const SO_KEEPALIVE: u32 = 0x8;
const SO_DONTROUTE: u32 = 0x10;
const SO_BROADCAST: u32 = 0x20;
const SO_OOBINLINE: u32 = 0x100;
const SO_CONDITIONAL_ACCEPT: u32 = 0x3002;
const SO_DONTLINGER: u32 = 0xFFFF_FF7F;
const SO_EXCLUSIVEADDRUSE: u32 = 0xFFFF_FFFB;

/// Longer values than any transport has; more is a mistake.
const LONGEST: usize = 0x1_0000;

impl Control {
    /// The input, as long as it says.
    fn input(&self) -> Option<&[u8]> {
        if self.input.is_null() || self.input_size == 0 || self.input_size > LONGEST {
            return None;
        }
        // SAFETY: the client's input is good until its IRP is completed, or the call has returned where there is none.
        Some(unsafe { core::slice::from_raw_parts(self.input.cast(), self.input_size) })
    }

    /// The input as one value; `None` when it is shorter.
    pub(super) fn value<T: Copy>(&self) -> Option<T> {
        let input = self.input()?;
        // SAFETY: the input is long enough, and `T` is a plain structure of the interface.
        (input.len() >= size_of::<T>()).then(|| unsafe { input.as_ptr().cast::<T>().read_unaligned() })
    }

    /// Writes the output; success and the bytes written, or that it is too short.
    pub(super) fn output(&self, value: &[u8]) -> (NTSTATUS, usize) {
        if self.output.is_null() || self.output_size < value.len() {
            return (STATUS_BUFFER_TOO_SMALL, 0);
        }
        // SAFETY: the client's output is that long, and good until its IRP is completed.
        unsafe { core::ptr::copy_nonoverlapping(value.as_ptr(), self.output.cast(), value.len()) };
        (STATUS_SUCCESS, value.len())
    }

    pub(super) fn is_event_callback(&self) -> bool {
        self.kind != WskIoctl && self.level == SOL_SOCKET && self.code == SO_WSK_EVENT_CALLBACK
    }

    /// `SO_WSK_EVENT_CALLBACK`, at once; the outcome decides whether an IRP has to wait.
    pub(super) fn change_events(&self, socket: &Arc<Socket>) -> Change {
        if self.kind != WskSetOption {
            return Change::Done(STATUS_NOT_SUPPORTED);
        }
        let Some(control) = self.value::<WSK_EVENT_CALLBACK_CONTROL>() else {
            return Change::Done(STATUS_BUFFER_TOO_SMALL);
        };
        // SAFETY: the client's id is good for the call.
        unsafe { socket.change_events(&control) }
    }
}

/// A boolean of the socket layer: any length counts, and every byte of the first four.
fn is_true(control: &Control) -> Option<bool> {
    if control.input.is_null() {
        return None;
    }
    Some(
        control
            .input()
            .is_some_and(|input| input.iter().take(4).any(|byte| *byte != 0)),
    )
}

impl Inner {
    pub(super) fn control(&mut self, socket: &Arc<Socket>, control: &Control) -> (NTSTATUS, usize) {
        match control.kind {
            WskSetOption => (self.set_option(socket, control), 0),
            WskGetOption => self.get_option(socket, control),
            WskIoctl => self.io_control(socket, control),
            _ => {
                misuse!("WskControlSocket with request type {}", control.kind);
                (STATUS_INVALID_PARAMETER, 0)
            }
        }
    }

    fn set_option(&mut self, socket: &Arc<Socket>, control: &Control) -> NTSTATUS {
        let result = match (control.level, control.code) {
            (SOL_SOCKET, SO_REUSEADDR) => {
                let sharing = (self.options.exclusive, &mut self.options.reuse);
                set_sharing(control, sharing)
            }
            (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => {
                let sharing = (self.options.reuse, &mut self.options.exclusive);
                set_sharing(control, sharing)
            }
            (SOL_SOCKET, SO_DEBUG) => {
                let value = is_true(control).ok_or(STATUS_BUFFER_TOO_SMALL);
                value.map(|value| self.options.debug = value)
            }
            (IPPROTO_UDP, UDP_SEND_MSG_SIZE | UDP_RECV_MAX_COALESCED_SIZE) if socket.kind == SOCK_DGRAM => {
                let value = control.value::<u32>().ok_or(STATUS_BUFFER_TOO_SMALL);
                value.map(|value| *udp_size(&mut self.options.udp_sizes, control.code) = value)
            }
            (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) => self.set_conditional_accept(socket, control),
            (SOL_SOCKET, SO_WSK_SECURITY) => self.set_security(socket, control),
            (SOL_SOCKET, SO_WSK_EVENT_CALLBACK) => Err(status_without_irp(&control.change_events(socket))),
            (SOL_SOCKET, SO_KEEPALIVE | SO_DONTROUTE) => self.set_narrow(socket, control),
            (SOL_SOCKET, SO_BROADCAST | SO_OOBINLINE | SO_DONTLINGER) => {
                let value = is_true(control).ok_or(STATUS_BUFFER_TOO_SMALL);
                value.and_then(|value| self.set_on_host(control, &u32::from(value).to_ne_bytes()))
            }
            _ => control
                .input()
                .ok_or(STATUS_BUFFER_TOO_SMALL)
                .and_then(|input| self.set_on_host(control, input)),
        };
        result.map_or_else(|status| status, |()| STATUS_SUCCESS)
    }

    fn set_on_host(&mut self, control: &Control, value: &[u8]) -> Result<(), NTSTATUS> {
        let host = self.host.as_ref().ok_or(STATUS_INVALID_DEVICE_STATE)?;
        host.set(control.level, control.code, value)?;
        self.options.note(control.level, control.code);
        Ok(())
    }

    /// One byte wide, and for streams only.
    fn set_narrow(&mut self, socket: &Arc<Socket>, control: &Control) -> Result<(), NTSTATUS> {
        if socket.kind != SOCK_STREAM && control.code == SO_KEEPALIVE {
            return Err(STATUS_NOT_SUPPORTED);
        }
        let lowest = control
            .input()
            .and_then(|input| input.first())
            .ok_or(STATUS_BUFFER_TOO_SMALL)?;
        self.set_on_host(control, &u32::from(*lowest != 0).to_ne_bytes())
    }

    fn set_conditional_accept(&mut self, socket: &Arc<Socket>, control: &Control) -> Result<(), NTSTATUS> {
        if !matches!(socket.category, Category::Listen | Category::Stream) {
            return Err(STATUS_NOT_SUPPORTED);
        }
        if control.input_size < 4 {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        if socket.phase() != Phase::Unbound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        self.options.conditional_accept = is_true(control).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        Ok(())
    }

    fn set_security(&mut self, socket: &Arc<Socket>, control: &Control) -> Result<(), NTSTATUS> {
        if socket.category == Category::Basic {
            return Err(STATUS_NOT_SUPPORTED);
        }
        let descriptor = control.value::<usize>().ok_or(STATUS_BUFFER_TOO_SMALL)?;
        if socket.phase() != Phase::Unbound {
            return Err(STATUS_INVALID_DEVICE_STATE);
        }
        let grants = socket
            .client
            .descriptor_grants(descriptor)
            .ok_or(STATUS_INVALID_PARAMETER)?;
        self.options.security = descriptor;
        self.options.shares = grants;
        Ok(())
    }

    fn get_option(&mut self, socket: &Arc<Socket>, control: &Control) -> (NTSTATUS, usize) {
        if control.output.is_null() || control.output_size == 0 {
            return (STATUS_BUFFER_TOO_SMALL, 0);
        }
        let flag = |value: bool| control.output(&u32::from(value).to_ne_bytes());
        match (control.level, control.code) {
            (SOL_SOCKET, SO_REUSEADDR) => flag(self.options.reuse),
            (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => flag(self.options.exclusive),
            (SOL_SOCKET, SO_DEBUG) => flag(self.options.debug),
            (IPPROTO_UDP, UDP_SEND_MSG_SIZE | UDP_RECV_MAX_COALESCED_SIZE) if socket.kind == SOCK_DGRAM => {
                control.output(&udp_size(&mut self.options.udp_sizes, control.code).to_ne_bytes())
            }
            (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) if matches!(socket.category, Category::Listen | Category::Stream) => {
                flag(self.options.conditional_accept)
            }
            (SOL_SOCKET, SO_WSK_SECURITY) if socket.category != Category::Basic => {
                control.output(&self.options.security.to_ne_bytes())
            }
            (SOL_SOCKET, SO_CONDITIONAL_ACCEPT | SO_WSK_SECURITY | SO_WSK_EVENT_CALLBACK) => (STATUS_NOT_SUPPORTED, 0),
            (SOL_SOCKET, SO_KEEPALIVE | SO_DONTROUTE) => self.get_narrow(socket, control),
            _ => self.get_from_host(control),
        }
    }

    fn get_narrow(&self, socket: &Arc<Socket>, control: &Control) -> (NTSTATUS, usize) {
        if socket.kind != SOCK_STREAM && control.code == SO_KEEPALIVE {
            return (STATUS_NOT_SUPPORTED, 0);
        }
        let mut value = [0; 4];
        let Some(host) = &self.host else {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        };
        match host.get(control.level, control.code, &mut value) {
            Ok(_) => control.output(&[u8::from(value != [0; 4])]),
            Err(status) => (status, 0),
        }
    }

    fn get_from_host(&self, control: &Control) -> (NTSTATUS, usize) {
        let Some(host) = &self.host else {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        };
        let mut value = vec![0; control.output_size.min(LONGEST)];
        match host.get(control.level, control.code, &mut value) {
            Ok(length) => control.output(value.get(..length).unwrap_or(&[])),
            Err(status) => (status, 0),
        }
    }
}

fn udp_size(sizes: &mut [u32; 2], code: u32) -> &mut u32 {
    let [send, receive] = sizes;
    if code == UDP_SEND_MSG_SIZE { send } else { receive }
}

/// `SO_REUSEADDR` and `SO_EXCLUSIVEADDRUSE` exclude each other; clearing one is always possible.
fn set_sharing(control: &Control, (other, own): (bool, &mut bool)) -> Result<(), NTSTATUS> {
    let value = is_true(control).ok_or(STATUS_BUFFER_TOO_SMALL)?;
    if value && other {
        return Err(STATUS_INVALID_PARAMETER);
    }
    *own = value;
    Ok(())
}

/// What can be asked without an IRP beside events: answered at once, from what calls may know.
pub(super) fn without_irp(socket: &Arc<Socket>, control: &Control) -> Option<(NTSTATUS, usize)> {
    use wsk_sys::{SIO_WSK_QUERY_INSPECT_ID, SIO_WSK_REGISTER_EXTENSION, SIO_WSK_SET_RECEIVE_EX_CALLBACK};
    if control.kind != WskIoctl {
        return None;
    }
    match control.code {
        SIO_WSK_REGISTER_EXTENSION => Some((STATUS_NOT_SUPPORTED, 0)),
        SIO_WSK_QUERY_INSPECT_ID => {
            let id = socket.shared.lock().inspect_id;
            Some(id.map_or((STATUS_INVALID_DEVICE_REQUEST, 0), |id| {
                let mut bytes = [0; 16];
                let (key, serial) = bytes.split_at_mut(8);
                key.copy_from_slice(&id.Key.to_ne_bytes());
                if let Some(serial) = serial.first_chunk_mut() {
                    *serial = id.SerialNumber.to_ne_bytes();
                }
                control.output(&bytes)
            }))
        }
        SIO_WSK_SET_RECEIVE_EX_CALLBACK => Some((socket.set_receive_ex(control), 0)),
        _ => None,
    }
}

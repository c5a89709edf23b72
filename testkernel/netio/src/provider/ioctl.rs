//! `WskControlSocket`: IOCTLs. WSK's own are carried out here, the rest goes to the host's socket.

use alloc::sync::Arc;
use alloc::vec;

use wsk_sys::{
    PFN_WSK_RECEIVE_EX_EVENT, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, SIO_WSK_QUERY_RECEIVE_BACKLOG,
    SIO_WSK_SET_REMOTE_ADDRESS, SIO_WSK_SET_SENDTO_ADDRESS, SIO_WSK_SET_TCP_SILENT_MODE,
};

use super::control::without_irp;
use super::request::Control;
use super::socket::{Category, Phase, Socket, Task};
use super::state::Inner;
use crate::host::Address;
use crate::level;
use crate::report::misuse;
use crate::status::{
    NTSTATUS, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

const SIO_ADDRESS_LIST_QUERY: u32 = 0x4800_0016;
const SIO_ADDRESS_LIST_CHANGE: u32 = 0x2800_0017;
const SIO_ADDRESS_LIST_SORT: u32 = 0xC800_0019;

/// Whether a control code may be used at `PASSIVE_LEVEL` only.
pub(super) const fn needs_passive(code: u32) -> bool {
    matches!(
        code,
        SIO_ADDRESS_LIST_QUERY | SIO_ADDRESS_LIST_CHANGE | SIO_ADDRESS_LIST_SORT
    )
}

impl Inner {
    pub(super) fn io_control(&mut self, socket: &Arc<Socket>, control: &Control) -> (NTSTATUS, usize) {
        if let Some(answer) = without_irp(socket, control) {
            return answer;
        }
        match control.code {
            SIO_WSK_SET_REMOTE_ADDRESS | SIO_WSK_SET_SENDTO_ADDRESS => (self.set_fixed_address(socket, control), 0),
            SIO_WSK_QUERY_IDEAL_SEND_BACKLOG | SIO_WSK_QUERY_RECEIVE_BACKLOG => self.backlog(socket, control),
            SIO_WSK_SET_TCP_SILENT_MODE => (self.set_silent(socket), 0),
            _ => self.io_control_of_host(control),
        }
    }

    fn set_fixed_address(&mut self, socket: &Arc<Socket>, control: &Control) -> NTSTATUS {
        if socket.category != Category::Datagram {
            return STATUS_INVALID_DEVICE_REQUEST;
        }
        if socket.phase() == Phase::Unbound {
            return STATUS_INVALID_DEVICE_STATE;
        }
        let address = if control.input_size == 0 {
            None
        } else if control.input.is_null() {
            return STATUS_INVALID_PARAMETER;
        } else {
            // SAFETY: the client's input is as long as it says; no more than an address is looked at.
            let input = unsafe { core::slice::from_raw_parts(control.input.cast::<u8>(), control.input_size.min(28)) };
            match Address::from_bytes(input).filter(|address| address.family() == socket.family) {
                Some(address) => Some(address),
                None => return STATUS_INVALID_PARAMETER,
            }
        };
        if control.code == SIO_WSK_SET_REMOTE_ADDRESS {
            self.datagrams.fixed_remote = address;
        } else {
            self.datagrams.fixed_send = address;
        }
        STATUS_SUCCESS
    }

    fn backlog(&self, socket: &Arc<Socket>, control: &Control) -> (NTSTATUS, usize) {
        if !matches!(socket.category, Category::Connection | Category::Stream) {
            return (STATUS_INVALID_DEVICE_REQUEST, 0);
        }
        if socket.phase() != Phase::Connected {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        }
        if control.code == SIO_WSK_QUERY_RECEIVE_BACKLOG {
            return control.output(&self.receiver.backlog().to_ne_bytes());
        }
        self.ideal_backlog()
            .map_or_else(|status| (status, 0), |ideal| control.output(&ideal.to_ne_bytes()))
    }

    fn set_silent(&mut self, socket: &Arc<Socket>) -> NTSTATUS {
        if !matches!(socket.category, Category::Connection | Category::Stream) {
            return STATUS_INVALID_DEVICE_REQUEST;
        }
        let busy = !self.sender.is_idle() || self.is_active(super::request::Role::Send);
        if socket.phase() != Phase::Connected || self.sender.is_shut() || busy {
            return STATUS_INVALID_DEVICE_STATE;
        }
        socket.shared.lock().silent = true;
        STATUS_SUCCESS
    }

    fn io_control_of_host(&self, control: &Control) -> (NTSTATUS, usize) {
        let Some(host) = &self.host else {
            return (STATUS_INVALID_DEVICE_STATE, 0);
        };
        let input: &[u8] = if control.input.is_null() {
            &[]
        } else {
            // SAFETY: the client's input is as long as it says, until its IRP is completed.
            unsafe { core::slice::from_raw_parts(control.input.cast(), control.input_size) }
        };
        let mut output = vec![
            0;
            if control.output.is_null() {
                0
            } else {
                control.output_size.min(0x1_0000)
            }
        ];
        match host.ioctl(control.code, input, &mut output) {
            Ok(0) => (STATUS_SUCCESS, 0),
            Ok(length) => control.output(output.get(..length).unwrap_or(&[])),
            Err(status) => (status, 0),
        }
    }
}

impl Socket {
    /// `SIO_WSK_SET_RECEIVE_EX_CALLBACK`: the input holds the function's address; none, or NULL, takes it off.
    pub(super) fn set_receive_ex(self: &Arc<Self>, control: &Control) -> NTSTATUS {
        if !matches!(self.category, Category::Connection | Category::Stream) {
            return STATUS_INVALID_DEVICE_REQUEST;
        }
        let nothing = control.input.is_null() || control.input_size == 0;
        let address = if nothing { Some(0) } else { control.value::<usize>() };
        let Some(address) = address else {
            return STATUS_BUFFER_TOO_SMALL;
        };
        // SAFETY: the client says that it is such a function; 0 is `None`.
        let function = unsafe { core::mem::transmute::<usize, Option<PFN_WSK_RECEIVE_EX_EVENT>>(address) };
        self.shared.lock().receive_ex = function;
        self.post(Task::Pump);
        STATUS_SUCCESS
    }
}

/// Reports address list IOCTLs from above `PASSIVE_LEVEL`.
pub(super) fn check_level(control: &Control) {
    if needs_passive(control.code) && level::current() != 0 {
        misuse!("control code {:#x} above PASSIVE_LEVEL", control.code);
    }
}

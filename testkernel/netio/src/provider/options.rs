//! Options that the provider keeps itself, because the host cannot: those of address sharing, and WSK's own.

use wsk_sys::SOL_SOCKET;

use crate::host::HostSocket;
use crate::report;

/// Kept options of one socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) reuse: bool,
    pub(crate) exclusive: bool,
    pub(crate) conditional_accept: bool,
    /// `SO_DEBUG`, which Windows keeps and otherwise does nothing with.
    pub(crate) debug: bool,
    /// `UDP_SEND_MSG_SIZE` and `UDP_RECV_MAX_COALESCED_SIZE`, which the host does not have: kept, and without effect, which is what their
    /// default of 0 means.
    pub(crate) udp_sizes: [u32; 2],
    /// `SO_WSK_SECURITY`: a cached security descriptor, by address.
    pub(crate) security: usize,
    /// That descriptor grants access, so that others may share the address.
    pub(crate) shares: bool,
    /// Which of [`INHERITED`] were set, by place.
    set: u32,
}

/// Options of the socket layer that Windows was tested to hand on from a listener to the sockets it accepts. The host hands on some
/// of them only.
const INHERITED: [u32; 7] = [
    0x8,    // SO_KEEPALIVE
    0x80,   // SO_LINGER
    0x100,  // SO_OOBINLINE
    0x1001, // SO_SNDBUF
    0x1002, // SO_RCVBUF
    0x1005, // SO_SNDTIMEO
    0x1006, // SO_RCVTIMEO
];
const SO_DONTLINGER: u32 = 0xFFFF_FF7F;

impl Options {
    /// What an accepted socket takes over from its listener, beyond what the host's socket does.
    pub(crate) fn inherited(self) -> Self {
        Self {
            reuse: self.reuse,
            set: self.set,
            ..Self::default()
        }
    }

    /// Notes that an option of the host's socket was set.
    pub(crate) fn note(&mut self, level: u32, code: u32) {
        let code = if code == SO_DONTLINGER { 0x80 } else { code };
        if let Some(place) = INHERITED
            .iter()
            .position(|option| level == SOL_SOCKET && *option == code)
        {
            self.set |= 1 << place;
        }
    }

    /// Gives what was set on a listener's host socket to an accepted one.
    pub(crate) fn hand_on(self, listener: &HostSocket, accepted: &HostSocket) {
        for (place, option) in INHERITED
            .iter()
            .enumerate()
            .filter(|(place, _)| self.set & 1 << place != 0)
        {
            let mut value = [0; 4];
            let copied = listener
                .get(SOL_SOCKET, *option, &mut value)
                .and_then(|length| accepted.set(SOL_SOCKET, *option, value.get(..length.max(4)).unwrap_or(&value)));
            if let Err(status) = copied {
                report::print(format_args!("option {place} was not handed on: {status:#010x}"));
            }
        }
    }
}

//! What runs the steps, and what a step lets be seen. The record backend drives the engine of `wskguard-core`; a live backend drives the
//! driver in the test kernel. The runner knows neither.

use wskguard_core::{Family, SocketType};

use crate::format::{Combination, Layer, NoEffect, Step};

/// Something that can run vectors.
pub trait Backend {
    /// Why vectors of this layer cannot be run; `None` if they can.
    fn refuses(&self, layer: Layer) -> Option<String>;

    /// Fresh sockets for one run of one vector.
    ///
    /// # Errors
    /// The combination is not supported.
    fn start<'a>(&'a mut self, combination: Combination) -> Result<Box<dyn Run + 'a>, Stop>;
}

/// One run.
pub trait Run {
    /// Carries out a step.
    ///
    /// # Errors
    /// The step cannot be carried out here, or makes no sense.
    fn step(&mut self, step: &Step) -> Result<Observed, Stop>;
}

/// Why a run ends before its steps do.
#[derive(Debug)]
pub enum Stop {
    /// The backend cannot do this.
    Unsupported(String),
    /// The vector is broken.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

/// Memory of a caller after a call.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its address, for the pointers in it.
    pub base: usize,
}

/// What an access check makes of a bind.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Status when it is passed.
    pub granted: u32,
    /// Status when it is not.
    pub denied: u32,
    /// Status with the security descriptors as they are.
    pub now: u32,
}

/// What was seen of a step. What is `None` was not seen.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Winsock error, 0 for success.
    pub wsa: Option<u32>,
    /// Value returned by a WSK call.
    pub status: Option<u32>,
    /// Status of its IRP.
    pub irp_status: Option<u32>,
    /// Its final status.
    pub final_status: Option<u32>,
    /// `IoStatus.Information`.
    pub information: Option<u64>,
    /// Bytes written to the output buffer of a WSK call.
    pub written: Option<u64>,
    /// The output buffer.
    pub buffer: Option<Buffer>,
    /// The length variable of a get.
    pub size: Option<u32>,
    /// A constant, or a count of FIONREAD.
    pub value: Option<u32>,
    /// Bytes returned.
    pub returned: Option<u32>,
    /// Bytes transferred.
    pub count: Option<u64>,
    /// Still pending.
    pub pending: Option<bool>,
    /// Who got it.
    pub delivered_to: Option<String>,
    /// Statuses that map to a code.
    pub statuses: Option<Vec<u32>>,
    /// Outcomes of an access check.
    pub access: Option<Access>,
    /// Where the step changed nothing; `None` if that was not looked at.
    pub unaffected: Option<Vec<NoEffect>>,
    /// What the socket is.
    pub socket: Option<(Family, SocketType, u32)>,
    /// The option that was read, for answers that are compared with each other.
    pub socket_name: Option<String>,
    /// The rule that the request breaks; an empty word for none.
    pub violation: Option<&'static str>,
    /// The status that a filter returns for it.
    pub recommended: Option<u32>,
    /// What events and the driver's objects showed.
    pub wsk: WskFacts,
}

/// What is to be seen of a WSK call beside its statuses and buffers. What is `None` was not seen.
#[derive(Clone, Debug, Default)]
pub struct WskFacts {
    /// What `IoStatus.Information` was: `socket`, `sent`, `received`.
    pub information: Option<&'static str>,
    /// Whether the IRP was completed only when the running callback had returned.
    pub after_callback: Option<bool>,
    /// Names of the addresses that a datagram socket sends to and receives from; none where it is not fixed.
    pub fixed_remote: Option<Option<(String, String)>>,
    /// Whether a receive-ex callback is installed.
    pub receive_ex_callback: Option<bool>,
    /// Events that come.
    pub events_enabled: Option<u32>,
    /// Whether a datagram was delivered.
    pub received: Option<bool>,
    /// Whether the address buffers were filled in.
    pub addresses_filled: Option<bool>,
    /// Whether nothing was done to an IRP.
    pub irp_untouched: Option<bool>,
    /// Version of the dispatch table that was captured.
    pub version: Option<u32>,
    /// Whether a client was captured.
    pub client: Option<bool>,
    /// Whether a descriptor that was given stayed cached until the IRP was completed.
    pub sd_cached: Option<bool>,
    /// Whether everything indicated was taken as accepted.
    pub all_accepted: Option<bool>,
    /// What came next.
    pub then: Option<&'static str>,
}

impl Observed {
    /// A Winsock call with this result.
    #[must_use]
    pub fn wsa(code: u32) -> Self {
        Self {
            wsa: Some(code),
            ..Self::default()
        }
    }

    /// Whether the step failed; a pending one has not.
    #[must_use]
    pub fn failed(&self) -> bool {
        const ERROR: u32 = 0x8000_0000;
        self.wsa.is_some_and(|code| code != 0 && self.pending != Some(true))
            || self.final_status.or(self.status).is_some_and(|status| status >= ERROR)
    }
}

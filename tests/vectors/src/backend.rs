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

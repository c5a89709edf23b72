//! The scripted client driver, as objects whose methods read like a script: a session, its clients, sockets, calls and events.
//!
//! Every synchronous call is checked against the IRP rules as it comes back (`Done::check_rules`), so that each test tests these too.

mod address;
mod call;
mod client;
mod events;
mod socket;

pub(crate) use address::{Address, Family};
pub(crate) use call::{CallBuilder, Done, Pending};
pub(crate) use client::{Client, Npi, WSK_NPI, guid};
pub(crate) use events::EventLog;
pub(crate) use socket::Socket;

use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use probe_protocol::probe::{
    Gate, Header, Hello, IOCTL_EXECUTE, IOCTL_PASS_DOWN, IOCTL_USE_CLOSED, Leftovers, Op, RequestRef, VERSION,
    WIN32_PREFIX, take,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::device::{Completion, Device};
use crate::{check, status};

/// Every call is shown.
pub(crate) static TRACE: AtomicBool = AtomicBool::new(false);

/// How long the driver may take beyond what the script allows a request.
const GRACE: Duration = Duration::from_secs(15);
/// What a request may take where the script does not say.
pub(crate) const DEFAULT_MS: u32 = 5000;

/// A session with the client driver: an open handle, to which everything made through it belongs.
#[derive(Debug)]
pub(crate) struct Probe {
    device: Device,
    finished: Cell<bool>,
}

impl Probe {
    /// Opens the driver that was started under this service name.
    pub(crate) fn open(service: &str) -> Result<Self> {
        let probe = Self {
            device: Device::open(&format!("{WIN32_PREFIX}{service}"))?,
            finished: Cell::new(false),
        };
        let hello = probe.hello()?;
        check::equal("version of the probe's protocol", hello.version, VERSION)?;
        Ok(probe)
    }

    pub(crate) fn hello(&self) -> Result<Hello> {
        self.ask(Op::Hello, &[])
    }

    /// Sends a request and returns the reply's bytes.
    fn execute(&self, op: Op, parts: &[&[u8]], room: usize, limit_ms: u32) -> Result<Vec<u8>> {
        let mut input = Header::new(op).as_bytes().to_vec();
        parts.iter().for_each(|part| input.extend_from_slice(part));
        let limit = GRACE + Duration::from_millis(limit_ms.into());
        let (completion, output) = self
            .device
            .control(IOCTL_EXECUTE, input, room, limit)
            .with_context(|| format!("{op:?}"))?;
        if completion.status != 0 {
            bail!("{op:?}: the probe answered {}", status::name(completion.status));
        }
        Ok(output)
    }

    /// A request whose reply is one structure.
    fn ask<T: FromBytes + Immutable + KnownLayout + Copy>(&self, op: Op, parts: &[&[u8]]) -> Result<T> {
        self.ask_for(op, parts, DEFAULT_MS)
    }

    pub(crate) fn ask_for<T: FromBytes + Immutable + KnownLayout + Copy>(
        &self,
        op: Op,
        parts: &[&[u8]],
        limit_ms: u32,
    ) -> Result<T> {
        let output = self.execute(op, parts, size_of::<T>(), limit_ms)?;
        let (value, _) = take(&output).with_context(|| format!("{op:?}: a short reply"))?;
        Ok(value)
    }

    /// A request without a reply.
    fn tell(&self, op: Op, part: &[u8]) -> Result<()> {
        self.execute(op, &[part], 0, DEFAULT_MS).map(drop)
    }

    /// Attaches a client to the provider that `npi` names.
    pub(crate) fn attach(&self, npi: Npi) -> Result<Client<'_>> {
        Client::attach(self, npi)
    }

    /// Callbacks and other events from now on.
    pub(crate) fn events(&self) -> EventLog<'_> {
        EventLog::new(self)
    }

    /// Callbacks with this gate number wait there until it is opened.
    pub(crate) fn close_gate(&self, gate: u32) -> Result<()> {
        self.tell(Op::SetGate, Gate { gate, open: 0 }.as_bytes())
    }

    pub(crate) fn open_gate(&self, gate: u32) -> Result<()> {
        self.tell(Op::SetGate, Gate { gate, open: 1 }.as_bytes())
    }

    /// Launches a prepared request with the IRP of this very IOCTL passed down; returns how that came back.
    pub(crate) fn pass_down(&self, request: u32) -> Result<Completion> {
        let input = Self::naming(Op::Launch, request);
        let (completion, _) = self.device.control(IOCTL_PASS_DOWN, input, 4096, GRACE)?;
        Ok(completion)
    }

    /// Has the driver look into a socket whose close has completed; what came of it.
    pub(crate) fn use_closed(&self, socket: u32) -> Result<Completion> {
        let input = Self::naming(Op::Launch, socket);
        Ok(self.device.control(IOCTL_USE_CLOSED, input, 0, GRACE)?.0)
    }

    fn naming(op: Op, number: u32) -> Vec<u8> {
        let named = RequestRef {
            request: number,
            timeout_ms: 0,
            flags: 0,
        };
        [Header::new(op).as_bytes(), named.as_bytes()].concat()
    }

    /// Takes back an IRP that the provider has left alone.
    pub(crate) fn abandon(&self, request: u32) -> Result<()> {
        self.tell(
            Op::Abandon,
            RequestRef {
                request,
                timeout_ms: 0,
                flags: 0,
            }
            .as_bytes(),
        )
    }

    /// Ends the session and says what would not end.
    pub(crate) fn finish(&self) -> Result<Leftovers> {
        self.finished.set(true);
        self.ask_for(Op::Finish, &[], 30_000)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }
}

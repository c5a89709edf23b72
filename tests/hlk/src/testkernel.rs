//! What only the test kernel can do: make the provider answer in unusual ways, and say which rule of the kernel was broken. On Windows
//! these devices are not there; tests that need them are skipped, and the real verifier watches.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use probe_protocol::netio::{
    Action, Configuration, Death, Header, IOCTL_EXECUTE, Number, Operation, OptionQuery, OptionReply, PortQuery, Rule,
    RuleFlags, Statistics, VERSION, WIN32_NAME,
};
use probe_protocol::probe::{Function, take};
use testkernel_check::verifier::{Shown, Stop, Verifier};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::context::skip;
use crate::device::Device;
use crate::probe::Address;
use crate::status;

/// The test kernel's provider, as a script sets it. Everything set is undone at the end.
#[derive(Debug)]
pub(crate) struct Netio {
    device: Device,
    before: Configuration,
}

#[allow(dead_code, reason = "every setting has its method")]
impl Netio {
    /// Skips the test where the provider is not the test kernel's.
    pub(crate) fn open() -> Result<Self> {
        let Ok(device) = Device::open(WIN32_NAME) else {
            return skip("the provider takes no script");
        };
        let mut netio = Self {
            device,
            before: Configuration::default(),
        };
        netio.tell(Operation::ClearRules, &[])?;
        // The reply is what is in force; putting it back changes nothing.
        let before: Configuration = netio.ask(Operation::Configure, Configuration::default().as_bytes())?;
        netio.configure(before)?;
        netio.before = before;
        Ok(netio)
    }

    fn send(&self, operation: Operation, body: &[u8], room: usize) -> Result<Vec<u8>> {
        let mut input = Header {
            version: VERSION,
            operation: operation as u32,
        }
        .as_bytes()
        .to_vec();
        input.extend_from_slice(body);
        let (completion, output) = self
            .device
            .control(IOCTL_EXECUTE, input, room, Duration::from_secs(5))?;
        ensure!(
            completion.status == 0,
            "netio {operation:?}: {}",
            status::name(completion.status)
        );
        Ok(output)
    }

    fn tell(&self, operation: Operation, body: &[u8]) -> Result<()> {
        self.send(operation, body, 0).map(drop)
    }

    fn ask<T: FromBytes + Immutable + KnownLayout + Copy>(&self, operation: Operation, body: &[u8]) -> Result<T> {
        let output = self.send(operation, body, size_of::<T>())?;
        match take(&output) {
            Some((value, _)) => Ok(value),
            None => bail!("netio {operation:?}: a short reply"),
        }
    }

    pub(crate) fn configure(&self, configuration: Configuration) -> Result<Configuration> {
        self.ask(Operation::Configure, configuration.as_bytes())
    }

    /// Completions and callbacks at `DISPATCH_LEVEL`.
    pub(crate) fn at_dispatch(&self) -> Result<()> {
        self.configure(Configuration {
            at_dispatch: 1,
            ..self.before
        })
        .map(drop)
    }

    /// The next `count` calls of `function`.
    pub(crate) fn rule(
        &self,
        function: Function,
        count: u32,
        action: Action,
        status: i32,
        flags: RuleFlags,
    ) -> Result<()> {
        let rule = Rule {
            function: function as u32,
            skip: 0,
            count,
            action: action as u32,
            status,
            milliseconds: 50,
            flags,
        };
        self.tell(Operation::AddRule, rule.as_bytes())
    }

    /// The next call of `function` fails with `status`.
    pub(crate) fn fail(&self, function: Function, status: i32) -> Result<()> {
        self.rule(function, 1, Action::Fail, status, RuleFlags(0))
    }

    /// The next call of `function` is held before it begins.
    pub(crate) fn hold(&self, function: Function) -> Result<()> {
        self.rule(function, 1, Action::HoldStart, 0, RuleFlags(0))
    }

    /// The next call of `function` is performed, and completes when released.
    pub(crate) fn hold_completion(&self, function: Function) -> Result<()> {
        self.rule(function, 1, Action::HoldCompletion, 0, RuleFlags(0))
    }

    /// Lets held requests go on; how many there were.
    pub(crate) fn release(&self, function: Function) -> Result<u32> {
        Ok(self
            .ask::<Number>(Operation::Release, Number { value: function as u32 }.as_bytes())?
            .value)
    }

    pub(crate) fn clear(&self) -> Result<()> {
        self.tell(Operation::ClearRules, &[])
    }

    pub(crate) fn statistics(&self) -> Result<Statistics> {
        self.ask(Operation::Query, &[])
    }

    /// What the host says of an option of the socket bound to `address`.
    pub(crate) fn host_option(
        &self,
        address: Address,
        kind: u32,
        connected: bool,
        level: u32,
        option: u32,
    ) -> Result<u32> {
        let query = OptionQuery {
            family: address.family().number(),
            port: address.port().into(),
            kind,
            connected: connected.into(),
            level,
            option,
            length: 4,
        };
        let reply: OptionReply = self.ask(Operation::HostOption, query.as_bytes())?;
        ensure!(
            reply.status == 0,
            "the host's option {option:#x}: {}",
            status::name(reply.status)
        );
        let [a, b, c, d, ..] = reply.value;
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    /// Takes the sockets of a local port and type away; how many.
    pub(crate) fn force_close(&self, address: Address, kind: u32) -> Result<u32> {
        let query = PortQuery {
            family: address.family().number(),
            port: address.port().into(),
            kind,
        };
        Ok(self.ask::<Number>(Operation::ForceClose, query.as_bytes())?.value)
    }

    /// The provider leaves, until what is returned is dropped: its clients are detached, and their sockets are theirs to close.
    pub(crate) fn leave(&self) -> Result<Away<'_>> {
        self.tell(Operation::Leave, &[])?;
        Ok(Away(self))
    }

    /// Ends the connections of a local port as by keep-alive failure; how many.
    pub(crate) fn kill(&self, address: Address, status: i32, abortive: bool) -> Result<u32> {
        let death = Death {
            family: address.family().number(),
            port: address.port().into(),
            status,
            abortive: abortive.into(),
        };
        Ok(self.ask::<Number>(Operation::Kill, death.as_bytes())?.value)
    }
}

/// The provider is away.
#[derive(Debug)]
pub(crate) struct Away<'n>(&'n Netio);

impl Away<'_> {
    /// Brings it back; fails while a binding to it lasts.
    pub(crate) fn come_back(self) -> Result<()> {
        let done = self.returns();
        std::mem::forget(self);
        done
    }

    fn returns(&self) -> Result<()> {
        // The last binding ends a moment after the last close has completed.
        for _ in 0..50 {
            if self.0.tell(Operation::Return, &[]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("a binding to the provider that leaves does not end")
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        // Whatever the test did: the tests after it need a provider.
        let _ = self.returns();
    }
}

impl Drop for Netio {
    fn drop(&mut self) {
        let _ = self.tell(Operation::ClearRules, &[]);
        let _ = self.ask::<Number>(Operation::Release, Number { value: 0 }.as_bytes());
        let _ = self.configure(self.before);
    }
}

/// Stops up to this one were what their test wanted.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// The stops that `body` causes, which are what its test is about.
pub(crate) fn wanted_stops(verifier: &Verifier, body: impl FnOnce() -> Result<()>) -> Result<Vec<Stop>> {
    let last = |stops: &[Stop]| stops.iter().map(|stop| stop.sequence).max().unwrap_or(0);
    let before = last(&verifier.stops()?);
    let done = body();
    let mut stops = verifier.stops()?;
    WANTED.store(last(&stops), Ordering::Relaxed);
    stops.retain(|stop| stop.sequence > before);
    done.map(|()| stops)
}

/// Looks for rules of the kernel that were broken.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    verifier: Option<Verifier>,
    seen: u32,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let mut watch = Self {
            verifier: Verifier::open().ok(),
            seen: 0,
        };
        watch.new_stops();
        watch
    }

    /// Stops since the last look, for people.
    pub(crate) fn new_stops(&mut self) -> Vec<String> {
        let stops = self
            .verifier
            .as_ref()
            .and_then(|verifier| verifier.stops().ok())
            .unwrap_or_default();
        let seen = self.seen.max(WANTED.load(Ordering::Relaxed));
        let fresh: Vec<_> = stops.iter().filter(|stop| stop.sequence > seen).collect();
        let texts = fresh.iter().map(|stop| Shown(stop).to_string()).collect();
        self.seen = fresh.iter().map(|stop| stop.sequence).fold(self.seen, u32::max);
        texts
    }
}

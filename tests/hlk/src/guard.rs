//! The filter's control device: the companion's typed client, and raw requests.

use std::ops::{Deref, DerefMut};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wskguard_abi::{AuditEntry, StatusReply, audit_flags, status_flags};
use wskguard_core::counters::Counter;
use wskguardctl::audit::Cursor;
use wskguardctl::device::Device;
use wskguardctl::driver::Driver;
use wskguardctl::host::Access;

/// An open handle of wskguard's device.
pub(crate) struct Guard(Driver<Device>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    pub(crate) fn open() -> Result<Self> {
        match Device::open(Access::Write) {
            Ok(device) => Ok(Self(Driver::new(device))),
            Err(error) => bail!("wskguard's device cannot be opened: {error:?}"),
        }
    }

    /// Compiles a policy and puts it in force.
    pub(crate) fn load(&mut self, policy: &str) -> Result<()> {
        let compiled = match wskguard_policy::compile("test.toml", policy) {
            Ok(compiled) => compiled,
            Err(diagnostics) => bail!("the test's policy is wrong: {diagnostics:?}"),
        };
        let reply = self.0.set_policy(&compiled.image, None)?;
        crate::check::equal("hash of the policy in force", reply.hash, compiled.hash)?;
        self.stored().map(drop)
    }

    /// What a counter has come to.
    pub(crate) fn counted(&mut self, counter: Counter) -> Result<u64> {
        let counters = self.0.counters()?;
        Ok(counters.values.get(counter as usize).copied().unwrap_or(0))
    }

    /// Waits until what is in force is stored for the next start; the status then.
    pub(crate) fn stored(&mut self) -> Result<StatusReply> {
        let begin = Instant::now();
        loop {
            let status = self.0.status()?;
            if status.flags & status_flags::NOT_STORED == 0 {
                crate::check::equal("status of the state key", status.state_status, 0)?;
                return Ok(status);
            }
            ensure!(begin.elapsed() < Duration::from_secs(5), "the policy is not stored");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// This handle reads what is recorded from now on.
    pub(crate) fn audit_from_now(&mut self) -> Result<()> {
        self.0.read_audit(audit_flags::FROM_NOW, 0)?;
        Ok(())
    }

    /// All that is recorded and not read yet, in order: a client's thread moves between processors, whose rings are read one
    /// after the other.
    pub(crate) fn audited(&mut self) -> Result<Vec<AuditEntry>> {
        let mut all = Vec::new();
        loop {
            let batch = self.0.read_audit(0, 64)?;
            if batch.entries.is_empty() {
                all.sort_by_key(Cursor::of);
                return Ok(all);
            }
            all.extend(batch.entries);
        }
    }

    /// The one client whose image is `name`, as the driver lists it.
    pub(crate) fn client_of(&mut self, name: &str) -> Result<wskguard_abi::ClientInfo> {
        let clients = self.0.clients()?;
        let image = |client: &wskguard_abi::ClientInfo| {
            let length = (client.image_length as usize).min(client.image.len());
            String::from_utf8_lossy(&client.image[..length]).into_owned()
        };
        let found = clients.iter().find(|client| image(client) == name).copied();
        found.with_context(|| {
            format!(
                "no client {name} among {:?}",
                clients.iter().map(image).collect::<Vec<_>>()
            )
        })
    }
}

impl Deref for Guard {
    type Target = Driver<Device>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A policy that lets everything through as it is.
pub(crate) const PERMISSIVE: &str = "schema = 1\nname = \"permissive\"\nsemantics = \"audit\"\n";

/// Runs `body` under a policy: `rules` with a head that enforces, records everything and applies these semantics.
pub(crate) fn under(
    context: &crate::context::Context,
    semantics: &str,
    rules: &str,
    body: impl FnOnce(&mut Guard, &crate::probe::Client<'_>) -> Result<()>,
) -> Result<()> {
    let head = format!("schema = 1\nname = \"test\"\naudit = \"all\"\nsemantics = \"{semantics}\"\n");
    let mut guard = context.guard()?;
    guard.load(&format!("{head}{rules}"))?;
    let result = context.attach().and_then(|client| body(&mut guard, &client));
    guard.load(PERMISSIVE)?;
    result
}

//! What a test is given: sessions with the client drivers, the provider it runs against, and the filter's control device.

use anyhow::{Result, ensure};

use crate::guard::Guard;
use crate::probe::{Address, Client, Npi, Probe};

/// Names of the client drivers' services.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) probe: String,
    pub(crate) probe2: String,
    /// Tests of endurance take their time.
    pub(crate) extended: bool,
    /// Questions may be asked that a provider could answer by stopping the system.
    pub(crate) risky: bool,
    /// An address that can be cut off while a connection to it lasts.
    pub(crate) peer: Option<Address>,
}

/// A test ends early and does not count: what it needs is not there.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends the test as skipped.
pub(crate) fn skip<T>(why: impl Into<String>) -> Result<T> {
    Err(Skip(why.into()).into())
}

/// A test's surroundings.
#[derive(Debug)]
pub(crate) struct Context {
    services: Services,
    /// The provider that a test which runs against several is run against now.
    npi: Npi,
    pub(crate) probe: Probe,
}

impl Context {
    pub(crate) fn new(services: &Services, npi: Npi) -> Result<Self> {
        let probe = Probe::open(&services.probe)?;
        Ok(Self {
            services: services.clone(),
            npi,
            probe,
        })
    }

    pub(crate) fn npi(&self) -> Npi {
        self.npi
    }

    /// Whether tests of endurance take their time.
    pub(crate) fn extended(&self) -> bool {
        self.services.extended
    }

    pub(crate) fn risky(&self) -> bool {
        self.services.risky
    }

    pub(crate) fn peer(&self) -> Option<Address> {
        self.services.peer
    }

    /// A client of the provider that the test runs against.
    pub(crate) fn attach(&self) -> Result<Client<'_>> {
        self.probe.attach(self.npi)
    }

    /// A session with the same driver.
    pub(crate) fn another_session(&self) -> Result<Probe> {
        Probe::open(&self.services.probe)
    }

    /// A session with the second driver: another image, hence another client to the filter.
    pub(crate) fn second_driver(&self) -> Result<Probe> {
        Probe::open(&self.services.probe2)
    }

    /// The filter's control device.
    pub(crate) fn guard(&self) -> Result<Guard> {
        Guard::open()
    }

    /// Ends the session: everything must have ended, and nothing twice or late.
    pub(crate) fn finish(&self) -> Result<()> {
        finish(&self.probe)
    }
}

/// Ends a session and wants nothing left.
pub(crate) fn finish(probe: &Probe) -> Result<()> {
    if probe.is_finished() {
        return Ok(());
    }
    let left = probe.finish()?;
    ensure!(left.requests == 0, "{} requests never completed", left.requests);
    ensure!(left.sockets == 0, "{} sockets could not be closed", left.sockets);
    ensure!(left.clients == 0, "{} clients could not be detached", left.clients);
    ensure!(
        left.double_completions == 0,
        "{} completions too many",
        left.double_completions
    );
    ensure!(
        left.late_callbacks == 0,
        "{} callbacks after their socket was closed",
        left.late_callbacks
    );
    Ok(())
}

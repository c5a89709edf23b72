//! The client driver in C, which is linked with the shim: its service, and its steps.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use probe_protocol::client::{IOCTL_STEP, Reply, Request, Step, WIN32_PREFIX};
use probe_protocol::probe::take;
use testkernel_check::service::Service;
use zerocopy::IntoBytes;

use crate::context::skip;
use crate::device::Device;
use crate::{check, status};

const STOPPED: u32 = 1;
const RUNNING: u32 = 4;

/// A driver that runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct Running(Service);

impl Running {
    /// Starts `file` of the drivers' folder under the name `service`; skips the test where it is not there.
    pub(crate) fn start(service: &str, file: &str) -> Result<Self> {
        let path = format!(r"C:\windows\system32\drivers\{file}");
        if !std::path::Path::new(&path).is_file() {
            return skip(format!("{file} is not installed"));
        }
        let service = Service::install(service, &path).context("install")?;
        service.start().with_context(|| format!("start of {file}"))?;
        service.wait_for(RUNNING).context("until it runs")?;
        Ok(Self(service))
    }

    /// Stops it and waits until it has.
    pub(crate) fn stop(&self) -> Result<()> {
        // A handle that was closed just now may still be on its way to the driver, which cannot be unloaded until then.
        let tries = (0..100).map(|_| self.0.stop());
        tries
            .inspect(|stopped| {
                if stopped.is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
            .find(Result::is_ok)
            .context("it cannot be stopped")??;
        self.0.wait_for(STOPPED).context("until it has stopped")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.state().is_ok_and(|state| state == STOPPED) {
            return;
        }
        if let Err(error) = self.stop() {
            eprintln!("hlk: a client driver does not stop: {error:#}");
        }
    }
}

/// The client in C. What it holds it gives back when it is stopped.
#[derive(Debug)]
pub(crate) struct CClient {
    device: Device,
    running: Running,
}

impl CClient {
    /// Starts it as it was linked: `open` or `closed`.
    pub(crate) fn start(fail: &str) -> Result<Self> {
        let service = format!("cclient-{fail}");
        let running = Running::start(&service, &format!("{service}.sys"))?;
        let device = Device::open(&format!("{WIN32_PREFIX}{service}"))?;
        Ok(Self { device, running })
    }

    /// One step; its status is the caller's to judge.
    pub(crate) fn step(&self, step: Step, number: u32) -> Result<Reply> {
        let request = Request {
            step: step as u32,
            number,
        };
        let (completion, output) = self.device.control(
            IOCTL_STEP,
            request.as_bytes().to_vec(),
            size_of::<Reply>(),
            Duration::from_secs(15),
        )?;
        ensure!(completion.status == 0, "{step:?}: {}", status::name(completion.status));
        Ok(take::<Reply>(&output).context("a short reply")?.0)
    }

    /// A step that succeeds.
    pub(crate) fn ok(&self, step: Step, number: u32) -> Result<Reply> {
        let reply = self.step(step, number)?;
        check::status(&format!("{step:?}"), reply.status, status::SUCCESS)?;
        Ok(reply)
    }

    /// A socket at work: an option, a datagram to itself.
    pub(crate) fn works(&self) -> Result<()> {
        self.ok(Step::Open, 0)?;
        let set = self.ok(Step::SetReceiveBuffer, 32768)?;
        check::equal("SO_RCVBUF", set.first, 32768)?;
        let exchanged = self.ok(Step::Exchange, 40)?;
        check::equal("received, and right", (exchanged.first, exchanged.second), (40, 40))?;
        self.ok(Step::Close, 0)?;
        Ok(())
    }

    /// Gives back what was captured, and deregisters.
    pub(crate) fn leave(&self) -> Result<()> {
        self.ok(Step::Release, 0)?;
        self.ok(Step::Deregister, 0)?;
        Ok(())
    }

    pub(crate) fn stop(self) -> Result<()> {
        // An open device keeps its driver.
        drop(self.device);
        self.running.stop()
    }
}

//! What commands need of the machine: the device, the service, the clock. A trait, so that they also run on recordings.

use std::{cell::RefCell, rc::Rc, time::Duration};

use wskguard_abi::Code;

use crate::{
    time,
    transport::{Exchange, Recorded, Transport, TransportError},
};

/// What a command is going to do with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Ask.
    Read,
    /// Change something.
    Write,
}

/// Why the service did not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceError {
    /// There is no such service, or it does not run.
    NotRunning,
    /// The caller may not stop it.
    AccessDenied,
    /// It did not stop in time.
    Timeout,
    /// The service manager's Win32 error code.
    Win32(u32),
    /// This operating system has no such services.
    Unsupported,
}

/// The machine.
pub trait Host {
    /// Opens the control device. Every command does so anew: an open handle would keep the driver from stopping.
    ///
    /// # Errors
    /// The device is not there, or may not be opened.
    fn open(&mut self, access: Access) -> Result<Box<dyn Transport>, TransportError>;

    /// Stops the driver's service and waits at most `patience` until it has.
    ///
    /// # Errors
    /// See [`ServiceError`].
    fn stop_service(&mut self, patience: Duration) -> Result<(), ServiceError>;

    /// Now, 100 ns since 1601.
    fn now(&self) -> u64;

    /// Waits.
    fn sleep(&mut self, duration: Duration);
}

/// The machine this runs on.
#[derive(Debug)]
pub struct ThisMachine;

impl Host for ThisMachine {
    #[cfg(windows)]
    fn open(&mut self, access: Access) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(crate::device::Device::open(access)?))
    }

    #[cfg(not(windows))]
    fn open(&mut self, _access: Access) -> Result<Box<dyn Transport>, TransportError> {
        Err(TransportError::Unsupported)
    }

    #[cfg(windows)]
    fn stop_service(&mut self, patience: Duration) -> Result<(), ServiceError> {
        crate::service::stop(patience)
    }

    #[cfg(not(windows))]
    fn stop_service(&mut self, _patience: Duration) -> Result<(), ServiceError> {
        Err(ServiceError::Unsupported)
    }

    fn now(&self) -> u64 {
        time::now()
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A machine made of recordings, whose clock moves only when it sleeps.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What the driver answers, over all openings of its device.
    pub replies: Rc<RefCell<Recorded>>,
    /// Why the device cannot be opened.
    pub open_error: Option<TransportError>,
    /// How stopping the service ends.
    pub stop: Result<(), ServiceError>,
    /// The time.
    pub now: u64,
}

impl Recording {
    /// The driver gives these answers, in this order.
    #[must_use]
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Self {
        let replies = Rc::new(RefCell::new(Recorded::new(exchanges)));
        Self {
            replies,
            open_error: None,
            stop: Ok(()),
            now: 0,
        }
    }

    /// The device cannot be opened.
    #[must_use]
    pub fn closed(error: TransportError) -> Self {
        Self {
            open_error: Some(error),
            ..Self::new([])
        }
    }
}

impl Host for Recording {
    fn open(&mut self, _access: Access) -> Result<Box<dyn Transport>, TransportError> {
        match self.open_error {
            Some(error) => Err(error),
            None => Ok(Box::new(Shared(Rc::clone(&self.replies)))),
        }
    }

    fn stop_service(&mut self, _patience: Duration) -> Result<(), ServiceError> {
        self.stop
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn sleep(&mut self, duration: Duration) {
        self.now += u64::try_from(duration.as_nanos() / 100).unwrap_or(u64::MAX);
    }
}

/// One opening of a recorded device.
struct Shared(Rc<RefCell<Recorded>>);

impl Transport for Shared {
    fn call(&mut self, code: Code, input: &[u8], output: &mut [u8]) -> Result<usize, TransportError> {
        self.0.borrow_mut().call(code, input, output)
    }
}

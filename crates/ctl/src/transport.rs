//! How requests reach the driver: one method, so that every command also runs on recorded replies, without a driver.

use std::collections::VecDeque;

use wskguard_abi::Code;

/// Why a request had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// There is no control device: the driver is not loaded.
    Absent,
    /// The device may not be opened.
    AccessDenied,
    /// The driver's answer to the request is this NTSTATUS.
    Status(u32),
    /// The device could not be opened, for another reason: a Win32 error code.
    Win32(u32),
    /// This operating system has no such device.
    Unsupported,
}

/// Sends requests to the driver.
pub trait Transport {
    /// Sends `code` with `input` and returns how many bytes of `output` the driver filled. Waits as long as the driver does.
    ///
    /// # Errors
    /// The driver cannot be reached, or refused.
    fn call(&mut self, code: Code, input: &[u8], output: &mut [u8]) -> Result<usize, TransportError>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn call(&mut self, code: Code, input: &[u8], output: &mut [u8]) -> Result<usize, TransportError> {
        (**self).call(code, input, output)
    }
}

/// One recorded exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What must be asked.
    pub code: Code,
    /// What must be sent, when that matters.
    pub input: Option<Vec<u8>>,
    /// The answer.
    pub reply: Result<Vec<u8>, u32>,
}

/// Replies in the order in which they will be asked for; anything else is a bug of the test, and panics.
#[derive(Clone, Debug, Default)]
pub struct Recorded(VecDeque<Exchange>);

impl Recorded {
    /// These exchanges, in this order.
    #[must_use]
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Self {
        Self(exchanges.into_iter().collect())
    }

    /// Exchanges that were not asked for.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

impl Transport for Recorded {
    /// # Panics
    /// When the request is not the recorded one.
    fn call(&mut self, code: Code, input: &[u8], output: &mut [u8]) -> Result<usize, TransportError> {
        let exchange = self
            .0
            .pop_front()
            .unwrap_or_else(|| panic!("{code:?} was not recorded"));
        assert_eq!(exchange.code, code, "another request was recorded");
        if let Some(expected) = exchange.input {
            assert_eq!(expected, input, "{code:?}: another input was recorded");
        }
        let reply = exchange.reply.map_err(TransportError::Status)?;
        let room = output
            .get_mut(..reply.len())
            .ok_or(TransportError::Status(crate::ntstatus::BUFFER_TOO_SMALL))?;
        room.copy_from_slice(&reply);
        Ok(reply.len())
    }
}

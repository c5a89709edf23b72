//! Work that takes many calls, driven inside the probe. `PASSIVE_LEVEL`.

use wdk_sys::{NTSTATUS, STATUS_NOT_IMPLEMENTED};

use crate::session::Session;
use crate::shared::Shared;

/// Carries out [`probe_protocol::probe::Op::Transfer`], `Stress` or `Bench`.
pub(crate) fn run(_session: &Shared<Session>, _op: u32, _body: &[u8], _reply: &mut [u8]) -> Result<usize, NTSTATUS> {
    Err(STATUS_NOT_IMPLEMENTED)
}

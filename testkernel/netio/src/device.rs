//! The control device: carries out the requests of `probe_protocol::netio`. `PASSIVE_LEVEL`.
pub(crate) fn create() {}

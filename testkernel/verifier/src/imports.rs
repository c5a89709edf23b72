//! The import slots of verified drivers. For now they stay as they are.

use core::ffi::CStr;

use probe_protocol::verifier::{ImportUse, NAME, PageReply};

use crate::image::Image;

/// Puts checks in front of the imports of a driver that was just mapped.
pub(crate) fn wrap(_image: Image, _name: [u8; NAME]) {}

/// The checked form of a function, for a caller that is verified.
pub(crate) fn wrapped(_name: &CStr, _caller: usize) -> Option<usize> {
    None
}

/// Calls into wrapped imports.
pub(crate) fn calls() -> u64 {
    0
}

/// Copies the imports from the `first` on.
pub(crate) fn page(_first: usize, _room: &mut [ImportUse]) -> PageReply {
    PageReply::default()
}

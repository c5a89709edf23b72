//! The tests, by category.

mod basics;
mod callbacks;
mod cancel;
mod fidelity;
mod irp;
mod lifetime;
mod load;
mod nmr;

use crate::runner::Test;

/// All of them, in the order in which they run.
pub(crate) const ALL: &[&[Test]] = &[
    basics::TESTS,
    irp::TESTS,
    cancel::TESTS,
    callbacks::TESTS,
    lifetime::TESTS,
    nmr::TESTS,
    fidelity::TESTS,
    load::TESTS,
];

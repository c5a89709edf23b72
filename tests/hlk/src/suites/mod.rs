//! The tests, by category.

mod audit;
mod basics;
mod callbacks;
mod cancel;
mod device;
mod fidelity;
mod irp;
mod lifetime;
mod load;
mod nmr;
pub(crate) mod vectors;
mod policy;

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
    device::TESTS,
    policy::TESTS,
    audit::TESTS,
    load::TESTS,
];

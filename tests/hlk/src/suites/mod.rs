//! The tests, by category.

mod audit;
mod basics;
mod callbacks;
mod cancel;
mod device;
mod fidelity;
mod hardening;
mod hostile;
mod irp;
mod lifetime;
pub(crate) mod load;
mod nmr;
mod options;
mod policy;
mod shim;
mod state;
mod stop;
mod transparent;
pub(crate) mod vectors;

use std::sync::atomic::AtomicU32;

use crate::runner::Test;

/// How often `stop::cycles` loads and unloads the filter.
pub(crate) static CYCLES: AtomicU32 = AtomicU32::new(10);

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
    options::TESTS,
    hardening::TESTS,
    load::TESTS,
    stop::TESTS,
    shim::TESTS,
    transparent::TESTS,
    state::TESTS,
    hostile::TESTS,
];

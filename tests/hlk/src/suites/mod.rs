//! The tests, by category.

pub(crate) mod asks;
mod audit;
mod basics;
mod callbacks;
mod cancel;
mod device;
pub(crate) mod each;
pub(crate) mod endurance;
mod fidelity;
mod hardening;
mod hostile;
mod irp;
mod lifetime;
pub(crate) mod load;
mod loss;
mod matrix;
mod misuse;
mod nmr;
mod options;
mod policy;
mod record;
mod scarce;
mod shim;
pub(crate) mod state;
mod stop;
mod trace;
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
    loss::TESTS,
    matrix::TESTS,
    fidelity::TESTS,
    each::TESTS,
    device::TESTS,
    policy::TESTS,
    audit::TESTS,
    options::TESTS,
    record::TESTS,
    hardening::TESTS,
    misuse::TESTS,
    load::TESTS,
    endurance::TESTS,
    stop::TESTS,
    shim::TESTS,
    transparent::TESTS,
    state::TESTS,
    trace::TESTS,
    hostile::TESTS,
    scarce::TESTS,
    asks::OPTIONS,
    asks::CALLS,
];

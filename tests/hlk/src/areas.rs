//! The suite's categories, as a report groups them. A test's module says what it needs; its category says what it is evidence of.

use crate::runner::Test;

/// A category and what is in it: beginnings of names, of which the longest that fits counts.
type Area = (&'static str, &'static [&'static str]);

/// In the order of a report.
const AREAS: [Area; 13] = [
    (
        "DriverEntry and Unload",
        &[
            "stop::",
            "state::",
            "device::second_start",
            "device::stop_while_held",
            "device::drain_turns_clients_away",
            "shim::load_and_unload",
            "shim::unload_with_a_socket",
            "shim::draining_filter",
        ],
    ),
    (
        "Device and Security",
        &[
            "device::",
            "hardening::access_bits",
            "hardening::reads_are_zeroed",
            "lifetime::security",
        ],
    ),
    (
        "Device tests",
        &[
            "hostile::",
            "hardening::noise",
            "device::wrong_lengths",
            "device::small_output",
            "device::unknown_codes",
            "device::reserved_and_unknown",
            "device::many_opens",
        ],
    ),
    (
        "Control requests",
        &[
            "hardening::",
            "matrix::control",
            "misuse::garbage_options",
            "fidelity::options_by_category",
            "fidelity::lengths",
            "fidelity::odd_requests",
            "fidelity::extra_arguments",
            "fidelity::ioctls",
            "fidelity::client_controls",
            "basics::options_are_set_and_read",
        ],
    ),
    (
        "Semantics conformance",
        &["vectors::", "options::", "record::", "fidelity::sharing"],
    ),
    (
        "Interposition fidelity",
        &[
            "basics::",
            "callbacks::",
            "each::",
            "fidelity::",
            "irp::",
            "matrix::",
            "nmr::",
            "shim::",
            "transparent::",
        ],
    ),
    ("Lifetime", &["lifetime::", "loss::", "misuse::"]),
    (
        "Concurrency",
        &["load::", "endurance::", "policy::swapped_under_traffic"],
    ),
    ("Low resources", &["scarce::"]),
    (
        "Cancellation",
        &["cancel::", "basics::pending_", "device::wait_is_cancelled"],
    ),
    (
        "Policy",
        &[
            "policy::",
            "hardening::by_process",
            "hardening::initial_",
            "record::connect_",
        ],
    ),
    (
        "Audit",
        &[
            "audit::",
            "trace::",
            "record::life",
            "record::resets",
            "loss::is_audited",
            "device::wait_",
        ],
    ),
    ("Open questions", &["asks::"]),
];

/// A test's category: its place in a report, and its name.
///
/// # Panics
/// If the test has none: whoever writes a module gives it one.
pub(crate) fn of(test: &Test) -> (usize, &'static str) {
    let name = format!("{}::{}", test.category, test.name);
    let fits = |beginnings: &[&str]| {
        let lengths = beginnings.iter().filter(|text| name.starts_with(**text));
        lengths.map(|text| text.len()).max()
    };
    let best = AREAS
        .iter()
        .enumerate()
        .filter_map(|(place, (area, beginnings))| Some((fits(beginnings)?, place, *area)))
        .max();
    match best {
        Some((_, place, area)) => (place, area),
        None => panic!("{name} is in no category"),
    }
}

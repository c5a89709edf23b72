//! The tests, by category.

mod basics;

use crate::runner::Test;

/// All of them, in the order in which they run.
pub(crate) const ALL: &[&[Test]] = &[basics::TESTS];

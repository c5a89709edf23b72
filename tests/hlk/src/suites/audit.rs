//! The audit trail: what a decision leaves, and books that balance.


use crate::runner::tests;

tests! {
    "audit";
}

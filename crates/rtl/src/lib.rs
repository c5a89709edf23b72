//! Inline functions of wdm.h that wdk-sys does not bind, and kernel helpers that carry no logic of the product.
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod irp;
pub mod lock;
pub mod nonpaged;

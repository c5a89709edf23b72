//! Raw bindings to Winsock Kernel (wsk.h) and the Network Module Registrar (netioddk.h).
//!
//! Declarations only, named as in the headers. Sizes and offsets are asserted for 64-bit targets when this compiles. Source of
//! every declaration: the WSK and NMR reference pages and wsk.h; [D] facts about IRQL and ownership stand on each function type.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, clippy::doc_markdown)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod callbacks;
mod dispatch;
mod kernel;
mod layout;
mod nmr;
mod objects;
mod sockaddr;

pub use callbacks::*;
pub use dispatch::*;
pub use kernel::*;
pub use nmr::*;
pub use objects::*;
pub use sockaddr::*;

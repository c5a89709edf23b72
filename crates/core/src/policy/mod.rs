//! Policy: a compiled rule list, and what it decides about a request.
//!
//! A policy is written in TOML, compiled in user mode and handed to the driver as one binary image ([`layout`]). [`Image::parse`]
//! checks all of it once, in time linear in its size; after that [`Image::evaluate`] cannot fail, allocate or panic.
//! Any IRQL: an image lies in nonpaged memory and is only read.

mod decision;
mod error;
mod eval;
mod hash;
mod image;
mod input;
pub mod layout;
mod validate;

pub use decision::{Action, Decision, Field, InitialOption, Interest, Rewrite, RuleRef};
pub use error::{Fault, ImageError, Section};
pub use hash::{Fnv, slot_home};
pub use image::{Image, Members, Pattern, Rule, Settings};
pub use input::{
    AddressClass, BindInput, ClientKey, Fallback, ImageName, MatchInput, PolicyMode, ProcessKey, Sharing, Verbosity,
};

/// The policy of a driver that is turned off: every request is forwarded, no option's contract looked at, nothing recorded.
/// Compiled from off.toml beside it; a test of the policy compiler keeps the two together.
pub const OFF: &[u8] = include_bytes!("off.image");

#[cfg(test)]
mod tests;

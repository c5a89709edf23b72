//! TOML policies: compiler, diagnostics, show, explain, diff, learn.
//!
//! [`compile`] turns the text that docs/POLICY.md describes into the image that `wskguard_core::policy` evaluates. The other way round,
//! [`show`] prints an image as text that compiles to it again. User mode only: the kernel never sees the text.

mod check;
mod decode;
mod diagnostic;
mod diff;
mod encode;
mod explain;
mod learn;
mod model;
mod names;
mod ranges;
mod read;
mod schema;
mod show;

pub use decode::decode;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use diff::{Change, Diff, Line, diff};
pub use encode::{TooLarge, encode};
pub use explain::{Explanation, Passed, explain};
pub use learn::{Observed, learn};
pub use model::{Action, Members, Policy, Principal, Rule, Scope};
pub use ranges::Ranges;
pub use schema::json_schema;
pub use show::show;
use wskguard_core::policy::Image;

/// A compiled policy.
#[derive(Debug)]
pub struct Compiled {
    /// What the driver is given.
    pub image: Vec<u8>,
    /// Hash of the image: the driver states the same.
    pub hash: u64,
    /// What is allowed but looks wrong.
    pub warnings: Diagnostics,
}

/// Compiles `text`; `source` names it in diagnostics.
///
/// # Errors
/// Everything that is wrong with it, with warnings.
pub fn compile(source: &str, text: &str) -> Result<Compiled, Diagnostics> {
    let mut diagnostics = Diagnostics::new(source, text);
    let compiled = read_and_check(text, &mut diagnostics).and_then(|policy| {
        let sealed = seal(&policy);
        sealed
            .map_err(|error| diagnostics.push(Diagnostic::error(0..0, error)))
            .ok()
    });
    diagnostics.sort();
    match compiled {
        Some((image, hash)) => Ok(Compiled {
            image,
            hash,
            warnings: diagnostics,
        }),
        None => Err(diagnostics),
    }
}

/// The policy, if nothing is wrong with it.
fn read_and_check(text: &str, diagnostics: &mut Diagnostics) -> Option<Policy> {
    let (policy, spans) = read::policy(text, diagnostics)?;
    if !diagnostics.has_errors() {
        check::policy(&policy, &spans, diagnostics);
    }
    (!diagnostics.has_errors()).then_some(policy)
}

/// The image and its hash, as the driver will accept it.
fn seal(policy: &Policy) -> Result<(Vec<u8>, u64), String> {
    let (image, hash) = encode(policy).map_err(|error| error.to_string())?;
    match Image::parse(&image) {
        Ok(_) => Ok((image, hash)),
        Err(error) => Err(format!(
            "a fault of this compiler, not of the policy: the image is not valid: {error}"
        )),
    }
}

//! `policy lock`: no policy change and no stop until the machine restarts.

use serde::Serialize;

use super::{Context, Ending, explain_refusal};
use crate::{
    exit::{Exit, Failure},
    host::Access,
};

/// `policy lock`, for scripts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Lock {
    /// Always true: what cannot be locked is a failure.
    pub(crate) locked: bool,
}

pub(super) fn run(context: &mut Context<'_, '_>, yes: bool) -> Ending {
    if !yes {
        return Err(Failure::new(Exit::Usage, "the lock cannot be taken back before the machine restarts")
            .hint("give --yes if that is what you want")
            .hint("an administrator with a kernel debugger, or who edits the driver's registry key, is not stopped by it"));
    }
    let mut driver = context.open(Access::Write)?;
    driver.lock().map_err(|error| explain_refusal(&mut driver, error))?;
    if context.out.json {
        context.out.document(&Lock { locked: true })?;
    } else {
        context.out.line("locked until the machine restarts")?;
    }
    Ok(Exit::Ok)
}

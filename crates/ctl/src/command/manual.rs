//! `completions` and `man`, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;

use super::{Context, Ending};
use crate::{
    cli::Cli,
    exit::{Exit, Failure},
};

pub(super) fn completions(context: &mut Context<'_, '_>, shell: clap_complete::Shell) -> Ending {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wskguardctl", &mut script);
    context.out.raw(&script)?;
    Ok(Exit::Ok)
}

pub(super) fn man(context: &mut Context<'_, '_>, folder: Option<&Path>) -> Ending {
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .map_err(|error| Failure::file("write to", folder, &error))?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        context.out.raw(&page)?;
    }
    Ok(Exit::Ok)
}

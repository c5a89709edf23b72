//! The commands, one module each. A command asks the driver, makes views, and prints them as a table or as JSON.

mod audit;
mod clients;
mod counters;
mod endpoints;
mod explain;
mod learn;
mod lock;
mod manual;
mod metrics;
mod policy;
mod status;
mod stop;

use std::path::Path;

use serde::Serialize;
use wskguard_core::policy::Image;

use crate::{
    audit::Directory,
    cli::{AuditCommand, Cli, Command, EndpointsCommand, PolicyCommand},
    driver::{Driver, PolicyInForce},
    exit::{Exit, Failure},
    host::{Access, Host},
    output::Output,
    transport::{Transport, TransportError},
};

#[cfg(feature = "top")]
pub(crate) use {audit::columns as record_columns, status::everything};

/// What `--json` prints beside the views.
#[cfg(test)]
pub(crate) mod schemas {
    pub(crate) use super::{
        Failed,
        endpoints::Change,
        learn::Learned,
        lock::Lock,
        policy::{Check, Load, Shown},
        stop::Stop,
    };
}

/// How a command ends: with a code, or a failure to report.
pub(crate) type Ending = Result<Exit, Failure>;

/// A driver over whatever the host has.
pub(crate) type AnyDriver = Driver<Box<dyn Transport>>;

/// What a command works with.
pub(crate) struct Context<'a, 'b> {
    pub(crate) host: &'a mut dyn Host,
    pub(crate) out: &'a mut Output<'b>,
}

impl Context<'_, '_> {
    /// Opens the device.
    pub(crate) fn open(&mut self, access: Access) -> Result<AnyDriver, Failure> {
        let transport = self
            .host
            .open(access)
            .map_err(|error| Failure::from(crate::driver::Error::opening(error)))?;
        Ok(Driver::new(transport))
    }
}

/// Carries out a command line; reports a failure on stderr.
pub fn run(cli: Cli, host: &mut dyn Host, out: &mut Output<'_>) -> Exit {
    out.json = cli.json;
    let ending = dispatch(cli.command, &mut Context { host, out });
    let ending = ending.and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from));
    match ending {
        Ok(exit) => exit,
        Err(failure) => {
            report(&failure, out);
            failure.exit
        }
    }
}

fn dispatch(command: Command, context: &mut Context<'_, '_>) -> Ending {
    match command {
        Command::Status => status::run(context),
        Command::Policy(PolicyCommand::Lock { yes }) => lock::run(context, yes),
        Command::Policy(command) => policy::run(context, command),
        Command::Endpoints(args) => match args.command {
            None => endpoints::list(context, &args.list),
            Some(EndpointsCommand::List(selection)) => endpoints::list(context, &selection),
            Some(EndpointsCommand::Show { id }) => endpoints::show(context, id),
            Some(EndpointsCommand::Watch { list, interval, count }) => {
                endpoints::watch(context, &list, interval, count)
            }
        },
        Command::Clients => clients::run(context),
        Command::Audit(AuditCommand::Tail(args)) => audit::tail(context, &args),
        Command::Counters(args) => counters::run(context, &args),
        Command::Metrics(args) => metrics::run(context, &args),
        #[cfg(feature = "top")]
        Command::Top(args) => crate::top::run(context.host, &args),
        Command::Stop(args) => stop::run(context, &args),
        Command::Completions { shell } => manual::completions(context, shell),
        Command::Man { dir } => manual::man(context, dir.as_deref()),
    }
}

/// A failure, for scripts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Failed {
    /// What went wrong.
    pub(crate) error: ErrorView,
}

/// What went wrong.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ErrorView {
    /// Exit code.
    code: u8,
    /// Its word: `driver-absent`, `access-denied` and so on.
    kind: &'static str,
    /// For people.
    message: String,
    /// What may help.
    hints: Vec<String>,
}

/// A failure, as people or scripts want it, on stderr.
fn report(failure: &Failure, out: &mut Output<'_>) {
    if failure.exit == Exit::Ok {
        return;
    }
    if out.json {
        let (code, kind) = (failure.exit as u8, failure.exit.word());
        let (message, hints) = (failure.message.clone(), failure.hints.clone());
        let failed = Failed {
            error: ErrorView {
                code,
                kind,
                message,
                hints,
            },
        };
        // These types have no value that cannot be written.
        out.complain(&(serde_json::to_string(&failed).unwrap_or_default() + "\n"));
        return;
    }
    if failure.message.contains('\n') {
        // Diagnostics of a policy say "error" themselves.
        out.complain(&failure.message);
    } else {
        out.error(&failure.message);
    }
    for hint in &failure.hints {
        out.hint(hint);
    }
}

/// Whether a refused change was refused because of the lock: the driver is asked, whatever its status says.
pub(crate) fn explain_refusal(driver: &mut AnyDriver, error: crate::driver::Error) -> Failure {
    let locked = |driver: &mut AnyDriver| {
        driver
            .status()
            .is_ok_and(|status| status.flags & wskguard_abi::status_flags::LOCKED != 0)
    };
    if matches!(error, crate::driver::Error::Status { .. }) && locked(driver) {
        return Failure::new(Exit::Locked, "the driver is locked until the machine restarts");
    }
    if matches!(error, crate::driver::Error::Status { status, .. } if status == crate::ntstatus::DEVICE_NOT_READY) {
        return Failure::new(Exit::PolicyRefused, "wskguard is turned off and accepts no policy")
            .hint("remove the value Mode from the service's Parameters key and restart wskguard");
    }
    error.into()
}

/// Names of rules and clients, for records and counters.
pub(crate) fn directory(driver: &mut AnyDriver) -> Result<(Directory, PolicyInForce), Failure> {
    let policy = driver.policy_in_force()?;
    let clients = driver.clients()?;
    let clients = clients
        .iter()
        .map(crate::view::Client::from)
        .map(|client| (client.id, client.image))
        .collect();
    let directory = Directory {
        clients,
        generation: policy.generation,
        rules: rule_names(&policy.image),
    };
    Ok((directory, policy))
}

/// Names of a policy's rules, by index; none if this wskguardctl cannot read it.
pub(crate) fn rule_names(image: &[u8]) -> Vec<String> {
    let Ok(image) = Image::parse(image) else {
        return Vec::new();
    };
    (0..image.rule_count())
        .filter_map(|index| image.rule(index))
        .map(|rule| rule.name().to_owned())
        .collect()
}

/// Writes a file in one step: whoever reads it has the old or the new one, whole.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Failure::file("write", path, &error)
    })
}

impl crate::driver::Error {
    /// Why the device cannot be opened.
    pub(crate) fn opening(error: TransportError) -> Self {
        Self::new(wskguard_abi::Code::QueryVersion, error)
    }
}

//! `stop`: a driver that is in use cannot be unloaded, so it is drained first, and whoever still holds it is named.

use serde::Serialize;
use wskguard_abi::DrainReply;

use super::{Context, Ending, clients, explain_refusal};
use crate::{
    cli::{StopArgs, units},
    driver::Error,
    exit::{Exit, Failure},
    host::{Access, ServiceError},
    output::count,
    view::Client,
};

const POLL: std::time::Duration = std::time::Duration::from_millis(200);

/// `stop`, for scripts.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Stop {
    /// Whether nothing held the driver any more.
    pub(crate) drained: bool,
    /// Whether the service is stopped.
    pub(crate) stopped: bool,
    /// Clients that were still attached.
    pub(crate) clients: u32,
    /// Sockets that were still open.
    pub(crate) sockets: u32,
    /// Those clients.
    pub(crate) holders: Vec<Client>,
}

pub(super) fn run(context: &mut Context<'_, '_>, args: &StopArgs) -> Ending {
    if args.cancel {
        return cancel(context);
    }
    let end = context.host.now().saturating_add(units(args.wait));
    let mut told = false;
    let reply = loop {
        let reply = drain(context)?;
        if reply.drained != 0 || context.host.now() >= end {
            break reply;
        }
        if !std::mem::replace(&mut told, true) && !context.out.json {
            context
                .out
                .progress(&format!("draining, still held by {}", hold(&reply)));
        }
        context.host.sleep(POLL);
    };
    if reply.drained == 0 {
        return still_held(context, &reply, args.keep_draining);
    }
    if !args.drain_only {
        context
            .host
            .stop_service(args.wait.max(std::time::Duration::from_secs(5)))
            .map_err(service_failure)?;
    }
    if context.out.json {
        let stop = Stop {
            drained: true,
            stopped: !args.drain_only,
            clients: 0,
            sockets: 0,
            holders: Vec::new(),
        };
        context.out.document(&stop)?;
    } else {
        context.out.line(if args.drain_only { "drained" } else { "stopped" })?;
    }
    Ok(Exit::Ok)
}

/// Lets clients attach again.
fn cancel(context: &mut Context<'_, '_>) -> Ending {
    let mut driver = context.open(Access::Write)?;
    let reply = driver
        .drain(false)
        .map_err(|error| explain_refusal(&mut driver, error))?;
    if context.out.json {
        let (clients, sockets) = (reply.clients, reply.endpoints);
        context.out.document(&Stop {
            drained: false,
            stopped: false,
            clients,
            sockets,
            holders: Vec::new(),
        })?;
    } else {
        context.out.line("draining has ended: clients can attach again")?;
    }
    Ok(Exit::Ok)
}

/// Asks once. The device is opened for it alone: an open handle holds the driver too.
fn drain(context: &mut Context<'_, '_>) -> Result<DrainReply, Failure> {
    let mut driver = context.open(Access::Write)?;
    driver.drain(true).map_err(|error| explain_refusal(&mut driver, error))
}

fn still_held(context: &mut Context<'_, '_>, reply: &DrainReply, keep_draining: bool) -> Ending {
    let mut driver = context.open(Access::Write)?;
    let attached = driver.clients()?;
    let holders: Vec<Client> = attached
        .iter()
        .map(Client::from)
        .filter(|client| client.via != "bypassing")
        .collect();
    if !keep_draining {
        driver.drain(false)?;
    }
    if context.out.json {
        let (clients, sockets) = (reply.clients, reply.endpoints);
        context.out.document(&Stop {
            drained: false,
            stopped: false,
            clients,
            sockets,
            holders,
        })?;
    } else {
        clients::table(context.out, &holders)?;
    }
    let message = format!("still held by {}", hold(reply));
    let failure = Failure::new(Exit::StillHeld, message)
        .hint("stop the drivers named above first; one that cannot be stopped goes with a restart of the machine");
    Err(if keep_draining {
        failure.hint("draining goes on: new clients are turned away")
    } else {
        failure.hint("draining has ended: clients can attach again (--keep-draining keeps them out)")
    })
}

fn hold(reply: &DrainReply) -> String {
    format!(
        "{} with {}",
        count(reply.clients, "client"),
        count(reply.endpoints, "socket")
    )
}

fn service_failure(error: ServiceError) -> Failure {
    match error {
        ServiceError::NotRunning => Failure::new(Exit::DriverAbsent, "the service is not running"),
        ServiceError::AccessDenied => Failure::from(Error::AccessDenied),
        ServiceError::Timeout => Failure::new(Exit::StillHeld, "the service did not stop in time").hint(
            "another program has the driver's device open, `audit tail --follow` for one: it stops when that ends",
        ),
        ServiceError::Win32(error) => Failure::new(
            Exit::Failed,
            format!("the service manager could not stop the service: Win32 error {error}"),
        ),
        ServiceError::Unsupported => Failure::from(Error::Unsupported),
    }
}

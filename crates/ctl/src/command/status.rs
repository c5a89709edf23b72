//! `status`: is it on, which policy, who goes through it, and what was lost.

use wskguard_abi::{ABI_VERSION, StatusReply, status_flags};
use wskguard_core::policy::Image;

use super::{AnyDriver, Context, Ending, clients};
use crate::{
    driver::PolicyInForce,
    exit::{Exit, Failure},
    host::Access,
    names,
    output::{Output, Style, count},
    table::printable,
    time,
    view::{Books, Client, EndpointSummary, PolicySummary, Status, Transparent},
};

pub(super) fn run(context: &mut Context<'_, '_>) -> Ending {
    let (status, started) = everything(&mut context.open(Access::Read)?)?;
    if context.out.json {
        context.out.document(&status)?;
        return Ok(Exit::Ok);
    }
    let uptime = time::span(context.host.now().saturating_sub(started));
    print(context.out, &status, &time::plain(started), &uptime)?;
    advise(context.out, &status);
    Ok(Exit::Ok)
}

/// The status, and when the driver was started.
pub(crate) fn everything(driver: &mut AnyDriver) -> Result<(Status, u64), Failure> {
    let reply = driver.status()?;
    let policy = driver.policy_in_force()?;
    let clients = driver.clients()?.iter().map(Client::from).collect();
    let audit = Books::from(&driver.read_audit(0, 0)?.reply);
    Ok((view(&reply, &policy, clients, audit), reply.started))
}

fn view(reply: &StatusReply, policy: &PolicyInForce, clients: Vec<Client>, audit: Books) -> Status {
    let flag = |bit| reply.flags & bit != 0;
    // The policy was read after the status: its name is only this one's if the hash is.
    let name = Image::parse(&policy.image)
        .ok()
        .filter(|image| image.hash() == reply.policy_hash);
    let [major, minor, build] = reply.windows;
    let transparent = match (flag(status_flags::TRANSPARENT), flag(status_flags::TRANSPARENT_ACTIVE)) {
        (true, true) => "active",
        (true, false) => "inactive",
        (false, _) => "off",
    };
    Status {
        driver: names::version(reply.driver),
        contract: reply.header.abi_version,
        windows: format!("{major}.{minor}.{build}"),
        started: time::precise(reply.started),
        draining: flag(status_flags::DRAINING),
        locked: flag(status_flags::LOCKED),
        kill_switch: flag(status_flags::KILL_SWITCH),
        policy: PolicySummary {
            name: name.map(|image| image.name().to_owned()),
            generation: reply.generation,
            hash: names::hash(reply.policy_hash),
            built_in: flag(status_flags::BUILT_IN_POLICY),
            mode: names::policy_mode(reply.policy_mode),
            semantics: names::semantics(reply.semantics),
            default: names::default_action(reply.default_action),
            rules: reply.rules,
        },
        transparent: Transparent {
            state: transparent.to_owned(),
            why: (reply.transparent_status != 0).then(|| names::nt_status(reply.transparent_status)),
        },
        endpoints: EndpointSummary {
            live: reply.endpoints,
            most: reply.endpoints_max,
        },
        audit,
        clients,
    }
}

fn print(out: &mut Output<'_>, status: &Status, started: &str, uptime: &str) -> std::io::Result<()> {
    let (policy, endpoints, books) = (&status.policy, &status.endpoints, &status.audit);
    let (state_style, state) = state(status);
    let name = policy
        .name
        .as_deref()
        .unwrap_or(if policy.built_in { "(built in)" } else { "(unknown)" });
    let mode_style = if policy.mode == "enforce" {
        Style::Good
    } else {
        Style::Warn
    };
    let why = status
        .transparent
        .why
        .as_ref()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    let lost = (
        books.suppressed_endpoint_budget,
        books.suppressed_client_budget,
        books.dropped,
    );
    let loss_style = if lost == (0, 0, 0) { Style::Plain } else { Style::Warn };
    let bypassing = status.clients.iter().filter(|client| client.via == "bypassing").count();
    let attached = status.clients.len() - bypassing;
    let client_style = if bypassing == 0 { Style::Plain } else { Style::Bad };
    #[rustfmt::skip]
    let fields = [
        ("driver", Style::Plain, format!("{}, contract {ABI_VERSION}, on Windows {}", status.driver, status.windows)),
        ("started", Style::Plain, format!("{started}, {uptime} ago")),
        ("state", state_style, state),
        ("policy", Style::Plain, format!("{}, {}", printable(name), count(policy.rules, "rule"))),
        ("generation", Style::Plain, format!("{}, hash {}", policy.generation, policy.hash)),
        ("mode", mode_style, format!("{}, semantics {}, default {}", policy.mode, policy.semantics, policy.default)),
        ("transparent", Style::Plain, format!("{}{why}", status.transparent.state)),
        ("endpoints", Style::Plain, format!("{} live, at most {} listed", endpoints.live, endpoints.most)),
        ("audit", Style::Plain, format!("{} decided, {} written, {} not wanted", books.decided, books.written, books.not_wanted)),
        ("losses", loss_style, format!("{} over an endpoint's budget, {} over a client's, {} dropped", lost.0, lost.1, lost.2)),
        ("clients", client_style, format!("{attached} attached, {bypassing} bypassing")),
    ];
    for (name, style, value) in fields {
        out.field(12, name, style, &value)?;
    }
    if !status.clients.is_empty() {
        out.line("")?;
        clients::table(out, &status.clients)?;
    }
    Ok(())
}

fn state(status: &Status) -> (Style, String) {
    let lock = if status.locked {
        ", locked until the machine restarts"
    } else {
        ""
    };
    let (style, state) = if status.kill_switch {
        (Style::Bad, "off (Parameters\\Mode): requests are only forwarded")
    } else if status.draining {
        (Style::Warn, "draining: attaching clients are turned away")
    } else {
        (Style::Good, "running")
    };
    (style, format!("{state}{lock}"))
}

/// What people ask next.
fn advise(out: &mut Output<'_>, status: &Status) {
    if status.policy.built_in {
        out.hint("no policy is loaded: `wskguardctl policy load FILE`");
    }
    if status.clients.iter().any(|client| client.via == "bypassing") {
        out.hint("a bypassing client goes through wskguard after its next start, if wskguard is started first");
    }
    if status.clients.is_empty() {
        out.hint(clients::NOBODY);
    }
}

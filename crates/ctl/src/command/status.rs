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
    view::{Books, Client, EndpointSummary, Kept, PolicySummary, Status, Transparent},
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
        kept: Kept {
            stored: !flag(status_flags::NOT_STORED),
            turned_off: flag(status_flags::UNHEALTHY),
            last_known_good: flag(status_flags::LAST_KNOWN_GOOD),
            damaged: flag(status_flags::STORED_POLICY_BAD),
            error: (reply.state_status != 0).then(|| names::nt_status(reply.state_status)),
            unhealthy_starts: reply.unhealthy_starts,
        },
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
    let (kept_style, kept) = kept(status);
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
        ("next start", kept_style, kept),
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
    } else if status.kept.turned_off {
        (Style::Bad, "off (unhealthy starts): requests are only forwarded")
    } else if status.draining {
        (Style::Warn, "draining: attaching clients are turned away")
    } else {
        (Style::Good, "running")
    };
    (style, format!("{state}{lock}"))
}

/// What the next start will find, and what this one found.
fn kept(status: &Status) -> (Style, String) {
    let kept = &status.kept;
    let (mut style, mut text) = match (&kept.error, kept.stored) {
        (Some(why), _) => (Style::Bad, format!("the state key fails: {why}")),
        (None, false) => (Style::Warn, "this policy is not stored yet".to_owned()),
        (None, true) if status.policy.built_in => (Style::Plain, "no policy is in force to store".to_owned()),
        (None, true) => (Style::Plain, "this policy".to_owned()),
    };
    if kept.damaged {
        (style, text) = (Style::Bad, format!("{text}; what was stored is damaged"));
    } else if kept.last_known_good {
        (style, text) = (Style::Bad, format!("{text}; the last one stored is damaged"));
    }
    if kept.unhealthy_starts > 1 {
        style = Style::Bad;
        text = format!("{text}; {} starts not healthy", kept.unhealthy_starts);
    }
    (style, text)
}

/// What people ask next.
fn advise(out: &mut Output<'_>, status: &Status) {
    if status.kill_switch {
        out.hint("remove the value Mode from the service's Parameters key and restart wskguard to have policies again");
    } else if status.kept.turned_off {
        out.hint(
            "it was turned off because it did not run long enough after its last starts: load a policy that you trust",
        );
    } else if status.kept.damaged {
        out.hint("load the policy again: nothing is enforced");
    } else if status.kept.last_known_good {
        out.hint("an older policy is in force than was loaded last: load the policy again");
    } else if status.policy.built_in {
        out.hint("no policy is loaded: `wskguardctl policy load FILE`");
    }
    if status.clients.iter().any(|client| client.via == "bypassing") {
        out.hint("a bypassing client goes through wskguard after its next start, if wskguard is started first");
    }
    if status.clients.is_empty() {
        out.hint(clients::NOBODY);
    }
}

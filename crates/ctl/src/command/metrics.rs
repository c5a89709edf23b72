//! `metrics`: everything that counts, as Prometheus text.

use std::fmt::Write;

use wskguard_abi::StatusReply;
use wskguard_core::counters::COUNTERS;

use super::{Context, Ending, counters, replace};
use crate::{
    cli::MetricsArgs,
    exit::{Exit, Failure},
    host::Access,
    names,
    view::{Books, Client, Counters},
};

pub(super) fn run(context: &mut Context<'_, '_>, args: &MetricsArgs) -> Ending {
    let (text, exit) = match collect(context) {
        Ok(text) => (text, Ok(Exit::Ok)),
        // An absent driver is something to scrape too: the alert is on wskguard_up.
        Err(failure) if failure.exit == Exit::DriverAbsent => (up(0), Err(failure)),
        Err(failure) => return Err(failure),
    };
    match &args.output {
        Some(file) => replace(file, text.as_bytes())?,
        None => context.out.raw(text.as_bytes())?,
    }
    exit
}

fn collect(context: &mut Context<'_, '_>) -> Result<String, Failure> {
    let now = context.host.now();
    let mut driver = context.open(Access::Read)?;
    let status = driver.status()?;
    let counts = counters::read(&mut driver, now, true)?;
    let books = Books::from(&driver.read_audit(0, 0)?.reply);
    let clients: Vec<Client> = driver.clients()?.iter().map(Client::from).collect();
    Ok(exposition(&status, &counts, &books, &clients))
}

fn up(value: u8) -> String {
    let mut text = Exposition(String::new());
    text.family("wskguard_up", "gauge", "Whether the driver answers");
    text.sample("wskguard_up", &[], u64::from(value));
    text.0
}

fn exposition(status: &StatusReply, counts: &Counters, books: &Books, clients: &[Client]) -> String {
    let mut text = Exposition(up(1));
    text.info(status, counts);
    text.gauge("wskguard_endpoints", "Live endpoints", status.endpoints.into());
    text.gauge(
        "wskguard_endpoints_limit",
        "Most endpoints that are listed",
        status.endpoints_max.into(),
    );
    text.gauge(
        "wskguard_clients_bypassing",
        "Clients that had to bind to the system's provider",
        status.bypassing.into(),
    );
    text.family("wskguard_client_sockets", "gauge", "Sockets of a client");
    for client in clients {
        let id = client.id.to_string();
        let labels = [("client", id.as_str()), ("image", &client.image), ("via", &client.via)];
        text.sample("wskguard_client_sockets", &labels, client.sockets.into());
    }
    for counter in &counts.counters {
        let meaning = COUNTERS
            .iter()
            .find(|(_, name, _)| *name == counter.name)
            .map_or("", |(_, _, meaning)| meaning);
        let name = format!("wskguard_{}_total", counter.name);
        text.family(&name, "counter", meaning);
        text.sample(&name, &[], counter.value);
    }
    text.family(
        "wskguard_rule_hits_total",
        "counter",
        "Decisions of a rule of the policy in force",
    );
    for (index, rule) in counts.rules.iter().enumerate() {
        let index = index.to_string();
        text.sample(
            "wskguard_rule_hits_total",
            &[("rule", &rule.name), ("index", &index)],
            rule.value,
        );
    }
    text.books(books);
    text.0
}

/// The text exposition format, version 0.0.4.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn info(&mut self, status: &StatusReply, counts: &Counters) {
        let (version, contract) = (names::version(status.driver), status.header.abi_version.to_string());
        self.family("wskguard_info", "gauge", "Versions");
        self.sample("wskguard_info", &[("version", &version), ("contract", &contract)], 1);
        let mode = names::policy_mode(status.policy_mode);
        self.family("wskguard_policy_info", "gauge", "The policy in force");
        self.sample("wskguard_policy_info", &[("hash", &counts.hash), ("mode", &mode)], 1);
        self.gauge(
            "wskguard_policy_generation",
            "Generation of the policy in force",
            counts.generation,
        );
        let seconds = status.started.saturating_sub(crate::time::UNIX_EPOCH) / crate::time::SECOND;
        self.gauge("wskguard_start_time_seconds", "When the driver was started", seconds);
    }

    fn books(&mut self, books: &Books) {
        for (name, help, value) in [
            (
                "wskguard_audit_decided_total",
                "Decisions that might have left an audit record",
                books.decided,
            ),
            ("wskguard_audit_written_total", "Audit records written", books.written),
            ("wskguard_audit_dropped_total", "Audit records lost", books.dropped),
        ] {
            self.family(name, "counter", help);
            self.sample(name, &[], value);
        }
        let name = "wskguard_audit_suppressed_total";
        self.family(name, "counter", "Decisions that left no audit record, by reason");
        self.sample(name, &[("reason", "endpoint-budget")], books.suppressed_endpoint_budget);
        self.sample(name, &[("reason", "client-budget")], books.suppressed_client_budget);
        self.sample(name, &[("reason", "not-wanted")], books.not_wanted);
    }
}

/// A label's value, with what the format wants escaped.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

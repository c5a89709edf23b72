//! Every command against recorded replies, for people and as JSON: the snapshots are what the documentation shows.

mod common;

use common::*;
use insta::assert_snapshot;
use wskguard_abi::{Code, status_flags};
use wskguardctl::{
    host::{Recording, ServiceError},
    ntstatus,
    transport::TransportError,
};

/// The command for people and as JSON, against the same replies.
fn both(arguments: &[&str], host: &Recording) -> String {
    let again = |host: &Recording| {
        let replies = std::rc::Rc::new(std::cell::RefCell::new(host.replies.borrow().clone()));
        Recording {
            replies,
            ..host.clone()
        }
    };
    let text = run(arguments, &mut again(host));
    text + "\n" + &run(&[arguments, &["--json"]].concat(), &mut again(host))
}

fn path(name: &str, content: &[u8]) -> String {
    scratch();
    std::fs::write(name, content).unwrap();
    name.to_owned()
}

/// Written once: tests run side by side.
fn policy_file() -> String {
    static FILE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    FILE.get_or_init(|| path("policy.toml", include_bytes!("policy.toml")))
        .clone()
}

#[test]
fn status() {
    let books = || audit(Code::ReadAudit, 0, &[]);
    let usual = driver([common::status(|_| ()), policy(4, &image()), clients(), books()]);
    assert_snapshot!(both(&["status"], &usual));
    let fresh = common::status(|status| {
        (status.flags, status.generation, status.rules) =
            (status_flags::BUILT_IN_POLICY | status_flags::TRANSPARENT, 0, 0);
        (status.policy_mode, status.semantics, status.policy_hash) = (1, 1, 0);
        (
            status.clients,
            status.bypassing,
            status.endpoints,
            status.transparent_status,
        ) = (0, 0, 0, 0xC000_0272);
    });
    assert_snapshot!(
        "status_fresh",
        both(&["status"], &driver([fresh, no_policy(), no_clients(), books()]))
    );
    let off = common::status(|status| status.flags = status_flags::KILL_SWITCH | status_flags::LOCKED);
    assert_snapshot!(
        "status_off",
        run(
            &["status"],
            &mut driver([off, policy(4, &image()), no_clients(), books()])
        )
    );
}

#[test]
fn failures() {
    let absent = Recording::closed(TransportError::Absent);
    assert_snapshot!("absent", both(&["status"], &absent));
    let denied = Recording::closed(TransportError::AccessDenied);
    assert_snapshot!("denied", both(&["status"], &denied));
    let other = driver([refusal(Code::QueryStatus, ntstatus::REVISION_MISMATCH), version(7)]);
    assert_snapshot!("version", both(&["status"], &other));
    let read_only = driver([refusal(Code::Drain, ntstatus::ACCESS_DENIED)]);
    assert_snapshot!("denied_change", run(&["stop"], &mut read_only.clone()));
    let odd = driver([refusal(Code::QueryStatus, 0xC000_009A)]);
    assert_snapshot!("status_code", both(&["status"], &odd));
    let going = run(
        &["status"],
        &mut driver([refusal(Code::QueryStatus, ntstatus::NO_SUCH_DEVICE)]),
    );
    assert!(going.contains("exit 3"), "{going}");
    let short = driver([reply(Code::QueryStatus, &[&[1, 0, 0, 0]])]);
    assert_snapshot!("malformed", both(&["status"], &short));
    assert_snapshot!(
        "not_here",
        run(&["status"], &mut Recording::closed(TransportError::Unsupported))
    );
}

#[test]
fn policy_check() {
    let file = policy_file();
    assert_snapshot!(both(&["policy", "check", &file], &driver([])));
    let wrong = include_str!("policy.toml")
        .replace("SO_RCVBUF", "SO_RCVBUFF")
        .replace("max = 65536", "maxi = 65536");
    let wrong = path("wrong.toml", wrong.as_bytes());
    assert_snapshot!("policy_check_wrong", both(&["policy", "check", &wrong], &driver([])));
    let missing = run(&["policy", "check", "no/such/policy.toml"], &mut driver([]));
    assert!(
        missing.contains("cannot read no/such/policy.toml") && missing.contains("exit 1"),
        "{missing}"
    );
}

#[test]
fn policy_check_writes_the_image() {
    let (file, output) = (policy_file(), path("policy.img", b""));
    run(&["policy", "check", &file, "--output", &output], &mut driver([]));
    assert_eq!(std::fs::read(output).unwrap(), image());
}

#[test]
fn policy_load() {
    let (file, image) = (policy_file(), image());
    let half = image.len() / 2;
    let pieces = || {
        [
            policy_piece(5, &image, 0..half),
            policy_piece(5, &image, half..image.len()),
        ]
    };
    let good = driver([policy_set(5, &image)].into_iter().chain(pieces()));
    assert_snapshot!(both(&["policy", "load", &file], &good));
    let busy = refusal(Code::SetPolicy, ntstatus::DEVICE_BUSY);
    let later = run(
        &["policy", "load", &file],
        &mut driver([busy.clone(), busy, policy_set(5, &image), policy(5, &image)]),
    );
    assert!(later.contains("exit 0"), "{later}");
    // Another administrator was faster.
    let other = wskguard_policy::compile("x", "schema = 1\nname = \"x\"\n")
        .unwrap()
        .image;
    let overtaken = driver([policy_set(5, &image), policy(6, &other)]);
    assert_snapshot!("policy_load_overtaken", both(&["policy", "load", &file], &overtaken));
    let refused = driver([
        refusal(Code::SetPolicy, ntstatus::INVALID_IMAGE_FORMAT),
        common::status(|_| ()),
    ]);
    assert_snapshot!("policy_load_refused", both(&["policy", "load", &file], &refused));
    let moved = driver([
        refusal(Code::SetPolicy, ntstatus::REQUEST_NOT_ACCEPTED),
        common::status(|_| ()),
    ]);
    assert_snapshot!(
        "policy_load_moved",
        run(&["policy", "load", &file, "--expect", "4"], &mut moved.clone())
    );
    let lock = common::status(|status| status.flags = status_flags::LOCKED);
    let locked = driver([refusal(Code::SetPolicy, 0xC000_00A2), lock]);
    assert_snapshot!("policy_load_locked", both(&["policy", "load", &file], &locked));
    // A faulty file never reaches the driver.
    let wrong = path("load-wrong.toml", b"schema = 1\nname = \"x\"\nmode = \"enforced\"\n");
    assert_snapshot!("policy_load_wrong", both(&["policy", "load", &wrong], &driver([])));
}

#[test]
fn policy_show_and_diff() {
    let image = image();
    assert_snapshot!("policy_show", both(&["policy", "show"], &driver([policy(4, &image)])));
    assert_snapshot!(
        "policy_show_built_in",
        both(&["policy", "show"], &driver([no_policy()]))
    );
    let same = driver([policy(4, &image)]);
    assert_snapshot!("policy_diff_same", both(&["policy", "diff", &policy_file()], &same));
    let changed = include_str!("policy.toml")
        .replace("65536", "32768")
        .replace("default = \"allow\"", "default = \"deny\"");
    let changed = path("changed.toml", changed.as_bytes());
    assert_snapshot!(
        "policy_diff",
        both(&["policy", "diff", &changed], &driver([policy(4, &image)]))
    );
    let files = run(&["policy", "diff", &policy_file(), &changed], &mut driver([]));
    assert!(files.contains("allow") && files.contains("exit 9"), "{files}");
}

#[test]
fn policy_explain() {
    let file = policy_file();
    let set = [
        "policy",
        "explain",
        &file,
        "--request",
        "set",
        "--option",
        "SO_RCVBUF",
        "--new",
        "131072",
    ];
    assert_snapshot!(both(&set, &driver([])));
    let bind = [
        "policy",
        "explain",
        "--request",
        "bind",
        "--port",
        "8080",
        "--sharing",
        "reuse",
        "--category",
        "listen",
    ];
    assert_snapshot!("policy_explain_in_force", both(&bind, &driver([policy(4, &image())])));
    let default = [
        "policy",
        "explain",
        &file,
        "--request",
        "get",
        "--option",
        "SO_RCVBUF",
        "--all",
    ];
    assert_snapshot!("policy_explain_default", run(&default, &mut driver([])));
    let wrong = ["policy", "explain", &file, "--request", "set", "--option", "SO_NOTHING"];
    assert_snapshot!("policy_explain_wrong", run(&wrong, &mut driver([])));
}

#[test]
fn policy_learn() {
    let recorded = driver(
        [
            common::status(|_| ()),
            audit(Code::ReadAudit, 0, &entries()),
            audit(Code::ReadAudit, 0, &[]),
        ]
        .into_iter()
        .chain([policy(4, &image()), clients()]),
    );
    assert_snapshot!(both(&["policy", "learn"], &recorded));
    let nothing = driver([
        common::status(|_| ()),
        audit(Code::ReadAudit, 0, &[]),
        no_policy(),
        no_clients(),
    ]);
    assert_snapshot!("policy_learn_nothing", run(&["policy", "learn"], &mut nothing.clone()));
}

#[test]
fn learning_from_a_file_is_learning_from_the_driver() {
    let names = || [policy(4, &image()), clients()];
    let read = || {
        [
            common::status(|_| ()),
            audit(Code::ReadAudit, 0, &entries()),
            audit(Code::ReadAudit, 0, &[]),
        ]
    };
    let live = path("live.toml", b"");
    run(
        &["policy", "learn", "--output", &live],
        &mut driver(read().into_iter().chain(names())),
    );
    let tail = run(
        &["audit", "tail", "--json"],
        &mut driver(names().into_iter().chain(read())),
    );
    let lines: Vec<&str> = tail.lines().filter(|line| line.starts_with('{')).collect();
    let saved = path("records.json", lines.join("\n").as_bytes());
    let draft = path("draft.toml", b"");
    run(
        &["policy", "learn", "--from", &saved, "--output", &draft],
        &mut driver([]),
    );
    assert_eq!(
        std::fs::read_to_string(live).unwrap(),
        std::fs::read_to_string(&draft).unwrap()
    );
    let check = run(&["policy", "check", &draft], &mut driver([]));
    assert!(check.contains("valid"), "{check}");
}

#[test]
fn policy_lock() {
    assert_snapshot!("policy_lock_unasked", run(&["policy", "lock"], &mut driver([])));
    assert_snapshot!(
        "policy_lock",
        both(&["policy", "lock", "--yes"], &driver([reply(Code::Lock, &[])]))
    );
}

#[test]
fn endpoints() {
    let pages = || {
        let first = list(Code::ListEndpoints, 3, &[listener(), datagram()]);
        driver([clients(), first, list(Code::ListEndpoints, 0, &[connection()])])
    };
    assert_snapshot!(both(&["endpoints"], &pages()));
    assert_snapshot!(
        "endpoints_of_client",
        run(&["endpoints", "list", "--client", "PROBE.sys"], &mut pages())
    );
    assert_snapshot!("endpoints_none", run(&["endpoints", "--port", "1"], &mut pages()));
    let one = driver([list(Code::QueryEndpoint, 0, &[listener()]), clients()]);
    assert_snapshot!("endpoint", both(&["endpoints", "show", "0x1000001"], &one));
    let gone = driver([refusal(Code::QueryEndpoint, ntstatus::NOT_FOUND)]);
    assert_snapshot!("endpoint_gone", both(&["endpoints", "show", "16777217"], &gone));
}

#[test]
fn endpoints_watch() {
    let bound = wskguard_abi::EndpointInfo {
        phase: 2,
        port: 53,
        decided: 1043,
        ..datagram()
    };
    let looks = driver([
        clients(),
        list(Code::ListEndpoints, 0, &[listener(), datagram()]),
        clients(),
        list(Code::ListEndpoints, 0, &[bound, connection()]),
    ]);
    assert_snapshot!(both(&["endpoints", "watch", "--count", "2"], &looks));
}

#[test]
fn clients_list() {
    assert_snapshot!(both(&["clients"], &driver([clients()])));
    assert_snapshot!("clients_none", run(&["clients"], &mut driver([no_clients()])));
}

#[test]
fn audit_tail() {
    let read = |overwritten| {
        let names = [policy(4, &image()), clients(), common::status(|_| ())];
        let pages = [
            audit(Code::ReadAudit, overwritten, &entries()),
            audit(Code::ReadAudit, overwritten, &[]),
        ];
        names.into_iter().chain(pages)
    };
    assert_snapshot!(both(&["audit", "tail"], &driver(read(0))));
    let filtered = [
        "audit",
        "tail",
        "--filter",
        "action=denied",
        "--filter",
        "client!=msquic.sys",
    ];
    assert_snapshot!("audit_filter", run(&filtered, &mut driver(read(0))));
    let since = ["audit", "tail", "--since", "2025-06-01T12:00:02Z", "-n", "1"];
    assert_snapshot!("audit_since", run(&since, &mut driver(read(12))));
    let mut later = entries().remove(0);
    (later.time, later.sequence, later.client, later.generation) = (NOW, 9, 4, 5);
    let waits = [
        audit(Code::WaitAudit, 14, &[later]),
        // The new record is of a client and a policy that were not known yet.
        policy(5, &image()),
        clients(),
        refusal(Code::WaitAudit, ntstatus::CANCELLED),
    ];
    assert_snapshot!(
        "audit_follow",
        run(&["audit", "tail", "--follow"], &mut driver(read(12).chain(waits)))
    );
}

#[test]
fn counters_and_rules() {
    let values = [17, 4, 1, 2, 20, 3, 1];
    assert_snapshot!(both(
        &["counters"],
        &driver([common::status(|_| ()), counters(&values)])
    ));
    let rules = driver([
        common::status(|_| ()),
        counters(&values),
        policy(4, &image()),
        numbers(Code::QueryRuleCounters, 4, 4, 0, &[1, 5]),
        numbers(Code::QueryRuleCounters, 4, 4, 2, &[0, 18]),
    ]);
    assert_snapshot!("counters_rules", both(&["counters", "--rules"], &rules));
    assert_snapshot!(
        "counters_none",
        run(&["counters"], &mut driver([common::status(|_| ()), counters(&[0, 0])]))
    );
}

#[test]
fn counters_delta() {
    let file = path("delta.json", b"");
    std::fs::remove_file(&file).unwrap();
    let look = |values: &[u64]| driver([common::status(|_| ()), counters(values)]);
    assert_snapshot!(
        "counters_delta_first",
        run(&["counters", "--delta", &file], &mut look(&[10, 2]))
    );
    assert_snapshot!(
        "counters_delta",
        run(&["counters", "--delta", &file], &mut look(&[15, 2, 1]))
    );
    let restarted = common::status(|status| status.started += 1);
    let restarted = driver([restarted, counters(&[3])]);
    assert_snapshot!(
        "counters_delta_restarted",
        run(&["counters", "--delta", &file], &mut restarted.clone())
    );
    std::fs::write(&file, "{}").unwrap();
    assert_snapshot!(
        "counters_delta_wrong",
        run(&["counters", "--delta", &file], &mut look(&[15]))
    );
}

#[test]
fn metrics() {
    let replies = || {
        driver([
            common::status(|_| ()),
            common::status(|_| ()),
            counters(&[17, 4]),
            policy(4, &image()),
            numbers(Code::QueryRuleCounters, 4, 4, 0, &[1, 5, 0, 18]),
            audit(Code::ReadAudit, 0, &[]),
            clients(),
        ])
    };
    let printed = run(&["metrics"], &mut replies());
    assert_snapshot!(printed);
    let file = path("wskguard.prom", b"");
    run(&["metrics", "--output", &file], &mut replies());
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(printed.contains(&written));
    exporter_reads(&written);
    assert_snapshot!(
        "metrics_absent",
        run(&["metrics"], &mut Recording::closed(TransportError::Absent))
    );
}

/// As Prometheus and the exporter's collector do: each sample is understood, and has its family's type.
fn exporter_reads(text: &str) {
    use prometheus_parse::Value;
    let read = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(read.samples.len(), samples);
    for sample in &read.samples {
        let counts = sample.metric.ends_with("_total");
        let typed = match sample.value {
            Value::Counter(_) => counts,
            Value::Gauge(_) => !counts,
            _ => false,
        };
        assert!(typed, "{sample:?}");
    }
    let hits = read
        .samples
        .iter()
        .find(|sample| sample.labels.get("index") == Some("3"));
    let hits = hits.expect("the default rule's hits");
    assert_eq!(
        (hits.labels.get("rule"), &hits.value),
        (Some("(default)"), &Value::Counter(18.0))
    );
}

#[test]
fn stop() {
    assert_snapshot!(both(&["stop"], &driver([drained(0, 0)])));
    let waits = driver([drained(2, 41), drained(1, 1), drained(0, 0)]);
    assert_snapshot!("stop_waits", both(&["stop"], &waits));
    let held = || driver([drained(2, 41), clients(), drained(2, 41)]);
    assert_snapshot!("stop_held", both(&["stop", "--wait", "0s"], &held()));
    let keep = driver([drained(2, 41), clients()]);
    assert_snapshot!(
        "stop_held_keep",
        run(&["stop", "--wait", "0s", "--keep-draining"], &mut keep.clone())
    );
    assert_snapshot!(
        "stop_drain_only",
        both(&["stop", "--drain-only"], &driver([drained(0, 0)]))
    );
    assert_snapshot!("stop_cancel", both(&["stop", "--cancel"], &driver([drained(1, 1)])));
    let late = Recording {
        stop: Err(ServiceError::Timeout),
        ..driver([drained(0, 0)])
    };
    assert_snapshot!("stop_timeout", run(&["stop"], &mut late.clone()));
}

#[test]
fn completions_and_manual() {
    for shell in ["bash", "powershell"] {
        let script = run(&["completions", shell], &mut driver([]));
        assert!(script.contains("keep-draining"), "{script}");
    }
    let page = run(&["man"], &mut driver([]));
    assert!(
        page.contains(".TH wskguardctl 1") && page.contains("Exit codes"),
        "{page}"
    );
    run(&["man", "--dir", "man"], &mut driver([]));
    assert!(std::path::Path::new("man/wskguardctl-policy-load.1").exists());
}

/// A reader that has seen enough.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    use clap::Parser;
    let cli = wskguardctl::cli::Cli::parse_from(["wskguardctl", "clients"]);
    let mut stderr = Vec::new();
    let mut gone = Gone;
    let mut out = wskguardctl::output::Output::new(&mut gone, &mut stderr);
    assert_eq!(
        wskguardctl::run(cli, &mut driver([clients()]), &mut out),
        wskguardctl::exit::Exit::Ok
    );
    assert!(stderr.is_empty());
}

/// What docs/OPERATING.md shows is what a snapshot has.
#[test]
fn the_page_shows_real_output() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/OPERATING.md"))
        .unwrap()
        .replace("\r\n", "\n");
    let snapshots = std::fs::read_dir(here.join("tests/snapshots")).unwrap();
    let snapshots: Vec<String> = snapshots
        .map(|entry| {
            std::fs::read_to_string(entry.unwrap().path())
                .unwrap()
                .replace("\r\n", "\n")
        })
        .collect();
    let mut shown = 0;
    for block in page.split("```\n> wskguardctl ").skip(1) {
        let (command, rest) = block.split_once('\n').unwrap();
        let output = rest.split("```").next().unwrap();
        let real = |snapshot: &String| {
            let (_, after) = snapshot.split_once(&format!("$ wskguardctl {command}\n"))?;
            let (stdout, rest) = after.split_once("--- stderr\n")?;
            Some(stdout.to_owned() + rest.split("--- exit").next()?)
        };
        assert!(
            snapshots.iter().filter_map(real).any(|real| real == output),
            "no snapshot of `{command}` has\n{output}"
        );
        shown += 1;
    }
    assert_ne!(shown, 0);
}

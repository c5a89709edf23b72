//! `hlk companion`: every command of wskguardctl.exe, for people and as JSON, on the live driver while client drivers hold sockets.
//!
//! Not part of the suite, since it ends with the lock, which lasts until the machine restarts. What was typed and printed is kept as a
//! transcript.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use testkernel_check::service::Service;

use crate::context::finish;
use crate::guard::Guard;
use crate::probe::{Family, Npi, Probe};
use crate::status;
use crate::wsk::{SO_BROADCAST, SO_RCVBUF, SO_REUSEADDR, SOL_SOCKET};

const STOPPED: u32 = 1;
const RUNNING: u32 = 4;

#[derive(Args, Debug)]
pub(crate) struct CompanionOptions {
    /// The companion
    #[arg(long, value_name = "FILE")]
    ctl: PathBuf,
    /// policies/demo.toml
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// An empty folder for what the commands write
    #[arg(long, value_name = "FOLDER")]
    scratch: PathBuf,
    /// Keep what was typed and printed here
    #[arg(long, value_name = "FILE")]
    transcript: PathBuf,
}

/// How a command ended.
struct Ended {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

struct Session {
    ctl: PathBuf,
    scratch: PathBuf,
    transcript: String,
    passed: u32,
    failed: u32,
}

impl Session {
    fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let output = Command::new(&self.ctl)
            .args(arguments)
            .current_dir(&self.scratch)
            .stdin(Stdio::null())
            .output()
            .context("wskguardctl.exe does not start")?;
        Ok(Ended {
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"),
            stderr: String::from_utf8_lossy(&output.stderr).replace("\r\n", "\n"),
        })
    }

    /// Enters into the books whether a step did what it is for.
    fn check(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                self.failed += 1;
                println!("FAIL  wskguardctl {what}: {error:#}");
            }
        }
    }

    fn note(&mut self, arguments: &[&str], ended: &Ended) {
        self.transcript += &format!(
            "> wskguardctl {}\n{}{}",
            arguments.join(" "),
            ended.stdout,
            ended.stderr
        );
        if ended.exit != Some(0) {
            self.transcript += &format!("(exit code {})\n", ended.exit.unwrap_or(-1));
        }
        self.transcript.push('\n');
    }

    /// For people: it ends with `exit`, and prints each of `words`. What it printed to stdout.
    fn people(&mut self, arguments: &[&str], exit: i32, words: &[&str]) -> String {
        let ended = match self.run(arguments) {
            Ok(ended) => ended,
            Err(error) => {
                self.check(&arguments.join(" "), Err(error));
                return String::new();
            }
        };
        self.note(arguments, &ended);
        let result = expect(&ended, exit, words);
        self.check(&arguments.join(" "), result);
        ended.stdout
    }

    /// As JSON: it ends with `exit`; all of stdout, or for a failure stderr, is JSON with each of `keys`.
    fn json(&mut self, arguments: &[&str], exit: i32, keys: &[&str]) {
        let arguments = [arguments, &["--json"]].concat();
        let result = self.run(&arguments).and_then(|ended| {
            expect(&ended, exit, &[])?;
            let text = if ended.stdout.is_empty() {
                &ended.stderr
            } else {
                &ended.stdout
            };
            let documents: Vec<serde_json::Value> = serde_json::Deserializer::from_str(text)
                .into_iter()
                .collect::<Result<_, _>>()
                .with_context(|| format!("no JSON: {text}"))?;
            ensure!(!documents.is_empty(), "nothing was printed");
            for document in &documents {
                for key in keys {
                    ensure!(document.get(key).is_some(), "no {key} in {document}");
                }
            }
            Ok(())
        });
        self.check(&arguments.join(" "), result);
    }

    /// A command that changes nothing, both ways.
    fn both(&mut self, arguments: &[&str], words: &[&str], keys: &[&str]) -> String {
        self.json(arguments, 0, keys);
        self.people(arguments, 0, words)
    }

    /// `audit tail --follow`: what happens while it runs comes out of it, without waiting for its end.
    fn follow(&mut self, what: &[&str], happen: impl FnOnce() -> Result<()>, word: &str) {
        let result = (|| {
            let mut child = Command::new(&self.ctl)
                .args(what)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()?;
            thread::sleep(Duration::from_millis(500));
            let happened = happen();
            thread::sleep(Duration::from_millis(700));
            child.kill()?;
            let output = child.wait_with_output()?;
            happened?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(text.contains(word), "no {word:?} in {text}");
            Ok(())
        })();
        self.check(&what.join(" "), result);
    }
}

fn expect(ended: &Ended, exit: i32, words: &[&str]) -> Result<()> {
    let all = || format!("{}{}", ended.stdout, ended.stderr);
    ensure!(
        ended.exit == Some(exit),
        "exit code {:?} instead of {exit}\n{}",
        ended.exit,
        all()
    );
    for word in words {
        ensure!(all().contains(word), "no {word:?} in\n{}", all());
    }
    Ok(())
}

pub(crate) fn run(options: &CompanionOptions) -> ExitCode {
    let mut session = Session {
        ctl: options.ctl.clone(),
        scratch: options.scratch.clone(),
        transcript: String::new(),
        passed: 0,
        failed: 0,
    };
    let told = tell(&mut session, options);
    session.check("(the session)", told);
    if let Err(error) = fs::write(&options.transcript, &session.transcript) {
        session.check("(the transcript)", Err(error.into()));
    }
    println!("{} passed, {} failed, 0 skipped", session.passed, session.failed);
    let _ = std::io::stdout().flush();
    if session.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(session: &mut Session, options: &CompanionOptions) -> Result<()> {
    let policy = "demo.toml";
    fs::copy(&options.policy, options.scratch.join(policy)).context("the policy")?;
    let text = fs::read_to_string(&options.policy)?;
    fs::write(
        options.scratch.join("broken.toml"),
        text.replacen("option = \"SO_RCVBUF\"", "option = \"SO_RCVBUFF\"\nport = 80", 1),
    )?;
    fs::write(options.scratch.join("other.toml"), text.replace("65536", "32768"))?;
    policies(session, policy);

    // Decisions to look at: a refused set, a refused bind, a value that is cut down.
    let (first, second) = (Probe::open("probe")?, Probe::open("probe2")?);
    let (holder, intruder) = (first.attach(Npi::Wskguard)?, second.attach(Npi::Wskguard)?);
    let (listener, address) = holder.listener(Family::V4)?;
    let reuse = listener.set_call(SO_REUSEADDR, SOL_SOCKET, &1_u32.to_le_bytes());
    reuse.fails_with(status::ACCESS_DENIED)?;
    let thief = intruder.connection_socket(Family::V4)?;
    thief.set(SO_REUSEADDR, 1)?;
    thief.bind_call(address).fails_with(status::ACCESS_DENIED)?;
    let buffered = holder.datagram_socket(Family::V4)?;
    buffered.bind(Family::V4.loopback(0))?.set(SO_RCVBUF, 1 << 20)?;

    looks(session)?;
    let denied = || reuse.fails_with(status::ACCESS_DENIED).map(drop);
    session.follow(&["audit", "tail", "--follow"], denied, "SO_REUSEADDR");
    let denied = || reuse.fails_with(status::ACCESS_DENIED).map(drop);
    session.follow(
        &["audit", "tail", "--follow", "--json", "--filter", "action=denied"],
        denied,
        "\"action\":\"denied\"",
    );
    numbers(session)?;
    let opened = || buffered.set(SO_BROADCAST, 1).map(drop);
    session.follow(
        &["endpoints", "watch", "--interval", "100ms", "--json"],
        opened,
        "endpoint",
    );

    session.people(
        &["stop", "--wait", "100ms"],
        7,
        &["probe.sys", "probe2.sys", "still held"],
    );
    session.json(&["stop", "--wait", "100ms"], 7, &[]);
    session.people(&["stop", "--drain-only", "--keep-draining", "--wait", "100ms"], 7, &[]);
    session.both(&["stop", "--cancel"], &[], &[]);
    finish(&first)?;
    finish(&second)?;
    ending(session, policy)
}

fn policies(session: &mut Session, policy: &str) {
    session.both(&["policy", "check", policy], &["valid, 3 rules"], &["hash", "findings"]);
    session.people(&["policy", "check", policy, "--output", "demo.img"], 0, &["hash"]);
    session.people(&["policy", "check", "broken.toml"], 6, &["broken.toml:", "SO_RCVBUFF"]);
    session.json(&["policy", "check", "broken.toml"], 6, &["valid", "findings"]);
    session.people(&["policy", "load", policy], 0, &["in force as generation"]);
    session.json(&["policy", "load", policy], 0, &["generation", "hash"]);
    let before = Guard::open().and_then(|mut guard| Ok(guard.status()?));
    session.people(&["policy", "load", "broken.toml"], 6, &["broken.toml:"]);
    session.people(
        &["policy", "load", policy, "--expect", "1000000"],
        6,
        &["another generation"],
    );
    let after = Guard::open().and_then(|mut guard| Ok(guard.status()?));
    let same = before.and_then(|before| {
        let after = after?;
        crate::check::equal(
            "in force",
            (after.generation, after.policy_hash),
            (before.generation, before.policy_hash),
        )
    });
    session.check("policy load broken.toml (the old policy stays)", same);
    session.both(&["policy", "show"], &["name = \"demo\""], &[]);
    session.people(&["policy", "show", "--image", "shown.img"], 0, &[]);
    session.both(&["policy", "diff", policy], &[], &[]);
    session.people(&["policy", "diff", "other.toml"], 9, &["rcvbuf-ceiling", "32768"]);
    session.json(&["policy", "diff", policy, "other.toml"], 9, &[]);
    let question = [
        "--request",
        "set",
        "--option",
        "SO_RCVBUF",
        "--new",
        "1048576",
        "--category",
        "datagram",
    ];
    session.both(
        &[&["policy", "explain"], &question[..]].concat(),
        &["rcvbuf-ceiling", "65536"],
        &["rule", "passed"],
    );
    session.both(
        &[&["policy", "explain", "other.toml"], &question[..]].concat(),
        &["32768"],
        &["rule", "passed"],
    );
}

fn looks(session: &mut Session) -> Result<()> {
    session.both(
        &["status"],
        &["running", "demo, 3 rules", "next start    this policy", "probe2.sys"],
        &["policy", "kept", "clients"],
    );
    session.both(&["clients"], &["probe.sys", "probe2.sys"], &["image"]);
    let list = session.both(
        &["endpoints", "list"],
        &["listening", "probe2.sys"],
        &["id", "category"],
    );
    session.both(
        &["endpoints", "list", "--client", "probe2.sys"],
        &["probe2.sys"],
        &["id"],
    );
    let id = list
        .split_whitespace()
        .find(|word| word.starts_with("0x"))
        .context("no endpoint id in the list")?
        .to_owned();
    session.both(&["endpoints", "show", &id], &["SO_RCVBUF", "listening"], &["options"]);
    session.people(&["endpoints", "show", "0xfffffff"], 1, &[]);
    session.both(
        &["endpoints", "watch", "--interval", "10ms", "--count", "2"],
        &["listening"],
        &[],
    );
    session.both(
        &["audit", "tail"],
        &["no-reuseaddr-on-listeners", "1048576→65536", "clamped", "policy loaded"],
        &["cursor", "action"],
    );
    session.both(
        &["audit", "tail", "--filter", "action=denied", "-n", "1"],
        &["no-port-sharing"],
        &["rule"],
    );
    let last = session.run(&["audit", "tail", "--json", "-n", "2"])?.stdout;
    let records = last
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<serde_json::Value>, _>>()?;
    let [first, _] = records.as_slice() else {
        bail!("two records were to be had: {last}")
    };
    let cursor = first
        .get("cursor")
        .and_then(|cursor| cursor.as_str())
        .context("no cursor")?;
    let rest = session.people(&["audit", "tail", "--json", "--since", cursor], 0, &["cursor"]);
    session.check(
        "audit tail --since",
        crate::check::equal("records after the first of two", rest.lines().count(), 1),
    );
    Ok(())
}

fn numbers(session: &mut Session) -> Result<()> {
    session.both(&["counters"], &["refused_policy"], &["counters"]);
    session.both(&["counters", "--rules"], &["no-port-sharing", "(default)"], &["rules"]);
    session.people(&["counters", "--delta", "before.json"], 0, &[]);
    session.people(
        &["counters", "--delta", "before.json", "--all"],
        0,
        &["device_requests"],
    );
    session.people(&["metrics"], 0, &["wskguard_up 1", "wskguard_policy_info", "# TYPE"]);
    session.people(&["metrics", "--output", "wskguard.prom"], 0, &[]);
    let written = fs::read_to_string(session.scratch.join("wskguard.prom"))?;
    session.check(
        "metrics --output",
        crate::check::holds("the file has them", written.contains("wskguard_up 1")),
    );
    let records = session.run(&["audit", "tail", "--json"])?.stdout;
    fs::write(session.scratch.join("records.jsonl"), records)?;
    session.both(
        &["policy", "learn"],
        &["schema = 1", "[[rule]]"],
        &["policy", "decisions", "from"],
    );
    session.json(
        &["policy", "learn", "--from", "records.jsonl"],
        0,
        &["policy", "decisions", "from"],
    );
    session.people(
        &[
            "policy",
            "learn",
            "--from",
            "records.jsonl",
            "--output",
            "draft.toml",
            "--name",
            "draft",
        ],
        0,
        &[],
    );
    session.people(&["policy", "check", "draft.toml"], 0, &["valid"]);
    session.people(&["completions", "powershell"], 0, &["Register-ArgumentCompleter"]);
    session.people(&["man"], 0, &[".TH"]);
    Ok(())
}

fn ending(session: &mut Session, policy: &str) -> Result<()> {
    let service = Service::install(wskguard_abi::SERVICE_NAME, "wskguard.sys").context("the filter's service")?;
    session.people(&["stop"], 0, &[]);
    service.wait_for(STOPPED).context("until it has stopped")?;
    session.people(&["status"], 3, &["sc start wskguard"]);
    session.json(&["status"], 3, &["error"]);
    session.people(&["metrics"], 3, &["wskguard_up 0"]);
    service.start().context("start")?;
    service.wait_for(RUNNING).context("until it runs")?;
    session.people(&["status"], 0, &["demo, 3 rules", "generation    1"]);
    session.people(&["policy", "diff", policy], 0, &[]);
    session.people(&["policy", "lock"], 2, &["--yes"]);
    session.people(&["policy", "lock", "--yes"], 0, &["locked"]);
    session.json(&["policy", "lock", "--yes"], 0, &["locked"]);
    session.people(&["policy", "load", policy], 8, &["locked"]);
    session.json(&["policy", "load", policy], 8, &["error"]);
    session.people(&["stop"], 8, &["locked"]);
    session.people(&["status"], 0, &["locked until the machine restarts"]);
    Ok(())
}

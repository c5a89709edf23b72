//! The command line: one definition for parsing, help, completions and manual pages.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{filter::Filter, time};

/// Exit codes, for the end of the help and of the manual page.
const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 driver absent, 4 access denied, 5 version mismatch,
            6 policy refused, 7 still held, 8 locked, 9 differs.
Data goes to stdout, all else to stderr.";

/// Options of every command.
const EVERYWHERE: &str = "Everywhere";

/// Talks to wskguard.sys, the Winsock Kernel filter driver.
#[derive(Parser, Debug)]
#[command(name = "wskguardctl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// Print JSON: one document, or one object a line for lists and streams
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// always, never or auto: on terminals, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    #[arg(help_heading = EVERYWHERE)]
    pub color: ColorWhen,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show versions, mode, policy, coverage and losses
    Status,
    /// Check, load, show, compare, explain or draft a policy
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List, show or watch endpoints
    #[command(args_conflicts_with_subcommands = true)]
    Endpoints(EndpointsArgs),
    /// List the client drivers
    Clients,
    /// Read the audit records
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show the counters, or the hits of every rule
    Counters(CountersArgs),
    /// Print everything that counts as Prometheus text
    Metrics(MetricsArgs),
    /// A live view
    #[cfg(feature = "top")]
    Top(TopArgs),
    /// Drain the driver, name who still holds it, and stop its service
    Stop(StopArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them
    Man {
        /// Write one page a command into this folder
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// `policy`.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Compile a policy and say what is wrong with it; needs no driver
    Check {
        /// The policy (TOML)
        file: PathBuf,
        /// Write the compiled image here
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Compile a policy, put it in force and read it back
    #[command(visible_alias = "apply")]
    Load {
        /// The policy (TOML)
        file: PathBuf,
        /// Only if this generation is in force
        #[arg(long, value_name = "N")]
        expect: Option<u64>,
    },
    /// Show the policy in force, as TOML
    Show {
        /// Write the compiled image here instead
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
    /// Compare a policy with the one in force, or with another file; exit code 9 if they differ
    Diff {
        /// The policy (TOML)
        file: PathBuf,
        /// Compare with this instead of with the policy in force; needs no driver
        other: Option<PathBuf>,
    },
    /// Say what a policy decides about a request, and why; with FILE, no driver is needed
    Explain(Box<ExplainArgs>),
    /// Draft a policy from the audit records; it is printed, never loaded
    Learn(LearnArgs),
    /// Refuse policy changes and stops until the machine restarts
    Lock {
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
}

/// `policy explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The policy (TOML); without it, the one in force
    pub file: Option<PathBuf>,
    /// What is asked
    #[arg(long, value_name = "KIND")]
    pub request: RequestWord,
    /// Option or ioctl, by name or number
    #[arg(long, value_name = "OPTION")]
    pub option: Option<String>,
    /// Level of an option that is given as a number: name or number
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// basic, listen, connection, datagram or stream
    #[arg(long, value_name = "CATEGORY", default_value = "stream", hide_possible_values = true)]
    pub category: CategoryWord,
    /// inet or inet6
    #[arg(long, value_name = "FAMILY", default_value = "inet", hide_possible_values = true)]
    pub family: FamilyWord,
    /// tcp, udp or a number; by default what fits the category
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// File name of the client driver
    #[arg(long, value_name = "IMAGE")]
    pub client: Option<String>,
    /// Owning process: its id, and its image after a colon, 4711:app.exe
    #[arg(long, value_name = "PID[:IMAGE]")]
    pub process: Option<String>,
    /// Value on record
    #[arg(long, value_name = "VALUE", value_parser = value)]
    pub old: Option<u64>,
    /// Value asked for
    #[arg(long, value_name = "VALUE", value_parser = value)]
    pub new: Option<u64>,
    /// Port of a bind; 0 is ephemeral
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Address of a bind: wildcard, loopback or specific
    #[arg(long, value_name = "KIND", default_value = "specific", hide_possible_values = true)]
    pub address: AddressWord,
    /// Sharing at a bind: reuse, exclusive or default
    #[arg(long, value_name = "KIND", default_value = "default", hide_possible_values = true)]
    pub sharing: SharingWord,
    /// Name also the rules for other requests and options
    #[arg(long)]
    pub all: bool,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($word:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        #[allow(missing_docs, reason = "the words of docs/POLICY.md")]
        pub enum $name { $($word),* }
    )*};
}

words! {
    /// `--request`.
    RequestWord { Set, Get, Ioctl, Bind }
    /// `--category`.
    CategoryWord { Basic, Listen, Connection, Datagram, Stream }
    /// `--family`.
    FamilyWord { Inet, Inet6 }
    /// `--address`.
    AddressWord { Specific, Wildcard, Loopback }
    /// `--sharing`.
    SharingWord { Default, Reuse, Exclusive }
}

/// `policy learn`.
#[derive(Args, Debug)]
pub struct LearnArgs {
    /// Write the draft here
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Learn from records saved by `audit tail --json`; needs no driver
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Go on reading records for so long: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "from")]
    pub during: Option<Duration>,
    /// Name of the drafted policy
    #[arg(long, value_name = "NAME", default_value = "learned")]
    pub name: String,
}

/// `endpoints`.
#[derive(Args, Debug)]
pub struct EndpointsArgs {
    /// What to do; without it: list
    #[command(subcommand)]
    pub command: Option<EndpointsCommand>,
    /// Which
    #[command(flatten)]
    pub list: EndpointSelection,
}

/// `endpoints …`.
#[derive(Subcommand, Debug)]
pub enum EndpointsCommand {
    /// List them, a page of memory at a time
    List(EndpointSelection),
    /// Show one
    Show {
        /// Its id, as the list has it
        #[arg(value_parser = id)]
        id: u64,
    },
    /// Report what changes
    Watch {
        /// Which
        #[command(flatten)]
        list: EndpointSelection,
        /// Time between two looks
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
        interval: Duration,
        /// Look so often, then end
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// Which endpoints.
#[derive(Args, Debug, Clone, Default)]
pub struct EndpointSelection {
    /// Of this client: its image or number
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<String>,
    /// Of this category
    #[arg(long, value_name = "CATEGORY")]
    pub category: Option<String>,
    /// With this local port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

/// `audit`.
#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Print the records, oldest first
    Tail(TailArgs),
}

/// `audit tail`.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Go on with records as they come
    #[arg(long, short)]
    pub follow: bool,
    /// Only what came after this: a record's cursor, or a time
    #[arg(long, value_name = "CURSOR")]
    pub since: Option<crate::audit::Since>,
    /// Only these: KEY=VALUE[,VALUE…]; all that are given must hold
    #[arg(long, value_name = "FILTER", long_help = crate::filter::HELP)]
    pub filter: Vec<Filter>,
    /// Only the last N of what is there
    #[arg(long, short = 'n', value_name = "N")]
    pub last: Option<usize>,
}

/// `counters`.
#[derive(Args, Debug)]
pub struct CountersArgs {
    /// The hits of every rule, and of the default
    #[arg(long)]
    pub rules: bool,
    /// Show what changed since FILE was written, then write it anew
    #[arg(long, value_name = "FILE")]
    pub delta: Option<PathBuf>,
    /// Also those that are 0
    #[arg(long)]
    pub all: bool,
}

/// `metrics`.
#[derive(Args, Debug)]
pub struct MetricsArgs {
    /// Write to FILE, in one step: for the Windows exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `top`.
#[cfg(feature = "top")]
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub interval: Duration,
}

/// `stop`.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// Wait so long for the holders to let go
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub wait: Duration,
    /// If it is still held, keep turning new clients away
    #[arg(long)]
    pub keep_draining: bool,
    /// Drain only; leave the service running
    #[arg(long)]
    pub drain_only: bool,
    /// End draining: clients can attach again
    #[arg(long, conflicts_with_all = ["wait", "keep_draining", "drain_only"])]
    pub cancel: bool,
}

/// An endpoint id, decimal or hexadecimal.
fn id(text: &str) -> Result<u64, String> {
    number(text).ok_or_else(|| "expected a number, as `endpoints list` prints it".to_owned())
}

/// A number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with ms, s, m, h or d, such as 30s".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let milliseconds = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s" | "") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

/// A value of an option.
fn value(text: &str) -> Result<u64, String> {
    match text {
        "true" => Ok(1),
        "false" => Ok(0),
        _ => number(text).ok_or_else(|| "expected a number, true or false".to_owned()),
    }
}

/// A number, decimal or hexadecimal.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// 100 ns units of a duration.
#[must_use]
pub fn units(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos() / u128::from(1_000_000_000 / time::SECOND)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal() {
        fn check(command: &mut clap::Command) {
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                let long = help.lines().find(|line| line.chars().count() > crate::output::LINE);
                assert_eq!(long, None, "{}", command.get_name());
            }
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command);
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        for wrong in ["", "s", "1y", "-1s", "1 s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(units(Duration::from_secs(1)), time::SECOND);
    }

    #[test]
    fn ids() {
        assert_eq!((id("17"), id("0x11")), (Ok(17), Ok(17)));
        assert!(id("0xzz").is_err());
    }
}

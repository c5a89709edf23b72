//! The pictures in the documents are what the commands print, colours and all.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
#[path = "common/picture.rs"]
mod picture;

use clap::Parser;
use common::{driver, scratch};
use wskguardctl::{cli::Cli, output::Output};

/// A command line, and all that it prints on a terminal with colours.
fn shown(arguments: &[&str]) -> String {
    let cli = Cli::try_parse_from(["wskguardctl"].iter().chain(arguments)).expect("a command line");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = Output::new(&mut stdout, &mut stderr);
    (output.color, output.color_stderr) = (true, true);
    wskguardctl::run(cli, &mut driver([]), &mut output);
    let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
    format!("> wskguardctl {}\n{printed}", arguments.join(" "))
}

#[test]
fn policy_check() {
    scratch();
    let wrong = include_str!("policy.toml")
        .replace("SO_RCVBUF", "SO_RCVBUFF")
        .replace("max = 65536", "maxi = 65536");
    std::fs::write("faulty.toml", wrong).unwrap();
    picture::same("policy-check", &shown(&["policy", "check", "faulty.toml"]));
}

#[test]
fn policy_explain() {
    scratch();
    std::fs::write("explained.toml", include_str!("policy.toml")).unwrap();
    let request = "policy explain explained.toml --request set --option SO_RCVBUF --new 1048576 --category datagram";
    picture::same("policy-explain", &shown(&request.split(' ').collect::<Vec<_>>()));
}

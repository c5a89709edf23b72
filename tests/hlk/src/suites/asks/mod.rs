//! What the documentation of WSK leaves open, asked of the system's provider: each test writes down what it saw and judges nothing.
//! `hlk questions` prints the answers as a table. On the test kernel they say what its provider does, which is a guess; on Windows
//! they are what to put in its place.

mod calls;
mod options;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use probe_protocol::probe::Progress;

use crate::context::Context;
use crate::probe::{CallBuilder, Client, Done, Npi};
use crate::runner::Test;
use crate::status;

/// The tests of options, then those of calls.
pub(crate) const OPTIONS: &[Test] = options::TESTS;
pub(crate) const CALLS: &[Test] = calls::TESTS;

/// The questions by the names that the tests' requirements give.
pub(crate) const QUESTIONS: [(&str, &str); 19] = [
    (
        "Q1",
        "Which status does WskControlSocket return for a malformed, misplaced or late request?",
    ),
    (
        "Q2",
        "Does WSK make 0 or 1 of a boolean's other values, and is SO_KEEPALIVE one byte?",
    ),
    (
        "Q3",
        "Which status do calls end with when keep-alive drops a connection, in which order, and is WskDisconnectEvent abortive then?",
    ),
    (
        "Q4",
        "Which SOL_SOCKET options that the WSK pages do not list reach the transport?",
    ),
    (
        "Q5",
        "What does WskControlSocket return when a required IRP is missing?",
    ),
    (
        "Q6",
        "Does SO_DONTLINGER FALSE bring the last linger time-out back, and what is it on a fresh socket?",
    ),
    (
        "Q7",
        "What is the value after a boolean was set with length 0, and after a set with length -1?",
    ),
    ("Q8", "What becomes of negative and huge buffer sizes?"),
    (
        "Q9",
        "What do options of the other socket type, and SO_DONTROUTE on IPv6, return?",
    ),
    ("Q10", "Which options of the listener does an accepted socket have?"),
    (
        "Q11",
        "Which status has a bind to an address in use, and a second bind?",
    ),
    ("Q12", "Which status has SO_RANDOMIZE_PORT after SO_REUSE_UNICASTPORT?"),
    ("A1", "How many providers of the WSK NPI is a client offered?"),
    ("A2", "Which of WskConnectEx, WskSendEx and WskReceiveEx are there?"),
    ("A3", "Can WskSendMessages be called at DISPATCH_LEVEL?"),
    (
        "A4",
        "Does a call that fails at once complete its IRP, also for NULL parameters?",
    ),
    (
        "A5",
        "Do events for all of a client's sockets go together with others enabled for one, and with WskSocketConnect?",
    ),
    ("A6", "Which flags do callbacks carry?"),
    ("A7", "Which calls does IoCancelIrp end?"),
];

/// One thing seen.
struct Answer {
    question: &'static str,
    case: String,
    seen: String,
}

static ANSWERS: Mutex<Vec<Answer>> = Mutex::new(Vec::new());

/// Writes down what was seen.
fn note(question: &'static str, case: impl Into<String>, seen: impl Into<String>) {
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    answers.push(Answer {
        question,
        case: case.into(),
        seen: seen.into(),
    });
}

/// Makes a call and writes down how it went.
fn ask(question: &'static str, case: impl Into<String>, call: CallBuilder<'_>) {
    let probe = call.probe();
    let seen = match call.unchecked().timeout(2000).attempt() {
        Ok(done) => {
            // An IRP that was neither pended nor completed is the client's again.
            if done.is(Progress::TIMED_OUT) && done.outcome.returned != status::PENDING {
                let taken_back = probe.abandon(done.outcome.request);
                taken_back.map_or_else(|error| format!("{}, {error:#}", told(&done)), |()| told(&done))
            } else {
                told(&done)
            }
        }
        Err(error) => format!("{error:#}"),
    };
    note(question, case, seen);
}

/// How a call went: its status, and where the IRP is at odds with that.
fn told(done: &Done) -> String {
    let mut text = status::name(done.result());
    if done.is(Progress::TIMED_OUT) {
        text += ", does not complete";
    } else if done.is(Progress::HAS_IRP) && !done.is(Progress::COMPLETED) {
        text += ", IRP not completed";
    } else if done.is(Progress::COMPLETED) && done.outcome.returned == status::PENDING {
        text += ", pended";
    }
    text
}

/// A client of the system's provider, whatever there is besides.
fn direct(context: &Context) -> Result<Client<'_>> {
    context.probe.attach(Npi::System)
}

/// The answers so far, a table for each question, for the system called `system`.
pub(crate) fn table(system: &str) -> String {
    let answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = format!("# Answers of the WSK provider\n\nSeen on: {system}\n");
    for (id, question) in QUESTIONS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {id}. {question}\n");
        let mut seen = answers.iter().filter(|answer| answer.question == id).peekable();
        if seen.peek().is_none() {
            text += "Not asked.\n";
            continue;
        }
        text += "| asked | seen |\n|---|---|\n";
        for answer in seen {
            let _ = writeln!(text, "| {} | {} |", answer.case, answer.seen);
        }
    }
    text
}

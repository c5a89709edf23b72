//! What the core decides about requests and binds, under policies as an administrator writes them.

#[path = "../common/mod.rs"]
mod common;

mod bind;
mod control;
mod properties;
mod settings;
mod tables;
mod values;

use wskguard_core::catalogue::OptionSet;
use wskguard_core::decide::{self, Done, InForce, Outcome, Subject, Tables, TablesRef, Verdict};
use wskguard_core::policy::{ClientKey, Image, ProcessKey};
use wskguard_core::semantics::{
    Change, EndpointConfig, EndpointFacts, Flag, Number, Op, OptionState, Pointer, Request, SharedOptions, capture_len,
};
use wskguard_core::{Category, Family, Phase, RequestKind, SOL_SOCKET, SocketType};
use wskguard_policy::compile;

use common::Heap;

const SO_DEBUG: u32 = 0x1;
const SO_REUSEADDR: u32 = 0x4;
const SO_KEEPALIVE: u32 = 0x8;
const SO_LINGER: u32 = 0x80;
const SO_DONTLINGER: u32 = !SO_LINGER;
const SO_EXCLUSIVEADDRUSE: u32 = !SO_REUSEADDR;
const SO_RCVBUF: u32 = 0x1002;
const PVD_CONFIG: u32 = 0x3001;
const IPPROTO_TCP: u32 = 6;
const TRUE: &[u8] = &[1, 0, 0, 0];

const FACTS: EndpointFacts = EndpointFacts {
    category: Category::Connection,
    socket_type: SocketType::Stream,
    family: Family::INET,
    protocol: IPPROTO_TCP,
    static_events: 0,
    lacks: OptionSet::NONE,
};

/// The image of a policy: `settings`, then rules.
fn policy(text: &str) -> Vec<u8> {
    let text = format!("schema = 1\nname = \"test\"\n{text}");
    match compile("test.toml", &text) {
        Ok(compiled) => compiled.image,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The state after these changes, whoever made them.
fn state(ops: &[Op]) -> OptionState {
    let mut state = OptionState::default();
    for &op in ops {
        state.apply(Change::fact(op)).unwrap();
    }
    state
}

/// An endpoint that asks.
struct Asker<'a> {
    facts: &'a EndpointFacts,
    options: SharedOptions,
    phase: Phase,
    client: ClientKey<'a>,
    process: Option<ProcessKey<'a>>,
}

impl Subject for Asker<'_> {
    fn facts(&self) -> &EndpointFacts {
        self.facts
    }

    fn options(&self) -> &SharedOptions {
        &self.options
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn client(&self) -> ClientKey<'_> {
        self.client
    }

    fn process(&self) -> Option<ProcessKey<'_>> {
        self.process
    }
}

fn subject(state: &OptionState) -> Asker<'static> {
    Asker {
        facts: &FACTS,
        options: SharedOptions::new(*state),
        phase: Phase::Unbound,
        client: ClientKey::UNKNOWN,
        process: None,
    }
}

/// The decision, which has to be the same with the policy's tables and without.
fn control<'a>(image: Option<&Image<'a>>, subject: &Asker<'_>, request: &Request<'_>) -> Verdict<'a> {
    let without = InForce {
        image,
        tables: TablesRef::NONE,
    };
    let made = image.map(|image| Tables::new(Heap, image).unwrap());
    let with = InForce {
        image,
        tables: made.as_ref().map_or_else(TablesRef::default, Tables::as_ref),
    };
    let verdict = decide::control(without, subject, request);
    assert_eq!(
        decide::control(with, subject, request),
        verdict,
        "by table: {request:?}"
    );
    if request.kind == RequestKind::Set
        && let Some(usual) = decide::usual_set(with, subject, request)
    {
        assert_eq!(usual, verdict);
    }
    let passes = decide::passes(with, subject, request);
    assert!(passes.is_none_or(|rule| rule == verdict.rule));
    let untouched = matches!(
        verdict.outcome,
        Outcome::Forward {
            observe: false,
            input: None,
            on_get: None,
            ..
        }
    );
    assert!(
        passes.is_none() || untouched && !verdict.record && verdict.done == Done::Forwarded,
        "{verdict:?}"
    );
    if passes.is_some() {
        assert_eq!((verdict.refusal, verdict.enforced), (None, true));
    }
    verdict
}

/// A set of `SOL_SOCKET` as a WSK client makes it.
fn set(code: u32, input: &[u8]) -> Request<'_> {
    request(RequestKind::Set, SOL_SOCKET, code, input)
}

fn request(kind: RequestKind, level: u32, code: u32, input: &[u8]) -> Request<'_> {
    Request {
        kind,
        level,
        code,
        input_pointer: Pointer::Valid,
        input_len: input.len(),
        input: &input[..capture_len(kind, level, code, input.len())],
        output_pointer: Pointer::Null,
        output_len: 0,
        has_irp: true,
        wants_size: false,
        at_dispatch: false,
        now: 0,
    }
}

fn get(code: u32) -> Request<'static> {
    Request {
        input_pointer: Pointer::Null,
        output_pointer: Pointer::Valid,
        output_len: 4,
        ..request(RequestKind::Get, SOL_SOCKET, code, &[])
    }
}

/// The decision under the policy `text` about a request of a fresh connection socket.
fn fresh<'a>(bytes: &'a [u8], request: &Request<'_>) -> Verdict<'a> {
    on(bytes, &OptionState::default(), request)
}

/// The same of a socket with options set.
fn on<'a>(bytes: &'a [u8], state: &OptionState, request: &Request<'_>) -> Verdict<'a> {
    let image = Image::parse(bytes).unwrap();
    control(Some(&image), &subject(state), request)
}

fn rcvbuf(value: u32) -> Op {
    Op::Number(Number::RcvBuf, value)
}

fn configured(config: EndpointConfig) -> OptionState {
    state(&[Op::Config(config)])
}

//! What holds for every request.

use proptest::prelude::*;

use super::*;
use crate::catalogue::OPTIONS;
use crate::{Mode, Phase};

/// Everything a decision depends on.
#[derive(Clone, Debug)]
struct Case {
    facts: EndpointFacts,
    state: OptionState,
    phase: Phase,
    kind: RequestKind,
    level: u32,
    code: u32,
    input_pointer: Pointer,
    input_len: usize,
    input: Vec<u8>,
    output_pointer: Pointer,
    output_len: usize,
    has_irp: bool,
    at_dispatch: bool,
}

impl Case {
    fn request(&self) -> Request<'_> {
        Request {
            kind: self.kind,
            level: self.level,
            code: self.code,
            input_pointer: self.input_pointer,
            input_len: self.input_len,
            input: &self.input,
            output_pointer: self.output_pointer,
            output_len: self.output_len,
            has_irp: self.has_irp,
            wants_size: false,
            at_dispatch: self.at_dispatch,
            now: 7,
        }
    }

    fn plan(&self, mode: Mode) -> Plan {
        plan(&self.facts, &self.state, self.phase, mode, &self.request())
    }
}

fn facts() -> impl Strategy<Value = EndpointFacts> {
    let kinds = prop_oneof![
        Just((Category::Listen, SocketType::Stream, 6)),
        Just((Category::Connection, SocketType::Stream, 6)),
        Just((Category::Stream, SocketType::Stream, 6)),
        Just((Category::Datagram, SocketType::Dgram, 17)),
        Just((Category::Datagram, SocketType::Raw, 255)),
        Just((Category::Basic, SocketType::Dgram, 17)),
    ];
    let family = prop_oneof![Just(Family::INET), Just(Family::INET6), Just(Family::ATM)];
    (kinds, family).prop_map(|((category, socket_type, protocol), family)| EndpointFacts {
        category,
        socket_type,
        family,
        protocol,
        ..TCP
    })
}

fn change() -> impl Strategy<Value = Change> {
    let flag = prop::sample::select(OPTIONS.iter().filter_map(|row| Flag::of(row.id)).collect::<Vec<_>>());
    let number = prop::sample::select(OPTIONS.iter().filter_map(|row| Number::of(row.id)).collect::<Vec<_>>());
    let op = prop_oneof![
        4 => (flag, any::<bool>()).prop_map(|(flag, on)| Op::Flag(flag, on)),
        4 => (prop::sample::select(vec![Flag::ReuseAddr, Flag::ExclusiveAddrUse]), any::<bool>())
            .prop_map(|(flag, on)| Op::Flag(flag, on)),
        2 => (0..3u16, any::<u16>()).prop_map(|(onoff, seconds)| Op::Linger { onoff, seconds }),
        2 => any::<bool>().prop_map(Op::DontLinger),
        1 => (number, any::<u32>()).prop_map(|(number, value)| Op::Number(number, value)),
        1 => any::<bool>().prop_map(|verbose| Op::Config(EndpointConfig { mode: None, verbose })),
    ];
    (op, any::<bool>()).prop_map(|(op, enforce)| Change::new(op, enforce))
}

fn state() -> impl Strategy<Value = OptionState> {
    prop::collection::vec(change(), 0..6).prop_map(|changes| {
        let mut state = OptionState::default();
        for change in changes {
            let _ = state.apply(change);
        }
        state
    })
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![
        Phase::Unbound,
        Phase::Binding,
        Phase::Bound,
        Phase::Listening,
        Phase::Connecting,
        Phase::Connected,
        Phase::Disconnected,
        Phase::KeepAliveFailed,
        Phase::Closing,
    ])
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict])
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 2, 3, 4, 8, 16, 64, 65, 372, 628, MINUS_ONE]),
        any::<usize>()
    ]
}

fn pointer() -> impl Strategy<Value = Pointer> {
    prop_oneof![8 => Just(Pointer::Valid), 1 => Just(Pointer::Null), 1 => Just(Pointer::Bad)]
}

fn case() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![4 => Just(RequestKind::Set), 4 => Just(RequestKind::Get), 1 => Just(RequestKind::Ioctl)];
    let level = prop_oneof![8 => Just(SOL_SOCKET), 1 => Just(0), 1 => any::<u32>()];
    let codes: Vec<u32> = OPTIONS.iter().map(|row| row.code).collect();
    let code = prop_oneof![16 => prop::sample::select(codes), 1 => any::<u32>()];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 64),
        (0..3u8).prop_map(|low| {
            let mut bytes = vec![0; 64];
            bytes[0] = low;
            bytes
        })
    ];
    let request = (
        kind,
        level,
        code,
        pointer(),
        length(),
        value,
        pointer(),
        length(),
        any::<bool>(),
        any::<bool>(),
    );
    (facts(), state(), phase(), request).prop_map(|(facts, state, phase, request)| {
        let (kind, level, code, input_pointer, input_len, mut input, output_pointer, output_len, has_irp, at_dispatch) =
            request;
        let captured = if input_pointer == Pointer::Valid {
            capture_len(kind, level, code, input_len)
        } else {
            0
        };
        assert!(captured <= 64 && captured <= input_len);
        input.truncate(captured);
        Case {
            facts,
            state,
            phase,
            kind,
            level,
            code,
            input_pointer,
            input_len,
            input,
            output_pointer,
            output_len,
            has_irp,
            at_dispatch,
        }
    })
}

fn unbroken(state: &OptionState) -> bool {
    !(state.flag(Flag::ReuseAddr) && state.flag(Flag::ExclusiveAddrUse))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 1024 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// `off` and `audit` change nothing about a request, and refuse none.
    #[test]
    fn watching_changes_nothing(case in case()) {
        for mode in [Mode::Off, Mode::Audit] {
            let Plan::Forward(forward) = case.plan(mode) else { panic!("{mode:?} did not forward") };
            prop_assert_eq!(forward.input, None);
            prop_assert!(!forward.commit.enforce && !forward.commit.commits_before());
            prop_assert!(mode == Mode::Audit || forward.violation.is_none());
        }
    }

    /// What audit reports is exactly what strict refuses.
    #[test]
    fn audit_reports_what_strict_refuses(case in case()) {
        let Plan::Forward(audit) = case.plan(Mode::Audit) else { panic!() };
        let strict = match case.plan(Mode::Strict) {
            Plan::Refuse(refusal) => Some(refusal),
            Plan::Forward(_) | Plan::Answer(_) => None,
        };
        prop_assert_eq!(audit.violation, strict);
    }

    /// The verdict depends on what the request asks only: not on where its bytes are, nor on the half of the arguments that its kind
    /// does not use.
    #[test]
    fn verdicts_depend_on_their_inputs_only(case in case(), other in case(), mode in mode()) {
        let mixed = match case.kind {
            RequestKind::Set => Case { output_pointer: other.output_pointer, output_len: other.output_len, ..case.clone() },
            RequestKind::Get => Case {
                input_pointer: other.input_pointer,
                input_len: other.input_len,
                input: other.input,
                ..case.clone()
            },
            _ => Case { level: other.level, ..case.clone() },
        };
        prop_assert_eq!(case.plan(mode), mixed.plan(mode));
        let asking = Request { wants_size: true, now: 99, ..mixed.request() };
        let plan = plan(&mixed.facts, &mixed.state, mixed.phase, mode, &asking);
        let timed = matches!(plan, Plan::Answer(_));
        prop_assert!(timed || plan == case.plan(mode));
    }

    /// A value that has been put into WSK's form is in it.
    #[test]
    fn normalising_twice_is_normalising_once(case in case(), strict in any::<bool>()) {
        let mode = if strict { Mode::Strict } else { Mode::Compat };
        if let Plan::Forward(Forward { input: Some(input), commit, .. }) = case.plan(mode) {
            let again = Case { input_len: input.len, input: input.as_slice().to_vec(), ..case };
            let Plan::Forward(forward) = again.plan(mode) else { panic!("the normal form is not forwarded") };
            prop_assert_eq!(forward.input, None);
            prop_assert_eq!(forward.commit, commit);
        }
    }

    /// `compat` refuses nothing that Winsock takes, but for wskguard's own object.
    #[test]
    fn compat_is_no_stricter_than_windows(case in case()) {
        let row = catalogue::option(case.level, case.code);
        prop_assume!(row.is_none_or(|row| row.id != Opt::PvdConfig));
        if let Plan::Refuse(refusal) = case.plan(Mode::Compat) {
            let socket = winsock::Socket { facts: &case.facts, state: &case.state, phase: case.phase };
            let windows = match case.kind {
                RequestKind::Set => winsock::set(Some(&socket), &case.request()).err(),
                _ => winsock::get(Some(&socket), &winsock::Thread::default(), &case.request()).err().map(|r| r.refusal),
            };
            prop_assert!(windows.is_some(), "{refusal:?}");
        }
    }

    /// The two options are never both on, whatever is applied, and a refused change changes nothing.
    #[test]
    fn the_exclusion_is_never_broken(changes in prop::collection::vec(change(), 0..24)) {
        let mut state = OptionState::default();
        let shared = SharedOptions::default();
        for change in changes {
            let before = state;
            let outcome = state.apply(change);
            prop_assert_eq!(shared.commit(change), outcome);
            if outcome.is_err() {
                prop_assert_eq!(state, before);
            }
            prop_assert_eq!(shared.load(), state);
            prop_assert!(unbroken(&state));
        }
    }

    /// Taking a change back restores what was.
    #[test]
    fn undo_is_exact(state in state(), change in change()) {
        let shared = SharedOptions::new(state);
        if let Ok(undo) = shared.commit(change) {
            shared.undo(undo);
        }
        let after = shared.load();
        prop_assert_eq!(after.linger(), state.linger());
        prop_assert_eq!(after, state);
    }

    /// `SO_DONTLINGER` reads as the negation of `l_onoff`.
    #[test]
    fn dont_linger_is_the_negation(state in state()) {
        let socket = winsock::Socket { facts: &TCP, state: &state, phase: Phase::Connected };
        let answer = winsock::get(Some(&socket), &winsock::Thread::default(), &get(Opt::DontLinger, 4)).unwrap();
        prop_assert_eq!(answer.value, Value::Number(u32::from(state.linger().0 == 0)));
    }

    /// Inheriting twice is inheriting once; states stay behind.
    #[test]
    fn inheritance(state in state()) {
        let accepted = inherit(&state);
        prop_assert_eq!(inherit(&accepted), accepted);
        prop_assert_eq!(accepted.number(Number::Error), None);
        prop_assert!(!accepted.flag(Flag::ConditionalAccept));
        for flag in [Flag::ReuseAddr, Flag::KeepAlive, Flag::OobInline, Flag::Broadcast, Flag::ExclusiveAddrUse] {
            prop_assert_eq!(accepted.flag(flag), state.flag(flag));
        }
        for number in [Number::RcvBuf, Number::SndBuf, Number::RcvTimeo, Number::SndTimeo] {
            prop_assert_eq!(accepted.number(number), state.number(number));
        }
        prop_assert_eq!(accepted.linger(), state.linger());
        prop_assert!(unbroken(&accepted));
    }

    /// An answer never writes past what it says, nor past the buffer.
    #[test]
    fn answers_stay_in_their_buffer(case in case(), room in 0..700usize) {
        let socket = winsock::Socket { facts: &case.facts, state: &case.state, phase: case.phase };
        let request = Request { kind: RequestKind::Get, ..case.request() };
        if let Ok(answer) = winsock::get(Some(&socket), &winsock::Thread::default(), &request) {
            let mut out = vec![0xA5; 700];
            let local = Sockaddr { bytes: [1; 28], len: 28 };
            let addresses = Addresses { local: Some(local), remote: Some(local) };
            let written = answer.write(&case.facts, &addresses, &mut out[..room], 0x1000);
            prop_assert!(written <= room && written <= answer.written);
            prop_assert!(answer.written <= case.output_len);
            prop_assert!(out[written..].iter().all(|&byte| byte == 0xA5));
        }
    }
}

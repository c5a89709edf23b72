//! What holds of every policy and every request.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wskguard_core::decide::{Done, Outcome};
use wskguard_core::policy::{Action, MatchInput, PolicyMode, ProcessKey, Verbosity};
use wskguard_core::semantics::Flag;
use wskguard_core::{Mode, catalogue};
use wskguard_policy::encode;

use super::*;
use crate::common::{config, policy as any_policy, request as any_input};

/// Bytes of an input: short, exact, long; mostly small numbers, so that rules are met.
fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..8u32).prop_map(|value| value.to_le_bytes().to_vec()),
        vec(select(vec![0, 1, 2, 255]), 0..10),
    ]
}

/// An option of the catalogue, one of the small world's, or any number.
fn code() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => (0..catalogue::OPTIONS.len()).prop_map(|index| catalogue::OPTIONS[index].code),
        3 => select(vec![SO_REUSEADDR, SO_EXCLUSIVEADDRUSE, SO_RCVBUF, SO_KEEPALIVE]),
        1 => any::<u32>(),
    ]
}

/// A policy's image, the client's and endpoint's part of a request, kind, code, bytes, and the endpoint's own mode.
#[derive(Debug)]
struct Case {
    image: Vec<u8>,
    matched: MatchInput<'static>,
    code: u32,
    input: Vec<u8>,
    own_mode: Option<Mode>,
}

fn case(mode: PolicyMode) -> impl Strategy<Value = Case> {
    let own = select(vec![None, None, Some(Mode::Compat), Some(Mode::Strict)]);
    (any_policy(), any_input(), code(), input(), own).prop_map(move |(mut policy, matched, code, input, own_mode)| {
        policy.settings.mode = mode;
        Case {
            image: encode(&policy).unwrap().0,
            matched,
            code,
            input,
            own_mode,
        }
    })
}

impl Case {
    fn facts(&self) -> EndpointFacts {
        EndpointFacts {
            category: self.matched.category,
            family: self.matched.family,
            protocol: self.matched.protocol,
            ..FACTS
        }
    }

    fn request(&self) -> Request<'_> {
        let kind = match self.matched.request {
            RequestKind::Bind => RequestKind::Set,
            kind => kind,
        };
        Request {
            output_pointer: Pointer::Valid,
            output_len: 8,
            ..request(kind, self.matched.level, self.code, &self.input)
        }
    }

    fn state(&self) -> OptionState {
        configured(EndpointConfig {
            mode: self.own_mode,
            verbose: false,
        })
    }
}

proptest! {
    #![proptest_config(config(3000))]

    /// The rule that decides is the one that the policy finds for the values told.
    #[test]
    fn the_account_is_true(case in case(PolicyMode::Enforce)) {
        let image = Image::parse(&case.image).unwrap();
        let (facts, state, request) = (case.facts(), case.state(), case.request());
        let process: Option<ProcessKey<'_>> = case.matched.process;
        let subject = Asker { facts: &facts, client: case.matched.client, process, ..subject(&state) };
        let verdict = control(Some(&image), &subject, &request);
        let decision = image.evaluate(&MatchInput {
            request: request.kind,
            code: case.code,
            old_value: verdict.old,
            new_value: verdict.asked,
            ..case.matched
        });
        prop_assert_eq!(verdict.rule, Some(decision.rule));
        prop_assert_eq!(verdict.mode, decide::mode(Some(&image), &state));
        match verdict.outcome {
            Outcome::Refuse(refusal) => {
                prop_assert!(!refusal.status.is_success() && verdict.enforced);
                prop_assert_eq!(verdict.refusal, Some(refusal));
                prop_assert_eq!(verdict.new, None);
                prop_assert!(matches!(verdict.done, Done::Denied | Done::Refused));
            }
            Outcome::Succeed => prop_assert_eq!((decision.action, verdict.done), (Action::Succeed, Done::Succeeded)),
            Outcome::Answer(_) => prop_assert_eq!(verdict.done, Done::Answered),
            Outcome::Forward { input, observe, on_get, .. } => {
                prop_assert!(observe || input.is_none() && on_get.is_none());
                prop_assert!(on_get.is_none() || request.kind == RequestKind::Get);
                // What a breach of is told was not carried out.
                prop_assert!(verdict.refusal.is_none() || !verdict.enforced);
            }
        }
        // Whatever is refused or changed is recorded, unless the policy marks what is.
        let told = verdict.done != Done::Forwarded || verdict.refusal.is_some();
        if image.settings().verbosity != Verbosity::Marked {
            prop_assert!(verdict.record || !told);
        }
    }

    /// Under a policy that audits, every request goes down as it came.
    #[test]
    fn an_audit_changes_nothing(case in case(PolicyMode::Audit)) {
        let image = Image::parse(&case.image).unwrap();
        let (facts, state, request) = (case.facts(), case.state(), case.request());
        let subject = Asker { facts: &facts, client: case.matched.client, process: case.matched.process, ..subject(&state) };
        let verdict = control(Some(&image), &subject, &request);
        let untouched = matches!(verdict.outcome, Outcome::Forward { input: None, on_get: None, .. });
        prop_assert!(untouched && verdict.done == Done::Forwarded, "{:?}", verdict);
    }

    /// No rule is passed by under a value that is not the one set: a flag becomes what the rules were asked about.
    #[test]
    fn rules_see_the_value_that_is_set(case in case(PolicyMode::Enforce)) {
        let image = Image::parse(&case.image).unwrap();
        let (facts, state) = (case.facts(), case.state());
        let request = Request { kind: RequestKind::Set, level: SOL_SOCKET, ..case.request() };
        let request = Request { input: &case.input[..capture_len(request.kind, request.level, request.code, case.input.len())], ..request };
        let subject = Asker { facts: &facts, client: case.matched.client, process: case.matched.process, ..subject(&state) };
        let verdict = control(Some(&image), &subject, &request);
        if let Outcome::Forward { commit, .. } = verdict.outcome {
            let set = match commit.op() {
                Op::Flag(flag, on) if flag != Flag::Linger => Some(u64::from(on)),
                Op::DontLinger(on) => Some(u64::from(on)),
                Op::Number(_, number) => Some(u64::from(number)),
                Op::Linger { onoff, seconds } => Some(u64::from(onoff) | u64::from(seconds) << 16),
                _ => None,
            };
            if let Some(set) = set {
                // A boolean that a rule's number turns on is TRUE.
                let new = verdict.new.map(|new| if matches!(commit.op(), Op::Flag(..) | Op::DontLinger(_)) { u64::from(new != 0) } else { new });
                prop_assert_eq!(new, Some(set), "{:?}", verdict);
            }
        }
    }
}

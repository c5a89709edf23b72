//! Sets, gets and IOCTLs, one by one.

use wskguard_core::decide::{Done, Outcome};
use wskguard_core::policy::{Action, ProcessKey, RuleRef};
use wskguard_core::semantics::{Flag, Inline};
use wskguard_core::status::{Reason, Refusal, nt, wsa};
use wskguard_core::{Mode, NtStatus};

use super::*;

/// What a forwarded request takes along: commit, input, whether its completion is seen, what is done to the answer.
#[track_caller]
fn forwarded<'a>(verdict: &Verdict<'a>) -> (Op, Option<Inline>, bool, Option<Action<'a>>) {
    match verdict.outcome {
        Outcome::Forward {
            commit,
            input,
            observe,
            on_get,
        } => (commit.op(), input, observe, on_get),
        other => panic!("{other:?}"),
    }
}

fn ulong(value: u32) -> Inline {
    let [a, b, c, d] = value.to_le_bytes();
    Inline {
        bytes: [a, b, c, d, 0, 0, 0, 0],
        len: 4,
    }
}

#[test]
fn without_a_policy_everything_goes_down_and_breaches_are_told() {
    let state = OptionState::default();
    let plain = control(None, &subject(&state), &set(SO_KEEPALIVE, TRUE));
    assert_eq!(
        forwarded(&plain),
        (Op::Flag(Flag::KeepAlive, true), None, true, None),
        "the record follows the provider"
    );
    assert_eq!((plain.rule, plain.refusal, plain.mode), (None, None, Mode::Audit));
    assert_eq!((plain.old, plain.asked, plain.new), (Some(0), Some(1), Some(1)));
    assert_eq!(
        (plain.done, plain.enforced, plain.record),
        (Done::Forwarded, true, false)
    );

    // One byte is what WSK does not document; it is said, and not acted on.
    let short = control(None, &subject(&state), &set(SO_KEEPALIVE, &[1]));
    assert_eq!(forwarded(&short).1, None);
    assert_eq!(short.refusal, Some(Refusal::new(Reason::Length)));
    assert_eq!(
        (short.done, short.enforced, short.record),
        (Done::Forwarded, false, true)
    );
}

#[test]
fn a_denial_carries_its_status_to_both_worlds() {
    let deny = policy(
        "[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_KEEPALIVE'\nnew = 1\naction = 'deny'\nstatus = 'STATUS_SHARING_VIOLATION'",
    );
    let verdict = fresh(&deny, &set(SO_KEEPALIVE, TRUE));
    let refusal = Refusal {
        status: nt::SHARING_VIOLATION,
        wsa: wsa::EADDRINUSE,
        reason: Reason::Policy,
    };
    assert_eq!(verdict.outcome, Outcome::Refuse(refusal));
    assert_eq!(verdict.refusal, Some(refusal));
    assert_eq!((verdict.done, verdict.rule), (Done::Denied, Some(RuleRef(0))));
    assert_eq!((verdict.asked, verdict.new), (Some(1), None));
    assert!(verdict.enforced && verdict.record);
    // Off is not on.
    let off = fresh(&deny, &set(SO_KEEPALIVE, &[0; 4]));
    assert_eq!(off.rule, Some(RuleRef::DEFAULT));
    let (_, input, observe, _) = forwarded(&off);
    assert_eq!(input, None);
    assert!(
        observe,
        "a rule looked at the value, so the provider gets the copy that it looked at"
    );
}

#[test]
fn a_policy_that_audits_says_what_it_would_have_done() {
    let rules = "[[rule]]\nname = 'no'\nrequest = 'set'\noption = 'SO_KEEPALIVE'\naction = 'deny'\n\
                 [[rule]]\nname = 'yes'\nrequest = 'set'\noption = 'SO_DEBUG'\naction = 'succeed'\n\
                 [[rule]]\nname = 'less'\nrequest = 'set'\noption = 'SO_RCVBUF'\naction = 'clamp'\nmax = 100";
    let audit = policy(&format!("mode = 'audit'\nsemantics = 'strict'\n{rules}"));
    let denied = fresh(&audit, &set(SO_KEEPALIVE, TRUE));
    assert_eq!(forwarded(&denied).1, None);
    assert_eq!(denied.refusal.map(|refusal| refusal.reason), Some(Reason::Policy));
    assert_eq!((denied.enforced, denied.record, denied.new), (false, true, Some(1)));
    for request in [set(SO_DEBUG, TRUE), set(SO_RCVBUF, &[0, 1, 0, 0])] {
        let verdict = fresh(&audit, &request);
        assert_eq!((forwarded(&verdict).1, verdict.done), (None, Done::Forwarded));
        assert_eq!((verdict.enforced, verdict.record, verdict.refusal), (false, true, None));
        assert_eq!(verdict.new, verdict.asked);
    }
    // Nor does it hold anyone to the contract.
    let short = fresh(&audit, &set(SO_RCVBUF, &[1]));
    assert_eq!((forwarded(&short).1, short.mode), (None, Mode::Audit));
    assert_eq!(short.refusal.map(|refusal| refusal.reason), Some(Reason::Length));
}

#[test]
fn success_without_the_provider() {
    let bytes = policy("[[rule]]\nname = 'r'\nrequest = ['set', 'ioctl']\naction = 'succeed'");
    for request in [
        set(SO_KEEPALIVE, TRUE),
        // What the contract would refuse is not asked any more.
        set(SO_RCVBUF, &[1]),
        request(RequestKind::Ioctl, 0, 0x9800_0001, &[]),
    ] {
        let verdict = fresh(&bytes, &request);
        assert_eq!((verdict.outcome, verdict.done), (Outcome::Succeed, Done::Succeeded));
        assert_eq!((verdict.refusal, verdict.enforced, verdict.record), (None, true, true));
    }
}

#[test]
fn a_clamped_set_reaches_the_provider_and_the_record_alike() {
    let clamp = policy(
        "[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_RCVBUF'\naction = 'clamp'\nmin = 4096\nmax = 65536",
    );
    for (asked, given) in [(1u32, 4096), (65537, 65536), (u32::MAX, 65536)] {
        let verdict = fresh(&clamp, &set(SO_RCVBUF, &asked.to_le_bytes()));
        assert_eq!(forwarded(&verdict), (rcvbuf(given), Some(ulong(given)), true, None));
        assert_eq!((verdict.done, verdict.new), (Done::Clamped, Some(u64::from(given))));
        assert_eq!(verdict.asked, Some(u64::from(asked)));
        assert!(verdict.enforced && verdict.record);
    }
    let inside = fresh(&clamp, &set(SO_RCVBUF, &5000u32.to_le_bytes()));
    assert_eq!(forwarded(&inside), (rcvbuf(5000), None, true, None));
    assert_eq!((inside.done, inside.new), (Done::Forwarded, Some(5000)));
    // No number, no range: the provider's to refuse.
    let short = fresh(&clamp, &set(SO_RCVBUF, &[1, 0]));
    assert_eq!((forwarded(&short).1, short.asked), (None, None));
}

#[test]
fn a_forced_set_replaces_even_what_is_no_number() {
    let force = policy(
        "semantics = 'strict'\n[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_RCVBUF'\naction = 'force'\nvalue = 8192",
    );
    for input in [&[][..], &[1], &[1, 0, 0, 0], &[0; 64]] {
        let verdict = fresh(&force, &set(SO_RCVBUF, input));
        assert_eq!(forwarded(&verdict), (rcvbuf(8192), Some(ulong(8192)), true, None));
        assert_eq!((verdict.done, verdict.new), (Done::Forced, Some(8192)));
        assert_eq!(
            verdict.refusal, None,
            "the contract is held against what the provider is given"
        );
    }
    // A buffer that is not there is replaced too.
    let missing = Request {
        input_pointer: Pointer::Null,
        ..set(SO_RCVBUF, &[])
    };
    assert_eq!(forwarded(&fresh(&force, &missing)).1, Some(ulong(8192)));
    let same = fresh(&force, &set(SO_RCVBUF, &8192u32.to_le_bytes()));
    assert_eq!((forwarded(&same).1, same.done), (None, Done::Forwarded));
}

#[test]
fn a_map_replaces_what_it_lists() {
    let map = policy(
        "[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_RCVBUF'\naction = 'rewrite'\nmap = { '0' = 8192, '>65536' = 65536 }",
    );
    for (asked, given, done) in [
        (0u32, 8192u32, Done::Rewritten),
        (7, 7, Done::Forwarded),
        (65536, 65536, Done::Forwarded),
        (65537, 65536, Done::Rewritten),
    ] {
        let verdict = fresh(&map, &set(SO_RCVBUF, &asked.to_le_bytes()));
        assert_eq!((verdict.done, verdict.new), (done, Some(u64::from(given))), "{asked}");
        assert_eq!(forwarded(&verdict).0, rcvbuf(given));
    }
}

#[test]
fn gets_are_changed_on_their_way_back() {
    let bytes = policy(
        "[[rule]]\nname = 'c'\nrequest = 'get'\noption = 'SO_RCVBUF'\naction = 'clamp'\nmax = 100\n\
         [[rule]]\nname = 'f'\nrequest = 'get'\noption = 'SO_KEEPALIVE'\naction = 'force'\nvalue = 0\n\
         [[rule]]\nname = 'm'\nrequest = 'get'\noption = 'SO_ERROR'\naction = 'rewrite'\nmap = { '1' = 2 }",
    );
    for (code, done) in [
        (SO_RCVBUF, Done::Clamped),
        (SO_KEEPALIVE, Done::Forced),
        (0x1007, Done::Rewritten),
    ] {
        let verdict = fresh(&bytes, &get(code));
        let (op, input, observe, on_get) = forwarded(&verdict);
        assert_eq!((op, input, observe, verdict.done), (Op::None, None, true, done));
        assert!(on_get.is_some_and(Action::is_substitution) && verdict.record);
        assert_eq!((verdict.asked, verdict.new), (None, None), "a get asks for no value");
    }
    let other = fresh(&bytes, &get(SO_REUSEADDR));
    assert_eq!(forwarded(&other), (Op::None, None, false, None));
    assert!(!other.record);
    // A set of the same option is another request.
    assert_eq!(
        fresh(&bytes, &set(SO_RCVBUF, &1000u32.to_le_bytes())).done,
        Done::Forwarded
    );
}

#[test]
fn the_contract_has_the_last_word_on_a_rules_value() {
    let force = "[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_REUSEADDR'\naction = 'force'\nvalue = 1";
    let exclusive = state(&[Op::Flag(Flag::ExclusiveAddrUse, true)]);
    let compat = policy(&format!("semantics = 'compat'\n{force}"));
    let verdict = on(&compat, &exclusive, &set(SO_REUSEADDR, &[0; 4]));
    assert_eq!(
        verdict.outcome,
        Outcome::Refuse(Refusal::new(Reason::ReuseXorExclusive))
    );
    assert_eq!((verdict.done, verdict.new), (Done::Refused, None));
    assert_eq!(verdict.refusal, Some(Refusal::new(Reason::ReuseXorExclusive)));
    assert!(verdict.enforced && verdict.record);
    // In a mode that only watches, it goes down, and both are told.
    let audit = policy(&format!("semantics = 'audit'\n{force}"));
    let verdict = on(&audit, &exclusive, &set(SO_REUSEADDR, &[0; 4]));
    assert_eq!((forwarded(&verdict).1, verdict.done), (Some(ulong(1)), Done::Forced));
    assert_eq!(verdict.refusal.map(|r| r.reason), Some(Reason::ReuseXorExclusive));
    assert!(!verdict.enforced);
}

#[test]
fn what_the_record_answers_by_itself() {
    let compat = policy("semantics = 'compat'");
    let config = EndpointConfig {
        mode: None,
        verbose: true,
    };
    let verdict = fresh(&compat, &set(PVD_CONFIG, &config.bytes()));
    assert!(matches!(verdict.outcome, Outcome::Answer(answer) if answer.commit.op() == Op::Config(config)));
    assert_eq!(verdict.done, Done::Answered);
    assert!(verdict.record, "an answer in the provider's place is a change");
}

#[test]
fn rules_see_who_asks() {
    let deny = |condition: &str| {
        policy(&format!(
            "[[rule]]\nname = 'r'\nrequest = 'set'\noption = 'SO_KEEPALIVE'\n{condition}\naction = 'deny'"
        ))
    };
    let state = OptionState::default();
    let plain = subject(&state);
    let inet6 = EndpointFacts {
        family: Family::INET6,
        ..FACTS
    };
    let datagram = EndpointFacts {
        category: Category::Datagram,
        socket_type: SocketType::Dgram,
        protocol: 17,
        ..FACTS
    };
    let quic = Asker {
        client: ClientKey::new(b"msquic.sys", [0; 16]),
        ..subject(&state)
    };
    let owned = || Asker {
        process: Some(ProcessKey::new(4, b"system")),
        ..subject(&state)
    };
    let cases = [
        ("client = 'MsQuic.sys'", quic),
        ("process = 4", owned()),
        ("process = 'given'", owned()),
        (
            "family = 'inet6'",
            Asker {
                facts: &inet6,
                ..subject(&state)
            },
        ),
        (
            "protocol = 'udp'",
            Asker {
                facts: &datagram,
                ..subject(&state)
            },
        ),
        (
            "category = 'datagram'",
            Asker {
                facts: &datagram,
                ..subject(&state)
            },
        ),
    ];
    for (condition, subject) in cases {
        let bytes = deny(condition);
        let image = Image::parse(&bytes).unwrap();
        let decided = |subject| control(Some(&image), subject, &set(SO_KEEPALIVE, TRUE)).done;
        assert_eq!(decided(&subject), Done::Denied, "{condition}");
        assert_eq!(decided(&plain), Done::Forwarded, "{condition}");
    }
}

#[test]
fn an_ioctl_has_no_level_and_no_value() {
    let bytes = policy("[[rule]]\nname = 'r'\nrequest = 'ioctl'\ncode = 0x98000001\naction = 'deny'");
    for level in [0, 6, SOL_SOCKET] {
        let verdict = fresh(&bytes, &request(RequestKind::Ioctl, level, 0x9800_0001, TRUE));
        assert_eq!((verdict.done, verdict.asked, verdict.old), (Done::Denied, None, None));
    }
    let other = fresh(&bytes, &request(RequestKind::Ioctl, 0, 0x9800_0002, TRUE));
    assert_eq!(forwarded(&other), (Op::None, None, false, None));
    // The same number as an option is no ioctl.
    assert_eq!(fresh(&bytes, &set(0x9800_0001, TRUE)).done, Done::Forwarded);
}

#[test]
fn the_default_can_refuse() {
    let bytes = policy("default = 'deny'\n[[rule]]\nname = 'r'\nrequest = 'get'\naction = 'allow'");
    let verdict = fresh(&bytes, &set(SO_KEEPALIVE, TRUE));
    assert_eq!(
        (verdict.done, verdict.rule, verdict.refusal.map(|r| r.status)),
        (Done::Denied, Some(RuleRef::DEFAULT), Some(NtStatus(0xC000_0022)))
    );
    let allowed = fresh(&bytes, &get(SO_KEEPALIVE));
    assert_eq!((allowed.done, allowed.rule), (Done::Forwarded, Some(RuleRef(0))));
}

#[test]
fn what_is_recorded() {
    let rules = "[[rule]]\nname = 'marked'\nrequest = 'set'\noption = 'SO_KEEPALIVE'\naction = 'audit'\n\
                 [[rule]]\nname = 'denied'\nrequest = 'set'\noption = 'SO_REUSEADDR'\naction = 'deny'";
    let verbose = state(&[Op::Flag(Flag::Debug, true)]);
    let config = configured(EndpointConfig {
        mode: None,
        verbose: true,
    });
    // Which of: a marked rule's, a refused one, any.
    for (verbosity, expected) in [
        ("marked", [true, false, false]),
        ("changes", [true, true, false]),
        ("all", [true, true, true]),
    ] {
        let bytes = policy(&format!("audit = '{verbosity}'\n{rules}"));
        let requests = [SO_KEEPALIVE, SO_REUSEADDR, SO_EXCLUSIVEADDRUSE].map(|code| set(code, TRUE));
        let recorded = requests.map(|request| fresh(&bytes, &request).record);
        assert_eq!(recorded, expected, "{verbosity}");
        for state in [&verbose, &config] {
            assert!(requests.iter().all(|request| on(&bytes, state, request).record));
        }
    }
    assert!(control(None, &subject(&verbose), &get(SO_RCVBUF)).record);
}

#[test]
fn the_mode_in_force_is_the_stricter_one_unless_only_audited() {
    let modes = [
        ("off", Mode::Off),
        ("audit", Mode::Audit),
        ("compat", Mode::Compat),
        ("strict", Mode::Strict),
    ];
    for (word, policys) in modes {
        for asked in [
            None,
            Some(Mode::Off),
            Some(Mode::Audit),
            Some(Mode::Compat),
            Some(Mode::Strict),
        ] {
            let state = configured(EndpointConfig {
                mode: asked,
                verbose: false,
            });
            let stricter = asked.map_or(policys, |asked| asked.max(policys));
            let mode = |policy_mode: &str| {
                let bytes = policy(&format!("mode = '{policy_mode}'\nsemantics = '{word}'"));
                decide::mode(Some(&Image::parse(&bytes).unwrap()), &state)
            };
            assert_eq!(mode("enforce"), stricter, "{word} {asked:?}");
            assert_eq!(mode("audit"), stricter.min(Mode::Audit), "{word} {asked:?}");
            assert_eq!(decide::mode(None, &state), Mode::Audit, "no policy, nothing refused");
        }
    }
}

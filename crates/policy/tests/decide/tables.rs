//! That usual requests are decided by the tables at all: elsewhere the long way would decide the same, and take longer.

use wskguard_core::policy::RuleRef;

use super::*;

const SO_SNDBUF: u32 = 0x1001;

/// A rule for one category, one with a condition, one that refuses gets of datagram sockets.
const RULES: &str = r#"
semantics = "audit"

[[rule]]
name = "buffers"
request = "set"
option = "SO_RCVBUF"
category = "connection"
action = "clamp"
min = 4096
max = 65536

[[rule]]
name = "alive"
request = "set"
option = "SO_KEEPALIVE"
new = 1
action = "deny"

[[rule]]
name = "gets"
request = "get"
option = "SO_KEEPALIVE"
category = "datagram"
action = "deny"
"#;

const DATAGRAM: EndpointFacts = EndpointFacts {
    category: Category::Datagram,
    socket_type: SocketType::Dgram,
    protocol: 17,
    ..FACTS
};

/// Calls `see` with the policy as the driver has it.
fn in_force<R>(text: &str, see: impl FnOnce(InForce<'_, '_>) -> R) -> R {
    let bytes = policy(text);
    let image = Image::parse(&bytes).unwrap();
    let tables = Tables::new(Heap, &image).unwrap();
    see(InForce {
        image: Some(&image),
        tables: tables.as_ref(),
    })
}

fn datagram(state: &OptionState) -> Asker<'static> {
    Asker {
        facts: &DATAGRAM,
        ..subject(state)
    }
}

#[test]
fn usual_sets() {
    let fresh = OptionState::default();
    let large = 0x10_0000_u32.to_le_bytes();
    in_force(RULES, |policy| {
        let usual = |asker: &Asker<'_>, code| decide::usual_set(policy, asker, &set(code, &large));
        let clamped = usual(&subject(&fresh), SO_RCVBUF).unwrap();
        assert_eq!(
            (clamped.done, clamped.rule, clamped.new),
            (Done::Clamped, Some(RuleRef(0)), Some(65536))
        );
        assert!(clamped.record, "a change is recorded");
        for (asker, code) in [(datagram(&fresh), SO_RCVBUF), (subject(&fresh), SO_SNDBUF)] {
            let forwarded = usual(&asker, code).unwrap();
            assert_eq!(
                (forwarded.done, forwarded.rule),
                (Done::Forwarded, Some(RuleRef::DEFAULT))
            );
            assert!(!forwarded.record);
        }
        // Not foregone: a rule looks at the value. Not usual: the value; an endpoint that is not like others.
        let set_true = |state| decide::usual_set(policy, &subject(state), &set(SO_KEEPALIVE, TRUE));
        assert!(set_true(&fresh).is_none());
        assert!(usual(&subject(&fresh), SO_REUSEADDR).is_none());
        let strict = configured(EndpointConfig {
            mode: Some(wskguard_core::Mode::Strict),
            verbose: false,
        });
        for odd in [state(&[Op::Flag(Flag::Debug, true)]), strict] {
            assert!(usual(&subject(&odd), SO_RCVBUF).is_none());
        }
    });
    in_force("audit = \"all\"", |policy| {
        let recorded = decide::usual_set(policy, &subject(&fresh), &set(SO_RCVBUF, &large)).unwrap();
        assert!(recorded.record);
    });
    // Whatever the policy only would do, is for the long way.
    in_force(&RULES.replace("semantics", "mode = \"audit\"\nsemantics"), |policy| {
        assert!(decide::usual_set(policy, &subject(&fresh), &set(SO_RCVBUF, &large)).is_none());
    });
}

#[test]
fn forced_sets() {
    let forced =
        "[[rule]]\nname = \"forced\"\nrequest = \"set\"\noption = \"SO_RCVBUF\"\naction = \"force\"\nvalue = 4096";
    let fresh = OptionState::default();
    let usual = |text: &str| {
        in_force(text, |policy| {
            let verdict = decide::usual_set(policy, &subject(&fresh), &set(SO_RCVBUF, TRUE))?;
            Some((verdict.done, verdict.new))
        })
    };
    assert_eq!(usual(forced), Some((Done::Forced, Some(4096))));
    assert_eq!(usual(&format!("mode = \"audit\"\n{forced}")), None);
}

#[test]
fn gets_that_pass() {
    let fresh = OptionState::default();
    in_force(RULES, |policy| {
        let passes = |asker: &Asker<'_>, code| decide::passes(policy, asker, &get(code));
        assert_eq!(passes(&subject(&fresh), SO_KEEPALIVE), Some(Some(RuleRef::DEFAULT)));
        assert_eq!(passes(&datagram(&fresh), SO_RCVBUF), Some(Some(RuleRef::DEFAULT)));
        assert_eq!(passes(&datagram(&fresh), SO_KEEPALIVE), None, "a rule refuses it");
        let verbose = state(&[Op::Flag(Flag::Debug, true)]);
        assert_eq!(passes(&subject(&verbose), SO_KEEPALIVE), None);
    });
    in_force("semantics = \"audit\"\naudit = \"all\"", |policy| {
        assert_eq!(
            decide::passes(policy, &subject(&fresh), &get(SO_KEEPALIVE)),
            None,
            "recorded"
        );
    });
    // The record may have to answer.
    in_force("semantics = \"compat\"", |policy| {
        let given = state(&[Op::Flag(Flag::KeepAlive, true)]);
        assert_eq!(decide::passes(policy, &subject(&given), &get(SO_KEEPALIVE)), None);
    });
    let none = decide::passes(InForce::default(), &subject(&fresh), &get(SO_KEEPALIVE));
    assert_eq!(none, Some(None), "without a policy");
}

/// Those of the transport and of the protocols below: only the policy may have something against them.
#[test]
fn options_outside_the_catalogue_pass() {
    const IPPROTO_TCP: u32 = 6;
    const TCP_NODELAY: u32 = 1;
    let fresh = OptionState::default();
    let nodelay = |kind| request(kind, IPPROTO_TCP, TCP_NODELAY, TRUE);
    let default = Some(Some(RuleRef::DEFAULT));
    let rule = |text: &str| format!("[[rule]]\nname = \"one\"\nrequest = \"set\"\n{text}");
    let passes = |text: &str, kind| in_force(text, |policy| decide::passes(policy, &subject(&fresh), &nodelay(kind)));
    for kind in [RequestKind::Set, RequestKind::Get] {
        assert_eq!(passes(RULES, kind), default);
        assert_eq!(passes("semantics = \"strict\"", kind), default);
        assert_eq!(passes("audit = \"all\"", kind), None, "recorded");
        assert_eq!(passes("default = \"deny\"", kind), None);
        let none = decide::passes(InForce::default(), &subject(&fresh), &nodelay(kind));
        assert_eq!(none, Some(None), "without a policy");
    }
    let of_level = rule("level = 6\naction = \"deny\"");
    assert_eq!(passes(&of_level, RequestKind::Set), None, "a rule refuses it");
    assert_eq!(passes(&of_level, RequestKind::Get), default);
    let allowed = rule("level = 6\naction = \"allow\"");
    assert_eq!(passes(&allowed, RequestKind::Set), None, "its hit counts");
    let of_another = rule("level = 6\ncategory = \"datagram\"\naction = \"deny\"");
    assert_eq!(passes(&of_another, RequestKind::Set), default);
    let verbose = state(&[Op::Flag(Flag::Debug, true)]);
    let dead = Asker {
        phase: Phase::KeepAliveFailed,
        ..subject(&fresh)
    };
    in_force(RULES, |policy| {
        for odd in [subject(&verbose), dead] {
            assert_eq!(decide::passes(policy, &odd, &nodelay(RequestKind::Set)), None);
        }
        let ioctl = Request {
            code: 0x7777,
            ..nodelay(RequestKind::Ioctl)
        };
        assert_eq!(decide::passes(policy, &subject(&fresh), &ioctl), None);
    });
}

//! Explain, diff and learn, on policies small enough to see through.

use wskguard_core::policy::{AddressClass, BindInput, ClientKey, Image, MatchInput, RuleRef, Sharing};
use wskguard_core::{Category, RequestKind, SOL_SOCKET};
use wskguard_policy::{Observed, compile, diff, explain, learn};

const RULES: &str = r#"
schema = 1
name = "rules"

[[rule]]
name = "gets"
request = "get"
action = "allow"

[[rule]]
name = "another option"
request = "set"
option = "SO_KEEPALIVE"
action = "allow"

[[rule]]
name = "datagrams"
request = "set"
option = "SO_RCVBUF"
category = "datagram"
action = "allow"

[[rule]]
name = "small"
request = "set"
option = "SO_RCVBUF"
new = "..=4096"
action = "allow"

[[rule]]
name = "for msquic"
request = "set"
option = "SO_RCVBUF"
client = "msquic.sys"
action = "allow"

[[rule]]
name = "ceiling"
description = "Nobody needs more."
request = "set"
option = "SO_RCVBUF"
action = "clamp"
max = 65536
"#;

fn compiled(text: &str) -> Vec<u8> {
    compile("test", text)
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
        .image
}

#[test]
fn explain_says_why_not() {
    let bytes = compiled(RULES);
    let image = Image::parse(&bytes).unwrap();
    let mut input = MatchInput::new(RequestKind::Set, SOL_SOCKET, 0x1002, Category::Connection);
    input.new_value = Some(100_000);
    input.client = ClientKey::new(b"afd.sys", [0; 16]);
    let explanation = explain(&image, &input);
    assert_eq!((explanation.rule, explanation.value), (Some(5), Some(65536)));
    assert_eq!(
        explanation.render(false),
        "\
passed   datagrams: category is connection, not datagram
passed   small: new is 100000, not ..=4096
passed   for msquic: client is afd.sys {00000000-0000-0000-0000-000000000000}, not msquic.sys
passed   2 for other requests or options
decided  ceiling: clamp to ..=65536
         Nobody needs more.
         the provider is given 65536
"
    );
    assert!(explanation.render(true).starts_with(
        "passed   gets: request is set, not get\npassed   another option: option is SO_RCVBUF, not SO_KEEPALIVE\n"
    ));
    input.code = 0x80;
    let explanation = explain(&image, &input);
    assert_eq!(
        explanation.render(false),
        "passed   6 for other requests or options\ndecided  default: allow\n"
    );
}

#[test]
fn diff_names_what_changed() {
    let old = compiled(RULES);
    let new = RULES
        .replace("name = \"rules\"", "name = \"rules\"\nmode = \"audit\"\nlinger-max = 9")
        .replace("max = 65536", "max = 32768\naudit = true")
        .replace("[[rule]]\nname = \"gets\"\nrequest = \"get\"\naction = \"allow\"\n", "")
        + "[[rule]]\nname = \"binds\"\nrequest = \"bind\"\naction = \"audit\"\n"
        + "[[initial]]\noption = \"SO_KEEPALIVE\"\nvalue = 1\ncategory = \"listen\"\n";
    let keepalive =
        "[[rule]]\nname = \"another option\"\nrequest = \"set\"\noption = \"SO_KEEPALIVE\"\naction = \"allow\"\n";
    let new = new.replacen(keepalive, "", 1) + keepalive;
    let new = compiled(&new);
    let (old, new) = (Image::parse(&old).unwrap(), Image::parse(&new).unwrap());
    assert_eq!(
        diff(&old, &new).to_string(),
        "\
~ mode: \"enforce\" -> \"audit\"
~ linger-max: 5 -> 9
+ initial category = \"listen\", option = \"SO_KEEPALIVE\", value = 1
- rule gets
~ rule ceiling: max: 65536 -> 32768
~ rule ceiling: audit: (not given) -> true
+ rule binds, after ceiling
~ rule another option: now after binds
"
    );
    assert!(diff(&old, &old).0.is_empty());
}

fn observed(request: RequestKind, code: u32, value: Option<u64>, when: &'static str) -> Observed<'static> {
    Observed {
        request,
        level: SOL_SOCKET,
        code,
        category: Category::Listen,
        client: "Probe.sys",
        value,
        bind: None,
        status: 0,
        when,
    }
}

fn seen() -> Vec<Observed<'static>> {
    let wildcard = |port| {
        let sharing = Sharing {
            reuse: true,
            exclusive: false,
        };
        Some(BindInput {
            port,
            address: AddressClass::Wildcard,
            sharing,
        })
    };
    let mut seen = vec![
        observed(RequestKind::Set, 0x4, Some(1), "10:00"),
        observed(RequestKind::Set, 0x4, Some(0), "10:01"),
        Observed {
            status: 0xC000_0022,
            ..observed(RequestKind::Set, 0x4, Some(1), "10:02")
        },
        observed(RequestKind::Get, 0x80, None, "10:03"),
        observed(RequestKind::Set, 0x80, None, "10:03"),
        observed(RequestKind::Set, 0x80, Some(5), "10:04"),
        observed(RequestKind::Ioctl, 0xCF00_0002, None, "10:05"),
        Observed {
            client: "",
            ..observed(RequestKind::Set, 0x7777, None, "10:06\nmode = \"enforce\"")
        },
        Observed {
            bind: wildcard(0),
            ..observed(RequestKind::Bind, 0, None, "10:07")
        },
        Observed {
            bind: wildcard(8080),
            ..observed(RequestKind::Bind, 0, None, "10:08")
        },
    ];
    seen.extend((0..20).map(|value| observed(RequestKind::Set, 0x1002, Some(1000 * value), "10:09")));
    seen
}

fn input(observed: &Observed<'static>) -> MatchInput<'static> {
    let mut input = MatchInput::new(observed.request, observed.level, observed.code, observed.category);
    input.client = ClientKey::new(if observed.client.is_empty() { b"" } else { b"probe.sys" }, [0; 16]);
    input.new_value = observed.value;
    input.bind = observed.bind.unwrap_or(input.bind);
    input
}

#[test]
fn a_learned_policy_allows_what_was_seen_and_nothing_else() {
    let text = learn("draft", seen());
    let bytes = compiled(&text);
    let image = Image::parse(&bytes).unwrap();
    for observed in seen() {
        let decision = image.evaluate(&input(&observed));
        assert_ne!(decision.rule, RuleRef::DEFAULT, "{observed:?}\n{text}");
        assert!(!decision.action.is_final() && !decision.enforce);
    }
    let refused = |observed| image.evaluate(&input(&observed)).action.is_final();
    assert!(refused(observed(RequestKind::Set, 0x4, Some(2), "")));
    assert!(refused(observed(RequestKind::Set, 0x8, Some(1), "")));
    assert!(refused(observed(RequestKind::Set, 0x1002, Some(19_001), "")));
    assert!(refused(Observed {
        category: Category::Datagram,
        ..observed(RequestKind::Set, 0x4, Some(1), "")
    }));
    assert!(refused(Observed {
        client: "",
        ..observed(RequestKind::Set, 0x4, Some(1), "")
    }));
    assert!(!refused(observed(RequestKind::Set, 0x1002, Some(19_000), "")));
}

#[test]
fn a_learned_policy_says_where_each_rule_is_from() {
    let text = learn("draft", seen());
    let reuse = "\
# Seen 3 times, 10:00 to 10:02; STATUS_SUCCESS 2, STATUS_ACCESS_DENIED 1.
[[rule]]
name = \"Probe.sys set listen SO_REUSEADDR\"
request = \"set\"
option = \"SO_REUSEADDR\"
category = \"listen\"
new = \"..=1\"
client = \"probe.sys\"
action = \"allow\"
";
    assert!(text.contains(reuse), "{text}");
    assert!(text.contains("port = [\"ephemeral\", 8080]\n"), "{text}");
    // What a record says stays in its comment.
    assert!(
        text.contains("# Seen once, 10:06 mode = \"enforce\"; STATUS_SUCCESS 1.\n"),
        "{text}"
    );
}

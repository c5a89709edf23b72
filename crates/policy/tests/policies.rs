//! The ready-made policies do what they say.

use wskguard_core::policy::{
    Action, AddressClass, BindInput, Image, Interest, MatchInput, PolicyMode, Sharing, Verbosity,
};
use wskguard_core::{Category, NtStatus, RequestKind, SOL_SOCKET};
use wskguard_policy::compile;

const SO_REUSEADDR: u32 = 0x4;
const SO_EXCLUSIVEADDRUSE: u32 = 0xFFFF_FFFB;
const SO_SNDBUF: u32 = 0x1001;
const SO_RCVBUF: u32 = 0x1002;
const ACCESS_DENIED: Action<'static> = Action::Deny(NtStatus(0xC000_0022));
const SHARING_VIOLATION: Action<'static> = Action::Deny(NtStatus(0xC000_0043));

fn compiled(file: &str) -> Vec<u8> {
    let path = format!("{}/../../policies/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    match compile(file, &text) {
        Ok(compiled) => {
            assert!(compiled.warnings.list().is_empty(), "{}", compiled.warnings);
            compiled.image
        }
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn set(code: u32, category: Category, value: u64) -> MatchInput<'static> {
    MatchInput {
        new_value: Some(value),
        ..MatchInput::new(RequestKind::Set, SOL_SOCKET, code, category)
    }
}

fn bind(category: Category, port: u16, address: AddressClass, reuse: bool) -> MatchInput<'static> {
    let bind = BindInput {
        port,
        address,
        sharing: Sharing {
            reuse,
            exclusive: false,
        },
    };
    MatchInput {
        bind,
        ..MatchInput::new(RequestKind::Bind, 0, 0, category)
    }
}

/// The name of the rule that decides, and its action.
fn decide<'a>(image: &Image<'a>, input: &MatchInput<'_>) -> (&'a str, Action<'a>) {
    let decision = image.evaluate(input);
    let rule = image.rule(decision.rule.counter(image.rule_count()));
    (rule.map_or("default", |rule| rule.name()), decision.action)
}

#[test]
fn every_file_is_tested_here() {
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "audit-everything.toml",
            "buffer-limits.toml",
            "demo.toml",
            "port-hijack-hardening.toml"
        ]
    );
}

#[test]
fn demo() {
    let bytes = compiled("demo.toml");
    let image = Image::parse(&bytes).unwrap();
    let first = ("no-reuseaddr-on-listeners", ACCESS_DENIED);
    assert_eq!(decide(&image, &set(SO_REUSEADDR, Category::Listen, 1)), first);
    assert_eq!(decide(&image, &set(SO_REUSEADDR, Category::Stream, 1)), first);
    let default = ("default", Action::Allow);
    assert_eq!(decide(&image, &set(SO_REUSEADDR, Category::Listen, 0)), default);
    assert_eq!(decide(&image, &set(SO_REUSEADDR, Category::Datagram, 1)), default);
    assert_eq!(decide(&image, &set(SO_EXCLUSIVEADDRUSE, Category::Listen, 1)), default);
    // The same number at another level, and as a get, is another request.
    assert_eq!(
        decide(
            &image,
            &MatchInput {
                level: 6,
                ..set(SO_REUSEADDR, Category::Listen, 1)
            }
        ),
        default
    );
    assert_eq!(
        decide(
            &image,
            &MatchInput {
                request: RequestKind::Get,
                ..set(SO_REUSEADDR, Category::Listen, 1)
            }
        ),
        default
    );
    assert_eq!(
        decide(
            &image,
            &MatchInput {
                request: RequestKind::Ioctl,
                ..set(SO_REUSEADDR, Category::Listen, 1)
            }
        ),
        default
    );

    let shared = bind(Category::Datagram, 8080, AddressClass::Wildcard, true);
    assert_eq!(decide(&image, &shared), ("no-port-sharing", ACCESS_DENIED));
    assert_eq!(
        decide(&image, &bind(Category::Datagram, 8080, AddressClass::Wildcard, false)),
        default
    );
    assert_eq!(
        decide(&image, &bind(Category::Datagram, 0, AddressClass::Wildcard, true)),
        default
    );

    let (rule, action) = decide(&image, &set(SO_RCVBUF, Category::Connection, 1 << 20));
    assert_eq!((rule, action.apply(Some(1 << 20))), ("rcvbuf-ceiling", Some(65536)));
    assert_eq!(action.apply(Some(4096)), Some(4096));
    assert_eq!(action.apply(Some(0xFFFF_FFFF)), Some(65536));
}

#[test]
fn what_a_bind_rule_reads_is_seen_of_its_categories_only() {
    let text = "schema = 1\nname = 'b'\n[[rule]]\nname = 'b'\nrequest = 'bind'\ncategory = 'connection'\nsharing = 'reuse'\naction = 'deny'";
    let bytes = compile("b.toml", text).unwrap().image;
    let image = Image::parse(&bytes).unwrap();
    let seen = |category| {
        image
            .interest(RequestKind::Set, SOL_SOCKET, SO_REUSEADDR, category)
            .complete
    };
    assert!(seen(Category::Connection));
    assert!(!seen(Category::Datagram));
}

#[test]
fn demo_leaves_what_it_does_not_name_alone() {
    let bytes = compiled("demo.toml");
    let image = Image::parse(&bytes).unwrap();
    let nothing = Interest::default();
    let both = Interest {
        decide: true,
        complete: true,
    };
    let set = |code, category| image.interest(RequestKind::Set, SOL_SOCKET, code, category);
    assert_eq!(set(0x8, Category::Connection), nothing);
    assert_eq!(set(SO_RCVBUF, Category::Connection), both);
    assert_eq!(
        image.interest(RequestKind::Get, SOL_SOCKET, SO_RCVBUF, Category::Connection),
        nothing
    );
    assert_eq!(set(SO_REUSEADDR, Category::Listen), both);
    // No rule decides it there, but the bind rule reads what it leaves on record.
    assert_eq!(
        set(SO_REUSEADDR, Category::Datagram),
        Interest {
            decide: false,
            complete: true
        }
    );
    assert_eq!(
        set(SO_EXCLUSIVEADDRUSE, Category::Datagram),
        Interest {
            decide: false,
            complete: true
        }
    );
}

#[test]
fn port_hijack_hardening() {
    let bytes = compiled("port-hijack-hardening.toml");
    let image = Image::parse(&bytes).unwrap();
    let (wildcard, specific) = (AddressClass::Wildcard, AddressClass::Specific);
    let decide = |input| decide(&image, &input);
    assert_eq!(decide(set(SO_REUSEADDR, Category::Listen, 1)).1, ACCESS_DENIED);
    assert_eq!(
        decide(bind(Category::Datagram, 5353, wildcard, true)),
        ("multicast-receivers-may-share", Action::Allow)
    );
    assert_eq!(
        decide(bind(Category::Datagram, 53, wildcard, true)),
        ("no-sharing-of-named-ports", SHARING_VIOLATION)
    );
    assert_eq!(
        decide(bind(Category::Listen, 5353, wildcard, true)).1,
        SHARING_VIOLATION
    );
    assert_eq!(
        decide(bind(Category::Stream, 445, wildcard, false)),
        ("wildcard-listeners-are-exclusive", Action::Exclusive)
    );
    assert_eq!(decide(bind(Category::Stream, 445, specific, false)).0, "default");
    assert_eq!(
        decide(set(SO_EXCLUSIVEADDRUSE, Category::Listen, 0)),
        ("no-giving-up-exclusive-use", ACCESS_DENIED)
    );
    let initial = |category| -> Vec<_> {
        let new = MatchInput::new(RequestKind::Set, 0, 0, category);
        image
            .initial_options(&new)
            .map(|option| (option.level, option.code, option.value))
            .collect()
    };
    assert_eq!(initial(Category::Listen), [(SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)]);
    assert_eq!(initial(Category::Datagram), []);
}

#[test]
fn buffer_limits() {
    let bytes = compiled("buffer-limits.toml");
    let image = Image::parse(&bytes).unwrap();
    for (code, category, asked, granted) in [
        (SO_SNDBUF, Category::Connection, 0, 0),
        (SO_SNDBUF, Category::Connection, 1, 4096),
        (SO_SNDBUF, Category::Connection, 1 << 30, 4 << 20),
        (SO_RCVBUF, Category::Datagram, 8192, 65536),
        (SO_RCVBUF, Category::Datagram, 1 << 30, 8 << 20),
        (SO_RCVBUF, Category::Connection, 8192, 8192),
        (SO_RCVBUF, Category::Listen, 0, 4096),
    ] {
        let (rule, action) = decide(&image, &set(code, category, asked));
        assert_eq!(action.apply(Some(asked)), Some(granted), "{rule}");
    }
}

#[test]
fn audit_everything() {
    let bytes = compiled("audit-everything.toml");
    let image = Image::parse(&bytes).unwrap();
    assert_eq!(image.settings().mode, PolicyMode::Audit);
    assert_eq!(image.settings().verbosity, Verbosity::All);
    for request in [
        RequestKind::Set,
        RequestKind::Get,
        RequestKind::Ioctl,
        RequestKind::Bind,
    ] {
        let decision = image.evaluate(&MatchInput::new(request, 41, 27, Category::Basic));
        assert!(decision.verbose && !decision.enforce && decision.action == Action::Allow);
        let interest = image.interest(request, 41, 27, Category::Basic);
        assert!(interest.decide && interest.complete);
    }
}

#[test]
fn the_image_of_a_driver_that_is_off_is_current() {
    let text = include_str!("../../core/src/policy/off.toml");
    let image = compile("off.toml", text).unwrap().image;
    if std::env::var_os("UPDATE_IMAGES").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/policy/off.image");
        std::fs::write(file, &image).unwrap();
    }
    assert_eq!(
        wskguard_core::policy::OFF,
        image,
        "run this test with UPDATE_IMAGES=1, twice"
    );
    let settings = Image::parse(&image).unwrap().settings();
    assert_eq!(
        (settings.mode, settings.semantics, settings.verbosity),
        (PolicyMode::Audit, wskguard_core::Mode::Off, Verbosity::Marked)
    );
}

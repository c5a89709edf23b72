//! Any bytes as an image, and edits of a valid one, each with the right size and hash: refused, or an image on which the evaluator
//! agrees with its rules taken one by one. Seeds: `policies/` and [`SEED`], as `wskguardctl policy check --output` compiles them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wskguard_core::policy::{AddressClass, BindInput, ClientKey, Fnv, Image, MatchInput, ProcessKey, RuleRef, Sharing, layout};
use wskguard_core::{Category, Family, RequestKind};

/// A policy with every kind of condition and action.
const SEED: &str = r#"
schema = 1
name = "seed"
[[initial]]
option = "SO_KEEPALIVE"
client = "a.sys"
value = 1
[[rule]]
name = "a"
request = "set"
option = "SO_RCVBUF"
new = [1, ">4096"]
client = ["a.sys", "{01010101-0101-0101-0101-010101010101}"]
process = [4, "none", "given"]
action = "clamp"
max = 65536
[[rule]]
name = "b"
request = ["set", "get"]
level = "SOL_SOCKET"
old = "!=0"
family = "inet6"
action = "rewrite"
map = { "0" = 1, "2..=3" = 4 }
[[rule]]
name = "c"
request = "bind"
port = [80, "1024.."]
sharing = "reuse"
action = "exclusive"
[[rule]]
name = "d"
request = "ioctl"
code = "SIO_WSK_REGISTER_EXTENSION"
action = "deny"
[[rule]]
name = "e"
request = ["set", "get", "ioctl", "bind"]
protocol = "tcp"
action = "audit"
"#;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| wskguard_policy::compile("seed", SEED).expect("the seed compiles").image);

fn seal(image: &mut [u8]) {
    if image.len() >= layout::HASHED_FROM {
        let size = u32::try_from(image.len()).unwrap_or(u32::MAX);
        image[..8].copy_from_slice(&layout::MAGIC);
        image[8..12].copy_from_slice(&layout::VERSION.to_le_bytes());
        image[12..16].copy_from_slice(&size.to_le_bytes());
        let hash = Fnv::of(&image[layout::HASHED_FROM..]);
        image[16..24].copy_from_slice(&hash.to_le_bytes());
    }
}

fn requests() -> impl Iterator<Item = MatchInput<'static>> {
    const KINDS: [RequestKind; 4] = [RequestKind::Set, RequestKind::Get, RequestKind::Ioctl, RequestKind::Bind];
    KINDS.into_iter().flat_map(|kind| {
        [0x1002, 0x4, 0xCF00_0002].into_iter().flat_map(move |code| {
            [None, Some(0), Some(5000)].map(|value| MatchInput {
                family: Family::INET6,
                protocol: 6,
                client: ClientKey::new(b"a.sys", [1; 16]),
                process: value.map(|pid| ProcessKey::new(pid, b"p.exe")),
                old_value: value,
                new_value: value.filter(|_| kind == RequestKind::Set),
                bind: BindInput {
                    port: 80,
                    address: AddressClass::Wildcard,
                    sharing: Sharing { reuse: value.is_some(), exclusive: false },
                },
                ..MatchInput::new(kind, 0xFFFF, code, Category::Listen)
            })
        })
    })
}

fn check(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else { return };
    for input in requests() {
        let first = (0..image.rule_count()).find(|&rule| image.mismatch(rule, &input).is_none());
        let expected = first.map_or(RuleRef::DEFAULT, |rule| RuleRef(u32::try_from(rule).expect("at most 65536 rules")));
        let decision = image.evaluate(&input);
        assert_eq!(decision.rule, expected);
        assert!(image.interest(input.request, input.level, input.code, input.category).decide || first.is_none());
        let _ = (decision.action.apply(input.new_value), image.initial_options(&input).count());
    }
    let _ = wskguard_policy::show(&image);
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    check(&sealed);
    // The same bytes as edits of a valid image: (place, place, value).
    let mut edited = VALID.clone();
    for edit in bytes.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % edited.len();
        edited[place] = edit[2];
    }
    seal(&mut edited);
    check(&edited);
});

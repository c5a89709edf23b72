//! Random policies and requests over a small world, so that they meet; and the rules' meaning, written down a second time.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]

pub mod parts;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use wskguard_core::memory::Memory;
use wskguard_core::policy::layout::*;
use wskguard_core::policy::{
    AddressClass, BindInput, ClientKey, Fallback, MatchInput, PolicyMode, ProcessKey, Settings, Sharing, Verbosity,
};
use wskguard_core::{Category, Family, Mode, RequestKind, SOL_SOCKET};
use wskguard_policy::{Action, Members, Policy, Principal, Ranges, Rule, Scope};

/// `cases`, few of them where each is slow.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 3 } else { cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

const CODES: [u32; 4] = [0x4, 0xFFFF_FFFB, 0x1002, 0x77];
const IOCTLS: [u32; 2] = [0xCF00_0002, 0x1234];
const LEVELS: [u32; 2] = [SOL_SOCKET, 6];
const IMAGES: [&str; 3] = ["afd.sys", "msquic.sys", "nfs é.sys"];
const MODULES: [[u8; 16]; 2] = [[1; 16], *b"0123456789abcdef"];

fn ranges(highest: u64) -> impl Strategy<Value = Ranges> {
    let end = prop_oneof![0..6u64, Just(65536), Just(highest)];
    vec((0..6u64, end), 1..3).prop_map(move |list| {
        Ranges::new(
            list.into_iter()
                .map(|(low, high)| (low, high.max(low).min(highest)))
                .collect(),
        )
    })
}

fn numbers(field: u8, highest: u64) -> BoxedStrategy<(u8, Members)> {
    ranges(highest)
        .prop_map(move |ranges| (field, Members::Ranges(ranges)))
        .boxed()
}

fn principals(field: u8) -> BoxedStrategy<(u8, Members)> {
    let image = select(&IMAGES[..]).prop_map(|name| Principal::Image(name.to_owned()));
    let principal = if field == FIELD_CLIENT {
        prop_oneof![image, select(&MODULES[..]).prop_map(Principal::Module)].boxed()
    } else {
        prop_oneof![
            image,
            (0..3u64).prop_map(Principal::Pid),
            Just(Principal::NoProcess),
            Just(Principal::AnyProcess)
        ]
        .boxed()
    };
    vec(principal, 1..3)
        .prop_map(move |mut list| {
            list.sort();
            list.dedup();
            (field, Members::Principals(list))
        })
        .boxed()
}

fn condition(field: u8) -> BoxedStrategy<(u8, Members)> {
    match field {
        FIELD_NEW | FIELD_OLD => numbers(field, u64::MAX),
        FIELD_PORT => numbers(field, 0xFFFF),
        FIELD_FAMILY => select(vec![2, 23])
            .prop_map(|f| (FIELD_FAMILY, Members::Ranges(Ranges::one(f))))
            .boxed(),
        FIELD_PROTOCOL => select(vec![6, 17])
            .prop_map(|p| (FIELD_PROTOCOL, Members::Ranges(Ranges::one(p))))
            .boxed(),
        _ => principals(field),
    }
}

fn conditions(fields: Vec<u8>) -> impl Strategy<Value = Vec<(u8, Members)>> {
    let most = fields.len().min(2);
    subsequence(fields, 0..=most).prop_flat_map(|fields| fields.into_iter().map(condition).collect::<Vec<_>>())
}

fn rewrite() -> impl Strategy<Value = Action> {
    vec((0..4u64, 1..4u64, 0..9u32), 1..4).prop_map(|steps| {
        let mut next = 0;
        let entries = steps.into_iter().map(|(gap, length, to)| {
            let low = next + gap;
            next = low + length;
            ((low, next - 1), to)
        });
        Action::Rewrite(entries.collect())
    })
}

fn action(requests: u8) -> BoxedStrategy<Action> {
    let deny = select(vec![0xC000_0022, 0xC000_000D, 0xFFFF_FFFF]).prop_map(Action::Deny);
    let everywhere = prop_oneof![Just(Action::Allow), deny].boxed();
    let clamp = (0..4u32, 0..4u32).prop_map(|(min, more)| Action::Clamp(min, min + more));
    let clamp = prop_oneof![clamp, (0..4u32).prop_map(|min| Action::Clamp(min, u32::MAX))];
    let value = prop_oneof![(0..9u32).prop_map(Action::Force), clamp, rewrite()].boxed();
    match requests {
        1 => prop_oneof![everywhere, value, Just(Action::Succeed)].boxed(),
        2 | 3 => prop_oneof![everywhere, value].boxed(),
        4 => prop_oneof![everywhere, Just(Action::Succeed)].boxed(),
        8 => prop_oneof![everywhere, Just(Action::Exclusive)].boxed(),
        _ => everywhere,
    }
}

fn option() -> impl Strategy<Value = Scope> {
    (select(&LEVELS[..]), select(&CODES[..])).prop_map(|(level, code)| Scope::Option { level, code })
}

fn scope(requests: u8) -> BoxedStrategy<Scope> {
    match requests {
        1..=3 => {
            prop_oneof![1 => Just(Scope::Any), 1 => select(&LEVELS[..]).prop_map(Scope::Level), 4 => option()].boxed()
        }
        4 => prop_oneof![Just(Scope::Any), select(&IOCTLS[..]).prop_map(Scope::Ioctl)].boxed(),
        _ => Just(Scope::Any).boxed(),
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    let requests = prop_oneof![4 => Just(1u8), 2 => Just(2), 1 => Just(3), 1 => Just(4), 3 => Just(8), 1 => 5..16u8];
    requests.prop_flat_map(|requests| {
        let bind = requests == 8;
        let mut fields = vec![FIELD_FAMILY, FIELD_PROTOCOL, FIELD_CLIENT, FIELD_PROCESS];
        fields.extend((requests == 1).then_some(FIELD_NEW));
        fields.extend((requests & !3 == 0).then_some(FIELD_OLD));
        fields.extend(bind.then_some(FIELD_PORT));
        fields.sort_unstable();
        let mask = move |all: u8| if bind { (1..=all).boxed() } else { Just(all).boxed() };
        let head = (
            scope(requests),
            1..=ALL_CATEGORIES,
            mask(ALL_ADDRESSES),
            mask(ALL_SHARING),
        );
        let text =
            prop_oneof![4 => Just(String::new()), 1 => any::<String>().prop_map(|s| s.chars().take(9).collect())];
        (head, conditions(fields), action(requests), any::<bool>(), text).prop_map(
            move |((scope, categories, addresses, sharing), conditions, action, audit, description)| Rule {
                description,
                requests,
                scope,
                categories,
                addresses,
                sharing,
                conditions,
                action,
                audit,
                ..Rule::default()
            },
        )
    })
}

fn initial() -> impl Strategy<Value = Rule> {
    let fields = vec![FIELD_FAMILY, FIELD_PROTOCOL, FIELD_CLIENT, FIELD_PROCESS];
    (option(), 1..=ALL_CATEGORIES, conditions(fields), 0..2u32).prop_map(|(scope, categories, conditions, value)| {
        Rule {
            requests: 0,
            scope,
            categories,
            conditions,
            action: Action::Force(value),
            ..Rule::default()
        }
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let modes = select(vec![PolicyMode::Enforce, PolicyMode::Audit]);
    let semantics = select(vec![Mode::Off, Mode::Audit, Mode::Compat, Mode::Strict]);
    let fallback = select(vec![Fallback::Allow, Fallback::Deny]);
    let verbosity = select(vec![Verbosity::Marked, Verbosity::Changes, Verbosity::All]);
    (modes, semantics, fallback, verbosity, any::<u32>()).prop_map(
        |(mode, semantics, fallback, verbosity, linger_max)| Settings {
            mode,
            semantics,
            fallback,
            verbosity,
            linger_max,
        },
    )
}

/// A policy that obeys every rule of the format.
pub fn policy() -> impl Strategy<Value = Policy> {
    let keepalive = subsequence(vec![0xC000_00B5, 0xC000_00B6, 0xC000_020C], 0..=3);
    (
        settings(),
        keepalive,
        vec(initial(), 0..3),
        vec(rule(), 0..12),
        "\\PC{1,9}",
    )
        .prop_map(|(settings, keepalive, initial, mut rules, name)| {
            for (index, rule) in rules.iter_mut().enumerate() {
                rule.name = format!("{name} {index}");
            }
            Policy {
                name,
                description: String::new(),
                settings,
                keepalive,
                initial,
                rules,
            }
        })
}

/// A request of the same small world.
pub fn request() -> impl Strategy<Value = MatchInput<'static>> {
    let kind = select(vec![
        RequestKind::Set,
        RequestKind::Get,
        RequestKind::Ioctl,
        RequestKind::Bind,
    ]);
    let code = prop_oneof![3 => select(&CODES[..]), 1 => select(&IOCTLS[..])];
    let category = select(vec![
        Category::Basic,
        Category::Listen,
        Category::Connection,
        Category::Datagram,
        Category::Stream,
    ]);
    let value = prop_oneof![1 => Just(None), 3 => (0..7u64).prop_map(Some), 1 => select(vec![65536, 65537, u64::MAX]).prop_map(Some)];
    let address = select(vec![
        AddressClass::Specific,
        AddressClass::Wildcard,
        AddressClass::Loopback,
    ]);
    let bind = (select(vec![0u16, 1, 3, 5, 6, 65535]), address, any::<(bool, bool)>());
    let image = prop_oneof![1 => Just(""), 3 => select(&IMAGES[..])];
    let client = (image.clone(), select(&MODULES[..]));
    let process = prop_oneof![Just(None), (0..4u64, image).prop_map(Some)];
    (
        kind,
        select(&LEVELS[..]),
        code,
        category,
        any::<Index>(),
        (value.clone(), value),
        bind,
        client,
        process,
    )
        .prop_map(
            |(
                request,
                level,
                code,
                category,
                other,
                (old_value, new_value),
                (port, address, (reuse, exclusive)),
                client,
                process,
            )| {
                MatchInput {
                    request,
                    level,
                    code,
                    category,
                    family: Family(*other.get(&[2, 23])),
                    protocol: *other.get(&[6, 17]),
                    client: ClientKey::new(client.0.as_bytes(), client.1),
                    process: process.map(|(pid, image)| ProcessKey::new(pid, image.as_bytes())),
                    old_value,
                    new_value: new_value.filter(|_| request == RequestKind::Set),
                    bind: BindInput {
                        port,
                        address,
                        sharing: Sharing { reuse, exclusive },
                    },
                }
            },
        )
}

/// Whether `rule` matches, by the text of docs/POLICY.md alone.
pub fn matches(rule: &Rule, input: &MatchInput<'_>) -> bool {
    let option = match rule.scope {
        Scope::Any => true,
        Scope::Level(level) => input.level == level,
        Scope::Option { level, code } => (input.level, input.code) == (level, code),
        Scope::Ioctl(code) => input.code == code,
    };
    let bind = input.request == RequestKind::Bind;
    let sharing = match (input.bind.sharing.reuse, input.bind.sharing.exclusive) {
        (false, false) => SHARING_DEFAULT,
        (reuse, exclusive) => (u8::from(reuse) * SHARING_REUSE) | (u8::from(exclusive) * SHARING_EXCLUSIVE),
    };
    rule.requests & (1 << input.request as u8) != 0
        && option
        && rule.categories & (1 << input.category as u8) != 0
        && (!bind || rule.addresses & (1 << input.bind.address as u8) != 0)
        && (!bind || rule.sharing & sharing != 0)
        && rule
            .conditions
            .iter()
            .all(|(field, members)| holds(*field, members, input))
}

/// Whether an initial option is for the endpoint of `input`.
pub fn applies(initial: &Rule, input: &MatchInput<'_>) -> bool {
    initial.categories & (1 << input.category as u8) != 0
        && initial
            .conditions
            .iter()
            .all(|(field, members)| holds(*field, members, input))
}

fn holds(field: u8, members: &Members, input: &MatchInput<'_>) -> bool {
    let number = match field {
        FIELD_NEW => input.new_value,
        FIELD_OLD => input.old_value,
        FIELD_PORT => Some(u64::from(input.bind.port)),
        FIELD_FAMILY => Some(u64::from(input.family.0)),
        FIELD_PROTOCOL => Some(u64::from(input.protocol)),
        _ => None,
    };
    match members {
        Members::Ranges(ranges) => number.is_some_and(|number| ranges.contains(number)),
        Members::Principals(principals) if field == FIELD_CLIENT => {
            principals.iter().any(|principal| match principal {
                Principal::Image(name) => name.as_bytes() == input.client.image,
                Principal::Module(module) => *module == input.client.module,
                _ => false,
            })
        }
        Members::Principals(principals) => principals.iter().any(|principal| match (principal, input.process) {
            (Principal::NoProcess, process) => process.is_none(),
            (Principal::AnyProcess, process) => process.is_some(),
            (Principal::Pid(pid), Some(process)) => process.pid == *pid,
            (Principal::Image(name), Some(process)) => process.image == name.as_bytes(),
            _ => false,
        }),
    }
}

/// The host's heap, for the core's containers.
#[derive(Clone, Copy)]
pub struct Heap;

// SAFETY: the host's allocator, asked for zeroed memory of the given layout.
unsafe impl Memory for Heap {
    fn allocate(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0 by contract.
        NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(bytes, align).ok()?) })
    }

    unsafe fn free(&self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: the layout it was allocated with.
        unsafe { dealloc(block.as_ptr(), Layout::from_size_align(bytes, align).unwrap()) };
    }
}

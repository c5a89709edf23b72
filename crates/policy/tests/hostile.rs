//! Images that were tampered with, each refused for the reason it should be. Size and hash are right unless they are the point,
//! so that the structure alone is what refuses.

mod common;

use common::parts::{Parts, seal};
use wskguard_core::policy::layout::*;
use wskguard_core::policy::{Fault, Image, ImageError, Section};
use wskguard_policy::compile;

const POLICY: &str = r#"
schema = 1
name = "victim"
description = "é"
keepalive-failure = ["STATUS_IO_TIMEOUT", "STATUS_FILE_FORCED_CLOSED"]

[[initial]]
option = "SO_RCVBUF"
category = "listen"
client = "a.sys"
value = 9

[[rule]]
name = "deny"
request = "set"
option = "SO_REUSEADDR"
new = [1, "5..=9"]
client = ["b.sys", "{01234567-89AB-CDEF-0123-456789ABCDEF}"]
action = "deny"

[[rule]]
name = "rewrite"
request = ["set", "get"]
level = "IPPROTO_TCP"
process = [4, "none", "given"]
old = ">0"
action = "rewrite"
map = { "0" = 1, "2..=3" = 4 }

[[rule]]
name = "clamp"
request = "set"
option = "SO_RCVBUF"
action = "clamp"
max = 65536

[[rule]]
name = "bind"
request = "bind"
port = [80, 443]
sharing = "reuse"
action = "exclusive"

[[rule]]
name = "ioctl"
request = "ioctl"
code = "SIO_WSK_REGISTER_EXTENSION"
action = "succeed"

[[rule]]
name = "all"
request = ["set", "get", "ioctl", "bind"]
action = "audit"
"#;

const DENY: usize = 0;
const REWRITE: usize = 1;
const CLAMP: usize = 2;
const BIND: usize = 3;
const IOCTL: usize = 4;
const ALL: usize = 5;

/// Miri takes a second for each hash of an image.
const STEP: usize = if cfg!(miri) { 101 } else { 1 };

fn victim() -> Vec<u8> {
    compile("victim", POLICY).unwrap().image
}

fn refusal(image: &[u8]) -> Option<ImageError> {
    Image::parse(image).err()
}

fn used(parts: &Parts) -> usize {
    parts.slots.iter().position(|slot| slot.scope != 0).unwrap()
}

#[test]
fn the_victim_is_valid() {
    let image = victim();
    assert_eq!(refusal(&image), None);
    assert_eq!(Parts::of(&image).build(), image);
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let image = victim();
    for length in (0..image.len()).step_by(STEP) {
        assert!(refusal(&image[..length]).is_some(), "{length}");
        let mut cut = image[..length].to_vec();
        seal(&mut cut);
        let expected = if length < size_of::<Header>() {
            ImageError::Short
        } else {
            ImageError::Layout
        };
        assert_eq!(refusal(&cut), Some(expected), "{length}");
    }
    let mut longer = image;
    longer.push(0);
    assert!(matches!(refusal(&longer), Some(ImageError::Size { .. })));
    seal(&mut longer);
    assert_eq!(refusal(&longer), Some(ImageError::Layout));
}

#[test]
fn every_bit_flip_is_refused() {
    let image = victim();
    for place in (0..image.len()).step_by(STEP) {
        for bit in 0..8 {
            let mut flipped = image.clone();
            flipped[place] ^= 1 << bit;
            assert!(refusal(&flipped).is_some(), "byte {place} bit {bit}");
        }
    }
}

#[test]
fn heads() {
    let change = |place: usize, byte: u8| {
        let mut image = victim();
        image[place] = byte;
        image
    };
    assert_eq!(refusal(&[]), Some(ImageError::Short));
    assert_eq!(refusal(&change(0, b'X')), Some(ImageError::Magic));
    assert_eq!(refusal(&change(8, 2)), Some(ImageError::Version { found: 2 }));
    assert!(matches!(refusal(&change(12, 0)), Some(ImageError::Size { .. })));
    assert_eq!(refusal(&change(16, !victim()[16])), Some(ImageError::Hash));
    assert_eq!(refusal(&vec![0; MAX_IMAGE]), Some(ImageError::Magic));
    assert_eq!(refusal(&vec![0; MAX_IMAGE + 1]), Some(ImageError::TooLarge));
}

type Field = fn(&mut Counts) -> &mut zerocopy::byteorder::little_endian::U32;

/// Counts up to 4 GiB in every section, with the bytes as they are.
#[test]
fn counts() {
    let parts = Parts::of(&victim());
    let limits: [(Section, Field, usize); 9] = [
        (Section::Slots, |c| &mut c.slots, MAX_SLOTS),
        (Section::Entries, |c| &mut c.entries, 4 * MAX_RULES),
        (Section::Rules, |c| &mut c.rules, MAX_RULES),
        (Section::Initial, |c| &mut c.initial, MAX_INITIAL),
        (Section::Conditions, |c| &mut c.conditions, MAX_IMAGE),
        (Section::Ranges, |c| &mut c.ranges, MAX_IMAGE),
        (Section::Patterns, |c| &mut c.patterns, MAX_IMAGE),
        (Section::Map, |c| &mut c.map, MAX_IMAGE),
        (Section::Text, |c| &mut c.text, MAX_IMAGE),
    ];
    for (section, field, limit) in limits {
        let with = |count: u32| {
            let mut header = parts.build_header();
            field(&mut header.counts).set(count);
            refusal(&parts.build_as(header))
        };
        for count in [u32::MAX, u32::MAX / 2, u32::try_from(limit).unwrap() + 1] {
            assert_eq!(with(count), Some(ImageError::Count(section)), "{section:?} {count}");
        }
        assert_eq!(
            with(u32::try_from(limit).unwrap()),
            Some(ImageError::Layout),
            "{section:?} at its limit"
        );
        assert!(with(0).is_some(), "{section:?} without entries");
    }
}

type Edit = (&'static str, fn(&mut Parts), Section, Fault);

/// One edit, and where and why it is refused.
#[rustfmt::skip]
const EDITS: &[Edit] = &[
    // The header.
    ("mode", |p| p.header.mode = 2, Section::Header, Fault::Value),
    ("semantics", |p| p.header.semantics = 4, Section::Header, Fault::Value),
    ("default", |p| p.header.default = 2, Section::Header, Fault::Value),
    ("verbosity", |p| p.header.verbosity = 3, Section::Header, Fault::Value),
    ("no name", |p| p.header.name.count.set(0), Section::Header, Fault::Text),
    ("name in the middle of é", |p| p.header.name.count.set(7), Section::Header, Fault::Text),
    ("name beyond the text", |p| p.header.name.count.set(u32::MAX), Section::Header, Fault::Span),
    ("description before the name", |p| p.header.description.start.set(0), Section::Header, Fault::Span),
    ("success as keep-alive failure", |p| p.ranges[0] = range(0, 0), Section::Header, Fault::Value),
    ("warning as keep-alive failure", |p| p.ranges[0] = range(0xBFFF_FFFF, 0xBFFF_FFFF), Section::Header, Fault::Value),
    ("range as keep-alive failure", |p| p.ranges[0].low.set(0xC000_0000), Section::Header, Fault::Value),
    ("keep-alive failures descend", |p| p.ranges.swap(0, 1), Section::Header, Fault::Order),
    ("probes", |p| p.header.probes.set(MAX_PROBES + 1), Section::Header, Fault::Value),
    ("slots not a power of two", |p| p.slots.truncate(p.slots.len() - 1), Section::Header, Fault::Value),
    // Text.
    ("not UTF-8", |p| p.text[0] = 0xFF, Section::Text, Fault::Text),
    ("text nobody uses", |p| p.text.push(b'x'), Section::Text, Fault::Unused),
    ("two rules share a name's text", |p| p.rules[1].name = p.rules[0].name, Section::Rules, Fault::Span),
    // Rules.
    ("reserved byte", |p| p.rules[DENY].reserved = 1, Section::Rules, Fault::Value),
    ("unknown flag", |p| p.rules[DENY].flags = 2, Section::Rules, Fault::Value),
    ("no category", |p| p.rules[DENY].categories = 0, Section::Rules, Fault::Value),
    ("unknown category", |p| p.rules[DENY].categories = 0x20, Section::Rules, Fault::Value),
    ("no address class", |p| p.rules[BIND].addresses = 0, Section::Rules, Fault::Value),
    ("unknown sharing", |p| p.rules[BIND].sharing = 8, Section::Rules, Fault::Value),
    ("no request", |p| p.rules[ALL].requests = 0, Section::Rules, Fault::Value),
    ("unknown request", |p| p.rules[ALL].requests = 0x1F, Section::Rules, Fault::Value),
    ("unknown action", |p| p.rules[DENY].action = 8, Section::Rules, Fault::Value),
    ("no action", |p| p.rules[DENY].action = 0, Section::Rules, Fault::Value),
    ("deny with success", |p| p.rules[DENY].first.set(0), Section::Rules, Fault::Value),
    ("deny with STATUS_PENDING", |p| p.rules[DENY].first.set(0x103), Section::Rules, Fault::Value),
    ("deny with a warning", |p| p.rules[DENY].first.set(0x8000_0005), Section::Rules, Fault::Value),
    ("min above max", |p| p.rules[CLAMP].first.set(65537), Section::Rules, Fault::Value),
    ("operand nobody reads", |p| p.rules[ALL].first.set(1), Section::Rules, Fault::Value),
    ("unknown scope", |p| p.rules[DENY].scope = 3, Section::Rules, Fault::Combination),
    ("any scope with a code", |p| p.rules[DENY].scope = SCOPE_ANY, Section::Rules, Fault::Combination),
    ("ioctl with a level", |p| p.rules[IOCTL].level.set(1), Section::Rules, Fault::Combination),
    ("any scope with a code alone", |p| p.rules[ALL].code.set(1), Section::Rules, Fault::Combination),
    ("any scope with a level alone", |p| p.rules[ALL].level.set(1), Section::Rules, Fault::Combination),
    ("level with a code", |p| p.rules[REWRITE].code.set(1), Section::Rules, Fault::Combination),
    ("level of a bind", |p| p.rules[REWRITE].requests |= 8, Section::Rules, Fault::Combination),
    ("clamp on an ioctl", |p| p.rules[IOCTL].action = ACTION_CLAMP, Section::Rules, Fault::Combination),
    ("exclusive on a set", |p| set_plain(p, DENY, ACTION_EXCLUSIVE), Section::Rules, Fault::Combination),
    ("succeed on a bind", |p| p.rules[BIND].action = ACTION_SUCCEED, Section::Rules, Fault::Combination),
    ("sharing on all requests", |p| p.rules[ALL].sharing = 1, Section::Rules, Fault::Combination),
    ("new on a get", |p| p.rules[DENY].requests = 2, Section::Rules, Fault::Combination),
    ("port on a set", |p| p.rules[BIND].requests = 1, Section::Rules, Fault::Combination),
    ("old on a bind", |p| port(p).field = FIELD_OLD, Section::Rules, Fault::Combination),
    // Conditions and what they refer to.
    ("conditions of another rule", |p| p.rules[REWRITE].conditions = p.rules[DENY].conditions, Section::Rules, Fault::Span),
    ("conditions beyond the end", |p| p.rules[BIND].conditions.count.set(u32::MAX), Section::Rules, Fault::Span),
    ("condition twice", |p| p.conditions[1].field = FIELD_NEW, Section::Rules, Fault::Order),
    ("unknown condition", |p| p.conditions[1].field = 99, Section::Rules, Fault::Value),
    ("condition without members", |p| p.conditions[0].members.count.set(0), Section::Rules, Fault::Order),
    ("members of another condition", |p| p.conditions[2].members.start.set(0), Section::Rules, Fault::Span),
    ("members wrap", |p| p.conditions[0].members.count.set(u32::MAX), Section::Rules, Fault::Span),
    ("condition's reserved bytes", |p| p.conditions[0].reserved[2] = 1, Section::Rules, Fault::Order),
    ("range upside down", |p| p.ranges[2] = range(2, 1), Section::Rules, Fault::Order),
    ("ranges overlap", |p| p.ranges[3].low.set(1), Section::Rules, Fault::Order),
    ("port beyond 65535", |p| p.ranges.last_mut().unwrap().high.set(65536), Section::Rules, Fault::Value),
    ("range nobody uses", |p| p.ranges.push(range(1, 1)), Section::Ranges, Fault::Unused),
    ("condition nobody uses", |p| p.conditions.push(p.conditions[0]), Section::Conditions, Fault::Unused),
    ("process id as client", |p| p.patterns[0].kind = PATTERN_PID, Section::Rules, Fault::Combination),
    ("module as process", |p| p.patterns[2].kind = PATTERN_MODULE, Section::Rules, Fault::Combination),
    ("pattern's hash", |p| p.patterns[0].number.set(1), Section::Patterns, Fault::Value),
    ("pattern in upper case", |p| upper(p, b"b.sys"), Section::Patterns, Fault::Value),
    ("module of zeros", |p| p.patterns[1].module = [0; 16], Section::Patterns, Fault::Value),
    ("pattern's reserved bytes", |p| p.patterns[1].reserved[6] = 1, Section::Patterns, Fault::Value),
    ("pattern without name", |p| p.patterns[0].name.count.set(0), Section::Patterns, Fault::Value),
    ("image with a module", |p| p.patterns[0].module[0] = 1, Section::Patterns, Fault::Value),
    ("module with a number", |p| p.patterns[1].number.set(1), Section::Patterns, Fault::Value),
    ("process id with a module", |p| p.patterns[2].module[0] = 1, Section::Patterns, Fault::Value),
    ("no process, with a number", |p| p.patterns[3].number.set(1), Section::Patterns, Fault::Value),
    ("pattern nobody uses", |p| p.patterns.push(p.patterns[1]), Section::Patterns, Fault::Span),
    // Maps.
    ("empty map", |p| p.rules[REWRITE].second.set(0), Section::Rules, Fault::Value),
    ("map beyond the end", |p| p.rules[REWRITE].second.set(3), Section::Rules, Fault::Span),
    ("map not from the start", |p| p.rules[REWRITE].first.set(1), Section::Rules, Fault::Span),
    ("map descends", |p| p.map.swap(0, 1), Section::Rules, Fault::Order),
    ("map entries share a value", |p| p.map[1].from.low.set(0), Section::Rules, Fault::Order),
    ("map's reserved bytes", |p| p.map[0].reserved.set(1), Section::Rules, Fault::Order),
    ("map entry nobody uses", |p| p.map.push(p.map[1]), Section::Map, Fault::Unused),
    // Initial options.
    ("initial option with a request", |p| p.initial[0].requests = 1, Section::Initial, Fault::Combination),
    ("initial option of a whole level", |p| p.initial[0].scope = SCOPE_LEVEL, Section::Initial, Fault::Combination),
    ("initial option that denies", |p| initial_denies(p), Section::Initial, Fault::Combination),
    ("initial option by port", |p| last(&mut p.conditions).field = FIELD_CLIENT - 3, Section::Initial, Fault::Span),
    // The index.
    ("list leaves a rule out", |p| p.header.any[0].entries.count.set(0), Section::Header, Fault::Index),
    ("list names a rule of another request", |p| p.entries[1] = 4, Section::Header, Fault::Index),
    ("list names no rule", |p| p.entries[0] = 6, Section::Header, Fault::Index),
    ("list of another option", |p| swap_last_two(&mut p.entries), Section::Slots, Fault::Index),
    ("decide mask", |p| p.header.any[1].decide = 0, Section::Header, Fault::Index),
    ("complete mask", |p| p.header.any[1].complete = 0, Section::Header, Fault::Index),
    ("tracks mask", |p| p.header.any[3].tracks = 0, Section::Header, Fault::Index),
    ("rule left out of a list", |p| leave_out(p), Section::Entries, Fault::Index),
    ("list's reserved byte", |p| p.header.any[0].reserved = 1, Section::Header, Fault::Index),
    ("entry nobody uses", |p| p.entries.push(0), Section::Entries, Fault::Unused),
    ("slot of unknown request", |p| change_slot(p, |slot| slot.kind = 4), Section::Slots, Fault::Value),
    ("slot's reserved bytes", |p| change_slot(p, |slot| slot.reserved[0] = 1), Section::Slots, Fault::Value),
    ("slot with another key", |p| change_slot(p, |slot| slot.code.set(77)), Section::Slots, Fault::Index),
    ("slot without rules", |p| change_slot(p, |slot| slot.run = Run::default()), Section::Slots, Fault::Value),
    ("free slot with bytes", |p| free_slot(p).level.set(1), Section::Slots, Fault::Value),
    ("slot in the wrong place", |p| rotate(p), Section::Slots, Fault::Index),
    ("search too short", |p| p.header.probes.set(0), Section::Slots, Fault::Index),
    ("another seed", |p| p.header.seed.set(0xDEAD_BEEF), Section::Slots, Fault::Index),
];

fn range(low: u64, high: u64) -> Range {
    Range {
        low: low.into(),
        high: high.into(),
    }
}

/// The condition of the rule for binds.
fn port(parts: &mut Parts) -> &mut Condition {
    let on_ports = |condition: &&mut Condition| condition.field == FIELD_PORT;
    parts.conditions.iter_mut().find(on_ports).unwrap()
}

fn last<T>(list: &mut [T]) -> &mut T {
    list.last_mut().unwrap()
}

fn set_plain(parts: &mut Parts, rule: usize, action: u8) {
    parts.rules[rule].action = action;
    parts.rules[rule].first.set(0);
}

fn initial_denies(parts: &mut Parts) {
    parts.initial[0].action = ACTION_DENY;
    parts.initial[0].first.set(0xC000_0022);
}

fn upper(parts: &mut Parts, name: &[u8]) {
    let place = parts.text.windows(name.len()).position(|text| text == name).unwrap();
    parts.text[place].make_ascii_uppercase();
    let hash = wskguard_core::policy::Fnv::of(&parts.text[place..place + name.len()]);
    parts.patterns[0].number.set(hash);
}

/// Takes the last rule, which is for every request, out of the list for gets, with all that follows from it but the rule itself.
fn leave_out(parts: &mut Parts) {
    let place = parts.header.any[1].entries.start.get();
    assert_eq!(parts.header.any[1].entries.count, 1);
    parts.header.any[1] = Run {
        entries: parts.header.any[1].entries,
        ..Run::default()
    };
    parts.header.any[1].entries.count.set(0);
    parts.entries.remove(place as usize);
    let slots = parts
        .slots
        .iter_mut()
        .filter(|slot| slot.scope != 0)
        .map(|slot| &mut slot.run);
    for run in parts.header.any[2..].iter_mut().chain(slots) {
        run.entries.start -= 1;
    }
}

fn swap_last_two(entries: &mut [u32]) {
    let length = entries.len();
    entries.swap(length - 1, length - 2);
}

fn change_slot(parts: &mut Parts, change: fn(&mut Slot)) {
    let place = used(parts);
    change(&mut parts.slots[place]);
}

fn free_slot(parts: &mut Parts) -> &mut Slot {
    parts.slots.iter_mut().find(|slot| slot.scope == 0).unwrap()
}

/// Every slot one place further than its key hashes to, still with its list.
fn rotate(parts: &mut Parts) {
    let last = parts.slots.pop().unwrap();
    parts.slots.insert(0, last);
    let mut next = parts.header.any.iter().map(|run| run.entries.count.get()).sum();
    let entries = parts.entries.clone();
    for slot in parts.slots.iter_mut().filter(|slot| slot.scope != 0) {
        let (start, count) = (slot.run.entries.start.get() as usize, slot.run.entries.count.get());
        slot.run.entries.start.set(next);
        for offset in 0..count as usize {
            parts.entries[next as usize + offset] = entries[start + offset];
        }
        next += count;
    }
}

#[test]
fn edits() {
    let victim = Parts::of(&victim());
    let mut wrong = Vec::new();
    for (what, edit, section, fault) in EDITS {
        let mut parts = victim.clone();
        edit(&mut parts);
        match refusal(&parts.build()) {
            Some(ImageError::Entry {
                section: s, fault: f, ..
            }) if (s, f) == (*section, *fault) => {}
            other => wrong.push(format!("{what}: {other:?}, expected {section:?} {fault:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lowest error of all, for a request and for a connection.
#[test]
fn the_lowest_error_is_one() {
    let mut parts = Parts::of(&victim());
    parts.rules[DENY].first.set(0xC000_0000);
    parts.ranges[0] = range(0xC000_0000, 0xC000_0000);
    assert_eq!(refusal(&parts.build()), None);
}

/// Hostile as it can be while valid in size: the time stays linear. All conditions of 65 536 rules name the same long list.
#[test]
fn shared_members_are_refused_at_once() {
    let mut parts = Parts::of(&victim());
    parts
        .ranges
        .extend((0..1000).map(|n| range(1000 + 2 * n, 1000 + 2 * n)));
    let rule = RuleRecord {
        name: Span::default(),
        ..parts.rules[CLAMP]
    };
    parts
        .rules
        .extend(std::iter::repeat_n(rule, if cfg!(miri) { 10 } else { 60_000 }));
    assert!(matches!(
        refusal(&parts.build()),
        Some(ImageError::Entry { fault: Fault::Span, .. })
    ));
}

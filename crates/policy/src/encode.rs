//! Model to image. The order in which sections are filled is the one that the core's validation takes them in.

use std::collections::BTreeMap;
use std::fmt;

use wskguard_core::RequestKind;
use wskguard_core::policy::layout::{
    self, Condition, Counts, Header, MapEntry, Pattern, Range, RuleRecord, Run, Slot, Span,
};
use wskguard_core::policy::{Fnv, slot_home};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use crate::model::{Action, Members, Policy, Principal, Rule, Scope};
use crate::ranges::Ranges;

/// The policy does not fit an image.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    what: &'static str,
    found: usize,
    limit: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the policy has {} {}, more than the limit of {}",
            self.found, self.what, self.limit
        )
    }
}

impl std::error::Error for TooLarge {}

/// The image of `policy`, and its hash. The same policy always gives the same image.
///
/// # Errors
/// A limit of the image format.
pub fn encode(policy: &Policy) -> Result<(Vec<u8>, u64), TooLarge> {
    limit("rules", policy.rules.len(), layout::MAX_RULES)?;
    limit("initial options", policy.initial.len(), layout::MAX_INITIAL)?;
    let mut sections = Sections::default();
    let mut header = Header {
        magic: layout::MAGIC,
        version: U32::new(layout::VERSION),
        mode: policy.settings.mode as u8,
        semantics: policy.settings.semantics as u8,
        default: policy.settings.fallback as u8,
        verbosity: policy.settings.verbosity as u8,
        linger_max: U32::new(policy.settings.linger_max),
        name: sections.string(&policy.name),
        description: sections.string(&policy.description),
        keepalive: sections.statuses(&policy.keepalive),
        ..Header::default()
    };
    let rules: Vec<_> = policy.rules.iter().map(|rule| sections.record(rule)).collect();
    let initial: Vec<_> = policy.initial.iter().map(|rule| sections.record(rule)).collect();
    sections.pattern_names();
    let index = Index::new(&policy.rules);
    header.any = index.any(&policy.rules, &mut sections.entries);
    let slots = index.slots(&policy.rules, &mut header, &mut sections.entries);
    header.counts = Counts {
        slots: count(slots.len()),
        entries: count(sections.entries.len()),
        rules: count(rules.len()),
        initial: count(initial.len()),
        conditions: count(sections.conditions.len()),
        ranges: count(sections.ranges.len()),
        patterns: count(sections.patterns.len()),
        map: count(sections.map.len()),
        text: count(sections.text.len()),
    };
    let mut image = header.as_bytes().to_vec();
    for section in [
        slots.as_bytes(),
        sections.entries.as_bytes(),
        rules.as_bytes(),
        initial.as_bytes(),
        sections.conditions.as_bytes(),
        sections.ranges.as_bytes(),
        sections.patterns.as_bytes(),
        sections.map.as_bytes(),
        sections.text.as_bytes(),
    ] {
        image.extend_from_slice(section);
    }
    limit("bytes when compiled", image.len(), layout::MAX_IMAGE)?;
    Ok(seal(image))
}

/// Enters size and hash.
fn seal(mut image: Vec<u8>) -> (Vec<u8>, u64) {
    let size = count(image.len());
    image[12..16].copy_from_slice(size.as_bytes());
    let hash = Fnv::of(&image[layout::HASHED_FROM..]);
    image[16..24].copy_from_slice(&hash.to_le_bytes());
    (image, hash)
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), TooLarge> {
    if found <= limit {
        Ok(())
    } else {
        Err(TooLarge { what, found, limit })
    }
}

/// Counts beyond 32 bits do not arise: the image would be larger than memory long before, and `limit` follows.
fn count(length: usize) -> U32 {
    U32::new(u32::try_from(length).unwrap_or(u32::MAX))
}

#[derive(Default)]
struct Sections {
    entries: Vec<U32>,
    conditions: Vec<Condition>,
    ranges: Vec<Range>,
    patterns: Vec<Pattern>,
    pattern_texts: Vec<String>,
    map: Vec<MapEntry>,
    text: String,
}

fn span(start: usize, length: usize) -> Span {
    Span {
        start: count(start),
        count: count(length),
    }
}

impl Sections {
    fn string(&mut self, string: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(string);
        span(start, string.len())
    }

    fn ranges(&mut self, ranges: &Ranges) -> Span {
        let start = self.ranges.len();
        self.ranges
            .extend(ranges.as_slice().iter().map(|&range| encode_range(range)));
        span(start, ranges.as_slice().len())
    }

    fn statuses(&mut self, statuses: &[u32]) -> Span {
        let start = self.ranges.len();
        self.ranges.extend(
            statuses
                .iter()
                .map(|&status| encode_range((status.into(), status.into()))),
        );
        span(start, statuses.len())
    }

    fn record(&mut self, rule: &Rule) -> RuleRecord {
        let (name, description) = (self.string(&rule.name), self.string(&rule.description));
        let (scope, level, code) = encode_scope(rule.scope);
        let conditions: Vec<_> = rule
            .conditions
            .iter()
            .map(|(field, members)| self.condition(*field, members))
            .collect();
        let start = self.conditions.len();
        self.conditions.extend(&conditions);
        let (action, first, second) = self.action(&rule.action);
        RuleRecord {
            requests: rule.requests,
            categories: rule.categories,
            addresses: rule.addresses,
            sharing: rule.sharing,
            scope,
            action,
            flags: if rule.audit { layout::FLAG_AUDIT } else { 0 },
            reserved: 0,
            level: U32::new(level),
            code: U32::new(code),
            first: U32::new(first),
            second: U32::new(second),
            conditions: span(start, conditions.len()),
            name,
            description,
        }
    }

    fn condition(&mut self, field: u8, members: &Members) -> Condition {
        let members = match members {
            Members::Ranges(ranges) => self.ranges(ranges),
            Members::Principals(principals) => {
                let start = self.patterns.len();
                for principal in principals {
                    self.pattern(principal);
                }
                span(start, principals.len())
            }
        };
        Condition {
            field,
            members,
            ..Condition::default()
        }
    }

    fn pattern(&mut self, principal: &Principal) {
        let mut text = String::new();
        let (kind, number, module) = match principal {
            Principal::Image(name) => {
                text.clone_from(name);
                (layout::PATTERN_IMAGE, Fnv::of(name.as_bytes()), [0; 16])
            }
            Principal::Module(module) => (layout::PATTERN_MODULE, 0, *module),
            Principal::Pid(pid) => (layout::PATTERN_PID, *pid, [0; 16]),
            Principal::NoProcess => (layout::PATTERN_NO_PROCESS, 0, [0; 16]),
            Principal::AnyProcess => (layout::PATTERN_ANY_PROCESS, 0, [0; 16]),
        };
        self.patterns.push(Pattern {
            kind,
            number: U64::new(number),
            module,
            ..Pattern::default()
        });
        self.pattern_texts.push(text);
    }

    /// The names of patterns follow all other text.
    fn pattern_names(&mut self) {
        for (place, text) in std::mem::take(&mut self.pattern_texts).iter().enumerate() {
            self.patterns[place].name = self.string(text);
        }
    }

    fn action(&mut self, action: &Action) -> (u8, u32, u32) {
        match action {
            Action::Allow => (layout::ACTION_ALLOW, 0, 0),
            Action::Deny(status) => (layout::ACTION_DENY, *status, 0),
            Action::Succeed => (layout::ACTION_SUCCEED, 0, 0),
            Action::Clamp(min, max) => (layout::ACTION_CLAMP, *min, *max),
            Action::Force(value) => (layout::ACTION_FORCE, *value, 0),
            Action::Exclusive => (layout::ACTION_EXCLUSIVE, 0, 0),
            Action::Rewrite(map) => {
                let first = count(self.map.len());
                self.map.extend(map.iter().map(|&(from, to)| MapEntry {
                    from: encode_range(from),
                    to: U32::new(to),
                    ..MapEntry::default()
                }));
                (layout::ACTION_REWRITE, first.get(), count(map.len()).get())
            }
        }
    }
}

fn encode_range((low, high): (u64, u64)) -> Range {
    Range {
        low: U64::new(low),
        high: U64::new(high),
    }
}

fn encode_scope(scope: Scope) -> (u8, u32, u32) {
    match scope {
        Scope::Any => (layout::SCOPE_ANY, 0, 0),
        Scope::Level(level) => (layout::SCOPE_LEVEL, level, 0),
        Scope::Option { level, code } => (layout::SCOPE_EXACT, level, code),
        Scope::Ioctl(code) => (layout::SCOPE_EXACT, 0, code),
    }
}

/// (scope, request kind, level, code).
type Key = (u8, u8, u32, u32);

/// Which rules, by index, have which key.
struct Index(BTreeMap<Key, Vec<u32>>);

impl Index {
    fn new(rules: &[Rule]) -> Self {
        let mut keys: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
        for (rule, index) in rules.iter().zip(0..) {
            let (scope, level, code) = encode_scope(rule.scope);
            for kind in (0..4).filter(|kind| rule.requests & (1 << kind) != 0) {
                keys.entry((scope, kind, level, code)).or_default().push(index);
            }
        }
        Self(keys)
    }

    fn any(&self, rules: &[Rule], entries: &mut Vec<U32>) -> [Run; 4] {
        [
            RequestKind::Set,
            RequestKind::Get,
            RequestKind::Ioctl,
            RequestKind::Bind,
        ]
        .map(|kind| {
            let list = self
                .0
                .get(&(layout::SCOPE_ANY, kind as u8, 0, 0))
                .map_or(&[][..], Vec::as_slice);
            run(list, rules, entries)
        })
    }

    /// The hash table, at most half full, with the first seed that keeps searches short; its lists follow in the order of slots.
    fn slots(&self, rules: &[Rule], header: &mut Header, entries: &mut Vec<U32>) -> Vec<Slot> {
        let keys: Vec<_> = self
            .0
            .keys()
            .copied()
            .filter(|key| key.0 != layout::SCOPE_ANY)
            .collect();
        if keys.is_empty() {
            return Vec::new();
        }
        let size = (keys.len() * 2).next_power_of_two();
        let (places, seed, probes) = (0..32)
            .map(|seed| place(&keys, size, seed))
            .enumerate()
            .map(|(seed, (places, probes))| (places, seed as u64, probes))
            .min_by_key(|&(_, seed, probes)| (probes.max(8), seed))
            .unwrap_or_default();
        header.seed = U64::new(seed);
        header.probes = count(probes);
        let slot = |key: Option<&Key>| match key {
            None => Slot::default(),
            Some(key) => Slot {
                scope: key.0,
                kind: key.1,
                level: U32::new(key.2),
                code: U32::new(key.3),
                run: run(&self.0[key], rules, entries),
                ..Slot::default()
            },
        };
        places.iter().map(Option::as_ref).map(slot).collect()
    }
}

/// Where linear probing puts `keys`, and the longest search.
fn place(keys: &[Key], size: usize, seed: u64) -> (Vec<Option<Key>>, usize) {
    let mut places = vec![None; size];
    let mut longest = 0;
    for &key in keys {
        let home = slot_home(seed, key.1, key.0, key.2, key.3);
        let mut probe = 0;
        while places[(home + probe) & (size - 1)].is_some() {
            probe += 1;
        }
        places[(home + probe) & (size - 1)] = Some(key);
        longest = longest.max(probe + 1);
    }
    (places, longest)
}

fn run(list: &[u32], rules: &[Rule], entries: &mut Vec<U32>) -> Run {
    let start = entries.len();
    entries.extend(list.iter().map(|&index| U32::new(index)));
    let mut run = Run {
        entries: span(start, list.len()),
        ..Run::default()
    };
    for rule in list.iter().map(|&index| &rules[index as usize]) {
        run.decide |= rule.categories;
        if rule.audit || matches!(rule.action, Action::Clamp(..) | Action::Force(_) | Action::Rewrite(_)) {
            run.complete |= rule.categories;
        }
        let reads_old = rule.conditions.iter().any(|(field, _)| *field == layout::FIELD_OLD);
        if reads_old || rule.sharing != layout::ALL_SHARING {
            run.tracks |= rule.categories;
        }
    }
    run
}

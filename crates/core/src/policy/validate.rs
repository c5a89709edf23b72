//! What makes an image valid. One pass over each section: spans are taken in order, each beginning where the last one ended, so no
//! entry is looked at twice and hostile counts cost no more than the image's own size. Any IRQL, but meant for `PASSIVE_LEVEL`.

mod index;

use super::error::{Fault, ImageError, Section};
use super::eval::bit;
use super::hash::Fnv;
use super::image::{Image, Scopes, Settings};
use super::input::{Fallback, ImageName, PolicyMode, Verbosity};
use super::layout::{self, Condition, Header, MapEntry, Pattern, Range, RuleRecord, Span};
use crate::{Mode, RequestKind};

const SET: u8 = bit(RequestKind::Set as u8);
const GET: u8 = bit(RequestKind::Get as u8);
const IOCTL: u8 = bit(RequestKind::Ioctl as u8);
const BIND: u8 = bit(RequestKind::Bind as u8);

/// Lowest status of severity error.
const NT_ERROR: u32 = 0xC000_0000;

type Check = Result<(), Fault>;

fn need(holds: bool, fault: Fault) -> Check {
    if holds { Ok(()) } else { Err(fault) }
}

/// Says where a fault is.
fn at(section: Section, index: usize) -> impl Fn(Fault) -> ImageError {
    move |fault| ImageError::Entry {
        section,
        index: u32::try_from(index).unwrap_or(u32::MAX),
        fault,
    }
}

/// The text section.
pub(super) fn text(bytes: &[u8]) -> Result<&str, ImageError> {
    core::str::from_utf8(bytes).map_err(|_| at(Section::Text, 0)(Fault::Text))
}

/// The settings of the header.
pub(super) fn settings(header: &Header) -> Result<Settings, ImageError> {
    let read = || {
        Some(Settings {
            mode: match header.mode {
                0 => PolicyMode::Enforce,
                1 => PolicyMode::Audit,
                _ => return None,
            },
            semantics: match header.semantics {
                0 => Mode::Off,
                1 => Mode::Audit,
                2 => Mode::Compat,
                3 => Mode::Strict,
                _ => return None,
            },
            fallback: match header.default {
                0 => Fallback::Allow,
                1 => Fallback::Deny,
                _ => return None,
            },
            verbosity: match header.verbosity {
                0 => Verbosity::Marked,
                1 => Verbosity::Changes,
                2 => Verbosity::All,
                _ => return None,
            },
            linger_max: header.linger_max.get(),
        })
    };
    read().ok_or_else(|| at(Section::Header, 0)(Fault::Value))
}

/// Everything else. Returns what the index has keys for.
pub(super) fn image(image: &Image<'_>) -> Result<Scopes, ImageError> {
    let mut checker = Checker::new(image);
    let header = at(Section::Header, 0);
    checker.head().map_err(&header)?;
    for (index, record) in image.rules.iter().enumerate() {
        checker
            .record(record)
            .and_then(|()| rule(record))
            .map_err(at(Section::Rules, index))?;
    }
    for (index, record) in image.initial.iter().enumerate() {
        checker
            .record(record)
            .and_then(|()| initial(image, record))
            .map_err(at(Section::Initial, index))?;
    }
    for (index, pattern) in image.patterns.iter().enumerate() {
        checker.pattern(pattern).map_err(at(Section::Patterns, index))?;
    }
    for (kind, run) in image.header.any.iter().enumerate() {
        let kind = request_kind(kind);
        let key = |record: &RuleRecord| record.scope == layout::SCOPE_ANY;
        checker.run(run, kind, key).map_err(&header)?;
        if let (Some(kind), true) = (kind, run.entries.count != 0) {
            checker.scopes.wide |= bit(kind as u8);
        }
    }
    checker.slots()?;
    checker.all_used()?;
    Ok(checker.scopes)
}

fn request_kind(number: usize) -> Option<RequestKind> {
    Some(match number {
        0 => RequestKind::Set,
        1 => RequestKind::Get,
        2 => RequestKind::Ioctl,
        3 => RequestKind::Bind,
        _ => return None,
    })
}

/// How far each section has been taken.
struct Checker<'a> {
    image: Image<'a>,
    entries: u32,
    conditions: u32,
    ranges: u32,
    patterns: u32,
    map: u32,
    text: u32,
    /// Pairs of a rule and a request kind of it, each of which the index must list once.
    memberships: usize,
    scopes: Scopes,
}

/// Takes `span`, which must begin at `next` and end within `length`.
fn take(next: &mut u32, span: Span, length: usize) -> Check {
    let end = span.start.get().checked_add(span.count.get()).ok_or(Fault::Span)?;
    need(span.start == *next && end as usize <= length, Fault::Span)?;
    *next = end;
    Ok(())
}

impl<'a> Checker<'a> {
    fn new(image: &Image<'a>) -> Self {
        Self {
            image: *image,
            entries: 0,
            conditions: 0,
            ranges: 0,
            patterns: 0,
            map: 0,
            text: 0,
            memberships: 0,
            scopes: Scopes::default(),
        }
    }

    fn head(&mut self) -> Check {
        let header = self.image.header;
        self.string(header.name, layout::MAX_NAME)?;
        need(header.name.count != 0, Fault::Text)?;
        self.string(header.description, layout::MAX_DESCRIPTION)?;
        take(&mut self.ranges, header.keepalive, self.image.ranges.len())?;
        let statuses = self.image.ranges_of(header.keepalive);
        need(statuses.len() <= layout::MAX_KEEPALIVE_STATUSES, Fault::Value)?;
        ascending(statuses)?;
        need(
            statuses
                .iter()
                .all(|status| status.low == status.high && is_error(status.low.get())),
            Fault::Value,
        )?;
        let slots = self.image.slots.len();
        need(slots == 0 || slots.is_power_of_two(), Fault::Value)?;
        need(header.probes <= layout::MAX_PROBES, Fault::Value)
    }

    fn string(&mut self, span: Span, longest: usize) -> Check {
        take(&mut self.text, span, self.image.text.len())?;
        need(
            span.count.get() as usize <= longest && self.image.text.is_char_boundary(self.text as usize),
            Fault::Text,
        )
    }

    /// What rules and initial options share: text, conditions, categories.
    fn record(&mut self, record: &RuleRecord) -> Check {
        self.string(record.name, layout::MAX_NAME)?;
        self.string(record.description, layout::MAX_DESCRIPTION)?;
        need(
            record.reserved == 0 && record.flags & !layout::FLAG_AUDIT == 0,
            Fault::Value,
        )?;
        need(
            record.categories != 0 && record.categories & !layout::ALL_CATEGORIES == 0,
            Fault::Value,
        )?;
        need(
            record.addresses != 0 && record.addresses & !layout::ALL_ADDRESSES == 0,
            Fault::Value,
        )?;
        need(
            record.sharing != 0 && record.sharing & !layout::ALL_SHARING == 0,
            Fault::Value,
        )?;
        self.conditions(record)?;
        self.action(record)?;
        self.memberships = self.memberships.saturating_add(record.requests.count_ones() as usize);
        Ok(())
    }

    fn conditions(&mut self, record: &RuleRecord) -> Check {
        take(&mut self.conditions, record.conditions, self.image.conditions.len())?;
        let mut last = 0;
        for condition in self.image.conditions_of(record) {
            need(condition.field > last && condition.reserved == [0; 3], Fault::Order)?;
            need(condition.members.count != 0, Fault::Order)?;
            last = condition.field;
            self.members(condition)?;
            need(
                record.requests & !allowed_requests(condition.field) == 0,
                Fault::Combination,
            )?;
        }
        Ok(())
    }

    fn members(&mut self, condition: &Condition) -> Check {
        let highest = match condition.field {
            layout::FIELD_NEW | layout::FIELD_OLD => u64::MAX,
            layout::FIELD_PORT | layout::FIELD_FAMILY => u64::from(u16::MAX),
            layout::FIELD_PROTOCOL => u64::from(u32::MAX),
            layout::FIELD_CLIENT | layout::FIELD_PROCESS => {
                take(&mut self.patterns, condition.members, self.image.patterns.len())?;
                let client = condition.field == layout::FIELD_CLIENT;
                let patterns = self.image.patterns_of(condition.members);
                return need(
                    patterns.iter().all(|pattern| is_kind_for(pattern.kind, client)),
                    Fault::Combination,
                );
            }
            _ => return Err(Fault::Value),
        };
        take(&mut self.ranges, condition.members, self.image.ranges.len())?;
        let ranges = self.image.ranges_of(condition.members);
        ascending(ranges)?;
        need(ranges.last().is_some_and(|range| range.high <= highest), Fault::Value)
    }

    fn action(&mut self, record: &RuleRecord) -> Check {
        let (first, second) = (record.first.get(), record.second.get());
        let operands = match record.action {
            layout::ACTION_ALLOW | layout::ACTION_SUCCEED | layout::ACTION_EXCLUSIVE => first == 0 && second == 0,
            layout::ACTION_DENY => first >= NT_ERROR && second == 0,
            layout::ACTION_CLAMP => first <= second,
            layout::ACTION_FORCE => second == 0,
            layout::ACTION_REWRITE => {
                take(
                    &mut self.map,
                    Span {
                        start: record.first,
                        count: record.second,
                    },
                    self.image.map.len(),
                )?;
                let map = self.image.map_of(record);
                ascending_map(map)?;
                !map.is_empty()
            }
            _ => false,
        };
        need(operands, Fault::Value)
    }

    fn pattern(&mut self, pattern: &Pattern) -> Check {
        self.string(pattern.name, ImageName::LONGEST)?;
        let name = self.image.string(pattern.name);
        need(pattern.reserved == [0; 7], Fault::Value)?;
        let (named, module, number) = (!name.is_empty(), pattern.module != [0; 16], pattern.number.get());
        let holds = match pattern.kind {
            layout::PATTERN_IMAGE => named && !module && number == Fnv::of(name.as_bytes()) && is_file_name(name),
            layout::PATTERN_MODULE => !named && module && number == 0,
            layout::PATTERN_PID => !named && !module,
            layout::PATTERN_NO_PROCESS | layout::PATTERN_ANY_PROCESS => !named && !module && number == 0,
            _ => false,
        };
        need(holds, Fault::Value)
    }

    fn all_used(&self) -> Result<(), ImageError> {
        let image = &self.image;
        let sections = [
            (Section::Conditions, self.conditions, image.conditions.len()),
            (Section::Ranges, self.ranges, image.ranges.len()),
            (Section::Patterns, self.patterns, image.patterns.len()),
            (Section::Map, self.map, image.map.len()),
            (Section::Text, self.text, image.text.len()),
            (Section::Entries, self.entries, image.entries.len()),
        ];
        for (section, used, length) in sections {
            need(used as usize == length, Fault::Unused).map_err(at(section, used as usize))?;
        }
        need(self.memberships == image.entries.len(), Fault::Index).map_err(at(Section::Entries, 0))
    }
}

/// What only a rule must be: its scope and action are possible for its requests.
fn rule(record: &RuleRecord) -> Check {
    let requests = record.requests;
    need(
        requests != 0 && requests & !layout::ALL_REQUESTS == 0 && record.name.count != 0,
        Fault::Value,
    )?;
    let scope = match record.scope {
        layout::SCOPE_ANY => record.level == 0 && record.code == 0,
        layout::SCOPE_LEVEL => record.code == 0 && requests & !(SET | GET) == 0,
        layout::SCOPE_EXACT => requests & !(SET | GET) == 0 || (requests == IOCTL && record.level == 0),
        _ => false,
    };
    need(scope, Fault::Combination)?;
    let requests_for_action = match record.action {
        layout::ACTION_CLAMP | layout::ACTION_FORCE | layout::ACTION_REWRITE => SET | GET,
        layout::ACTION_SUCCEED => SET | IOCTL,
        layout::ACTION_EXCLUSIVE => BIND,
        _ => layout::ALL_REQUESTS,
    };
    need(requests & !requests_for_action == 0, Fault::Combination)?;
    let bind_only = record.addresses != layout::ALL_ADDRESSES || record.sharing != layout::ALL_SHARING;
    need(!bind_only || requests == BIND, Fault::Combination)
}

/// What only an initial option must be: one option, one value, and no condition that speaks of a request.
fn initial(image: &Image<'_>, record: &RuleRecord) -> Check {
    let plain = record.requests == 0
        && record.flags == 0
        && record.scope == layout::SCOPE_EXACT
        && record.action == layout::ACTION_FORCE
        && record.addresses == layout::ALL_ADDRESSES
        && record.sharing == layout::ALL_SHARING;
    need(plain, Fault::Combination)?;
    let of_endpoint = |condition: &Condition| {
        !matches!(
            condition.field,
            layout::FIELD_NEW | layout::FIELD_OLD | layout::FIELD_PORT
        )
    };
    need(image.conditions_of(record).iter().all(of_endpoint), Fault::Combination)
}

const fn allowed_requests(field: u8) -> u8 {
    match field {
        layout::FIELD_NEW => SET,
        layout::FIELD_OLD => SET | GET,
        layout::FIELD_PORT => BIND,
        _ => layout::ALL_REQUESTS,
    }
}

const fn is_kind_for(pattern: u8, client: bool) -> bool {
    match pattern {
        layout::PATTERN_IMAGE => true,
        layout::PATTERN_MODULE => client,
        _ => !client,
    }
}

/// As [`ImageName`] leaves it.
fn is_file_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| !byte.is_ascii_uppercase() && byte != b'\\' && byte != b'/')
}

fn is_error(status: u64) -> bool {
    u32::try_from(status).is_ok_and(|status| status >= NT_ERROR)
}

fn ascending(ranges: &[Range]) -> Check {
    let mut last: Option<u64> = None;
    for range in ranges {
        let (low, high) = (range.low.get(), range.high.get());
        need(low <= high && last < Some(low), Fault::Order)?;
        last = Some(high);
    }
    Ok(())
}

fn ascending_map(map: &[MapEntry]) -> Check {
    let mut last: Option<u64> = None;
    for entry in map {
        let (low, high) = (entry.from.low.get(), entry.from.high.get());
        need(low <= high && last < Some(low) && entry.reserved == 0, Fault::Order)?;
        last = Some(high);
    }
    Ok(())
}

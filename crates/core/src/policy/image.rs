//! An image that was checked, and views of its parts. Any IRQL.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use super::error::{ImageError, Section};
use super::hash::{Fnv, slot_home};
use super::input::{Fallback, PolicyMode, Verbosity};
use super::layout::{self, Condition, Header, MapEntry, Range, RuleRecord, Run, Slot, Span};
use crate::{Mode, RequestKind};

/// A valid policy image. Copies are cheap: it borrows the bytes.
///
/// # Invariants
/// Everything in [`super::validate`] holds, so every span is within its section, every enumeration has a meaning, and the index
/// lists for each request exactly the rules whose request, level and option match, in order.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    pub(super) header: &'a Header,
    pub(super) slots: &'a [Slot],
    pub(super) entries: &'a [U32],
    pub(super) rules: &'a [RuleRecord],
    pub(super) initial: &'a [RuleRecord],
    pub(super) conditions: &'a [Condition],
    pub(super) ranges: &'a [Range],
    pub(super) patterns: &'a [layout::Pattern],
    pub(super) map: &'a [MapEntry],
    pub(super) text: &'a str,
    pub(super) settings: Settings,
    pub(super) scopes: Scopes,
}

/// For which request kinds (bits) there are keys in the index, so that a search that must fail is not begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scopes {
    /// Of single options and ioctls.
    pub(super) exact: u8,
    /// Of whole levels.
    pub(super) level: u8,
    /// Kinds with rules for whole levels, or for all of the kind.
    pub(super) wide: u8,
}

/// What a policy says as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether decisions are carried out.
    pub mode: PolicyMode,
    /// How option semantics are applied.
    pub semantics: Mode,
    /// What happens where no rule matches.
    pub fallback: Fallback,
    /// Which decisions are recorded.
    pub verbosity: Verbosity,
    /// Longest graceful close, seconds.
    pub linger_max: u32,
}

impl<'a> Image<'a> {
    /// Checks `bytes`, in time linear in their number.
    ///
    /// # Errors
    /// The first fault found. Nothing of a faulty image is used.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if bytes.len() > layout::MAX_IMAGE {
            return Err(ImageError::TooLarge);
        }
        let (header, mut rest) = Header::ref_from_prefix(bytes).map_err(|_| ImageError::Short)?;
        if header.magic != layout::MAGIC {
            return Err(ImageError::Magic);
        }
        if header.version != layout::VERSION {
            return Err(ImageError::Version {
                found: header.version.get(),
            });
        }
        if usize::try_from(header.size.get()) != Ok(bytes.len()) {
            return Err(ImageError::Size {
                stated: header.size.get(),
            });
        }
        if Fnv::of(bytes.get(layout::HASHED_FROM..).unwrap_or(&[])) != header.hash.get() {
            return Err(ImageError::Hash);
        }
        let counts = &header.counts;
        let mut image = Self {
            header,
            slots: section(&mut rest, counts.slots, layout::MAX_SLOTS, Section::Slots)?,
            entries: section(
                &mut rest,
                counts.entries,
                layout::MAX_RULES.saturating_mul(4),
                Section::Entries,
            )?,
            rules: section(&mut rest, counts.rules, layout::MAX_RULES, Section::Rules)?,
            initial: section(&mut rest, counts.initial, layout::MAX_INITIAL, Section::Initial)?,
            conditions: section(&mut rest, counts.conditions, layout::MAX_IMAGE, Section::Conditions)?,
            ranges: section(&mut rest, counts.ranges, layout::MAX_IMAGE, Section::Ranges)?,
            patterns: section(&mut rest, counts.patterns, layout::MAX_IMAGE, Section::Patterns)?,
            map: section(&mut rest, counts.map, layout::MAX_IMAGE, Section::Map)?,
            text: super::validate::text(section(&mut rest, counts.text, layout::MAX_IMAGE, Section::Text)?)?,
            settings: super::validate::settings(header)?,
            scopes: Scopes::default(),
        };
        if !rest.is_empty() {
            return Err(ImageError::Layout);
        }
        image.scopes = super::validate::image(&image)?;
        Ok(image)
    }

    /// Identifies the image: two policies with the same hash are the same, short of intent.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.header.hash.get()
    }

    /// Name of the policy.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.string(self.header.name)
    }

    /// Its description; may be empty.
    #[must_use]
    pub fn description(&self) -> &'a str {
        self.string(self.header.description)
    }

    /// What it says as a whole.
    #[must_use]
    #[inline]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// How many rules it has.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Rule `index`.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<Rule<'a>> {
        self.rules.get(index).map(|record| Rule { image: *self, record })
    }

    /// The `[[initial]]` entries, as rules that force a value.
    pub fn initial_rules(&self) -> impl Iterator<Item = Rule<'a>> + use<'a> {
        let image = *self;
        self.initial.iter().map(move |record| Rule { image, record })
    }

    /// Statuses that count as a keep-alive failure.
    pub fn keepalive_statuses(&self) -> impl Iterator<Item = u32> + use<'a> {
        let listed = self.ranges_of(self.header.keepalive);
        // Each is one status, within 32 bits.
        listed.iter().filter_map(|range| u32::try_from(range.low.get()).ok())
    }

    /// The slot of a key, and its place.
    #[inline]
    pub(super) fn find(&self, kind: RequestKind, scope: u8, level: u32, code: u32) -> Option<(usize, &'a Slot)> {
        let mask = self.slots.len().wrapping_sub(1);
        let home = slot_home(self.header.seed.get(), kind as u8, scope, level, code);
        for probe in 0..self.header.probes.get() as usize {
            let place = home.wrapping_add(probe) & mask;
            let slot = self.slots.get(place)?;
            if slot.scope == 0 {
                return None;
            }
            if slot.scope == scope && slot.kind == kind as u8 && slot.level == level && slot.code == code {
                return Some((place, slot));
            }
        }
        None
    }

    /// The rules of a list.
    #[inline]
    pub(super) fn entries_of(&self, run: &Run) -> &'a [U32] {
        part(self.entries, run.entries)
    }

    pub(super) fn conditions_of(&self, record: &RuleRecord) -> &'a [Condition] {
        part(self.conditions, record.conditions)
    }

    pub(super) fn ranges_of(&self, span: Span) -> &'a [Range] {
        part(self.ranges, span)
    }

    pub(super) fn patterns_of(&self, span: Span) -> &'a [layout::Pattern] {
        part(self.patterns, span)
    }

    pub(super) fn map_of(&self, record: &RuleRecord) -> &'a [MapEntry] {
        part(
            self.map,
            Span {
                start: record.first,
                count: record.second,
            },
        )
    }

    pub(super) fn string(&self, span: Span) -> &'a str {
        let start = span.start.get() as usize;
        self.text
            .get(start..start.saturating_add(span.count.get() as usize))
            .unwrap_or("")
    }
}

/// Takes `count` entries off the front of `rest`.
fn section<'a, T>(rest: &mut &'a [u8], count: U32, limit: usize, section: Section) -> Result<&'a [T], ImageError>
where
    T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable,
{
    let count = usize::try_from(count.get()).map_err(|_| ImageError::Count(section))?;
    if count > limit {
        return Err(ImageError::Count(section));
    }
    let (entries, behind) = <[T]>::ref_from_prefix_with_elems(rest, count).map_err(|_| ImageError::Layout)?;
    *rest = behind;
    Ok(entries)
}

/// The entries of `span`; none when it reaches out, which no valid image's span does.
#[inline]
fn part<T>(entries: &[T], span: Span) -> &[T] {
    let start = span.start.get() as usize;
    entries
        .get(start..start.saturating_add(span.count.get() as usize))
        .unwrap_or(&[])
}

/// A rule, or an initial option, of an image.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    pub(super) image: Image<'a>,
    pub(super) record: &'a RuleRecord,
}

/// What a condition allows.
#[derive(Clone, Copy, Debug)]
pub enum Members<'a> {
    /// Numbers: values, ports, families, protocols.
    Ranges(&'a [Range]),
    /// Clients or processes.
    Patterns(&'a [layout::Pattern]),
}

/// A client or process that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// By file name of the image.
    Image(&'a str),
    /// By NPI module id.
    Module([u8; 16]),
    /// By process id.
    Pid(u64),
    /// No owning process.
    NoProcess,
    /// Some owning process.
    AnyProcess,
}

impl<'a> Rule<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.image.string(self.record.name)
    }

    /// Its description; may be empty.
    #[must_use]
    pub fn description(&self) -> &'a str {
        self.image.string(self.record.description)
    }

    /// Its fixed part.
    #[must_use]
    pub fn record(&self) -> &'a RuleRecord {
        self.record
    }

    /// What it does.
    #[must_use]
    pub fn action(&self) -> super::Action<'a> {
        self.image.action(self.record)
    }

    /// Its conditions, as (`FIELD_*`, members).
    pub fn conditions(&self) -> impl Iterator<Item = (u8, Members<'a>)> + use<'a> {
        let image = self.image;
        image
            .conditions_of(self.record)
            .iter()
            .map(move |condition| match condition.field {
                layout::FIELD_CLIENT | layout::FIELD_PROCESS => {
                    (condition.field, Members::Patterns(image.patterns_of(condition.members)))
                }
                field => (field, Members::Ranges(image.ranges_of(condition.members))),
            })
    }

    /// What a pattern of one of its conditions stands for.
    #[must_use]
    pub fn pattern(&self, pattern: &layout::Pattern) -> Pattern<'a> {
        match pattern.kind {
            layout::PATTERN_IMAGE => Pattern::Image(self.image.string(pattern.name)),
            layout::PATTERN_MODULE => Pattern::Module(pattern.module),
            layout::PATTERN_PID => Pattern::Pid(pattern.number.get()),
            layout::PATTERN_NO_PROCESS => Pattern::NoProcess,
            _ => Pattern::AnyProcess,
        }
    }
}

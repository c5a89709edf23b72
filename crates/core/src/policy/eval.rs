//! What a policy decides about a request. Any IRQL; no lock, no write, a few nanoseconds plus a few per rule for the same option.

use zerocopy::byteorder::little_endian::U32;

use super::decision::{Action, Decision, Field, InitialOption, Interest, Rewrite, RuleRef};
use super::image::Image;
use super::input::{BindInput, ClientKey, Fallback, MatchInput, PolicyMode, ProcessKey, Verbosity};
use super::layout::{self, Pattern, Range, RuleRecord};
use crate::{Category, NtStatus, RequestKind, SOL_SOCKET};

const STATUS_ACCESS_DENIED: NtStatus = NtStatus(0xC000_0022);
const SO_REUSEADDR: u32 = 0x4;
const SO_EXCLUSIVEADDRUSE: u32 = !SO_REUSEADDR;

impl<'a> Image<'a> {
    /// The decision about a request: the first rule that matches, else the default.
    #[must_use]
    pub fn evaluate(&self, input: &MatchInput<'_>) -> Decision<'a> {
        let marks = Marks::of(input.category, input.bind);
        self.first_match(self.runs(input.request, input.level, input.code), marks, |record| {
            self.unheld(record, input).is_none()
        })
    }

    /// The decision about every set or get of an option by endpoints of a category; `None` where a rule looks at more of a request.
    pub(crate) fn foregone(
        &self,
        request: RequestKind,
        level: u32,
        code: u32,
        category: Category,
    ) -> Option<Decision<'a>> {
        let mut known = true;
        // The first rule for the category decides, unless it has conditions: then those decide who does.
        let looks = |record: &RuleRecord| {
            known = record.conditions.count == 0;
            true
        };
        let runs = self.runs(request, level, code);
        let decision = self.first_match(runs, Marks::of(category, BindInput::NONE), looks);
        known.then_some(decision)
    }

    /// Whether no rule is for sets or gets of an option by endpoints of a category, and the default allows and does not record them.
    #[inline]
    pub(crate) fn is_indifferent(&self, request: RequestKind, level: u32, code: u32, category: Category) -> bool {
        !self.decides(self.runs(request, level, code), bit(category as u8))
    }

    /// The decision about a set, get or ioctl, and whether some rule may have looked at its value: [`Interest::decide`] of its option.
    /// `input` is asked for when a rule has conditions.
    #[inline]
    pub(crate) fn decide<'i>(
        &self,
        request: RequestKind,
        level: u32,
        code: u32,
        category: Category,
        input: impl Fn() -> MatchInput<'i>,
    ) -> (Decision<'a>, bool) {
        let marks = Marks::of(category, BindInput::NONE);
        let mut made = None;
        let holds = |record: &RuleRecord| {
            record.conditions.count == 0 || self.unheld(record, made.get_or_insert_with(&input)).is_none()
        };
        // Most policies have rules for options only: there is one list.
        if self.scopes.wide & bit(request as u8) == 0 {
            let (level, code) = key(request, level, code);
            let found = if self.scopes.exact & bit(request as u8) == 0 {
                None
            } else {
                self.find(request, layout::SCOPE_EXACT, level, code)
            };
            let all = self.settings.fallback == Fallback::Deny || self.settings.verbosity == Verbosity::All;
            return match found {
                None => (self.default(), all),
                Some((_, slot)) => {
                    let candidates = self.entries_of(&slot.run).iter().map(|index| index.get());
                    let decision = self.first_of(candidates, marks, holds);
                    (decision, all || slot.run.decide & marks.category != 0)
                }
            };
        }
        let runs = self.runs(request, level, code);
        (self.first_match(runs, marks, holds), self.decides(runs, marks.category))
    }

    #[inline]
    fn decides(&self, runs: Runs<'a>, mine: u8) -> bool {
        self.settings.fallback == Fallback::Deny
            || self.settings.verbosity == Verbosity::All
            || runs.iter().any(|run| run.is_some_and(|run| run.decide & mine != 0))
    }

    #[inline]
    fn first_match(&self, runs: Runs<'a>, marks: Marks, holds: impl FnMut(&RuleRecord) -> bool) -> Decision<'a> {
        let lists = runs.map(|run| run.map_or(&[][..], |run| self.entries_of(run)));
        if let [list, [], []] = lists {
            self.first_of(list.iter().map(|index| index.get()), marks, holds)
        } else {
            self.first_of(Candidates(lists), marks, holds)
        }
    }

    #[inline]
    fn first_of(
        &self,
        candidates: impl Iterator<Item = u32>,
        marks: Marks,
        mut holds: impl FnMut(&RuleRecord) -> bool,
    ) -> Decision<'a> {
        for index in candidates {
            if let Some(record) = self.rules.get(index as usize)
                && marks.unmet(record).is_none()
                && holds(record)
            {
                let verbose = record.flags & layout::FLAG_AUDIT != 0;
                return self.decision(RuleRef(index), self.action(record), verbose);
            }
        }
        self.default()
    }

    #[inline]
    fn default(&self) -> Decision<'a> {
        let action = match self.settings.fallback {
            Fallback::Allow => Action::Allow,
            Fallback::Deny => Action::Deny(STATUS_ACCESS_DENIED),
        };
        self.decision(RuleRef::DEFAULT, action, false)
    }

    #[inline]
    fn decision(&self, rule: RuleRef, action: Action<'a>, verbose: bool) -> Decision<'a> {
        let enforce = self.settings.mode == PolicyMode::Enforce;
        Decision {
            rule,
            action,
            enforce,
            verbose,
            verbosity: self.settings.verbosity,
        }
    }

    /// What the policy needs to see of requests for one option from endpoints of one category.
    #[must_use]
    pub fn interest(&self, request: RequestKind, level: u32, code: u32, category: Category) -> Interest {
        let mine = bit(category as u8);
        let runs = self.runs(request, level, code);
        let mut interest = Interest {
            decide: self.decides(runs, mine),
            complete: self.settings.verbosity == Verbosity::All,
        };
        for run in runs.into_iter().flatten() {
            interest.complete |= run.complete & mine != 0;
        }
        if request == RequestKind::Set {
            interest.complete |= self.is_tracked(level, code, mine);
        }
        interest
    }

    /// Whether some rule reads what a set of this option leaves on record: by `old`, or by `sharing` at the bind.
    fn is_tracked(&self, level: u32, code: u32, mine: u8) -> bool {
        let by_old = [RequestKind::Set, RequestKind::Get]
            .into_iter()
            .flat_map(|kind| self.runs(kind, level, code))
            .flatten()
            .any(|run| run.tracks & mine != 0);
        let shares = level == SOL_SOCKET && (code == SO_REUSEADDR || code == SO_EXCLUSIVEADDRUSE);
        by_old
            || (shares
                && self
                    .header
                    .any
                    .get(RequestKind::Bind as usize)
                    .is_some_and(|run| run.tracks & mine != 0))
    }

    /// The options to set on a new endpoint, in order. Reads its category, family, protocol, client and process.
    pub fn initial_options(&self, input: &MatchInput<'_>) -> impl Iterator<Item = InitialOption> {
        self.initial
            .iter()
            .enumerate()
            .filter(|(_, record)| self.unmet(record, input).is_none())
            .map(|(index, record)| InitialOption {
                index,
                level: record.level.get(),
                code: record.code.get(),
                value: record.first.get(),
            })
    }

    /// Whether `status` counts as a keep-alive failure.
    #[must_use]
    pub fn is_keepalive_failure(&self, status: NtStatus) -> bool {
        contains(self.ranges_of(self.header.keepalive), u64::from(status.0))
    }

    /// Why rule `index` does not match, `None` when it does: what `explain` shows. Looks at one rule, without the index.
    #[must_use]
    pub fn mismatch(&self, index: usize, input: &MatchInput<'_>) -> Option<Field> {
        let record = self.rules.get(index)?;
        if record.requests & bit(input.request as u8) == 0 {
            return Some(Field::Request);
        }
        let (level, code) = key(input.request, input.level, input.code);
        let same = match record.scope {
            layout::SCOPE_EXACT => record.level == level && record.code == code,
            layout::SCOPE_LEVEL => record.level == level,
            _ => true,
        };
        if same {
            self.unmet(record, input)
        } else {
            Some(Field::Option)
        }
    }

    /// The first thing that does not hold of a rule whose request and option match.
    fn unmet(&self, record: &RuleRecord, input: &MatchInput<'_>) -> Option<Field> {
        Marks::of(input.category, input.bind)
            .unmet(record)
            .or_else(|| self.unheld(record, input))
    }

    /// The first condition of a rule that does not hold.
    #[inline]
    fn unheld(&self, record: &RuleRecord, input: &MatchInput<'_>) -> Option<Field> {
        let unheld = self
            .conditions_of(record)
            .iter()
            .find(|condition| !self.holds(condition, input))?;
        Some(Field::Condition(unheld.field))
    }

    fn holds(&self, condition: &layout::Condition, input: &MatchInput<'_>) -> bool {
        let number = match condition.field {
            layout::FIELD_NEW => input.new_value,
            layout::FIELD_OLD => input.old_value,
            layout::FIELD_PORT => Some(u64::from(input.bind.port)),
            layout::FIELD_FAMILY => Some(u64::from(input.family.0)),
            layout::FIELD_PROTOCOL => Some(u64::from(input.protocol)),
            layout::FIELD_CLIENT => {
                return self
                    .patterns_of(condition.members)
                    .iter()
                    .any(|pattern| self.is_client(pattern, &input.client));
            }
            _ => {
                let process = input.process.as_ref();
                return self
                    .patterns_of(condition.members)
                    .iter()
                    .any(|pattern| self.is_process(pattern, process));
            }
        };
        number.is_some_and(|number| contains(self.ranges_of(condition.members), number))
    }

    fn is_client(&self, pattern: &Pattern, client: &ClientKey<'_>) -> bool {
        match pattern.kind {
            layout::PATTERN_IMAGE => self.is_image(pattern, client.hash, client.image),
            layout::PATTERN_MODULE => pattern.module == client.module,
            _ => false,
        }
    }

    fn is_process(&self, pattern: &Pattern, process: Option<&ProcessKey<'_>>) -> bool {
        match (pattern.kind, process) {
            (layout::PATTERN_NO_PROCESS, None) | (layout::PATTERN_ANY_PROCESS, Some(_)) => true,
            (layout::PATTERN_PID, Some(process)) => pattern.number == process.pid,
            (layout::PATTERN_IMAGE, Some(process)) => self.is_image(pattern, process.hash, process.image),
            _ => false,
        }
    }

    /// The hash only saves the comparison.
    fn is_image(&self, pattern: &Pattern, hash: u64, image: &[u8]) -> bool {
        pattern.number == hash && self.string(pattern.name).as_bytes() == image
    }

    /// What a rule does.
    pub(super) fn action(&self, record: &RuleRecord) -> Action<'a> {
        match record.action {
            layout::ACTION_DENY => Action::Deny(NtStatus(record.first.get())),
            layout::ACTION_CLAMP => Action::Clamp {
                min: record.first.get(),
                max: record.second.get(),
            },
            layout::ACTION_FORCE => Action::Force(record.first.get()),
            layout::ACTION_REWRITE => Action::Rewrite(Rewrite(self.map_of(record))),
            layout::ACTION_SUCCEED => Action::Succeed,
            layout::ACTION_EXCLUSIVE => Action::Exclusive,
            _ => Action::Allow,
        }
    }

    /// The rule lists for a request: of the option, of the level, of the kind.
    #[inline]
    fn runs(&self, request: RequestKind, level: u32, code: u32) -> Runs<'a> {
        let (level, code) = key(request, level, code);
        let of = |scope, code| self.find(request, scope, level, code).map(|(_, slot)| &slot.run);
        let mine = bit(request as u8);
        [
            if self.scopes.exact & mine != 0 {
                of(layout::SCOPE_EXACT, code)
            } else {
                None
            },
            if self.scopes.level & mine != 0 {
                of(layout::SCOPE_LEVEL, 0)
            } else {
                None
            },
            self.header.any.get(request as usize),
        ]
    }
}

/// What every rule asks of a request, as bits.
#[derive(Clone, Copy)]
struct Marks {
    category: u8,
    address: u8,
    sharing: u8,
}

impl Marks {
    #[inline]
    fn of(category: Category, bind: BindInput) -> Self {
        Self {
            category: bit(category as u8),
            address: bit(bind.address as u8),
            sharing: bind.sharing.bits(),
        }
    }

    #[inline]
    fn unmet(self, record: &RuleRecord) -> Option<Field> {
        if record.categories & self.category == 0 {
            Some(Field::Category)
        } else if record.addresses & self.address == 0 {
            Some(Field::Address)
        } else if record.sharing & self.sharing == 0 {
            Some(Field::Sharing)
        } else {
            None
        }
    }
}

/// The rule lists for one request.
type Runs<'a> = [Option<&'a layout::Run>; 3];

/// Three ascending lists, merged.
struct Candidates<'a>([&'a [U32]; 3]);

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        /// No rule has this index: there are at most [`layout::MAX_RULES`].
        const NONE: u32 = u32::MAX;
        let [option, level, kind] = &mut self.0;
        let heads = [&*option, &*level, &*kind].map(|list| list.first().map_or(NONE, |rule| rule.get()));
        let [of_option, of_level, of_kind] = heads;
        let least = of_option.min(of_level).min(of_kind);
        if least == NONE {
            return None;
        }
        // A rule is in one of the lists only.
        let list = if of_option == least {
            option
        } else if of_level == least {
            level
        } else {
            kind
        };
        *list = list.get(1..).unwrap_or(&[]);
        Some(least)
    }
}

/// Level and option as the index has them: an ioctl has no level, a bind neither.
#[inline]
const fn key(request: RequestKind, level: u32, code: u32) -> (u32, u32) {
    match request {
        RequestKind::Set | RequestKind::Get => (level, code),
        RequestKind::Ioctl => (0, code),
        RequestKind::Bind => (0, 0),
    }
}

/// Whether one of the ranges, ascending and disjoint, has `value`.
fn contains(ranges: &[Range], value: u64) -> bool {
    // Most conditions name one.
    if let [range] = ranges {
        return range.low.get() <= value && value <= range.high.get();
    }
    let place = ranges.partition_point(|range| range.high.get() < value);
    ranges.get(place).is_some_and(|range| range.low.get() <= value)
}

/// Bit `number` of a mask; `number` is an enumeration's, below 8.
#[inline]
pub(super) const fn bit(number: u8) -> u8 {
    1u8.wrapping_shl(number as u32)
}

//! Decision tables: what is decided on the usual sets and gets of each option, by category, worked out once for each policy. Rules that
//! look at more of a request than its option and category, and what is not usual, are left to [`super::control`]'s long way.
//! Any IRQL; made with fallible memory.

use super::{Done, most_of, named};
use crate::catalogue::{OPTIONS, Row, Space};
use crate::memory::{Array, Memory};
use crate::policy::{Action, Decision, Image, RuleRef};
use crate::semantics::{UsualGet, UsualSet};
use crate::{Category, Mode, RequestKind, SOL_SOCKET};

/// The usual sets of an option.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetEntry {
    pub(super) usual: UsualSet,
    pub(super) ending: Ending,
    /// What the value is brought between.
    pub(super) low: u32,
    pub(super) high: u32,
    /// What that is called.
    pub(super) done: Done,
}

/// The usual gets of an option.
#[derive(Clone, Copy, Debug)]
pub(super) struct GetEntry {
    pub(super) usual: UsualGet,
    pub(super) ending: Ending,
}

/// What is the same for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) rule: Option<RuleRef>,
    pub(super) record: bool,
    pub(super) mode: Mode,
}

const CATEGORIES: [Category; 5] = [
    Category::Basic,
    Category::Listen,
    Category::Connection,
    Category::Datagram,
    Category::Stream,
];

/// By category.
#[derive(Clone, Copy)]
struct OfOption {
    sets: [SetEntry; CATEGORIES.len()],
    gets: [GetEntry; CATEGORIES.len()],
}

/// The tables of one policy.
pub struct Tables<M: Memory>(Array<OfOption, M>);

/// Tables, to be looked up; by default those of a driver without a policy.
#[derive(Clone, Copy)]
pub struct TablesRef<'t>(&'t [OfOption]);

/// Without a policy: the contract is looked at, and nothing recorded.
static BUILT_IN: [OfOption; OPTIONS.len()] = {
    let mut table = [OfOption::of(&OPTIONS[0], Mode::Audit); OPTIONS.len()];
    let mut all: &[Row] = &OPTIONS;
    let mut places: &mut [OfOption] = &mut table;
    while let ([row, rows @ ..], [place, rest @ ..]) = (all, places) {
        *place = OfOption::of(row, Mode::Audit);
        all = rows;
        places = rest;
    }
    table
};

impl OfOption {
    /// As without rules.
    const fn of(row: &Row, mode: Mode) -> Self {
        let ending = Ending {
            rule: None,
            record: false,
            mode,
        };
        let option = matches!(row.space, Space::Socket);
        Self {
            sets: [SetEntry {
                usual: if option {
                    UsualSet::of(row, mode)
                } else {
                    UsualSet::NONE
                },
                ending,
                low: 0,
                high: u32::MAX,
                done: Done::Forwarded,
            }; CATEGORIES.len()],
            gets: [GetEntry {
                usual: if option {
                    UsualGet::of(row, mode)
                } else {
                    UsualGet::NONE
                },
                ending,
            }; CATEGORIES.len()],
        }
    }

    /// As the policy decides.
    fn decided(row: &Row, mode: Mode, image: &Image<'_>) -> Self {
        let mut entries = Self::of(row, mode);
        let foregone = |kind, category| image.foregone(kind, SOL_SOCKET, row.code, category);
        for (entry, category) in entries.sets.iter_mut().zip(CATEGORIES) {
            entry.decide(foregone(RequestKind::Set, category));
        }
        for (entry, category) in entries.gets.iter_mut().zip(CATEGORIES) {
            entry.decide(foregone(RequestKind::Get, category));
        }
        entries
    }
}

impl SetEntry {
    fn decide(&mut self, decision: Option<Decision<'_>>) {
        let range = |decision: Decision<'_>| match decision.action {
            Action::Allow => Some((0, u32::MAX)),
            Action::Clamp { min, max } if decision.enforce => Some((min, max)),
            Action::Force(value) if decision.enforce => Some((value, value)),
            _ => None,
        };
        let Some((decision, (low, high))) = decision.and_then(|decision| Some((decision, range(decision)?))) else {
            self.usual = UsualSet::NONE;
            return;
        };
        (self.low, self.high, self.done) = (low, high, named(decision.action));
        self.ending.follow(decision);
    }
}

impl GetEntry {
    fn decide(&mut self, decision: Option<Decision<'_>>) {
        match decision {
            Some(decision) if decision.action == Action::Allow => self.ending.follow(decision),
            _ => self.usual = UsualGet::NONE,
        }
    }
}

impl Ending {
    fn follow(&mut self, decision: Decision<'_>) {
        self.rule = Some(decision.rule);
        // A rule that may change the value counts as one that does.
        self.record = decision.records(decision.action != Action::Allow);
    }
}

impl<M: Memory> Tables<M> {
    /// Those of `image`. `None` when there is no memory.
    pub fn new(memory: M, image: &Image<'_>) -> Option<Self> {
        let settings = image.settings();
        let mode = settings.semantics.min(most_of(settings.mode));
        let of = |place| Some(OfOption::decided(OPTIONS.get(place)?, mode, image));
        Array::new(memory, OPTIONS.len(), of).map(Self)
    }

    /// To be looked up.
    #[must_use]
    #[inline]
    pub fn as_ref(&self) -> TablesRef<'_> {
        TablesRef(&self.0)
    }
}

impl Default for TablesRef<'_> {
    #[inline]
    fn default() -> Self {
        Self(&BUILT_IN)
    }
}

impl<'t> TablesRef<'t> {
    /// No table: every request goes the long way.
    pub const NONE: Self = Self(&[]);

    #[inline]
    pub(super) fn sets(self, row: &Row, category: Category) -> Option<&'t SetEntry> {
        self.0.get(row.id as usize)?.sets.get(category as usize)
    }

    #[inline]
    pub(super) fn gets(self, row: &Row, category: Category) -> Option<&'t GetEntry> {
        self.0.get(row.id as usize)?.gets.get(category as usize)
    }
}

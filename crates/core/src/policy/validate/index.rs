//! The index of an image lists, for each key, exactly the rules that have it.

use zerocopy::IntoBytes;

use super::{Check, Checker, at, need, request_kind, take};
use crate::RequestKind;
use crate::policy::error::{Fault, ImageError, Section};
use crate::policy::eval::bit;
use crate::policy::layout::{self, RuleRecord, Run, Slot};

impl Checker<'_> {
    /// A list of the index: ascending rules that all have its key, and the masks they add up to. That the lists of all keys are
    /// complete follows from the number of entries: a rule belongs to one key per request kind.
    pub(super) fn run(&mut self, run: &Run, kind: Option<RequestKind>, key: impl Fn(&RuleRecord) -> bool) -> Check {
        take(&mut self.entries, run.entries, self.image.entries.len())?;
        let request = bit(kind.ok_or(Fault::Value)? as u8);
        let mut masks = Run {
            entries: run.entries,
            ..Run::default()
        };
        let mut last = None;
        for index in self.image.entries_of(run) {
            let record = self.image.rules.get(index.get() as usize).ok_or(Fault::Index)?;
            need(
                last < Some(index.get()) && record.requests & request != 0 && key(record),
                Fault::Index,
            )?;
            last = Some(index.get());
            masks.decide |= record.categories;
            masks.complete |= if completes(record) { record.categories } else { 0 };
            masks.tracks |= if self.tracks(record) { record.categories } else { 0 };
        }
        need(masks == *run, Fault::Index)
    }

    fn tracks(&self, record: &RuleRecord) -> bool {
        let old = self
            .image
            .conditions_of(record)
            .iter()
            .any(|condition| condition.field == layout::FIELD_OLD);
        old || record.sharing != layout::ALL_SHARING
    }

    pub(super) fn slots(&mut self) -> Result<(), ImageError> {
        for (place, slot) in self.image.slots.iter().enumerate() {
            self.slot(place, slot).map_err(at(Section::Slots, place))?;
        }
        Ok(())
    }

    fn slot(&mut self, place: usize, slot: &Slot) -> Check {
        if slot.scope == 0 {
            return need(slot.as_bytes().iter().all(|&byte| byte == 0), Fault::Value);
        }
        need(slot.reserved == [0; 2] && slot.run.entries.count != 0, Fault::Value)?;
        let kind = request_kind(usize::from(slot.kind)).ok_or(Fault::Value)?;
        let (level, code) = (slot.level, slot.code);
        if slot.scope == layout::SCOPE_EXACT {
            self.scopes.exact |= bit(slot.kind);
        } else {
            self.scopes.level |= bit(slot.kind);
            self.scopes.wide |= bit(slot.kind);
        }
        self.run(&slot.run, Some(kind), |record| {
            record.scope == slot.scope && record.level == level && record.code == code
        })?;
        // Searching for its key finds this slot: so it can be found, and the key has no second one.
        let found = self.image.find(kind, slot.scope, level.get(), code.get());
        need(found.is_some_and(|(found, _)| found == place), Fault::Index)
    }
}

/// Whether the completion of a request this rule decides must be seen: its outcome is recorded, its value is ours.
fn completes(record: &RuleRecord) -> bool {
    record.flags & layout::FLAG_AUDIT != 0
        || matches!(
            record.action,
            layout::ACTION_CLAMP | layout::ACTION_FORCE | layout::ACTION_REWRITE
        )
}

//! The options of one endpoint, shared by every request in progress on it, without a lock. IRQL <= `DISPATCH_LEVEL`.
//!
//! # Invariants
//! As for [`OptionState`]. Coupled options live in one word, which is only ever replaced whole by compare-and-swap, so no
//! interleaving can break a coupling. The other words are independent of each other.

use super::change::{Change, Op, Undo};
use super::config::EndpointConfig;
use super::state::{Coupled, Flag, Number, OptionState};
use crate::status::Refusal;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// [`OptionState`] behind atomics.
#[cfg_attr(not(loom), derive(Debug))]
pub struct SharedOptions {
    coupled: AtomicU64,
    numbers: [AtomicU32; Number::COUNT],
    /// Numbers that were set (low 8 bits), then the two bytes of the configuration.
    marks: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SharedOptions>() <= 48);

const fn marks(given: u32, config: (u8, u8)) -> u32 {
    given | (config.0 as u32) << 8 | (config.1 as u32) << 16
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the bytes of the word are what is wanted"
)]
const fn config_of(marks: u32) -> (u8, u8) {
    ((marks >> 8) as u8, (marks >> 16) as u8)
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self::new(OptionState::default())
    }
}

impl SharedOptions {
    /// Starts from `state`: the default, or what an accepted socket inherits.
    #[must_use]
    pub fn new(state: OptionState) -> Self {
        Self {
            coupled: AtomicU64::new(state.coupled.0),
            numbers: state.numbers.map(AtomicU32::new),
            marks: AtomicU32::new(marks(u32::from(state.given), state.config)),
        }
    }

    /// One boolean, now.
    #[must_use]
    #[inline]
    pub fn flag(&self, flag: Flag) -> bool {
        self.coupled().get(flag)
    }

    /// The coupled options, now.
    #[inline]
    pub(super) fn coupled(&self) -> Coupled {
        Coupled(self.coupled.load(Ordering::Acquire))
    }

    /// One number, now; `None` if it was never set.
    #[must_use]
    #[inline]
    pub fn number(&self, number: Number) -> Option<u32> {
        let given = self.marks.load(Ordering::Acquire) & number.given_bit() != 0;
        let slot = self.numbers.get(number as usize)?;
        given.then(|| slot.load(Ordering::Relaxed))
    }

    /// Whether neither `SO_DEBUG` nor the `PVD_CONFIG` object makes the endpoint different from others.
    #[must_use]
    #[inline]
    pub fn is_ordinary(&self) -> bool {
        const CONFIG: u32 = marks(0, (u8::MAX, u8::MAX));
        const ORDINARY: u32 = marks(0, EndpointConfig::DEFAULT.parts());
        self.marks.load(Ordering::Acquire) & CONFIG == ORDINARY && !self.coupled().get(Flag::Debug)
    }

    /// The options now. A number that is seen as set is seen with a value that was set.
    #[must_use]
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low byte of the marks is what is wanted"
    )]
    pub fn load(&self) -> OptionState {
        let marks = self.marks.load(Ordering::Acquire);
        OptionState {
            coupled: self.coupled(),
            numbers: core::array::from_fn(|i| self.numbers.get(i).map_or(0, |n| n.load(Ordering::Relaxed))),
            given: marks as u8,
            config: config_of(marks),
        }
    }

    /// Makes a decision true. A change of coupled options is validated again against the options as they are now, since it may
    /// have been decided on older ones. Never blocks; nothing is changed when it fails.
    ///
    /// # Errors
    /// `ReuseXorExclusive`, for a change that enforces the coupling.
    #[inline]
    pub fn commit(&self, change: Change) -> Result<Undo, Refusal> {
        match change.op() {
            Op::Number(number, new) => Ok(self.commit_number(number, new)),
            Op::Config(new) => Ok(self.commit_config(new)),
            _ => self.commit_coupled(change),
        }
    }

    fn commit_coupled(&self, change: Change) -> Result<Undo, Refusal> {
        let mut old = self.coupled.load(Ordering::Acquire);
        while let Some(after) = Coupled(old).after(change) {
            let (new, mask) = after?;
            if new.0 == old {
                return Ok(Undo::Coupled { mask, old, new: old });
            }
            match self
                .coupled
                .compare_exchange(old, new.0, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(Undo::Coupled { mask, old, new: new.0 }),
                Err(now) => old = now,
            }
        }
        Ok(Undo::None)
    }

    #[inline]
    fn commit_number(&self, number: Number, new: u32) -> Undo {
        // Looked at first, so that what is set again as it is costs no locked access.
        let replace = |slot: &AtomicU32| match slot.load(Ordering::Acquire) {
            same if same == new => same,
            _ => slot.swap(new, Ordering::AcqRel),
        };
        let old = self.numbers.get(number as usize).map_or(0, replace);
        let mut before = self.marks.load(Ordering::Acquire);
        if before & number.given_bit() == 0 {
            before = self.marks.fetch_or(number.given_bit(), Ordering::AcqRel);
        }
        Undo::Number {
            number,
            old,
            new,
            given: before & number.given_bit() != 0,
        }
    }

    fn commit_config(&self, new: EndpointConfig) -> Undo {
        let mut now = self.marks.load(Ordering::Acquire);
        loop {
            let next = marks(now & 0xFF, new.parts());
            match self
                .marks
                .compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        let (mode, flags) = config_of(now);
        Undo::Config {
            old: EndpointConfig::from_parts(mode, flags).unwrap_or(EndpointConfig::DEFAULT),
            new,
        }
    }

    /// Takes a change back, for a request that the provider refused. What another request has changed meanwhile stays.
    pub fn undo(&self, undo: Undo) {
        match undo {
            Undo::None => {}
            Undo::Coupled { mask, old, new } => self.undo_coupled(mask, old, new),
            Undo::Number {
                number,
                old,
                new,
                given,
            } => {
                let Some(slot) = self.numbers.get(number as usize) else {
                    return;
                };
                let undone = slot
                    .compare_exchange(new, old, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
                if undone && !given {
                    self.marks.fetch_and(!number.given_bit(), Ordering::AcqRel);
                }
            }
            Undo::Config { old, new } => {
                let now = self.marks.load(Ordering::Acquire);
                if config_of(now) == new.parts() {
                    self.commit_config(old);
                }
            }
        }
    }

    fn undo_coupled(&self, mask: u64, before: u64, after: u64) {
        let mut now = self.coupled.load(Ordering::Acquire);
        while now & mask == after & mask {
            let restored = now & !mask | before & mask;
            // Restoring must not bring back what has been excluded since.
            if Coupled(restored).broken() {
                return;
            }
            match self
                .coupled
                .compare_exchange(now, restored, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }
}

//! What the driver keeps over a restart, and what it makes of it at the next start. Pure; any IRQL.
//!
//! The policy in force is kept in two slots that are written in turn, so that a write which the machine did not survive leaves the
//! policy of before: the last known good. Starts are counted until the driver has run long enough to be called healthy; too many
//! without that turn it off, since the policy or the driver may be what keeps the machine from coming up.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::policy::{Fnv, Image};

/// Starts without a healthy mark after which the next one finds the driver turned off.
pub const STARTS_ALLOWED: u32 = 3;

const MAGIC: [u8; 8] = *b"WskGslot";
const VERSION: u32 = 1;

/// What a slot begins with; the image follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SlotHeader {
    magic: [u8; 8],
    version: U32,
    length: U32,
    sequence: U64,
    /// FNV-1a of the fields before and of the image.
    check: U64,
}

const _: () = assert!(size_of::<SlotHeader>() == 32);

impl SlotHeader {
    /// The header of `image` in a slot. The slot with the higher sequence is the newer one. `None` for an image of 4 GiB or more.
    #[must_use]
    pub fn new(sequence: u64, image: &[u8]) -> Option<Self> {
        let mut header = Self {
            magic: MAGIC,
            version: U32::new(VERSION),
            length: U32::new(u32::try_from(image.len()).ok()?),
            sequence: U64::new(sequence),
            check: U64::new(0),
        };
        header.check = U64::new(header.checksum(image));
        Some(header)
    }

    fn checksum(&self, image: &[u8]) -> u64 {
        let mut hash = Fnv::new();
        hash.write(&self.magic);
        hash.write(self.version.as_bytes());
        hash.write(self.length.as_bytes());
        hash.write(self.sequence.as_bytes());
        hash.write(image);
        hash.finish()
    }
}

/// A slot that holds what was written to it, and a policy that this driver understands.
fn read(slot: &[u8]) -> Option<(u64, &[u8])> {
    let (header, image) = SlotHeader::ref_from_prefix(slot).ok()?;
    let whole = header.magic == MAGIC
        && header.version.get() == VERSION
        && usize::try_from(header.length.get()) == Ok(image.len())
        && header.check.get() == header.checksum(image);
    (whole && Image::parse(image).is_ok()).then_some((header.sequence.get(), image))
}

/// What the slots were found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: no policy was ever kept.
    Nothing,
    /// The policy that was kept last.
    Newest,
    /// A slot is damaged, perhaps the newer one: the policy of the other, the last known to be good.
    LastKnownGood,
    /// Slots are there, and none is good.
    Bad,
}

/// What to put in force at start, and where the next policy is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    /// What was found.
    pub found: Found,
    /// The policy to put in force.
    pub image: Option<&'a [u8]>,
    /// Its place; for the next policy it is the other slot, and the next number.
    pub place: Place,
}

/// Which slot was written last, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// 0 or 1.
    pub slot: u8,
    /// 0: nothing was written yet.
    pub sequence: u64,
}

impl Place {
    /// Where the next policy goes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            slot: if self.slot == 0 { 1 } else { 0 },
            sequence: self.sequence.saturating_add(1),
        }
    }
}

/// Chooses among the slots, as they were read; `None` is a slot that is not there.
#[must_use]
pub fn choose<'a>(slots: [Option<&'a [u8]>; 2]) -> Kept<'a> {
    let [first, second] = slots.map(|slot| slot.map(read));
    let damaged = matches!(first, Some(None)) || matches!(second, Some(None));
    let good = |slot: Option<Option<(u64, &'a [u8])>>| slot.flatten();
    let (slot, best) = match (good(first), good(second)) {
        (Some(a), Some(b)) if b.0 > a.0 => (1, Some(b)),
        (Some(a), _) => (0, Some(a)),
        (None, b) => (1, b),
    };
    let found = match (best, damaged) {
        (Some(_), false) => Found::Newest,
        (Some(_), true) => Found::LastKnownGood,
        (None, true) => Found::Bad,
        (None, false) => Found::Nothing,
    };
    Kept {
        found,
        image: best.map(|(_, image)| image),
        place: best.map_or(Place::default(), |(sequence, _)| Place { slot, sequence }),
    }
}

/// What a start makes of the number of starts before it that were never marked healthy: the number to keep, or `None` when the driver
/// has to stay off.
#[must_use]
pub const fn start(unmarked: u32) -> Option<u32> {
    if unmarked >= STARTS_ALLOWED {
        None
    } else {
        Some(unmarked.saturating_add(1))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::policy::OFF;

    fn slot(sequence: u64, image: &[u8]) -> Vec<u8> {
        [SlotHeader::new(sequence, image).unwrap().as_bytes(), image].concat()
    }

    #[test]
    fn the_newer_slot_is_taken_and_the_older_written_next() {
        let (old, new) = (slot(6, OFF), slot(7, OFF));
        for (slots, at) in [([&old, &new], 1), ([&new, &old], 0)] {
            let kept = choose(slots.map(|slot| Some(slot.as_slice())));
            assert_eq!((kept.found, kept.image), (Found::Newest, Some(OFF)));
            assert_eq!(kept.place, Place { slot: at, sequence: 7 });
            assert_eq!(
                kept.place.next(),
                Place {
                    slot: 1 - at,
                    sequence: 8
                }
            );
        }
        let one = choose([None, Some(&old)]);
        assert_eq!((one.found, one.place), (Found::Newest, Place { slot: 1, sequence: 6 }));
    }

    #[test]
    fn nothing_is_no_fault() {
        let kept = choose([None, None]);
        assert_eq!((kept.found, kept.image), (Found::Nothing, None));
        assert_eq!(kept.place.next(), Place { slot: 1, sequence: 1 });
    }

    #[test]
    fn any_damage_is_seen_and_the_other_slot_taken() {
        let (good, newer) = (slot(6, OFF), slot(7, OFF));
        for at in 0..newer.len() {
            let mut damaged = newer.clone();
            damaged[at] ^= 1;
            let kept = choose([Some(&good), Some(&damaged)]);
            assert_eq!(
                (kept.found, kept.place.sequence),
                (Found::LastKnownGood, 6),
                "byte {at}"
            );
            let alone = choose([None, Some(&damaged)]);
            assert_eq!((alone.found, alone.image), (Found::Bad, None), "byte {at}");
        }
        for length in 0..newer.len() {
            let kept = choose([Some(&newer[..length]), Some(&good)]);
            assert_eq!(
                (kept.found, kept.place.sequence),
                (Found::LastKnownGood, 6),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_whole_slot_with_a_policy_of_another_format_is_bad() {
        let mut foreign = OFF.to_vec();
        foreign[4] ^= 0x40;
        let whole = slot(1, &foreign);
        let kept = choose([Some(&whole), None]);
        assert_eq!(kept.found, Found::Bad);
    }

    #[test]
    fn the_fourth_unhealthy_start_is_off() {
        let mut kept = 0;
        for number in 1..=STARTS_ALLOWED {
            kept = start(kept).expect("still allowed");
            assert_eq!(kept, number);
        }
        assert_eq!(start(kept), None);
        assert_eq!(start(u32::MAX), None);
    }
}

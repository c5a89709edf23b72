//! From a request's number to its row in constant time: one multiplication, one probe. Any IRQL.

use super::row::{Row, Space};
use super::rows::OPTIONS;
use crate::SOL_SOCKET;

/// Slots of the index.
const SLOTS: usize = 256;
/// No row.
const EMPTY: u8 = u8::MAX;

/// Where a code has its slot. The multiplier was searched for: no two rows share a slot, which is asserted below.
const fn slot(code: u32) -> usize {
    (code.wrapping_mul(0x3A90_2931) >> 24) as usize
}

/// Row numbers by slot.
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
static INDEX: [u8; SLOTS] = {
    assert!(OPTIONS.len() < EMPTY as usize);
    let mut index = [EMPTY; SLOTS];
    let mut row: u8 = 0;
    let mut rest: &[Row] = &OPTIONS;
    while let [first, tail @ ..] = rest {
        let at = slot(first.code);
        assert!(index[at] == EMPTY, "two rows share a slot: look for another multiplier");
        index[at] = row;
        row += 1;
        rest = tail;
    }
    index
};

#[inline]
fn find(space: Space, code: u32) -> Option<&'static Row> {
    let number = *INDEX.get(slot(code))?;
    OPTIONS
        .get(usize::from(number))
        .filter(|row| row.code == code && row.space == space)
}

/// The option `code` of `level`. `None` for any level but `SOL_SOCKET`, and for an unknown option.
#[must_use]
#[inline]
pub fn option(level: u32, code: u32) -> Option<&'static Row> {
    if level == SOL_SOCKET {
        find(Space::Socket, code)
    } else {
        None
    }
}

/// The IOCTL `code`; its level is ignored by WSK.
#[must_use]
#[inline]
pub fn ioctl(code: u32) -> Option<&'static Row> {
    find(Space::Ioctl, code)
}

/// The row of this name. Linear: for tools and tests.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found() {
        for row in &OPTIONS {
            let found = match row.space {
                Space::Socket => option(SOL_SOCKET, row.code),
                Space::Ioctl => ioctl(row.code),
            };
            assert_eq!(found.map(|r| r.id), Some(row.id));
            assert_eq!(by_name(row.name).map(|r| r.id), Some(row.id));
        }
    }

    #[test]
    fn the_number_spaces_are_apart() {
        assert!(option(SOL_SOCKET, 0x8F00_0001).is_none());
        assert!(ioctl(0x20).is_none());
        assert!(option(0, 0x20).is_none());
        // A full 32-bit value is not its low half.
        assert!(option(SOL_SOCKET, 0x0000_FF7F).is_none());
        assert!(option(SOL_SOCKET, 0x0001_0004).is_none());
    }
}

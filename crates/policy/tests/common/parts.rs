//! Images taken apart and put together.

use wskguard_core::policy::layout::*;
use zerocopy::{FromBytes, IntoBytes};

/// An image taken apart, to be changed and put together again with the right size and hash.
#[derive(Clone)]
pub struct Parts {
    pub header: Header,
    pub slots: Vec<Slot>,
    pub entries: Vec<u32>,
    pub rules: Vec<RuleRecord>,
    pub initial: Vec<RuleRecord>,
    pub conditions: Vec<Condition>,
    pub ranges: Vec<Range>,
    pub patterns: Vec<Pattern>,
    pub map: Vec<MapEntry>,
    pub text: Vec<u8>,
}

/// Takes entries off the front.
fn section<T: FromBytes>(rest: &mut &[u8], count: u32) -> Vec<T> {
    (0..count)
        .map(|_| {
            let (entry, behind) = T::read_from_prefix(rest).unwrap();
            *rest = behind;
            entry
        })
        .collect()
}

impl Parts {
    pub fn of(image: &[u8]) -> Self {
        let (header, mut rest) = Header::read_from_prefix(image).unwrap();
        let counts = header.counts;
        Self {
            header,
            slots: section(&mut rest, counts.slots.get()),
            entries: section(&mut rest, counts.entries.get()),
            rules: section(&mut rest, counts.rules.get()),
            initial: section(&mut rest, counts.initial.get()),
            conditions: section(&mut rest, counts.conditions.get()),
            ranges: section(&mut rest, counts.ranges.get()),
            patterns: section(&mut rest, counts.patterns.get()),
            map: section(&mut rest, counts.map.get()),
            text: rest.to_vec(),
        }
    }

    /// With counts, size and hash as the parts are now.
    pub fn build(&self) -> Vec<u8> {
        self.build_as(self.build_header())
    }

    /// The header, with counts as the parts are now.
    pub fn build_header(&self) -> Header {
        let count = |length: usize| u32::try_from(length).unwrap().into();
        let mut header = self.header;
        header.counts = Counts {
            slots: count(self.slots.len()),
            entries: count(self.entries.len()),
            rules: count(self.rules.len()),
            initial: count(self.initial.len()),
            conditions: count(self.conditions.len()),
            ranges: count(self.ranges.len()),
            patterns: count(self.patterns.len()),
            map: count(self.map.len()),
            text: count(self.text.len()),
        };
        header
    }

    /// With size and hash, and the rest of `header` as it is.
    pub fn build_as(&self, header: Header) -> Vec<u8> {
        let mut image = header.as_bytes().to_vec();
        image.extend_from_slice(self.slots.as_bytes());
        image.extend_from_slice(self.entries.as_bytes());
        image.extend_from_slice(self.rules.as_bytes());
        image.extend_from_slice(self.initial.as_bytes());
        image.extend_from_slice(self.conditions.as_bytes());
        image.extend_from_slice(self.ranges.as_bytes());
        image.extend_from_slice(self.patterns.as_bytes());
        image.extend_from_slice(self.map.as_bytes());
        image.extend_from_slice(&self.text);
        seal(&mut image);
        image
    }
}

/// Enters the right size and hash.
pub fn seal(image: &mut [u8]) {
    if image.len() >= HASHED_FROM {
        let size = u32::try_from(image.len()).unwrap();
        image[12..16].copy_from_slice(&size.to_le_bytes());
        let hash = wskguard_core::policy::Fnv::of(&image[HASHED_FROM..]);
        image[16..24].copy_from_slice(&hash.to_le_bytes());
    }
}

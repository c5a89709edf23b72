//! Sets of numbers, and the notation for them: `1`, `"1..=5"`, `">0"`.

use std::fmt;

/// A set of unsigned numbers: ascending, disjoint ranges, neither empty nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The union of `ranges`, whatever their order. A range whose first number is above its last is empty.
    #[must_use]
    pub fn new(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    /// One number.
    #[must_use]
    pub fn one(number: u64) -> Self {
        Self(vec![(number, number)])
    }

    /// The ranges, both ends included.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&number))
    }

    /// Whether every number of `other` is in the set.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|inner| self.0.iter().any(|outer| outer.0 <= inner.0 && inner.1 <= outer.1))
    }

    /// What is at most `highest`.
    #[must_use]
    pub fn up_to(self, highest: u64) -> Self {
        Self::new(self.0.into_iter().map(|(low, high)| (low, high.min(highest))).collect())
    }
}

/// A number: decimal, or with `0x`; `_` may separate digits.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        None if !digits.starts_with('+') => digits.parse().ok(),
        _ => None,
    }
}

/// The ranges that an expression stands for, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<(u64, u64)>, &'static str> {
    const EXPECTED: &str =
        "expected a number or a range such as \"1..=5\", \"1..\", \"..=5\", \">0\", \"<=9\" or \"!=0\"";
    let text = text.trim();
    let read = |digits: &str| number(digits.trim()).ok_or(EXPECTED);
    let ranges = if let Some(rest) = text.strip_prefix(">=") {
        vec![(read(rest)?, u64::MAX)]
    } else if let Some(rest) = text.strip_prefix('>') {
        vec![(
            read(rest)?.checked_add(1).ok_or("no number is above this one")?,
            u64::MAX,
        )]
    } else if let Some(rest) = text.strip_prefix("<=") {
        vec![(0, read(rest)?)]
    } else if let Some(rest) = text.strip_prefix('<') {
        vec![(0, read(rest)?.checked_sub(1).ok_or("no number is below 0")?)]
    } else if let Some(rest) = text.strip_prefix("!=") {
        let hole = read(rest)?;
        let below = hole.checked_sub(1).map(|high| (0, high));
        below
            .into_iter()
            .chain(hole.checked_add(1).map(|low| (low, u64::MAX)))
            .collect()
    } else if let Some((low, high)) = text.split_once("..=") {
        vec![(if low.trim().is_empty() { 0 } else { read(low)? }, read(high)?)]
    } else if let Some((low, high)) = text.split_once("..") {
        if !high.trim().is_empty() {
            return Err("write `..=` for a range that includes its last number");
        }
        vec![(read(low)?, u64::MAX)]
    } else {
        let one = read(text)?;
        vec![(one, one)]
    };
    if ranges.iter().any(|(low, high)| low > high) {
        return Err("the range is empty: its first number is above its last");
    }
    Ok(ranges)
}

/// One range, in the shortest notation that [`parse`] reads.
pub(crate) fn notation((low, high): (u64, u64)) -> String {
    match (low, high) {
        (low, high) if low == high => low.to_string(),
        (low, u64::MAX) => format!("{low}.."),
        (0, high) => format!("..={high}"),
        (low, high) => format!("{low}..={high}"),
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|&range| notation(range)).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations() {
        let max = u64::MAX;
        for (text, expected) in [
            ("7", vec![(7, 7)]),
            (" 0x10 ", vec![(16, 16)]),
            ("65_536", vec![(65536, 65536)]),
            ("1..=5", vec![(1, 5)]),
            ("1 ..= 5", vec![(1, 5)]),
            ("3..", vec![(3, max)]),
            ("..=5", vec![(0, 5)]),
            (">0", vec![(1, max)]),
            (">=2", vec![(2, max)]),
            ("<9", vec![(0, 8)]),
            ("<= 9", vec![(0, 9)]),
            ("!=5", vec![(0, 4), (6, max)]),
            ("!=0", vec![(1, max)]),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn not_ranges() {
        for text in [
            "",
            "x",
            "1..5",
            "5..=1",
            "-1",
            "<0",
            "1..=",
            "..",
            ">18446744073709551615",
            "+1",
            "0x+1",
            "1 2",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn union_is_normal() {
        let ranges = Ranges::new(vec![(8, 9), (1, 3), (4, 5), (2, 2), (9, 4)]);
        assert_eq!(ranges.as_slice(), [(1, 5), (8, 9)]);
        assert!(ranges.includes(&Ranges::new(vec![(2, 4), (9, 9)])));
        assert!(!ranges.includes(&Ranges::new(vec![(5, 8)])));
        assert_eq!(ranges.up_to(4).as_slice(), [(1, 4)]);
    }
}

//! Why an image was refused. Plain data, any IRQL.

use core::fmt;

/// Why [`super::Image::parse`] refused an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Shorter than a header.
    Short,
    /// Larger than [`super::layout::MAX_IMAGE`].
    TooLarge,
    /// Not a policy image.
    Magic,
    /// Of another format version.
    Version {
        /// The version it states.
        found: u32,
    },
    /// The header states another size than there is.
    Size {
        /// Bytes by the header.
        stated: u32,
    },
    /// The bytes are not those that were compiled.
    Hash,
    /// More entries than allowed.
    Count(Section),
    /// The sections do not fill the image exactly.
    Layout,
    /// An entry is not well-formed.
    Entry {
        /// Where.
        section: Section,
        /// Which.
        index: u32,
        /// How.
        fault: Fault,
    },
}

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Section {
    /// The header.
    Header = 0,
    /// The index.
    Slots = 1,
    /// Rule lists of the index.
    Entries = 2,
    /// Rules.
    Rules = 3,
    /// Initial options.
    Initial = 4,
    /// Conditions.
    Conditions = 5,
    /// Ranges.
    Ranges = 6,
    /// Patterns.
    Patterns = 7,
    /// Map entries.
    Map = 8,
    /// Names and descriptions.
    Text = 9,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A value that has no meaning, or a reserved bit or byte that is set.
    Value = 0,
    /// A span that does not begin where the last one ended, or reaches out of its section.
    Span = 1,
    /// Members out of order, overlapping or missing.
    Order = 2,
    /// Text that is not UTF-8 or too long.
    Text = 3,
    /// An action or condition that the request cannot have.
    Combination = 4,
    /// The index does not list exactly the rules that apply.
    Index = 5,
    /// Entries that nothing refers to.
    Unused = 6,
}

impl ImageError {
    /// As three numbers, for the control interface: kind, section and fault in the bytes of the first; index, version or size in the second.
    #[must_use]
    pub const fn code(self) -> (u32, u32) {
        match self {
            Self::Short => (1, 0),
            Self::TooLarge => (2, 0),
            Self::Magic => (3, 0),
            Self::Version { found } => (4, found),
            Self::Size { stated } => (5, stated),
            Self::Hash => (6, 0),
            Self::Count(section) => (7 | (section as u32) << 8, 0),
            Self::Layout => (8, 0),
            Self::Entry { section, index, fault } => (9 | (section as u32) << 8 | (fault as u32) << 16, index),
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short => f.write_str("shorter than the header of an image"),
            Self::TooLarge => f.write_str("larger than an image may be"),
            Self::Magic => f.write_str("not a policy image"),
            Self::Version { found } => write!(f, "image format {found}, expected {}", super::layout::VERSION),
            Self::Size { stated } => write!(f, "the header states {stated} bytes"),
            Self::Hash => f.write_str("hash mismatch: the image was altered"),
            Self::Count(section) => write!(f, "too many entries in {section:?}"),
            Self::Layout => f.write_str("the sections do not fill the image"),
            Self::Entry { section, index, fault } => write!(f, "{section:?}[{index}]: {fault:?}"),
        }
    }
}

impl core::error::Error for ImageError {}

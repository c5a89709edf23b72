//! What a rule can see of a request, as the caller fills it in; and the settings of a whole policy. Plain data, any IRQL.

use super::hash::Fnv;
use super::layout;
use crate::{Category, Family, RequestKind};

/// A request, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct MatchInput<'a> {
    /// Set, get, ioctl or bind.
    pub request: RequestKind,
    /// Level of a set or get; not read otherwise.
    pub level: u32,
    /// Option or ioctl; not read for a bind.
    pub code: u32,
    /// Category of the endpoint.
    pub category: Category,
    /// Its family.
    pub family: Family,
    /// Its protocol (`IPPROTO_*`).
    pub protocol: u32,
    /// The driver that made the request.
    pub client: ClientKey<'a>,
    /// The endpoint's owning process, where `WskSocket` was given one.
    pub process: Option<ProcessKey<'a>>,
    /// The value on record, where there is one that is a number.
    pub old_value: Option<u64>,
    /// The value of a set, where the input can be read as a number. A boolean is 0 or 1, whatever bytes turn it on.
    pub new_value: Option<u64>,
    /// Of a bind; not read otherwise.
    pub bind: BindInput,
}

impl MatchInput<'_> {
    /// A request of an IPv4 endpoint with nothing else known.
    #[must_use]
    pub const fn new(request: RequestKind, level: u32, code: u32, category: Category) -> Self {
        Self {
            request,
            level,
            code,
            category,
            family: Family::INET,
            protocol: 0,
            client: ClientKey::UNKNOWN,
            process: None,
            old_value: None,
            new_value: None,
            bind: BindInput::NONE,
        }
    }
}

/// Which client: resolved once, at attach, and good for every generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey<'a> {
    /// File name of its image, lower case; empty when unknown.
    pub image: &'a [u8],
    /// FNV-1a of `image`.
    pub hash: u64,
    /// Its NPI module id (a GUID, as it lies in memory); zeros when unknown.
    pub module: [u8; 16],
}

impl<'a> ClientKey<'a> {
    /// Nothing is known of it: no condition on the client holds.
    pub const UNKNOWN: Self = Self {
        image: &[],
        hash: 0,
        module: [0; 16],
    };

    /// The client of image `image`, a file name in lower case.
    #[must_use]
    pub fn new(image: &'a [u8], module: [u8; 16]) -> Self {
        Self::hashed(image, Fnv::of(image), module)
    }

    /// The client of this image, whose hash is known.
    #[must_use]
    #[inline]
    pub fn of(image: &'a ImageName, module: [u8; 16]) -> Self {
        Self::hashed(image.as_bytes(), image.hash, module)
    }

    #[inline]
    fn hashed(image: &'a [u8], hash: u64, module: [u8; 16]) -> Self {
        Self { image, hash, module }
    }
}

/// The process an endpoint was created for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessKey<'a> {
    /// Process id.
    pub pid: u64,
    /// File name of its image, lower case; empty when unknown.
    pub image: &'a [u8],
    /// FNV-1a of `image`.
    pub hash: u64,
}

impl<'a> ProcessKey<'a> {
    /// Process `pid`, whose image is `image` (empty when unknown), a file name in lower case.
    #[must_use]
    pub fn new(pid: u64, image: &'a [u8]) -> Self {
        Self {
            pid,
            image,
            hash: Fnv::of(image),
        }
    }
}

/// The file name of an image, in the form that policies compare: what follows the last backslash, in UTF-8, ASCII letters in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// FNV-1a of the name, so that no request has to compute it.
    hash: u64,
    length: u8,
    bytes: [u8; Self::CAPACITY],
}

impl ImageName {
    /// Bytes kept. A longer name is cut, and then equals no pattern: those are at most [`Self::LONGEST`] bytes.
    pub const CAPACITY: usize = 96;
    /// The longest name a policy can name, bytes.
    pub const LONGEST: usize = Self::CAPACITY - 4;

    /// From a path or file name in UTF-16, as the kernel has them.
    #[must_use]
    pub fn from_utf16(path: &[u16]) -> Self {
        Self::collect(char::decode_utf16(path.iter().copied()).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }

    /// From a path or file name in UTF-8.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "not fallible")]
    pub fn from_str(path: &str) -> Self {
        Self::collect(path.chars())
    }

    /// From a path or file name as characters.
    pub(crate) fn from_chars(path: impl Iterator<Item = char>) -> Self {
        Self::collect(path)
    }

    fn collect(path: impl Iterator<Item = char>) -> Self {
        let mut name = Self {
            hash: 0,
            length: 0,
            bytes: [0; Self::CAPACITY],
        };
        let mut full = false;
        for c in path {
            if matches!(c, '\\' | '/') {
                name.length = 0;
                full = false;
            } else if !full {
                full = !name.push(c.to_ascii_lowercase());
            }
        }
        name.hash = Fnv::of(name.as_bytes());
        name
    }

    /// Whether `c` had room. What does not fit ends the name, so a cut one is longer than [`Self::LONGEST`].
    fn push(&mut self, c: char) -> bool {
        let mut utf8 = [0; 4];
        let utf8 = c.encode_utf8(&mut utf8).as_bytes();
        let end = usize::from(self.length).saturating_add(utf8.len());
        let (Some(room), Ok(length)) = (self.bytes.get_mut(usize::from(self.length)..end), u8::try_from(end)) else {
            return false;
        };
        room.copy_from_slice(utf8);
        self.length = length;
        true
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

/// What a bind asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindInput {
    /// Port, host order; 0 is ephemeral.
    pub port: u16,
    /// What kind of address.
    pub address: AddressClass,
    /// The sharing options in force.
    pub sharing: Sharing,
}

impl BindInput {
    /// Of a request that is no bind.
    pub const NONE: Self = Self {
        port: 0,
        address: AddressClass::Specific,
        sharing: Sharing {
            reuse: false,
            exclusive: false,
        },
    };
}

/// What kind of local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AddressClass {
    /// One address of the machine.
    Specific = 0,
    /// All of them.
    Wildcard = 1,
    /// 127.0.0.0/8, `::1`.
    Loopback = 2,
}

/// Sharing options of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// `SO_REUSEADDR`.
    pub reuse: bool,
    /// `SO_EXCLUSIVEADDRUSE`.
    pub exclusive: bool,
}

impl Sharing {
    /// As `SHARING_*` bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match (self.reuse, self.exclusive) {
            (false, false) => layout::SHARING_DEFAULT,
            (true, false) => layout::SHARING_REUSE,
            (false, true) => layout::SHARING_EXCLUSIVE,
            (true, true) => layout::SHARING_REUSE | layout::SHARING_EXCLUSIVE,
        }
    }
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PolicyMode {
    /// Yes.
    #[default]
    Enforce = 0,
    /// Decided and recorded only.
    Audit = 1,
}

/// What happens to a request that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Fallback {
    /// Forwarded.
    #[default]
    Allow = 0,
    /// Refused with `STATUS_ACCESS_DENIED`.
    Deny = 1,
}

/// Which decisions are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verbosity {
    /// Those of rules with `audit`.
    Marked = 0,
    /// Also those that refuse or change something.
    #[default]
    Changes = 1,
    /// All.
    All = 2,
}

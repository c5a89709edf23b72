//! `PVD_CONFIG`: "the configuration of the service provider" \[SPI\], in a format that is the provider's own. This is wskguard's: one
//! small versioned object per endpoint. Plain data, any IRQL.

use crate::Mode;

/// Eight bytes, little-endian: `u32 version, u8 mode, u8 flags, u16 reserved`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Least strictness the client asks for; `None` (0xFF) leaves it to the policy. The stricter of both is in force.
    pub mode: Option<Mode>,
    /// Verbose audit of this endpoint, as `SO_DEBUG` turns on.
    pub verbose: bool,
}

impl EndpointConfig {
    /// Size of the object.
    pub const SIZE: usize = 8;
    /// Version of the format.
    pub const VERSION: u32 = 1;
    /// What an endpoint starts with.
    pub const DEFAULT: Self = Self {
        mode: None,
        verbose: false,
    };

    const POLICY: u8 = 0xFF;
    const VERBOSE: u8 = 1;

    /// The object in `bytes`; `None` for another version, an unknown mode or unknown bits.
    #[must_use]
    pub fn parse(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [v0, v1, v2, v3, mode, flags, 0, 0] = bytes else {
            return None;
        };
        if u32::from_le_bytes([v0, v1, v2, v3]) != Self::VERSION {
            return None;
        }
        Self::from_parts(mode, flags)
    }

    /// The object as a get returns it.
    #[must_use]
    pub const fn bytes(self) -> [u8; Self::SIZE] {
        let [v0, v1, v2, v3] = Self::VERSION.to_le_bytes();
        let (mode, flags) = self.parts();
        [v0, v1, v2, v3, mode, flags, 0, 0]
    }

    pub(super) const fn from_parts(mode: u8, flags: u8) -> Option<Self> {
        let mode = match mode {
            0 => Some(Mode::Off),
            1 => Some(Mode::Audit),
            2 => Some(Mode::Compat),
            3 => Some(Mode::Strict),
            Self::POLICY => None,
            _ => return None,
        };
        if flags & !Self::VERBOSE != 0 {
            return None;
        }
        Some(Self {
            mode,
            verbose: flags & Self::VERBOSE != 0,
        })
    }

    pub(super) const fn parts(self) -> (u8, u8) {
        let mode = match self.mode {
            Some(mode) => mode as u8,
            None => Self::POLICY,
        };
        (mode, if self.verbose { Self::VERBOSE } else { 0 })
    }
}

//! What there is: every `SOL_SOCKET` option and every WSK IOCTL, as data. Any IRQL; nothing here decides.
//!
//! Sources, as the rows cite them: \[SPI\] the LPWSPSetSockOpt page (ws2spi.h), \[SOL\] the `SOL_SOCKET` options page of the Winsock
//! reference, \[WSK\] the option's own page in the WDK's network reference, \[H\] ws2def.h, mswsock.h and wsk.h,
//! \[T\] asserted by Wine's tests and checked on Windows. `tests/fixtures/sol_socket.tsv` holds the same facts for people;
//! a test compares the two column by column.

mod constants;
mod lookup;
mod row;
mod rows;

pub use constants::constant;
pub use lookup::{by_name, ioctl, option};
pub use row::*;
pub use rows::OPTIONS;

#[cfg(test)]
mod tests;

/// Largest number of rows that [`OptionSet`] can hold.
const _: () = assert!(OPTIONS.len() <= 64);

/// A set of catalogue entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet(u64);

impl OptionSet {
    /// No option.
    pub const NONE: Self = Self(0);

    /// With `option` as a member.
    #[must_use]
    pub const fn with(self, option: Opt) -> Self {
        Self(self.0 | 1 << option as u8)
    }

    /// Whether `option` is a member.
    #[must_use]
    pub const fn contains(self, option: Opt) -> bool {
        self.0 & 1 << option as u8 != 0
    }
}

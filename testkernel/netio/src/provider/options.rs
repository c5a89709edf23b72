//! Options that the provider keeps itself, because the host cannot: those of address sharing, and WSK's own.

/// Kept options of one socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) reuse: bool,
    pub(crate) exclusive: bool,
    pub(crate) conditional_accept: bool,
    /// `SO_WSK_SECURITY`: a cached security descriptor, by address.
    pub(crate) security: usize,
    /// That descriptor grants access, so that others may share the address.
    pub(crate) shares: bool,
}

impl Options {
    /// What an accepted socket takes over from its listener, beyond what the host's socket does.
    pub(crate) fn inherited(self) -> Self {
        Self { reuse: self.reuse, ..Self::default() }
    }
}

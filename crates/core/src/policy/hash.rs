//! The two hashes of an image: FNV-1a over its bytes, which identifies it, and the home slot of a request in its index.
//! Neither is cryptographic: an image comes from an administrator, and the hash tells one from another, no more. Any IRQL.

/// FNV-1a, 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Fnv {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut hash = Self::new();
        hash.write(bytes);
        hash.finish()
    }

    /// The hash of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    /// The hash of what was written.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the search for a key of the index begins; reduce it modulo the number of slots, a power of two.
#[must_use]
#[inline]
pub const fn slot_home(seed: u64, kind: u8, scope: u8, level: u32, code: u32) -> usize {
    let key = ((level as u64) << 32 | code as u64) ^ ((kind as u64) << 56 | (scope as u64) << 48) ^ seed;
    let mixed = (key ^ (key >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // The high half is the well-mixed one; an image has at most 2^17 slots.
    (mixed >> 40) as usize
}

//! Local addresses as the policy and the record want them. IRQL <= `DISPATCH_LEVEL`; addresses come from nonpaged memory.

use wsk_sys::{AF_INET, AF_INET6, PSOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_INET};
use wskguard_core::{Family, policy::AddressClass};

/// A copy of a client's address, made once; what is decided on is what goes down. Begins with, and is, a `SOCKADDR_INET`.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Address {
    raw: SOCKADDR_INET,
}

impl Address {
    /// Copies the address that `from` points to.
    ///
    /// `None` for NULL and for a family other than IPv4 and IPv6: the provider is to say what it thinks of those.
    ///
    /// # Safety
    /// `from` is NULL or points to an address of the length that its family has.
    pub unsafe fn capture(from: PSOCKADDR) -> Option<Self> {
        if from.is_null() {
            return None;
        }
        // SAFETY: every address begins with its family.
        match unsafe { (*from).sa_family } {
            AF_INET => {
                // SAFETY: as the caller promises; clients owe no more alignment than a SOCKADDR has.
                let mut v4 = unsafe { from.cast::<SOCKADDR_IN>().read_unaligned() };
                v4.sin_family = AF_INET;
                Some(Self {
                    raw: SOCKADDR_INET { Ipv4: v4 },
                })
            }
            AF_INET6 => {
                // SAFETY: as above.
                let mut v6 = unsafe { from.cast::<SOCKADDR_IN6>().read_unaligned() };
                v6.sin6_family = AF_INET6;
                Some(Self {
                    raw: SOCKADDR_INET { Ipv6: v6 },
                })
            }
            _ => None,
        }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        // SAFETY: both forms begin with the family.
        Family(unsafe { self.raw.si_family })
    }

    /// Port in host order; 0 is ephemeral.
    pub fn port(&self) -> u16 {
        // SAFETY: family and port lie at the same offsets in both forms, and one of them is initialised.
        u16::from_be(unsafe { self.raw.Ipv4.sin_port })
    }

    /// The address's bytes, IPv4 in the first four.
    pub fn bytes(&self) -> [u8; 16] {
        // SAFETY: both forms begin with the family.
        if unsafe { self.raw.si_family } == AF_INET6 {
            // SAFETY: the family says so.
            return unsafe { self.raw.Ipv6.sin6_addr };
        }
        // SAFETY: the other form.
        let [a, b, c, d] = unsafe { self.raw.Ipv4.sin_addr };
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// How policies class it.
    pub fn class(&self) -> AddressClass {
        // SAFETY: both forms begin with the family.
        let v6 = unsafe { self.raw.si_family } == AF_INET6;
        match self.bytes() {
            bytes if bytes == [0; 16] => AddressClass::Wildcard,
            [127, ..] if !v6 => AddressClass::Loopback,
            bytes if v6 && u128::from_be_bytes(bytes) == 1 => AddressClass::Loopback,
            _ => AddressClass::Specific,
        }
    }
}

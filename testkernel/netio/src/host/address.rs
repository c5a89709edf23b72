//! A socket address of either family, by value.

use wsk_sys::{AF_INET, AF_INET6, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6};

use crate::status::NTSTATUS;

/// `SOCKADDR_IN` or `SOCKADDR_IN6`, with its length.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    bytes: [u8; 28],
    length: i32,
}

impl Address {
    pub(crate) const NONE: Self = Self {
        bytes: [0; 28],
        length: 0,
    };

    /// The bytes that an address of `family` takes.
    pub(crate) const fn length_of(family: u16) -> Option<usize> {
        match family {
            AF_INET => Some(size_of::<SOCKADDR_IN>()),
            AF_INET6 => Some(size_of::<SOCKADDR_IN6>()),
            _ => None,
        }
    }

    /// Copies a caller's address; `None` when it is NULL or of another family than IPv4 and IPv6.
    ///
    /// # Safety
    /// `address` is NULL, or valid for as long as its family says.
    pub(crate) unsafe fn read(address: *const SOCKADDR) -> Option<Self> {
        if address.is_null() {
            return None;
        }
        // SAFETY: as the caller promises; callers need not align addresses.
        let family = unsafe { address.cast::<u16>().read_unaligned() };
        let length = Self::length_of(family)?;
        let mut copy = Self::NONE;
        // SAFETY: the family says that this many bytes are there, and they fit.
        unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), copy.bytes.as_mut_ptr(), length) };
        copy.length = i32::try_from(length).ok()?;
        Some(copy)
    }

    /// As [`Self::read`], from bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let family = u16::from_ne_bytes(bytes.first_chunk().copied()?);
        (bytes.len() >= Self::length_of(family)?).then_some(())?;
        // SAFETY: the bytes are as many as the family says.
        unsafe { Self::read(bytes.as_ptr().cast()) }
    }

    /// Writes the address to a caller's buffer, if there is one.
    ///
    /// # Safety
    /// `to` is NULL, or has room for an address of this family.
    pub(crate) unsafe fn write(&self, to: *mut SOCKADDR) {
        if !to.is_null() {
            // SAFETY: as the caller promises.
            unsafe { core::ptr::copy_nonoverlapping(self.bytes.as_ptr(), to.cast::<u8>(), self.size()) };
        }
    }

    /// An address that `fill` writes.
    pub(crate) fn filled(fill: impl FnOnce(*mut SOCKADDR, *mut i32) -> Result<(), NTSTATUS>) -> Result<Self, NTSTATUS> {
        let mut address = Self::NONE;
        let (name, length) = address.room();
        fill(name, length).map(|()| address)
    }

    /// Room for the host to write an address to.
    pub(crate) fn room(&mut self) -> (*mut SOCKADDR, *mut i32) {
        self.length = 28;
        (self.bytes.as_mut_ptr().cast(), &raw mut self.length)
    }

    pub(crate) fn as_ptr(&self) -> *const SOCKADDR {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut SOCKADDR {
        self.bytes.as_mut_ptr().cast()
    }

    pub(crate) fn length(&self) -> i32 {
        self.length
    }

    fn size(&self) -> usize {
        usize::try_from(self.length).unwrap_or(0).min(self.bytes.len())
    }

    pub(crate) fn family(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]])
    }

    /// In host order.
    pub(crate) fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    pub(crate) fn with_port(mut self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.bytes[2] = high;
        self.bytes[3] = low;
        self
    }

    /// The 4 or 16 bytes of the IP address.
    pub(crate) fn ip(&self) -> &[u8] {
        let range = if self.family() == AF_INET { 4..8 } else { 8..24 };
        self.bytes.get(range).unwrap_or(&[])
    }

    /// The same address and port; scope and flow label aside.
    pub(crate) fn same_endpoint(&self, other: &Self) -> bool {
        self.family() == other.family() && self.port() == other.port() && self.ip() == other.ip()
    }
}

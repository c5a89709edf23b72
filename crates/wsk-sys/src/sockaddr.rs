//! Socket addresses of ws2def.h and ws2ipdef.h, and the control message header.

/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 23;
/// `SOCK_STREAM`.
pub const SOCK_STREAM: u16 = 1;
/// `SOCK_DGRAM`.
pub const SOCK_DGRAM: u16 = 2;
/// `SOCK_RAW`.
pub const SOCK_RAW: u16 = 3;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u32 = 17;
/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xFFFF;

/// `SOCKADDR`: the family says which address follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SOCKADDR {
    /// `AF_*`.
    pub sa_family: u16,
    /// As the family defines.
    pub sa_data: [u8; 14],
}

/// `SOCKADDR_IN`: port and address in network byte order.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SOCKADDR_IN {
    /// `AF_INET`.
    pub sin_family: u16,
    /// Network byte order.
    pub sin_port: u16,
    /// Network byte order.
    pub sin_addr: [u8; 4],
    /// Zero.
    pub sin_zero: [u8; 8],
}

/// `SOCKADDR_IN6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SOCKADDR_IN6 {
    /// `AF_INET6`.
    pub sin6_family: u16,
    /// Network byte order.
    pub sin6_port: u16,
    /// Flow label.
    pub sin6_flowinfo: u32,
    /// Network byte order.
    pub sin6_addr: [u8; 16],
    /// Interface scope.
    pub sin6_scope_id: u32,
}

/// `SOCKADDR_INET`: large enough for both families.
#[repr(C)]
#[derive(Clone, Copy)]
pub union SOCKADDR_INET {
    /// The IPv4 form.
    pub Ipv4: SOCKADDR_IN,
    /// The IPv6 form.
    pub Ipv6: SOCKADDR_IN6,
    /// The family, which both begin with.
    pub si_family: u16,
}

/// `CMSGHDR`: header of one control message.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CMSGHDR {
    /// Bytes, with this header.
    pub cmsg_len: usize,
    /// Originating protocol.
    pub cmsg_level: i32,
    /// Protocol-specific type.
    pub cmsg_type: i32,
}

/// `PSOCKADDR`.
pub type PSOCKADDR = *mut SOCKADDR;
/// `PCMSGHDR`.
pub type PCMSGHDR = *mut CMSGHDR;
/// `PADDRINFOEXW`, opaque.
pub type PADDRINFOEXW = *mut core::ffi::c_void;

//! Header constants that are no catalogue row. Source: ws2def.h, mstcpip.h, wsk.h. Any IRQL.

use super::lookup::by_name;

/// Value of a header constant by its name; options and IOCTLs come from the catalogue.
#[must_use]
pub fn constant(name: &str) -> Option<u32> {
    if let Some(arguments) = name.strip_prefix("MAKE_WSK_VERSION(") {
        return version(arguments.strip_suffix(')')?);
    }
    by_name(name)
        .map(|row| row.code)
        .or_else(|| CONSTANTS.iter().find(|(n, _)| *n == name).map(|&(_, value)| value))
}

/// `MAKE_WSK_VERSION(major, minor)`.
fn version(arguments: &str) -> Option<u32> {
    let (major, minor) = arguments.split_once(',')?;
    let (major, minor): (u8, u8) = (major.trim().parse().ok()?, minor.trim().parse().ok()?);
    Some(u32::from(u16::from_be_bytes([major, minor])))
}

/// Names and values.
static CONSTANTS: &[(&str, u32)] = &[
    ("SOL_SOCKET", 0xFFFF),
    ("WSK_SO_BASE", 0x4000),
    // Winsock types and families.
    ("SOCK_STREAM", 1),
    ("SOCK_DGRAM", 2),
    ("SOCK_RAW", 3),
    ("AF_UNSPEC", 0),
    ("AF_INET", 2),
    ("AF_ATM", 22),
    ("AF_INET6", 23),
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IPV6", 41),
    ("IPV6_V6ONLY", 27),
    ("SO_SYNCHRONOUS_ALERT", 0x10),
    ("SO_SYNCHRONOUS_NONALERT", 0x20),
    // IOCTLs that are not WSK's own.
    ("SIO_ADDRESS_LIST_QUERY", 0x4800_0016),
    ("SIO_ADDRESS_LIST_CHANGE", 0x2800_0017),
    ("SIO_ADDRESS_LIST_SORT", 0xC800_0019),
    ("SIO_KEEPALIVE_VALS", 0x9800_0004),
    ("SIO_TIMESTAMPING", 0x9800_00EB),
    ("FIONREAD", 0x4004_667F),
    ("FIONBIO", 0x8004_667E),
    ("SIOCATMARK", 0x4004_7307),
    // How IOCTL codes are made up.
    ("IOC_VOID", 0x2000_0000),
    ("IOC_OUT", 0x4000_0000),
    ("IOC_IN", 0x8000_0000),
    ("IOC_INOUT", 0xC000_0000),
    ("IOC_WSK", 0x0F00_0000),
    // WSK_CONTROL_SOCKET_TYPE and WSK_INSPECT_ACTION.
    ("WskSetOption", 0),
    ("WskGetOption", 1),
    ("WskIoctl", 2),
    ("WskControlMax", 3),
    ("WskInspectReject", 0),
    ("WskInspectAccept", 1),
    ("WskInspectPend", 2),
    ("WskInspectMax", 3),
    // Event masks.
    ("WSK_EVENT_SEND_BACKLOG", 0x10),
    ("WSK_EVENT_RECEIVE", 0x40),
    ("WSK_EVENT_DISCONNECT", 0x80),
    ("WSK_EVENT_RECEIVE_FROM", 0x100),
    ("WSK_EVENT_ACCEPT", 0x200),
    ("WSK_EVENT_DISABLE", 0x8000_0000),
    // Socket categories.
    ("WSK_FLAG_BASIC_SOCKET", 0),
    ("WSK_FLAG_LISTEN_SOCKET", 1),
    ("WSK_FLAG_CONNECTION_SOCKET", 2),
    ("WSK_FLAG_DATAGRAM_SOCKET", 4),
    ("WSK_FLAG_STREAM_SOCKET", 8),
    // Flags of calls and callbacks.
    ("WSK_FLAG_NODELAY", 2),
    ("WSK_FLAG_ABORTIVE", 1),
    ("WSK_FLAG_OOB", 1),
    ("WSK_FLAG_WAITALL", 2),
    ("WSK_FLAG_DRAIN", 4),
    ("WSK_FLAG_RELEASE_ASAP", 2),
    ("WSK_FLAG_ENTIRE_MESSAGE", 4),
    ("WSK_FLAG_AT_DISPATCH_LEVEL", 8),
    // Client control codes.
    ("WSK_TRANSPORT_LIST_QUERY", 2),
    ("WSK_TRANSPORT_LIST_CHANGE", 3),
    ("WSK_CACHE_SD", 4),
    ("WSK_RELEASE_SD", 5),
    ("WSK_TDI_DEVICENAME_MAPPING", 6),
    ("WSK_SET_STATIC_EVENT_CALLBACKS", 7),
    ("WSK_TDI_BEHAVIOR", 8),
    ("WSK_TDI_BEHAVIOR_BYPASS_TDI", 1),
    ("WSK_NO_WAIT", 0),
    ("WSK_INFINITE_WAIT", 0xFFFF_FFFF),
];

#[cfg(test)]
mod tests {
    use super::constant;

    #[test]
    fn versions_and_codes() {
        assert_eq!(constant("MAKE_WSK_VERSION(1,0)"), Some(0x0100));
        assert_eq!(constant("MAKE_WSK_VERSION(2, 3)"), Some(0x0203));
        assert_eq!(constant("MAKE_WSK_VERSION(1)"), None);
        assert_eq!(constant("SO_EXCLUSIVEADDRUSE"), Some(!4));
        assert_eq!(constant("SO_NONE"), None);
        // _WSAIOW(IOC_WSK, 1)
        let parts = ["IOC_IN", "IOC_WSK"].map(|name| constant(name).unwrap());
        assert_eq!(constant("SIO_WSK_SET_REMOTE_ADDRESS"), Some(parts[0] | parts[1] | 1));
    }
}

//! The options of the LPWSPSetSockOpt page.

use super::{BOOL, BOTH, DGRAM, LISTEN_DATAGRAM_CONNECTION, OPTION, SOCKET_BOOL, STREAM, TRANSPORT_BOOL, with_irp};
use crate::catalogue::row::{CategorySet as C, Class, Default, Families, Inherits, Kind, Opt, Row, Size, Timing};

pub(super) const ROWS: [Row; 12] = [
    // [SPI] SO_BROADCAST; [SOL] IPv6 has no broadcast; [T] the gate is at each send; [WSK] datagram only.
    Row {
        id: Opt::Broadcast,
        name: "SO_BROADCAST",
        code: 0x20,
        types: DGRAM,
        wsk: with_irp(C::DATAGRAM),
        ..SOCKET_BOOL
    },
    // [SPI] may be ignored; [T] the state is stored: set 2 reads back 1.
    Row {
        id: Opt::Debug,
        name: "SO_DEBUG",
        code: 0x1,
        types: BOTH,
        ..BOOL
    },
    // [H] (int)(~SO_LINGER); [SPI] "Reserved", yet specified; [T] == !l_onoff.
    Row {
        id: Opt::DontLinger,
        name: "SO_DONTLINGER",
        code: 0xFFFF_FF7F,
        types: STREAM,
        inherits: Inherits::Yes,
        default: Default::Value(1),
        reserved: true,
        ..SOCKET_BOOL
    },
    // [SPI] INET: accepted and ignored, INET6: WSAENOPROTOOPT, ATM: error; [T] stream sockets store the low byte.
    Row {
        id: Opt::DontRoute,
        name: "SO_DONTROUTE",
        code: 0x10,
        types: BOTH,
        families: Families::InetOnly,
        ..TRANSPORT_BOOL
    },
    // [SPI] reserved; getsockopt page: WSAENOPROTOOPT on a socket outside a group.
    Row {
        id: Opt::GroupPriority,
        name: "SO_GROUP_PRIORITY",
        code: 0x2002,
        kind: Kind::Reserved,
        reserved: true,
        ..OPTION
    },
    // [SPI] TCP, ATM refuses it; so-keepalive page: datagram WSAENOPROTOOPT; [T] inherited; [WSK] listen, connection.
    Row {
        id: Opt::KeepAlive,
        name: "SO_KEEPALIVE",
        code: 0x8,
        types: STREAM,
        families: Families::NotAtm,
        inherits: Inherits::Yes,
        wsk: with_irp(C::LISTEN.union(C::CONNECTION)),
        ..TRANSPORT_BOOL
    },
    // [SPI] struct linger, connection-oriented only; [T] stored raw, get on UDP WSAENOPROTOOPT, inherited.
    Row {
        id: Opt::Linger,
        name: "SO_LINGER",
        code: 0x80,
        kind: Kind::Linger,
        class: Class::C,
        types: STREAM,
        inherits: Inherits::Yes,
        ..OPTION
    },
    // [SPI] protocols with out-of-band data; [T] effective at once, inherited.
    Row {
        id: Opt::OobInline,
        name: "SO_OOBINLINE",
        code: 0x100,
        types: STREAM,
        inherits: Inherits::Yes,
        ..SOCKET_BOOL
    },
    // [SPI] the amount granted is read back by get; [T] exact, 0 included; [WSK] listen, datagram, connection.
    Row {
        id: Opt::RcvBuf,
        name: "SO_RCVBUF",
        code: 0x1002,
        class: Class::C,
        types: BOTH,
        inherits: Inherits::Yes,
        default: Default::Varies,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..OPTION
    },
    // [SPI] interpreted only at bind; not applicable on ATM (no error, no effect); [WSK] before WskBind.
    Row {
        id: Opt::ReuseAddr,
        name: "SO_REUSEADDR",
        code: 0x4,
        types: BOTH,
        families: Families::AtmIgnores,
        timing: Timing::BeforeBind,
        inherits: Inherits::Yes,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..SOCKET_BOOL
    },
    // [SPI] as SO_RCVBUF; [T] 0 turns send buffering off.
    Row {
        id: Opt::SndBuf,
        name: "SO_SNDBUF",
        code: 0x1001,
        class: Class::C,
        types: BOTH,
        inherits: Inherits::Yes,
        default: Default::Varies,
        ..OPTION
    },
    // [SPI] configuration of the service provider, in the provider's format; [SOL] no Windows version marks it supported.
    Row {
        id: Opt::PvdConfig,
        name: "PVD_CONFIG",
        code: 0x3001,
        kind: Kind::Opaque,
        class: Class::Opaque,
        set_len: Size::Provider,
        get_len: Size::Provider,
        default: Default::Varies,
        ..OPTION
    },
];

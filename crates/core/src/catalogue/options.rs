//! The table. Each row names where its facts come from; `(class, ...)` facts are \[T\] `test_optsize` where the class is A to D.

use super::row::{
    CategorySet as C, Class, Default, Families, Inherits, Irp, Kind, Opt, Row, Size, Space, Support, Timing, TypeSet,
    Wsk,
};

const STREAM: TypeSet = TypeSet::STREAM;
const DGRAM: TypeSet = TypeSet::DGRAM;
const BOTH: TypeSet = TypeSet::STREAM.union(TypeSet::DGRAM);
const ALL: TypeSet = TypeSet::all();
const LISTEN_DATAGRAM_CONNECTION: C = C::LISTEN.union(C::DATAGRAM).union(C::CONNECTION);

const UNDOCUMENTED: Wsk = Wsk {
    support: Support::Undocumented,
    irp: Irp::Unsaid,
    wants_size: false,
    categories: C::empty(),
};
const NOT_IN_WSK: Wsk = Wsk {
    support: Support::NotApplicable,
    ..UNDOCUMENTED
};

/// A WSK page that asks for an IRP and names these categories.
const fn with_irp(categories: C) -> Wsk {
    Wsk {
        support: Support::Documented,
        irp: Irp::Required,
        wants_size: false,
        categories,
    }
}

/// What most options are: four bytes, get and set, any type, any time, default 0.
const OPTION: Row = Row {
    id: Opt::Broadcast,
    name: "",
    code: 0,
    space: Space::Socket,
    kind: Kind::Int,
    class: Class::Dword,
    set_len: Size::Bytes(4),
    get_len: Size::Bytes(4),
    settable: true,
    gettable: true,
    types: ALL,
    families: Families::All,
    timing: Timing::Any,
    inherits: Inherits::Untested,
    default: Default::Value(0),
    reserved: false,
    wsk: UNDOCUMENTED,
};
const BOOL: Row = Row {
    kind: Kind::Bool,
    ..OPTION
};
/// A socket-layer boolean (class A).
const SOCKET_BOOL: Row = Row {
    class: Class::A,
    ..BOOL
};
/// A transport boolean (class B): a get returns one byte.
const TRANSPORT_BOOL: Row = Row {
    class: Class::B,
    get_len: Size::Bytes(1),
    ..BOOL
};
/// Read only: there is nothing to inherit.
const READ_ONLY: Row = Row {
    settable: false,
    set_len: Size::Absent,
    inherits: Inherits::No,
    ..OPTION
};
const SET_ONLY: Row = Row {
    gettable: false,
    get_len: Size::Absent,
    ..OPTION
};
/// Neither get nor set; refused by TCP/IP.
const ABSENT: Row = Row {
    settable: false,
    gettable: false,
    set_len: Size::Absent,
    get_len: Size::Absent,
    inherits: Inherits::No,
    default: Default::None,
    families: Families::NotTcpIp,
    class: Class::Opaque,
    ..OPTION
};
/// DECNet and OSI TP4; not supported by TCP/IP.
const LEGACY: Row = Row {
    types: STREAM,
    families: Families::NotTcpIp,
    class: Class::Opaque,
    ..OPTION
};
const LEGACY_DATA: Row = Row {
    kind: Kind::Opaque,
    set_len: Size::Variable,
    get_len: Size::Variable,
    default: Default::Varies,
    ..LEGACY
};
const LEGACY_LENGTH: Row = Row {
    gettable: false,
    get_len: Size::Absent,
    ..LEGACY
};
const IOCTL: Row = Row {
    space: Space::Ioctl,
    kind: Kind::Struct,
    class: Class::Opaque,
    inherits: Inherits::No,
    default: Default::None,
    ..OPTION
};
const IOCTL_IN: Row = Row {
    gettable: false,
    get_len: Size::Bytes(0),
    ..IOCTL
};
const IOCTL_OUT: Row = Row {
    settable: false,
    set_len: Size::Bytes(0),
    types: STREAM,
    ..IOCTL
};

/// Every row, in the order of [`Opt`].
pub static OPTIONS: [Row; 60] = [
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
    // [SOL] get only; [T] 0, after listen 1; set WSAENOPROTOOPT.
    Row {
        id: Opt::AcceptConn,
        name: "SO_ACCEPTCONN",
        code: 0x2,
        kind: Kind::Bool,
        types: STREAM,
        ..READ_ONLY
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::UseLoopback,
        name: "SO_USELOOPBACK",
        code: 0x40,
        kind: Kind::Bool,
        ..ABSENT
    },
    // [H] (int)(~SO_REUSEADDR); [T] WSAEINVAL while SO_REUSEADDR is set; [WSK] before WskBind.
    Row {
        id: Opt::ExclusiveAddrUse,
        name: "SO_EXCLUSIVEADDRUSE",
        code: 0xFFFF_FFFB,
        types: BOTH,
        timing: Timing::BeforeBind,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..SOCKET_BOOL
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::SndLowAt,
        name: "SO_SNDLOWAT",
        code: 0x1003,
        ..ABSENT
    },
    // [SOL] get and set WSAEINVAL.
    Row {
        id: Opt::RcvLowAt,
        name: "SO_RCVLOWAT",
        code: 0x1004,
        ..ABSENT
    },
    // [SOL] milliseconds, 0 is for ever; [T] inherited.
    Row {
        id: Opt::SndTimeo,
        name: "SO_SNDTIMEO",
        code: 0x1005,
        class: Class::D,
        types: BOTH,
        inherits: Inherits::Yes,
        ..OPTION
    },
    // [SOL] milliseconds, 0 is for ever; [T] inherited, not for overlapped receives.
    Row {
        id: Opt::RcvTimeo,
        name: "SO_RCVTIMEO",
        code: 0x1006,
        class: Class::D,
        types: BOTH,
        inherits: Inherits::Yes,
        ..OPTION
    },
    // [SOL] get only, read clears; [T] settable, not cleared by reading, not inherited.
    Row {
        id: Opt::Error,
        name: "SO_ERROR",
        code: 0x1007,
        types: BOTH,
        inherits: Inherits::No,
        ..OPTION
    },
    // [SOL] get only; [T] set: UDP WSAEINVAL, TCP WSAENOPROTOOPT.
    Row {
        id: Opt::Type,
        name: "SO_TYPE",
        code: 0x1008,
        inherits: Inherits::Yes,
        default: Default::Varies,
        ..READ_ONLY
    },
    // so-bsp-state page; [T] room for both addresses is needed too.
    Row {
        id: Opt::BspState,
        name: "SO_BSP_STATE",
        code: 0x1009,
        kind: Kind::Struct,
        class: Class::Sized,
        types: BOTH,
        get_len: Size::BspState,
        default: Default::None,
        ..READ_ONLY
    },
    // [SOL] reserved.
    Row {
        id: Opt::GroupId,
        name: "SO_GROUP_ID",
        code: 0x2001,
        kind: Kind::Reserved,
        inherits: Inherits::Untested,
        reserved: true,
        ..READ_ONLY
    },
    // [SOL] no meaning for streams; [T] UDP 65507 or 65527.
    Row {
        id: Opt::MaxMsgSize,
        name: "SO_MAX_MSG_SIZE",
        code: 0x2003,
        types: DGRAM,
        default: Default::Value(65507),
        ..READ_ONLY
    },
    // [SOL]; [T] short: WSAEFAULT and the needed size, long: the length is left alone. Sizes: winsock2.h.
    Row {
        id: Opt::ProtocolInfoA,
        name: "SO_PROTOCOL_INFOA",
        code: 0x2004,
        kind: Kind::Struct,
        class: Class::Sized,
        get_len: Size::Bytes(372),
        default: Default::None,
        ..READ_ONLY
    },
    Row {
        id: Opt::ProtocolInfoW,
        name: "SO_PROTOCOL_INFOW",
        code: 0x2005,
        kind: Kind::Struct,
        class: Class::Sized,
        get_len: Size::Bytes(628),
        default: Default::None,
        ..READ_ONLY
    },
    // so-conditional-accept page: at least a DWORD, before listen, default FALSE; [WSK] listen, before WskBind.
    Row {
        id: Opt::ConditionalAccept,
        name: "SO_CONDITIONAL_ACCEPT",
        code: 0x3002,
        types: STREAM,
        timing: Timing::BeforeListen,
        inherits: Inherits::No,
        wsk: with_irp(C::LISTEN),
        ..BOOL
    },
    // [SOL] a listener that answers every connection with RST while it is set.
    Row {
        id: Opt::PauseAccept,
        name: "SO_PAUSE_ACCEPT",
        code: 0x3003,
        types: STREAM,
        ..BOOL
    },
    // [H] a value only.
    Row {
        id: Opt::CompartmentId,
        name: "SO_COMPARTMENT_ID",
        code: 0x3004,
        timing: Timing::Unknown,
        default: Default::Varies,
        ..OPTION
    },
    // [SOL] unbound sockets; fails after SO_REUSE_UNICASTPORT.
    Row {
        id: Opt::RandomizePort,
        name: "SO_RANDOMIZE_PORT",
        code: 0x3005,
        types: BOTH,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // so-port-scalability page: before bind.
    Row {
        id: Opt::PortScalability,
        name: "SO_PORT_SCALABILITY",
        code: 0x3006,
        types: BOTH,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // [SOL] Windows 10; sockets that are bound explicitly.
    Row {
        id: Opt::ReuseUnicastPort,
        name: "SO_REUSE_UNICASTPORT",
        code: 0x3007,
        types: STREAM,
        timing: Timing::BeforeBind,
        ..BOOL
    },
    // [SOL] Windows 10; the table says get only, the text describes setting it.
    Row {
        id: Opt::ReuseMulticastPort,
        name: "SO_REUSE_MULTICASTPORT",
        code: 0x3008,
        types: DGRAM,
        timing: Timing::BeforeBind,
        ..OPTION
    },
    // winsock-timestamping page: control-message types, not options.
    Row {
        id: Opt::Timestamp,
        name: "SO_TIMESTAMP",
        code: 0x300A,
        kind: Kind::Reserved,
        types: DGRAM,
        families: Families::All,
        wsk: NOT_IN_WSK,
        ..ABSENT
    },
    Row {
        id: Opt::TimestampId,
        name: "SO_TIMESTAMP_ID",
        code: 0x300B,
        kind: Kind::Reserved,
        types: DGRAM,
        families: Families::All,
        wsk: NOT_IN_WSK,
        ..ABSENT
    },
    // [H] a value only; redirected connections.
    Row {
        id: Opt::OriginalDst,
        name: "SO_ORIGINAL_DST",
        code: 0x300F,
        kind: Kind::Struct,
        class: Class::Sized,
        types: STREAM,
        get_len: Size::Bytes(128),
        inherits: Inherits::Untested,
        default: Default::None,
        ..READ_ONLY
    },
    // [SOL], [H] mswsock.h: the eight of DECNet and OSI TP4.
    Row {
        id: Opt::ConnData,
        name: "SO_CONNDATA",
        code: 0x7000,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::ConnOpt,
        name: "SO_CONNOPT",
        code: 0x7001,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::DiscData,
        name: "SO_DISCDATA",
        code: 0x7002,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::DiscOpt,
        name: "SO_DISCOPT",
        code: 0x7003,
        ..LEGACY_DATA
    },
    Row {
        id: Opt::ConnDataLen,
        name: "SO_CONNDATALEN",
        code: 0x7004,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::ConnOptLen,
        name: "SO_CONNOPTLEN",
        code: 0x7005,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::DiscDataLen,
        name: "SO_DISCDATALEN",
        code: 0x7006,
        ..LEGACY_LENGTH
    },
    Row {
        id: Opt::DiscOptLen,
        name: "SO_DISCOPTLEN",
        code: 0x7007,
        ..LEGACY_LENGTH
    },
    // [H] mswsock.h; [T] per thread, the handle is ignored, any int is stored.
    Row {
        id: Opt::OpenType,
        name: "SO_OPENTYPE",
        code: 0x7008,
        class: Class::Thread,
        inherits: Inherits::No,
        wsk: NOT_IN_WSK,
        ..OPTION
    },
    // [SOL] no meaning for streams; the second may be taken as the first.
    Row {
        id: Opt::MaxDg,
        name: "SO_MAXDG",
        code: 0x7009,
        types: DGRAM,
        default: Default::None,
        ..READ_ONLY
    },
    Row {
        id: Opt::MaxPathDg,
        name: "SO_MAXPATHDG",
        code: 0x700A,
        types: DGRAM,
        default: Default::None,
        ..READ_ONLY
    },
    // [T] the value is the listening SOCKET (the page types it DWORD).
    Row {
        id: Opt::UpdateAcceptContext,
        name: "SO_UPDATE_ACCEPT_CONTEXT",
        code: 0x700B,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(1),
        types: STREAM,
        inherits: Inherits::No,
        default: Default::None,
        wsk: NOT_IN_WSK,
        ..SET_ONLY
    },
    // [SOL] seconds; [T] 0xFFFFFFFF unconnected, UDP too.
    Row {
        id: Opt::ConnectTime,
        name: "SO_CONNECT_TIME",
        code: 0x700C,
        types: STREAM,
        default: Default::Value(0xFFFF_FFFF),
        ..READ_ONLY
    },
    // [SOL] after ConnectEx.
    Row {
        id: Opt::UpdateConnectContext,
        name: "SO_UPDATE_CONNECT_CONTEXT",
        code: 0x7010,
        kind: Kind::Bool,
        class: Class::Opaque,
        set_len: Size::ZeroOr(4),
        types: STREAM,
        inherits: Inherits::No,
        default: Default::None,
        wsk: NOT_IN_WSK,
        ..SET_ONLY
    },
    // [WSK] PSECURITY_DESCRIPTOR cached by WSK_CACHE_SD, before WskBind; the default one denies sharing.
    Row {
        id: Opt::WskSecurity,
        name: "SO_WSK_SECURITY",
        code: 0x4001,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(1),
        get_len: Size::Words(1),
        timing: Timing::BeforeBind,
        default: Default::Varies,
        wsk: with_irp(LISTEN_DATAGRAM_CONNECTION),
        ..OPTION
    },
    // [WSK] WSK_EVENT_CALLBACK_CONTROL; no IRP to enable, optional to disable; basic with an extension.
    Row {
        id: Opt::WskEventCallback,
        name: "SO_WSK_EVENT_CALLBACK",
        code: 0x4002,
        kind: Kind::Struct,
        class: Class::Sized,
        set_len: Size::Words(2),
        timing: Timing::AfterBindOrConnect,
        inherits: Inherits::Yes,
        default: Default::Varies,
        wsk: Wsk {
            irp: Irp::Optional,
            ..with_irp(C::all())
        },
        ..SET_ONLY
    },
    // The IOCTLs: [WSK] the page of each.
    Row {
        id: Opt::SetRemoteAddress,
        name: "SIO_WSK_SET_REMOTE_ADDRESS",
        code: 0x8F00_0001,
        types: DGRAM,
        set_len: Size::SockaddrOrNothing,
        timing: Timing::AfterBind,
        default: Default::Varies,
        wsk: with_irp(C::DATAGRAM),
        ..IOCTL_IN
    },
    Row {
        id: Opt::RegisterExtension,
        name: "SIO_WSK_REGISTER_EXTENSION",
        code: 0xCF00_0002,
        set_len: Size::Words(3),
        get_len: Size::Words(2),
        wsk: Wsk {
            irp: Irp::Null,
            ..with_irp(C::all())
        },
        ..IOCTL
    },
    Row {
        id: Opt::QueryIdealSendBacklog,
        name: "SIO_WSK_QUERY_IDEAL_SEND_BACKLOG",
        code: 0x4F00_0003,
        kind: Kind::Int,
        get_len: Size::Words(1),
        timing: Timing::AfterConnect,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_OUT
    },
    Row {
        id: Opt::QueryReceiveBacklog,
        name: "SIO_WSK_QUERY_RECEIVE_BACKLOG",
        code: 0x4F00_0004,
        kind: Kind::Int,
        get_len: Size::Words(1),
        timing: Timing::AfterConnect,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_OUT
    },
    // Any other socket: STATUS_INVALID_DEVICE_REQUEST, from the provider.
    Row {
        id: Opt::QueryInspectId,
        name: "SIO_WSK_QUERY_INSPECT_ID",
        code: 0x4F00_0005,
        get_len: Size::Words(2),
        wsk: Wsk {
            irp: Irp::Null,
            wants_size: true,
            ..with_irp(C::CONNECTION)
        },
        ..IOCTL_OUT
    },
    Row {
        id: Opt::SetSendToAddress,
        name: "SIO_WSK_SET_SENDTO_ADDRESS",
        code: 0x8F00_0006,
        types: DGRAM,
        set_len: Size::SockaddrOrNothing,
        timing: Timing::AfterBind,
        default: Default::Varies,
        wsk: with_irp(C::DATAGRAM),
        ..IOCTL_IN
    },
    Row {
        id: Opt::SetTcpSilentMode,
        name: "SIO_WSK_SET_TCP_SILENT_MODE",
        code: 0x2F00_0007,
        kind: Kind::Opaque,
        types: STREAM,
        set_len: Size::Bytes(0),
        timing: Timing::AfterConnect,
        default: Default::Varies,
        wsk: with_irp(C::CONNECTION),
        ..IOCTL_IN
    },
    // [H] a comment in wsk.h: all receives go to the callback while it is set.
    Row {
        id: Opt::SetReceiveExCallback,
        name: "SIO_WSK_SET_RECEIVE_EX_CALLBACK",
        code: 0x8F00_0008,
        types: STREAM,
        set_len: Size::Words(1),
        default: Default::Varies,
        wsk: Wsk {
            support: Support::HeaderOnly,
            irp: Irp::Unsaid,
            ..with_irp(C::CONNECTION)
        },
        ..IOCTL_IN
    },
];

/// `Opt::row` finds a row by position.
const _: () = {
    let mut index = 0;
    let mut rest: &[Row] = &OPTIONS;
    while let [row, tail @ ..] = rest {
        assert!(row.id as usize == index);
        index += 1;
        rest = tail;
    }
};
